"""One run of a script in a workspace: submitted once, waited for, and cancelled where it is not waited for any more."""

from __future__ import annotations

import logging
import time
from importlib.metadata import version
from typing import TYPE_CHECKING

from databricks.sdk.service.compute import Environment, Library, PythonPyPiLibrary
from databricks.sdk.service.jobs import (
    JobEnvironment,
    Run,
    RunLifeCycleState,
    RunResultState,
    SparkPythonTask,
    SubmitTask,
)

from lakehouse.engine.declare.errors import LakehouseError
from lakehouse.engine.declare.ports import SparkJob
from resources.databricks.patience import asked

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

    from resources.databricks.workspace import Databricks

TASK = "script"
NEEDS = f"dagster-pipes=={version('dagster-pipes')}"
_ENDED = {RunLifeCycleState.TERMINATED, RunLifeCycleState.SKIPPED, RunLifeCycleState.INTERNAL_ERROR}

_logger = logging.getLogger(__name__)


class JobRun:
    """A one-time run."""

    def __init__(self, client: WorkspaceClient, run: Run, wait_seconds: float) -> None:
        self._client = client
        self._run = run
        self._wait_seconds = wait_seconds
        self.id = run.run_id or 0

    @classmethod
    def submit(cls, place: Databricks, client: WorkspaceClient, job: SparkJob, command: list[str]) -> JobRun:
        """Start `command`, a script and its arguments. Submitted twice with the job's token, it is one run."""
        python = SparkPythonTask(python_file=command[0], parameters=command[1:])
        if place.cluster_id:
            library = Library(pypi=PythonPyPiLibrary(NEEDS))
            task = SubmitTask(TASK, spark_python_task=python, existing_cluster_id=place.cluster_id, libraries=[library])
            environments = None
        else:
            task = SubmitTask(TASK, spark_python_task=python, environment_key=TASK)
            environments = [JobEnvironment(TASK, Environment(environment_version="3", dependencies=[NEEDS]))]
        submitted = asked(
            client.jobs.submit,
            run_name=job.table,
            tasks=[task],
            environments=environments,
            idempotency_token=job.token,
            timeout_seconds=place.timeout_minutes * 60,
        )
        return cls(client, Run(run_id=submitted.run_id), place.wait_seconds)

    @property
    def has_ended(self) -> bool:
        return self._run.state is not None and self._run.state.life_cycle_state in _ENDED

    @property
    def page(self) -> str:
        """Where a person sees it, once it was looked at."""
        return self._run.run_page_url or f"run {self.id}"

    def look(self) -> None:
        self._run = asked(self._client.jobs.get_run, self.id)

    def wait(self) -> bool:
        time.sleep(self._wait_seconds)
        self.look()
        return self.has_ended

    def said(self) -> str:
        """What it printed, which the workspace tells once it has ended."""
        [task] = self._run.tasks or [None]
        if not self.has_ended or task is None or task.run_id is None:
            return ""
        output = asked(self._client.jobs.get_run_output, task.run_id)
        return "\n".join(each for each in (output.logs, output.error_trace or output.error) if each)

    def failure(self) -> str:
        state = self._run.state
        if state is None or state.result_state is RunResultState.SUCCESS:
            return ""
        result = state.result_state or state.life_cycle_state
        words = [result.value if result else "no result", state.state_message or ""]
        return f"{': '.join(filter(None, words))}; {self.page}"

    def end(self) -> None:
        """Cancel it where it still runs."""
        if self.has_ended:
            return
        try:
            asked(self._client.jobs.cancel_run, self.id)
        except LakehouseError as unheard:
            _logger.error("%s may still go on, and costs: %s", self.page, unheard)  # noqa: TRY400 # told
