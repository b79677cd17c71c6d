import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import polars as pl
import pytest

from lakehouse import tables
from lakehouse.engine.orchestrate.load import tables_in
from lakehouse_tests.integration import dagster_dev
from lakehouse_tests.integration.dagster_dev import PROJECT, DagsterDev, until

pytestmark = pytest.mark.dagster_dev

# what follows from a file of orders; what also reads customers or products is never made, since none has landed
GOLD = {"gold/daily_sales", "gold/returns_rate", "gold/monthly_revenue_usd"}
BY_AUTOMATION = {"silver/orders", "silver/order_lines", *GOLD}
SLICE = {"bronze/erp_orders", *BY_AUTOMATION}


def land(server: DagsterDev, day: str) -> float:
    """Land one day; the moment at which its last file lay there."""
    server.land(day)
    return max(file.stat().st_mtime for file in (server.home / "landing").rglob("*.gz"))


def versions(server: DagsterDev) -> dict[str, int]:
    """The Delta version of every table."""
    logs = {key: server.home / "lake" / key / "_delta_log" for key in SLICE}
    return {key: len(list(log.glob("*.json"))) - 1 for key, log in logs.items()}


def materialized(server: DagsterDev, run_ids: set[str]) -> list[str]:
    """The tables that these runs wrote, each as often as it was."""
    asked = "{ assetNodes { assetKey { path } assetMaterializations(limit: 50) { runId } } }"
    return [
        "/".join(node["assetKey"]["path"])
        for node in server.ask(asked)["assetNodes"]
        for made in node["assetMaterializations"]
        if made["runId"] in run_ids
    ]


def rows(server: DagsterDev, key: str) -> pl.DataFrame:
    frame = pl.read_delta(str(server.home / "lake" / key))
    return frame.sort(frame.columns[:2])


def test_a_new_file_asks_for_a_run_within_a_minute_and_each_table_downstream_is_written_once(server: DagsterDev):
    until(server.drained, 120, what="the end of all work")
    before, stood = server.runs(), versions(server)
    landed = land(server, "2010-12-02")
    asked = until(lambda: server.new_runs(before), 75, what="a run after a file landed")[0]
    assert asked.by == "erp_orders_arrivals"
    assert asked.tables == {"bronze/erp_orders"}
    assert asked.tags["lakehouse/why"].startswith("Saw 1 new or changed file and ")
    assert "dagster/run_key" not in asked.tags
    started = server.ask("query ($id: ID!) { runOrError(runId: $id) { ... on Run { creationTime } } }", id=asked.id)[
        "runOrError"
    ]["creationTime"]
    assert started - landed < 60

    until(lambda: all(versions(server)[key] > stood[key] for key in SLICE), 120, what="the file in every table")
    until(server.drained, 120, what="the end of all work")
    runs = server.new_runs(before)
    assert [(each.by, each.tables) for each in runs] == [
        ("erp_orders_arrivals", {"bronze/erp_orders"}),
        ("automation", BY_AUTOMATION),
    ]
    assert {each.status for each in runs} == {"SUCCESS"}
    assert sorted(materialized(server, {each.id for each in runs})) == sorted(SLICE)


def test_where_nothing_landed_nothing_runs_and_the_ticks_say_so(server: DagsterDev):
    until(server.drained, 120, what="the end of all work")
    before, stood, since = server.runs(), versions(server), time.time()

    def ticks() -> list[str]:
        told = server.ticks("erp_orders_arrivals")
        return [each["skipReason"] for each in told if each["timestamp"] > since and each["status"] != "STARTED"]

    until(lambda: len(ticks()) >= 2, 75, what="two ticks")
    for said in ticks():
        assert re.fullmatch(r"Nothing new at erp/\S+: \d+ files? there, taken already\.", said), said
    assert server.new_runs(before) == []
    assert versions(server) == stood


