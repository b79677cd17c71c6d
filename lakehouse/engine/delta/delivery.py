"""What one run gives to one table, and its way into the lake: quarantine first, then the table, in one commit each."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Unpack

import polars as pl

from lakehouse.engine.declare.errors import Conflict, LakehouseError
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.readers import EVERY_READER, Reader
from lakehouse.engine.declare.write import Append, History, Merge, Overwrite, ReplacePartition, Write
from lakehouse.engine.delta import quarantine
from lakehouse.engine.delta.batch import Spilled
from lakehouse.engine.delta.check import told_where_altered
from lakehouse.engine.delta.described import Columns, Notes, as_delta
from lakehouse.engine.delta.evolution import evolve
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.log import only_upkeep
from lakehouse.engine.delta.optimize import without_vectors
from lakehouse.engine.delta.plan import Tell, nobody
from lakehouse.engine.delta.prepared import Prepared, Reads, Written, until_first
from lakehouse.engine.delta.protocol import for_readers
from lakehouse.engine.delta.slices import NO_SLICES, Slices
from lakehouse.engine.delta.statistics import DataFile
from lakehouse.engine.delta.writes import (
    How,
    batch_of,
    merge_batch,
    prepare_append,
    prepare_overwrite,
    prepare_replace_slices,
)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Delivery:
    """Rows that passed, rows that were set aside, and the positions they were read at: committed together.

    `handle` is the version of the table that this was worked out against, None where there is no table yet.
    `whole` says that the rows are all there is: they replace what stands, and its quarantine; the table takes `schema`
    with them. Every other write gives it the columns that it lacks beforehand, in a commit of its own (see `evolve`).
    `notes`: what the log says of the columns.
    `deleted`: keys of which no standing row stays, where the write takes some away (`Merge(deletes=…)`, late rows of a
    `History`).
    `refusal` is why the run fails although the delivery is carried out. `scope`: the slices that `ReplacePartition`
    replaces, also those of which no row is accepted. `partition_by`: by which columns it lies in folders, where it is
    new or `whole`.
    `unless_moved`: the transactions that say what a rival must not have written. Where there are some, a rival wrote
    other slices, of which nothing was read here, unless it moved one of these.
    `unmeasured`: the columns that leave no values in the log.
    `readers`: the engines that must be able to read what is committed.
    `written`: files that lie beside the table already and hold the first of the rows that are appended.
    """

    table: Address
    quarantine: Address
    schema: pl.Schema
    description: str
    handle: Handle | None
    write: Write
    key: tuple[str, ...]
    whole: bool
    accepted: pl.DataFrame
    rejected: pl.DataFrame
    transactions: Mapping[str, int]
    note: Mapping[str, str] = field(default_factory=dict[str, str])
    refusal: str | None = None
    notes: Notes = field(default_factory=dict[str, Mapping[str, str]])
    scope: Slices = NO_SLICES
    partition_by: tuple[str, ...] = ()
    unless_moved: tuple[str, ...] = ()
    unmeasured: tuple[str, ...] = ()
    written: tuple[DataFile, ...] = ()
    readers: tuple[Reader, ...] = EVERY_READER
    deleted: pl.DataFrame | None = None

    def let_go(self, *names: str) -> None:
        """Forget the rows once they lie elsewhere: Dagster keeps what a step gave until its run ends."""
        for name in names or ("accepted", "rejected"):
            object.__setattr__(self, name, getattr(self, name).clear())


def deliver(delivery: Delivery, budget: int | None = None, tell: Tell = nobody) -> Written:
    """Carry a delivery out: on `delivery.handle`, or on top of what rivals made of it, where it does not hang on that.

    Else raises Conflict: nothing of it landed. budget: bytes of memory that a merge may take; tell: is given its plan
    beforehand (`prepare_merge`).
    """
    stands = (delivery.handle or _made(delivery)).leaving_out(delivery.unmeasured)
    with told_where_altered(lambda: [stands]):
        return _delivered(stands, delivery, budget, tell)


def _delivered(stands: Handle, delivery: Delivery, budget: int | None, tell: Tell) -> Written:
    handle = freed(stands, delivery.readers)
    if not delivery.whole:
        evolved = evolve(handle, delivery.schema, delivery.notes, delivery.unmeasured)
        handle = for_readers(evolved, delivery.readers)
    with ThreadPoolExecutor(1) as beside:  # files that are prepared are nothing to anyone yet
        first = beside.submit(_set_aside, delivery, handle)
        prepared = _prepare(handle.leaving_out(delivery.unmeasured), delivery, budget=budget, tell=tell)
    attempts = [first.result()]

    def commit(prepared: Prepared) -> Written:
        if attempts[-1].version != prepared.handle.version + 1:
            attempts.append(_set_aside(delivery, prepared.handle))
        return prepared.once({**delivery.transactions, **attempts[-1].transactions}, delivery.note)

    written = until_first(prepared, _guarded(delivery), commit)
    if attempts[-1].leaves:
        tidy(written.handle, delivery.quarantine)
    return written


def freed(stands: Handle, readers: tuple[Reader, ...]) -> Handle:
    """As these can read it, and what is committed on it too.

    Raises Conflict where a rival changed rows meanwhile: what comes was worked out before.
    """
    freed = without_vectors(stands, readers)
    if freed.version > stands.version and not only_upkeep(freed.address, stands.version, freed.version):
        raise Conflict(
            f"{stands.address}: another writer changed its rows while its deletion vectors were folded in; nothing of "
            "ours was committed. Run again."
        )
    return for_readers(freed, readers)


def _guarded(delivery: Delivery) -> Mapping[str, int | None]:
    """What no rival may have written: it would have done our work, or other work that ours hangs on."""
    if delivery.unless_moved:
        return {app: delivery.transactions.get(app) for app in delivery.unless_moved}
    return dict.fromkeys([*delivery.transactions, quarantine.ATTEMPT])


def _set_aside(delivery: Delivery, handle: Handle) -> quarantine.Attempt:
    return quarantine.write(handle, delivery.quarantine, delivery.rejected, whole=delivery.whole)


def _made(delivery: Delivery) -> Handle:
    """The new table; where others made it first, theirs, if they may have: of one that has partitions."""
    try:
        columns, by = as_delta(delivery.schema, delivery.notes), delivery.partition_by
        return new_table(delivery.table, columns, delivery.description, partition_by=by, readers=delivery.readers)
    except Conflict:
        theirs = Handle.open(delivery.table)
        if theirs is None or not delivery.unless_moved or theirs.schema != delivery.schema:
            raise
        if any(theirs.transaction(app) not in (None, may) for app, may in _guarded(delivery).items()):
            raise
        return theirs


def tidy(table: Handle | None, aside: Address) -> None:
    """Take away what attempts that lost have set aside, since other engines would count it.

    By the winner, or else by the next start. It only helps: what fails is left to the next one.
    """
    if table is None:
        return
    try:
        quarantine.settle(table, aside)
    except (LakehouseError, OSError) as passing:
        _logger.warning("%s: what lost was not taken away: %s", aside, passing)


def new_table(
    address: Address,
    schema: Columns,
    description: str,
    *,
    partition_by: tuple[str, ...] = (),
    readers: tuple[Reader, ...] = EVERY_READER,
) -> Handle:
    """The table, made by us and empty; else Conflict."""
    handle = Handle.create(address, schema, description=description, partition_by=partition_by, readers=readers)
    if handle.version > 0:
        raise Conflict(f"{address}: another run made the table first; nothing of ours was committed. Run again.")
    return handle


def _prepare(handle: Handle, delivery: Delivery, **how: Unpack[How]) -> Prepared:
    if delivery.whole:
        rows, by = delivery.accepted, delivery.partition_by
        return prepare_overwrite(handle, rows, delivery.schema, delivery.notes, by=by)
    match delivery.write:
        case Append():
            return prepare_append(handle, delivery.accepted, delivery.written)
        case Merge(replaces=replaces, newest_by=newest_by):
            how |= {"replaces": [replaces] if replaces else None, "newest_by": newest_by}
            return _merge(handle, delivery, how)
        case History():
            return _of_every_row(_merge(handle, delivery, how))
        case Overwrite():
            return prepare_overwrite(handle, delivery.accepted)
        case ReplacePartition():
            return prepare_replace_slices(handle, delivery.accepted, delivery.scope)


def _merge(handle: Handle, delivery: Delivery, how: How) -> Prepared:
    """What a merge may not hold lies in a file, and is let go here."""
    batch = batch_of(handle, delivery.accepted, delivery.key, **{**how, "deleted": delivery.deleted})
    if isinstance(batch.rows, Spilled):
        delivery.let_go("accepted")
    return merge_batch(handle, batch, how.get("tell", nobody))


def _of_every_row(prepared: Prepared) -> Prepared:
    """The same where any row may have been looked at; also when it is prepared again."""
    if (reads := prepared.reads) is None:
        return prepared
    return replace(prepared, reads=Reads(_all_of, lambda newest: _of_every_row(reads.plan(newest))))


def _all_of(at: Handle, paths: Sequence[str]) -> list[pl.LazyFrame]:
    return [at.scan_paths(paths)]
