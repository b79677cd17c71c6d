"""What a run of a table that keeps its history writes: the versions that what was seen begins, ends or changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf

import polars as pl

from lakehouse.engine.declare.number import number
from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.source import Snapshots
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.declare.write import VALID_TO, History, Vanished
from lakehouse.engine.delta import quarantine
from lakehouse.engine.delta.delivery import Delivery
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.hashed import row_hash
from lakehouse.engine.delta.history import Versions
from lakehouse.engine.delta.memory import usual_budget, versions_at_once
from lakehouse.engine.delta.slices import Slices
from lakehouse.engine.orchestrate.inputs import Rows
from lakehouse.engine.orchestrate.winners import parted
from lakehouse.engine.orchestrate.work import A_DAY, EXAMPLES, SEEN, Finding, seen_until
from lakehouse.engine.quality.masks import masked

FOLLOWS = (
    "Each version begins before it ends; where it ends the next one of its thing begins, and the last one is open. "
    "Where what vanished is closed, or rows delete, there may be gaps, and the last one need not be open."
)
MOST_THINGS = 1_000_000
"""Of more, to look for what was seen of each costs more than to make all versions anew."""


@dataclass(frozen=True)
class Made:
    """The versions that a run writes, and the time up to which it has seen.

    broken: the keys of versions, of these things, that do not follow each other. deleted: the keys of versions that
    late rows take away, if any.
    """

    versions: pl.DataFrame
    broken: pl.DataFrame
    facts: dict[str, int]
    transactions: Mapping[str, int]
    deleted: pl.DataFrame | None = None

    @classmethod
    def of(cls, parts: Sequence[Made], key: Sequence[str]) -> Made:
        """Those of some things, and of others."""
        facts = {name: sum(each.facts[name] for each in parts) for name in parts[0].facts}
        return cls(
            pl.concat([each.versions for each in parts]).sort(key),
            pl.concat([each.broken for each in parts]),
            {**facts, "versions_made_in_parts": len(parts)},
            max((each.transactions for each in parts), key=lambda each: each.get(SEEN, -inf)),
        )

    def delivered(self, delivery: Delivery) -> Delivery:
        """A delivery of the versions instead of what was seen."""
        transactions = {**delivery.transactions, **self.transactions}
        return replace(delivery, accepted=self.versions, transactions=transactions, deleted=self.deleted)


@dataclass(frozen=True)
class Seen:
    """What a run has seen: `accepted`, a row for each thing and time, and `rejected`, which did not pass.

    own: the table that they come to, None where it is made anew. handed: what the transform was given.
    part: which of several parts of all things these are of.
    """

    declared: Declaration
    write: History
    own: Handle | None
    accepted: pl.DataFrame
    rejected: pl.DataFrame
    handed: Sequence[pl.LazyFrame]
    part: pl.Expr | None = None

    def is_late(self, *, takes_back: bool) -> bool:
        """Whether it cannot be placed: some of it is not later than all that was seen, or a file takes back what was.

        Nothing is late where the table is made anew.
        """
        first = self._times.to_physical().min()
        is_earlier = self._before is not None and isinstance(first, int) and first <= self._before
        return self.own is not None and (is_earlier or takes_back)

    @property
    def who(self) -> list[str]:
        return list(self._how.who)

    def has_set_aside(self, place: Place, files: Sequence[str]) -> bool:
        """Whether rows of these files, or of an unknown one, lie in the quarantine, where they would stay."""
        if self.own is None or not files:
            return False
        file = pl.col("source_file")
        aside = quarantine.read(self.own, place.quarantine(self.declared)).filter(file.is_null() | file.is_in(files))
        return not aside.head(1).collect().is_empty()

    def versions(self, place: Place, rows: Sequence[Rows]) -> Made:
        """What it makes of the open versions, where nothing is late: of some things after the others, as memory asks.

        No thing hangs on another: a snapshot that is whole says of each by itself that it is gone.
        """
        whole = self._whole_times(place, rows)
        things = None if self._closes else Slices(self.accepted.select(self.who).unique())
        near = things.files(self.own) if self.own and things else None
        parts = versions_at_once(self.accepted, self.own, near, place.memory or usual_budget())
        if parts == 1:
            return self.made(whole)
        which = (row_hash(self.who) % parts == part for part in range(parts))
        some = (replace(self, accepted=self.accepted.filter(each), part=each) for each in which)
        return Made.of([each.made(whole) for each in some], self.declared.key_columns)

    def made(self, whole: pl.Series) -> Made:
        """The same of all at once. whole: the times of which all came."""
        standing = self._open()
        made = self._how.made(self.accepted, standing, seen=self._before, whole=whole)
        return self._told(made, standing, self._of(made))

    def late(self, taken: pl.DataFrame, seen_of: Callable[[pl.DataFrame], pl.DataFrame]) -> Made | None:
        """What it makes of all versions of its things; None where those of other things may change, or of very many.

        taken: the things of which something may be taken back. seen_of: all that was ever seen of some things, with
        what came now.
        """
        if self._closes:  # what a snapshot does not hold ends: each is of everything
            return None
        how, who, key = self._how, self.who, self.declared.key_columns
        things = pl.concat([self.accepted.select(who), taken])
        standing = self._of(things).select(self.declared.schema.names()).collect()
        unsure = pl.concat([self._unsure(standing), taken]).unique()
        if unsure.height > MOST_THINGS:
            return None
        said = standing.with_columns(pl.lit(None, self._times.dtype).alias(VALID_TO))
        known = pl.concat([self.accepted, said], how="diagonal").join(unsure, on=who, how="anti", maintain_order="left")
        seen = pl.concat([known.unique(key, keep="first"), *([seen_of(unsure)] if unsure.height else [])])
        made = how.made(seen, standing.clear(), seen=None, whole=self._times.clear())
        new = made.join(standing, on=made.columns, how="anti", nulls_equal=True, maintain_order="left")
        told = self._told(new, standing, made.lazy())
        deleted = standing.select(key).join(made, on=key, how="anti")
        return replace(told, deleted=deleted, facts={**told.facts, "things_seen_anew": unsure.height})

    def _unsure(self, standing: pl.DataFrame) -> pl.DataFrame:
        """The things that must be seen anew; where things may be deleted all, since no version says when it was not."""
        if self.declared.marker:
            return self.accepted.select(self.who)
        earlier = self.accepted.filter(pl.col(self.write.valid_at).to_physical() <= self._before)
        return self._how.unsure(earlier, standing)

    def _told(self, made: pl.DataFrame, standing: pl.DataFrame, beside: pl.LazyFrame) -> Made:
        """beside: what stands of these things and is not written."""
        key = self.declared.key_columns
        begun = made.join(standing, on=key, how="anti")
        ended = made.join(standing, on=[*key, VALID_TO], how="anti", nulls_equal=True)[VALID_TO]
        facts = {
            "versions_begun": begun.height,
            "versions_ended": int(ended.is_not_null().sum()),
            "rows_of_standing_versions": parted(self.declared, self.accepted)[0].join(begun, on=key, how="anti").height,
        }
        others = beside.select(*key, VALID_TO).join(made.lazy(), on=key, how="anti")
        broken = out_of_place(self.declared, pl.concat([others, made.lazy().select(*key, VALID_TO)]))
        times = [time for time in (self._times.to_physical().max(), self._before) if isinstance(time, int)]
        return Made(made, broken, facts, {SEEN: max(times) * self._unit} if times else {})

    @cached_property
    def _how(self) -> Versions:
        return versions_of(self.declared, self.write)

    @property
    def _times(self) -> pl.Series:
        return self.accepted[self.write.valid_at]

    @property
    def _unit(self) -> int:
        """How many microseconds one is of what `valid_at` counts."""
        return A_DAY if self._times.dtype == pl.Date else 1

    @cached_property
    def _before(self) -> int | None:
        """Up to which time the table has seen, as `valid_at` counts."""
        seen = seen_until(self.own) if self.own else None
        return None if seen is None else seen // self._unit

    @property
    def _closes(self) -> bool:
        return self.write.vanished is Vanished.CLOSED

    def _open(self) -> pl.DataFrame:
        """The open versions of what was seen, or of everything where what was not seen is closed."""
        if self.own is None:
            return self.declared.schema.to_frame()
        standing = self.own.scan() if self._closes else self._of(self.accepted)
        if self.part is not None:
            standing = standing.filter(self.part)
        return standing.filter(pl.col(VALID_TO).is_null()).select(self.declared.schema.names()).collect()

    def _of(self, rows: pl.DataFrame) -> pl.LazyFrame:
        """All that stands of the things that these rows are of; only files that may hold some are looked into."""
        if self.own is None:
            return self.declared.schema.to_frame().lazy()
        return Slices(rows.select(self.who).unique()).of(self.own)

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


def out_of_place(declared: Declaration, versions: pl.LazyFrame) -> pl.DataFrame:
    """The keys of versions that do not follow each other as FOLLOWS says. None of other tables."""
    if not isinstance(declared.write, History):
        return pl.DataFrame()
    may_be_gone = declared.write.vanished is Vanished.CLOSED or declared.write.deletes is not None
    return versions_of(declared, declared.write).broken(versions, gapless=not may_be_gone)


def broken_versions(name: str, declared: Declaration, made: Made | None) -> Finding:
    """What a check of the versions found, of those things of which some were made."""
    if made is None:
        return Finding(name, passed=True)
    told = masked(made.broken.head(EXAMPLES), declared.personal).rows(named=True)
    examples = [", ".join(f"{key} = {value}" for key, value in row.items()) for row in told]
    return Finding.counted(name, made.broken.height, made.versions.height, examples=examples)


def refusal_of_versions(declared: Declaration, made: Made, *, stands: str) -> str:
    """Why versions are not written, and what to do."""
    first = masked(made.broken.head(1), declared.personal).row(0, named=True)
    return (
        f"{declared.key} refused what it would write: {number(made.broken.height, 'version')} would overlap the next "
        f"one, leave a gap before it or end before it begins, as {first}. What stands of these things was not written "
        f"by a run of this table as it is declared. Nothing was written; {stands}. "
        f"Make it anew: lakehouse rebuild {declared.key}+"
    )


def versions_of(declared: Declaration, write: History) -> Versions:
    """How a table's versions are made."""
    who = tuple(name for name in declared.key_columns if name != write.valid_at)
    others = [name for name in declared.schema if name not in (*declared.key_columns, VALID_TO)]
    return Versions(who, write.valid_at, tuple(write.tracks or others), write.deletes)
