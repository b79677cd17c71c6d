"""Which of several rows of one key is written: of those that came, and beside the one that stands."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.declare.write import History, Merge
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.writes import standing_rows


def last_of_each_key(declared: Declaration, rows: pl.DataFrame, own: Handle | None) -> pl.DataFrame:
    """The last row of each key where a table keeps one: by arrival, or by `newest_by` and then by arrival.

    own: the table that they are merged into; a row that is older than the one that stands there does not win.
    """
    key = declared.key_columns
    match declared.write:
        case Merge(newest_by=None) | History():
            return _last(rows, key)
        case Merge(newest_by=str(by)):
            winners = _last(rows.sort(by, nulls_last=False, maintain_order=True), key)
            return winners if own is None or winners.is_empty() else _not_older(winners, own, key, by)
        case _:
            return rows


def _last(rows: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """`unique` of all columns is the same, for several times the work: few keys come twice, and only these are told."""
    keys = pl.struct(key)
    hashes = rows.select(keys.hash()).to_series()
    ordered = hashes.sort()
    twice = hashes.is_in(ordered.filter(ordered == ordered.shift()).implode()).arg_true()
    is_last = rows[twice].select(keys.is_last_distinct()).to_series()
    if is_last.all():
        return rows
    stays = pl.repeat(value=True, n=rows.height, eager=True)
    return rows.filter(stays.scatter(twice.filter(~is_last), values=False))


def _not_older(rows: pl.DataFrame, own: Handle, key: Sequence[str], by: str) -> pl.DataFrame:
    standing = standing_rows(own, rows.select(key), [*key, by]).collect()
    beside = rows.join(standing.rename({by: "of the standing row"}), on=list(key), how="left", maintain_order="left")
    stood = pl.col("of the standing row")
    return beside.filter(stood.is_null() | (pl.col(by) >= stood).fill_null(value=False)).select(rows.columns)
