"""A run of a silver or gold table: read what is due, transform, judge, count → a delivery, or a refusal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl

from lakehouse.engine.declare.contract import columns_of
from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.table import Declaration, differences
from lakehouse.engine.declare.write import Merge, Overwrite, Reading
from lakehouse.engine.delta.delivery import Delivery
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.quarantine import ROWS as SET_ASIDE
from lakehouse.engine.orchestrate.corrections import no_longer_held
from lakehouse.engine.orchestrate.inputs import Input, is_idle, latest, open_inputs, positions
from lakehouse.engine.orchestrate.work import LOGIC, CheckSpec, Finding, Work
from lakehouse.engine.quality.text import why_unread
from lakehouse.engine.quality.verdict import Verdict, judge, rules

SHAPE, READS, CONSERVES, CORRECTIONS = "shape", "reads_exactly", "conserves", "corrections_hold_what_they_held"


def checks_of(declared: Declaration) -> list[CheckSpec]:
    """Every check that a run of the table reports."""
    specs = [CheckSpec(SHAPE, "The transform returns the declared columns and types.", blocking=True)]
    if any(read.upstream.is_bronze for read in declared.reads):
        specs.append(CheckSpec(READS, "Every value of the upstream reads exactly as its declared type.", blocking=True))
    specs += [CheckSpec(each.name, each.description, blocking=True) for each in rules(declared.contract, unique=_unique(declared))]
    if declared.conserves is not None:
        specs.append(CheckSpec(CONSERVES, "What came out, and what was set aside, is what was read.", blocking=True))
    if _watches_corrections(declared):
        specs.append(
            CheckSpec(CORRECTIONS, "A corrected file still holds every key that it held before.", blocking=False)
        )
    return specs


def refine(declared: Declaration, place: Place, upstreams: Mapping[str, Handle | None], *, rebuild: bool = False) -> Work:
    """Work out what one run writes. Reads the lake, writes nothing.

    upstreams: by table key, each pinned at the version that will count as read.
    """
    own = Handle.open(place.table(declared))
    whole = rebuild or isinstance(declared.write, Overwrite) or own is None or own.transaction(LOGIC) is None
    inputs = open_inputs(declared, own, upstreams, whole=whole)
    if not rebuild and is_idle(declared, own, inputs):
        idle = [Finding(each.name, passed=True, facts={"rows": 0}) for each in checks_of(declared)]
        return Work(tuple(idle), {"rows_read": 0})
    return _Run(declared, place, own, tuple(inputs), whole).work()


@dataclass(frozen=True)
class _Counted:
    """What was read and what came out, collected in one pass."""

    out: pl.DataFrame
    unread: pl.DataFrame
    read: int
    measured_in: Any
    measured_superseded: Any
    dropped: Mapping[str, Any]


@dataclass(frozen=True)
class _Run:
    declared: Declaration
    place: Place
    own: Handle | None
    inputs: tuple[Input, ...]
    whole: bool

    def work(self) -> Work:
        declared = self.declared
        frames = [latest(declared, each) for each in self.inputs]
        out = declared.transform(*frames)
        if difference := differences(out.collect_schema(), declared.schema):
            return self._misshapen(difference)
        counted = self._collect(out, frames)
        verdict = judge(declared.contract, counted.out, unique=_unique(declared))
        accepted = _last_of_each_key(declared, verdict.accepted)
        facts = self._facts(counted, verdict, accepted)
        findings = self._findings(counted, verdict, facts)
        refusal = self._refusal(counted, verdict, findings)
        if refusal is not None and not self._still_delivers(findings):
            return Work(findings, facts, refusal=refusal)
        none_survives = accepted.is_empty() and bool(verdict.rejected.height + counted.unread.height)
        keeps_standing = none_survives and self.whole and self.own is not None
        return Work(findings, facts, self._delivery(counted, verdict, accepted, refusal, keeps_standing), refusal)

    def _collect(self, out: pl.LazyFrame, frames: Sequence[pl.LazyFrame]) -> _Counted:
        """One pass over the inputs: the rows that come out, the rows that do not read, and what is counted."""
        measure = _measure_in(self.declared)
        lazy = [out, *(each.unread for each in self.inputs)]
        lazy += [each.stored.select(pl.len()) for each in self.inputs]
        lazy += [each.frame.select(measure) for each in self.inputs]
        lazy += [frame.select(measure) for frame in frames]
        lazy += [
            frame.filter(predicate).select(measure) for predicate in self.declared.drops.values() for frame in frames
        ]
        rows, *rest = pl.collect_all(lazy)
        n = len(self.inputs)
        unread = [_unread_rows(each, frame) for each, frame in zip(self.inputs, rest[:n], strict=True)]
        numbers = [_number(frame) for frame in rest[n:]]
        parts = [sum(numbers[i : i + n]) for i in range(0, len(numbers), n)]
        read, measured, kept, *dropped = parts
        return _Counted(
            out=rows,
            unread=pl.concat([SET_ASIDE.to_frame(), *unread]),
            read=int(read),
            measured_in=measured,
            measured_superseded=measured - kept,
            dropped=dict(zip(self.declared.drops, dropped, strict=True)),
        )

    def _misshapen(self, difference: str) -> Work:
        stands = f"version {self.own.version} stands" if self.own else "there is no table yet"
        said = (
            f"{self.declared.key}: its transform does not return what {self.declared.contract.__name__} declares: "
            f"{difference}. Nothing was written; {stands}. Mend the transform or the contract."
        )
        rest = [Finding(each.name, passed=False, facts={"asked": False}) for each in checks_of(self.declared)]
        return Work((Finding(SHAPE, passed=False, facts={"difference": difference}), *rest[1:]), {}, refusal=said)

    def _findings(self, counted: _Counted, verdict: Verdict, facts: Mapping[str, object]) -> tuple[Finding, ...]:
        severity = "WARN" if self.declared.quarantines and self._any_stands(verdict) else "ERROR"
        found = {SHAPE: Finding(SHAPE, passed=True)}
        failed = counted.unread.height
        reasons = counted.unread["reasons"].list.first().head(10).to_list()
        found[READS] = Finding(READS, not failed, severity, {"failed": failed, "of": counted.read, "examples": reasons})
        for each in verdict.outcomes:
            found[each.rule.name] = Finding(
                each.rule.name, not each.failed, severity, {"failed": each.failed, "of": each.of}
            )
        found[CONSERVES] = self._conserved(counted)
        if _watches_corrections(self.declared):
            found[CORRECTIONS] = self._corrections(counted)
        return tuple(found[each.name] for each in checks_of(self.declared))

    def _any_stands(self, verdict: Verdict) -> bool:
        return not verdict.accepted.is_empty()

    def _conserved(self, counted: _Counted) -> Finding:
        came_out = _number(counted.out.lazy().select(_measure_out(self.declared)).collect())
        dropped = sum(counted.dropped.values())
        difference = counted.measured_in - counted.measured_superseded - dropped - came_out
        facts: dict[str, object] = {
            "read": str(counted.measured_in),
            "superseded_on_arrival": str(counted.measured_superseded),
            "came_out": str(came_out),
            "difference": str(difference),
            **{f"dropped_{name}": str(value) for name, value in counted.dropped.items()},
        }
        return Finding(CONSERVES, difference == 0, facts=facts)

    def _corrections(self, counted: _Counted) -> Finding:
        missing = no_longer_held(self.declared, self.place, self.inputs, counted.out)
        facts: dict[str, object] = {"failed": missing.height, "still_standing": missing.head(20).rows()}
        return Finding(CORRECTIONS, missing.is_empty(), "WARN", facts)

    def _refusal(self, counted: _Counted, verdict: Verdict, findings: Sequence[Finding]) -> str | None:
        stands = f"version {self.own.version} stands" if self.own else "there is no table yet"
        key, rejected = self.declared.key, verdict.rejected.height + counted.unread.height
        conserved = next((each for each in findings if each.name == CONSERVES), None)
        if conserved is not None and not conserved.passed:
            return (
                f"{key} refused: {conserved.facts['read']} read, {conserved.facts['came_out']} came out, and "
                f"{conserved.facts['difference']} are not explained. Nothing was written; {stands}. "
                "Mend the transform, or declare what it leaves out with drops={…}."
            )
        if not rejected:
            return None
        broken = ", ".join(f"{each.failed:,} {each.rule.name}" for each in verdict.broken)
        broken = ", ".join(filter(None, [broken, counted.unread.height and f"{counted.unread.height:,} {READS}"]))  # type: ignore[list-item] # zero is filtered
        said = f"{key} refused {rejected:,} of {verdict.rejected.height + verdict.accepted.height + counted.unread.height:,} rows: {broken}."
        if not self.declared.quarantines:
            return (
                f"{said} Nothing was written; {stands}. Mend them upstream and rebuild, or consent to partial data "
                "with rejects=Quarantine()."
            )
        if not self._any_stands(verdict):
            where = self.place.quarantine(self.declared)
            return f"{said} None is left to write; {stands}, the rows are in {where}. Mend them upstream, then rebuild."
        return None

    def _still_delivers(self, findings: Sequence[Finding]) -> bool:
        """Where rows may be set aside, a run in which none survives still sets them aside."""
        conserved = all(each.passed for each in findings if each.name == CONSERVES)
        return conserved and self.declared.quarantines

    def _delivery(
        self, counted: _Counted, verdict: Verdict, accepted: pl.DataFrame, refusal: str | None, keeps_standing: bool
    ) -> Delivery:
        declared, whole = self.declared, self.whole and not keeps_standing
        logic = {LOGIC: declared.logic} if whole else {}
        reads_new = any(each.read.reading is Reading.NEW for each in self.inputs)
        moved = positions(declared, self.inputs) if refusal is None or reads_new else {}
        return Delivery(
            table=self.place.table(declared),
            quarantine=self.place.quarantine(declared),
            schema=declared.stored_schema,
            description=declared.grain,
            handle=self.own,
            write=Merge() if keeps_standing else declared.write,
            key=tuple(declared.key_columns),
            whole=whole,
            accepted=accepted,
            rejected=pl.concat([counted.unread, self._broken_rows(verdict)]),
            transactions={**moved, **logic},
            note={"table": declared.key, **{e.read.upstream.key: str(e.handle and e.handle.version) for e in self.inputs}},
            refusal=refusal,
        )

    def _broken_rows(self, verdict: Verdict) -> pl.DataFrame:
        """The output rows that broke a rule, with where their key came from, where the upstream has it by name."""
        rows = verdict.rejected
        if rows.is_empty():
            return SET_ASIDE.to_frame()
        named = rows.select(
            *self.declared.key_columns,
            reasons=verdict.reasons,
            row=pl.struct(pl.all()).struct.json_encode(),
        )
        return _as_set_aside(self._with_source(named), "broke", ", ".join(e.read.upstream.key for e in self.inputs))

    def _with_source(self, rows: pl.DataFrame) -> pl.DataFrame:
        for each in self.inputs:
            shared = [name for name in self.declared.key_columns if name in each.read.upstream.schema]
            if each.read.upstream.is_bronze and shared:
                where = ["source_file", "source_row", "batch"]
                found = each.frame.select(*shared, *where).join(rows.lazy(), on=shared, how="semi").collect()
                found = found.unique(shared, keep="last", maintain_order=True)
                joined = rows.join(found, on=shared, how="left", maintain_order="left")
                return joined.with_columns(source_name=pl.lit(each.read.upstream.name))
        return rows

    def _facts(self, counted: _Counted, verdict: Verdict, accepted: pl.DataFrame) -> dict[str, object]:
        facts: dict[str, object] = {
            "rows_read": counted.read,
            "rows_came_out": counted.out.height,
            "rows_accepted": accepted.height,
            "rows_superseded": verdict.accepted.height - accepted.height,
            "rows_quarantined": verdict.rejected.height + counted.unread.height,
        }
        for each in self.inputs:
            if each.handle is not None:
                since = "the beginning" if each.since is None else f"version {each.since}"
                facts[f"read {each.read.upstream.key}"] = f"version {each.handle.version}, last read at {since}"
        return facts


def _unique(declared: Declaration) -> bool:
    """A merge keeps the later of two rows of one key; where a table is written whole, two are an error."""
    return not isinstance(declared.write, Merge)


def _watches_corrections(declared: Declaration) -> bool:
    return isinstance(declared.write, Merge) and any(
        read.upstream.is_bronze and read.reading is Reading.NEW for read in declared.reads
    )


def _last_of_each_key(declared: Declaration, rows: pl.DataFrame) -> pl.DataFrame:
    if not isinstance(declared.write, Merge):
        return rows
    return rows.unique(declared.key_columns, keep="last", maintain_order=True)


def _measure_in(declared: Declaration) -> pl.Expr:
    return pl.len() if declared.conserves in (None, "rows") else declared.conserves[0]  # type: ignore[index] # a pair


def _measure_out(declared: Declaration) -> pl.Expr:
    return pl.len() if declared.conserves in (None, "rows") else declared.conserves[1]  # type: ignore[index] # a pair


def _number(frame: pl.DataFrame) -> Any:
    return frame.item() or 0


def _unread_rows(each: Input, rows: pl.DataFrame) -> pl.DataFrame:
    if rows.is_empty():
        return SET_ASIDE.to_frame()
    named = rows.select(
        "source_name",
        "source_file",
        "source_row",
        "batch",
        reasons=why_unread(rows, columns_of(each.read.upstream.contract)),
        row=pl.struct(pl.all()).struct.json_encode(),
    )
    return _as_set_aside(named, "unread", each.read.upstream.key)


def _as_set_aside(rows: pl.DataFrame, kind: str, upstream: str) -> pl.DataFrame:
    absent = {name: pl.lit(None, dtype) for name, dtype in SET_ASIDE.items() if name not in rows.columns}
    said = {
        "kind": pl.lit(kind),
        "upstream": pl.lit(upstream),
        "quarantined_at": pl.lit(datetime.now(UTC), pl.Datetime("us", "UTC")),
    }
    return rows.with_columns(**{**absent, **said}).select(SET_ASIDE.names())
