"""Bronze text → the declared types, row by row: a row reads whole and exactly, or it is set aside whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from lakehouse.engine.declare.column import Column
from lakehouse.engine.declare.contract import Contract, columns_of
from lakehouse.engine.declare.table import PROVENANCE
from lakehouse.engine.quality.text import read_text, unread

ROWS_AT_LEAST = 1_000  # for each core; for fewer it costs more to part them
_WRONG = "does not read"
"""Beside each row whether it is one of those. Holds a space: no column can have this name."""


@dataclass(frozen=True)
class Typed:
    """Every stored row once: `read` as the declared types and where it is from, `unread` as it is stored.

    `rows`: all of them as types, with what did not read as null; where some did not, told by a column of its own.
    """

    rows: pl.DataFrame
    unread: pl.DataFrame

    @property
    def read(self) -> pl.DataFrame:
        return self.lazy().collect()

    def lazy(self) -> pl.LazyFrame:
        """What reads, left out of the rows only where they are asked for: not copied once more before that."""
        return self.rows.lazy().filter(~pl.col(_WRONG)).drop(_WRONG) if _WRONG in self.rows else self.rows.lazy()


def typed(contract: type[Contract], stored: pl.LazyFrame) -> Typed:
    """Part the rows that read exactly from those that do not; both keep the order. Each value is read once.

    Only where a nested one did not read is its column asked, row by row, which.
    """
    columns = columns_of(contract)
    raw = stored.collect()
    read = _side_by_side(
        raw, [*(read_text(pl.col(each.name), each).alias(each.name) for each in columns), *map(pl.col, PROVENANCE)]
    )
    masks = [mask for each in columns if (mask := _unread(raw[each.name], read[each.name], each)) is not None]
    if not masks:
        return Typed(read, raw.clear())
    wrong = pl.select(pl.any_horizontal(*(pl.lit(mask) for mask in masks))).to_series()
    # lists are dear to filter, and would be so for each who asks
    is_nested = any(dtype.is_nested() for dtype in read.dtypes)
    return Typed(read.filter(~wrong) if is_nested else read.with_columns(wrong.alias(_WRONG)), raw.filter(wrong))


def _side_by_side(rows: pl.DataFrame, expressions: Sequence[pl.Expr]) -> pl.DataFrame:
    """Row by row, on every core: Polars looks into all the lists of one column on a single one."""
    some = max(ROWS_AT_LEAST, -(-rows.height // pl.thread_pool_size()))
    parts = list(rows.iter_slices(some)) or [rows]
    return pl.concat(pl.collect_all([each.lazy().select(expressions) for each in parts]))


def _unread(text: pl.Series, came: pl.Series, column: Column) -> pl.Series | None:
    """The mask that `unread` gives, told from the nulls that reading added; None where it is true of no row."""
    if not column.dtype.is_nested():
        if came.null_count() == text.null_count() and (column.nullable or not text.null_count()):
            return None
        return came.is_null() & text.is_not_null() if column.nullable else came.is_null()
    # each look into a list in several pieces would lay them together anew: 6 GB for 500 MB of documents
    asked = pl.LazyFrame({"raw": text.rechunk(), "read": came.rechunk()})
    if not asked.select(pl.any_horizontal(_wrong(pl.col("raw"), pl.col("read"), column))).collect().item():
        return None
    return asked.select(unread(pl.col("raw"), column)).collect().to_series()


def _wrong(raw: pl.Expr, read: pl.Expr, column: Column) -> Iterator[pl.Expr]:
    """Scalars, one of them true where a leaf of a column holds text that did not read, or a null that may not stand."""
    if not column.nullable:
        yield raw.is_null().any()
    dtype = column.dtype
    if isinstance(dtype, pl.List):
        inner: Any = dtype.inner
        element = replace(column, dtype=inner if isinstance(inner, pl.DataType) else inner(), nullable=False)
        yield from _wrong(_items(raw), _items(read), element)
    elif isinstance(dtype, pl.Struct):
        there = raw.is_not_null()
        for field in column.fields:
            inside, came = raw.struct.field(field.name), read.struct.field(field.name)
            yield from _wrong(inside.filter(there), came.filter(there), field)
    else:
        yield (raw.is_not_null() & read.is_null()).any()


def _items(lists: pl.Expr) -> pl.Expr:
    return lists.explode(empty_as_null=False, keep_nulls=False)
