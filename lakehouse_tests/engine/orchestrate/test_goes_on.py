"""A table that was written by other types, or in another way, than it is declared now: it goes on rightly, or not."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from lakehouse.engine.declare.contract import Bronze, Silver, column
from lakehouse.engine.declare.dtypes import Utc
from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.formats import JsonLines
from lakehouse.engine.declare.frames import Frame, New
from lakehouse.engine.declare.source import Snapshots
from lakehouse.engine.declare.table import Declaration, declare
from lakehouse.engine.declare.write import Append, History, Merge, Overwrite, Vanished, Write
from lakehouse.engine.delta.compatibility import Answer
from lakehouse.engine.delta.evolution import evolve
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.log import NEVER
from lakehouse.engine.orchestrate.planned import planned
from lakehouse.engine.orchestrate.restore import carry_out, plan
from lakehouse.engine.orchestrate.stand import stuck
from lakehouse.engine.orchestrate.work import A_DAY, SEEN, SEEN_BEFORE, WAY, seen_until
from lakehouse_tests.driver import House, lines
from lakehouse_tests.house.house import ROOT


class Shown(Bronze):
    """One row per customer and snapshot."""

    dt: date = column("Day of the snapshot")
    who: int = column("Customer")
    what: str = column("What he is", nullable=True)


class Days(Silver):
    """One row per version of a customer, by days."""

    who: int = column("Customer", key=True)
    what: str = column("What he is", nullable=True)
    since: date = column("First day", key=True)
    valid_to: date = column("First day no longer", nullable=True)


class AsSeen(Silver):
    """One row per sight of a customer."""

    who: int = column("Customer")
    what: str = column("What he is", nullable=True)
    since: date = column("Day")
    valid_to: date = column("Nothing", nullable=True)


class Moments(Silver):
    """One row per version of a customer, by moments."""

    who: int = column("Customer", key=True)
    what: str = column("What he is", nullable=True)
    since: Utc = column("From then on", key=True)
    valid_to: Utc = column("Then no longer", nullable=True)


class Customers(Silver):
    """One row per customer."""

    who: int = column("Customer", key=True)
    what: str = column("What he is", nullable=True)
    since: date = column("First day")
    valid_to: date = column("First day no longer", nullable=True)


def shown() -> Frame[Shown]: ...


def days(rows: New[Shown]) -> Frame[Days]:
    return rows.select("who", "what", since="dt")


def moments(rows: New[Shown]) -> Frame[Moments]:
    return rows.select("who", "what", since=pl.col("dt").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))


def far_days(rows: New[Shown]) -> Frame[Days]:
    return rows.select("who", "what", since=pl.col("dt").dt.offset_by("9000y"))


def single_days(rows: New[Shown]) -> Frame[Days]:
    return days(rows).with_columns(valid_to=pl.lit(None, pl.Date))


def as_seen(rows: New[Shown]) -> Frame[AsSeen]:
    return single_days(rows)


def all_days(rows: Frame[Shown]) -> Frame[Days]:
    return single_days(rows)


def customers(rows: New[Shown]) -> Frame[Customers]:
    return single_days(rows)


for each in (days, moments, far_days, single_days, as_seen, all_days, customers):
    each.__name__ = "lived"
SHOWN = declare(shown, write=Append(), source=Snapshots("shown/dt=*/*.jsonl", formats=JsonLines(), valid_at="dt"))
KEPT, CLOSED = History("since"), History("since", vanished=Vanished.CLOSED)
DAYS, MOMENTS, FAR = (declare(each, write=KEPT) for each in (days, moments, far_days))
MERGED, APPENDED = declare(single_days, write=Merge()), declare(as_seen, write=Append())
OVERWRITTEN, ONE_EACH = declare(all_days, write=Overwrite()), declare(customers, write=Merge())


MAY_10 = 19_853
"""The day, in days from 1970 on."""


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def land(house: House, day: int, shot: dict[int, str], name: str = "all") -> None:
    rows = [json.dumps({"who": who, "what": what}) for who, what in shot.items()]
    house.land(f"shown/dt=2024-05-{day:02}/{name}.jsonl", lines(*rows))


def standing(house: House, declared: Declaration) -> Handle:
    handle = house.open(declared)
    assert handle is not None
    return handle


def versions(house: House, declared: Declaration) -> list[tuple[object, ...]]:
    """(who, what, first day, first day no longer), in order; the days as numbers."""
    at = [pl.col("since").dt.day(), pl.col("valid_to").dt.day()]
    return house.rows(declared).sort("who", "since").select("who", "what", *at).rows()


def of_before(house: House, declared: Declaration) -> None:
    """As a table was left before there was SEEN: with the days, or the microseconds, of the last time."""
    last = int(house.rows(declared).select(pl.max("since").to_physical()).item())
    transactions = {SEEN: NEVER, SEEN_BEFORE: last, WAY: NEVER}
    standing(house, declared).commit([], [], transactions, {}, rearranges=True)


@pytest.mark.parametrize(
    ("now", "is_killed"),
    [(DAYS, False), (MOMENTS, False), (MOMENTS, True)],
    ids=["days", "widened", "killed once it was widened"],
)
@pytest.mark.parametrize("is_of_before", [False, True], ids=["of now", "of before"])
@pytest.mark.parametrize("write", [KEPT, CLOSED], ids=["kept", "closed"])
def test_what_comes_late_is_late_also_after_days_became_moments(
    house: House, write: Write, now: Declaration, *, is_of_before: bool, is_killed: bool
):
    before, now = replace(DAYS, write=write), replace(now, write=write)
    land(house, 1, {1: "a", 2: "a"})
    land(house, 10, {1: "a", 2: "b"})
    house.drain(SHOWN, before)
    if is_of_before:
        of_before(house, before)
    if is_killed:
        evolve(standing(house, before), now.schema, {})
    land(house, 5, {1: "b"})
    house.drain(SHOWN, now)
    told = versions(house, now)
    assert told[:3] == [(1, "a", 1, 5), (1, "b", 5, 10), (1, "a", 10, None)]
    assert standing(house, now).transaction(SEEN) == MAY_10 * A_DAY
    house.run(now, rebuild=True)
    assert versions(house, now) == told


def test_what_comes_late_is_late_among_days_that_python_does_not_count(house: House):
    land(house, 1, {1: "a"})
    land(house, 10, {1: "a"})
    house.drain(SHOWN, FAR)
    land(house, 5, {1: "b"})
    house.drain(SHOWN, FAR)
    assert versions(house, FAR) == [(1, "a", 1, 5), (1, "b", 5, 10), (1, "a", 10, None)]


@pytest.mark.parametrize(
    ("told", "until"),
    [
        ({SEEN: 7, SEEN_BEFORE: MAY_10}, 7),
        ({SEEN_BEFORE: MAY_10}, MAY_10 * A_DAY),
        ({SEEN_BEFORE: MAY_10 * A_DAY}, MAY_10 * A_DAY),
        ({SEEN_BEFORE: -5}, -5),
        ({SEEN_BEFORE: -5 * A_DAY}, -5 * A_DAY),
        ({}, None),
    ],
    ids=["of now", "days", "microseconds", "either, the later", "microseconds before 1970", "never"],
)
def test_a_history_has_never_seen_more_than_is_told(tmp_path: Path, told: dict[str, int], until: int | None):
    handle = Handle.create(House(tmp_path).place.table(DAYS), DAYS.schema)
    assert seen_until(handle.commit([], [], told, {}, rearranges=True)) == until


GUIDE = ROOT / "docs/changed-contracts.md"
OTHER = {
    "versions of merged rows": (MERGED, DAYS),
    "merged into versions": (DAYS, MERGED),
    "merged into what was appended": (APPENDED, MERGED),
    "merged into what was made whole": (OVERWRITTEN, MERGED),
    "merged by another key": (MERGED, ONE_EACH),
    "appended to merged rows": (MERGED, APPENDED),
}


@pytest.mark.parametrize(("before", "now"), OTHER.values(), ids=OTHER.keys())
def test_a_table_that_was_written_in_another_way_goes_on_once_it_is_made_anew(
    house: House, before: Declaration, now: Declaration
):
    land(house, 1, {1: "a", 2: "a"})
    land(house, 10, {1: "b", 2: "a"})
    house.drain(SHOWN, before)
    land(house, 12, {1: "c"})
    house.run(SHOWN)
    with pytest.raises(Refused, match=r"another write= or key than .* cannot go on from its \d rows") as refused:
        house.run(now)
    said = str(refused.value)
    assert "version 1 stands. Put that back, or make it anew: lakehouse rebuild silver/lived+" in said
    if (before, now) == OTHER["versions of merged rows"]:
        told = next(line for line in GUIDE.read_text().splitlines() if line.startswith("silver/lived was made with"))
        assert said.startswith(told.removesuffix("…"))
    assert stuck(now, house.place) == said
    found = planned(now, house.place)
    assert found is not None
    assert (found.answer, found.said) == (Answer.REFUSE, said)
    house.run(now, rebuild=True)
    land(house, 13, {1: "d"})
    house.drain(SHOWN, now)
    assert house.rows(now).filter(what="d").height == 1
    assert planned(now, house.place) is None


def test_versions_are_not_made_of_rows_that_were_merged_before_the_way_of_writing_was_told(house: House):
    land(house, 1, {1: "a"})
    house.drain(SHOWN, MERGED)
    standing(house, MERGED).commit([], [], {WAY: NEVER}, {}, rearranges=True)
    land(house, 2, {1: "b"})
    house.run(SHOWN)
    with pytest.raises(Refused, match=r"another write= or key than History\(\) of today"):
        house.run(DAYS)


def test_a_restore_to_rows_of_another_way_says_what_the_next_run_will_refuse(house: House):
    land(house, 1, {1: "a"})
    house.drain(SHOWN, MERGED)
    was = standing(house, MERGED).version
    house.run(DAYS, rebuild=True)
    planned = plan(DAYS, was, [SHOWN, DAYS], house.place)
    [remark] = planned.root.remarks
    assert remark == (
        f"At version {was} silver/lived was made with another write= or key than History() of today, which cannot go "
        "on from its 1 row. Its next run will be refused: put that back, or make the table anew: lakehouse rebuild "
        "silver/lived+"
    )
    carry_out(planned, house.place, lambda *_: None)
    with pytest.raises(Refused, match="another write= or key"):
        house.run(DAYS)


def test_a_table_that_is_made_whole_takes_any_rows_for_its_own(house: House):
    land(house, 1, {1: "a"})
    house.drain(SHOWN, MERGED)
    land(house, 2, {1: "b"})
    house.drain(SHOWN, OVERWRITTEN)
    assert versions(house, OVERWRITTEN) == [(1, "a", 1, None), (1, "b", 2, None)]


def test_a_history_that_closes_no_longer_what_vanished_says_that_it_is_declared_otherwise(house: House):
    closing = replace(DAYS, write=CLOSED)
    land(house, 1, {1: "a"})
    land(house, 2, {2: "a"})
    land(house, 3, {1: "a"})
    house.drain(SHOWN, closing)
    land(house, 4, {1: "b"})
    house.run(SHOWN)
    work = house.run(DAYS)
    assert "was not written by a run of this table as it is declared. Nothing was written" in (work.refusal or "")
