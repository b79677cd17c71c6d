"""Plain `@dg.asset`s through our IO manager, as people bring them from dagster-polars, in whole runs."""

import datetime as dt
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import dagster as dg
import polars as pl
import pytest

from lakehouse.engine.declare.errors import Conflict
from lakehouse.engine.delta import writes
from lakehouse.engine.delta.handle import Handle
from lakehouse_tests.engine.delta.writing import append
from resources import plain_assets
from resources.delta_io_manager import DeltaIOManager
from resources.local_disk import LocalDisk

# backfill_policy is "beta" in Dagster's words; and Dagster warns of its own code when a resource holds another.
pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning"),
]

DAYS = dg.DailyPartitionsDefinition("2024-05-01", end_date="2024-05-08")
LETTERS = dg.StaticPartitionsDefinition(["a", "b", "c"])
UTC = dt.UTC
TIME = pl.Datetime("us", "UTC")


@dataclass
class World:
    """A lake on a disk and the Dagster that writes it."""

    lake: LocalDisk
    instance: dg.DagsterInstance

    def run(self, *assets: Any, only: Sequence[Any] | None = None, **asked: Any) -> dg.ExecuteInProcessResult:
        span = asked.pop("span", None)
        if span:
            asked["tags"] = {
                "dagster/asset_partition_range_start": span[0],
                "dagster/asset_partition_range_end": span[1],
            }
        return dg.materialize(
            assets,
            selection=only,
            resources={"io_manager": DeltaIOManager(lake=self.lake)},
            instance=self.instance,
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            **asked,
        )

    def done(self, *assets: Any, **asked: Any) -> dg.ExecuteInProcessResult:
        result = self.run(*assets, **asked)
        assert result.success, said(result)
        return result

    def refused(self, *assets: Any, **asked: Any) -> str:
        result = self.run(*assets, **asked)
        assert not result.success
        return said(result)

    def table(self, *key: str) -> Handle:
        handle = Handle.open(self.lake.address(*key))
        assert handle is not None
        return handle

    def rows(self, *key: str) -> list[tuple[Any, ...]]:
        return sorted(self.table(*key).scan().collect().rows(), key=repr)


def said(result: dg.ExecuteInProcessResult) -> str:
    """The sentence that a person reads in the run's page."""
    sentences: list[str] = []
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data
            user = failure.user_failure_data
            sentences.append((user.description if user else None) or str(failure.error))
    return "\n".join(sentences)


def metadata(result: dg.ExecuteInProcessResult, *key: str) -> dict[str | None, dict[str, Any]]:
    """What was told of each materialization, by partition."""
    return {
        event.partition: {name: value.value for name, value in event.materialization.metadata.items()}
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(key)
    }


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield World(LocalDisk(path=str(tmp_path / "lake")), instance)


def giving(frame: Any, name: str = "sales", **words: Any) -> Any:
    """A plain asset that returns `frame`, whatever the partition."""

    @dg.asset(name=name, **words)
    def plain():
        return frame

    return plain


def by(column: Any, definition: Any, **words: Any) -> dict[str, Any]:
    return {"partitions_def": definition, "metadata": {"partition_by": column}, **words}


def test_a_new_table_takes_no_name_that_a_reader_must_quote_and_one_that_stands_keeps_its_own(world: World):
    frame = pl.DataFrame({"order": [1], "line": [{"a-b": 1}]})
    told = world.refused(giving(frame))
    assert told.startswith("sales cannot have a column named 'line.a-b', 'order': who reads it would have to quote it")
    assert """pl.col("line").struct.rename_fields(['a_b']), then .rename({'order': 'order_'}). Nothing""" in told
    assert not Path(str(world.lake.address("sales"))).exists()
    frame.write_delta(str(world.lake.address("sales")))  # as another has left it
    world.done(giving(frame.with_columns(order=pl.lit(2))))
    assert world.rows("sales") == [(2, {"a-b": 1})]


# --- every kind of partition ------------------------------------------------------------------------------------------


@dataclass
class Kind:
    """One way to partition: two keys, and what the rows of each hold. `stray` is a value that belongs to no key."""

    definition: Any
    column: Any
    dtypes: dict[str, Any]
    keys: tuple[Any, Any]
    values: tuple[list[Any], list[Any]]
    stray: Any

    def frame(self, part: int | None, n: int, *, stray: bool = False) -> pl.DataFrame:
        """`n` in every row of one part (of none: no rows)."""
        values = [] if part is None else [*self.values[part], *([self.stray] if stray else [])]
        rows = [(*(value if isinstance(value, tuple) else (value,)), n) for value in values]
        return pl.DataFrame(rows, schema={**self.dtypes, "n": pl.Int64}, orient="row")

    def held(self, part: int, n: int) -> list[tuple[Any, ...]]:
        return self.frame(part, n).rows()


def at(*clock: int) -> dt.datetime:
    return dt.datetime(2024, *clock, tzinfo=UTC)


