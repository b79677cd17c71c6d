"""A year of real orders through the real commands, on a folder and on Azurite; figures read back by DuckDB."""

from __future__ import annotations

import csv
import gzip
import os
import pickle
import subprocess
import sys
from collections import defaultdict
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from lakehouse import tables
from lakehouse.engine.declare.place import Place
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.orchestrate.load import tables_in
from lakehouse.engine.quality.typed import typed
from lakehouse.engine.serve.local_sql import connect
from lakehouse_tests.azurite import Azurite
from resources.environment import load_environment, storages

TABLES = [each.declaration for each in tables_in(tables)]
WHEN_IT_RAN = ("planned_at", "plan", "modified_at", "etag", "quarantined_at", "attempt", "version")


def lakehouse(*arguments: str, **variables: str) -> str:
    """Run the command as a person would, and give what it printed; it must end with 0."""
    environment = {**os.environ, **variables, "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "lakehouse.cli", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which a year landed and was drained."""
    home = tmp_path_factory.mktemp("year")
    assert "808 files written" in lakehouse("land", LAKEHOUSE_HOME=str(home))
    assert f"{len(TABLES)} tables written" in lakehouse("run", LAKEHOUSE_HOME=str(home))
    return home


@pytest.fixture(scope="module")
def place(home: Path) -> Place:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAKEHOUSE_HOME", str(home))
        connections = storages(load_environment("local"))
        landing, lake = connections["landing"], connections["lake"]
    return Place(lake=lake, landing=landing)


@pytest.fixture(scope="module")
def lake(place: Place) -> duckdb.DuckDBPyConnection:
    return connect(TABLES, place)


def one(lake: duckdb.DuckDBPyConnection, statement: str) -> tuple[Any, ...]:
    row = lake.execute(statement).fetchone()
    assert row is not None
    return row


def test_every_document_landed_is_in_bronze_and_every_order_once_in_silver(lake: duckdb.DuckDBPyConnection) -> None:
    assert one(lake, "select count(*), count(distinct order_no) from bronze.erp_orders") == (22_137, 22_064)
    assert one(lake, "select count(*), count(distinct order_no) from bronze.erp_returns") == (3_852, 3_836)
    assert one(lake, "select count(*), count(distinct order_no) from silver.orders") == (25_900, 25_900)
    assert one(lake, "select count(*) from silver.orders where order_no like 'C%'") == (3_836,)


def test_every_line_is_there_once_with_its_exact_repeats_and_the_totals_are_the_source_s(
    lake: duckdb.DuckDBPyConnection,
) -> None:
    net = Decimal("9747747.934")
    lines = "select count(*), sum(quantity)::bigint, sum(net_amount) from silver.order_lines"
    assert one(lake, lines) == (541_909, 5_176_450, net)
    assert one(lake, "select sum(line_count), sum(net_amount) from silver.orders") == (541_909, net)
    kinds = "select left(order_no, 1), sum(net_amount) from silver.order_lines where order_no > 'A' group by 1"
    assert dict(lake.execute(kinds).fetchall()) == {"C": Decimal("-896812.490"), "A": Decimal("-11062.060")}
    sales = "select count(*), sum(net_amount) from silver.order_lines where left(order_no, 1) <= '9'"
    assert one(lake, sales) == (532_618, Decimal("10655622.484"))
    repeats = """
        select sum(n - 1) from (
            select count(*) as n from silver.order_lines
            group by order_no, sku, description, quantity, unit_price, country, saved_at
        )"""
    assert one(lake, repeats) == (5_268,)


def test_a_year_leaves_no_pickle_behind(home: Path, tmp_path: Path) -> None:
    def is_pickle(file: Path) -> bool:
        with file.open("rb") as content:
            return content.read(2) in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")

    (tmp_path / "pickled").write_bytes(pickle.dumps(1))
    assert is_pickle(tmp_path / "pickled")
    written = [each for each in home.rglob("*") if each.is_file()]
    assert {each.relative_to(home).parts[0] for each in written} >= {"landing", "lake", "dagster"}
    assert [each for each in written if is_pickle(each)] == []


@pytest.mark.parametrize(
    ("table", "first", "last", "fewest", "most", "rows"),
    [
        ("erp_customers", "2010-12-04", "2011-12-10", 255, 4_372, 143_637),
        ("erp_products", "2010-12-06", "2011-12-12", 2_219, 4_058, 187_885),
    ],
)
def test_each_weekly_snapshot_is_in_bronze_whole(  # noqa: PLR0917 # a drawn case
    lake: duckdb.DuckDBPyConnection, table: str, first: str, last: str, fewest: int, most: int, rows: int
) -> None:
    weeks = f"select dt, count(*) as n from bronze.{table} group by dt"
    found = one(lake, f"select count(*), min(dt), max(dt), min(n), max(n), sum(n) from ({weeks})")
    assert found == (54, first, last, fewest, most, rows)


def test_all_exchange_rates_are_in_bronze(lake: duckdb.DuckDBPyConnection) -> None:
    assert one(lake, "select count(*), count(distinct (month, country)) from bronze.fx_monthly") == (17_237, 17_237)


def test_every_row_of_bronze_reads_as_its_table_promises(place: Place) -> None:
    """Also of tables from which nothing is made yet: no price, time or name of the year is unreadable."""
    for each in (each for each in TABLES if each.is_bronze):
        handle = Handle.open(place.table(each))
        assert handle is not None
        assert typed(each.contract, handle.scan()).unread.height == 0, each.key


def test_each_day_s_net_is_the_sum_of_the_packed_source(lake: duckdb.DuckDBPyConnection) -> None:
    sold = lake.execute("select day::varchar, sum(net_amount) from gold.daily_sales group by day").fetchall()
    assert dict(sold) == source_days()


def test_the_thirteen_months_are_those_of_the_data_s_readme_and_their_dollars_are_more(
    lake: duckdb.DuckDBPyConnection,
) -> None:
    months = lake.execute("select net_gbp, net_usd from gold.monthly_revenue_usd order by month").fetchall()
    assert [str(pounds) for pounds, _ in months] == [
        "748957.020", "560000.260", "498062.650", "683267.080", "493207.121", "723333.510", "691123.120",
        "681300.111", "682680.510", "1019687.622", "1070704.670", "1461756.250", "433668.010",
    ]  # fmt: skip
    assert str(months[0][1]) == "1168055.2402"  # 0.6412 pounds for a dollar
    assert all(dollars > pounds for pounds, dollars in months)


def test_customers_and_their_history_follow_from_the_weekly_snapshots(lake: duckdb.DuckDBPyConnection) -> None:
    assert one(lake, "select count(*), count(distinct customer_id) from silver.customers") == (4_372, 4_372)
    assert one(lake, "select count(*), count(valid_to) from silver.customer_history") == (4_387, 15)
    moved = """
        select customer_id, list(country order by valid_from) from silver.customer_history
        group by customer_id having count(*) > 1 order by customer_id"""
    moves = dict(lake.execute(moved).fetchall())
    assert sorted(moves) == [12370, 12394, 12417, 12422, 12429, 12431, 12455, 12457]
    assert any(len(countries) > len(set(countries)) for countries in moves.values())  # there and back
    chained = """
        select count(*) from silver.customer_history a join silver.customer_history b
        on a.customer_id = b.customer_id and a.valid_to = b.valid_from"""
    assert one(lake, chained) == (15,)
    now = "select count(*) from silver.customer_history h join silver.customers c using (customer_id, country) "
    assert one(lake, now + "where h.valid_to is null") == (4_372,)


def test_the_catalogue_is_one_through_both_its_changes(lake: duckdb.DuckDBPyConnection) -> None:
    assert one(lake, "select count(*), count(distinct product_code) from silver.products") == (4_058, 3_946)
    assert one(lake, "select count(*) from silver.products where is_service") == (30,)
    assert one(lake, "select price, price_max from silver.products where sku = 'm'") == (Decimal("2.550"),) * 2
    assert one(lake, "select count(*) from silver.products where seen_on = date '2011-12-12'") == (4_058,)


def test_gold_adds_up_to_silver(lake: duckdb.DuckDBPyConnection) -> None:
    net = Decimal("9747747.934")
    performance = "select count(*), sum(lines), sum(quantity)::bigint, sum(net_amount) from gold.product_performance"
    assert one(lake, performance) == (3_958, 541_909, 5_176_450, net)
    assert one(lake, "select sum(net_amount) from gold.daily_sales") == (net,)
    without = "select sum(lines), sum(net_amount) from gold.product_performance where not is_in_catalogue"
    assert one(lake, without) == (107, Decimal("-24794.360"))
    assert one(lake, "select count(*), sum(orders + credits)::int from gold.customer_value") == (4_372, 22_190)
    rates = "select sum(sold) - sum(given_back), sum(given_back) from gold.returns_rate"
    assert one(lake, rates) == (net + Decimal("11062.060"), Decimal("896812.490"))


def test_a_second_run_changes_nothing_and_says_so(home: Path, place: Place) -> None:
    before = {each.key: version(place, each.key) for each in TABLES}
    assert "Nothing changed" in lakehouse("run", LAKEHOUSE_HOME=str(home))
    assert {each.key: version(place, each.key) for each in TABLES} == before


def test_nothing_of_the_year_is_set_aside(place: Place) -> None:
    for each in TABLES:
        assert Handle.open(place.quarantine(each)) is None, each.key


@pytest.mark.azurite
def test_on_azurite_every_stored_table_equals_the_local_one_row_for_row(
    azurite: Azurite, place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for container in ("landing", "lake"):
        azurite.create_container(container)
    cloud = {**azurite.environment(), "LAKEHOUSE_ENVIRONMENT": "test", "LAKEHOUSE_HOME": str(tmp_path)}
    lakehouse("land", **cloud)
    assert f"{len(TABLES)} tables written" in lakehouse("run", **cloud)
    for name, value in cloud.items():
        monkeypatch.setenv(name, value)
    connections = storages(load_environment())
    landing, lake = connections["landing"], connections["lake"]
    there = Place(lake=lake, landing=landing)
    for each in TABLES:
        for where in ("table", "ledger"):
            if where == "ledger" and not each.is_bronze:
                continue
            here, cloudy = (stored(getattr(one, where)(each)) for one in (place, there))
            assert_frame_equal(here, cloudy, check_row_order=not each.key_columns)
    assert "25,900" in lakehouse("status", **cloud)
    assert "9747747.934" in lakehouse("sql", "select sum(net_amount) from silver.orders", **cloud)
    assert not (tmp_path / "lake").exists()


def stored(address: Any) -> pl.DataFrame:
    handle = Handle.open(address)
    assert handle is not None
    return handle.scan().collect().drop(WHEN_IT_RAN, strict=False)


def version(place: Place, key: str) -> int:
    handle = Handle.open(place.lake.address(*key.split("/")))
    assert handle is not None
    return handle.version


def source_days() -> dict[str, Decimal]:
    """Net of each day by the standard library: an order belongs to the day of its earliest line."""
    nets: defaultdict[str, Decimal] = defaultdict(Decimal)
    first: dict[str, str] = {}
    for month in sorted(str(each) for each in files("lakehouse.example").joinpath("online_retail").iterdir()):
        if month.endswith(".csv.gz"):
            with gzip.open(month, "rt", encoding="utf-8", newline="") as text:
                for row in csv.DictReader(text):
                    order = row["InvoiceNo"]
                    nets[order] += int(row["Quantity"]) * Decimal(row["UnitPrice"])
                    first[order] = min(first.get(order, row["InvoiceDate"]), row["InvoiceDate"])
    days: defaultdict[str, Decimal] = defaultdict(Decimal)
    for order, net in nets.items():
        days[first[order][:10]] += net
    return dict(days)
