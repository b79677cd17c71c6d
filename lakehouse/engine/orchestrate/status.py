"""Where every table stands: from the Delta log. Dagster's events are asked for one thing, how its last run ended."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache, partial

import dagster as dg

from lakehouse.engine.declare.number import number
from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.delta import quarantine
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.refused import Unreadable
from lakehouse.engine.ingest.landing import arrivals
from lakehouse.engine.ingest.ledger import Ledger
from lakehouse.engine.orchestrate.due import in_words
from lakehouse.engine.orchestrate.remembered import Remembered
from lakehouse.engine.orchestrate.stand import due_keys, is_due, is_stale, stuck
from lakehouse.engine.orchestrate.table import Table, asks
from lakehouse.engine.orchestrate.work import LOGIC, is_foreign

_LOOKED_BACK = 50
"""Runs that are looked through for one that got as far as a table."""


@dataclass(frozen=True)
class LastRun:
    """The last Dagster run that wrote the table, or tried to; `status` and `ended_at` are of the table's own step."""

    id: str
    status: str
    ended_at: datetime | None


@dataclass(frozen=True)
class Status:
    """One table. `version`, `rows`, `bytes` and `updated_at` (UTC) are None where it was never written.

    `quarantined` counts the rows set aside at `quarantine` (None: a plain asset sets none aside). `stale`: its logic
    changed since it was last made whole. `foreign`: a table stands at its place, and no run of it made that.
    `restored`: the version that it was put back to, and nothing was written since. `unreadable`: why the table or its
    quarantine cannot be opened; then nothing else is known of it.
    """

    key: str
    layer: str
    address: str
    version: int | None
    rows: int | None
    bytes: int | None
    updated_at: datetime | None
    quarantined: int = 0
    quarantine: str | None = None
    stale: bool = False
    last_run: LastRun | None = None
    foreign: bool = False
    restored: int | None = None
    unreadable: str | None = None

    @property
    def failed(self) -> bool:
        return self.last_run is not None and self.last_run.status == "FAILURE"


type _Steps = Callable[[str], Mapping[str, LastRun]]


def status(
    tables: Sequence[Table], place: Place, instance: dg.DagsterInstance, plain: Sequence[Sequence[str]] = ()
) -> list[Status]:
    """Every table, upstreams first, then those that plain assets with the keys `plain` have written."""
    steps = cache(partial(_steps, instance))
    found = [_status(each.declaration, place, _last_run(each.declaration.key, instance, steps)) for each in tables]
    others = (("/".join(key), place.lake.address(*key)) for key in plain)
    return found + [
        _found(key, address, written, _last_run(key, instance, steps))
        for key, address in others
        if (written := Handle.open(address)) is not None
    ]


def state(each: Status, found: Sequence[Status], tables: Sequence[Table]) -> str:
    """What is to be said of one of the tables that were `found`, in a few words; nothing where all is well."""
    known = {table.declaration.key: table.declaration for table in tables}
    above = _above(known[each.key]) if each.key in known else set[str]()
    said = ["cannot be opened"] if each.unreadable else ["another table stands there"] if each.foreign else []
    said += [f"put back to version {each.restored}"] if each.restored is not None else []
    said += ["logic changed"] if each.stale else []
    said += [f"logic of {other.key} changed" for other in found if other.stale and other.key in above]
    return ", ".join([*said, *(["last run failed"] if each.failed else [])])


def _status(declared: Declaration, place: Place, last_run: LastRun | None) -> Status:
    address, aside = place.table(declared), place.quarantine(declared)
    try:
        own = Handle.open(address)
        is_written = own is not None and own.transaction(LOGIC) is not None  # creating it is a version too
        written = own if is_written else None
        quarantined = quarantine.count(written, aside) if written else 0
    except Unreadable as why:
        closed = _found(declared.key, address, None, last_run)
        return replace(closed, quarantine=str(aside), unreadable=str(why))
    return replace(
        _found(declared.key, address, written, last_run),
        quarantined=quarantined,
        quarantine=str(aside),
        stale=is_stale(declared, written),
        foreign=own is not None and is_foreign(declared, own),
    )


