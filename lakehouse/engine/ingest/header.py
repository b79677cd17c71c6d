"""Files whose columns are named once, at their head: which of them are declared, and which go to `extra`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice

import polars as pl

from lakehouse.engine.declare.column import Column
from lakehouse.engine.ingest.misfit import Misfit, OverLimit
from lakehouse.engine.quality.masks import MASK

__all__ = ["LINE", "Layout", "arranged", "by_header", "pointer", "shown"]

LINE = "source_row"
NAMES = 10  # that are shown
LONGEST_NAME = 60  # characters of it that are shown


@dataclass(frozen=True)
class Layout:
    """Where in a record each declared column stands, None where it does not, and what else stands where."""

    width: int
    places: Mapping[str, int | None]
    unknown: Mapping[str, int]


def by_header(header: Sequence[str], columns: Sequence[Column], limit: int) -> Layout:
    """Find the declared columns by name, in any order, under their present name or the one before.

    Raises Misfit where a name stands twice, or a column is missing that may not be or that seems renamed; OverLimit.
    """
    if len(header) > limit:
        raise OverLimit(f"it has {len(header):,} columns, more than", "columns", limit)
    was = {each.was: each.name for each in columns if each.was is not None}
    nullable = {each.name: each.nullable for each in columns}
    now = [was.get(name, name) for name in header]
    if len(set(now)) < len(now):
        twice = sorted({name for name, known in zip(header, now, strict=True) if now.count(known) > 1})
        raise Misfit(f"its header names one column more than once: {shown(twice, columns)}")
    places = {name: now.index(name) if name in now else None for name in nullable}
    unknown = {name: place for place, name in enumerate(now) if name not in nullable}
    missing = [name for name, place in places.items() if place is None]
    # a column that may be null and is not there is null, but not where another one came that may be it, renamed
    if unmet := [name for name in missing if unknown or not nullable[name]]:
        raise Misfit("; ".join(_missing(name, unknown, columns) for name in unmet))
    return Layout(len(header), places, unknown)


def _missing(name: str, unknown: Mapping[str, int], columns: Sequence[Column]) -> str:
    if not unknown:
        return f"column {name!r} is missing"
    close = [*unknown] if len(unknown) == 1 else get_close_matches(name, unknown, n=1, cutoff=0.5)
    said = f"column {name!r} is missing, and {shown(unknown, columns)} came"
    return said + (f" (if that is it: was={shown(close, columns)})" if close else "")


def shown(names: Iterable[str], columns: Sequence[Column] = ()) -> str:
    """Some names, for a person; a file that is no text at all may have one of a megabyte.

    Where a column is personal, names that none has are masked: a file that came without its header has values there.
    """
    known = {name for each in columns for name in (each.name, each.was)}
    hides = any(each.is_personal for each in columns)
    some = [MASK if hides and name not in known else repr(_cut(name)) for name in islice(names, NAMES + 1)]
    return ", ".join(some[:NAMES]) + (", …" if len(some) > NAMES else "")


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…"


def arranged(
    rows: pl.DataFrame,
    stands: Layout,
    file: int | pl.Series,
    shaped: Callable[[str, str | None], pl.Expr] | None = None,
) -> pl.DataFrame:
    """The declared columns, `extra`, `source_file`, `source_row`, of rows whose fields are named by their place.

    shaped: the expression of a declared column by its name and its field, None where it has none; text by default.
    """
    shaped = shaped or _text
    declared = [
        shaped(name, None if place is None else f"{place}").alias(name) for name, place in stands.places.items()
    ]
    unknown = [pl.col(f"{place}").alias(pointer([name])) for name, place in stands.unknown.items()]
    extra = pl.struct(unknown).struct.json_encode() if unknown else pl.lit(None, pl.String)
    return rows.select(*declared, extra.alias("extra"), pl.lit(file, pl.Int64).alias("source_file"), LINE)


def _text(_: str, field: str | None) -> pl.Expr:
    return pl.lit(None, pl.String) if field is None else pl.col(field)


def pointer(path: Sequence[str | int]) -> str:
    """RFC 6901: ("lines", 0, "a/b") -> "/lines/0/a~1b"."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)
