"""What a table that keeps its history may not say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import polars as pl

from lakehouse.engine.declare.contract import columns_of
from lakehouse.engine.declare.source import Snapshots
from lakehouse.engine.declare.write import VALID_TO, Append, History, Reading, Vanished

if TYPE_CHECKING:
    from lakehouse.engine.declare.table import Declaration


def in_history(declared: Declaration, write: History) -> Iterator[str]:
    """The faults of `History(…)`: of its columns, and of what it reads."""
    yield from _in_columns(declared, write)
    yield from _in_reads(declared, write)


def _in_columns(declared: Declaration, write: History) -> Iterator[str]:
    name, columns = declared.contract.__name__, {each.name: each for each in columns_of(declared.contract)}
    since, until = columns.get(write.valid_at), columns.get(VALID_TO)
    if since is None:
        yield f"History(valid_at={write.valid_at!r}) names no column of {name}."
        return
    if since.dtype not in (pl.Date(), pl.Datetime("us", "UTC")):
        yield f"History(valid_at={write.valid_at!r}): {since.dtype} is no day or moment; make it a `date` or `Utc`."
    if not since.key or len(declared.key_columns) == 1:
        yield (
            f"History(): the key of {name} is who, and {write.valid_at!r}; mark both with column(…, key=True), since "
            "one of them has several versions."
        )
    if until is None or until.dtype != since.dtype or not until.nullable:
        yield (
            f"History(): {name} needs `{VALID_TO}: … = column('…', nullable=True)` of the type of {write.valid_at!r}, "
            "null while a version holds. The table fills it; the transform does not return it."
        )
    for each in write.tracks:
        if each not in columns or columns[each].key or each == VALID_TO:
            yield f"History(tracks=…): {each!r} is no column of {name} beside its key and {VALID_TO}."


def _in_reads(declared: Declaration, write: History) -> Iterator[str]:
    new = [read.upstream for read in declared.reads if read.reading is Reading.NEW]
    forgets = [read.upstream for read in declared.reads if not isinstance(read.upstream.write, Append)]
    if not new and forgets:
        upstream = forgets[0]
        yield (
            f"History() of Frame[{upstream.contract.__name__}] cannot be made anew: {upstream.key} is written by "
            f"{type(upstream.write).__name__}(), which forgets what was. Read New rows of the table that it is made of."
        )
    if write.vanished is Vanished.CLOSED and not (len(new) == 1 and isinstance(new[0].source, Snapshots)):
        yield (
            "History(vanished=Vanished.CLOSED) closes what a later snapshot no longer holds, so it reads the New rows "
            "of one table whose source is Snapshots(…), and of no other."
        )