ODD = [
    "it's", '"quoted"', "a/b\\c", " blank ", "größe 東京", "50%", "%2F", "k=v", "'; DROP TABLE x --", "*", "[x]?",
    "a:b",
]  # fmt: skip
MULTI = dg.MultiPartitionsDefinition({"day": DAYS, "shop": dg.StaticPartitionsDefinition(["it's", "b/c"])})
DYNAMIC = dg.DynamicPartitionsDefinition(name="customers")


def multi(day: str, shop: str) -> dg.MultiPartitionKey:
    return dg.MultiPartitionKey({"day": day, "shop": shop})


def static(*keys: str) -> dg.StaticPartitionsDefinition:
    return dg.StaticPartitionsDefinition(list(keys))


# fmt: off
KINDS = {
    "days as text": Kind(
        DAYS, "day", {"day": pl.String}, ("2024-05-01", "2024-05-02"),
        (["2024-05-01"], ["2024-05-02"]), "2024-05-03"),
    "days as dates": Kind(
        DAYS, "day", {"day": pl.Date}, ("2024-05-01", "2024-05-02"),
        ([dt.date(2024, 5, 1)], [dt.date(2024, 5, 2)]), dt.date(2024, 4, 30)),
    "days as times": Kind(
        DAYS, "at", {"at": TIME}, ("2024-05-01", "2024-05-02"),
        ([at(5, 1), at(5, 1, 23, 59, 59, 999_999)], [at(5, 2), at(5, 2, 12)]), at(5, 2)),
    "London days as times": Kind(
        dg.DailyPartitionsDefinition("2024-05-01", timezone="Europe/London", end_date="2024-05-08"), "at",
        {"at": TIME}, ("2024-05-01", "2024-05-02"), ([at(4, 30, 23)], [at(5, 1, 23), at(5, 2, 22, 59)]), at(5, 1, 23)),
    "London days as dates": Kind(
        dg.DailyPartitionsDefinition("2024-05-01", timezone="Europe/London", end_date="2024-05-08"), "day",
        {"day": pl.Date}, ("2024-05-01", "2024-05-02"),
        ([dt.date(2024, 5, 1)], [dt.date(2024, 5, 2)]), dt.date(2024, 5, 3)),
    "days as numbers": Kind(
        dg.DailyPartitionsDefinition("20240501", end_date="20240508", fmt="%Y%m%d"), "day", {"day": pl.Int32},
        ("20240501", "20240502"), ([20240501], [20240502]), 20240503),
    "hours as times": Kind(
        dg.HourlyPartitionsDefinition("2024-05-01-00:00", end_date="2024-05-02-00:00"), "at", {"at": TIME},
        ("2024-05-01-00:00", "2024-05-01-01:00"), ([at(5, 1), at(5, 1, 0, 59)], [at(5, 1, 1)]), at(5, 1, 1)),
    "hours as text": Kind(
        dg.HourlyPartitionsDefinition("2024-05-01-00:00", end_date="2024-05-02-00:00"), "hour", {"hour": pl.String},
        ("2024-05-01-00:00", "2024-05-01-01:00"), (["2024-05-01-00:00"], ["2024-05-01-01:00"]), "2024-05-01-02:00"),
    "the hour that London has twice": Kind(
        dg.HourlyPartitionsDefinition("2024-10-26-00:00", timezone="Europe/London", end_date="2024-10-28-00:00"), "at",
        {"at": TIME}, ("2024-10-27-01:00", "2024-10-27-01:00+0000"), ([at(10, 27, 0, 30)], [at(10, 27, 1, 30)]),
        at(10, 27, 2)),
    "months as dates": Kind(
        dg.MonthlyPartitionsDefinition("2024-01-01", end_date="2024-06-01"), "day", {"day": pl.Date},
        ("2024-01-01", "2024-02-01"),
        ([dt.date(2024, 1, 1), dt.date(2024, 1, 31)], [dt.date(2024, 2, 29)]), dt.date(2024, 3, 1)),
    "static text": Kind(LETTERS, "letter", {"letter": pl.String}, ("a", "b"), (["a"], ["b"]), "c"),
    "static numbers": Kind(
        static("-3", "7", "70"), "region", {"region": pl.Int16}, ("7", "70"), ([7, 7], [70]), -3),
    "static dates": Kind(
        static("2024-05-01", "2024-05-09"), "day", {"day": pl.Date}, ("2024-05-01", "2024-05-09"),
        ([dt.date(2024, 5, 1)], [dt.date(2024, 5, 9)]), dt.date(2024, 5, 2)),
    "dynamic text": Kind(DYNAMIC, "who", {"who": pl.String}, ("o'neil", "x y"), (["o'neil"], ["x y"]), None),
    "two dimensions": Kind(
        MULTI, {"day": "sold_on", "shop": "shop"}, {"sold_on": pl.String, "shop": pl.String},
        (multi("2024-05-01", "it's"), multi("2024-05-01", "b/c")),
        ([("2024-05-01", "it's")], [("2024-05-01", "b/c")]), ("2024-05-02", "it's")),
    "two dimensions, one of them times": Kind(
        MULTI, {"shop": "shop", "day": "at"}, {"shop": pl.String, "at": TIME},
        (multi("2024-05-01", "it's"), multi("2024-05-02", "it's")),
        ([("it's", at(5, 1, 4))], [("it's", at(5, 2))]), ("b/c", at(5, 1, 4))),
}
# fmt: on


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, world: World) -> Kind:
    kind = KINDS[request.param]
    if kind.definition is DYNAMIC:
        world.instance.add_dynamic_partitions("customers", list(kind.keys))
    return kind


