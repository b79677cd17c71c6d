"""What we write is read back equal, row for row, by deltalake, Polars, DuckDB and Spark; what Spark wrote, by us."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable, QueryBuilder
from polars.testing import assert_frame_equal

from lakehouse.engine.declare.errors import Conflict, Refused, Terminal
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.readers import EVERY_READER, Reader
from lakehouse.engine.delta import known
from lakehouse.engine.delta.files import write_files
from lakehouse.engine.delta.handle import CHECKPOINT_EVERY, Handle
from lakehouse.engine.delta.optimize import without_vectors
from lakehouse.engine.delta.prepared import Prepared
from lakehouse.engine.delta.protocol import for_readers
from lakehouse.engine.delta.refused import Unreadable
from lakehouse.engine.delta.writes import overwrite, prepare_append, prepare_merge, prepare_overwrite, replace_slice
from lakehouse_tests.engine.delta.opening import opened
from lakehouse_tests.spark import Spark

SCHEMA = pl.Schema({"id": pl.Int64(), "note": pl.String()})
ODD = ["a b", "it's 50%", "x=y&z:ü?*", "a/b", "%20", "ö\t", "#?", "日本"]
FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
DIGITS = Decimal("9" * 28 + "." + "9" * 10)
NAIVE_IS_READ_BY = (Reader.DELTA_RS, Reader.DATABRICKS)
VECTORS_ARE_READ_BY = (Reader.DELTA_RS, Reader.DATABRICKS)


@pytest.fixture
def address(tmp_path: Path) -> Address:
    return Address(str(tmp_path / "t"))


@pytest.fixture(scope="module")
def duck() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        for name in ("icu", "delta"):
            found = files(import_module(f"duckdb_extension_{name}")) / f"extensions/v{duckdb.__version__}"
            connection.load_extension(str(found / f"{name}.duckdb_extension"))
        connection.execute("set TimeZone = 'UTC'")
        yield connection


# ---- what we write ----


def rows(*ids: int, note: str = "n") -> pl.DataFrame:
    return pl.DataFrame({"id": ids, "note": [f"{note}{i}" for i in ids]}, schema=SCHEMA)


def made(address: Address, frame: pl.DataFrame, partition_by: tuple[str, ...] = ()) -> Handle:
    return prepare_append(Handle.create(address, frame.schema, partition_by=partition_by), frame).commit({}, {}).handle


def nothing(address: Address) -> pl.DataFrame:
    Handle.create(address, SCHEMA)
    return rows()


def appended(address: Address) -> pl.DataFrame:
    prepare_append(made(address, rows(1, 2)), rows(3)).commit({"position": 7}, {"note": "é"})
    return rows(1, 2, 3)


def overwritten(address: Address) -> pl.DataFrame:
    overwrite(made(address, rows(1, 2)), rows(2, 5, note="z"), {}, {})
    return rows(2, 5, note="z")


def merged(address: Address) -> pl.DataFrame:
    handle = prepare_append(made(address, rows(1, 2, 3)), rows(4)).commit({}, {}).handle
    prepare_merge(handle, rows(2, 9, note="z"), ["id"]).commit({}, {})
    return pl.concat([rows(1, 3, 4), rows(2, 9, note="z")])


def slice_replaced(address: Address) -> pl.DataFrame:
    replace_slice(made(address, rows(1, 2, 3)), rows(3, note="z"), pl.col("id") >= 2, {}, {})
    return pl.concat([rows(1), rows(3, note="z")])


def reshaped(address: Address) -> pl.DataFrame:
    frame = rows(1, 2).with_columns(qty=pl.lit(None, pl.Int32), price=pl.lit(Decimal("1.50"), pl.Decimal(10, 2)))
    prepare_overwrite(made(address, rows(1)), frame, frame.schema).commit({}, {})
    return frame


def in_folders(address: Address) -> pl.DataFrame:
    ids = list(range(len(ODD) + 1))
    frame = pl.DataFrame({"id": ids, "odd": [*ODD, None], "day": [date(2024, 2, 29), None, *[date(1, 1, 1)] * 7]})
    moved = frame.with_columns(pl.col("odd").reverse())
    prepare_merge(made(address, frame, ("odd", "day")), moved, ["id"]).commit({}, {})
    return moved


def of_every_type(address: Address) -> pl.DataFrame:
    lines = pl.List(pl.Struct({"sku": pl.String, "at": pl.Datetime("us", "UTC"), "tags": pl.List(pl.Int16)}))
    columns = {
        "id": pl.Int64, "small": pl.Int8, "short": pl.Int16, "whole": pl.Int32, "half": pl.Float32, "real": pl.Float64,
        "yes": pl.Boolean, "text": pl.String, "bytes": pl.Binary, "day": pl.Date, "at": pl.Datetime("us", "UTC"),
        "money": pl.Decimal(38, 10), "lines": lines, "one": pl.Struct({"a": pl.Int64, "b": pl.String}),
    }  # fmt: skip
    line = {"sku": "é", "at": FIRST, "tags": [1, None]}
    least = (-(2**63), -128, -(2**15), -(2**31), -1.5, float("-inf"), False, "", b"", FIRST.date(), FIRST, -DIGITS)
    most = (2**63 - 1, 127, 2**15 - 1, 2**31 - 1, 0.1, 5e-324, True, "\x00\U0001f600", b"\x00\xff", LAST.date(), LAST)
    frame = pl.DataFrame(
        [
            (*least, [], {"a": None, "b": ""}),
            (*most, DIGITS, [line, None], {"a": 1, "b": "x"}),
            (1, *[None] * 13),
            (2, 0, 0, 0, float("nan"), float("nan"), True, "x" * 100, b"x", date(1582, 10, 10),
             datetime(1582, 10, 10, tzinfo=UTC), Decimal(0), [{"sku": None, "at": None, "tags": None}], None),
        ],
        schema=columns,
        orient="row",
    )  # fmt: skip
    made(address, frame)
    return frame


def after_many_commits(address: Address) -> pl.DataFrame:
    handle = Handle.create(address, SCHEMA)
    for number in range(1, 2 * CHECKPOINT_EVERY + 6):
        handle = prepare_append(handle, rows(number)).commit({"position": number}, {}).handle
        if number % 7 == 0:
            handle = prepare_merge(handle, rows(number, note="z"), ["id"]).commit({}, {}).handle
    assert list(Path(address.uri, "_delta_log").glob("*.checkpoint.parquet"))
    changed = [number for number in range(1, 2 * CHECKPOINT_EVERY + 6) if number % 7 == 0]
    return pl.concat([rows(*changed, note="z"), rows(*set(range(1, 2 * CHECKPOINT_EVERY + 6)) - set(changed))])


def by_wall_clock(address: Address) -> pl.DataFrame:
    frame = pl.DataFrame({"id": [1, 2], "at": [LAST.replace(tzinfo=None), None]})
    handle = Handle.create(address, frame.schema, readers=NAIVE_IS_READ_BY)
    prepare_append(for_readers(handle, NAIVE_IS_READ_BY), frame).commit({}, {})
    return frame


def by_vectors(address: Address) -> pl.DataFrame:
    handle = for_readers(made(address, rows(*range(1, 40))), VECTORS_ARE_READ_BY)
    handle = prepare_merge(handle, rows(2, 50, note="z"), ["id"]).commit({}, {}).handle
    handle = for_readers(handle, VECTORS_ARE_READ_BY)
    assert prepare_merge(handle, rows(3, 4, note="y"), ["id"]).commit({}, {}).handle.gone
    kept = [number for number in range(1, 40) if number not in {2, 3, 4}]
    return pl.concat([rows(*kept), rows(2, 50, note="z"), rows(3, 4, note="y")])


def freed_of_vectors(address: Address) -> pl.DataFrame:
    expected = by_vectors(address)
    handle = without_vectors(opened(address), EVERY_READER)
    prepare_append(for_readers(handle, EVERY_READER), rows(90)).commit({}, {})
    assert opened(address).protocol == (1, 7)
    return pl.concat([expected, rows(90)])


WAYS = [
    nothing, appended, overwritten, merged, slice_replaced, reshaped, in_folders, of_every_type, after_many_commits,
    by_wall_clock, by_vectors, freed_of_vectors,
]  # fmt: skip


# Spark answers first after half a minute: four of them are in every run of the tests
ALWAYS = {merged, of_every_type, by_vectors, freed_of_vectors}
BY_SPARK = [way if way in ALWAYS else pytest.param(way, marks=pytest.mark.long) for way in WAYS]


def check(seen: pl.DataFrame, expected: pl.DataFrame) -> None:
    assert_frame_equal(seen.sort("id"), expected.sort("id"), check_exact=True)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_what_we_write_is_read_back_equal_on_this_machine(
    way: Callable[[Address], pl.DataFrame], address: Address, duck: duckdb.DuckDBPyConnection
):
    expected = way(address)
    check(opened(address).scan().collect(), expected)
    check(pl.scan_delta(address.uri).collect(), expected)
    by_deltalake = QueryBuilder().register("t", DeltaTable(address.uri)).execute("select * from t").read_all()
    check(pl.DataFrame(by_deltalake).cast(expected.schema), expected)  # its strings are views
    check(duck.execute("select * from delta_scan(?)", [address.uri]).pl().cast(expected.schema), expected)


@pytest.mark.parametrize("way", BY_SPARK, ids=lambda way: way.__name__)
def test_what_we_write_is_read_back_equal_by_spark(
    way: Callable[[Address], pl.DataFrame], address: Address, spark: Spark
):
    expected = way(address)
    check(spark.rows(address.uri), expected)


@pytest.mark.long
def test_spark_and_we_write_to_one_table_in_turns(address: Address, spark: Spark):
    handle = made(address, rows(1, 2, 3))
    spark.do(f"insert into delta.`{address}` values (4, 'n4')", f"delete from delta.`{address}` where id = 1")
    handle = prepare_merge(opened(address), rows(2, 5, note="z"), ["id"]).commit({"position": 1}, {}).handle
    spark.do(f"optimize delta.`{address}`", f"update delta.`{address}` set note = 'by spark' where id = 5")
    handle = prepare_append(opened(address), rows(6)).commit({}, {}).handle
    expected = pl.concat([rows(3, 4, 6), rows(2, note="z"), pl.DataFrame({"id": [5], "note": ["by spark"]})])
    check(handle.scan().collect(), expected)
    check(spark.rows(address.uri), expected)
    for version in range(handle.version + 1):
        check(spark.rows(address.uri, version), opened(address, version).scan().collect())


@pytest.mark.long
def test_spark_and_we_take_rows_away_by_vectors_in_turns(address: Address, spark: Spark):
    table = f"delta.`{address}`"
    handle = for_readers(made(address, rows(*range(1, 40))), VECTORS_ARE_READ_BY)
    prepare_merge(handle, rows(2, note="ours"), ["id"]).commit({}, {})
    spark.do(f"delete from {table} where id in (3, 4)", f"update {table} set note = 'theirs' where id = 5")
    known.forget(address)
    handle = for_readers(opened(address), VECTORS_ARE_READ_BY)
    assert len(handle.gone) == 1, "Spark marked them too"
    prepare_merge(handle, rows(5, 6, note="again"), ["id"]).commit({}, {})
    stay = [number for number in range(1, 40) if number not in {2, 3, 4, 5, 6}]
    expected = pl.concat([rows(*stay), rows(2, note="ours"), rows(5, 6, note="again")])
    check(opened(address).scan().collect(), expected)
    check(spark.rows(address.uri), expected)
    for version in range(opened(address).version + 1):
        check(spark.rows(address.uri, version), opened(address, version).scan().collect())


def test_what_spark_commits_between_our_plan_and_our_commit_stands_or_ours_is_a_conflict(
    address: Address, spark: Spark
):
    handle, table = made(address, rows(1, 2, 3)), f"delta.`{address}`"
    appends = prepare_append(handle, rows(4))
    merges, late = (prepare_merge(handle, rows(number, note="z"), ["id"]) for number in (2, 1))
    spark.do(f"insert into {table} values (5, 'n5')", f"update {table} set note = 'by spark' where id = 1")
    appends.commit({}, {})
    merges.commit({}, {})
    with pytest.raises(Conflict):
        late.commit({}, {})
    handle = opened(address)
    joins = Prepared(
        handle, tuple(write_files(handle, handle.scan())), tuple(handle.files()["path"]), 0, rearranges=True
    )
    again = prepare_merge(handle, rows(3, note="y"), ["id"])
    spark.do(f"optimize {table}")
    with pytest.raises(Conflict):
        joins.commit({}, {})
    again.commit({}, {})
    by_spark = pl.DataFrame({"id": [1], "note": ["by spark"]})
    expected = pl.concat([rows(4, 5), by_spark, rows(2, note="z"), rows(3, note="y")])
    check(opened(address).scan().collect(), expected)
    check(spark.rows(address.uri), expected)


@pytest.mark.long
def test_a_table_that_we_freed_of_vectors_is_written_cleaned_and_given_them_again_by_spark(
    address: Address, spark: Spark
):
    expected, table = freed_of_vectors(address), f"delta.`{address}`"
    for version in range(opened(address).version + 1):
        check(spark.rows(address.uri, version), opened(address, version).scan().collect())
    spark.do(f"delete from {table} where id = 90", f"optimize {table}", f"vacuum {table}")
    known.forget(address)
    assert (opened(address).protocol, opened(address).has_vectors) == ((1, 7), False)
    check(spark.rows(address.uri), expected.filter(pl.col("id") != 90))
    on = f"alter table {table} set tblproperties ('delta.enableDeletionVectors' = true)"
    spark.do(on, f"delete from {table} where id = 20")
    known.forget(address)
    freed = without_vectors(opened(address), EVERY_READER)
    check(freed.scan().collect(), expected.filter(~pl.col("id").is_in([20, 90])))
    check(spark.rows(address.uri), freed.scan().collect())


# ---- what Spark writes ----


@dataclass(frozen=True)
class Case:
    """A table of Spark's: how it is made, and what we say to it where we do not read, or not write it."""

    name: str
    made: tuple[str, ...]
    unread: str = ""
    unwritten: str = ""

    @property
    def statements(self) -> Iterator[str]:
        return iter(self.made)


