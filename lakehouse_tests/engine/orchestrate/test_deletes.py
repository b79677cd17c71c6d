"""`Merge(deletes=…)`: a row that is marked takes away what stands of its key, however arrivals are cut into batches."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
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
from lakehouse.engine.declare.write import Append, Merge
from lakehouse_tests.driver import House, finding, lines, red


class Event(Bronze):
    """One row per change of a customer."""

    op: str = column("u, d", nullable=True)
    who: int = column("Customer", nullable=True)
    name: str = column("Of the customer", nullable=True)


def event() -> Frame[Event]: ...


class Known(Silver):
    """One row per customer that is one."""

    who: int = column("Customer", key=True, ge=0)
    name: str = column("Of the customer", str_length={"max_value": 9})


def known(events: New[Event]) -> Frame[Known]:
    return events.select("who", "name", is_gone=pl.col("op") == "d")


EVENT = declare(event, write=Append(), source=Files("events/*.jsonl", formats=JsonLines()))
GOES = Merge(deletes="is_gone")
KNOWN = declare(known, write=GOES, conserves="rows")
MARKED = replace(KNOWN, readers=(Reader.DELTA_RS, Reader.DATABRICKS))

type Change = tuple[str | None, int | None, str | None]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def land(house: House, number: int, changes: Sequence[Change]) -> None:
    rows = [json.dumps({"op": op, "who": who, "name": name}) for op, who, name in changes]
    house.land(f"events/{number:04}.jsonl", lines(*rows))


def stands(house: House, declared: Declaration = KNOWN) -> dict[int, str]:
    return dict(house.rows(declared).sort("who").iter_rows())


CHANGES = st.lists(
    st.tuples(st.sampled_from("uud"), st.integers(0, 6), st.sampled_from(["Ann", "Bo", "Cy"])), max_size=8
)


@pytest.mark.parametrize("declared", [KNOWN, MARKED], ids=["files written anew", "deletion vectors"])
@settings(deadline=None, max_examples=max(15, settings().max_examples // 8))
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
    ],
)
def test_what_cannot_work_is_refused_with_the_way_out(transform: object, write: Merge, said: str):
    with pytest.raises(DeclarationError, match=said):
        declare(transform, write=write)  # type: ignore[arg-type] # a transform of these


def test_what_deletes_is_part_of_the_logic_and_changes_that_of_no_other_table():
    assert len({replace(KNOWN, write=write).logic for write in (Merge(), GOES, Merge(deletes="is_dead"))}) == 3
    assert repr(Merge()) == "Merge(replaces=None, newest_by=None)"  # which stands in the logic of tables that are there
