"""What names a row, and whether each file is the whole of its source: both as the rows that were read prove it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import polars as pl

from lakehouse.engine.declare.number import number
from lakehouse.propose.written import shown

__all__ = ["Keys", "keys", "valid_at"]

FILE = "source_file"
_NAMED = frozenset({"id", "ids", "no", "nr", "num", "number", "key", "code", "sku", "uuid", "guid", "ref"})
_LONGEST = 100  # letters of a text that may name a row
_PAIRED = 4  # columns that are tried in pairs
_ENOUGH = 20  # rows from which on a pair that never repeats is no chance
_STILL_THERE = 0.9


@dataclass(frozen=True)
class Keys:
    """The columns that name a row, none where nothing proves it, and the evidence."""

    columns: tuple[str, ...]
    said: str


def keys(rows: pl.DataFrame, types: Mapping[str, pl.DataType], *, in_each_file: bool = False) -> Keys:
    """Find the key of rows (text, with `source_file`): unique and never null once exact repeats are taken away.

    `types` are what the columns read as. With `in_each_file` it names a row of its file.
    """
    if rows.height < 2:  # noqa: PLR2004 # one row repeats nothing
        return Keys((), "one row proves no key")
    fields = [name for name in rows.columns if name not in (FILE, "source_row")]
    flat = rows.select(
        FILE,
        *(
            pl.struct(name).struct.json_encode().alias(name) if rows.schema[name].is_nested() else name
            for name in fields
        ),
    )
    scope = [FILE] if in_each_file else []
    distinct = flat.unique(subset=[*scope, *fields])
    may = [name for name in fields if name in types and _may_name(distinct[name], types[name])]
    for columns in _tried(may, fields, distinct.height):
        if distinct.select(pl.struct(*scope, *columns).n_unique()).item() == distinct.height:
            return Keys(columns, _proof(columns, rows.height, distinct.height, in_each_file=in_each_file))
    return Keys((), _nearest(distinct, rows, may))


def _tried(may: Sequence[str], fields: Sequence[str], height: int) -> Iterator[tuple[str, ...]]:
    """Columns that are named like a key, the first column, then pairs of the first ones."""
    named = [name for name in may if _NAMED & set(name.lower().split("_"))]
    yield from ((name,) for name in dict.fromkeys([*named, *(each for each in fields[:1] if each in may)]))
    if height >= _ENOUGH:
        yield from combinations(list(dict.fromkeys([*named, *may[:_PAIRED]]))[: 2 * _PAIRED], 2)


def _may_name(values: pl.Series, dtype: pl.DataType) -> bool:
    if not (dtype.is_integer() or isinstance(dtype, pl.String | pl.Date | pl.Datetime)) or values.null_count():
        return False
    longest = values.str.len_chars().max()
    return isinstance(longest, int) and longest <= _LONGEST


def _proof(columns: Sequence[str], rows: int, distinct: int, *, in_each_file: bool) -> str:
    what = " and ".join(columns) + (" together" if len(columns) > 1 else "")
    where = " within each file" if in_each_file else ""
    repeats = f", beside {number(rows - distinct, 'unchanged repeat')}" if rows > distinct else ""
    return f"{what}: never null and never twice{where} in {number(distinct, 'row')}{repeats}"


def _nearest(distinct: pl.DataFrame, rows: pl.DataFrame, may: Sequence[str]) -> str:
    """The column that comes closest, and a value of it that stands twice."""
    named = [name for name in may if _NAMED & set(name.lower().split("_"))]
    if not named:
        return "no column, and no pair of the first ones, is never null and never twice"
    closest = max(named, key=lambda name: distinct[name].n_unique())
    twice = distinct.filter(pl.col(closest).is_duplicated())[closest][0]
    place = rows.filter(pl.col(closest) == twice).row(-1, named=True)
    return (
        f"{closest} comes closest: {distinct[closest].n_unique():,} distinct in {number(distinct.height, 'row')}; "
        f"{shown(twice)} comes again with other values ({shown(place[FILE], quoted=False, longest=60)}, "
        f"row {place['source_row']:,}). If a later row corrects it, make it the key, and write Merge()"
    )


def valid_at(pattern: str, rows: pl.DataFrame, types: Mapping[str, pl.DataType]) -> tuple[str, str]:
    """The part of the pattern that says when each file was the whole of its source, and the evidence; '' for neither.

    Asked: one file for each time; a key of their rows within each file; and of the keys of one file nine of ten stand
    again in the next.
    """
    parts = [part.partition("=")[0] for part in pattern.split("/") if part.partition("=")[2] == "*"]
    names = rows[FILE].unique().sort().to_list()
    if len(parts) != 1 or not parts[0].isidentifier() or parts[0] in types or len(names) < 2:  # noqa: PLR2004 # no next
        return "", ""
    place = next(place for place, part in enumerate(pattern.split("/")) if part.startswith(f"{parts[0]}="))
    if len({each.split("/")[place] for each in names}) < len(names):
        return "", ""
    found = keys(rows, types, in_each_file=True)
    if not found.columns:
        return "", ""
    held = [set(rows.filter(pl.col(FILE) == each).select(found.columns).iter_rows()) for each in names]
    still = [len(earlier & later) / len(earlier) for earlier, later in pairwise(held)]
    if min(still) < _STILL_THERE:
        return "", ""
    by = " and ".join(found.columns)
    return parts[0], f"of what one of the {len(names):,} files holds the next has {min(still):.0%} or more, by {by}"
