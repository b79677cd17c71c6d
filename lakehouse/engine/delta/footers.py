"""What the footers of Parquet files say of their columns (parquet.thrift, in Thrift's compact protocol).

Polars measures each row group as it writes it, so that what it has written need not be read again to be measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from decimal import Context, Decimal
from itertools import islice
from typing import Any, NamedTuple

import polars as pl

RANGED = (
    pl.Int64, pl.Int32, pl.Int16, pl.Int8, pl.Float64, pl.Float32, pl.Date, pl.Datetime, pl.Decimal, pl.String,
)  # fmt: skip
"""Types that have a smallest and a greatest value."""

_AFTER = 8  # bytes that follow a footer; the first four say how long it is
AT_FIRST = 1 << 16
_ROWS, _GROUPS, _CHUNKS, _ROWS_OF_GROUP, _COLUMN, _TYPE, _PATH, _STATISTICS = 3, 4, 1, 3, 3, 1, 3, 12
_ENCODINGS, _VALUES, _UNPACKED = 2, 5, 6
_AS_IT_IS = {0, 3, 4, 6}  # plain, what tells of nulls and of lists, and texts after their lengths: none is shortened
_TEXT, _TAKEN = 6, {0: 1, 1: 4, 2: 8, 3: 8, 4: 4, 5: 8}  # bytes of a value, by how it is stored
AT_MOST = 16
"""Bytes of a value in memory, beside the letters of a text."""
_NULLS, _MAX, _MIN = 3, 5, 6
_GREATEST_FIRST = 7  # the type of decimals that are too long for an integer, by the order of their bytes
_ALL_DIGITS = Context(prec=38)
_KIND, _LONG, _GOES_ON, _NUMBER, _STRUCT = 15, 15, 128, 4, 12


class Told(NamedTuple):
    """Of a file its `rows` and, of each column x that it tells enough of, how many are null (`n x`), by these names.

    ends: of those that have some the least and the greatest value of every row group. A text of more than 64 bytes is
    cut, and still a bound.
    """

    counts: Mapping[str, int]
    ends: pl.DataFrame


NOTHING = Told({}, pl.DataFrame())


def told(last: Callable[[int], bytes], schema: pl.Schema) -> Told:
    """What a file that Polars wrote says of the columns of `schema`, none of which is nested.

    Of floats nothing: NaN is in none of their bounds. last: gives that many bytes from its end.
    """
    footer = _footer(last)
    groups = [
        (group[_ROWS_OF_GROUP], {each[_COLUMN][_PATH][0].decode(): each[_COLUMN] for each in group[_CHUNKS]})
        for group in footer[_GROUPS]
    ]
    counts, ends = {"rows": int(footer[_ROWS])}, list[pl.Series]()
    for name, dtype in schema.items():
        said = [(rows, chunks[name][_TYPE], chunks[name].get(_STATISTICS, {})) for rows, chunks in groups]
        needed = {_NULLS, _MIN, _MAX} if isinstance(dtype, RANGED) else {_NULLS}
        if dtype.is_float() or not all(needed <= each.keys() or each.get(_NULLS) == rows for rows, _, each in said):
            continue
        counts[f"n {name}"] = sum(each[_NULLS] for _, _, each in said)
        if _MIN in needed:
            values = [_value(each.get(bound), dtype, kind) for _, kind, each in said for bound in (_MIN, _MAX)]
            stored = dtype if isinstance(dtype, pl.String | pl.Decimal) else pl.Int64()
            ends.append(pl.Series(name, values, stored).cast(dtype))
    return Told(counts, pl.DataFrame(ends))


def unpacked(last: Callable[[int], bytes], schema: pl.Schema) -> tuple[list[tuple[int, int]], list[str]]:
    """Of each row group the rows and the bytes that they take in memory; and the columns of which more is not told.

    Of texts that a file shortens (each said once, and then by its number) only what they take there is in it.
    """
    groups, shortened = list[tuple[int, int]](), set[str]()
    for group in _footer(last)[_GROUPS]:
        rows, there = group[_ROWS_OF_GROUP], dict[str, int]()
        for told in (each[_COLUMN] for each in group[_CHUNKS]):
            name, kind = told[_PATH][0].decode(), told[_TYPE]
            is_flat = len(told[_PATH]) == 1 and not isinstance(schema.get(name), pl.Decimal)
            taken = told[_VALUES] * (_TAKEN.get(kind, AT_MOST) if is_flat else AT_MOST)
            there[name] = there.get(name, 0) + taken + (told[_UNPACKED] if kind == _TEXT else 0)
            if kind == _TEXT and name in schema and not _AS_IT_IS.issuperset(told[_ENCODINGS]):
                shortened.add(name)
        groups.append((rows, sum(there.values()) + rows * AT_MOST * len(schema.keys() - there)))
    return groups, sorted(shortened)


def _footer(last: Callable[[int], bytes]) -> Any:
    end = last(AT_FIRST)
    length = int.from_bytes(end[-_AFTER:][:4], "little") + _AFTER
    return _read(iter(end[-length:] if length <= len(end) else last(length)))


def _value(stored: bytes | None, dtype: pl.DataType, kind: int) -> object:
    if stored is None:
        return None
    if isinstance(dtype, pl.String):
        return stored.decode()
    number = int.from_bytes(stored, "big" if kind == _GREATEST_FIRST else "little", signed=True)
    return Decimal(number).scaleb(-dtype.scale, _ALL_DIGITS) if isinstance(dtype, pl.Decimal) else number


def _number(take: Iterator[int]) -> int:
    number = shift = 0
    while (byte := next(take)) & _GOES_ON:
        number, shift = number | (byte & ~_GOES_ON) << shift, shift + 7
    return number | byte << shift


def _read(take: Iterator[int], kind: int = _STRUCT) -> Any:
    """The next value; a struct as a mapping by the ids of its fields."""
    match kind:
        case 1 | 2:
            return kind == 1
        case 3:
            return next(take)
        case 4 | 5 | 6:
            folded = _number(take)
            return folded >> 1 ^ -(folded & 1)
        case 8:
            return bytes(islice(take, _number(take)))
        case 9:
            head = next(take)
            return [_read(take, head & _KIND) for _ in range(head >> 4 if head >> 4 != _LONG else _number(take))]
        case _:
            fields, field = dict[int, Any](), 0
            while head := next(take):
                field = field + (head >> 4) if head >> 4 else _read(take, _NUMBER)
                fields[field] = _read(take, head & _KIND)
            return fields
