"""The sensor on new files: it only wakes the table. What is taken, and in which batch, the table plans for itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.ingest.landing import Arrivals, arrivals
from lakehouse.engine.ingest.ledger import Ledger
from lakehouse.engine.orchestrate.table import Table

ARRIVALS = "lakehouse/arrivals"
"""Tag of a requested run: a hash of what was seen. Never a run_key: that is for ever, and counts failed runs."""

_WAITING = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING]
_GIVEN_UP_AFTER = timedelta(minutes=15)  # a killed run stays STARTED: no run of one batch takes this long unseen
_CRASHES = 3


def arrivals_sensor(table: Table, *, every: timedelta = timedelta(seconds=15)) -> dg.SensorDefinition:
    """Request one run of `table` when its landing holds what its ledger does not."""
    declared = table.declaration

    def sense(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        place = Place(context.resources.lake, context.resources.landing)
        seen, pending = look(declared, place)
        if not seen.fresh and pending is None:
            return dg.SkipReason(f"{declared.key}: {seen}. Nothing to do.")
        what = _digest(seen, pending)
        if busy := _busy(context.instance, declared):
            return dg.SkipReason(f"{declared.key}: {seen}. Run {busy.run_id[:8]} is under way; not asking twice.")
        if reason := _refused(context.instance, what):
            return dg.SkipReason(f"{declared.key}: {seen}. {reason}")
        context.log.info("%s: %s", declared.key, seen)
        return dg.RunRequest(tags={ARRIVALS: what})

    return dg.SensorDefinition(
        name=f"{declared.name}_arrivals",
        evaluation_fn=sense,
        target=[table],
        minimum_interval_seconds=int(every.total_seconds()),
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={"lake", "landing"},
        description=f"Asks for a run of {declared.key} when new files lie at {declared.source and declared.source.pattern}.",
    )


def look(declared: Declaration, place: Place) -> tuple[Arrivals, int | None]:
    """What one listing shows beside the ledger, and the identity of a plan that a crash left unapplied."""
    ledger = Ledger.open(declared, place.ledger(declared), Handle.open(place.table(declared)))
    pending = ledger.pending()
    return arrivals(declared, place.landing, ledger), pending.identity if pending else None


def _digest(seen: Arrivals, pending: int | None) -> str:
    told = repr((pending, [(each.name, each.size, each.modified_at, each.etag) for each in seen.fresh]))
    return hashlib.sha256(told.encode()).hexdigest()[:24]


def _busy(instance: dg.DagsterInstance, declared: Declaration) -> dg.DagsterRun | None:
    started = datetime.now(UTC) - _GIVEN_UP_AFTER
    filters = [
        dg.RunsFilter(statuses=_WAITING),
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED], updated_after=started),
    ]
    return next((run for each in filters for run in _runs_of(instance, declared, each)), None)


def _runs_of(instance: dg.DagsterInstance, declared: Declaration, which: dg.RunsFilter) -> Iterator[dg.DagsterRun]:
    key = dg.AssetKey([declared.layer, declared.name])
    for run in instance.get_runs(which, limit=100):
        if run.asset_selection is None or key in run.asset_selection:
            yield run


def _refused(instance: dg.DagsterInstance, what: str) -> str | None:
    """Why not to ask again for the very same files: their run was refused, or crashed too often."""
    failed = instance.get_runs(dg.RunsFilter(tags={ARRIVALS: what}, statuses=[dg.DagsterRunStatus.FAILURE]))
    for run in failed:
        if instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
            return f"Run {run.run_id[:8]} failed on these very files; quiet until something new lands. Materialize it by hand to try again."
    if len(failed) >= _CRASHES:
        return f"{len(failed)} runs of these very files crashed; quiet until something new lands. Materialize it by hand."
    return None
