"""A run of a bronze table: the next batch of its source. Bronze never refuses: what cannot be read is set aside."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.ports import Progress, silent
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.delta.ahead import Ahead
from lakehouse.engine.delta.delivery import Delivery, new_table, tidy
from lakehouse.engine.delta.described import as_delta
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.ingest.kept import Kept
from lakehouse.engine.ingest.landing import next_batch, read_again, reread
from lakehouse.engine.ingest.ledger import DUPLICATE, LOST, PLAN, READ, UNREADABLE, Ledger
from lakehouse.engine.ingest.reader import Batch
from lakehouse.engine.orchestrate.aside import where_and_why
from lakehouse.engine.orchestrate.inputs import as_declared, changed_columns, refuse_foreign_rows
from lakehouse.engine.orchestrate.work import LOGIC, CheckSpec, Finding, Work, made_by

CHECKS = (
    CheckSpec("files_are_readable", "Every file that landed can be unpacked.", blocking=False),
    CheckSpec("records_are_readable", "Every record of a file has the declared shape.", blocking=False),
    CheckSpec("no_planned_file_is_lost", "Every file that was listed was still there to be read.", blocking=False),
    CheckSpec(
        "counts_add_up",
        "Records read = accepted + quarantined; files = accepted + duplicates + quarantined + lost.",
        blocking=False,
    ),
)


_IDLE = Work(tuple(Finding(each.name, passed=True, facts={"files": 0}) for each in CHECKS), {"files": 0})


def land(
    declared: Declaration, place: Place, *, rebuild: bool = False, reingest: str = "", progress: Progress = silent
) -> Work:
    """Plan (or take up again) one batch and read it; commits the plan to the ledger, nothing else.

    reingest: a glob of files that are read again on purpose, in place of what has landed.
    """
    if place.switch(declared) == "off":
        if rebuild or reingest:
            raise Refused(
                f"{declared.key} is switched off here: nothing was read. `sources:` of the environment says so."
            )
        return _IDLE
    place = place.taking(declared)
    own = Handle.open(place.table(declared))
    if own:
        own.ask(LOGIC, declared.key, PLAN)
    refuse_foreign_rows(declared, own)
    ledger = Ledger.open(declared, place.ledger(declared), own)
    ahead = Ahead(lambda: (own or _new_table(declared, place)).leaving_out(declared.personal))
    if rebuild:
        if not ledger.applied:
            ledger = ledger.wholly_applied()
        ledger.pending()  # a batch that is planned stays so for the next run; one too many is refused
        batch: Batch | None = reread(
            declared,
            place.landing_of(declared),
            ledger,
            Kept(own, place.quarantine(declared), declared.beside_schema) if own else None,
            progress=progress,
        )
    else:
        own = as_declared(declared, own)
        batch = (
            read_again(declared, place.landing_of(declared), ledger, reingest, progress=progress)
            if reingest
            else next_batch(declared, place.landing_of(declared), ledger, progress=progress, ahead=ahead)
        )
    if batch is None:
        tidy(own, place.quarantine(declared))
        return _IDLE
    delivery = _delivery(declared, place, own, batch, rebuild=rebuild)
    if written := ahead.files():
        delivery = replace(delivery, handle=ahead.handle, written=written)
    return Work(_findings(batch), {**_facts(batch), **changed_columns(own)}, delivery)


def _new_table(declared: Declaration, place: Place) -> Handle:
    columns = as_delta(declared.stored_schema, declared.notes)
    return new_table(place.table(declared), columns, declared.grain, readers=declared.readers)


def _delivery(declared: Declaration, place: Place, own: Handle | None, batch: Batch, *, rebuild: bool) -> Delivery:
    first = own is None or own.transaction(LOGIC) is None
    return Delivery(
        table=place.table(declared),
        quarantine=place.quarantine(declared),
        schema=declared.stored_schema,
        description=declared.grain,
        handle=own,
        write=declared.write,
        key=(),
        whole=rebuild,
        notes=declared.notes,
        accepted=batch.accepted,
        rejected=batch.rejected,
        transactions={**batch.plan.transactions(declared.key), **made_by(declared, own, whole=first or rebuild)},
        note={"table": declared.key, "batch": str(batch.plan.number)},
        unmeasured=declared.personal,
        readers=declared.readers,
    )


def _facts(batch: Batch) -> dict[str, object]:
    return {
        "batch": batch.plan.number,
        "files": len(batch.plan.entries),
        "files_accepted": batch.count(*READ),
        "files_duplicate": batch.count(DUPLICATE),
        "files_unreadable": batch.count(UNREADABLE),
        "files_lost": batch.count(LOST),
        "files_waiting": batch.waiting,
        "files_only_the_table_kept": len(batch.kept),
        "records_read": batch.records,
        "rows_accepted": batch.accepted.height,
        "rows_with_undeclared_fields": batch.accepted["extra"].count(),
        "rows_quarantined": batch.rejected.height,
    }


def _findings(batch: Batch) -> tuple[Finding, ...]:
    entries = batch.plan.entries
    latest = {each.found.name: each for each in entries}  # of a rebuild: a file may have been sent again since
    unreadable = [each.reason for each in latest.values() if each.state == UNREADABLE]  # names the file
    odd = batch.rejected.filter(pl.col("kind") != "file")
    lost = [f"{each.found.name}: {each.reason}" for each in entries if each.state == LOST]
    adds_up = batch.records == batch.accepted.height + odd.height and len(entries) == batch.count(
        *READ, DUPLICATE, UNREADABLE, LOST
    )
    return (
        Finding.counted("files_are_readable", len(unreadable), len(entries), examples=unreadable),
        Finding.counted("records_are_readable", odd.height, batch.records, examples=where_and_why(odd)),
        Finding.counted("no_planned_file_is_lost", len(lost), len(entries), examples=lost),
        Finding("counts_add_up", adds_up, facts=_facts(batch)),
    )
