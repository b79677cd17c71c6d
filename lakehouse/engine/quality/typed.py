"""Bronze text → the declared types, row by row: a row reads whole and exactly, or it is set aside whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from lakehouse.engine.declare.column import Column
from lakehouse.engine.declare.contract import Contract, columns_of
from lakehouse.engine.declare.table import PROVENANCE
from lakehouse.engine.quality.text import read_text, unread


@dataclass(frozen=True)
class Typed:
    """Every stored row once: `read` as the declared types and where it is from, `unread` as it is stored."""

    read: pl.DataFrame
    unread: pl.DataFrame


def typed(contract: type[Contract], stored: pl.LazyFrame) -> Typed:
    """Part the rows that read exactly from those that do not; both keep the order.

    Each value is read once. Only when one of them did not read is it asked, row by row, which.
    """
    columns = columns_of(contract)
    raw = stored.collect()
    read = raw.select(*(read_text(pl.col(each.name), each).alias(each.name) for each in columns), *PROVENANCE)
    if not _any_unread(raw, read, columns):
        return Typed(read, raw.clear())
    wrong = raw.select(pl.any_horizontal(unread(pl.col(each.name), each) for each in columns)).to_series()
    return Typed(read.filter(~wrong), raw.filter(wrong))


def _any_unread(raw: pl.DataFrame, read: pl.DataFrame, columns: tuple[Column, ...]) -> bool:
    """Whether `unread` would be true of any row, told from the nulls that reading added: no value is read again."""
    for each in columns:
        came, text = read[each.name], raw[each.name]
        if came.null_count() > text.null_count() or (text.null_count() and not each.nullable):
            return True
        if not each.dtype.is_nested():
            continue
        # each look into a list in several pieces would lay them together anew: 6 GB for 500 MB of documents
        asked = pl.DataFrame({"raw": text.rechunk(), "read": came.rechunk()})
        if asked.lazy().select(pl.any_horizontal(_wrong(pl.col("raw"), pl.col("read"), each))).collect().item():
            return True
    return False


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