def _found(key: str, address: Address, written: Handle | None, last_run: LastRun | None) -> Status:
    return Status(
        key, key.partition("/")[0], str(address), written and written.version, written and written.rows,
        written and written.bytes, written and _updated_at(written), last_run=last_run,
        restored=written.tip.restored if written and written.tip else None,
    )  # fmt: skip


def _updated_at(written: Handle) -> datetime | None:
    """Where only a checkpoint tells of the newest version, when its newest file was written."""
    return written.updated_at if written.tip else max(written.files()["modified_at"].to_list(), default=None)


def _last_run(key: str, instance: dg.DagsterInstance, steps: _Steps) -> LastRun | None:
    """The newest run that got as far as this table: where an upstream failed, it was planned and never attempted."""
    asked = dg.EventRecordsFilter(
        dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED, asset_key=dg.AssetKey(key.split("/"))
    )
    # of the storage: the instance's own words for it warn that they will go, and name no other
    for planned in instance.event_log_storage.get_event_records(asked, limit=_LOOKED_BACK):
        entry = planned.event_log_entry
        if attempted := steps(entry.run_id).get(entry.step_key or ""):
            return attempted
    return None


def _steps(instance: dg.DagsterInstance, run_id: str) -> dict[str, LastRun]:
    """How each step of a run ended; those that were never attempted are left out."""
    record = instance.get_run_record_by_id(run_id)
    if record is None:
        return {}
    found: dict[str, LastRun] = {}
    for each in instance.get_run_step_stats(run_id):
        said = each.status.value if each.status else "IN_PROGRESS"
        if said == "IN_PROGRESS":  # also where the process was killed: then Dagster knows it of the run, if at all
            said = record.dagster_run.status.value
        ended = each.end_time or record.end_time
        if said != "SKIPPED":
            found[each.step_key] = LastRun(run_id, said, datetime.fromtimestamp(ended).astimezone() if ended else None)
    return found


def left_stale(tables: Sequence[Table], place: Place, remembered: Remembered) -> list[str]:
    """The keys of tables that hold rows of an older logic and will go on to: those that are not written whole.

    Opens the lake's tables and nothing of Dagster; of those that stand as is `remembered` there is nothing to tell.
    """
    found = [each.declaration for each in tables if not remembered.holds(each.declaration)]
    lasting = [each for each in found if not each.is_written_whole]
    return [each.key for each in lasting if is_stale(each, _where_it_opens(place.table(each)))]


def _where_it_opens(address: Address) -> Handle | None:
    with suppress(Unreadable):  # its run has said so
        return Handle.open(address)
    return None


def logic_changed(tables: Sequence[Table], stale: Sequence[str]) -> str:
    """What is to be said, and done, about tables whose logic changed."""
    known = {each.declaration.key: each.declaration for each in tables}
    mixed = any(not known[key].is_written_whole for key in stale)
    rest = "; rows stay as they were made, and new ones follow the new logic" if mixed else ""
    ways = " && ".join(f"lakehouse rebuild {key}+" for key in stale if not _above(known[key]) & set(stale))
    return f"The logic of {', '.join(stale)} changed since it was last made whole{rest}. Next: {ways}"


def _above(declared: Declaration) -> set[str]:
    """The keys of all that it is made from."""
    return {key for read in declared.reads for key in (read.upstream.key, *_above(read.upstream))}


def show_aside(key: str) -> str:
    """The command that shows what a table set aside."""
    columns = "source_file, source_row, reasons, row"
    return f'lakehouse sql "select {columns} from quarantine.{key.replace("/", "_")}"'  # noqa: S608 # for a person