def test_a_run_replaces_the_rows_of_its_partition_and_a_reader_gets_them_and_no_others(world: World, kind: Kind):
    words = by(kind.column, kind.definition)
    seen: list[pl.DataFrame] = []

    @dg.asset(partitions_def=kind.definition)
    def reader(sales: pl.DataFrame) -> None:
        seen.append(sales)

    world.done(giving(kind.frame(0, 1), **words), partition_key=kind.keys[0])
    world.done(giving(kind.frame(1, 1), **words), partition_key=kind.keys[1])
    world.done(giving(kind.frame(0, 2), **words), reader, partition_key=kind.keys[0])
    assert world.rows("sales") == sorted([*kind.held(0, 2), *kind.held(1, 1)], key=repr)
    assert seen[0].rows() == kind.held(0, 2)


@pytest.mark.parametrize("kind", ["days as text", "days as times", "two dimensions"], indirect=True)
def test_no_rows_for_a_partition_empty_just_that_partition(world: World, kind: Kind):
    words = by(kind.column, kind.definition)
    for part in (0, 1):
        world.done(giving(kind.frame(part, 1), **words), partition_key=kind.keys[part])
    world.done(giving(kind.frame(None, 1), **words), partition_key=kind.keys[0])
    assert world.rows("sales") == sorted(kind.held(1, 1), key=repr)


def test_a_row_outside_the_partitions_of_the_run_is_refused_and_nothing_is_written(world: World, kind: Kind):
    sales = giving(kind.frame(0, 1, stray=True), **by(kind.column, kind.definition))
    sentence = world.refused(sales, partition_key=kind.keys[0])
    assert f"sales refused 1 of {len(kind.values[0]) + 1} rows" in sentence
    strays = kind.stray if isinstance(kind.stray, tuple) else (kind.stray,)
    for stray in strays:
        assert (repr(stray) if isinstance(stray, str) else str(stray)) in sentence
    assert Handle.open(world.lake.address("sales")) is None


def test_a_partition_key_may_hold_any_sign(world: World):
    words = by("shop", dg.StaticPartitionsDefinition(ODD), backfill_policy=dg.BackfillPolicy.single_run())
    expected = dict.fromkeys(ODD, 1)
    world.done(giving(pl.DataFrame({"shop": ODD, "n": [1] * len(ODD)}), **words), span=(ODD[0], ODD[-1]))
    for key in ODD:
        world.done(giving(pl.DataFrame({"shop": [key], "n": [2]}), **words), partition_key=key)
        expected[key] = 2
        assert world.rows("sales") == sorted(expected.items(), key=repr)


# --- several partitions in one run ------------------------------------------------------------------------------------


def counted(first: int, last: int, n: int) -> pl.DataFrame:
    """Rows for some days of May: as many for a day as its number."""
    days = [dt.date(2024, 5, day) for day in range(first, last + 1) for _ in range(day)]
    return pl.DataFrame({"day": days, "n": [n] * len(days)}, schema={"day": pl.Date, "n": pl.Int64})


SINGLE_RUN = {"backfill_policy": dg.BackfillPolicy.single_run()}


@pytest.mark.parametrize("given", [pl.DataFrame, pl.LazyFrame])
def test_a_range_in_one_run_replaces_its_days_and_counts_each(world: World, given: type):
    words = by("day", DAYS, **SINGLE_RUN)
    world.done(giving(counted(1, 4, 1), **words), span=("2024-05-01", "2024-05-04"))
    result = world.done(giving(given(counted(2, 3, 2)), **words), span=("2024-05-02", "2024-05-03"))
    kept = pl.concat([counted(1, 1, 1), counted(2, 3, 2), counted(4, 4, 1)])
    assert world.rows("sales") == sorted(kept.rows(), key=repr)
    told = metadata(result, "sales")
    assert {day: facts["dagster/partition_row_count"] for day, facts in told.items()} == {
        "2024-05-02": 2,
        "2024-05-03": 3,
    }
    assert all(facts["dagster/row_count"] == 10 for facts in told.values())


def test_a_range_may_read_an_asset_without_partitions(world: World):
    rates = giving(pl.DataFrame({"rate": [2]}), "rates")

    @dg.asset(**by("day", DAYS, **SINGLE_RUN))
    def sales(rates: pl.LazyFrame) -> pl.LazyFrame:
        return counted(1, 2, 1).lazy().join(rates, how="cross")

    world.done(rates)
    world.done(rates, sales, only=[sales], span=("2024-05-01", "2024-05-02"))
    assert world.table("sales").rows == 3