TWO = "insert into {t} values (1, 'a'), (2, 'b')"


def case(name: str, properties: str, *then: str, columns: str = "id bigint, s string", **refused: str) -> Case:
    told = f" tblproperties ({properties})" if properties else ""
    return Case(name, (f"create table {{t}} ({columns}) using delta{told}", *(then or (TWO,))), **refused)


ON = "'delta.enable{}' = 'true'"
SUPPORTED = "'delta.feature.{}' = 'supported'"
DELETED = ("insert into {t} select id, cast(id as string) from range(10)", "delete from {t} where id in (3, 4)")
CASES = [
    case("plain", "", TWO, "insert into {t} values (3, null)"),
    case("checkpoint", "'delta.checkpointInterval' = '2'", *[TWO] * 5),
    case("checkpoint_v2", "'delta.checkpointPolicy' = 'v2', 'delta.checkpointInterval' = '2'", *[TWO] * 5),
    case("evolved", "", TWO, "alter table {t} add columns (st struct<a: int>)",
         "insert into {t} values (3, 'c', named_struct('a', 1))"),
    case("merged", "", TWO, "merge into {t} o using (select 2 id, 'z' s union all select 3, 'c') n on o.id = n.id "
         "when matched then update set * when not matched then insert *"),
    case("optimized", "", TWO, TWO, "optimize {t}"),
    case("restored", "", TWO, TWO, "restore table {t} to version as of 1"),
    case("nested", "", "insert into {t} values (1, named_struct('a', array(named_struct('c', 'x'))))",
         columns="id bigint, st struct<a: array<struct<c: string>>>"),
    case("int96", "", "set spark.sql.parquet.outputTimestampType = INT96",
         "insert into {t} values (1, timestamp'0001-01-01'), (2, timestamp'9999-12-31 23:59:59.999999')",
         "set spark.sql.parquet.outputTimestampType = TIMESTAMP_MICROS", columns="id bigint, t timestamp"),
    case("ntz", "", "insert into {t} values (1, timestamp_ntz'2024-01-01 12:34:56.789012')",
         columns="id bigint, t timestamp_ntz"),
    Case("folders", ("create table {t} (id bigint, p string) using delta partitioned by (p)",
         "insert into {t} values (1, 'a b'), (2, \"it's/50%\"), (3, null), (4, 'x=y&z:ü?*'), (5, '')")),
    Case("folders_of_other_types", (
         "create table {t} (id bigint, d date, at timestamp, m decimal(10, 2)) using delta partitioned by (d, at, m)",
         "insert into {t} values (1, date'2024-02-29', timestamp'2024-01-01 12:34:56.789012', 1.5)",
         "insert into {t} values (2, null, null, null)"), unwritten="cannot be partitioned by at: "),
    Case("random_folders", ("create table {t} (id bigint, p string) using delta partitioned by (p)",
         "alter table {t} set tblproperties ('delta.randomizeFilePrefixes' = 'true')", TWO),
         unread=r"\(delta\.randomizeFilePrefixes\)"),
    Case("shallow_clone", ("create table {t}_deep (id bigint, s string) using delta",
         "insert into {t}_deep values (1, 'a')", "create table {t} shallow clone {t}_deep"), unread="a shallow clone"),
    Case("clustered", ("create table {t} (id bigint, s string) using delta cluster by (id)", TWO),
         unwritten="writer feature (domainMetadata|clustering)"),
    case("deletion_vectors_allowed", ON.format("DeletionVectors"), TWO),
    case("deletion_vectors", ON.format("DeletionVectors"), *DELETED),
    case("purged", ON.format("DeletionVectors"), *DELETED, "reorg table {t} apply (purge)"),
    case("feature_dropped", ON.format("DeletionVectors"), *DELETED, "alter table {t} drop feature deletionVectors"),
    case("column_mapping", "'delta.columnMapping.mode' = 'name'", unread="reader feature columnMapping"),
    case("column_mapping_by_id", "'delta.columnMapping.mode' = 'id'", unread="reader feature columnMapping"),
    case("renamed", "'delta.columnMapping.mode' = 'name'", TWO, "alter table {t} rename column s to r",
         unread="reader feature columnMapping"),
    case("mapping_dropped", "'delta.columnMapping.mode' = 'name'", TWO, "alter table {t} drop feature columnMapping"),
    case("widened", ON.format("TypeWidening"), "insert into {t} values (1, 1.5)",
         "alter table {t} alter column id type bigint", "alter table {t} alter column x type double",
         "insert into {t} values (5000000000, 0.1)", columns="id int, x float"),
    case("widened_further", ON.format("TypeWidening"), "insert into {t} values (1, 1.25)",
         "alter table {t} alter column m type decimal(10, 4)", columns="id int, m decimal(5, 2)",
         unread=r"typeWidening \(its column m was decimal\(5,2\) and is decimal\(10,4\)\)"),
    case("variant", "", "insert into {t} select 1, parse_json('[1]')", columns="id bigint, v variant",
         unread=r"variantType \(its column v\)"),
    case("vacuum_protocol_check", SUPPORTED.format("vacuumProtocolCheck")),
    case("column_defaults", SUPPORTED.format("allowColumnDefaults"), "insert into {t} (id) values (1)",
         columns="id bigint, s string default 'x'"),
    case("row_tracking", ON.format("RowTracking"), unwritten="writer feature (domainMetadata|rowTracking)"),
    case("in_commit_timestamps", ON.format("InCommitTimestamps"), unwritten="writer feature inCommitTimestamp"),
    case("identity", "", "insert into {t} (s) values ('a')",
         columns="id bigint generated always as identity, s string", unwritten=r"identity columns \(column id\)"),
    case("generated", "", "insert into {t} (id) values (1)", columns="id bigint, s bigint generated always as (id * 2)",
         unwritten=r"generated columns \(column s\)"),
    case("checked", "", TWO, "alter table {t} add constraint positive check (id > 0)",
         unwritten=r"CHECK constraint positive \(id > 0\)"),
    case("not_null", "", columns="id bigint not null, s string"),
    case("change_data_feed", ON.format("ChangeDataFeed"), TWO, "delete from {t} where id = 2"),
]  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("of", CASES, ids=lambda of: of.name)
def test_what_spark_writes_is_read_and_left_right_or_refused_by_its_feature(of: Case, address: Address, spark: Spark):
    table = f"delta.`{address}`"
    spark.do(*(each.replace("{t}_deep", f"delta.`{address}_deep`").replace("{t}", table) for each in of.made))
    if of.unread:
        with pytest.raises(Unreadable, match=of.unread):
            opened(address).scan()
        return
    expected = spark.rows(address.uri)
    check(opened(address).scan().collect(), expected)
    one = expected.sort("id").head(1)
    if of.unwritten:
        with pytest.raises(Refused, match=of.unwritten):
            prepare_append(opened(address), one)
        with pytest.raises(Refused, match=of.unwritten):
            opened(address).commit([], [], {}, {})
        return
    prepare_append(opened(address), one).commit({}, {})
    check(spark.rows(address.uri), pl.concat([expected, one]))
    overwrite(opened(address), one, {}, {})
    check(spark.rows(address.uri), one)
    spark.do(f"insert into {table} select * from {table}")
    check(opened(address).scan().collect(), pl.concat([one, one]))


