"""What we write is read back equal, row for row, by deltalake, Polars, DuckDB and Spark; what Spark wrote, by us."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable, QueryBuilder

from lakehouse.engine.declare.errors import Conflict, Refused, Terminal
from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.readers import EVERY_READER
from lakehouse.engine.delta import known, store
from lakehouse.engine.delta.files import write_files
from lakehouse.engine.delta.optimize import without_vectors
from lakehouse.engine.delta.prepared import Prepared
from lakehouse.engine.delta.protocol import for_readers
from lakehouse.engine.delta.refused import Unreadable
from lakehouse.engine.delta.writes import overwrite, prepare_append, prepare_merge
from lakehouse.engine.serve import local_sql
from lakehouse_tests.azurite import Azurite
from lakehouse_tests.engine.delta.opening import opened
from lakehouse_tests.spark import Spark
from lakehouse_tests.written import (
    SCHEMA,
    VECTORS_ARE_READ_BY,
    WAYS,
    assert_equal,
    by_vectors,
    cleaned,
    cleaned_of_all_but_vectors,
    compacted,
    freed_of_vectors,
    in_folders,
    kept_account,
    laid_by_columns,
    made,
    merged,
    of_every_type,
    put_back_to_vectors,
    rows,
    set_aside,
    widened,
)


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


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_what_we_write_is_read_back_equal_on_this_machine(
    way: Callable[[Address], pl.DataFrame], address: Address, duck: duckdb.DuckDBPyConnection
):
    expected = way(address)
    assert_equal(opened(address).scan().collect(), expected)
    assert_equal(pl.scan_delta(address.uri).collect(), expected)
    by_deltalake = QueryBuilder().register("t", DeltaTable(address.uri)).execute("select * from t").read_all()
    assert_equal(pl.DataFrame(by_deltalake).cast(expected.schema), expected)  # its strings are views
    assert_equal(duck.execute("select * from delta_scan(?)", [address.uri]).pl().cast(expected.schema), expected)


# Each takes seconds there: those of the most kinds of files are in every run of the tests
ALWAYS = {in_folders, by_vectors, cleaned_of_all_but_vectors}
ON_AZURE = [way if way in ALWAYS else pytest.param(way, marks=pytest.mark.long) for way in WAYS]


@pytest.mark.azurite
@pytest.mark.parametrize("way", ON_AZURE, ids=lambda way: way.__name__)
def test_what_we_write_to_a_storage_account_is_read_back_equal(
    way: Callable[[Address], pl.DataFrame], azurite: Azurite, new_container: Callable[[], str]
):
    lake = azurite.address(new_container())
    address = lake / "lake" / "t"
    expected = way(address)
    assert_equal(opened(address).scan().collect(), expected)
    assert_equal(pl.scan_delta(address.uri, storage_options=address.options).collect(), expected)
    table = DeltaTable(address.uri, storage_options=address.options)
    by_deltalake = QueryBuilder().register("t", table).execute("select * from t").read_all()
    assert_equal(pl.DataFrame(by_deltalake).cast(expected.schema), expected)
    there = any(name.endswith(".bin") for name in store.sizes(address))
    assert there == ("vectors" in way.__name__), "rows went by vectors"
    stored: Any = SimpleNamespace(address=lambda *path: lake / "/".join(path))
    with local_sql.connect([], Place(stored, stored), [("lake", "t")]) as duck:
        assert_equal(duck.execute("select * from lake.t").pl().cast(expected.schema), expected)


# Each takes Spark a second: these are in every run of the tests
BY_SPARK = {
    merged, of_every_type, freed_of_vectors, compacted, laid_by_columns, put_back_to_vectors, widened, cleaned,
    cleaned_of_all_but_vectors, set_aside, kept_account,
}  # fmt: skip


@pytest.mark.parametrize("always", [True, pytest.param(False, marks=pytest.mark.long)], ids=["some ways", "the others"])
def test_what_we_write_is_read_back_equal_by_spark(
    address: Address, spark: Spark, subtests: pytest.Subtests, *, always: bool
):
    expected = {way.__name__: way(address / way.__name__) for way in WAYS if (way in BY_SPARK) == always}
    seen = spark.rows_of_all({name: (address / name).uri for name in expected})
    for name, rows_of in expected.items():
        with subtests.test(name):
            assert_equal(seen[name], rows_of)


@pytest.mark.long
def test_spark_and_we_write_to_one_table_in_turns(address: Address, spark: Spark):
    handle = made(address, rows(1, 2, 3))
    spark.do(f"insert into delta.`{address}` values (4, 'n4')", f"delete from delta.`{address}` where id = 1")
    handle = prepare_merge(opened(address), rows(2, 5, note="z"), ["id"]).commit({"position": 1}, {}).handle
    spark.do(f"optimize delta.`{address}`", f"update delta.`{address}` set note = 'by spark' where id = 5")
    handle = prepare_append(opened(address), rows(6)).commit({}, {}).handle
    expected = pl.concat([rows(3, 4, 6), rows(2, note="z"), pl.DataFrame({"id": [5], "note": ["by spark"]})])
    assert_equal(handle.scan().collect(), expected)
    assert_equal(spark.rows(address.uri), expected)
    for version in range(handle.version + 1):
        assert_equal(spark.rows(address.uri, version), opened(address, version).scan().collect())


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
    assert_equal(opened(address).scan().collect(), expected)
    assert_equal(spark.rows(address.uri), expected)
    for version in range(opened(address).version + 1):
        assert_equal(spark.rows(address.uri, version), opened(address, version).scan().collect())


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
    assert_equal(opened(address).scan().collect(), expected)
    assert_equal(spark.rows(address.uri), expected)


@pytest.mark.long
def test_a_table_that_we_freed_of_vectors_is_written_cleaned_and_given_them_again_by_spark(
    address: Address, spark: Spark
):
    expected, table = freed_of_vectors(address), f"delta.`{address}`"
    for version in range(opened(address).version + 1):
        assert_equal(spark.rows(address.uri, version), opened(address, version).scan().collect())
    spark.do(f"delete from {table} where id = 90", f"optimize {table}", f"vacuum {table}")
    known.forget(address)
    assert (opened(address).protocol, opened(address).has_vectors) == ((1, 7), False)
    assert_equal(spark.rows(address.uri), expected.filter(pl.col("id") != 90))
    on = f"alter table {table} set tblproperties ('delta.enableDeletionVectors' = true)"
    spark.do(on, f"delete from {table} where id = 20")
    known.forget(address)
    freed = without_vectors(opened(address), EVERY_READER)
    assert_equal(freed.scan().collect(), expected.filter(~pl.col("id").is_in([20, 90])))
    assert_equal(spark.rows(address.uri), freed.scan().collect())


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
    assert_equal(opened(address).scan().collect(), expected)
    one = expected.sort("id").head(1)
    if of.unwritten:
        with pytest.raises(Refused, match=of.unwritten):
            prepare_append(opened(address), one)
        with pytest.raises(Refused, match=of.unwritten):
            opened(address).commit([], [], {}, {})
        return
    prepare_append(opened(address), one).commit({}, {})
    assert_equal(spark.rows(address.uri), pl.concat([expected, one]))
    overwrite(opened(address), one, {}, {})
    assert_equal(spark.rows(address.uri), one)
    spark.do(f"insert into {table} select * from {table}")
    assert_equal(opened(address).scan().collect(), pl.concat([one, one]))


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
    assert_equal(spark.rows(address.uri), rows(1, note="z"))
    changes = spark.ask(f"select id, note, _change_type from table_changes_by_path('{address}', 3)")
    assert sorted(changes.rows()) == [
        (1, "n1", "delete"), (1, "z1", "insert"), (2, "n2", "delete"), (3, "n3", "delete"),
    ]  # fmt: skip