def test_a_range_of_two_dimensions_replaces_their_product(world: World):
    words = by({"day": "day", "shop": "shop"}, MULTI, **SINGLE_RUN)
    product = [(f"2024-05-0{day}", shop, 1) for day in (1, 2, 3) for shop in ("it's", "b/c")]
    schema = {"day": pl.String, "shop": pl.String, "n": pl.Int64}
    everything = pl.DataFrame(product, schema=schema, orient="row")
    world.done(giving(everything, **words), span=("2024-05-01|it's", "2024-05-03|b/c"))
    world.done(giving(everything.clear(), **words), span=("2024-05-01|b/c", "2024-05-02|b/c"))
    assert world.rows("sales") == sorted(
        [row for row in product if row[1] == "it's" or row[0] == "2024-05-03"], key=repr
    )


def test_a_range_is_refused_whole_and_tells_examples(world: World):
    sales = giving(counted(1, 4, 1), **by("day", DAYS, **SINGLE_RUN))
    sentence = world.refused(sales, span=("2024-05-02", "2024-05-03"))
    assert "refused 5 of 10 rows" in sentence
    assert "day = 2024-05-04 (4 rows); day = 2024-05-01 (1 row)" in sentence


def test_a_run_of_a_partitioned_asset_without_a_partition_is_refused(world: World):
    words = by("day", DAYS)
    world.done(giving(counted(1, 1, 1), **words), partition_key="2024-05-01")
    assert "names no partition" in world.refused(giving(counted(2, 2, 1), **words))
    assert world.rows("sales") == counted(1, 1, 1).rows()


# --- the declaration --------------------------------------------------------------------------------------------------


def one_day(dtype: Any, value: Any) -> pl.DataFrame:
    return pl.DataFrame({"day": [value], "n": [1]}, schema={"day": dtype, "n": pl.Int64})


# fmt: off
UNFIT = {
    "nothing says the column": ({}, DAYS, "2024-05-01", "by which column"),
    "the column is not there": ({"partition_by": "date"}, DAYS, "2024-05-01", "has no such column: day, n"),
    "an expression is no column": ({"partition_expr": "DATE(day)"}, DAYS, "2024-05-01", "A name only"),
    "the two words disagree": ({"partition_by": "day", "partition_expr": "n"}, DAYS, "2024-05-01", "Leave one"),
    "a dict for one dimension": ({"partition_by": {"day": "day"}}, DAYS, "2024-05-01", "one column, as a text"),
    "a text for two dimensions": ({"partition_by": "day"}, MULTI, multi("2024-05-01", "it's"), "day and shop"),
    "a dimension is missing": (
        {"partition_by": {"day": "day"}}, MULTI, multi("2024-05-01", "it's"), "day and shop"),
    "an append": ({"partition_by": "day", "mode": "append"}, DAYS, "2024-05-01", "an append doubles rows"),
    "options of another writer": (
        {"partition_by": "day", "delta_write_options": {"schema_mode": "merge"}}, DAYS, "2024-05-01", "not taken"),
}
# fmt: on


@pytest.mark.parametrize("case", UNFIT)
def test_metadata_that_cannot_work_is_refused_with_the_way_out(world: World, case: str):
    words, definition, key, sentence = UNFIT[case]
    sales = giving(one_day(pl.String, "2024-05-01"), partitions_def=definition, metadata=words)
    assert sentence in world.refused(sales, partition_key=key)
    assert Handle.open(world.lake.address("sales")) is None


# fmt: off
UNTELLABLE = {
    "hours in a date": (
        dg.HourlyPartitionsDefinition("2024-05-01-00:00", end_date="2024-05-02-00:00"), "2024-05-01-00:00",
        one_day(pl.Date, dt.date(2024, 5, 1)), "part of a day"),
    "007 in a number": (static("007", "7"), "007", one_day(pl.Int64, 7), "prints back"),
    "300 in an Int8": (static("300"), "300", one_day(pl.Int8, 44), "prints back"),
    "a word in a number": (static("x"), "x", one_day(pl.Int64, 1), "prints back"),
    "a word in a time": (static("x"), "x", one_day(TIME, at(5, 1)), "cannot be told"),
    "a number with a fraction": (static("1"), "1", one_day(pl.Float64, 1.0), "cannot be told"),
}
# fmt: on


@pytest.mark.parametrize("case", UNTELLABLE)
def test_a_column_that_cannot_tell_the_partitions_apart_is_refused(world: World, case: str):
    definition, key, frame, sentence = UNTELLABLE[case]
    assert sentence in world.refused(giving(frame, **by("day", definition)), partition_key=key)
    assert Handle.open(world.lake.address("sales")) is None


# fmt: off
FOLDERS = {
    "text": ("day", DAYS, ("day",)),
    "days": ("date", DAYS, ("date",)),
    "days of a month": ("date", dg.MonthlyPartitionsDefinition("2024-05-01", end_date="2024-06-01"), ()),
    "times": ("at", DAYS, ()),
}
# fmt: on


@pytest.mark.parametrize("case", FOLDERS)
def test_a_column_with_one_value_for_a_key_becomes_a_folder(world: World, case: str):
    column, definition, folders = FOLDERS[case]
    row = {"day": ["2024-05-01"], "date": [dt.date(2024, 5, 1)], "at": [at(5, 1)]}
    sales = giving(pl.DataFrame(row, schema_overrides={"at": TIME}), **by(column, definition))
    world.done(sales, partition_key="2024-05-01")
    assert world.table("sales").partition_by == folders


