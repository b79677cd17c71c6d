"""`lakehouse table restore`: a table put back to what it was, with its ledger and all that has read it since."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import dagster as dg

from lakehouse.engine.declare.errors import Refused, WrongUsage
from lakehouse.engine.declare.number import number
from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.table import AnyTable, Declaration, Plain
from lakehouse.engine.declare.write import Reading
from lakehouse.engine.delta.compatibility import check_compatibility
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.log import Past
from lakehouse.engine.delta.optimize import folds
from lakehouse.engine.delta.protocol import for_readers
from lakehouse.engine.delta.restore import Restore, prepare_restore, readable, restore
from lakehouse.engine.delta.travel import at_time, at_version
from lakehouse.engine.ingest.rewind import Rewind, in_words, prepare_rewind
from lakehouse.engine.orchestrate.here import as_read
from lakehouse.engine.orchestrate.inputs import keeps_what_it_read, never_null, why_otherwise
from lakehouse.engine.orchestrate.load import plain_below
from lakehouse.engine.orchestrate.work import partition_position, position


@dataclass(frozen=True)
class Step:
    """One table of a plan. `remarks`: what a run will say of it afterwards."""

    declared: AnyTable
    restore: Restore
    rewind: Rewind | None
    remarks: tuple[str, ...]

    @property
    def is_done(self) -> bool:
        return self.restore.is_done and (self.rewind is None or self.rewind.is_done)

    @property
    def undo(self) -> str:
        """The command that takes it back."""
        return f"lakehouse table restore {self.declared.key} --version {self.restore.now.version}"

    def __str__(self) -> str:
        now, then = self.restore.now.version, self.restore.then.version
        if self.is_done:
            return f"{self.declared.key}: stands as it did at version {then}"
        said = f"{self.declared.key}: from version {now} to what stood at version {then}: "
        said += f"{number(self.restore.rows_back, 'row')} in {number(len(self.restore.added), 'file')} come back, "
        said += f"{number(self.restore.rows_gone, 'row')} in {number(len(self.restore.removed), 'file')} go"
        lands = len(self.rewind.lands) if self.rewind else 0
        return said + (f"; {number(lands, 'file')} of its source will count as new again" if lands else "")


@dataclass(frozen=True)
class Later:
    """A table that has read more of its upstreams than what will stand. `back`: to its newest version that had not.

    Where none of these can be told or read any more, `lost`: the tables with which it has to be made anew.
    """

    declared: Declaration
    handle: Handle
    back: Restore | None
    lost: tuple[str, ...]

    def __str__(self) -> str:
        if self.back:
            said = f"{self.back.then.version} is its last that has none of them"
        else:
            whose = "" if self.declared.key in self.lost else f" of {', '.join(self.lost)}"
            said = f"none without them can be read any more{whose}"
        return f"{self.declared.key} (version {self.handle.version}; {said})"


@dataclass(frozen=True)
class Plan:
    """What is to be done, in this order: what is downstream first, so that whoever stops halfway can begin again.

    later: the tables downstream that stand as they are, though they have read later versions.
    """

    steps: tuple[Step, ...]
    later: tuple[Later, ...]

    @property
    def root(self) -> Step:
        return self.steps[-1]

    @cached_property
    def gone(self) -> tuple[str, ...]:
        """The files that would have to land again, and no longer lie there as they were read."""
        return self.root.rewind.gone if self.root.rewind and not self.root.is_done else ()

    @property
    def left(self) -> list[str]:
        """What is said of the tables that cannot be put back, and keep rows of what goes until they are made anew."""
        anew = dict.fromkeys(key for each in self._keeping for key in each.lost)
        return [f"{key} cannot be put back, and stands as it is. Next: lakehouse rebuild {key}+" for key in anew]

    @property
    def _keeping(self) -> list[Later]:
        return [each for each in self.later if keeps_what_it_read(each.declared)]

    def refusal(self, *, accept_loss: bool, accept_rebuild: bool = False) -> str | None:
        """Why it must not be carried out, with the ways out."""
        key, version = self.root.declared.key, self.root.restore.then.version
        if keeping := [each for each in self._keeping if each.back or not accept_rebuild]:
            ways = "To put these back with it", "--downstream"
            if self.left:
                ways = "To put back what can be, and make the others anew next", "--downstream --accept-rebuild"
            return (
                f"{key} was not put back to version {version}: {number(len(keeping), 'table')} downstream would keep "
                f"rows that were made of what goes: {'; '.join(map(str, keeping))}. Nothing was written. "
                f"{ways[0]}: lakehouse table restore {key} --version {version} {ways[1]}"
            )
        if self.gone and not accept_loss:
            return (
                f"{key} was not put back to version {version}: of the files that it took since, "
                f"{number(len(self.gone), 'file')} cannot be read again as they were, and their rows would be lost: "
                f"{in_words(self.gone)}. Nothing was written. Put them back, or consent to that with --accept-loss."
            )
        return None


def plan_to(
    declared: AnyTable,
    tables: Sequence[Declaration],
    place: Place,
    *,
    version: int | None = None,
    as_of: str | None = None,
    downstream: bool = False,
) -> Plan:
    """`plan` for a version or a time. Raises WrongUsage where neither is said, or both."""
    if (version is None) == (as_of is None):
        raise WrongUsage("Say to which version: --version 12 or --as-of 2026-01-31T12:00:00Z (lakehouse table history)")
    own = _own(declared, place)
    then = at_version(own, version or 0) if as_of is None else at_time(own, as_of)
    return plan(declared, then.version, tables, place, downstream=downstream)


def plan(
    declared: AnyTable, version: int, tables: Sequence[Declaration], place: Place, *, downstream: bool = False
) -> Plan:
    """What restoring a table takes. Reads the lake and lists the landing; writes nothing.

    Refused where that version has lost its files or its log, or a reader that is declared cannot read what stands.
    """
    own = _own(declared, place)
    root = prepare_restore(own, version, _aside(declared, place))
    later = _later(declared, root, tables, place)
    restores: dict[str, tuple[AnyTable, Restore]] = {declared.key: (declared, root)}
    if downstream:
        restores |= {each.declared.key: (each.declared, each.back) for each in later if each.back}
    for each, prepared in restores.values():
        if not (prepared.is_done or folds(prepared.now, each.readers)):  # vectors go as it is put back
            for_readers(prepared.now, each.readers)
    then = {key: each.then for key, (_, each) in restores.items()}
    rewind = None
    if isinstance(declared, Declaration) and declared.is_bronze:
        rewind = prepare_rewind(declared, place, own, root.then)
    steps = [
        Step(each, prepared, rewind if each is declared else None, tuple(_remarks(each, prepared, then, place)))
        for each, prepared in restores.values()
    ]
    return Plan(tuple(reversed(steps)), tuple(each for each in later if not (downstream and each.back)))


def _own(declared: AnyTable, place: Place) -> Handle:
    if (own := Handle.open(place.table(declared))) is None:
        raise Refused(f"{declared.key} was not written here yet: nothing can be put back. Next: {declared.made_by}")
    return own.leaving_out(declared.personal)


def carry_out(planned: Plan, place: Place, tell: Callable[[Step, Handle], None]) -> None:
    """Put the tables back, one commit each; `tell` is told of each. What stands as it should is left alone.

    A table that one of its readers cannot read for its deletion vectors is freed of them before.
    Raises Conflict where a table was written meanwhile: those before it are put back, and to plan and carry out again
    does the rest.
    """
    for step in planned.steps:
        if step.is_done:
            continue
        prepared = readable(step.restore, step.declared.readers)
        tell(step, restore(prepared, _aside(step.declared, place), step.rewind and step.rewind.commit))


def _aside(declared: AnyTable, place: Place) -> Address | None:
    """Where rows are set aside, if any ever are."""
    return None if isinstance(declared, Plain) else place.quarantine(declared)


def left_alone(declared: AnyTable, assets: Sequence[dg.AssetsDefinition]) -> list[str]:
    """What is said of the plain assets downstream of a table, which are not put back with it."""
    return [each.left_alone for each in plain_below(declared, assets)]


def restored_event(step: Step, restored: Handle) -> dg.AssetMaterialization | dg.AssetObservation:
    """What Dagster is told: a materialization, so that what reads the table is run; of partitions an observation."""
    said = {
        "delta/version": restored.version,
        "restored_to_version": step.restore.then.version,
        "restored_from_version": step.restore.now.version,
        "dagster/row_count": restored.rows,
        "dagster/uri": str(restored.address),
    }
    of = dg.AssetObservation if step.declared.partitions else dg.AssetMaterialization
    return of(step.declared.path, description=f"lakehouse table restore: {step}", metadata=said)


def _later(root: AnyTable, to: Restore, tables: Sequence[Declaration], place: Place) -> list[Later]:
    """The tables downstream that have read versions that will no longer count, upstreams first."""
    stands = {root.key: (to.now, to.then.version)}
    found, lost = list[Later](), dict[str, tuple[str, ...]]()
    for each in tables:  # upstreams first
        reads = sorted({read.upstream.key for read in each.reads} & (stands.keys() | lost.keys()))
        handle = Handle.open(place.table(each)) if reads else None
        if handle is None:
            continue
        handle = handle.leaving_out(each.personal)
        back, anew = None, tuple(dict.fromkeys(key for read in reads for key in lost.get(read, ())))
        if not anew:
            back = _clean(each, handle, [stands[key] for key in reads], place.quarantine(each))
        if back is None:
            lost[each.key] = anew or (each.key,)
        elif back.now.version == back.then.version:
            continue
        else:
            stands[each.key] = (handle, back.then.version)
        found.append(Later(each, handle, back, lost.get(each.key, ())))
    return found


def _clean(declared: Declaration, own: Handle, reads: Sequence[tuple[Handle, int]], aside: Address) -> Restore | None:
    """To the newest version of a table that has read no more of its upstreams than what stood at these versions.

    None where the log, its checkpoints and the files that lie there reach back to none.
    """
    past, known = Past(own.address), own.transactions().keys()  # what it never read need not be looked for
    theirs = [(handle, version, Past(handle.address)) for handle, version in reads]

    def is_clean(version: int) -> bool:
        return all(
            read is None or (read <= handle.version and of.grew_from(stays, read))
            for handle, stays, of in theirs
            for app in known & _positions(declared, handle)
            for read in [past.transaction(app, version)]
        )

    with suppress(FileNotFoundError):
        for version in filter(is_clean, past.back(own.version)):
            with suppress(Refused):  # its files are gone: one before it may be whole
                return prepare_restore(own, version, aside)
    return None


def _positions(declared: Declaration, upstream: Handle) -> set[str]:
    keys = declared.partitions.keys() if declared.partitions else []
    return {position(declared, upstream), *(partition_position(declared, upstream, key) for key in keys)}


def _remarks(declared: AnyTable, prepared: Restore, thens: dict[str, Handle], place: Place) -> Iterator[str]:
    """What the next run will refuse, and what to do then."""
    if isinstance(declared, Plain):
        return
    then = prepared.then
    found = check_compatibility(then.schema, declared.stored_schema, required=never_null(declared, then))
    if not found.goes_on:
        yield (
            f"{declared.key} had other columns then than its contract declares now: {found}. Put the contract back, or "
            f"make the table anew: lakehouse rebuild {declared.key}+"
        )
    elif why := why_otherwise(declared, then):
        yield (
            f"At version {then.version} {declared.key} {why}. Its next run will be refused: put that back, or make the "
            f"table anew: lakehouse rebuild {declared.key}+"
        )
    for read in declared.reads:
        if read.reading is not Reading.NEW:
            continue
        upstream = thens.get(read.upstream.key) or as_read(read.upstream, place)
        since = prepared.then.transaction(position(declared, upstream)) if upstream else None
        is_equal = read.upstream.key in thens and upstream is not None and (since or 0) > upstream.version
        if upstream is None or since is None or is_equal:  # it has read what changed no row, and is put back too
            continue
        try:
            upstream.appended(since)
        except Refused as why:
            yield f"{declared.key} cannot go on from there: {why} To run it again: lakehouse rebuild {declared.key}+"
