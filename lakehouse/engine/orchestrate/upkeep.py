"""Keeping tables: small files joined, the log summed up, what is older than a table's retention taken away.

The same for a command and for Dagster's jobs, which tell of it as observations: what a table was made of stays the
newest materialization.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import dagster as dg

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.number import number
from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.table import AnyTable, Declaration, Plain, launch
from lakehouse.engine.declare.upkeep import Policy
from lakehouse.engine.declare.write import Append, Reading
from lakehouse.engine.delta import quarantine, store
from lakehouse.engine.delta.advice import partition_advice
from lakehouse.engine.delta.check import Checked, check
from lakehouse.engine.delta.delivery import tidy
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.log import summed_up, transactions_at
from lakehouse.engine.delta.optimize import (
    Aim,
    Layout,
    Optimized,
    compact,
    folds,
    plan,
    refuse_columns,
    without_vectors,
    zorder,
)
from lakehouse.engine.delta.refused import Unreadable
from lakehouse.engine.delta.retention import agreed, hours_of, promise
from lakehouse.engine.delta.vacuum import Sweep, plan_vacuum, sweep
from lakehouse.engine.ingest.ledger import Ledger
from lakehouse.engine.ingest.rewind import asks_from
from lakehouse.engine.orchestrate.catalog import shown
from lakehouse.engine.orchestrate.history import out_of_place
from lakehouse.engine.orchestrate.versions import Part, parts
from lakehouse.engine.orchestrate.work import is_foreign, position


def aim_of(declared: AnyTable, policy: Policy) -> Aim:
    """What its files should be like. Of appended rows a reader takes the later one, so that their order counts."""
    in_order = isinstance(declared.write, Append)
    return Aim(bytes=policy.target_mb << 20, small_ratio=policy.small_ratio, in_order=in_order)


def readers_of(declared: AnyTable, handle: Handle, tables: Sequence[Declaration], place: Place) -> dict[str, int]:
    """How far each table that reads what changed has read it, by key.

    Of partitions the one that is furthest behind, as `gold/daily[2024-05-01]`.
    """
    found = dict[str, int]()
    for reader in tables:
        readings = {read.reading for read in reader.reads if read.upstream is declared}
        if not readings or (readings == {Reading.FRAME} and reader.partitions is None):
            continue  # what reads it whole needs no more than what stands
        own = Handle.open(place.table(reader))
        done = own.transactions() if own else {}
        ends = position(reader, handle).removeprefix(reader.key)
        positions = {app.removesuffix(ends): version for app, version in done.items() if app.endswith(ends)}
        if positions:
            last = min(positions, key=lambda each: positions[each])
            found[last] = positions[last]
    return found


def lets_go(reader: str) -> str:
    """The command after which nothing is kept for one of `readers_of` any more."""
    key, _, partition = reader.removesuffix("]").partition("[")
    return launch(key, is_partitioned=True, partition=shlex.quote(partition)) if partition else "lakehouse run"


@dataclass(frozen=True)
class Kept:
    """What was done for one table, and `beside` it for quarantine and ledger. `bytes_before`: of all in its folder.

    `retention`: what is to be said of it, where the table promised more than its policy says.
    """

    done: Optimized
    swept: Sweep
    beside: Mapping[str, Sweep]
    bytes_before: int
    bytes_after: int
    retention: str

    @property
    def facts(self) -> dict[str, object]:
        return {
            **facts_of_files(self.done),
            **facts_of_sweep(self.swept, self.beside, self.bytes_before, self.bytes_after),
            **({"retention": self.retention} if self.retention else {}),
        }


def facts_of_files(done: Optimized) -> dict[str, object]:
    """Files, bytes and the share of small files before and after, as metadata."""

    def of(layout: Layout, when: str) -> dict[str, object]:
        ratio = round(layout.small_ratio, 3)
        return {f"files_{when}": layout.files, f"bytes_{when}": layout.bytes, f"small_file_ratio_{when}": ratio}

    joined = {"files_rewritten": done.rewritten, "delta/version": done.handle.version}
    return {**of(done.before, "before"), **of(done.after, "after"), **joined}


def facts_of_sweep(swept: Sweep, beside: Mapping[str, Sweep], before: int, after: int) -> dict[str, object]:
    """What went of a table and `beside` it, and the bytes of all in its folder before and after, as metadata."""
    held = {"held_for": {name: each.told for name, each in swept.held.items()}} if swept.held else {}
    return {
        "retention_hours": swept.hours,
        "oldest_version": swept.oldest,
        "files_removed": len(swept.files),
        "log_files_removed": len(swept.log),
        "bytes_removed": swept.bytes,
        "beside/bytes_removed": sum(each.bytes for each in beside.values()),
        "folder/bytes_before": before,
        "folder/bytes_after": after,
        **held,
    }


def own_table(declared: AnyTable, place: Place) -> Handle | None:
    """The table of this lake; what is written to it leaves nothing of personal columns in the log.

    Where another one stands at its place, refused; None for a plain asset: its rows may be kept by what it calls.
    """
    handle = Handle.open(place.table(declared))
    if handle is not None and is_foreign(declared, handle):
        if isinstance(declared, Plain):
            return None
        raise Refused(
            f"{declared.key}: no run of it has written the table that stands at {handle.address}. Nothing was written "
            f"or removed; version {handle.version} stands. Move it away, or give the table another name."
        )
    return handle and handle.leaving_out(declared.personal)


def optimize(declared: AnyTable, handle: Handle, policy: Policy, columns: Sequence[str] = ()) -> Optimized:
    """Lay rows by these columns, or by those that the table declares; else join small files. Then sum the log up.

    Refused where the order of rows counts.
    """
    columns, aim = laid_by(declared, handle, columns), aim_of(declared, policy)
    handle = without_vectors(handle, declared.readers)
    done = zorder(handle, columns, aim) if columns else compact(handle, aim)
    _sum_up(done.handle)
    return done


def laid_by(declared: AnyTable, handle: Handle, columns: Sequence[str]) -> Sequence[str]:
    """By these, or those that the table declares, where all are there. Refused where the order of rows counts."""
    if columns and isinstance(declared.write, Append):
        raise Refused(
            f"{declared.key} is written by Append, and a reader takes the later of two rows: by another order it would "
            f"take another. Nothing was written. Lay a table by columns that reads it, or join its files without "
            f"--zorder: lakehouse table optimize {declared.key}"
        )
    is_there = set(declared.zorder) <= set(handle.schema)  # one may come with the next run
    return columns or (declared.zorder if is_there else ())


def would_do(declared: AnyTable, handle: Handle, policy: Policy, columns: Sequence[str] = ()) -> str:
    """What `optimize` would do, in words. Refused where it would be."""
    if columns := laid_by(declared, handle, columns):
        refuse_columns(handle, columns)
    found = plan(handle, aim_of(declared, policy), columns)
    said = (
        f"{number(found.before.files, 'file')}, of which {found.before.small:,} small ({found.before.small_ratio:.0%})"
    )
    if not found.groups:
        said += f": nothing to lay by {', '.join(columns)}" if columns else ": nothing to join"
    elif columns:
        said += f": {number(found.rows, 'row')} would be laid by {', '.join(columns)}, {found.bytes:,} bytes"
    else:
        said += f": {found.files:,} would become {len(found.groups):,}, {found.rows:,} rows, {found.bytes:,} bytes"
    return said + _folded(declared, handle, {path for group in found.groups for path in group})


def _folded(declared: AnyTable, handle: Handle, anew: Collection[str]) -> str:
    """Of which files, and of how many rows, the deletion vectors would go."""
    is_freed = folds(handle, declared.readers)
    rows = [vector.rows for path, vector in handle.vectors.items() if is_freed or path in anew]
    said = (
        f"; {number(len(rows), 'file')} written anew without {number(sum(rows), 'row')} that deletion vectors took away"
    )
    return (said if rows else "") + ("; the table would ask for them no more" if is_freed else "")


def plan_sweep(declared: AnyTable, handle: Handle, hours: int, *, tables: Sequence[Declaration], place: Place) -> Sweep:
    """What vacuum may take from a table: never what a table here has yet to read, nor what its quarantine asks for."""
    readers = readers_of(declared, handle, tables, place)
    since = None if isinstance(declared, Plain) else partial(quarantine.asks_from, handle, place.quarantine(declared))
    return plan_vacuum(handle, hours, readers, log_from=since)


def keep_up(declared: AnyTable, place: Place, policy: Policy, tables: Sequence[Declaration]) -> Kept | None:
    """All of it for one table, and its quarantine's old files; None where there is no table. Raises Conflict.

    Where its promise is lowered, nothing goes by that before the next time: it is done last, so that a night that is
    tried again keeps what it kept at first.
    """
    handle = own_table(declared, place)
    if handle is None:
        return None
    before = sum(store.sizes(handle.address).values())
    hours, said = agreed(declared.key, handle, policy.retention_hours)
    kept = max(hours, hours_of(handle) or 0)
    promised = promise(handle, hours, policy.retention_hours) if kept == hours else handle
    done = optimize(declared, promised.leaving_out(handle.unmeasured), policy)
    if isinstance(declared, Declaration):
        tidy(done.handle, place.quarantine(declared))
    swept = plan_sweep(declared, done.handle, kept, tables=tables, place=place)
    beside = plan_beside(declared, swept, place)
    for each in (swept, *beside.values()):
        sweep(each)
    done = replace(done, handle=promise(done.handle, hours, policy.retention_hours))
    return Kept(done, swept, beside, before, sum(store.sizes(handle.address).values()), said)


def plan_beside(declared: AnyTable, swept: Sweep, place: Place) -> dict[str, Sweep]:
    """What may go of a table's `quarantine` and `ledger`: what no version asks for that its own vacuum leaves."""
    planned = dict[str, Sweep]()
    if isinstance(declared, Plain):
        return planned
    if (aside := Handle.open(place.quarantine(declared))) is not None:
        # not of its log, by which rows are told that count
        planned["quarantine"] = replace(plan_vacuum(aside, swept.hours, {}), log={})
    ledger = Ledger.open(declared, place.ledger(declared), swept.handle)
    if ledger.handle is not None:
        since = asks_from(ledger, transactions_at(swept.handle.address, swept.oldest))
        planned["ledger"] = plan_vacuum(ledger.handle, swept.hours, {declared.key: since})
    return planned


