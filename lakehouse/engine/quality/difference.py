"""What would change: the exact difference between the rows that stand and the rows that would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import polars as pl

from lakehouse.engine.declare.number import number
from lakehouse.engine.quality.masks import masked


@dataclass(frozen=True)
class Difference:
    """Rows that are only here, only there, or (with a key) at both places and not equal.

    They are compared by the columns of both, as far as these hold each other's values; `columns` says in words which
    are not the same. Of `personal` columns no value is told.
    """

    same: int
    gone: pl.DataFrame
    new: pl.DataFrame
    changed: pl.DataFrame
    columns: tuple[str, ...] = ()
    personal: tuple[str, ...] = ()

    @property
    def is_none(self) -> bool:
        return not self.columns and self._rows_are_the_same

    @property
    def _rows_are_the_same(self) -> bool:
        return self.gone.is_empty() and self.new.is_empty() and self.changed.is_empty()

    def parts(self) -> Iterator[tuple[str, pl.DataFrame]]:
        """What is not the same, by its word; of changed rows only the columns in which one did."""
        for word, rows in (("gone", self.gone), ("new", self.new), ("changed", _without_same(self.changed))):
            if not rows.is_empty():
                yield word, masked(rows, [*self.personal, *(f"{name}__was" for name in self.personal)])

    def __str__(self) -> str:
        if self.is_none:
            return f"no difference: {number(self.same, 'row')} the same"
        said = (
            f"{number(self.same, 'row')} the same, {self.new.height:,} new, {self.gone.height:,} gone, "
            f"{self.changed.height:,} changed"
        )
        if self.columns and self._rows_are_the_same:
            said = f"{number(self.same, 'row')}, the same where they can be compared"
        return "; ".join([*self.columns, said])


def difference(standing: pl.DataFrame, would: pl.DataFrame, key: Sequence[str]) -> Difference:
    """Compare two frames row by row; repeated rows are counted, order is not.

    `changed` has the key, and of each other column `<name>` (as it would be) and `<name>__was`. A key of which a
    column is new, or of a type that has not all of its values, names no rows of both: whole rows are compared then.
    """
    told, standing = tuple(_columns(standing.schema, would.schema)), _exactly_as(standing, would.schema)
    would = _exactly_as(would, standing.schema)
    both = [name for name, dtype in would.schema.items() if standing.schema.get(name) == dtype]
    if not both:
        return Difference(0, gone=standing, new=would, changed=would.clear(), columns=told)
    found = _of_rows(standing.select(both), would.select(both), key if set(key) <= set(both) else [])
    return replace(found, columns=told)


def _columns(standing: pl.Schema, would: pl.Schema) -> Iterator[str]:
    yield from (f"new column: {name}" for name in would if name not in standing)
    yield from (f"column gone: {name}" for name in standing if name not in would)
    for name, dtype in would.items():
        if name in standing and standing[name] != dtype:
            yield f"type of {name}: {standing[name]} -> {dtype}"
    if set(standing) == set(would) and list(standing) != list(would):
        yield f"order of the columns: {', '.join(would)}"


def _exactly_as(rows: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """The columns with the types that they have there, where each value reads back as it was; text is not parsed."""
    for column in rows:
        there = schema.get(column.name, column.dtype)
        if there != column.dtype and pl.String not in (there, column.dtype):
            with suppress(pl.exceptions.PolarsError):  # the one has no words for the other
                became = column.cast(there, strict=False)
                if not became.cast(column.dtype, strict=False).ne_missing(column).any():
                    rows = rows.with_columns(became)
    return rows


def _of_rows(standing: pl.DataFrame, would: pl.DataFrame, key: Sequence[str]) -> Difference:
    names = standing.columns
    rest = [name for name in names if name not in key]
    left, right = _numbered(standing, key or names), _numbered(would.select(names), key or names)
    on = [*(key or names), "__nth"]
    both = left.join(right, on=on, how="inner", nulls_equal=True, suffix="__would")
    differs = pl.any_horizontal(
        pl.lit(value=False), *(pl.col(n).ne_missing(pl.col(f"{n}__would")) for n in rest if key)
    )
    changed = both.filter(differs)
    return Difference(
        same=both.height - changed.height,
        gone=left.join(right, on=on, how="anti", nulls_equal=True).select(names),
        new=right.join(left, on=on, how="anti", nulls_equal=True).select(names),
        changed=changed.select(
            *key, *(e for n in rest if key for e in (pl.col(f"{n}__would").alias(n), pl.col(n).alias(f"{n}__was")))
        )
        if key
        else changed.select(names),
    )


def _without_same(changed: pl.DataFrame) -> pl.DataFrame:
    """Without the columns of which `<name>` is `<name>__was` in every row."""
    pairs = [name for name in changed.columns if f"{name}__was" in changed.columns]
    same = [name for name in pairs if changed[name].equals(changed[f"{name}__was"])]
    return changed.drop([*same, *(f"{name}__was" for name in same)])


def _numbered(frame: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    return frame.with_columns(__nth=pl.int_range(pl.len()).over(by))
