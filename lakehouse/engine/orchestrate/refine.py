"""A run of a silver or gold table: read what is due, transform, judge, count → a delivery, or a refusal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count

import polars as pl

from lakehouse.engine.declare.errors import Conflict
from lakehouse.engine.declare.number import number
from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.table import Declaration, differences
from lakehouse.engine.declare.write import Append, History, Reading, ReplacePartition
from lakehouse.engine.delta.delivery import Delivery, tidy
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.quarantine import ROWS as SET_ASIDE
from lakehouse.engine.delta.slices import NO_SLICES, Slices
from lakehouse.engine.orchestrate.affected import due_slices, left_of, outside, partitions_of, refusal_of_outside
from lakehouse.engine.orchestrate.aside import broken_rows, not_yet_there, unread_rows, where_and_why
from lakehouse.engine.orchestrate.checks import (
    CONSERVES,
    CORRECTIONS,
    FOLLOW,
    READS,
    SHAPE,
    WITHIN,
    checks_of,
    verdict_on,
)
from lakehouse.engine.orchestrate.corrections import (
    Contents,
    held_before,
    no_longer_held,
    read_with_contents,
    watches_corrections,
)
from lakehouse.engine.orchestrate.counting import Counted, ask, counted
from lakehouse.engine.orchestrate.history import Made, Seen, broken_versions, refusal_of_versions
from lakehouse.engine.orchestrate.inputs import (
    Rows,
    as_declared,
    as_read_by,
    changed_columns,
    earlier,
    is_idle,
    kept_full,
    latest,
    note_of,
    open_inputs,
    positions,
    refuse_other_ways,
    replaced_group,
)
from lakehouse.engine.orchestrate.things import rows_of_things
from lakehouse.engine.orchestrate.winners import last_of_each_key, parted
from lakehouse.engine.orchestrate.work import LOGIC, Finding, Work, made_by
from lakehouse.engine.quality.masks import masked
from lakehouse.engine.quality.verdict import Verdict


def refine(
    declared: Declaration,
    place: Place,
    upstreams: Mapping[str, Handle | None],
    *,
    rebuild: bool = False,
    keys: Sequence[str] | None = None,
    transform: Callable[..., pl.LazyFrame] | None = None,
) -> Work:
    """Work out what one run writes. Reads the lake, writes nothing.

    upstreams: by table key, each pinned at the version that will count as read. keys: the partitions that the run
    makes, of a table that has some; a `rebuild` makes all. transform: what makes the rows where the table's own
    function does not.
    """
    own = Handle.open(place.table(declared))
    for read in declared.reads:
        if own and upstreams[read.upstream.key] is None and Handle.open(place.table(read.upstream)) is not None:
            raise Conflict(f"{declared.key}: another run has made {read.upstream.key} meanwhile. Run again.")
    upstreams = as_read_by(declared, upstreams)
    if not rebuild:
        own = as_declared(declared, own)
        refuse_other_ways(declared, own)
    if declared.partitions is not None:
        keys = declared.partitions.keys() if rebuild else keys
        scope = partitions_of(declared, keys)
        inputs = open_inputs(declared, own, upstreams, whole=rebuild, rebuild=rebuild)
        inputs = [replace(each, slices=scope.only(each.read.upstream.schema)) for each in inputs]
        # never idle: who asks for a partition wants it made
        return _Run(
            declared, place, own, *read_with_contents(declared, place, inputs), whole=rebuild, rebuild=rebuild,
            scope=scope, transform=declared.transform, keys=tuple(keys or ()),
        ).work()  # fmt: skip
    whole = rebuild or declared.is_written_whole or own is None or own.transaction(LOGIC) is None
    inputs = open_inputs(declared, own, upstreams, whole=whole, rebuild=rebuild)
    if not rebuild and is_idle(declared, own, inputs):
        tidy(own, place.quarantine(declared))
        idle = [Finding(each.name, passed=True, facts={"rows": 0}) for each in checks_of(declared)]
        return Work(tuple(idle), {"rows_read": 0})
    scope = None if whole else due_slices(declared, inputs)
    if scope is not None:
        affected = Reading.AFFECTED
        inputs = [replace(each, slices=scope) if each.read.reading is affected else each for each in inputs]
    whole = whole or (isinstance(declared.write, ReplacePartition) and scope is None)
    return _Run(
        declared, place, own, *read_with_contents(declared, place, inputs), whole=whole, rebuild=rebuild, scope=scope,
        transform=transform or declared.transform,
    ).work()  # fmt: skip


@dataclass(frozen=True)
class _Passed:
    """What came out of the arrivals that count (`handed`, per parameter), judged. `accepted`: each key's last row.

    `strangers` are the rows that stand and are of no slice that the run replaces.
    """

    handed: tuple[pl.LazyFrame, ...]
    out: pl.DataFrame
    verdict: Verdict
    accepted: pl.DataFrame
    strangers: pl.DataFrame


@dataclass(frozen=True)
class _Run:
    declared: Declaration
    place: Place
    own: Handle | None
    rows: tuple[Rows, ...]
    contents: tuple[Contents | None, ...]
    whole: bool
    rebuild: bool
    scope: Slices | None
    transform: Callable[..., pl.LazyFrame]
    keys: tuple[str, ...] = ()

    @cached_property
    def unread(self) -> pl.DataFrame:
        """The rows that do not read exactly, as they are set aside. For a history, not those of a corrected file."""
        rows = [
            replace(each, unread=newest.only(each.unread.lazy()).collect()) if newest else each
            for each, newest in zip(self.rows, self.newest, strict=True)
        ]
        return pl.concat([SET_ASIDE.to_frame(), *map(unread_rows, rows)])

    @property
    def newest(self) -> tuple[Contents | None, ...]:
        """Of each parameter's files the contents that a history sees: as they were last corrected."""
        return self.contents if isinstance(self.declared.write, History) else tuple(None for _ in self.contents)

    @property
    def replaces(self) -> Slices | None:
        """The slices that are replaced; None where that is not how the run writes."""
        return self.scope if isinstance(self.declared.write, ReplacePartition) else None

    @property
    def stands(self) -> str:
        return f"version {self.own.version} stands" if self.own else "there is no table yet"

    def work(self) -> Work:
        declared = self.declared
        handed = tuple(
            newest.only(each.frame) if newest else latest(declared, each)
            for each, newest in zip(self.rows, self.newest, strict=True)
        )
        lazy = self.transform(*handed)
        if difference := differences(lazy.collect_schema(), declared.returned_schema):
            return self._misshapen(difference)
        with ThreadPoolExecutor(1) as beside:  # of a store far away both are asked at once
            asking = beside.submit(ask, declared, self.rows, handed)
            passed = self._judged(handed, lazy.collect())
        asked = asking.result() if passed.handed is handed else ask(declared, self.rows, passed.handed)
        seen = self._seen(passed)
        made = self._versions(seen) if seen else None
        if seen and not made:
            anew = [replace(each.input, whole=True) for each in self.rows]
            rows, newest = read_with_contents(declared, self.place, anew)
            return replace(self, rows=rows, contents=newest, whole=True).work()
        count = counted(declared, self.rows, asked, passed.out)
        findings = self._findings(count, passed, made)
        facts = self._facts(count, passed) | (made.facts if made else {})
        refusal = self._refusal(count, passed)
        if made and made.broken.height:
            return Work(findings, facts, refusal=refusal_of_versions(declared, made, stands=self.stands))
        if refusal is not None and not self._sets_aside(count, passed):
            return Work(findings, facts, refusal=refusal)
        delivery = self._delivery(passed, refusal)
        return Work(findings, facts, made.delivered(delivery) if made and delivery else delivery, refusal)

    def _seen(self, passed: _Passed) -> Seen | None:
        write, own = self.declared.write, None if self.whole else self.own
        if not isinstance(write, History):
            return None
        return Seen(self.declared, write, own, passed.accepted, passed.verdict.rejected, passed.handed)

    def _versions(self, seen: Seen) -> Made | None:
        """None where all must be made anew: of late rows it is not certain that only those of their things change."""
        revised = [file for each in self.newest if each for file in each.revised]
        if not seen.is_late(takes_back=bool(revised)):
            return seen.versions(self.place, self.rows)
        if self.transform is not self.declared.transform or seen.has_set_aside(self.place, revised):
            return None
        return seen.late(held_before(self.declared, self.rows, self.newest, seen.who), self._all_of)

    def _all_of(self, things: pl.DataFrame) -> pl.DataFrame:
        """What was ever seen of some things, as files were last corrected: for each time what came last."""
        rows = rows_of_things(self.transform, [each.input for each in self.rows], things)
        handed = [new.only(each.frame) if new else each.frame for each, new in zip(rows, self.newest, strict=True)]
        out = self.transform(*handed).join(things.lazy(), on=things.columns, how="semi", maintain_order="left")
        return last_of_each_key(self.declared, verdict_on(self.declared, out.collect()))

    def _judged(self, handed: tuple[pl.LazyFrame, ...], out: pl.DataFrame) -> _Passed:
        """Judge what came out. A group of whose last arrival nothing stands keeps the last one of which something does.

        That is what happens when each arrival is a batch of its own, and how arrivals are cut into batches must change
        nothing.
        """
        declared, group = self.declared, replaced_group(self.declared)
        verdict = verdict_on(declared, out)
        for back in count(1) if group else ():
            groups = _without_survivor(group, handed, out, verdict)
            older = tuple(earlier(declared, each, groups, back) for each in self.rows)
            if groups.is_empty() or all(frame.head(1).collect().is_empty() for frame in older):
                break
            out = pl.concat([self.transform(*older).collect(), out])
            handed = tuple(pl.concat([old, frame]) for old, frame in zip(older, handed, strict=True))
            verdict = verdict_on(declared, out)
        accepted = last_of_each_key(declared, verdict)
        strangers = out.clear() if self.replaces is None else outside(self.replaces, accepted)
        return _Passed(handed, out, verdict, accepted, strangers)

    def _misshapen(self, difference: str) -> Work:
        said = (
            f"{self.declared.key}: its transform does not return what {self.declared.contract.__name__} declares: "
            f"{difference}. Nothing was written; {self.stands}. Mend the transform or the contract."
        )
        rest = [Finding(each.name, passed=False, facts={"asked": False}) for each in checks_of(self.declared)]
        return Work((Finding(SHAPE, passed=False, facts={"difference": difference}), *rest[1:]), {}, refusal=said)

    def _findings(self, count: Counted, passed: _Passed, made: Made | None) -> tuple[Finding, ...]:
        verdict = passed.verdict
        severity = "WARN" if self.declared.quarantines and verdict.is_accepted.any() else "ERROR"
        found = {SHAPE: Finding(SHAPE, passed=True), CONSERVES: _conserved(count)}
        found[FOLLOW] = broken_versions(FOLLOW, self.declared, made)
        unread, at = self.unread.height, where_and_why(self.unread)
        found[WITHIN] = Finding.counted(WITHIN, passed.strangers.height, verdict.count, examples=[])
        found[READS] = Finding.counted(READS, unread, count.read, examples=at, severity=severity)
        for each in verdict.outcomes:
            name, rows = each.rule.name, verdict.examples(each.rule, self.declared.key_columns)
            found[name] = Finding.counted(name, each.failed, each.of, examples=rows, severity=severity)
        if watches_corrections(self.declared):
            found[CORRECTIONS] = self._corrections()
        return tuple(found[each.name] for each in checks_of(self.declared))

    def _corrections(self) -> Finding:
        missing = no_longer_held(self.declared, self.rows, self.contents, self.declared.schema)
        told = masked(missing.head(20), self.declared.personal)
        standing = [", ".join(map(str, row)) for row in told.rows()]
        facts: dict[str, object] = {"failed": missing.height, "still_standing": standing}
        return Finding(CORRECTIONS, missing.is_empty(), "WARN", facts)

    def _refusal(self, count: Counted, passed: _Passed) -> str | None:
        key, verdict = self.declared.key, passed.verdict
        if self.replaces is not None and passed.strangers.height:
            return refusal_of_outside(
                self.declared, self.replaces, passed.strangers, of=verdict.count, stands=self.stands
            )
        if self.declared.conserves is not None and count.difference:
            return (
                f"{key} refused: {count.measured} read, {count.came_out} came out, and {count.difference} are "
                f"not explained. Nothing was written; {self.stands}. Mend the transform, or declare what it leaves out "
                "with drops={…}."
            )
        unread = self.unread.height
        rejected, of = verdict.rejected.height + unread, verdict.is_accepted.len() + unread
        if not rejected:
            return None
        broken = verdict.said(self.declared.key_columns)
        broken += [f"{unread:,} {READS}"] if unread else []
        said = f"{key} refused {rejected:,} of {number(of, 'row')}: {', '.join(broken)}."
        if not self.declared.quarantines:
            return (
                f"{said} Nothing was written; {self.stands}. Mend them upstream and rebuild, mend the rule, or "
                "consent to partial data with rejects=Quarantine()."
            )
        if not verdict.is_accepted.any():
            where = self.place.quarantine(self.declared)
            out = f"{self.stands}, the rows are in {where}. Mend them upstream, then rebuild."
            return f"{said} None is left to write; {out}"
        return None

    def _sets_aside(self, count: Counted, passed: _Passed) -> bool:
        """Where rows may be set aside, a run of which none survives sets them aside; one that lost some does not."""
        is_lost = self.declared.conserves is not None and count.difference
        return self.declared.quarantines and not is_lost and passed.strangers.is_empty()

    def _delivery(self, passed: _Passed, refusal: str | None) -> Delivery | None:
        declared, inputs = self.declared, [each.input for each in self.rows]
        is_replaced = self.whole or self.replaces is not None
        is_there = self.own is not None and (self.own.transaction(LOGIC) is not None or self.own.rows > 0)
        keeps_standing = refusal is not None and is_replaced and is_there
        whole = self.whole and not keeps_standing
        accepted, deleted = parted(declared, passed.accepted)
        handed = list(zip(self.rows, passed.handed, strict=True))
        rejected = pl.concat([self.unread, broken_rows(declared, passed.verdict, passed.out, handed)])
        if not whole and any(each.read.reading is not Reading.NEW for each in inputs):
            rejected = not_yet_there(rejected, self.own, self.place.quarantine(declared))
        moves_on = refusal is None or any(each.read.reading is Reading.NEW for each in inputs)
        if keeps_standing and not moves_on and rejected.is_empty():
            return None
        return Delivery(
            table=self.place.table(declared),
            quarantine=self.place.quarantine(declared),
            schema=declared.stored_schema,
            description=declared.grain,
            handle=self.own,
            write=Append() if keeps_standing else declared.write,
            key=tuple(declared.key_columns),
            whole=whole,
            accepted=accepted,
            deleted=deleted,
            rejected=rejected,
            transactions={**(positions(declared, inputs, self.keys) if moves_on else {}), **self._logic(whole=whole)},
            note={"table": declared.key, **note_of(inputs), **({} if keeps_standing else kept_full(declared))},
            refusal=refusal,
            notes=declared.notes,
            scope=self.replaces or NO_SLICES,
            partition_by=declared.partition_by,
            unless_moved=() if whole or not self.keys else (LOGIC, *positions(declared, inputs, self.keys)),
            unmeasured=declared.personal,
            readers=declared.readers,
        )

    def _logic(self, *, whole: bool) -> dict[str, int]:
        """Which logic made it, and in which way: of partitions the first begins the table."""
        is_first = self.declared.partitions is not None and (self.own is None or self.own.transaction(LOGIC) is None)
        return made_by(self.declared, self.own, whole=whole or is_first)

    def _facts(self, count: Counted, passed: _Passed) -> dict[str, object]:
        accepted, deleted = parted(self.declared, passed.accepted)
        facts: dict[str, object] = {
            "rows_read": count.read,
            "rows_came_out": passed.out.height,
            "rows_accepted": accepted.height,
            "rows_superseded": passed.verdict.count - passed.accepted.height,
            "rows_quarantined": passed.verdict.rejected.height + self.unread.height,
            **changed_columns(self.own),
            **left_of(self.declared, self.own, self.scope, passed.out),
        }
        if deleted is not None:
            facts["rows_that_delete"] = deleted.height
        if self.scope is not None:
            facts["slices"] = str(replace(self.scope, values=masked(self.scope.values, self.declared.personal)))
        for each in self.rows:
            since, handle = each.input.since, each.input.handle
            if handle is not None:
                said = "the beginning" if since is None else f"version {since}"
                facts[f"read {each.input.read.upstream.key}"] = f"version {handle.version}, last read at {said}"
        return facts


def _conserved(count: Counted) -> Finding:
    facts: dict[str, object] = {
        "read": str(count.measured),
        "superseded_on_arrival": str(count.superseded),
        "came_out": str(count.came_out),
        "difference": str(count.difference),
        **{f"dropped_{name}": str(value) for name, value in count.dropped.items()},
    }
    return Finding(CONSERVES, count.difference == 0, facts=facts)


def _without_survivor(
    group: str | None, handed: Sequence[pl.LazyFrame], out: pl.DataFrame, verdict: Verdict
) -> pl.Series:
    """The groups that were handed to the transform and of which no row stands."""
    if group is None:
        return pl.Series(dtype=pl.Null)
    lazy = [frame.select(group) for frame in handed if group in frame.collect_schema()]
    came = pl.concat(pl.collect_all(lazy)).unique().drop_nulls()
    if not out.join(came, on=group, how="anti").drop_nulls(group).is_empty():
        return came[group].clear()  # the transform names groups otherwise: which arrival a row is of cannot be told
    return came.join(verdict.rows.select(group).filter(verdict.is_accepted), on=group, how="anti")[group]
