"""`partition_by=`: the same table in folders, for every way of writing; merges and reads open only those they need."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import duckdb_extension_delta
import polars as pl
import pytest
from deltalake import DeltaTable, QueryBuilder

from lakehouse.engine.declare.errors import Conflict, Refused
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.declare.write import Overwrite, Write
from lakehouse.engine.delta.check import check as checked
from lakehouse.engine.delta.compatibility import Answer
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.pruning import may_hold
from lakehouse.engine.delta.restore import prepare_restore, restore
from lakehouse.engine.delta.writes import prepare_append, prepare_overwrite
from lakehouse.engine.orchestrate.planned import planned
from lakehouse.engine.orchestrate.stand import stuck
from lakehouse_tests.driver import House
from lakehouse_tests.engine.delta.opening import opened
from lakehouse_tests.engine.orchestrate.test_affected import DAILY, PER_SHOP, SHOP_DAYS, become, change, held

ODD = ["a/b'c", "x=y %41 é", "🙂 & ?#", ".hidden", "_under", "..", 'q"u', "semi;colon,", "back\\slash", " lead", "null"]
BY_SHOP = replace(SHOP_DAYS, partition_by=("shop",))
MERGED = replace(PER_SHOP, partition_by=("shop",))
OVERWRITTEN = replace(SHOP_DAYS, write=Overwrite(), partition_by=("shop", "day"))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def by_duckdb(house: House, declared: Declaration) -> list[tuple[object, ...]]:
    extension = next(Path(duckdb_extension_delta.__file__).parent.rglob("delta.duckdb_extension"))
    with duckdb.connect() as connection:
        connection.execute(f"LOAD '{extension}'")
        columns = ", ".join(declared.schema.names())
        return connection.execute(f"SELECT {columns} FROM delta_scan(?)", [where(house, declared)]).fetchall()


def by_polars(house: House, declared: Declaration) -> list[tuple[object, ...]]:
    return pl.read_delta(where(house, declared)).select(declared.schema.names()).rows()


def by_delta_rs(house: House, declared: Declaration) -> list[tuple[object, ...]]:
    asked = f"select {', '.join(declared.schema.names())} from it"
    return pl.DataFrame(QueryBuilder().register("it", DeltaTable(where(house, declared))).execute(asked)).rows()


def where(house: House, declared: Declaration) -> str:
    return house.place.table(declared).uri


def folders(house: House, declared: Declaration) -> set[str]:
    root = Path(where(house, declared))
    return {each.parent.name for each in root.rglob("*.parquet") if "_delta_log" not in each.parts}


@pytest.mark.parametrize("read", [by_duckdb, by_polars, by_delta_rs])
@pytest.mark.parametrize("declared", [BY_SHOP, OVERWRITTEN], ids=["slices", "whole"])
def test_other_engines_read_folders_of_any_name(
    house: House, declared: Declaration, read: Callable[[House, Declaration], list[tuple[object, ...]]]
):
    become(house, *((str(number), 1, shop, 1.0) for number, shop in enumerate(ODD)))
    house.run(declared)
    change(house, ("0", 2, ODD[0], 1.0), ("new", 1, ODD[1], 1.0))
    house.run(declared)
    rows = house.rows(declared).rows()
    assert len(rows) == len(ODD)
    assert len(folders(house, declared)) >= len(ODD if declared is BY_SHOP else {"day"})
    assert sorted(read(house, declared), key=repr) == sorted(rows, key=repr)


@pytest.mark.parametrize("declared", [BY_SHOP, MERGED], ids=["slices", "merge"])
def test_a_write_opens_only_the_folders_it_changes(house: House, declared: Declaration):
    become(house, ("1", 1, "A", 1.0), ("2", 1, "B", 1.0), ("3", 1, "C", 1.0))
    house.run(declared)
    for file in Path(where(house, declared)).glob("shop=[AC]/*"):
        file.unlink()
    change(house, ("2", 1, "B", 5.0), ("4", 2, "B", 1.0))
    delivery = house.run(declared).delivery
    assert delivery is not None
    assert delivery.accepted["shop"].unique().to_list() == ["B"]


def test_a_read_opens_only_the_folders_it_is_asked_for(house: House):
    become(house, ("1", 1, "A", 1.0), ("2", 1, "B", 1.0))
    house.run(BY_SHOP)
    for file in Path(where(house, BY_SHOP)).glob("shop=A/*"):
        file.unlink()
    handle = house.open(BY_SHOP)
    assert handle is not None
    assert handle.scan().filter(pl.col("shop") == "B").collect().height == 1
    assert len(may_hold(handle.files(), pl.DataFrame({"shop": ["B"]}), ["shop"])) == 1


def test_a_table_in_folders_holds_what_it_holds_without(house: House, tmp_path: Path):
    other = House(tmp_path / "other")
    for each in (house, other):
        become(each, ("1", 1, "A", 1.0), ("2", 2, "B", 2.0), ("3", 2, "A", 3.0))
    for number, pair in enumerate([(DAILY, ("day",)), (PER_SHOP, ("shop",)), (SHOP_DAYS, ("day", "shop"))]):
        declared, by = pair
        for each, table in ((house, declared), (other, replace(declared, partition_by=by))):
            each.run(table)
            change(each, ("3", 3 + number, "B", 3.0), ("2", None, "B", 2.0))
            each.run(table)
            each.run(table, rebuild=True)
        assert held(house, declared) == held(other, declared)
        handle = other.open(declared)
        assert handle is not None
        assert handle.partition_by == by


def test_a_value_that_no_folder_can_be_called_by_is_refused_and_nothing_is_written(house: House):
    become(house, ("1", 1, "A", 1.0))
    house.run(MERGED)
    change(house, ("2", 1, "", 1.0))
    with pytest.raises(Refused, match="is partitioned and cannot hold shop = ''"):
        house.run(MERGED)
    assert held(house, MERGED) == [("A", 1.0)]


def test_a_table_that_is_to_lie_in_other_folders_says_what_that_costs_until_it_is_made_anew(house: House):
    become(house, ("1", 1, "A", 1.0))
    house.run(replace(MERGED, partition_by=()))
    said = r"gold/per_shop is stored by no column, and partition_by= says shop: 1 file \(1 row, 0\.0 MB\) would have "
    with pytest.raises(Refused, match=said + ".*lakehouse rebuild gold/per_shop"):
        house.run(MERGED)
    assert str(stuck(MERGED, house.place)).startswith("gold/per_shop is stored by no column")


def rows_of(house: House, declared: Declaration) -> list[tuple[object, ...]]:
    return sorted(house.rows(declared).rows(), key=repr)


LAID = [((), ("shop",)), (("shop",), ("day",)), (("day", "shop"), ("shop",)), (("shop",), ())]


@pytest.mark.parametrize(("before", "after"), LAID, ids=str)
@pytest.mark.parametrize("write", [SHOP_DAYS.write, Overwrite()], ids=["rebuilt", "written whole"])
def test_a_table_that_is_made_anew_lies_in_its_new_folders_and_goes_on_and_back(
    house: House, before: tuple[str, ...], after: tuple[str, ...], write: Write
):
    one, other = (replace(SHOP_DAYS, write=write, partition_by=by) for by in (before, after))
    become(house, ("1", 1, "A", 1.0), ("2", 2, "B", 2.0))
    house.run(one)
    rows, stood = rows_of(house, one), opened(house.place.table(one))
    found = planned(other, house.place)
    assert found is not None
    is_whole = other.is_written_whole
    assert (found.answer, found.files) == ((Answer.COMPATIBLE, len(stood.files())) if is_whole else (Answer.REFUSE, 0))
    change(house, ("3", 2, "B", 3.0))
    house.run(other, rebuild=not is_whole)
    laid = opened(house.place.table(other))
    assert (laid.id, laid.version, laid.partition_by) == (stood.id, stood.version + 1, after)
    assert planned(other, house.place) is None
    change(house, ("4", 3, "C", 4.0), ("1", None, "A", 1.0))
    house.run(other)
    now = rows_of(house, other)
    assert {each for row in now for each in row if isinstance(each, str)} == {"B", "C"}
    for read in (by_duckdb, by_polars, by_delta_rs):
        assert sorted(read(house, other), key=repr) == now
    back = restore(prepare_restore(opened(laid.address), stood.version), house.place.quarantine(other))
    assert (back.partition_by, rows_of(house, one)) == (before, rows)
    assert sorted(by_duckdb(house, one), key=repr) == rows
    again = restore(prepare_restore(back, laid.version + 1), house.place.quarantine(other))
    assert (again.partition_by, rows_of(house, other)) == (after, now)
    checked(again, lambda _: None)


def test_a_rival_who_was_first_stops_who_lays_the_table_in_other_folders(house: House):
    become(house, ("1", 1, "A", 1.0))
    house.run(BY_SHOP)
    handle = opened(house.place.table(BY_SHOP))
    laying = prepare_overwrite(handle, house.rows(BY_SHOP), handle.schema, by=["day"])
    prepare_append(handle, house.rows(BY_SHOP)).commit({}, {})
    with pytest.raises(Conflict):
        laying.commit({}, {})
    laid = (
        prepare_overwrite(opened(handle.address), house.rows(BY_SHOP), handle.schema, by=["day"]).commit({}, {}).handle
    )
    with pytest.raises(Conflict):
        prepare_overwrite(handle, house.rows(BY_SHOP)).commit({}, {})
    assert (laid.partition_by, laid.rows) == (("day",), 2)


@pytest.mark.parametrize(
    ("became", "by"),
    [({"town": "A"}, ["town"]), ({"town": "A", "at": 1, "n": 2}, ["town", "at"]), ({"at": "1"}, ["at"])],
    ids=["a new column", "as many as it had columns", "one of another type"],
)
def test_a_table_that_is_made_anew_may_lie_by_columns_that_it_gets_with_that(
    tmp_path: Path, became: dict[str, object], by: list[str]
):
    stood, becomes = (pl.DataFrame(each) for each in ({"id": [1], "at": [1.5]}, {"id": [1], **became}))
    handle = Handle.create(Address(str(tmp_path / "t")), stood.schema)
    handle = prepare_append(handle, stood).commit({}, {}).handle
    laid = prepare_overwrite(handle, becomes, becomes.schema, by=by).commit({}, {}).handle
    assert (laid.partition_by, laid.schema) == (tuple(by), becomes.schema)
    assert laid.scan().collect().rows() == becomes.rows()
