"""What can be asked of a lake in SQL, and what is said where it cannot."""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars as pl
import pytest
from deltalake import write_deltalake

from lakehouse import Append, Bronze, Files, Frame, JsonLines, Merge, New, Quarantine, Silver, column, table
from lakehouse.engine.declare.errors import WrongUsage
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.writes import overwrite
from lakehouse.engine.serve import local_sql
from lakehouse.engine.serve.local_sql import SqlError, connect, query
from lakehouse_tests.driver import House

QUARANTINE = ["version", "attempt", "upstream", "source_name", "source_file", "source_row", "batch", "kind", "reasons"]


class SqlSent(Bronze):
    """One row per document."""

    n: int = column("A number")


@table(source=Files("sent/*.jsonl", formats=JsonLines()), write=Append())
def sql_sent() -> Frame[SqlSent]: ...


class SqlNumbers(Silver):
    """One row per number."""

    n: int = column("A number", key=True, ge=0)


@table(write=Merge(), rejects=Quarantine())
def sql_numbers(sent: New[SqlSent]) -> Frame[SqlNumbers]:
    return sent.select("n")


TABLES = [sql_sent.declaration, sql_numbers.declaration]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def drained(house: House, *documents: str) -> duckdb.DuckDBPyConnection:
    house.land("sent/1.jsonl", "\n".join(documents))
    house.drain(*TABLES)
    return connect(TABLES, house.place)


def columns(connection: duckdb.DuckDBPyConnection, name: str) -> list[tuple[str, str]]:
    return [(name, kind) for name, kind, *_ in query(connection, f"describe {name}")[1]]


def test_a_quarantine_and_a_ledger_are_there_before_anything_lies_in_them(house: House):
    connection = connect(TABLES, house.place)
    names, rows = query(connection, "select * from quarantine.silver_sql_numbers")
    assert (names, rows) == ([*QUARANTINE, "row", "quarantined_at"], [])
    assert query(connection, "select state, name from ledger.bronze_sql_sent")[1] == []


def test_empty_or_not_a_quarantine_and_a_ledger_have_the_same_columns_and_types(house: House):
    names = ("quarantine.bronze_sql_sent", "quarantine.silver_sql_numbers", "ledger.bronze_sql_sent")
    empty = connect(TABLES, house.place)
    filled = drained(house, '{"n": 1}', '{"n": -1}', "{torn")
    assert [columns(empty, name) for name in names] == [columns(filled, name) for name in names]
    assert all(query(filled, f"select count(*) from {name}")[1] == [(1,)] for name in names)


def test_the_table_of_a_plain_asset_is_asked_for_by_its_key(house: House):
    plain = [("gold", "rates"), ("rates",), ("gold", "eu", "rates"), ("gold", "never_written")]
    for nth, key in enumerate(plain[:3]):
        handle = Handle.create(house.place.lake.address(*key), pl.Schema({"dollars": pl.Float64()}))
        overwrite(handle, pl.LazyFrame({"dollars": [float(nth)]}), {}, {})
    connection = connect(TABLES, house.place, plain)
    for nth, name in enumerate(["gold.rates", "rates", "gold.eu_rates"]):
        assert query(connection, f"select dollars from {name}")[1] == [(float(nth),)]
    assert ("gold.never_written",) not in query(connection, "show tables")[1]


def test_show_tables_lists_what_can_be_asked_for_as_it_is_asked_for(house: House):
    beside = ["quarantine.bronze_sql_sent", "quarantine.silver_sql_numbers", "ledger.bronze_sql_sent"]
    assert query(connect(TABLES, house.place), "show tables") == (["table"], [(name,) for name in beside])
    connection = drained(house, '{"n": 1}')
    for said in ("show tables", "SHOW ALL TABLES;"):
        listed = [name for (name,) in query(connection, said)[1]]
        assert listed == ["bronze.sql_sent", "silver.sql_numbers", *beside]


def test_a_table_that_is_not_there_is_refused_with_those_that_are(house: House):
    with pytest.raises(SqlError, match=r"There are: bronze\.sql_sent, silver\.sql_numbers, quarantine\."):
        query(drained(house, '{"n": 1}'), "select * from silver.sql_number")


def test_tables_are_asked_as_they_stood_and_one_that_cannot_be_says_why(house: House):
    drained(house, '{"n": 1}')
    handle = house.open(sql_numbers.declaration)
    assert handle is not None
    then = handle.updated_at
    house.land("sent/2.jsonl", '{"n": 2}')
    house.drain(*TABLES)
    asked = "select s.n, b.n from silver.sql_numbers s full join bronze.sql_sent b on s.n = b.n::int order by all"
    assert query(connect(TABLES, house.place), asked)[1] == [(1, "1"), (2, "2")]
    assert query(connect(TABLES, house.place, as_of=then.isoformat()), asked)[1] == [(1, "1")]
    before = connect(TABLES, house.place, as_of="2020-01-31T12:00:00Z")
    assert ("silver.sql_numbers",) in query(before, "show tables")[1]
    with pytest.raises(WrongUsage, match="of which zone"):
        connect(TABLES, house.place, as_of="2020-01-31")
    for said in ("select n from silver.sql_numbers", "select count(*) from ledger.bronze_sql_sent"):
        with pytest.raises(SqlError, match=r"was not there at .* UTC, as far as its log tells: version 0 is of"):
            query(before, said)