def hints(found: Sequence[Status], tables: Sequence[Table], place: Place) -> Iterator[str]:
    """What a person may do next, a line each."""
    landed = dict(_waiting(tables, place))
    waiting = [f"{number(count, 'file')} for {key}" for key, count in landed.items() if count]
    if not found:
        yield "No table is declared yet: put a file below lakehouse/tables (README: Your first table)."
    elif waiting:
        yield f"Landed, and not read yet: {', '.join(waiting)}. Next: lakehouse run"
    elif all(each.version is None and not each.unreadable for each in found):
        yield "Nothing was written yet. Next: let files land, then lakehouse run"
    yield from _due_partitions(tables, place)
    never = {each.key for each in found if each.version is None and not each.unreadable}
    yield from _held_back(never, tables, place, landed)
    if stale := [each.key for each in found if each.stale]:
        yield logic_changed(tables, stale)
    declared = {each.declaration.key: each.declaration for each in tables}
    closed = {each.key: each.unreadable for each in found if each.unreadable}
    yield from (f"{key}: {why}" for key, why in closed.items())
    refused = {key: stuck(each, place) for key, each in declared.items() if key not in closed}
    refusals = {key: why for key, why in refused.items() if why and why not in closed.values()}
    yield from (
        refusals | {each.key: _of_foreign(each, place, refusals.get(each.key)) for each in found if each.foreign}
    ).values()
    for each in found:
        if each.failed and each.key not in refusals | closed:
            yield f"The last run of {each.key} failed{_after_failure(each, declared.get(each.key), place)}"
    for each in found:
        if each.quarantined:
            yield f"What {each.key} set aside, and why: {show_aside(each.key)}"


def _of_foreign(each: Status, place: Place, refusal: str | None) -> str:
    """What a run makes of a table that another engine, or a plain asset, has left at the place of a declared one."""
    own = Handle.open(place.lake.address(*each.key.split("/")))
    holds = f"version {own.version}, {number(own.rows, 'row')}" if own else "gone since"
    stands = f"At the place of {each.key} stands a table that no run of it has made ({holds}, {each.address})."
    if refusal:
        return f"{stands} lakehouse run refuses it: {refusal}"
    return (
        f"{stands} Its columns are the declared ones, and so the first run replaces all its rows; to keep it, move it "
        "away."
    )


def _held_back(
    never: Collection[str], tables: Sequence[Table], place: Place, landed: Mapping[str, int]
) -> Iterator[str]:
    """What is due and the daemon does not run: `eager()` waits until each upstream was made once."""
    sources = {each.declaration.key: each.declaration.source for each in tables}
    for each in tables:
        declared = each.declaration
        missing = [read.upstream for read in declared.reads if read.upstream.key in never]
        waits = any(
            spec.automation_condition and asks(spec.automation_condition, "any_deps_missing") for spec in each.specs
        )
        if missing and waits and is_due(declared, place):
            above = {key for upstream in missing for key in (upstream.key, *_above(upstream)) if key in never}
            empty = sorted(source.pattern for key in above if not landed.get(key) and (source := sources.get(key)))
            why = f": no file lies at {' and '.join(empty)} yet" if empty else ""
            names = " and ".join(dict.fromkeys(upstream.key for upstream in missing))
            yield (
                f"{declared.key} is due, and by eager() waits for {names}, which was never made{why}. "
                "lakehouse run makes it of what is there."
            )


def _due_partitions(tables: Sequence[Table], place: Place) -> Iterator[str]:
    for declared in (each.declaration for each in tables):
        if keys := due_keys(declared, place):
            yield f"Due of {declared.key}: {in_words(keys)}. Next: lakehouse run, or a backfill in the UI"


def _waiting(tables: Sequence[Table], place: Place) -> Iterator[tuple[str, int]]:
    """By bronze table, how many files landed that it has not read; one listing each."""
    for declared in (each.declaration for each in tables if each.declaration.is_bronze):
        with suppress(Unreadable):  # told of by itself
            ledger = Ledger.open(declared, place.ledger(declared), Handle.open(place.table(declared)))
            seen = arrivals(declared, place.landing_of(declared), ledger)
            yield declared.key, len(seen.fresh) + len(seen.settling)


def _after_failure(failed: Status, declared: Declaration | None, place: Place) -> str:
    if declared is None:
        return f". Next: dg launch --assets {failed.key}"
    if is_due(declared, place):
        return ", and it is due again. Next: lakehouse run, which says why"
    stands = "there is no table" if failed.version is None else f"version {failed.version} stands"
    return f", and nothing is due for it since: {stands}. To run it anew: lakehouse rebuild {failed.key}"