@pytest.mark.long
def test_what_a_table_of_sparks_forbids_is_refused_with_the_property_or_the_column(address: Address, spark: Spark):
    table, said = f"delta.`{address}`", "'delta.appendOnly' = 'true', 'delta.enableChangeDataFeed' = 'true'"
    spark.do(f"create table {table} (id bigint not null, note string) using delta tblproperties ({said})")
    handle = prepare_append(opened(address), rows(1, 2)).commit({}, {}).handle
    handle = prepare_append(handle, rows(3)).commit({}, {}).handle
    with pytest.raises(Refused, match=r"append-only \(delta\.appendOnly\), and 2 files would go"):
        overwrite(handle, rows(3), {}, {})
    spark.do(f"alter table {table} unset tblproperties ('delta.appendOnly')")
    with pytest.raises(Refused, match="change data feed"):
        prepare_merge(opened(address), rows(1, note="z"), ["id"]).commit({}, {})
    with pytest.raises(Terminal, match=r"column id is NOT NULL, and it is null in 1 row"):
        prepare_append(opened(address), pl.DataFrame({"id": [None], "note": ["x"]}, SCHEMA)).commit({}, {})
    overwrite(opened(address), rows(1, note="z"), {}, {})
    check(spark.rows(address.uri), rows(1, note="z"))
    changes = spark.ask(f"select id, note, _change_type from table_changes_by_path('{address}', 3)")
    assert sorted(changes.rows()) == [
        (1, "n1", "delete"), (1, "z1", "insert"), (2, "n2", "delete"), (3, "n3", "delete"),
    ]  # fmt: skip
