"""`deletes=…`: a row that is marked takes away what stands of its key, or ends its version, whatever the batches."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.engine.declare.contract import Bronze, Silver, column
from lakehouse.engine.declare.errors import DeclarationError
from lakehouse.engine.declare.formats import JsonLines
from lakehouse.engine.declare.frames import Frame, New
from lakehouse.engine.declare.readers import Reader
from lakehouse.engine.declare.source import Files
from lakehouse.engine.declare.table import Declaration, declare
from lakehouse.engine.declare.write import Append, History, Merge
from lakehouse.engine.delta.check import check
from lakehouse_tests.driver import House, finding, lines, red
from lakehouse_tests.engine.delta.opening import opened


class Event(Bronze):
    """One row per change of a customer."""

    op: str = column("u, d", nullable=True)
    who: int = column("Customer", nullable=True)
    name: str = column("Of the customer", nullable=True)
    day: date = column("When", nullable=True)


def event() -> Frame[Event]: ...


class Lived(Silver):
    """One row per version of a customer."""

    who: int = column("Customer", key=True)
    name: str = column("Of the customer")
    since: date = column("First day", key=True)
    valid_to: date = column("First day no longer", nullable=True)


def lived(events: New[Event]) -> Frame[Lived]:
    return events.select("who", "name", since="day", is_gone=pl.col("op") == "d")


class Known(Silver):
    """One row per customer that is one."""

    who: int = column("Customer", key=True, ge=0)
    name: str = column("Of the customer", str_length={"max_value": 9})


def known(events: New[Event]) -> Frame[Known]:
    return events.select("who", "name", is_gone=pl.col("op") == "d")


EVENT = declare(event, write=Append(), source=Files("events/*.jsonl", formats=JsonLines()))
GOES = Merge(deletes="is_gone")
KNOWN = declare(known, write=GOES, conserves="rows")
LIVED = declare(lived, write=History("since", deletes="is_gone"), conserves="rows")
MARKED = replace(KNOWN, readers=(Reader.DELTA_RS, Reader.DATABRICKS))

type Change = tuple[str | None, int | None, str | None]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def land(house: House, number: int, changes: Sequence[Change]) -> None:
    """As a file that is like no other: the same one again would be a duplicate, of which no row counts."""
    rows = [json.dumps({"op": op, "who": who, "name": name, "file": number}) for op, who, name in changes]
    house.land(f"events/{number:04}.jsonl", lines(*rows))


type Dated = tuple[str, int, str, int]
"""What is done to whom, the name, and the day of May."""


def land_dated(house: House, number: int, changes: Sequence[Dated]) -> None:
    told = [
        {"op": op, "who": who, "day": f"2024-05-{day:02}", "file": number, **({} if op == "d" else {"name": name})}
        for op, who, name, day in changes
    ]
    house.land(f"events/{number:04}.jsonl", lines(*map(json.dumps, told)))


def lives(house: House) -> list[tuple[object, ...]]:
    days = [pl.col("since").dt.day(), pl.col("valid_to").dt.day()]
    return house.rows(LIVED).sort("who", "since").select("who", "name", *days).rows()


def as_plain_python_tells(changes: Sequence[Dated]) -> list[tuple[object, ...]]:
    """(who, name, first day, first day no longer) of each version."""
    last = {(who, day): (op, name) for op, who, name, day in changes}  # the later arrival of a day wins
    found: list[list[object]] = []
    for (who, day), (op, name) in sorted(last.items()):
        stands = found[-1] if found and found[-1][0] == who and found[-1][3] is None else None
        if stands and (op == "d" or stands[1] != name):
            stands[3] = day
            stands = None
        if op == "u" and not stands:
            found.append([who, name, day, None])
    return [tuple(each) for each in found]


def stands(house: House, declared: Declaration = KNOWN) -> dict[int, str]:
    return dict(house.rows(declared).sort("who").iter_rows())


CHANGES = st.lists(
    st.tuples(st.sampled_from("uud"), st.integers(0, 6), st.sampled_from(["Ann", "Bo", "Cy"])), max_size=8
)


@pytest.mark.parametrize("declared", [KNOWN, MARKED], ids=["files written anew", "deletion vectors"])
@settings(deadline=None, max_examples=max(10, settings().max_examples // 20))
@given(batches=st.lists(CHANGES, min_size=1, max_size=5))
def test_any_changes_in_any_batches_leave_what_a_dictionary_holds(
    declared: Declaration, batches: list[list[tuple[str, int, str]]]
):
    expected: dict[int, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder))
        for number, changes in enumerate(batches):
            land(house, number, [(op, who, None if op == "d" else name) for op, who, name in changes])
            for op, who, name in changes:
                expected.pop(who, None)
                expected |= {who: name} if op == "u" else {}
            house.drain(EVENT, declared)
            assert stands(house, declared) == expected
        assert house.work(declared).delivery is None
        house.run(declared, rebuild=True)
        assert stands(house, declared) == expected


DATED = st.tuples(st.sampled_from("uud"), st.integers(0, 2), st.sampled_from(["Ann", "Bo"]), st.integers(1, 9))


@settings(deadline=None, max_examples=max(12, settings().max_examples // 20))
@given(batches=st.lists(st.lists(DATED, max_size=6), min_size=1, max_size=5))
def test_a_version_ends_where_its_thing_is_deleted_in_whatever_order_that_comes(batches: list[list[Dated]]):
    with tempfile.TemporaryDirectory() as folder:
        house, came = House(Path(folder)), list[Dated]()
        for number, changes in enumerate(batches):
            land_dated(house, number, changes)
            house.drain(EVENT, LIVED)
            came += changes
            assert lives(house) == as_plain_python_tells(came)
        house.run(LIVED, rebuild=True)
        assert lives(house) == as_plain_python_tells(came)


def test_what_is_deleted_and_comes_back_has_a_gap_between_its_versions(house: House):
    land_dated(house, 1, [("u", 1, "Ann", 1), ("d", 1, "", 3), ("u", 1, "Ann", 5)])
    work = house.drain(EVENT, LIVED)[LIVED.key][0]
    assert lives(house) == [(1, "Ann", 1, 3), (1, "Ann", 5, None)]
    assert red(work) == {}
    land_dated(house, 2, [("d", 1, "", 6), ("d", 2, "", 6)])
    work = house.drain(EVENT, LIVED)[LIVED.key][0]
    assert lives(house) == [(1, "Ann", 1, 3), (1, "Ann", 5, 6)]
    counts = {name: work.facts[name] for name in ("rows_read", "rows_that_delete", "versions_begun", "versions_ended")}
    assert counts == {"rows_read": 2, "rows_that_delete": 2, "versions_begun": 0, "versions_ended": 1}


def test_of_a_row_that_deletes_only_the_key_is_asked(house: House):
    land(house, 1, [("u", 1, "Ann"), ("u", 2, "Bo"), ("u", 3, "Cy")])
    house.drain(EVENT, KNOWN)
    land(house, 2, [("d", 1, None), ("d", 2, "longer than nine"), ("d", None, "Cy"), (None, 3, "Di"), ("d", -1, "")])
    work = house.drain(EVENT, KNOWN)[KNOWN.key][0]
    assert stands(house) == {3: "Cy"}
    assert red(work) == {"who__not_null": "WARN", "who__ge": "WARN", "is_gone__not_null": "WARN"}
    assert house.set_aside(KNOWN)["reasons"].to_list() == [["who__not_null"], ["is_gone__not_null"], ["who__ge"]]
    counts = {name: work.facts[name] for name in ("rows_read", "rows_accepted", "rows_that_delete", "rows_quarantined")}
    assert counts == {"rows_read": 5, "rows_accepted": 0, "rows_that_delete": 2, "rows_quarantined": 3}
    assert finding(work, "conserves").passed


def test_a_delete_of_what_does_not_stand_moves_the_position_and_touches_no_file(house: House):
    land(house, 1, [("u", 1, "Ann"), ("u", 5, "Bo")])
    house.drain(EVENT, KNOWN)
    before = house.open(KNOWN)
    land(house, 2, [("d", 3, None)])
    house.drain(EVENT, KNOWN)
    after = house.open(KNOWN)
    assert before
    assert after
    assert (after.version, after.files()["path"].to_list()) == (before.version + 1, before.files()["path"].to_list())
    assert house.work(KNOWN).delivery is None


def test_the_last_that_is_deleted_leaves_a_table_without_rows(house: House):
    land(house, 1, [("u", 1, "Ann"), ("u", 5, "Bo")])
    land(house, 2, [("d", 1, None), ("d", 5, None)])
    house.drain(EVENT, KNOWN)
    handle = house.open(KNOWN)
    assert handle
    assert (stands(house), handle.rows, handle.files().height) == ({}, 0, 0)


def told(events: New[Event]) -> Frame[Known]:
    return events.select("who", "name")


@pytest.mark.parametrize(
    ("transform", "write", "said"),
    [
        (known, Merge(deletes="name"), "names a column of Known, and what it is true of is not stored"),
        (known, Merge(deletes="is_gone", replaces="who"), "leave deletes=… away"),
        (known, Merge(deletes="is_gone", newest_by="name"), "older than its deletion, would stand up again"),
        (told, GOES, "'is_gone' is missing"),
        (known, Merge(), "'is_gone' is not declared"),
        (lived, History("since", deletes="name"), "names a column of Lived, and what it is true of is not stored"),
        (lived, History("since"), "'is_gone' is not declared"),
    ],
)
def test_what_cannot_work_is_refused_with_the_way_out(transform: object, write: Merge, said: str):
    with pytest.raises(DeclarationError, match=said):
        declare(transform, write=write)  # type: ignore[arg-type] # a transform of these


def test_what_deletes_is_part_of_the_logic_and_changes_that_of_no_other_table():
    assert len({replace(KNOWN, write=write).logic for write in (Merge(), GOES, Merge(deletes="is_dead"))}) == 3
    assert repr(Merge()) == "Merge(replaces=None, newest_by=None)"  # which stands in the logic of tables that are there


def test_a_rebuild_mends_a_table_whose_deletion_vectors_are_damaged(house: House):
    for number, changes in enumerate([[("u", who, "Ann") for who in range(40)], [("d", 3, None), ("u", 5, "Bo")]]):
        land(house, number, changes)
        house.run(EVENT)
        house.run(MARKED)
    table, before = house.place.table(MARKED), stands(house, MARKED)
    [vectors] = Path(table.uri).glob("*.bin")
    vectors.write_bytes(vectors.read_bytes()[:-3] + b"xyz")
    assert [*check(opened(table)).faults] == [vectors.name]
    house.run(MARKED, rebuild=True)
    assert (stands(house, MARKED), check(opened(table)).faults) == (before, {})
