"""Which of several rows of one key is written, of those that came."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.declare.write import History, Merge
from lakehouse.engine.delta.hashed import row_hash
from lakehouse.engine.quality.verdict import Verdict


def last_of_each_key(declared: Declaration, verdict: Verdict) -> pl.DataFrame:
    """Of what is accepted the last row of each key where a table keeps one: by arrival, or by `newest_by` before that.

    Which of them is older than the one that stands is told where they are merged.
    """
    key = declared.key_columns
    match declared.write:
        case Merge(newest_by=None) | History():
            return _last(verdict.rows, verdict.is_accepted, key)
        case Merge(newest_by=str(by)):
            rows = verdict.accepted.sort(by, nulls_last=False, maintain_order=True)
            return _last(rows, pl.repeat(value=True, n=rows.height, eager=True), key)
        case _:
            return verdict.accepted


def parted(declared: Declaration, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """The rows that are written; and those that take away what stands of their key, where a table knows such."""
    if declared.marker is None:
        return rows, None
    deletes = rows[declared.marker]
    return rows.filter(~deletes).drop(declared.marker), rows.filter(deletes)


def _last(rows: pl.DataFrame, counts: pl.Series, key: Sequence[str]) -> pl.DataFrame:
    """Of the rows that count, copied once.

    `unique` of all columns is the same, for several times the work: few keys come twice, and only these are told.
    """
    hashes = rows.select(row_hash(key)).to_series()
    ordered = hashes.filter(counts).sort()
    twice = (hashes.is_in(ordered.filter(ordered == ordered.shift()).implode()) & counts).arg_true()
    is_last = rows[twice].select(pl.struct(key).is_last_distinct()).to_series()
    stays = counts.clone().scatter(twice.filter(~is_last), values=False)
    return rows if stays.all() else rows.filter(stays)
