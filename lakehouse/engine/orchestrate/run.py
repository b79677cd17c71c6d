"""`lakehouse run`: follow the graph without a daemon until nothing is due; Dagster's instance records the runs."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from dagster._core.events import RunFailureReason
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG, MAX_RETRIES_TAG

from lakehouse.engine.declare.errors import LakehouseError, Terminal
from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.orchestrate.here import TABLES_AT_ONCE
from lakehouse.engine.orchestrate.launcher import HOST
from lakehouse.engine.orchestrate.partitions import ranges
from lakehouse.engine.orchestrate.progress import watched
from lakehouse.engine.orchestrate.remembered import Remembered
from lakehouse.engine.orchestrate.sensor import WHY
from lakehouse.engine.orchestrate.stand import Stand, open_table, stands_of
from lakehouse.engine.orchestrate.table import Table

_CHECKED = "ASSET_CHECK_EVALUATION"
_RANGE = (ASSET_PARTITION_RANGE_START_TAG, ASSET_PARTITION_RANGE_END_TAG)
_REMARKS = {
    "rows_superseded": "superseded by later arrivals",
    "merge/rows_older": "older than the rows that stand",
    "rows_left_of_nothing": "left of slices of which nothing came out, which a rebuild drops",
    "files_only_the_table_kept": "of its files read from what it had kept of them",
    "rows_with_undeclared_fields": "with fields that no column declares, kept in extra",
}


class DoesNotDrain(Terminal):
    """What is due stays due, whatever is run."""


@dataclass(frozen=True)
class Ran:
    """What one run did to one table: the metadata of what it wrote (empty: nothing), the red checks by name, the error.

    Of a red check its first culprits, where it names some. `checks`: how many were asked.
    """

    key: str
    facts: Mapping[str, Any]
    checks: int = 0
    red: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    error: str | None = None

    @property
    def rows_written(self) -> int | None:
        """None where nothing was written."""
        return self.facts.get("rows_written")

    @property
    def remarks(self) -> list[str]:
        """What is worth a word beside the rows that were written."""
        said = [f"{self.facts[name]:,} {words}" for name, words in _REMARKS.items() if self.facts.get(name)]
        if (passes := self.facts.get("merge/passes", 0)) > 1:
            said.append(f"merged in {passes:,} passes over its files")
        changed = self.facts.get("columns_changed")
        return [*said, f"columns: {changed}"] if changed else said


def drain(
    tables: Sequence[Table],
    place: Place,
    run: Callable[..., dg.ExecuteInProcessResult],
    remembered: Remembered | None = None,
) -> Iterator[Ran]:
    """`run` what is due, by key, with all that is downstream of it, until nothing is. Yields what it did to each table.

    Tables with partitions are run by themselves, once the others are not due: `run(keys, partitions=(first, last))`.

    A table that was refused is not tried again while its inputs stand where they stood; independent tables go on.
    A table that stands as is `remembered` is not opened.
    """
    remembered = remembered or Remembered(place)
    refused: dict[str, object] = {}
    before: dict[str, Stand] = {}
    while True:
        stands = stands_of([each.declaration for each in tables], place, remembered)
        due = [key for key, stand in stands.items() if stand.is_due and refused.get(key) != stand.inputs]
        if not due:
            return
        results = list(_run_due(due, stands, tables, place, run))
        done = [ran for result, selection in results for ran in outcomes(result, selection)]
        made = {ran.key: ran.facts["delta/version"] for ran in done if ran.rows_written is not None}
        for ran in done:
            if ran.error:
                refused[ran.key] = _as_read(stands[ran.key].inputs, made)
            yield ran
        if not any(ran.error or ran.facts for ran in done) and stands == before:
            run_id = results[-1][0].run_id
            raise DoesNotDrain(
                f"{', '.join(due)} is due, and run {run_id} of it changed nothing, twice. What stands is as it was. "
                "Look at that run in the UI (make dev)."
            )
        before = stands


type _Result = tuple[dg.ExecuteInProcessResult, list[str]]


def _run_due(  # noqa: PLR0917 # private, called once
    due: Sequence[str], stands: Mapping[str, Stand], tables: Sequence[Table], place: Place, run: Callable[..., Any]
) -> Iterator[_Result]:
    """One run of all that has no partitions; where none of these is due, the runs of the first table that has some."""
    if plain := [key for key in due if not stands[key].partitions]:
        selection = _with_downstream(plain, tables)
        with ThreadPoolExecutor(TABLES_AT_ONCE) as pool:  # while Dagster sets out, so that the steps find them known
            for each in tables:
                if each.declaration.key in selection:
                    pool.submit(_foresee, each.declaration, place)
            yield run(selection), selection
        return
    table = next(each for each in tables if each.declaration.key == due[0])
    for span in spans(table, stands[due[0]].partitions):
        yield run([due[0]], partitions=span), [due[0]]


def _foresee(declared: Declaration, place: Place) -> None:
    """Open a table that a step will ask for; what is wrong with it is told there."""
    with suppress(LakehouseError):
        open_table(declared, place)


def spans(table: Table, keys: Sequence[str]) -> list[tuple[str, str]]:
    """The runs that make these partitions, as (first, last): as many of them in one as the backfill policy lets be."""
    known = table.declaration.partitions
    policy = table.backfill_policy or dg.BackfillPolicy.multi_run(1)
    is_one = isinstance(table.partitions_def, dg.MultiPartitionsDefinition)  # what follows a pair is no range of pairs
    return ranges(known.keys() if known else keys, keys, 1 if is_one else policy.max_partitions_per_run)


def _as_read(inputs: object, made: Mapping[str, int]) -> object:
    """What a run started from whose upstreams were partly made by that very run."""
    return {key: made.get(key, version) for key, version in inputs.items()} if isinstance(inputs, dict) else inputs


def run_job(
    definitions: dg.Definitions,
    keys: Sequence[str],
    instance: dg.DagsterInstance,
    *,
    why: str = "Started in a program.",
    config: Mapping[str, object] | None = None,
    partitions: tuple[str, str] | None = None,
) -> dg.ExecuteInProcessResult:
    """One run of some tables in this process, recorded in the instance. Its log lines stay there.

    why: who asked for it, as its tag says. partitions: the first and the last that it makes, of tables that have some.
    Whoever watches (progress.py) is told of each table that is begun. Ctrl-C ends it, and is raised.
    """

    def tell(entry: dg.EventLogEntry) -> None:
        event = entry.dagster_event
        if event is not None and event.is_step_start and event.step_key:
            watched(event.step_key.replace("__", "/"))

    run_id = str(uuid.uuid4())
    instance.add_event_listener(run_id, tell)
    ran = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        asset_selection=[dg.AssetKey(key.split("/")) for key in keys],
        instance=instance,
        raise_on_error=False,
        run_id=run_id,
        tags={
            WHY: why,
            HOST: socket.gethostname(),
            MAX_RETRIES_TAG: "0",  # no daemon can begin it again: it is of no code location
            **(dict(zip(_RANGE, partitions, strict=True)) if partitions else {}),
        },
        run_config={**(config or {}), "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )
    if any(
        each.is_run_failure and each.job_failure_data.failure_reason == RunFailureReason.UNEXPECTED_TERMINATION
        for each in ran.all_events
    ):
        raise KeyboardInterrupt  # Dagster records it and goes on, and whoever asked for the run would begin the next
    return ran


def _with_downstream(due: Sequence[str], tables: Sequence[Table]) -> list[str]:
    selected = set(due)
    for each in tables:  # upstreams first
        declared = each.declaration
        if declared.partitions is None and any(read.upstream.key in selected for read in declared.reads):
            selected.add(declared.key)
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
            checks=len(checks),
            red={each.check_name: _culprits(each) for each in checks if not each.passed},
            error=_said(failure) if failure else None,
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
