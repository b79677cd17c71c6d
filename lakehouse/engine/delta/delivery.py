"""What one run gives to one table, and its way into the lake: quarantine first, then the table, in one commit each."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import polars as pl

from lakehouse.engine.declare.errors import Conflict, LakehouseError
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.readers import EVERY_READER, Reader
from lakehouse.engine.declare.write import Append, History, Merge, Overwrite, ReplacePartition, Write
from lakehouse.engine.delta import quarantine
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.protocol import for_readers
from lakehouse.engine.delta.slices import NO_SLICES, Slices
from lakehouse.engine.delta.statistics import DataFile
from lakehouse.engine.delta.writes import (
    SLICE_ATTEMPTS,
    Prepared,
    Written,
    prepare_append,
    prepare_merge,
    prepare_overwrite,
    prepare_replace_slices,
)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Delivery:
    """Rows that passed, rows that were set aside, and the positions they were read at: committed together.

    `handle` is the version of the table that this was worked out against, None where there is no table yet.
    `whole` says that the rows are all there is: they replace what stands, and its quarantine. `reshapes` lets the
    table take `schema` with them: a rebuild may, every other write must find the table as its contract says.
    `refusal` is why the run fails although the delivery is carried out. `scope`: the slices that `ReplacePartition`
    replaces, also those of which no row is accepted. `partition_by`: by which columns a new table lies in folders.
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
    reshapes: bool = False
    scope: Slices = NO_SLICES
    partition_by: tuple[str, ...] = ()
    unless_moved: tuple[str, ...] = ()
    unmeasured: tuple[str, ...] = ()
    written: tuple[DataFile, ...] = ()
    readers: tuple[Reader, ...] = EVERY_READER

    def let_go(self) -> None:
        """Forget the rows once they are in the lake: Dagster keeps what a step gave until its run ends."""
        for name in ("accepted", "rejected"):
            object.__setattr__(self, name, getattr(self, name).clear())


def deliver(delivery: Delivery) -> Written:
    """Carry a delivery out. Raises Conflict when the table has moved since `delivery.handle`: nothing of it landed.

    One that does not hang on what a rival wrote is carried out on top of it.
    """
    for _ in range(SLICE_ATTEMPTS - 1):
        try:
            return _carry_out(delivery)
        except Conflict:
            newest = Handle.open(delivery.table)
            if newest is None or not _may_follow(delivery, newest):
                raise
            delivery = replace(delivery, handle=newest)
    return _carry_out(delivery)


def _may_follow(delivery: Delivery, newest: Handle) -> bool:
    """Whether what a rival made of the table is nothing that this delivery was worked out from, or would undo."""
    before = delivery.handle
    if not delivery.unless_moved or newest.schema != delivery.schema or (before and before.id != newest.id):
        return False
    return all(
        newest.transaction(app) in (before and before.transaction(app), delivery.transactions.get(app))
        for app in delivery.unless_moved
    )


def _carry_out(delivery: Delivery) -> Written:
    handle = delivery.handle or new_table(
        delivery.table,
        delivery.schema,
        delivery.description,
        partition_by=delivery.partition_by,
        readers=delivery.readers,
    )
    with ThreadPoolExecutor(1) as beside:  # files that are prepared are nothing to anyone yet
        attempted = beside.submit(
            quarantine.write, handle, delivery.quarantine, delivery.rejected, whole=delivery.whole
        )
        prepared = _prepare(for_readers(handle.leaving_out(delivery.unmeasured), delivery.readers), delivery)
    attempt = attempted.result()
    written = prepared.commit({**delivery.transactions, **attempt.transactions}, delivery.note)
    if attempt.leaves:
        tidy(written.handle, delivery.quarantine)
    return written


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
    schema: pl.Schema,
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


def _prepare(handle: Handle, delivery: Delivery) -> Prepared:
    rows = delivery.accepted
    if delivery.whole:
        return prepare_overwrite(handle, rows, delivery.schema if delivery.reshapes else None)
    match delivery.write:
        case Append():
            return prepare_append(handle, rows, delivery.written)
        case Merge(replaces=replaces):
            return prepare_merge(handle, rows, delivery.key, replaces=[replaces] if replaces else None)
        case History():
            return prepare_merge(handle, rows, delivery.key)
        case Overwrite():
            return prepare_overwrite(handle, rows)
        case ReplacePartition():
            return prepare_replace_slices(handle, rows, delivery.scope)
