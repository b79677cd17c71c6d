"""Dagster's own launcher of runs, which can also tell whether a run's process lives: run monitoring asks for it.

Of a worker that is killed alone Dagster's code server tells within a second. Who is killed together with that server,
or began in `lakehouse run`, tells nobody: such a run would stay STARTED for ever, and hold its tables' pools.
"""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, LaunchRunContext, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

HOST = "lakehouse/host"
"""Tag of a run: the machine (or container) that its process is of. Elsewhere nobody can tell whether that lives."""

_CLOCKS_DIFFER = 5.0  # seconds, between the clock of events and the one that processes are stamped with


class RunLauncher(DefaultRunLauncher):
    """For `run_launcher:` in dagster.yaml."""

    def launch_run(self, context: LaunchRunContext) -> None:
        super().launch_run(context)
        run = self._instance.get_run_by_id(context.dagster_run.run_id)
        server: dict[str, Any] = json.loads(run.tags.get(GRPC_INFO_TAG, "{}")) if run else {}
        if run and ("socket" in server or server.get("host") in {"localhost", "127.0.0.1"}):
            self._instance.add_run_tags(run.run_id, {HOST: socket.gethostname()})

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        gone = _gone(self._instance, run)
        return CheckRunHealthResult(WorkerStatus.FAILED if gone else WorkerStatus.RUNNING, gone)


def end_lost_runs(instance: dg.DagsterInstance) -> None:
    """Report as failed the runs of this machine whose process is gone. Where a daemon runs it does so by itself."""
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        if gone := _gone(instance, run):
            instance.report_run_failed(run, gone)


def _gone(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
    """What has become of a run's process, where it is of this machine and lives no more."""
    if run.tags.get(HOST) != socket.gethostname():
        return None
    began = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.RUN_START, limit=1).records
    event = began[0].event_log_entry.dagster_event if began else None
    if event is None or event.pid is None or _lives(event.pid, began[0].timestamp):
        return None
    return f"Its process {event.pid} on {run.tags[HOST]} is gone: killed, or the machine was started anew."


def _lives(pid: int, since: float) -> bool:
    """Whether the process that had this id at that time (epoch seconds) still runs. Ids are given anew."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        state, *_ = after = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return not Path("/proc/self").exists()  # a system without /proc tells no more
    started = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + int(after[19]) / os.sysconf("SC_CLK_TCK")
    return state != "Z" and started < since + _CLOCKS_DIFFER