def test_partitions_that_are_not_well_chosen_are_a_warning_of_the_run_with_the_number(world: World):
    done = world.done(giving(PLAIN.filter(sku="b"), **by("sku", LETTERS)), partition_key="b")
    [warning] = (each.user_message for each in world.instance.all_logs(done.run_id) if each.level == logging.WARNING)
    assert warning.startswith("sales: 1 of 1 partition by sku hold less than 128 MB (0.0 MB on average): ")
    [told] = (each for partition, each in metadata(done, "sales").items() if "partition_advice" in each)
    assert warning == f"sales: {told['partition_advice']}"


def test_a_table_of_nothing_but_its_partition_column_has_no_folders(world: World):
    world.done(giving(pl.DataFrame({"day": ["2024-05-01"]}), **by("day", DAYS)), partition_key="2024-05-01")
    assert world.table("sales").partition_by == ()


def test_dagsters_older_word_names_the_column_as_well(world: World):
    sales = giving(counted(1, 1, 1), partitions_def=DAYS, metadata={"partition_expr": "day"})
    world.done(sales, partition_key="2024-05-01")
    assert world.table("sales").rows == 1


# --- whole assets -----------------------------------------------------------------------------------------------------

PLAIN = pl.DataFrame({"sku": ["a", "b"], "price": [1.5, 2.0]})


@pytest.mark.parametrize(
    "given",
    [
        PLAIN,
        PLAIN.lazy(),
        dg.Output(PLAIN, metadata={"mine": 1}),
        dg.MaterializeResult(value=PLAIN, metadata={"mine": 1}),
        dg.MaterializeResult(value=PLAIN.lazy()),
    ],
    ids=["DataFrame", "LazyFrame", "Output", "MaterializeResult", "MaterializeResult of a LazyFrame"],
)
def test_a_frame_is_all_there_is_however_it_is_returned(world: World, given: Any):
    world.done(giving(pl.DataFrame({"sku": ["old"], "price": [0.0]})))
    world.done(giving(given))
    assert world.rows("sales") == PLAIN.rows()


def test_a_materialization_tells_rows_place_version_bytes_columns_and_a_preview(world: World):
    described = dg.TableSchema([dg.TableColumn("price", description="In pounds")])
    asset = giving(
        dg.Output(PLAIN, metadata={"mine": 1}), key_prefix=["shop"], metadata={"dagster/column_schema": described}
    )
    told = metadata(world.done(asset), "shop", "sales")[None]
    table = world.table("shop", "sales")
    assert told["dagster/row_count"] == 2
    assert told["dagster/uri"] == table.address.uri
    assert (told["delta/version"], told["delta/bytes"], told["mine"]) == (table.version, table.bytes, 1)
    columns = [(each.name, each.type, each.description) for each in told["dagster/column_schema"].columns]
    assert columns == [("sku", "String", None), ("price", "Float64", "In pounds")]
    assert "| b   | 2.0" in told["preview"]


@pytest.mark.parametrize("frame", [PLAIN, PLAIN.lazy()], ids=["eager", "lazy"])
def test_other_columns_than_the_table_has_are_refused_and_never_cast(world: World, frame: Any):
    world.done(giving(frame))
    for other in (
        frame.with_columns(price=pl.lit(2, pl.Int64)),
        frame.with_columns(price=pl.lit("2")),
        frame.drop("price"),
        frame.with_columns(extra=pl.lit(1)),
    ):
        sentence = world.refused(giving(other))
        assert sentence.startswith("sales refused a frame whose columns are not the table's: ")
        place = world.lake.address("sales")
        assert sentence.endswith(
            "writer that casts changes values silently. Return the columns and types that the table has; or move "
            f"{place} away, and make it anew: dg launch --assets sales"
        )
        assert not re.search("contract|rebuild", sentence)
    assert world.rows("sales") == PLAIN.rows()


@pytest.mark.parametrize(
    ("words", "asked", "again"),
    [({}, {}, ""), (by("sku", LETTERS), {"partition_key": "b"}, " --partition <key>, for each of its partitions")],
    ids=["whole", "partitioned"],
)
def test_of_other_columns_both_ways_out_that_are_named_work(
    world: World, words: dict[str, Any], asked: dict[str, Any], again: str
):
    frame = PLAIN.filter(sku="b")
    world.done(giving(frame, **words), **asked)
    wider = frame.with_columns(extra=pl.lit(1))
    said = world.refused(giving(wider, **words), **asked)
    assert "extra: the table has no such column (frame: Int32). Nothing was written" in said
    assert said.endswith(f"dg launch --assets sales{again}")
    world.done(giving(wider.drop("extra"), **words), **asked)
    assert world.rows("sales") == frame.rows()
    place = Path(world.lake.address("sales").uri)
    place.rename(place.with_name("moved away"))
    world.done(giving(wider, **words), **asked)
    assert world.rows("sales") == wider.rows()


