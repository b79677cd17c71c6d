"""The sensor on new files: it only wakes the table. What is taken, and in which batch, the table plans for itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg

from lakehouse.engine.declare.errors import DeclarationError
from lakehouse.engine.declare.number import number
from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.source import Files
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.ingest.ledger import Ledger, Plan
from lakehouse.engine.orchestrate.seen import Seen
from lakehouse.engine.orchestrate.table import Table

ARRIVALS = "lakehouse/arrivals"
"""Tag of a requested run: a hash of what was seen. Never a run_key: that is for ever, and counts failed runs."""

WHY = "lakehouse/why"
"""Tag of a run: why it was started, for a person: what a sensor saw, or the command that was typed."""

_GIVEN_UP_AFTER = timedelta(minutes=15)  # a killed run stays STARTED for ever; a live one says something meanwhile
_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=1)


def arrivals_sensor(table: Table, *, every: timedelta = timedelta(seconds=15)) -> dg.SensorDefinition:
    """Request one run of `table` when its landing holds what its ledger does not."""
    declared = table.declaration
    source = declared.source
    if source is None:
        raise DeclarationError(f"{declared.key} has no source=Files(…): no file of its own ever arrives for it.")

    def sense(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        place = Place(context.resources.lake, getattr(context.resources, declared.connection))
        if place.switch(declared) == "off":
            return dg.SkipReason(
                f"{declared.key} is switched off here, as `sources:` of the environment says: not looked."
            )
        place = place.taking(declared)
        run = _under_way(context.instance, declared)  # asked first: what a run that ended since has taken is then known
        ledger = Ledger.open(declared, place.ledger(declared), Handle.open(place.table(declared)))
        pending = ledger.pending()
        before = Seen.before(context.cursor, source.pattern, ledger)
        seen = before.and_more(declared, place.landing_of(declared), ledger)
        context.update_cursor(seen.cursor)
        if seen.after:
            return dg.SkipReason(_so_far(source, seen))
        saw = _in_words(source, seen, pending)
        if not seen.fresh and pending is None:
            return dg.SkipReason(f"{saw} Nothing to take." if seen.settling else _nothing_new(source, seen))
        if run:
            return dg.SkipReason(f"{saw} Run {run.run_id[:8]} of {declared.key} is {_stage(run)}; not asking twice.")
        what = _digest(seen, pending)
        if held_back := _held_back(context.instance, declared, what):
            return dg.SkipReason(f"{saw} {held_back}")
        context.log.info("%s Asking for a run of %s.", saw, declared.key)
        return dg.RunRequest(tags={ARRIVALS: what, WHY: saw})

    return dg.SensorDefinition(
        name=f"{declared.name}_arrivals",
        evaluation_fn=sense,
        target=[table],
        minimum_interval_seconds=int(every.total_seconds()),
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={"lake", declared.connection},
        description=f"Asks for a run of {declared.key} when new or changed files lie at {source.pattern}.",
    )


def _in_words(source: Files, seen: Seen, pending: Plan | None) -> str:
    said = f"Saw {number(seen.fresh, 'new or changed file')} and {seen.known:,} known at {source.pattern}"
    if seen.fresh:
        more = f" … {seen.last}, the oldest" if seen.fresh > 1 else ","
        said += f" ({seen.first}{more} there since {seen.since:%Y-%m-%d %H:%M} UTC)"
    if seen.settling:
        seconds = source.settle.total_seconds()
        settle = f"{seconds:g} s" if seconds < 120 else f"{seconds / 60:g} min"  # noqa: PLR2004 # two minutes
        said += f"; {seen.settling:,} more touched within the last {settle}, left to settle"
    if pending is not None:
        said += "; a planned batch is not finished"
    return f"{said}."


def _so_far(source: Files, seen: Seen) -> str:
    listed = number(seen.fresh + seen.known + seen.settling, "file")
    return (
        f"Listed {listed} at {source.pattern} so far, {seen.fresh:,} of them new or changed. There are more than one "
        "tick can list: the next goes on from there, and what is new is asked for when all are seen."
    )


def _nothing_new(source: Files, seen: Seen) -> str:
    if not seen.known:
        return f"No file lies at {source.pattern} yet."
    return f"Nothing new at {source.pattern}: {number(seen.known, 'file')} there, taken already."


def _digest(seen: Seen, pending: Plan | None) -> str:
    """The same for the same files, whether or not a run has already planned to take them."""
    return f"{seen.digest if seen.fresh or pending is None else pending.identity:024x}"


def _under_way(instance: dg.DagsterInstance, declared: Declaration) -> dg.DagsterRun | None:
    """The last run that set out to write the table, unless it has ended or has long shown no sign of life."""
    assets = instance.get_asset_records([dg.AssetKey([declared.layer, declared.name])])
    run_id = assets[0].asset_entry.last_run_id if assets else None
    run = instance.get_run_by_id(run_id) if run_id else None
    if run is None or run.is_finished:
        return None
    if run.status == dg.DagsterRunStatus.QUEUED:
        return run
    events = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records
    last_sign = datetime.fromtimestamp(events[0].timestamp, UTC) if events else datetime.min.replace(tzinfo=UTC)
    return run if _now() - last_sign < _GIVEN_UP_AFTER else None


def _stage(run: dg.DagsterRun) -> str:
    return "queued" if run.status == dg.DagsterRunStatus.QUEUED else "under way"


def _held_back(instance: dg.DagsterInstance, declared: Declaration, what: str) -> str | None:
    """Why not to ask for the very same files now, after runs of them that did not do their work.

    A refusal would be repeated word for word, so only something new helps. After a crash, or an error that may pass,
    the run is asked for again: at once, then after pauses that double up to an hour.
    """
    ended = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    runs = instance.get_run_records(dg.RunsFilter(tags={ARRIVALS: what}, statuses=ended), limit=20)  # newest first
    if not runs:
        return None
    last = runs[0]
    short = last.dagster_run.run_id[:8]
    if refusal := _refusal(instance, last.dagster_run):
        return (
            f"Run {short} refused these very files, so not asking again until something new lands: "
            f"{refusal.removesuffix('.')}. To try again, materialize {declared.key} by hand."
        )
    if len(runs) == 1:
        return None
    pause = min(_FIRST_PAUSE * 2 ** (len(runs) - 2), _LONGEST_PAUSE)
    due = datetime.fromtimestamp(last.end_time or 0, UTC) + pause
    if due <= _now():
        return None
    return f"{len(runs)} runs of these very files failed, the last is {short}. Asking again at {due:%H:%M} UTC."


def _refusal(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
    """What the run said when it refused. None where it crashed or met an error that trying again may mend."""
    for each in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        failed = each.dagster_event and each.dagster_event.step_failure_data
        if failed and failed.user_failure_data:
            return failed.user_failure_data.description or "it gave no reason."
    return None


def _now() -> datetime:
    return datetime.now(UTC)
