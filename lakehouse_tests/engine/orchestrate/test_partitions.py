"""`partitions_def=` of a table, through Dagster: daily, hourly, static and multi, one by one and in ranges."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from lakehouse import (
    Affected,
    Append,
    Bronze,
    Files,
    Frame,
    Gold,
    JsonLines,
    Merge,
    New,
    Overwrite,
    Quarantine,
    ReplacePartition,
    Silver,
    Utc,
    column,
    table,
)
from lakehouse.engine.declare.errors import Conflict, DeclarationError
from lakehouse.engine.delta.delivery import deliver
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.writes import overwrite
from lakehouse.engine.orchestrate.rebuild import compare, rebuild
from lakehouse.engine.orchestrate.run import Ran, drain, outcomes, run_job
from lakehouse.engine.orchestrate.stand import due_keys
from lakehouse.engine.orchestrate.status import hints, status
from lakehouse.engine.orchestrate.table import Table
from lakehouse.engine.orchestrate.upkeep import lets_go, plan_sweep, readers_of
from lakehouse_tests.driver import House
from lakehouse_tests.engine.delta.writing import merge
from resources.delta_io_manager import DeltaIOManager

# Dagster's own, where it stores a check of a run with partitions.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning")

DAYS = dg.DailyPartitionsDefinition("2024-05-01", end_date="2024-05-06")
HOURS = dg.HourlyPartitionsDefinition("2024-10-26-23:00", end_date="2024-10-27-04:00", timezone="Europe/London")
SHOPS = dg.StaticPartitionsDefinition(["A", "B"])
PAIRS = dg.MultiPartitionsDefinition({"day": DAYS, "shop": SHOPS})
AT_ONCE = dg.BackfillPolicy.single_run()


class Came(Bronze):
    """One row per order, as sent."""

    order_no: str = column("Number")


class Sold(Silver):
    """One row per order."""

    order_no: str = column("Number", key=True)
    day: date = column("Day")
    shop: str = column("Shop")
    at: Utc = column("When")
    pieces: int = column("Pieces")


class Names(Silver):
    """One row per shop."""

    code: str = column("Shop", key=True)
    name: str = column("What it is called")


class PerDay(Gold):
    """One row per day and shop."""

    day: date = column("Day", key=True)
    shop: str = column("Shop", key=True)
    pieces: int = column("Pieces", ge=0)


class PerHour(Gold):
    """One row per order, by hour."""

    order_no: str = column("Number", key=True)
    at: Utc = column("When", key=True)


class PerShop(Gold):
    """One row per shop."""

    shop: str = column("Shop", key=True)
    name: str = column("What it is called")
    pieces: int = column("Pieces")


class PerPair(Gold):
    """One row per day and shop."""

    day: date = column("Day", key=True)
    shop: str = column("Shop", key=True)
    days: int = column("Pieces of the day, of all shops that were handed over")


class Total(Gold):
    """One row."""

    what: str = column("What", key=True)
    pieces: int = column("All pieces")


@table(source=Files("came/*.jsonl", formats=JsonLines()), write=Append())
def came() -> Frame[Came]: ...


@table(write=Merge())
def sold(rows: New[Came]) -> Frame[Sold]:
    when = pl.lit(datetime(2024, 5, 1, tzinfo=UTC)).cast(pl.Datetime("us", "UTC"))
    return rows.select("order_no", day=pl.lit(date(2024, 5, 1)), shop=pl.lit("A"), at=when, pieces=pl.lit(1, pl.Int64))


@table(write=Merge())
def names(rows: New[Came]) -> Frame[Names]:
    return rows.select(code="order_no", name="order_no")


@table(write=ReplacePartition("day"), partitions_def=DAYS, rejects=Quarantine(), backfill_policy=AT_ONCE)
def per_day(orders: Frame[Sold]) -> Frame[PerDay]:
    return orders.group_by("day", "shop").agg(pl.col("pieces").sum())


@table(write=ReplacePartition("at"), partitions_def=HOURS, backfill_policy=AT_ONCE)
def per_hour(orders: Frame[Sold]) -> Frame[PerHour]:
    return orders.select("order_no", "at")


@table(write=ReplacePartition("shop"), partitions_def=SHOPS, partition_by="shop")
def per_shop(orders: Frame[Sold], names: Frame[Names]) -> Frame[PerShop]:
    return (
        orders.join(names, left_on="shop", right_on="code")
        .group_by("shop", "name")
        .agg(pl.col("pieces").sum())
        .select("shop", "name", "pieces")
    )


@table(write=ReplacePartition(("day", "shop")), partitions_def=PAIRS)
def per_pair(days: Frame[PerDay]) -> Frame[PerPair]:
    return days.select("day", "shop", days="pieces")


class EagerDays(Gold):
    """One row per day."""

    day: date = column("Day", key=True)


@table(write=ReplacePartition("day"), partitions_def=DAYS, automation_condition=dg.AutomationCondition.eager())
def eager_days(orders: Frame[Sold]) -> Frame[EagerDays]:
    return orders.select("day").unique()


@table(write=Overwrite())
def total(days: Frame[PerDay]) -> Frame[Total]:
    return days.select(what=pl.lit("pieces"), pieces=pl.col("pieces").sum())


TABLES: list[Table] = [came, sold, names, per_day, per_hour, per_shop, per_pair, total]
type Order = tuple[str, int, str, int]


@dataclass
class World:
    """A lake on a disk and the Dagster that writes it."""

    house: House
    instance: dg.DagsterInstance

    @property
    def definitions(self) -> dg.Definitions:
        place = self.house.place
        resources = {"lake": place.lake, "landing": place.landing, "io_manager": DeltaIOManager(lake=place.lake)}
        return dg.Definitions([*TABLES, eager_days], resources=resources)

    def become(self, *orders: Order) -> None:
        rows = [(no, date(2024, 5, day), shop, datetime(2024, 5, day, 9, tzinfo=UTC), n) for no, day, shop, n in orders]
        overwrite(self._standing(sold), pl.LazyFrame(rows, sold.declaration.schema, orient="row"), {}, {})

    def at(self, *moments: datetime) -> None:
        rows = [(str(number), date(2024, 5, 1), "A", moment, 1) for number, moment in enumerate(moments)]
        overwrite(self._standing(sold), pl.LazyFrame(rows, sold.declaration.schema, orient="row"), {}, {})

    def change(self, *orders: Order) -> None:
        rows = [(no, date(2024, 5, day), shop, datetime(2024, 5, day, 9, tzinfo=UTC), n) for no, day, shop, n in orders]
        frame = pl.LazyFrame(rows, sold.declaration.schema, orient="row")
        merge(self._standing(sold), frame, ["order_no"], {}, {})

    def call(self, **shops: str) -> None:
        rows = pl.LazyFrame({"code": list(shops), "name": list(shops.values())}, schema=names.declaration.schema)
        overwrite(self._standing(names), rows, {}, {})

    def run(self, made: Table, first: str, last: str | None = None) -> dg.ExecuteInProcessResult:
        return run_job(self.definitions, [made.declaration.key], self.instance, partitions=(first, last or first))

    def done(self, made: Table, first: str, last: str | None = None) -> dg.ExecuteInProcessResult:
        result = self.run(made, first, last)
        assert result.success, next(outcomes(result, [made.declaration.key])).error
        return result

    def drained(self, *only: Table) -> list[Ran]:
        def run(keys: Sequence[str], **words: Any) -> dg.ExecuteInProcessResult:
            return run_job(self.definitions, keys, self.instance, **words)

        return list(drain([came, sold, names, *only], self.house.place, run))

    def rows(self, made: Table) -> list[tuple[Any, ...]]:
        days = pl.col(pl.Date).dt.day().cast(pl.Int64)
        return sorted(self.house.rows(made.declaration).with_columns(days).rows(), key=repr)

    def due(self, made: Table) -> list[str]:
        return due_keys(made.declaration, self.house.place)

    def _standing(self, made: Table) -> Handle:
        handle = self.house.open(made.declaration)
        return handle or Handle.create(self.house.place.table(made.declaration), made.declaration.schema)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield World(House(tmp_path), instance)


def partitions_made(result: dg.ExecuteInProcessResult) -> list[str | None]:
    return [event.partition for event in result.get_asset_materialization_events()]


def read_rows(result: dg.ExecuteInProcessResult) -> Any:
    return result.get_asset_materialization_events()[0].materialization.metadata["rows_read"].value


THREE: list[Order] = [("1", 1, "A", 1), ("2", 2, "A", 2), ("3", 3, "B", 3)]


def test_a_run_of_a_day_reads_and_replaces_that_day_only(world: World):
    world.become(*THREE)
    assert read_rows(world.done(per_day, "2024-05-01")) == 1
    world.done(per_day, "2024-05-02")
    world.become(("1", 1, "A", 9), ("2", 1, "A", 9))
    world.done(per_day, "2024-05-02")
    assert world.rows(per_day) == [(1, "A", 1)]
    world.done(per_day, "2024-05-01")
    assert world.rows(per_day) == [(1, "A", 18)]


def test_of_partitions_the_one_made_longest_ago_is_named_with_what_lets_go_of_what_is_kept_for_it(world: World):
    world.become(*THREE)
    world.call(A="a", B="b")
    world.done(per_shop, "B")
    world.become(*THREE)
    world.done(per_shop, "A")
    declared, handle = sold.declaration, world.house.open(sold.declaration)
    assert handle is not None
    everyone = [each.declaration for each in TABLES]
    behind = readers_of(declared, handle, everyone, world.house.place)
    assert behind == {"gold/per_shop[B]": handle.version - 1}
    assert lets_go("gold/per_shop[B]") == "dg launch --assets gold/per_shop --partition B"
    assert lets_go("gold/per_pair[2024-05-01|A]") == "dg launch --assets gold/per_pair --partition '2024-05-01|A'"
    assert lets_go("gold/total") == "lakehouse run"
    planned = plan_sweep(declared, handle, 0, tables=everyone, place=world.house.place)
    assert list(planned.held) == ["gold/per_shop[B]"]
    world.done(per_shop, "B")
    assert [*readers_of(declared, handle, everyone, world.house.place).values()] == [handle.version]
    assert plan_sweep(declared, handle, 0, tables=everyone, place=world.house.place).held == {}


def test_a_range_is_one_run_one_commit_and_a_materialization_of_each(world: World):
    world.become(*THREE, ("9", 9, "A", 9))
    result = world.done(per_day, "2024-05-01", "2024-05-04")
    assert partitions_made(result) == [f"2024-05-0{day}" for day in (1, 2, 3, 4)]
    assert world.rows(per_day) == [(1, "A", 1), (2, "A", 2), (3, "B", 3)]
    handle = world.house.open(per_day.declaration)
    assert handle is not None
    assert handle.version == 1


def test_hours_are_those_of_the_definitions_time_zone_also_where_one_comes_twice(world: World):
    moments = [datetime(2024, 10, 26, 22, 30, tzinfo=UTC)]
    moments += [datetime(2024, 10, 27, hour, minute, tzinfo=UTC) for hour in (0, 1) for minute in (0, 59)]
    world.at(*moments)
    twice = [key for key in HOURS.get_partition_keys() if "2024-10-27-01:00" in key]
    assert len(twice) == 2
    for number, key in enumerate(twice):
        assert read_rows(world.done(per_hour, key)) == 2, key
        assert len(world.rows(per_hour)) == 2 * (number + 1)
    assert {at for _, at in world.rows(per_hour)} == set(moments[1:])
    world.done(per_hour, HOURS.get_partition_keys()[0], twice[0])
    assert len(world.rows(per_hour)) == 5


def test_a_table_without_the_column_is_read_whole(world: World):
    world.become(*THREE)
    world.call(A="Aberdeen", B="Bath")
    assert read_rows(world.done(per_shop, "A")) == 2 + 2
    world.done(per_shop, "B")
    assert world.rows(per_shop) == [("A", "Aberdeen", 3), ("B", "Bath", 3)]


def test_pairs_read_the_slice_of_a_partitioned_table_and_an_unpartitioned_one_all_of_it(world: World):
    world.become(*THREE, ("4", 1, "B", 4))
    world.done(per_day, "2024-05-01", "2024-05-05")
    assert read_rows(world.done(per_pair, "2024-05-01|B")) == 1
    assert world.rows(per_pair) == [(1, "B", 4)]
    assert run_job(world.definitions, [total.declaration.key], world.instance).success
    assert world.rows(total) == [("pieces", 10)]


def test_a_row_of_another_day_a_bad_row_and_a_run_without_a_partition(world: World):
    world.become(("1", 1, "A", -1), ("2", 2, "A", 2))
    world.done(per_day, "2024-05-02")
    result = world.run(per_day, "2024-05-01")
    assert not result.success
    assert world.rows(per_day) == [(2, "A", 2)]
    assert world.house.set_aside(per_day.declaration).height == 1
    world.become(("1", 1, "A", 1), ("3", 1, "B", -1))
    assert world.done(per_day, "2024-05-01").success
    assert world.rows(per_day) == [(1, "A", 1), (2, "A", 2)]
    assert not run_job(world.definitions, [per_day.declaration.key], world.instance).success


def test_checks_are_reported_by_a_run_of_a_partition(world: World):
    world.become(*THREE)
    result = world.done(per_day, "2024-05-01", "2024-05-02")
    checks = {each.check_name: each.passed for each in result.get_asset_check_evaluations()}
    assert checks["stays_within_its_slices"]
    assert set(checks) == {each.name for each in per_day.check_specs}
    assert all(checks.values())


# ---- what is due ----


def test_due_are_the_partitions_that_hold_rows_and_were_never_made_or_changed_since(world: World):
    assert world.due(per_day) == []
    world.become(*THREE, ("9", 9, "A", 9))
    assert world.due(per_day) == ["2024-05-01", "2024-05-02", "2024-05-03"]
    world.done(per_day, "2024-05-02")
    assert world.due(per_day) == ["2024-05-01", "2024-05-03"]
    world.done(per_day, "2024-05-01", "2024-05-05")
    assert world.due(per_day) == []
    world.change(("2", 4, "A", 2))
    assert world.due(per_day) == ["2024-05-02", "2024-05-04"]
    world.done(per_day, "2024-05-02")
    world.change(("2", 5, "A", 2), ("3", 3, "B", 3))
    assert world.due(per_day) == ["2024-05-04", "2024-05-05"]  # the fourth, too, though it is again what it was


def test_lakehouse_run_makes_what_is_due_in_as_few_runs_as_the_backfill_policy_lets_be(world: World):
    world.become(*THREE, ("4", 5, "B", 4))
    world.call(A="Aberdeen", B="Bath")
    ran = world.drained(per_day, per_shop, per_pair, total)
    assert [(each.key, each.error) for each in ran if each.rows_written is not None] == [
        ("gold/per_day", None),
        ("gold/per_day", None),
        ("gold/total", None),
        ("gold/per_shop", None),
        ("gold/per_shop", None),
        *[("gold/per_pair", None)] * 4,
    ]
    assert world.rows(per_pair) == world.rows(per_day) == [(1, "A", 1), (2, "A", 2), (3, "B", 3), (5, "B", 4)]
    assert world.rows(total) == [("pieces", 10)]
    assert world.drained(per_day, per_shop, per_pair, total) == []
    world.change(("4", 4, "B", 4))
    world.drained(per_day, per_shop, per_pair, total)
    assert world.rows(per_pair) == [(1, "A", 1), (2, "A", 2), (3, "B", 3), (4, "B", 4)]


def test_status_says_what_is_due(world: World):
    world.become(*THREE)
    found = status([per_day], world.house.place, world.instance)
    said = list(hints(found, [per_day], world.house.place))
    assert (
        "Due of gold/per_day: 3 partitions (2024-05-01 … 2024-05-03). Next: lakehouse run, or a backfill in the UI"
        in said
    )


def test_a_rebuild_makes_every_partition_in_one_commit_and_can_be_compared_before(world: World):
    world.become(*THREE)
    world.done(per_day, "2024-05-01", "2024-05-05")
    world.become(("1", 1, "A", 5), ("9", 9, "A", 9))
    difference = compare(per_day.declaration, world.house.place)
    assert (difference.gone.height, difference.changed.height, difference.new.height) == (2, 1, 0)
    ran = rebuild(world.definitions, per_day, world.instance, {})
    assert (ran.error, world.rows(per_day)) == (None, [(1, "A", 5)])
    assert world.instance.get_materialized_partitions(per_day.key) == set(DAYS.get_partition_keys())
    assert world.due(per_day) == []


# ---- rivals ----


def test_rivals_that_make_other_partitions_both_commit_and_of_the_same_one_the_later_starts_again(world: World):
    world.become(*THREE)
    work = world.house.work_of(per_day.declaration, ["2024-05-01"])
    late = world.house.work_of(per_day.declaration, ["2024-05-01"])
    other = world.house.work_of(per_day.declaration, ["2024-05-02"])
    for each in (work, other):
        assert each.delivery is not None
        deliver(each.delivery)
    assert world.rows(per_day) == [(1, "A", 1), (2, "A", 2)]
    world.become(("1", 1, "A", 7))
    world.done(per_day, "2024-05-01")
    assert late.delivery is not None
    with pytest.raises(Conflict):
        deliver(late.delivery)
    assert world.rows(per_day) == [(1, "A", 7), (2, "A", 2)]


# ---- neighbours ----


def test_a_plain_asset_reads_its_partition_of_a_table(world: World):
    @dg.asset(partitions_def=DAYS, ins={"days": dg.AssetIn(key=["gold", "per_day"])})
    def shown(days: pl.DataFrame) -> pl.DataFrame:
        return days

    world.become(*THREE)
    world.done(per_day, "2024-05-01", "2024-05-05")
    made = shown.with_attributes(metadata_by_key={shown.key: {"partition_by": "day"}})
    place = world.house.place
    result = dg.materialize(
        [made, per_day, sold, came],
        selection=[made],
        partition_key="2024-05-02",
        resources={"lake": place.lake, "landing": place.landing, "io_manager": DeltaIOManager(lake=place.lake)},
        instance=world.instance,
    )
    assert result.success
    stored = Handle.open(place.lake.address("shown"))
    assert stored is not None
    assert stored.scan().collect()["pieces"].to_list() == [2]


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")  # of Dagster's own tester
def test_eager_asks_for_the_latest_partition_when_an_upstream_moved(world: World):
    world.become(*THREE)
    asked = dg.evaluate_automation_conditions(
        defs=world.definitions,
        instance=world.instance,
        evaluation_time=datetime(2024, 5, 9, tzinfo=UTC),
    )
    world.instance.report_runless_asset_event(dg.AssetMaterialization(["silver", "sold"]))
    asked = dg.evaluate_automation_conditions(
        defs=world.definitions,
        instance=world.instance,
        cursor=asked.cursor,
        evaluation_time=datetime(2024, 5, 9, tzinfo=UTC),
    )
    assert asked.get_requested_partitions(eager_days.key) == {"2024-05-05"}


# ---- what may not be declared ----


def declared(write: Any, definition: Any, reads: Any = None) -> str:
    class Fresh(Gold):
        """One row per day, shop and moment."""

        day: date = column("Day", key=True)
        shop: str = column("Shop", key=True)
        at: Utc = column("When", key=True)

    def fresh(rows: Any) -> Any:
        return rows.select("day", "shop", "at")

    fresh.__annotations__ = {"rows": reads or Frame[Sold], "return": Frame[Fresh]}
    with pytest.raises(DeclarationError) as refused:
        table(write=write, partitions_def=definition)(fresh)
    return str(refused.value)


BY_DAY = ReplacePartition("day")
REFUSED: dict[str, tuple[Any, Any, Any, str]] = {
    "another way of writing": (Overwrite(), DAYS, None, "partitions_def= goes with write=ReplacePartition(…), which"),
    "Affected": (
        BY_DAY,
        DAYS,
        Affected[Sold],
        "with partitions_def= a run is told which slices it replaces, and Affected[Sold] are those that changed.",
    ),
    "dynamic partitions": (
        ReplacePartition("shop"),
        dg.DynamicPartitionsDefinition(name="shops"),
        None,
        "partitions_def= is dynamic: its partitions stand in one Dagster instance only, where `lakehouse run` and",
    ),
    "a pair for one column": (BY_DAY, PAIRS, None, "partitions_def= has day, shop, and ReplacePartition(…) day: they"),
    "one for a pair": (
        ReplacePartition(("day", "shop")),
        DAYS,
        None,
        "partitions_def= has one column, and ReplacePartition(…) day, shop: they must be the same.",
    ),
    "hours of a day": (BY_DAY, HOURS, None, "partition '2024-10-26-23:00' is part of a day, which the Date column day"),
    "words of a day": (
        BY_DAY,
        SHOPS,
        None,
        "partition 'A' is no Date that prints back to it, as the column day",
    ),
    "words of a time": (
        ReplacePartition("at"),
        SHOPS,
        None,
        "at is Datetime(time_unit='us', time_zone='UTC'), by",
    ),
}


@pytest.mark.parametrize(("write", "definition", "reads", "sentence"), REFUSED.values(), ids=list(REFUSED))
def test_partitions_that_its_columns_cannot_tell_are_refused(write: Any, definition: Any, reads: Any, sentence: str):
    assert declared(write, definition, reads).removeprefix("gold/fresh: ").startswith(sentence)
