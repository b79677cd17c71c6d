"""Where every table stands: from the Delta log, not from Dagster's events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import dagster as dg

from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.delta import quarantine
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.orchestrate.table import Table
from lakehouse.engine.orchestrate.work import LOGIC


@dataclass(frozen=True)
class LastRun:
    """The last Dagster run that wrote the table, or tried to."""

    id: str
    status: str
    ended_at: datetime | None


@dataclass(frozen=True)
class Status:
    """One table. `version`, `rows`, `bytes` and `updated_at` (UTC) are None where it was never written.

    `quarantined` counts the rows set aside at `quarantine`. `stale`: its logic changed since it was last made whole.
    """

    key: str
    layer: str
    address: str
    version: int | None
    rows: int | None
    bytes: int | None
    updated_at: datetime | None
    quarantined: int
    quarantine: str
    stale: bool
    last_run: LastRun | None


def status(tables: Sequence[Table], place: Place, instance: dg.DagsterInstance) -> list[Status]:
    """Every table, upstreams first."""
    return [_status(each.declaration, place, instance) for each in tables]


def _status(declared: Declaration, place: Place, instance: dg.DagsterInstance) -> Status:
    address, aside = place.table(declared), place.quarantine(declared)
    own = Handle.open(address)
    written = own if own is not None and own.transaction(LOGIC) is not None else None
    return Status(
        key=declared.key,
        layer=declared.layer,
        address=str(address),
        version=written and written.version,
        rows=written and written.rows,
        bytes=written and written.bytes,
        updated_at=written and written.updated_at,
        quarantined=quarantine.count(written, aside) if written else 0,
        quarantine=str(aside),
        stale=written is not None and written.transaction(LOGIC) != declared.logic,
        last_run=_last_run(declared, instance),
    )


def _last_run(declared: Declaration, instance: dg.DagsterInstance) -> LastRun | None:
    records = instance.get_asset_records([dg.AssetKey([declared.layer, declared.name])])
    run_id = records[0].asset_entry.last_run_id if records else None
    record = instance.get_run_record_by_id(run_id) if run_id else None
    if record is None:
        return None
    ended = datetime.fromtimestamp(record.end_time).astimezone() if record.end_time else None
    return LastRun(record.dagster_run.run_id, record.dagster_run.status.value, ended)