@pytest.mark.parametrize("frame", [PLAIN, PLAIN.lazy()], ids=["eager", "lazy"])
def test_a_narrower_type_or_another_order_is_made_to_fit(world: World, frame: Any):
    world.done(giving(frame))
    world.done(giving(frame.select(pl.col("price").cast(pl.Float32), "sku")))
    assert world.rows("sales") == PLAIN.rows()
    assert world.table("sales").schema == PLAIN.schema


def test_a_type_that_delta_cannot_hold_is_refused_with_column_and_way_out(world: World):
    sentence = world.refused(giving(PLAIN.with_columns(pl.col("sku").cast(pl.Categorical))))
    said = 'sku is Categorical: return it as String: pl.col("sku").cast(pl.String). Nothing was written.'
    assert f"sales cannot be stored in Delta: {said}" in sentence
    assert Handle.open(world.lake.address("sales")) is None


@pytest.mark.parametrize("given", [{"a": 1}, 7, [PLAIN], None], ids=["dict", "int", "list", "None"])
def test_what_is_no_frame_is_refused_and_nothing_is_pickled(world: World, given: Any):
    sentence = world.refused(giving(dg.Output(given)))
    assert f"sales returned {type(given).__name__}, and the lake holds tables only" in sentence
    assert not Path(world.lake.path).exists()


def test_the_output_of_an_op_without_an_asset_is_refused(world: World):
    @dg.op
    def number() -> int:
        return 1

    @dg.op
    def taken(number: int) -> None: ...

    @dg.job
    def ops():
        taken(number())

    result = ops.execute_in_process(
        resources={"io_manager": DeltaIOManager(lake=world.lake)}, instance=world.instance, raise_on_error=False
    )
    assert "the lake keeps the tables of assets" in said(result)


def test_a_lazy_frame_that_cannot_be_computed_leaves_no_table(world: World):
    assert not world.run(giving(PLAIN.lazy().with_columns(pl.col("sku").cast(pl.Int64)))).success
    assert Handle.open(world.lake.address("sales")) is None


# --- reading ----------------------------------------------------------------------------------------------------------


def test_the_annotation_decides_what_a_reader_gets(world: World):
    seen: dict[str, Any] = {}

    @dg.asset
    def eager(sales: pl.DataFrame) -> None:
        seen["eager"] = sales

    @dg.asset
    def lazy(sales: pl.LazyFrame) -> None:
        seen["lazy"] = sales

    @dg.asset
    def silent(sales) -> None:
        seen["silent"] = sales

    @dg.asset
    def optional(sales: Optional[pl.LazyFrame]) -> None:  # noqa: UP045 # as many write it
        seen["optional"] = sales

    @dg.asset
    def union(sales: pl.DataFrame | None) -> None:
        seen["union"] = sales

    @dg.asset(ins={"sales": dg.AssetIn(metadata={"columns": ["price"]})})
    def narrow(sales: pl.DataFrame) -> None:
        seen["narrow"] = sales

    world.done(giving(PLAIN), eager, lazy, silent, optional, union, narrow)
    kinds = {name: type(value) for name, value in seen.items()}
    assert kinds == {
        "eager": pl.DataFrame,
        "lazy": pl.LazyFrame,
        "silent": pl.DataFrame,
        "optional": pl.LazyFrame,
        "union": pl.DataFrame,
        "narrow": pl.DataFrame,
    }
    assert seen["narrow"].columns == ["price"]
    assert all(value.lazy().collect().rows() == PLAIN.rows() for name, value in seen.items() if name != "narrow")


def test_a_frame_is_read_as_of_a_version_or_a_time(world: World):
    seen: dict[str, list[Any]] = {}

    def reading(name: str, as_of: str) -> Any:
        @dg.asset(name=name, ins={"sales": dg.AssetIn(metadata={"as_of": as_of})})
        def reader(sales: pl.DataFrame) -> None:
            seen[name] = sales["n"].unique().to_list()

        return reader

    world.done(giving(counted(1, 1, 1)))
    between = dt.datetime.now(dt.UTC).isoformat()
    world.done(giving(counted(1, 1, 2)), reading("then", "1"), reading("at", between))
    assert seen == {"then": [1], "at": [1]}
    sentence = world.refused(giving(counted(1, 1, 3)), reading("never", "9"))
    assert "has versions 0 to 3, and no version 9" in sentence


def test_an_annotation_that_is_no_frame_is_refused(world: World):
    @dg.asset
    def reader(sales: int) -> None: ...

    sentence = world.refused(giving(PLAIN), reader)
    assert "sales: the lake holds tables, and <class 'int'> is none" in sentence


def test_a_missing_table_is_told_or_is_none_where_it_is_optional(world: World):
    seen: list[Any] = []

    @dg.asset
    def reader(sales: pl.DataFrame) -> None: ...

    @dg.asset
    def easy(sales: pl.DataFrame | None) -> None:
        seen.append(sales)

    sales = giving(PLAIN)
    sentence = world.refused(sales, reader, only=[reader])
    assert f"sales has no table at {world.lake.address('sales')}. Materialize it first" in sentence
    world.done(sales, easy, only=[easy])
    assert seen == [None]


