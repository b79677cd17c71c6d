"""Backfills as the UI launches them, on a real server: a run for each day, and all days in one run and one commit."""

from collections.abc import Iterator

import polars as pl
import pytest

from lakehouse_tests.house.project import Project
from lakehouse_tests.integration import dagster_dev
from lakehouse_tests.integration.dagster_dev import DagsterDev, until

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
KEYS = ["2010-12-01", "2010-12-02", "2010-12-03", "2010-12-04"]  # of the last nothing has landed


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterDev]:
    """A server of a project in which three days of orders came as far as gold, and then two tables of days were added.

    Added last, since `lakehouse run` would make them too.
    """
    project = Project.copied(tmp_path_factory.mktemp("backfill"), tables=True)
    project.leave_spark_out()
    project.land_example(KEYS[0], KEYS[2])
    project("run")
    (project.root / "lakehouse/tables/gold/days.py").write_text(TABLES)
    running = dagster_dev.start(project.home, project=project.root)
    try:
        yield running
    finally:
        running.stop()


def launch(server: DagsterDev, table: str) -> str:
    """Launch a backfill of all days as the UI does; its id."""
    asked = """mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
        __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
    params = {"assetSelection": [{"path": table.split("/")}], "partitionNames": KEYS}
    launched = server.ask(asked, params=params)["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    return launched["backfillId"]


def ended(server: DagsterDev, backfill: str) -> list[str | None]:
    """Wait until it is over, and say of each of its runs which partition it made."""
    asked = "query ($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"

    def status() -> str:
        return server.ask(asked, id=backfill)["partitionBackfillOrError"]["status"]

    until(lambda: status() not in ("REQUESTED", "COMPLETING"), 240, what="the end of a backfill")
    assert status() == "COMPLETED_SUCCESS"
    return [
        each.tags.get("dagster/partition") for each in server.runs() if each.tags.get("dagster/backfill") == backfill
    ]


def stored(server: DagsterDev, key: str) -> tuple[list[tuple[object, ...]], int]:
    """The table's rows, and how often it was committed to."""
    place = server.home / "lake" / key
    rows = pl.read_delta(str(place)).select("day", "net_amount").sort("day").rows()
    return rows, len(list((place / "_delta_log").glob("*.json"))) - 1


def test_a_backfill_makes_each_day_in_a_run_of_its_own_or_all_of_them_in_one(server: DagsterDev):
    sales = pl.read_delta(str(server.home / "lake/gold/daily_sales"))
    by_hand = sales.group_by("day").agg(pl.col("net_amount").sum()).sort("day").rows()
    assert len(by_hand) == 3
    # both at once: Dagster's daemon looks at backfills every 30 seconds only
    day_by_day, all_at_once = launch(server, "gold/day_by_day"), launch(server, "gold/all_at_once")
    assert sorted(filter(None, ended(server, day_by_day))) == KEYS
    assert ended(server, all_at_once) == [None]
    assert stored(server, "gold/day_by_day") == (by_hand, len(KEYS))
    assert stored(server, "gold/all_at_once") == (by_hand, 1)
    asked = """query ($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
        partitionStats { numMaterialized numFailed } } } }"""
    for name in ("day_by_day", "all_at_once"):
        node = server.ask(asked, key={"path": ["gold", name]})["assetNodeOrError"]
        assert node["partitionStats"] == {"numMaterialized": len(KEYS), "numFailed": 0}