def _sum_up(handle: Handle) -> None:
    """A checkpoint of this very version, where there is none: the log before it may go some day."""
    if summed_up(handle.address) != handle.version:
        handle.checkpoint()


@dataclass(frozen=True)
class Examined:
    """What reading a table whole has found. `broken`: so many versions of a History do not follow each other."""

    part: Part
    found: Checked
    advice: Sequence[str] = ()
    broken: int = 0

    def __str__(self) -> str:
        found, unsummed = self.found, self.found.files - self.found.summed
        if not found.opens:
            return f"{self.part.name} cannot be opened"
        how = f"{len(found.faults):,} damaged" if found.faults else "all as written"
        without = f"; {number(unsummed, 'file')} without a checksum" if unsummed else ""
        of = f"{number(found.files, 'file')}, {number(found.rows, 'row')}"
        return f"{self.part.name}, version {found.version}: {of}, {how}{without}"

    @property
    def out_of_place(self) -> str:
        return f"{self.broken:,} of its versions overlap the next one, leave a gap before it or end before they begin"

    @property
    def next(self) -> str:
        """What mends it; nothing where nothing is wrong."""
        if not self.found.faults and not self.broken:
            return ""
        if not self.found.opens:
            return f"{self.part.repair}; else {self.part.afresh}"
        return self.part.repair if self.found.faults and self.found.only_sums else self.part.anew

    @property
    def refusal(self) -> str:
        """Why a run fails that has read it, with the culprits; nothing where nothing is wrong."""
        culprits = [f"{name} {fault}" for name, fault in self.found.faults.items()]
        return f"{self}: {'; '.join(culprits or [self.out_of_place])}. Next: {self.next}" if self.next else ""

    @property
    def facts(self) -> dict[str, object]:
        found = {f"check/{name}": value for name, value in vars(self.found).items()}
        return {**found, "check/out_of_place": self.broken, "check/partitions": list(self.advice)}