@pytest.mark.long
def test_lakehouse_run_and_the_sensor_at_once_write_each_row_once(server: DagsterDev):
    known = rows(server, "silver/orders").height
    by_hand: list[subprocess.CompletedProcess[str]] = []

    def run_by_hand() -> None:
        by_hand.extend(server.lakehouse("run") for _ in range(2))

    land(server, "2010-12-03")
    hand = threading.Thread(target=run_by_hand)
    hand.start()
    run_id = server.materialize("bronze/erp_orders", "silver/orders", "silver/order_lines", "gold/daily_sales")
    hand.join()
    until(server.drained, 180, what="the end of all work")
    assert server.status(run_id) == "SUCCESS"
    assert [(each.returncode, each.stderr) for each in by_hand] == [(0, "")] * 2, by_hand
    bronze, orders, lines = (rows(server, key) for key in ("bronze/erp_orders", "silver/orders", "silver/order_lines"))
    assert bronze.select("source_file", "source_row").is_unique().all()
    assert orders.height > known
    assert orders["order_no"].is_unique().all()
    assert set(orders["order_no"]) == {*bronze["order_no"], *rows(server, "bronze/erp_returns")["order_no"]}
    assert lines.height == orders["line_count"].sum()
    assert rows(server, "gold/daily_sales")["net_amount"].sum() == orders["net_amount"].sum()


def test_a_rebuild_is_asked_for_in_the_run_config_and_gives_the_same_rows_and_what_is_downstream_follows_once(
    server: DagsterDev,
):
    until(server.drained, 120, what="the end of all work")
    before, known, stood = server.runs(), rows(server, "silver/orders"), versions(server)["silver/orders"]
    run_id = server.materialize("silver/orders", config={"ops": {"silver__orders": {"config": {"rebuild": True}}}})
    until(lambda: server.status(run_id) in dagster_dev.ENDED, 90, what="the end of the rebuild")
    assert server.status(run_id) == "SUCCESS"
    assert versions(server)["silver/orders"] > stood
    assert rows(server, "silver/orders").equals(known)
    until(server.drained, 120, what="the end of all work")
    assert [(each.by, each.tables) for each in server.new_runs(before)] == [
        ("", {"silver/orders"}),
        ("automation", GOLD),
    ]


def test_telemetry_is_off_and_no_welcome_dialog_covers_the_page(server: DagsterDev):
    asked = "{ shouldShowNux instance { info } }"
    told = server.ask(asked)
    assert told["shouldShowNux"] is False
    assert "telemetry:\n  enabled: false" in told["instance"]["info"]
    assert not list(server.home.rglob(".telemetry")) + list(server.home.rglob("telemetry.log"))


def test_no_tick_and_no_daemon_has_failed(server: DagsterDev):
    for sensor in dagster_dev.SENSORS:
        assert {each["status"] for each in server.ticks(sensor)} <= {"SKIPPED", "SUCCESS", "STARTED"}
    daemons = server.ask("{ instance { daemonHealth { allDaemonStatuses { daemonType healthy required } } } }")
    statuses = [each for each in daemons["instance"]["daemonHealth"]["allDaemonStatuses"] if each["required"]]
    assert {"SENSOR", "ASSET", "SCHEDULER", "QUEUED_RUN_COORDINATOR"} <= {each["daemonType"] for each in statuses}
    assert all(each["healthy"] for each in statuses)


def test_dg_dev_starts_and_ctrl_c_leaves_no_process(tmp_path: Path):
    running = dagster_dev.start(tmp_path / "home", command=("dg", "dev"))
    nodes = running.ask("{ assetNodes { assetKey { path } } }")["assetNodes"]
    left = running.stop()
    assert {"/".join(each["assetKey"]["path"]) for each in nodes} == {
        each.declaration.key for each in tables_in(tables)
    }
    assert left == []


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's code alone, to be added to."""
    copied = tmp_path_factory.mktemp("scratch") / "project"
    for room in ("lakehouse", "resources"):
        shutil.copytree(PROJECT / room, copied / room, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "workspace.yaml"):
        shutil.copy(PROJECT / file, copied)
    return copied


def dg(project: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(project), "HOME": str(project), "COLUMNS": "200"}
    program = str(Path(sys.executable).with_name("dg"))
    done = subprocess.run(
        [program, *words], cwd=project, env=environment, capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_dg_lists_the_definitions_and_scaffolds_a_plain_asset_that_they_then_hold(scratch: Path):
    dg(scratch, "scaffold", "defs", "dagster.asset", "silver/weather.py")
    made = scratch / "lakehouse/tables/silver/weather.py"
    assert "@dg.asset" in made.read_text()
    listed = dg(scratch, "list", "defs", "--json")
    for word in (*SLICE, "weather", "erp_orders_arrivals", "automation", "everything", "nightly"):
        assert word in listed
    assert "all definitions loaded successfully" in dg(scratch, "check", "defs").lower()
