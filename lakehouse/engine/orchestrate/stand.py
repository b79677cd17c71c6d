"""Where the tables stand before a run, which of them are due, and which no run could make as they are."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from lakehouse.engine.declare.errors import Conflict, LakehouseError, Refused
from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.ports import Found
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.refused import Unreadable
from lakehouse.engine.ingest.landing import Arrivals, look, look_beside
from lakehouse.engine.ingest.ledger import PLAN
from lakehouse.engine.orchestrate.due import due_partitions
from lakehouse.engine.orchestrate.here import TABLES_AT_ONCE, as_read, or_behind
from lakehouse.engine.orchestrate.inputs import (
    as_declared,
    as_read_by,
    is_idle,
    open_inputs,
    refuse_foreign_rows,
    refuse_other_ways,
)
from lakehouse.engine.orchestrate.remembered import Remembered
from lakehouse.engine.orchestrate.work import LOGIC


@dataclass(frozen=True)
class Stand:
    """What a run of a table would start from, comparable with itself: versions by upstream, or what has landed.

    lasts: nothing is due, nothing is to be told of the table, and both stay so until something changes.
    """

    inputs: object
    is_due: bool = False
    partitions: tuple[str, ...] = ()
    lasts: bool = field(default=False, compare=False)


def stands_of(tables: Sequence[Declaration], place: Place, remembered: Remembered) -> dict[str, Stand]:
    """Where every table stands, by key. Those are opened, once and side by side, that do not stand as is remembered.

    A table may so be behind what a run that goes on meanwhile has read of it; its reader then counts as due.
    """
    with ThreadPoolExecutor(TABLES_AT_ONCE) as pool:
        remembered.look(tables, pool)
        moved = [each for each in tables if not remembered.holds(each)]
        known = {each.key: each for table in moved for each in _opens(table)}
        ledgers = [pool.submit(Handle.open, place.ledger(each)) for each in moved if each.is_bronze]
        tried = dict(zip(known, pool.map(lambda each: _tried(each, place), known.values()), strict=True))
        closed = {key: why for key, why in tried.items() if isinstance(why, Unreadable)}
        handles = {key: each for key, each in tried.items() if not isinstance(each, Unreadable)}
        theirs = pool.map(lambda key: or_behind(handles[key], known[key], place), handles)
        read = dict(zip(handles, theirs, strict=True))
        wait(ledgers)  # not used: whoever opens one after its table finds it known

        def stand(each: Declaration) -> Stand:
            upstreams = {other.upstream.key: read.get(other.upstream.key) for other in each.reads}
            told = next((other for other in _opens(each) if other.key in closed), None)
            try:
                if told:
                    raise closed[told.key]
                return _stand(each, place, handles[each.key], upstreams, listed=remembered.landed(each))
            except (Unreadable, Conflict) as why:  # the run says it, where it is recorded
                inputs = str(why) if each.is_bronze else {key: _version(handle) for key, handle in upstreams.items()}
                keys = each.partitions.keys() if each.partitions else ()
                # of an upstream that is due itself, its own run says it, and ends before this one
                return Stand(inputs, told in (None, each) or told not in moved, tuple(keys[-1:]))

        found = dict(zip((each.key for each in moved), pool.map(stand, moved), strict=True))
    as_listed = {key for key, each in known.items() if remembered.version(each) == _version(handles.get(key))}
    lasting = [each for each in moved if found[each.key].lasts]
    remembered.keep(each for each in lasting if as_listed.issuperset(other.key for other in _opens(each)))
    found |= {each.key: _as_remembered(each, remembered) for each in tables if each not in moved}
    return {each.key: found[each.key] for each in tables}


def is_due(declared: Declaration, place: Place) -> bool:
    """Whether a run of the table would find something to do, or be refused."""
    try:
        return _stand(declared, place, *opened(declared, place)).is_due
    except Unreadable:
        return True


def due_keys(declared: Declaration, place: Place) -> list[str]:
    """The partitions of a table that a run would make, in order; none where it is `stuck`."""
    try:
        return due_partitions(declared, *opened(declared, place))
    except Unreadable:
        return []


def stuck(declared: Declaration, place: Place) -> str | None:
    """Why a run of the table would be refused before it reads a row, with the way out; None where it would not."""
    try:
        own, upstreams = opened(declared, place)
        own, upstreams = as_declared(declared, own), as_read_by(declared, upstreams)
        refuse_foreign_rows(declared, own)
        if not declared.is_bronze:
            refuse_other_ways(declared, own)
        for each in open_inputs(declared, own, upstreams, whole=False):
            each.stored.collect_schema()
    except (Refused, Unreadable) as why:
        return str(why)
    return None


def opened(declared: Declaration, place: Place) -> tuple[Handle | None, dict[str, Handle | None]]:
    """The table and then, by key, its upstreams: opened later, so that none is behind what the table has read."""
    own = Handle.open(place.table(declared))
    upstreams = {read.upstream.key: read.upstream for read in declared.reads}
    return own, {key: as_read(each, place) for key, each in upstreams.items()}


def open_table(declared: Declaration, place: Place) -> Handle | None:
    """With what is asked of every table."""
    handle = Handle.open(place.table(declared))
    if handle is not None:
        handle.ask(LOGIC)
    return handle


def _tried(declared: Declaration, place: Place) -> Handle | Unreadable | None:
    try:
        return open_table(declared, place)
    except Unreadable as why:
        return why


def _as_remembered(declared: Declaration, remembered: Remembered) -> Stand:
    inputs = {read.upstream.key: remembered.version(read.upstream) for read in declared.reads}
    return Stand((None, ()) if declared.is_bronze else inputs, lasts=True)


def _stand(
    declared: Declaration,
    place: Place,
    own: Handle | None,
    upstreams: Mapping[str, Handle | None],
    *,
    listed: Sequence[Found] | None = None,
) -> Stand:
    if declared.is_bronze:
        if own is not None:
            own.ask(LOGIC, declared.key, PLAN)
        seen, pending = look_beside(declared, place, own, listed)
        settles = bool(seen.settling)
        if settles:
            _wait(declared, seen)
            seen, pending = look(declared, place)
        is_due = bool(seen.fresh) or pending is not None
        return Stand((pending, seen.fresh), is_due, lasts=not (is_due or settles or is_stale(declared, own)))
    versions = {key: _version(each) for key, each in upstreams.items()}
    if declared.partitions is not None:
        keys = tuple(due_partitions(declared, own, upstreams))
        return Stand(versions, bool(keys), keys, lasts=not (keys or is_stale(declared, own)))
    try:
        idle = is_idle(declared, own, open_inputs(declared, own, upstreams, whole=False))
    except LakehouseError:
        idle = False  # the run itself says why, where it is recorded
    return Stand(versions, not idle, lasts=idle and not is_stale(declared, own))


def is_stale(declared: Declaration, own: Handle | None) -> bool:
    """Whether the table was made by other logic than it has now."""
    return own is not None and own.transaction(LOGIC) not in (None, declared.logic)


def _wait(declared: Declaration, seen: Arrivals) -> None:
    """Until files that have just landed stood still, as long as their source asks and no longer."""
    settle = declared.source.settle if declared.source else timedelta(0)
    wait = (max(found.modified_at for found in seen.settling) + settle - datetime.now(UTC)).total_seconds()
    # no longer than settle: a clock that is ahead of ours is not waited for
    time.sleep(min(max(wait, 0) + 0.05, settle.total_seconds()))


def _opens(declared: Declaration) -> list[Declaration]:
    """A table and what it reads."""
    return [declared, *(read.upstream for read in declared.reads)]


def _version(handle: Handle | None) -> int | None:
    return handle and handle.version