def test_a_lazy_frame_stays_at_the_version_that_the_run_began_with(world: World):
    world.done(giving(PLAIN))
    seen: list[pl.DataFrame] = []

    @dg.asset
    def reader(sales: pl.LazyFrame) -> None:
        writes.overwrite(world.table("sales"), PLAIN.clear().lazy(), {}, {})
        seen.append(sales.collect())

    world.done(giving(PLAIN), reader, only=[reader])
    assert seen[0].rows() == PLAIN.rows()
    assert world.rows("sales") == []


WEEKS = dg.WeeklyPartitionsDefinition("2024-05-01", day_offset=3, end_date="2024-05-08")
# fmt: off
MAPPINGS = {
    # name: (reader's partitions, its key, mapping, days of May that it gets)
    "identity": (DAYS, "2024-05-03", None, [3]),
    "the day before": (DAYS, "2024-05-03", dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=-1), [2]),
    "yesterday and today": (DAYS, "2024-05-03", dg.TimeWindowPartitionMapping(start_offset=-1), [2, 3]),
    "the week of its days": (WEEKS, "2024-05-01", None, [1, 2, 3, 4]),
    "all, without partitions": (None, None, None, [1, 2, 3, 4]),
    "all, said": (LETTERS, "a", dg.AllPartitionMapping(), [1, 2, 3, 4]),
    "the last one": (LETTERS, "a", dg.LastPartitionMapping(), []),
    "one for all": (LETTERS, "a", dg.SpecificPartitionsPartitionMapping(["2024-05-01", "2024-05-04"]), [1, 4]),
}
# fmt: on


@pytest.mark.parametrize("case", MAPPINGS)
def test_a_reader_gets_the_mapped_partitions_only(world: World, case: str):
    definition, key, mapping, days = MAPPINGS[case]
    words = by("day", DAYS, **SINGLE_RUN)
    sales = giving(counted(1, 4, 1), **words)
    world.done(sales, span=("2024-05-01", "2024-05-04"))
    seen: list[Any] = []

    @dg.asset(partitions_def=definition, ins={"sales": dg.AssetIn(partition_mapping=mapping)})
    def reader(sales: pl.LazyFrame) -> None:
        seen.append(sales.collect())

    world.done(sales, reader, only=[reader], partition_key=key)
    assert sorted(row[0].day for row in seen[0].rows()) == [day for day in days for _ in range(day)]


def test_a_static_mapping_gives_the_named_partitions(world: World):
    letters = giving(pl.DataFrame({"letter": ["a", "b", "c"]}), "letters", **by("letter", LETTERS, **SINGLE_RUN))
    world.done(letters, span=("a", "c"))
    seen: list[Any] = []
    mapping = dg.StaticPartitionMapping({"a": "early", "b": "early", "c": "late"})

    @dg.asset(
        partitions_def=dg.StaticPartitionsDefinition(["early", "late"]),
        ins={"letters": dg.AssetIn(partition_mapping=mapping)},
    )
    def reader(letters: pl.DataFrame) -> None:
        seen.append(letters["letter"].to_list())

    world.done(letters, reader, only=[reader], partition_key="early")
    assert seen == [["a", "b"]]


@pytest.mark.parametrize("inner", [pl.DataFrame, pl.LazyFrame], ids=["eager", "lazy"])
def test_a_dict_holds_one_frame_by_partition_and_no_rows_where_there_are_none(world: World, inner: Any):
    sales = giving(counted(1, 2, 1), **by("day", DAYS, **SINGLE_RUN))
    world.done(sales, span=("2024-05-01", "2024-05-02"))
    seen: list[Any] = []

    @dg.asset
    def reader(sales: dict[str, inner]) -> None:  # type: ignore[valid-type] # Dagster reads it at run time
        seen.append({key: frame.lazy().collect().height for key, frame in sales.items()})
        assert all(isinstance(frame, inner) for frame in sales.values())

    world.done(sales, reader, only=[reader])
    assert seen == [{f"2024-05-0{day}": {1: 1, 2: 2}.get(day, 0) for day in range(1, 8)}]


def test_an_asset_may_build_on_its_own_day_before(world: World):
    @dg.asset(
        **by("day", DAYS),
        ins={"total": dg.AssetIn(partition_mapping=dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=-1))},
    )
    def total(context: dg.AssetExecutionContext, total: pl.DataFrame | None) -> pl.DataFrame:
        before = 0 if total is None else total["n"].sum()
        return pl.DataFrame({"day": [dt.date.fromisoformat(context.partition_key)], "n": [before + 1]})

    for key in ("2024-05-01", "2024-05-02", "2024-05-03"):
        world.done(total, partition_key=key)
    assert [row[1] for row in world.rows("total")] == [1, 2, 3]


def test_a_partitioned_upstream_without_the_column_is_refused_to_its_reader(world: World):
    @dg.asset
    def reader(sales: pl.DataFrame) -> None: ...

    sales = giving(PLAIN, partitions_def=DAYS)
    assert "sales is partitioned, and nothing says" in world.refused(sales, reader, only=[reader])


