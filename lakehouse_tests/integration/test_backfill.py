"""Backfills as the UI launches them, on a real server: a run for each day, and all days in one run and one commit."""

import shutil
from collections.abc import Iterator

import polars as pl
import pytest

from lakehouse_tests.house.house import child
from lakehouse_tests.integration import dagster_dev
from lakehouse_tests.integration.dagster_dev import PROJECT, DagsterDev, until

pytestmark = pytest.mark.dagster_dev

TABLES = """
from datetime import date

import polars as pl
from dagster import BackfillPolicy, DailyPartitionsDefinition

from lakehouse import Frame, Gbp, Gold, ReplacePartition, column, table
from lakehouse.tables.gold.daily_sales import DailySales

DAYS = DailyPartitionsDefinition("2010-12-01", end_date="2010-12-06")


class DayByDay(Gold):
    '''One row per day.'''

    day: date = column("London day", key=True)
    net_amount: Gbp = column("Sum of its orders")


class AllAtOnce(Gold):
    '''One row per day.'''

    day: date = column("London day", key=True)
    net_amount: Gbp = column("Sum of its orders")


@table(write=ReplacePartition("day"), partitions_def=DAYS)
def day_by_day(sales: Frame[DailySales]) -> Frame[DayByDay]:
    return sales.group_by("day").agg(pl.col("net_amount").sum())


@table(write=ReplacePartition("day"), partitions_def=DAYS, backfill_policy=BackfillPolicy.single_run())
def all_at_once(sales: Frame[DailySales]) -> Frame[AllAtOnce]:
    return sales.group_by("day").agg(pl.col("net_amount").sum())
"""
KEYS = ["2010-12-01", "2010-12-02", "2010-12-03", "2010-12-04"]


@pytest.fixture(scope="module")
def backfilled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterDev]:
    """A server of a project with two tables of days, after three days of orders came as far as gold."""
    project = tmp_path_factory.mktemp("backfill") / "project"
    for room in ("lakehouse", "resources"):
        shutil.copytree(PROJECT / room, project / room, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "workspace.yaml"):
        shutil.copy(PROJECT / file, project)
    (project / "lakehouse/tables/gold/days.py").write_text(TABLES)
    home = project.parent / "home"
    done = child("-m", "lakehouse.cli", "land", "--from", KEYS[0], "--to", KEYS[2], at=project, home=home)
    assert done.returncode == 0, done.stderr
    running = dagster_dev.start(home, project=project)
    try:
        gold = home / "lake/gold/daily_sales/_delta_log/00000000000000000001.json"
        until(gold.exists, 150, what="three days from landing to gold")
        until(running.drained, 120, what="the end of all work")
        yield running
    finally:
        running.stop()


def backfill(server: DagsterDev, table: str) -> list[str | None]:
    """Launch it for all days as the UI does, wait until it is over, and say of each run which partition it made."""
    launch = """mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
        __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
    params = {"assetSelection": [{"path": table.split("/")}], "partitionNames": KEYS}
    launched = server.ask(launch, params=params)["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    asked = "query ($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"

    def status() -> str:
        return server.ask(asked, id=launched["backfillId"])["partitionBackfillOrError"]["status"]

    until(lambda: status() not in ("REQUESTED", "COMPLETING"), 240, what="the end of a backfill")
    assert status() == "COMPLETED_SUCCESS"
    return [
        each.tags.get("dagster/partition")
        for each in server.runs()
        if each.tags.get("dagster/backfill") == launched["backfillId"]
    ]


def stored(server: DagsterDev, key: str) -> tuple[list[tuple[object, ...]], int]:
    """The table's rows, and how often it was committed to."""
    place = server.home / "lake" / key
    rows = pl.read_delta(str(place)).select("day", "net_amount").sort("day").rows()
    return rows, len(list((place / "_delta_log").glob("*.json"))) - 1


def test_a_backfill_makes_each_day_in_a_run_of_its_own_or_all_of_them_in_one(backfilled: DagsterDev):
    sales = pl.read_delta(str(backfilled.home / "lake/gold/daily_sales"))
    by_hand = sales.group_by("day").agg(pl.col("net_amount").sum()).sort("day").rows()
    assert len(by_hand) == 3
    assert sorted(filter(None, backfill(backfilled, "gold/day_by_day"))) == KEYS
    assert backfill(backfilled, "gold/all_at_once") == [None]
    assert stored(backfilled, "gold/day_by_day") == (by_hand, len(KEYS))
    assert stored(backfilled, "gold/all_at_once") == (by_hand, 1)
    asked = """query ($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
        partitionStats { numMaterialized numFailed } } } }"""
    for name in ("day_by_day", "all_at_once"):
        node = backfilled.ask(asked, key={"path": ["gold", name]})["assetNodeOrError"]
        assert node["partitionStats"] == {"numMaterialized": len(KEYS), "numFailed": 0}
