"""Files that lie beside a table and wait for their commit, and that commit: again on top of what rivals made meanwhile.

A commit is version + 1 or nothing (Handle.commit). Where a rival was first it is tried again on the newest version as
long as it would have come out the same there: the files that it removes stand, the rows that were looked for are what
they were, and no rival wrote its transactions, which would say that our work was done by another run. Where rows lie in
other files only, what overlaps is prepared anew. All else is a Conflict: whoever planned must read again and decide.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl
from deltalake import Schema as DeltaSchema

from lakehouse.engine.declare.errors import Conflict
from lakehouse.engine.declare.number import number
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.log import MERGED
from lakehouse.engine.delta.plan import Plan
from lakehouse.engine.delta.rivals import Since, since
from lakehouse.engine.delta.statistics import DataFile
from lakehouse.engine.delta.vectors import Mark

ATTEMPTS = 200
"""Each lost one is a commit of a rival's. Of ten that append without a pause one lost 26 times in a row."""

_PAUSE_SECONDS = 0.002
_LONGEST_PAUSE_SECONDS = 0.1
_SIGN = "came or went"  # holds a space, so that no column of a table can have this name


@dataclass(frozen=True)
class Written:
    """What one commit did. `rows` and `bytes` are the table's, `rows_written` those of the frame that was given.

    plan: that of a merge.
    """

    handle: Handle
    version: int
    rows: int
    rows_written: int
    files_added: int
    files_removed: int
    bytes: int
    bytes_written: int
    plan: Plan | None = None


@dataclass(frozen=True)
class Reads:
    """What a plan hangs on beside the files that it removes.

    finds: of these files of that version, the rows that were looked for, each row in the same part of them anywhere.
    plan: the same, prepared for that version. are_replaced: such rows go whatever they say, so that they may change;
    where not, something was made of them.
    """

    finds: Callable[[Handle, Sequence[str]], Iterable[pl.LazyFrame]]
    plan: Callable[[Handle], Prepared]
    are_replaced: bool = False


@dataclass(frozen=True)
class Prepared:
    """Data files that lie beside the table, and what they take the place of; nothing until it is committed.

    reads: None where nothing was looked for: an append, or files that are laid together (`rearranges`).
    marked: files that stay and lose rows by a deletion vector.
    plan: what was told of a merge before. by: the columns of the table's folders, where it is made anew.
    is_whole: the rows are all there is, also of what a rival appends meanwhile: they are the later ones.
    """

    handle: Handle
    added: tuple[DataFile, ...]
    removed: tuple[str, ...]
    rows_written: int
    schema: DeltaSchema | None = None
    by: tuple[str, ...] | None = None
    reads: Reads | None = None
    is_whole: bool = False
    rearranges: bool = False
    marked: Mapping[str, Mark] = field(default_factory=dict[str, Mark])
    plan: Plan | None = None

    def commit(self, transactions: Mapping[str, int], note: Mapping[str, str]) -> Written:
        """One version: the next one of `handle`, or one on top of what rivals made of it; else Conflict."""
        return until_first(self, dict.fromkeys(transactions), lambda prepared: prepared.once(transactions, note))

    def once(self, transactions: Mapping[str, int], note: Mapping[str, str]) -> Written:
        """One version, exactly the next one of `handle`; else Conflict."""
        if self.plan is not None and self.plan.rows:
            note = {**note, MERGED: f"{number(self.plan.rows, 'row')} by {self.plan.way}"}
        handle = self.handle.commit(
            self.added,
            self.removed,
            transactions,
            note,
            schema=self.schema,
            by=self.by,
            rearranges=self.rearranges,
            moves=not self.is_whole and (self.plan is None or bool(self.plan.passes)),
            marked=self.marked,
        )
        return Written(
            handle=handle,
            version=handle.version,
            rows=handle.rows,
            rows_written=self.rows_written,
            files_added=len(self.added),
            files_removed=len(self.removed),
            bytes=handle.bytes,
            bytes_written=sum(file.size for file in self.added),
            plan=self.plan,
        )


def until_first(
    prepared: Prepared, guarded: Mapping[str, int | None], commit: Callable[[Prepared], Written]
) -> Written:
    """Commit until no rival comes first. Raises Conflict where `on_top` does, or after ATTEMPTS."""
    return in_turn(prepared, commit, lambda prepared, lost: on_top(prepared, guarded, lost))


def in_turn[P, W](prepared: P, commit: Callable[[P], W], again: Callable[[P, Conflict], P]) -> W:
    """Delta's own loop: commit; where a rival came first, `again` says what is to be committed then, or raises."""
    for attempt in range(1, ATTEMPTS):
        try:
            return commit(prepared)
        except Conflict as lost:
            longest = min(_PAUSE_SECONDS * attempt, _LONGEST_PAUSE_SECONDS)
            time.sleep(random.uniform(0, longest))  # noqa: S311 # so that rivals do not meet again
            prepared = again(prepared, lost)
    return commit(prepared)


def on_top(prepared: Prepared, guarded: Mapping[str, int | None], lost: Conflict) -> Prepared:
    """The same, ready to be committed on the newest version. Raises `lost` where it must be decided anew.

    guarded: transactions that no rival may have written, and the number which it may have, if there is one.
    """
    before, now = prepared.handle, since(prepared.handle)
    if now is None or now.moved(guarded) or not _is_alike(before, now.handle) or _reshapes(prepared):
        raise lost
    newest = now.handle.leaving_out(before.unmeasured)
    newest.readers = before.readers
    is_beaten = prepared.plan is not None and prepared.plan.older and not now.rearranges  # by rows that may have gone
    overlaps = bool(now.went) if is_beaten else not now.went.isdisjoint({*prepared.removed, *prepared.marked})
    if prepared.is_whole and (now.rearranges or not overlaps):
        return replace(prepared, handle=newest, removed=tuple(newest.files()["path"]))
    if prepared.reads is None or prepared.is_whole:
        if overlaps:
            raise lost
        return replace(prepared, handle=newest)
    if not overlaps and (not now.came or all(map(_is_empty, prepared.reads.finds(newest, now.came)))):
        return replace(prepared, handle=newest)
    if not prepared.reads.are_replaced and not now.rearranges and _differ(prepared, prepared.reads, now):
        raise lost
    return prepared.reads.plan(newest)


def _is_alike(one: Handle, other: Handle) -> bool:
    return (one.id, one.schema, one.partition_by) == (other.id, other.schema, other.partition_by)


def _reshapes(prepared: Prepared) -> bool:
    """Rows that rivals wrote are of the old shape."""
    return prepared.schema is not None


def _is_empty(rows: pl.LazyFrame) -> bool:
    return rows.head(1).collect().is_empty()


def _differ(prepared: Prepared, reads: Reads, now: Since) -> bool:
    """Whether a row that was looked for came, went or changed, and was not only carried into another file."""
    went = [path for path in prepared.handle.files()["path"] if path in now.went]
    parts = zip(reads.finds(prepared.handle, went), reads.finds(now.handle, now.came), strict=True)
    names = prepared.handle.schema.names()
    try:
        return any(not _is_empty(_moved(names, *part)) for part in parts)
    except FileNotFoundError:  # cleaned away: it cannot be told
        return True


def _moved(names: Sequence[str], went: pl.LazyFrame, came: pl.LazyFrame) -> pl.LazyFrame:
    signed = [went.with_columns(pl.lit(-1).alias(_SIGN)), came.with_columns(pl.lit(1).alias(_SIGN))]
    return pl.concat(signed).group_by(names).agg(pl.col(_SIGN).sum()).filter(pl.col(_SIGN) != 0)
