"""What the footers of Parquet files say of their columns (parquet.thrift, in Thrift's compact protocol).

Polars measures each row group as it writes it, so that what it has written need not be read again to be measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Context, Decimal
from typing import Any, NamedTuple

import polars as pl

from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta import store

RANGED = (
    pl.Int64, pl.Int32, pl.Int16, pl.Int8, pl.Float64, pl.Float32, pl.Date, pl.Datetime, pl.Decimal, pl.String,
)  # fmt: skip
"""Types that have a smallest and a greatest value."""

_AFTER = 8  # bytes that follow a footer; the first four say how long it is
_AT_FIRST = 1 << 16
_ROWS, _GROUPS, _CHUNKS, _ROWS_OF_GROUP, _COLUMN, _TYPE, _PATH, _STATISTICS = 3, 4, 1, 3, 3, 1, 3, 12
_NULLS, _MAX, _MIN = 3, 5, 6
_GREATEST_FIRST = 7  # the type of decimals that are too long for an integer, by the order of their bytes
_ALL_DIGITS = Context(prec=38)
_KIND, _LONG, _GOES_ON = 15, 15, 128


class Told(NamedTuple):
    """Of a file its rows and, of each column that it tells enough of, how many are null.

    ends: of those that have some the least and the greatest value of every row group. A text of more than 64 bytes is
    cut, and still a bound.
    """

    rows: int
    nulls: Mapping[str, int]
    ends: pl.DataFrame


NOTHING = Told(0, {}, pl.DataFrame())


def told(address: Address, path: str, size: int, schema: pl.Schema) -> Told:
    """What a file of so many bytes, written by Polars, says of the columns of `schema`, none of which is nested.

    Of floats nothing: NaN is in none of their bounds.
    """
    end = store.end_of(address, path, size, _AT_FIRST)
    length = int.from_bytes(end[-_AFTER:][:4], "little") + _AFTER
    footer = _Compact(end[-length:] if length <= len(end) else store.end_of(address, path, size, length)).struct()
    groups = [
        (group[_ROWS_OF_GROUP], {each[_COLUMN][_PATH][0].decode(): each[_COLUMN] for each in group[_CHUNKS]})
        for group in footer[_GROUPS]
    ]
    nulls, ends = dict[str, int](), list[pl.Series]()
    for name, dtype in schema.items():
        said = [(rows, chunks[name][_TYPE], chunks[name].get(_STATISTICS, {})) for rows, chunks in groups]
        if dtype.is_float() or not all(_is_enough(each, rows, dtype) for rows, _, each in said):
            continue
        nulls[name] = sum(each[_NULLS] for _, _, each in said)
        if isinstance(dtype, RANGED):
            values = [_value(each.get(bound), dtype, kind) for _, kind, each in said for bound in (_MIN, _MAX)]
            stored = dtype if isinstance(dtype, pl.String | pl.Decimal) else pl.Int64()
            ends.append(pl.Series(name, values, stored).cast(dtype))
    return Told(footer[_ROWS], nulls, pl.DataFrame(ends))


def _is_enough(statistics: Mapping[int, Any], rows: int, dtype: pl.DataType) -> bool:
    if not isinstance(dtype, RANGED):
        return _NULLS in statistics
    return statistics.keys() >= {_NULLS, _MIN, _MAX} or statistics.get(_NULLS) == rows


def _value(stored: bytes | None, dtype: pl.DataType, kind: int) -> object:
    if stored is None:
        return None
    if isinstance(dtype, pl.String):
        return stored.decode()
    number = int.from_bytes(stored, "big" if kind == _GREATEST_FIRST else "little", signed=True)
    return Decimal(number).scaleb(-dtype.scale, _ALL_DIGITS) if isinstance(dtype, pl.Decimal) else number


class _Compact:
    """Reads values one after the other: a struct as a mapping by the ids of its fields."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def struct(self) -> dict[int, Any]:
        fields, field = dict[int, Any](), 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else self._integer()
            fields[field] = self._value(head & _KIND)
        return fields

    def _value(self, kind: int) -> Any:
        match kind:
            case 1 | 2:
                return kind == 1
            case 3:
                return self._byte()
            case 4 | 5 | 6:
                return self._integer()
            case 8:
                length = self._length()
                self._at += length
                return self._content[self._at - length : self._at]
            case 9:
                head = self._byte()
                length = head >> 4 if head >> 4 != _LONG else self._length()
                return [self._value(head & _KIND) for _ in range(length)]
            case _:
                return self.struct()

    def _byte(self) -> int:
        self._at += 1
        return self._content[self._at - 1]

    def _length(self) -> int:
        length = shift = 0
        while (byte := self._byte()) & _GOES_ON:
            length, shift = length | (byte & ~_GOES_ON) << shift, shift + 7
        return length | byte << shift

    def _integer(self) -> int:
        folded = self._length()
        return folded >> 1 ^ -(folded & 1)
