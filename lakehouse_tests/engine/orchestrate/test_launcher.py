"""Of which runs it is told that their process is gone."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus
from dagster._daemon.monitoring import run_monitoring
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration

from lakehouse.engine.orchestrate import launcher
from lakehouse.engine.orchestrate.launcher import HOST, RunLauncher, end_lost_runs
from lakehouse_tests.house.house import ROOT

# Says its run's id from within the run, and stays there.
RUN = """
import sys, time
import dagster as dg

@dg.op
def stay(context):
    print(context.run_id, flush=True)
    time.sleep(60)

@dg.job
def staying(): stay()

quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
    staying.execute_in_process(instance=instance, run_config=quiet, tags={sys.argv[2]: sys.argv[3]})
"""


class Running:
    """A run in a process of its own, that says it is of `host`."""

    def __init__(self, home: Path, host: str) -> None:
        command = [sys.executable, "-c", RUN, str(home), HOST, host]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.says = self.process.stdout
        self.id = self.says.readline().strip()

    def kill(self, *, reaped: bool = True) -> None:
        self.process.send_signal(signal.SIGKILL)
        if reaped:
            self.process.wait()
        else:
            os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)


@pytest.fixture
def instance(tmp_path):
    settings = (ROOT / "resources/dagster.yaml").read_text()
    (tmp_path / "dagster.yaml").write_text(settings)
    with dg.DagsterInstance.from_config(str(tmp_path)) as made:
        yield made


@pytest.fixture
def running(tmp_path, instance):
    begun: list[Running] = []

    def begin(host: str) -> Running:
        begun.append(Running(tmp_path, host))
        return begun[-1]

    yield begin
    for each in begun:
        each.process.kill()
        each.process.wait()
        each.says.close()


def health(instance: dg.DagsterInstance, run_id: str) -> WorkerStatus:
    run = instance.get_run_by_id(run_id)
    assert run
    assert run.status == dg.DagsterRunStatus.STARTED
    assert isinstance(instance.run_launcher, RunLauncher)
    return instance.run_launcher.check_run_worker_health(run).status


@pytest.mark.parametrize("reaped", [True, False], ids=["reaped", "a zombie"])
def test_the_process_of_a_run_lives_until_it_is_killed(instance, running, reaped):
    assert instance.run_launcher.supports_check_run_worker_health
    run = running(socket.gethostname())
    assert health(instance, run.id) == WorkerStatus.RUNNING
    run.kill(reaped=reaped)
    assert health(instance, run.id) == WorkerStatus.FAILED


def test_a_process_that_was_given_the_id_of_one_that_is_gone_is_another(instance, running, monkeypatch):
    run = running(socket.gethostname())
    monkeypatch.setattr(launcher.time, "time", lambda: time.time_ns() / 1e9 + 60)  # as if it had begun a minute later
    assert health(instance, run.id) == WorkerStatus.FAILED


def test_of_another_machines_run_nobody_can_tell(instance, running):
    run = running("another")
    run.kill()
    assert health(instance, run.id) == WorkerStatus.RUNNING


def test_run_monitoring_ends_a_run_whose_process_is_gone_and_any_after_its_longest_time(instance, running, monkeypatch):
    lost, elsewhere = running(socket.gethostname()), running("another")
    lost.kill()
    elsewhere.kill()

    def monitor() -> list[str]:
        daemon = SimpleNamespace(instance=instance, create_request_context=lambda: None)
        assert not any(execute_run_monitoring_iteration(daemon, logging.getLogger()))  # pyright: ignore[reportArgumentType]
        return [instance.get_run_by_id(each.id).status.value for each in (lost, elsewhere)]

    assert instance.run_monitoring_enabled
    assert monitor() == ["FAILURE", "STARTED"]
    monkeypatch.setattr(run_monitoring, "get_current_timestamp", lambda: time.time() + 86_401)
    assert monitor() == ["FAILURE", "FAILURE"]


def test_only_runs_of_this_machine_whose_process_is_gone_are_ended(instance, running):
    lost, alive, elsewhere = (running(host) for host in (socket.gethostname(), socket.gethostname(), "another"))
    lost.kill()
    elsewhere.kill()
    end_lost_runs(instance)
    ended = [instance.get_run_by_id(each.id).status.value for each in (lost, alive, elsewhere)]
    assert ended == ["FAILURE", "STARTED", "STARTED"]
    (said,) = instance.all_logs(lost.id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert f"Its process {lost.process.pid} on {socket.gethostname()} is gone" in said.message