def examine(
    declared: AnyTable, place: Place, opens: Callable[[], Handle | None], tell: Callable[[str], None] = lambda _: None
) -> Iterator[Examined]:
    """Read a table's files and its log, whole, then the same of its quarantine and its ledger, those that are there.

    Of a declared table also whether its versions follow each other. Nothing where `opens` finds no table.
    """
    own, *_ = every = parts(declared, place)
    table: Handle | None = None
    for part in every:
        try:
            handle = opens() if part is own else Handle.open(part.address)
        except Unreadable as why:
            yield Examined(part, Checked.unreadable(str(why)))
            continue
        table = handle if part is own else table
        lacks, mends = part.lacks(table) if table else ({}, "")
        if handle is not None:
            found, advice, broken = check(handle, tell), partition_advice(handle) if part is own else (), 0
            if part is own and isinstance(declared, Declaration) and not found.faults:
                broken = out_of_place(declared, handle.scan()).height
            told = part._replace(anew=mends) if mends and not found.faults else part
            yield Examined(told, replace(found, faults={**found.faults, **lacks}), advice, broken)
        elif lacks:
            yield Examined(part, Checked(0, 0, 0, 0, lacks, 0, 0))
        elif part is own:
            return


def observed(declared: AnyTable, facts: Mapping[str, object]) -> dg.AssetObservation:
    return dg.AssetObservation(asset_key=declared.path, metadata=shown(facts))