# --- beside our tables ------------------------------------------------------------------------------------------------


def test_a_plain_asset_reads_a_table_that_another_wrote_by_its_key(world: World):
    schema = pl.Schema({"sku": pl.String, "price": pl.Float64})
    append(Handle.create(world.lake.address("silver", "prices"), schema), PLAIN.lazy(), {}, {})
    seen: list[Any] = []

    @dg.asset(ins={"prices": dg.AssetIn(key=["silver", "prices"])})
    def reader(prices: pl.LazyFrame) -> None:
        seen.append(prices.collect())

    world.done(dg.AssetSpec(["silver", "prices"]), reader)
    assert seen[0].rows() == PLAIN.rows()


def test_an_input_that_asks_for_it_gets_the_future_of_the_pinned_handle_or_of_none(world: World):
    seen: list[Any] = []

    @dg.asset(ins={"sales": dg.AssetIn(metadata={"lakehouse/pinned": True})})
    def reader(sales) -> None:
        seen.append(sales.result())

    sales = giving(PLAIN)
    world.done(sales, reader, only=[reader])
    world.done(sales, reader)
    assert seen[0] is None
    assert (seen[1].version, seen[1].rows) == (1, 2)


# --- failures and rivals ----------------------------------------------------------------------------------------------

TWICE = dg.RetryPolicy(max_retries=2)


def attempts(result: dg.ExecuteInProcessResult) -> int:
    return 1 + sum(event.is_step_restarted for event in result.all_events)


def test_what_is_transient_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch):
    world.done(giving(PLAIN))
    rivals = iter([True, True])
    honest = plain_assets.overwrite

    def contested(*given: Any) -> Any:
        if next(rivals, False):
            raise Conflict("a rival was first")
        return honest(*given)

    monkeypatch.setattr(plain_assets, "overwrite", contested)
    result = world.done(giving(PLAIN.head(1), retry_policy=TWICE))
    assert attempts(result) == 3
    assert world.table("sales").rows == 1


def test_what_is_refused_is_not_tried_again(world: World):
    assert attempts(world.run(giving(7, retry_policy=TWICE))) == 1

    @dg.asset(retry_policy=TWICE)
    def reader(missing: pl.DataFrame) -> None: ...

    assert attempts(world.run(dg.AssetSpec("missing"), reader)) == 1


@pytest.mark.parametrize("part", [None, "a"])
def test_a_run_that_slept_while_another_wrote_the_same_puts_nothing_old_over_it(
    world: World, part: str | None, monkeypatch: pytest.MonkeyPatch
):
    """Also where nothing stood when it began, so that none of the other's files are in its way."""
    words = by("shop", LETTERS) if part else {}
    asked = {"partition_key": part} if part else {}

    def frame(n: int) -> pl.DataFrame:
        return pl.DataFrame({"shop": ["a"], "n": [n]})

    world.done(giving(frame(0).clear(), **words), **asked)
    name = "replace_slice" if part else "overwrite"
    honest = getattr(plain_assets, name)

    def overtaken(*given: Any) -> Any:
        monkeypatch.setattr(plain_assets, name, honest)
        world.done(giving(frame(2), **words), **asked)
        return honest(*given)

    for _ in range(2):
        monkeypatch.setattr(plain_assets, name, overtaken)
        assert "another writer committed" in world.refused(giving(frame(1), **words), **asked)
        assert world.rows("sales") == [("a", 2)]


RIVAL = """
import sys
import time
from pathlib import Path

import dagster as dg
import polars as pl
from resources.delta_io_manager import DeltaIOManager
from resources.local_disk import LocalDisk

KEYS = [f"{who}'{n}" for who in "abc" for n in range(4)]

@dg.asset(partitions_def=dg.StaticPartitionsDefinition(KEYS), metadata={"partition_by": "shop"})
def sales(context) -> pl.LazyFrame:
    return pl.LazyFrame({"shop": [context.partition_key] * 2, "n": [1, 2]})

folder, start, who = sys.argv[1:]
Path(start, who).touch()
while not all(Path(start, rival).exists() for rival in "abc"):
    time.sleep(0.01)
resources = {"io_manager": DeltaIOManager(lake=LocalDisk(path=folder))}
for key in KEYS:
    if key.startswith(who):
        assert dg.materialize([sales], partition_key=key, resources=resources).success
"""


def test_backfills_of_different_partitions_from_several_processes_all_land(world: World, tmp_path: Path):
    root = Path(plain_assets.__file__).parents[1]
    script = tmp_path / "rival.py"
    script.write_text(RIVAL)
    environment = {**os.environ, "PYTHONPATH": str(root)}
    rivals = [
        subprocess.Popen(
            [sys.executable, str(script), world.lake.path, str(tmp_path), who],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for who in "abc"
    ]
    for rival in rivals:
        _, errors = rival.communicate(timeout=120)
        assert rival.returncode == 0, errors
    wanted = [(f"{who}'{n}", i) for who in "abc" for n in range(4) for i in (1, 2)]
    assert world.rows("sales") == sorted(wanted, key=repr)
    assert world.table("sales").version == 12
