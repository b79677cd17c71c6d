"""What a run of a table that keeps its history writes: the versions that what was seen begins, ends or changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import polars as pl

from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.source import Snapshots
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.declare.write import VALID_TO, History, Vanished
from lakehouse.engine.delta import quarantine
from lakehouse.engine.delta.delivery import Delivery
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.history import Versions
from lakehouse.engine.orchestrate.inputs import Rows

SEEN = "seen at"
"""The transaction that says up to which time the table has seen: days or microseconds from 1970 on."""


@dataclass(frozen=True)
class Made:
    """The versions that a run writes, and the time up to which it has seen."""

    versions: pl.DataFrame
    facts: dict[str, object]
    transactions: Mapping[str, int]

    def delivered(self, delivery: Delivery) -> Delivery:
        """A delivery of the versions instead of what was seen."""
        transactions = {**delivery.transactions, **self.transactions}
        return replace(delivery, accepted=self.versions, transactions=transactions)


@dataclass(frozen=True)
class Seen:
    """What a run has seen: `accepted`, a row for each thing and time, and `rejected`, which did not pass.

    own: the table that they come to, None where it is made anew. handed: what the transform was given.
    """

    declared: Declaration
    write: History
    own: Handle | None
    accepted: pl.DataFrame
    rejected: pl.DataFrame
    handed: Sequence[pl.LazyFrame]

    def is_late(self, *, takes_back: bool) -> bool:
        """Whether it cannot be placed: some of it is not later than all that was seen, or a file takes back what was.

        Nothing is late where the table is made anew.
        """
        first = _number(self._times.min())
        is_earlier = self._before is not None and first is not None and first <= self._before
        return self.own is not None and (is_earlier or takes_back)

    def versions(self, place: Place, rows: Sequence[Rows]) -> Made:
        write, key = self.write, self.declared.key_columns
        who = tuple(name for name in key if name != write.valid_at)
        tracks = tuple(write.tracks or [name for name in self.accepted.columns if name not in (*key, VALID_TO)])
        whole = self._whole_times(place, rows)
        standing, before = self._open(who), self._before
        made = Versions(who, write.valid_at, tracks).made(self.accepted, standing, seen=before, whole=whole)
        begun = made.join(standing, on=key, how="anti").height
        last = _number(self._times.max())
        facts: dict[str, object] = {
            "versions_begun": begun,
            "versions_ended": made[VALID_TO].is_not_null().sum(),
            "rows_of_standing_versions": self.accepted.height - begun,
        }
        return Made(made, facts, {} if last is None else {SEEN: last})

    @property
    def _times(self) -> pl.Series:
        return self.accepted[self.write.valid_at]

    @cached_property
    def _before(self) -> int | None:
        return self.own.transaction(SEEN) if self.own else None

    @property
    def _closes(self) -> bool:
        return self.write.vanished is Vanished.CLOSED

    def _open(self, who: Sequence[str]) -> pl.DataFrame:
        """The open versions of what was seen, or of everything where what was not seen is closed."""
        if self.own is None:
            return self.accepted.clear()
        standing = self.own.scan().filter(pl.col(VALID_TO).is_null())
        if not self._closes:
            seen = self.accepted.lazy().select(who)
            standing = standing.join(seen, on=list(who), how="semi", maintain_order="left")
        return standing.select(self.accepted.columns).collect()

    def _whole_times(self, place: Place, rows: Sequence[Rows]) -> pl.Series:
        """The times of which all came and was read: only these say that what was not there is gone."""
        times = self._times.unique()
        if not self._closes:
            return times.clear()
        partly = [self.rejected[self.write.valid_at], *self._partly_read(place, rows)]
        return times.filter(~times.is_in(pl.concat(partly).unique().implode()))

    def _partly_read(self, place: Place, rows: Sequence[Rows]) -> Iterator[pl.Series]:
        """The times of the snapshots of which rows were set aside, as they landed or as they were read."""
        at = ["source_file", "batch"]
        for each, frame in zip(rows, self.handed, strict=True):
            upstream, handle = each.input.read.upstream, each.input.handle
            if handle is None or not isinstance(upstream.source, Snapshots):
                continue
            landed = quarantine.read(handle, place.quarantine(upstream)).select(at).unique().collect()
            partly = pl.concat([landed, each.unread.select(at)]).lazy()
            some = frame.join(partly, on=at, how="semi", maintain_order="left")
            out = self.declared.transform(*(some if one is frame else one for one in self.handed))
            yield out.select(pl.col(self.write.valid_at).unique()).collect().to_series()


def _number(time: object) -> int | None:
    return None if time is None else int(pl.Series([time]).to_physical().item())
