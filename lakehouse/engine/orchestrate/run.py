"""`lakehouse run`: follow the graph without a daemon until nothing is due; Dagster's instance records the runs."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from lakehouse.engine.declare.errors import LakehouseError, Terminal
from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.ingest.landing import Arrivals
from lakehouse.engine.orchestrate.inputs import is_idle, open_inputs
from lakehouse.engine.orchestrate.sensor import look
from lakehouse.engine.orchestrate.table import Table

_CHECKED = "ASSET_CHECK_EVALUATION"


class DoesNotDrain(Terminal):
    """What is due stays due, whatever is run."""


@dataclass(frozen=True)
class Ran:
    """What one run did to one table: the metadata of what it wrote (empty: nothing), the red checks by name, the error.

    Of a red check its first culprits, where it names some.
    """

    key: str
    facts: Mapping[str, Any]
    red: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    error: str | None = None
    is_refusal: bool = False

    @property
    def rows_written(self) -> int | None:
        """None where nothing was written."""
        return self.facts.get("rows_written")


def drain(
    tables: Sequence[Table], place: Place, run: Callable[[Sequence[str]], dg.ExecuteInProcessResult]
) -> Iterator[Ran]:
    """`run` what is due, by key, with all that is downstream of it, until nothing is. Yields what it did to each table.

    A table that was refused is not tried again while its inputs stand where they stood; independent tables go on.
    """
    refused: dict[str, object] = {}
    before: dict[str, object] = {}
    while True:
        states = {each.declaration.key: _due(each.declaration, place) for each in tables}
        due = [
            each for each in tables
            if states[each.declaration.key] is not None
            and refused.get(each.declaration.key) != states[each.declaration.key]
        ]  # fmt: skip
        if not due:
            return
        selection = _with_downstream(due, tables)
        result = run(selection)
        done = list(outcomes(result, selection))
        for ran in done:
            if ran.error:
                # what passes by itself is tried again once the table's inputs have moved, also if they moved meanwhile
                before_it = None if ran.is_refusal else states[ran.key]
                refused[ran.key] = before_it or _due(_of(ran.key, tables), place)
            yield ran
        if not any(ran.error or ran.facts for ran in done) and states == before:
            raise DoesNotDrain(
                f"{', '.join(each.declaration.key for each in due)} is due, and run {result.run_id} of it changed "
                "nothing, twice. What stands is as it was. Look at that run in the UI (make dev)."
            )
        before = states


def run_job(
    definitions: dg.Definitions,
    keys: Sequence[str],
    instance: dg.DagsterInstance,
    *,
    config: Mapping[str, object] | None = None,
    started: Callable[[str], None] = lambda _: None,
) -> dg.ExecuteInProcessResult:
    """One run of some tables in this process, recorded in the instance. Its log lines stay there."""

    def tell(entry: dg.EventLogEntry) -> None:
        event = entry.dagster_event
        if event is not None and event.is_step_start and event.step_key:
            started(event.step_key.replace("__", "/"))

    run_id = str(uuid.uuid4())
    instance.add_event_listener(run_id, tell)
    return definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        asset_selection=[dg.AssetKey(key.split("/")) for key in keys],
        instance=instance,
        raise_on_error=False,
        run_id=run_id,
        run_config={**(config or {}), "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )


def _of(key: str, tables: Sequence[Table]) -> Declaration:
    return next(each.declaration for each in tables if each.declaration.key == key)


def _due(declared: Declaration, place: Place) -> object:
    """What a run would start from, comparable with itself; None where there is nothing to do."""
    if declared.is_bronze:
        seen, pending = _settled(declared, place)
        return (pending, seen.fresh) if seen.fresh or pending is not None else None
    own = Handle.open(place.table(declared))
    upstreams = {read.upstream.key: Handle.open(place.table(read.upstream)) for read in declared.reads}
    try:
        idle = is_idle(declared, own, open_inputs(declared, own, upstreams, whole=False))
    except LakehouseError:
        idle = False  # the run itself says why, where it is recorded
    return None if idle else {key: each and each.version for key, each in upstreams.items()}


def _settled(declared: Declaration, place: Place) -> tuple[Arrivals, int | None]:
    """What lies there once files that have just landed stood still, as long as their source asks and no longer."""
    seen, pending = look(declared, place)
    if declared.source is None or not seen.settling:
        return seen, pending
    settled_at = max(found.modified_at for found in seen.settling) + declared.source.settle
    wait = (settled_at - datetime.now(UTC)).total_seconds()
    # no longer than settle: a clock that is ahead of ours is not waited for
    time.sleep(min(max(wait, 0) + 0.05, declared.source.settle.total_seconds()))
    return look(declared, place)


def _with_downstream(due: Sequence[Table], tables: Sequence[Table]) -> list[str]:
    selected = {each.declaration.key for each in due}
    for each in tables:  # upstreams first
        if any(read.upstream.key in selected for read in each.declaration.reads):
            selected.add(each.declaration.key)
    return [each.declaration.key for each in tables if each.declaration.key in selected]


def outcomes(result: dg.ExecuteInProcessResult, keys: Sequence[str]) -> Iterator[Ran]:
    """What a finished run did, table by table; tables that were skipped since an upstream failed are left out."""
    for key in keys:
        step = key.replace("/", "__")
        events = [each for each in result.all_events if each.step_key == step]
        if not events:
            continue
        failure = next((each.step_failure_data for each in events if each.is_step_failure), None)
        checks = [each.asset_check_evaluation_data for each in events if each.event_type_value == _CHECKED]
        yield Ran(
            key=key,
            facts=_facts(events),
            red={each.check_name: _culprits(each) for each in checks if not each.passed},
            error=_said(failure) if failure else None,
            is_refusal=failure is not None and failure.user_failure_data is not None,
        )


def _culprits(check: dg.AssetCheckEvaluation) -> tuple[str, ...]:
    return (*_listed(check, "examples"), *(f"{each} still stands" for each in _listed(check, "still_standing")))


def _listed(check: dg.AssetCheckEvaluation, name: str) -> list[str]:
    found = check.metadata[name].value if name in check.metadata else []
    return [str(each) for each in found] if isinstance(found, list) else []


def _facts(events: Sequence[dg.DagsterEvent]) -> dict[str, Any]:
    made = next((each for each in events if each.is_step_materialization), None)
    if made is None:
        return {}
    return {name: value.value for name, value in made.step_materialization_data.materialization.metadata.items()}


def _said(failure: object) -> str:
    user = getattr(failure, "user_failure_data", None)
    if user is not None and user.description:
        return user.description
    error = getattr(failure, "error", None)
    while error is not None and error.cause is not None:
        error = error.cause
    return (error.message if error else str(failure)).strip()