def test_a_table_that_was_not_written_yet_is_told_with_the_command_that_writes_it(house: House):
    ways = [(("silver", "sql_numbers"), "lakehouse run"), (("rates",), "dg launch --assets rates")]
    told = r"silver\.sql_numbers was not written yet\. Next: lakehouse run\nrates was not written yet\. Next: dg launch"
    with pytest.raises(SqlError, match=told):
        query(connect(TABLES, house.place), "select * from rates", ways)
    Handle.create(house.place.lake.address("rates"), pl.Schema({"dollars": pl.Float64()}))
    connection = connect(TABLES, house.place, [("rates",)])
    with pytest.raises(SqlError, match=r"sql_numbers was not written yet\. Next: lakehouse run\Z"):
        query(connection, "select * from silver.sql_numbers", ways)


@pytest.mark.parametrize(
    "statement",
    [
        "delete from silver.sql_numbers",
        "truncate silver.sql_numbers",
        "insert into silver.sql_numbers values (2)",
        "update silver.sql_numbers set n = 2",
        "drop view silver.sql_numbers",
        "create table t (n int)",
        "copy (select 1) to '{}/written'",
        "explain analyze copy (select 1) to '{}/written'",
        "EXPLAIN (ANALYZE, FORMAT json) /* */ copy (select 1) to '{}/written'",
        "/* */ explain copy (select 1) to '{}/written'",
        "prepare p as copy (select 1) to '{}/written'",
        "export database '{}/written'",
        "attach '{}/written' as written",
        "install httpfs",
        "load '{}/written'",
        "set TimeZone = 'Europe/London'",
    ],
)
def test_what_would_write_is_refused_since_sql_only_reads(house: House, statement: str):
    connection = drained(house, '{"n": 1}')
    with pytest.raises(SqlError, match=r"lakehouse sql only reads \(.*\), and this statement .*: it was not run"):
        query(connection, statement.format(house.root))
    assert not (house.root / "written").exists()
    assert query(connection, "select n from silver.sql_numbers")[1] == [(1,)]


@pytest.mark.parametrize(
    "before", ["", "explain ", "explain analyze ", "EXPLAIN (FORMAT json) ", "describe ", "summarize "]
)
def test_what_reads_is_asked_also_for_its_plan(house: House, before: str):
    assert query(drained(house, '{"n": 1}'), f"{before}select n from silver.sql_numbers")[1]


@pytest.mark.parametrize("folder", ["o'brien\"; drop table x; --", "x'); select 1; --", "*?{x}#", "é > &"])
def test_a_name_is_quoted_wherever_it_becomes_sql(tmp_path: Path, folder: str):
    house, key = House(tmp_path / folder), ("gold", "o'b\"x; drop schema gold; --", "x")
    odd = "d'o\"x--"
    write_deltalake(house.place.lake.address(*key).uri, pl.DataFrame({odd: [1.0]}))  # we would not name a column so
    connection = connect(TABLES, house.place, [key])
    assert ("gold.o'b\"x; drop schema gold; --_x",) in query(connection, "show tables")[1]
    asked = query(connection, 'select * from gold."o\'b""x; drop schema gold; --_x"')
    assert asked == ([odd], [(1.0,)])


@pytest.mark.parametrize("nothing", ["", "  ", "-- a comment", ";"])
def test_no_statement_is_refused_with_what_there_is(house: House, nothing: str):
    with pytest.raises(SqlError, match=r"No statement was given.*\nThere are: quarantine"):
        query(connect(TABLES, house.place), nothing)


def test_of_two_statements_none_is_run(house: House):
    connection = connect(TABLES, house.place)
    with pytest.raises(SqlError, match="There are 2 statements"):
        query(connection, "create table t (n int); select 1")
    assert query(connection, "select count(*) from duckdb_tables()")[1] == [(0,)]
    assert query(connection, "select 1;")[1] == [(1,)]


def test_the_key_of_an_account_is_quoted_where_it_becomes_sql():
    connection = duckdb.connect(":memory:", config={"autoinstall_known_extensions": "false"})
    told = {"account_name": "o'brien", "endpoint": "https://o.blob.core.windows.net"}
    options = told | {"account_key": "k'); create table taken (n int); --"}
    address = Address("abfss://lake@o.dfs.core.windows.net/gold/x", options)
    assert local_sql._logged_in(connection, address) == "abfss://lake@o.dfs.core.windows.net/gold/x"  # pyright: ignore[reportPrivateUsage] # all else asks Azure
    assert connection.execute("select table_name from duckdb_tables()").fetchall() == []
    assert connection.execute("select name from duckdb_secrets()").fetchall() == [
        ("abfss://lake@o.dfs.core.windows.net",)
    ]
