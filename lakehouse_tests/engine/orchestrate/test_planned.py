"""What `lakehouse plan` says of a table is what its next run does, in files, rows and bytes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.readers import Reader
from lakehouse.engine.declare.table import Declaration, declare
from lakehouse.engine.declare.write import Merge
from lakehouse.engine.delta import known
from lakehouse.engine.delta.compatibility import Answer
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.orchestrate.planned import Planned, planned
from lakehouse_tests.driver import House
from lakehouse_tests.engine.orchestrate.test_changed_columns import (
    ALL_DAYS,
    DAILY,
    SENT,
    SENT_ONCE,
    SOLD,
    SOLD_BY_SHOP,
    SOLD_SOMEWHERE,
    WITH_SHOPS,
    land,
    sold,
)


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Four sales, of the old contract, in two files of each table that is not made whole."""
    house = House(tmp_path)
    for days in ((1, 2), (3, 4)):
        land(house, *((str(day), day, day) for day in days))
        house.drain(SENT, SOLD, DAILY, ALL_DAYS)
    return house


def of(house: House, declared: Declaration) -> Planned:
    found = planned(declared, house.place)
    assert found is not None
    return found


def files(house: House, declared: Declaration) -> dict[str, tuple[int, int]]:
    handle = house.open(declared)
    assert handle is not None
    return {path: (rows, size) for path, rows, size in handle.files().select("path", "rows", "size").rows()}


def cost(found: Sequence[tuple[int, int]]) -> tuple[int, int, int]:
    return len(found), sum(rows for rows, _ in found), sum(size for _, size in found)


@pytest.mark.parametrize("declared", [SENT, SOLD, DAILY, ALL_DAYS], ids=lambda each: each.key)
def test_of_a_table_that_is_as_its_contract_says_nothing_is_planned(house: House, declared: Declaration):
    assert planned(declared, house.place) is None


def test_a_table_that_is_not_there_is_made_and_planning_it_makes_nothing(tmp_path: Path):
    found = of(House(tmp_path), SOLD)
    assert (found.answer, found.version, found.files) == (Answer.COMPATIBLE, None, 0)
    assert [*tmp_path.rglob("*.*")] == []


@pytest.mark.parametrize(
    ("declared", "asks", "said"),
    [
        (SENT_ONCE, (Answer.COMPATIBLE, 0), "shop (String) is added; null in rows that stand"),
        (SOLD_BY_SHOP, (Answer.WIDEN, 2), "qty is widened from Int32 to Int64; shop (String) is added; null in "),
        (WITH_SHOPS, (Answer.COMPATIBLE, 1), "shops (Int64) is added; null in rows that stand"),
    ],
    ids=["columns come", "widened", "written whole"],
)
def test_what_is_planned_is_what_the_next_run_writes_anew(
    house: House, declared: Declaration, asks: tuple[Answer, int], said: str
):
    found, before = of(house, declared), files(house, declared)
    assert ((found.answer, found.files), found.said.startswith(said)) == (asks, True)
    if declared is WITH_SHOPS:  # written once its upstream is
        land(house, ("5", 5, 5))
        house.drain(SENT, SOLD)
    else:
        land(house, ("5", 5, 5, "York"))
        house.drain(SENT_ONCE)
    house.run(declared)
    after = files(house, declared)
    gone = [each for path, each in before.items() if path not in after]
    assert (found.files, found.rows, found.bytes) == cost(gone)
    assert planned(declared, house.place) is None


def test_what_no_run_can_give_a_table_is_planned_as_a_new_version_with_who_reads_it(house: House):
    found = of(house, SOLD_SOMEWHERE)
    with pytest.raises(Refused) as refused:
        house.run(SOLD_SOMEWHERE)
    assert (found.answer, found.said, found.files) == (Answer.NEW_VERSION, str(refused.value), 0)
    assert {"gold/daily", "gold/all_days"} <= {*found.readers}
    assert all(each in found.said for each in found.readers)


def test_what_a_run_refuses_for_another_reason_than_its_columns_is_planned_as_a_refusal(house: House):
    in_folders = declare(sold, write=Merge(), partition_by="day")
    found = of(house, in_folders)
    with pytest.raises(Refused) as refused:
        house.run(in_folders)
    assert (found.answer, found.said) == (Answer.REFUSE, str(refused.value))


def test_a_table_that_cannot_be_opened_is_planned_as_a_refusal(house: House):
    address = house.place.table(DAILY)
    Path(address.uri, "_delta_log", f"{0:020d}.json").write_text("{")
    known.forget(address)
    found = of(house, DAILY)
    assert (found.answer, found.version) == (Answer.REFUSE, None)
    assert found.said.startswith(f"{address} is no Delta table that can be read: ")


def test_a_table_of_another_maker_is_replaced_by_the_first_run(house: House, tmp_path: Path):
    elsewhere = House(tmp_path / "other")
    theirs = elsewhere.place.table(SOLD)
    Handle.create(theirs, SOLD.schema)
    assert planned(SOLD, elsewhere.place) is None  # as a run that was killed leaves it
    house.rows(SOLD).write_delta(str(theirs), mode="append")
    found = of(elsewhere, SOLD)
    assert (found.files, found.rows) == (1, 4)
    assert "no run of it made what stands there, and the first one replaces it" in found.said


def test_vectors_that_a_reader_does_not_know_are_planned_to_be_folded_in(house: House):
    by_vectors = replace(SOLD, readers=(Reader.DELTA_RS,))
    land(house, ("1", 1, 7))
    house.drain(SENT, by_vectors)
    handle = house.open(SOLD)
    assert handle is not None
    assert (planned(by_vectors, house.place), len(handle.vectors)) == (None, 1)
    found = of(house, SOLD)
    assert (found.answer, found.files, found.rows) == (Answer.COMPATIBLE, 1, 1)
    assert found.said == "its deletion vectors, which a reader cannot read, are folded in"
    land(house, ("5", 5, 5))
    house.drain(SENT, SOLD)
    assert handle.vectors.keys() & files(house, SOLD).keys() == set()
    assert planned(SOLD, house.place) is None
