"""Bronze text → the declared types, row by row: a row reads whole and exactly, or it is set aside whole."""

from __future__ import annotations

import polars as pl

from lakehouse.engine.declare.contract import Contract, columns_of
from lakehouse.engine.declare.table import PROVENANCE
from lakehouse.engine.quality.text import read_text, unread


def typed(contract: type[Contract], stored: pl.LazyFrame) -> pl.LazyFrame:
    """The rows that read exactly, as the declared types, and where each came from. Keeps order.

    Shape: (n, stored columns) → (rows that read, declared columns + source_file, source_row, batch).
    """
    columns = [read_text(pl.col(each.name), each).alias(each.name) for each in columns_of(contract)]
    return stored.filter(~_any_unread(contract)).select(*columns, *PROVENANCE)


def set_aside(contract: type[Contract], stored: pl.LazyFrame) -> pl.LazyFrame:
    """The rows that do not read exactly, as they are stored. Keeps order."""
    return stored.filter(_any_unread(contract))


def _any_unread(contract: type[Contract]) -> pl.Expr:
    return pl.any_horizontal(unread(pl.col(each.name), each) for each in columns_of(contract))
