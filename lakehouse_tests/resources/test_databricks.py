"""Databricks by its real requests: a workspace on this machine receives them, and runs the scripts."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lakehouse_tests.databricks import TOKEN, Workspace
from lakehouse_tests.shares import House, failure
from resources.databricks.workspace import Databricks
from resources.environment import load_environment

JOBS = "/Volumes/main/lakehouse/jobs"


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    made = Workspace(tmp_path / "workspace")
    yield made
    made.stop()


@pytest.fixture
def house(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setenv("WORKSPACE_TOKEN", TOKEN)
    made = House(tmp_path, cluster(workspace))
    made.land("1", a=1, b=3)
    return made


def cluster(workspace: Workspace, **settings: str) -> Databricks:
    return Databricks(host=workspace.host, volume=JOBS, token_variable="WORKSPACE_TOKEN", wait_seconds=0.1, **settings)  # type: ignore[arg-type] # only texts


def test_a_script_runs_there_and_what_it_leaves_is_judged_and_committed_here(house: House, workspace: Workspace):
    result = house.run()
    assert result.success, failure(result)
    assert house.shares() == {"a": 0.25, "b": 0.75}
    said = house.said(result)
    assert "sharing 2 slips" in said
    assert "printed by the script" in said
    assert "/run/101" in said
    [made] = [each for each in result.get_asset_materialization_events() if each.step_key == "gold__shares"]
    assert made.materialization.metadata["made by"].value == "the script"
    assert house.lake.folders("staging", "gold", "shares") == []
    assert list(workspace.file(JOBS).iterdir()) == []


def test_it_is_submitted_serverless_with_what_the_script_needs_and_an_end(house: House, workspace: Workspace):
    house.run()
    [run] = workspace.runs.values()
    [task] = run.asked["tasks"]
    [environment] = run.asked["environments"]
    assert task["environment_key"] == environment["environment_key"]
    assert environment["spec"]["dependencies"] == ["dagster-pipes==1.13.27"]
    assert run.asked["timeout_seconds"] == 240 * 60
    assert run.asked["run_name"] == "gold/shares"
    assert "/Volumes/" in task["spark_python_task"]["python_file"]


def test_it_is_submitted_to_a_cluster_where_one_is_named(house: House, workspace: Workspace):
    house.cluster = cluster(workspace, cluster_id="0123-abc")
    assert house.run().success
    [run] = workspace.runs.values()
    [task] = run.asked["tasks"]
    assert task["existing_cluster_id"] == "0123-abc"
    assert task["libraries"] == [{"pypi": {"package": "dagster-pipes==1.13.27"}}]


@pytest.mark.long
def test_what_passes_is_sat_out_at_every_request_and_one_run_is_started(house: House, workspace: Workspace):
    for request in [
        ("POST", "/runs/submit"),
        ("GET", "/runs/get"),
        ("GET", "/runs/get-output"),
        ("GET", "1.json"),
        ("PUT", "context.json"),
    ]:
        workspace.faults[request] = deque([500, 429, 503])
    result = house.run()
    assert result.success, failure(result)
    assert len(workspace.runs) == 1
    assert not any(workspace.faults.values())
    assert house.shares() == {"a": 0.25, "b": 0.75}


def test_messages_of_megabytes_do_not_vanish(house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SHARES", "talks much")
    result = house.run()
    assert result.success, failure(result)
    long = [each.user_message for each in house.instance.all_logs(result.run_id) if len(each.user_message) > 1_000_000]
    assert [each.split(" ")[0] for each in long] == ["0", "1", "2"]


def test_a_script_that_fails_is_told_with_its_last_lines_and_its_page(house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SHARES", "fails")
    said = failure(house.run())
    assert "shares.spark.py failed (FAILED: Workload failed, see run output for details; http://" in said
    assert "ValueError: the third column is missing" in said
    assert "Nothing was written; there is no table yet." in said


@pytest.mark.parametrize(
    ("life", "result"),
    [("TERMINATED", "CANCELED"), ("TERMINATED", "TIMEDOUT"), ("INTERNAL_ERROR", ""), ("SKIPPED", "")],
)
def test_a_run_that_ends_otherwise_than_well_has_failed(house: House, workspace: Workspace, life: str, result: str):
    workspace.ends = (life, result)
    ran = house.run()
    assert not ran.success
    assert f"failed ({result or life}" in failure(ran)
    assert house.version() is None


@pytest.mark.parametrize("token", ["dapi-wrong", None])
def test_without_the_right_token_it_is_refused_and_no_token_is_said(
    house: House, monkeypatch: pytest.MonkeyPatch, token: str | None
):
    if token:
        monkeypatch.setenv("WORKSPACE_TOKEN", token)
    else:
        monkeypatch.delenv("WORKSPACE_TOKEN")
    result = house.run()
    said = failure(result)
    assert ("Unauthenticated" if token else "WORKSPACE_TOKEN is not set") in said
    assert str(token) not in house.said(result) + said


def test_the_token_is_nowhere_in_what_dagster_keeps(
    house: House, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SHARES", "fails")
    workspace.faults["GET", "/runs/get"] = deque([500, 400])
    results = [house.run()]
    workspace.faults.clear()
    results.append(house.run())
    kept = "".join(str(each) for one in results for each in house.instance.all_logs(one.run_id))
    assert TOKEN.removeprefix("dapi-") not in kept + repr(house.cluster) + json.dumps(
        list(map(list, workspace.requests))
    )


def test_an_interrupt_cancels_the_run_and_is_no_success(
    house: House, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    pid = tmp_path / "pid"
    monkeypatch.setenv("SHARES", "hangs")
    monkeypatch.setenv("SHARES_PID", str(pid))
    interrupt = threading.Thread(target=lambda: wait_for(pid.exists) or interrupt_main(), daemon=True)
    interrupt.start()
    result = house.run()
    interrupt.join()
    assert not result.success
    [run] = workspace.runs.values()
    wait_for(lambda: run.life == "TERMINATED")
    assert run.result == "CANCELED"
    assert ("POST", "/api/2.2/jobs/runs/cancel") in workspace.requests
    assert house.version() is None


def interrupt_main() -> None:
    import _thread

    _thread.interrupt_main()


def wait_for(is_true: Callable[[], bool], seconds: float = 60) -> None:
    give_up = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < give_up
        time.sleep(0.05)


LOADS = """
import sys
import dagster as dg
from lakehouse.definitions import lakehouse

dg.Definitions.validate_loadable(lakehouse())
print([each for each in sys.modules if each.split(".")[0] in ("databricks", "pysail", "pyspark", "requests")])
"""


def test_definitions_of_production_load_without_the_sdk_and_without_a_token(tmp_path: Path):
    environment = {"LAKEHOUSE_ENVIRONMENT": "production", "LAKEHOUSE_HOME": str(tmp_path), "PATH": ""}
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", LOADS], env=environment, cwd=root, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_production_names_a_workspace():
    spark = load_environment("production").spark
    assert spark is not None
    assert spark.kind == "databricks"
