"""Z-order: rows that are near each other in several columns at once get numbers that are near each other.

Of each column a row's rank among all rows counts, not its value; the bits of the ranks, taken in turn, are its place on
Morton's curve. Files that each hold a stretch of the curve have narrow ranges in every one of the columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

BITS = 10
"""1,024 ranks of each column: more than there are files to tell apart."""
SAMPLE = 200_000


@dataclass(frozen=True)
class Curve:
    """`ranks`: of each column the values at which a rank ends; `ends`: where a file's stretch does."""

    columns: tuple[str, ...]
    ranks: tuple[pl.Series, ...]
    ends: pl.Series

    @classmethod
    def of(cls, rows: pl.LazyFrame, columns: Sequence[str], count: int, files: int) -> Curve:
        """The curve of `count` rows, cut into stretches of as many rows for each of so many files.

        A sample of the columns is held in memory, however many rows there are.
        """
        wanted = rows.select(_comparable(pl.col(name), rows.collect_schema()[name]) for name in columns)
        sample = wanted.gather_every(max(1, count // SAMPLE)).collect(engine="streaming")
        ranks = tuple(_at_even_places(sample[name].drop_nulls(), 1 << BITS) for name in columns)
        curve = cls(tuple(columns), ranks, pl.Series([], dtype=pl.UInt64))
        return cls(tuple(columns), ranks, _at_even_places(curve.places(sample), files))

    def places(self, rows: pl.DataFrame) -> pl.Series:
        """Where each row lies on the curve; `rows` has the columns, comparable."""
        step, place = len(self.columns), pl.zeros(rows.height, pl.UInt64, eager=True)
        for offset, (name, ends) in enumerate(zip(self.columns, self.ranks, strict=True)):
            spread = pl.Series(
                [_spread(rank, step) << (step - 1 - offset) for rank in range(1 << BITS)], dtype=pl.UInt64
            )
            values = rows[name]
            rank = ends.search_sorted(values, side="left").zip_with(
                values.is_not_null(), pl.zeros(len(values), pl.UInt32, eager=True)
            )
            place += spread.gather(rank)
        return place

    def file(self, schema: pl.Schema) -> pl.Expr:
        """The number of the file that a row belongs in, from 0."""
        columns = pl.struct(_comparable(pl.col(name), schema[name]) for name in self.columns)
        return columns.map_batches(self._files, return_dtype=pl.UInt32(), is_elementwise=True)

    def _files(self, rows: pl.Series) -> pl.Series:
        return self.ends.search_sorted(self.places(rows.struct.unnest()), side="left").alias(rows.name)


def mark(columns: Sequence[str]) -> str:
    """What the names of files say that lie by these columns. Holds a space: as a column's name it is nobody's."""
    return f" z{hashlib.sha256(repr(tuple(columns)).encode()).hexdigest()[:8]}"


def _comparable(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """As what can be ranked; equal ones of a decimal may differ by then, and only fall together."""
    if isinstance(dtype, pl.Boolean):
        return column.cast(pl.Int8)
    return column.cast(pl.Float64) if isinstance(dtype, pl.Decimal) else column


def _at_even_places(values: pl.Series, parts: int) -> pl.Series:
    """The values that end each of so many equal parts, but the last; of equal ones a part may be empty."""
    height = len(values)
    if not height:
        return values
    return values.sort().gather([max(0, height * part // parts - 1) for part in range(1, parts)])


def _spread(rank: int, step: int) -> int:
    """The bits of a rank, each `step` places from the next."""
    return sum((rank >> bit & 1) << bit * step for bit in range(BITS))
