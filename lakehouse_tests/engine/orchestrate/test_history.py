"""`History(…)`: for any snapshots, in any order and any batches, the versions are those that plain Python tells."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lakehouse.engine.declare.contract import Bronze, Silver, column
from lakehouse.engine.declare.dtypes import Measure
from lakehouse.engine.declare.errors import DeclarationError, Refused
from lakehouse.engine.declare.formats import JsonLines
from lakehouse.engine.declare.frames import Frame, New
from lakehouse.engine.declare.readers import Reader
from lakehouse.engine.declare.source import Files, Snapshots
from lakehouse.engine.declare.table import Declaration, declare
from lakehouse.engine.declare.write import Append, History, Merge, Overwrite, Vanished
from lakehouse_tests.driver import House, files_per_batch, finding, lines, red


class Shown(Bronze):
    """One row per customer and snapshot."""

    dt: date = column("Day of the snapshot")
    who: int = column("Customer")
    country: str = column("Where", nullable=True)
    orders: int = column("So far")


def shown() -> Frame[Shown]: ...


class Lived(Silver):
    """One row per version of a customer."""

    who: int = column("Customer", key=True, ge=0)
    country: str = column("Where", nullable=True)
    orders: int = column("So far")
    since: date = column("First day", key=True)
    valid_to: date = column("First day no longer", nullable=True)


def lived(rows: New[Shown]) -> Frame[Lived]:
    return rows.select("who", "country", "orders", since="dt")


SHOWN = declare(shown, write=Append(), source=Snapshots("shown/dt=*/*.jsonl", formats=JsonLines(), valid_at="dt"))
KEPT_OPEN = History("since", tracks=["country"])
CLOSED = replace(KEPT_OPEN, vanished=Vanished.CLOSED)
LIVED = declare(lived, write=KEPT_OPEN, conserves="rows")
ENDED = replace(LIVED, write=CLOSED)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


type Shot = Mapping[int, tuple[str | None, int | str]]
"""Of one day, by customer: country and orders; orders that are text do not read."""


def land(house: House, day: int, shot: Shot, *, broken: bool = False) -> None:
    rows = [json.dumps({"who": who, "country": country, "orders": orders}) for who, (country, orders) in shot.items()]
    house.land(f"shown/dt=2024-05-{day:02}/all.jsonl", lines(*rows, *(["{torn"] if broken else [])))


def versions(house: House, declared: Declaration = LIVED) -> list[tuple[object, ...]]:
    """(who, country, orders, first day, first day no longer), in order; the days as numbers."""
    days = [pl.col("since").dt.day(), pl.col("valid_to").dt.day()]
    return house.rows(declared).sort("who", "since").select("who", "country", "orders", *days).rows()


def test_a_version_begins_where_a_tracked_column_changes_and_holds_what_was_last_seen_of_the_others(house: House):
    land(house, 1, {1: ("FR", 1), 2: ("UK", 1)})
    land(house, 2, {1: ("FR", 2), 2: ("UK", 1)})
    land(house, 3, {1: ("ES", 3), 2: ("UK", 5), 3: (None, 1)})
    done = house.drain(SHOWN, LIVED)
    expected = [(1, "FR", 2, 1, 3), (1, "ES", 3, 3, None), (2, "UK", 5, 1, None), (3, None, 1, 3, None)]
    assert versions(house) == expected
    assert done[LIVED.key][0].facts["versions_begun"] == 4
    land(house, 8, {1: ("FR", 4), 2: ("UK", 5), 3: (None, 1)})
    done = house.drain(SHOWN, LIVED)
    facts = done[LIVED.key][0].facts
    assert (facts["versions_begun"], facts["versions_ended"], facts["rows_of_standing_versions"]) == (1, 1, 2)
    assert versions(house)[:3] == [(1, "FR", 2, 1, 3), (1, "ES", 3, 3, 8), (1, "FR", 4, 8, None)]


def test_where_none_is_named_every_column_but_the_key_is_tracked(house: House):
    every = replace(LIVED, write=History("since"))
    land(house, 1, {1: ("FR", 1)})
    land(house, 2, {1: ("FR", 2)})
    house.drain(SHOWN, every)
    assert versions(house, every) == [(1, "FR", 1, 1, 2), (1, "FR", 2, 2, None)]


def test_what_a_snapshot_no_longer_holds_stays_open_or_is_closed_as_declared(house: House):
    for day, shot in ((1, {1: ("FR", 1), 2: ("UK", 1)}), (2, {2: ("UK", 1)}), (3, {1: ("FR", 2), 2: ("UK", 1)})):
        land(house, day, shot)
        house.drain(SHOWN, LIVED)
    assert versions(house) == [(1, "FR", 2, 1, None), (2, "UK", 1, 1, None)]
    house.run(ENDED, rebuild=True)
    closed = [(1, "FR", 1, 1, 2), (1, "FR", 2, 3, None), (2, "UK", 1, 1, None)]
    assert versions(house) == closed


def test_a_snapshot_that_comes_late_ends_what_it_does_not_hold(house: House):
    for day, shot in ((1, {1: ("FR", 1), 2: ("UK", 1)}), (3, {1: ("FR", 1), 2: ("UK", 1)}), (2, {2: ("UK", 1)})):
        land(house, day, shot)
        house.drain(SHOWN, ENDED)
    assert versions(house) == [(1, "FR", 1, 1, 2), (1, "FR", 1, 3, None), (2, "UK", 1, 1, None)]


@pytest.mark.parametrize("how", ["a value that does not read", "a line that is torn", "a rule that is broken"])
def test_a_snapshot_of_which_rows_were_set_aside_closes_nothing(house: House, how: str):
    land(house, 1, {1: ("FR", 1), 2: ("UK", 1)})
    house.drain(SHOWN, ENDED)
    more: Shot = {"a value that does not read": {3: ("ES", "1O")}, "a rule that is broken": {-1: ("ES", 1)}}.get(
        how, {}
    )
    land(house, 2, {2: ("UK", 1), **more}, broken=how == "a line that is torn")
    house.drain(SHOWN, ENDED)
    assert versions(house) == [(1, "FR", 1, 1, None), (2, "UK", 1, 1, None)]
    land(house, 3, {2: ("UK", 1)})
    house.drain(SHOWN, ENDED)
    assert versions(house) == [(1, "FR", 1, 1, 3), (2, "UK", 1, 1, None)]


def test_a_corrected_snapshot_makes_the_versions_as_if_it_had_come_so_at_first(house: House):
    land(house, 1, {1: ("FR", 1), 2: ("UK", 1)})
    land(house, 2, {1: ("ES", 1), 2: ("UK", 1), 7: ("ES", 1)})
    house.drain(SHOWN, LIVED)
    land(house, 2, {1: ("FR", 1), 2: ("UK", 1)})
    work = house.drain(SHOWN, LIVED)[LIVED.key][0]
    assert versions(house) == [(1, "FR", 1, 1, None), (2, "UK", 1, 1, None)]
    assert finding(work, "conserves").facts["superseded_on_arrival"] == "0"  # what came is counted, not what stood
    assert red(work) == {}


def test_a_history_is_not_made_of_files_that_the_ledger_does_not_know(house: House):
    land(house, 1, {1: ("FR", 1)})
    house.drain(SHOWN, LIVED)
    ledger = house.root / "lake" / "ledger" / SHOWN.key
    ledger.rename(house.root / "away")
    with pytest.raises(Refused, match=r"bronze/shown stands at batch 1, and its ledger \(.*\) ends with batch 0: "):
        house.run(LIVED, rebuild=True)
    (house.root / "away").rename(ledger)
    house.run(LIVED, rebuild=True)
    assert versions(house) == [(1, "FR", 1, 1, None)]


def test_an_increment_writes_only_what_changed(house: House):
    land(house, 1, dict.fromkeys(range(100), ("FR", 1)))
    house.drain(SHOWN, LIVED)
    land(house, 2, {who: ("FR" if who else "ES", 1) for who in range(100)})
    work = house.drain(SHOWN, LIVED)[LIVED.key][0]
    assert work.delivery is not None
    assert work.delivery.accepted.height == 2
    assert not work.delivery.whole


# ---- for any snapshots ----


type _Rows = tuple[tuple[int, tuple[str | None, int | str]], ...]


@dataclass(frozen=True)
class Step:
    """A snapshot is put; then perhaps everything is run, in batches of so many files."""

    day: int
    shot: _Rows
    batch: int | None


rows = st.tuples(st.sampled_from([None, "FR", "ES"]), st.sampled_from([1, 1, 1, 2, "1O"]))
steps = st.lists(
    st.builds(
        Step,
        day=st.integers(2, 6),
        shot=st.dictionaries(st.integers(1, 2), rows, max_size=2).map(lambda shot: tuple(shot.items())),
        batch=st.none() | st.integers(1, 3),
    ),
    min_size=1,
    max_size=6,
)


def told(shots: Mapping[int, Shot], *, closes: bool) -> list[tuple[object, ...]]:
    """The versions that follow, worked out day by day."""
    held: dict[int, list[list[object]]] = {}
    for day in sorted(shots):
        reads = {who: row for who, row in shots[day].items() if not isinstance(row[1], str)}
        for who, (country, orders) in reads.items():
            past = held.setdefault(who, [])
            if past and past[-1][4] is None and past[-1][1] == country:
                past[-1][2] = orders
                continue
            if past and past[-1][4] is None:
                past[-1][4] = day
            past.append([who, country, orders, day, None])
        if closes and reads and len(reads) == len(shots[day]):
            for past in held.values():
                if past[-1][0] not in reads and past[-1][4] is None:
                    past[-1][4] = day
    return [tuple(version) for who in sorted(held) for version in held[who]]


@pytest.mark.parametrize("declared", [LIVED, ENDED], ids=["kept open", "closed"])
@given(steps)
@example([Step(2, (), 1), Step(2, ((1, (None, 1)),), 1), Step(2, (), None)])
@settings(max_examples=max(12, settings().max_examples // 40))
def test_the_versions_are_those_of_the_snapshots_however_they_came(declared: Declaration, made: list[Step]):
    closes = declared is ENDED
    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder))
        lying: dict[int, _Rows] = {}
        taken: dict[int, list[_Rows]] = {}
        # the first one, so that a rebuild never finds that nothing reads; the last one, since all is run at the end
        for step in (Step(1, ((9, ("UK", 1)),), None), *made, Step(7, (), 1_000)):
            land(house, step.day, dict(step.shot))
            lying[step.day] = step.shot
            if step.batch is not None:
                with files_per_batch(step.batch):
                    house.drain(SHOWN, declared)
                for day, shot in lying.items():
                    # what a correction took the place of does not come back: its content was there before
                    if shot not in taken.setdefault(day, []):
                        taken[day].append(shot)
        shots = {day: dict(each[-1]) for day, each in taken.items()}
        assert versions(house) == told(shots, closes=closes)
        house.run(declared, rebuild=True)
        assert versions(house) == told(shots, closes=closes)


# ---- what cannot be declared ----


class NoEnd(Silver):
    """One row per version."""

    who: int = column("Customer", key=True)
    since: date = column("First day", key=True)


class NoKey(Silver):
    """One row per version."""

    who: int = column("Customer", key=True)
    since: date = column("First day")
    valid_to: date = column("First day no longer", nullable=True)


class Last(Silver):
    """One row per customer."""

    who: int = column("Customer", key=True)
    seen: date = column("Day")


def last(rows: New[Shown]) -> Frame[Last]:
    return rows.select("who", seen="dt")


LAST = declare(last, write=Merge(newest_by="seen"))


class OfLast(Silver):
    """One row per version."""

    who: int = column("Customer", key=True)
    seen: date = column("Day", key=True)
    valid_to: date = column("First day no longer", nullable=True)


def no_end(rows: New[Shown]) -> Frame[NoEnd]:
    return rows.select("who", since="dt")


def no_key(rows: New[Shown]) -> Frame[NoKey]:
    return rows.select("who", since="dt")


def of_last(rows: Frame[Last]) -> Frame[OfLast]:
    return rows


@pytest.mark.parametrize(
    ("transform", "write", "said"),
    [
        (no_end, History("since"), "NoEnd needs `valid_to: … = column"),
        (no_key, History("since"), "the key of NoKey is who, and 'since'"),
        (lived, History("first"), "names no column of Lived"),
        (lived, History("orders"), "Int64 is no day or moment; make it a `date` or `Utc`"),
        (lived, History("since", tracks=["county"]), "'county' is no column of Lived"),
        (of_last, History("seen"), "silver/last is written by Merge.*, which forgets what was"),
        (last, Merge(newest_by="sene"), "names no column of Last"),
        (last, Merge(newest_by="seen", replaces="who"), "say one of them"),
    ],
)
def test_what_cannot_work_is_refused_with_the_way_out(transform: object, write: object, said: str):
    with pytest.raises(DeclarationError, match=said):
        declare(transform, write=write)  # type: ignore[arg-type] # as a table file may have it


type Wall = Annotated[datetime, Measure(pl.Datetime("us"))]


def test_versions_begin_at_a_moment_of_a_zone_though_the_readers_know_others():
    class OfWall(Silver):
        """One row per version."""

        who: int = column("Customer", key=True)
        since: Wall = column("By the clock on the wall", key=True)
        valid_to: Wall = column("When it was no longer so", nullable=True)

    def of_wall(rows: New[Shown]) -> Frame[OfWall]:
        return rows.select("who", since=pl.col("dt").cast(pl.Datetime("us")))

    said = r"time_zone=None\) is no day or moment; make it a `date` or `Utc`"
    with pytest.raises(DeclarationError, match=said):
        declare(of_wall, write=History("since"), readers=(Reader.DELTA_RS, Reader.DATABRICKS))


class Loose(Bronze):
    """One row per line."""

    dt: date = column("Day")
    who: int = column("Customer")


def loose() -> Frame[Loose]: ...


declare(loose, write=Append(), source=Files("loose/*", formats=JsonLines()))


def of_loose(rows: New[Loose]) -> Frame[OfLast]:
    return rows.select("who", seen="dt")


def test_only_snapshots_tell_that_something_vanished():
    with pytest.raises(DeclarationError, match=r"reads the New rows of one table whose source is Snapshots"):
        declare(of_loose, write=History("seen", vanished=Vanished.CLOSED))


def test_a_history_is_read_as_a_frame_only():
    class Read(Silver):
        """One row per version."""

        who: int = column("Customer", key=True)

    def read(rows: New[Lived]) -> Frame[Read]:
        return rows.select("who")

    read.__annotations__ = {"rows": New[Lived], "return": Frame[Read]}
    with pytest.raises(DeclarationError, match=r"written by History\(\), which replaces rows. Read Frame\[Lived\]"):
        declare(read, write=Append())
    read.__annotations__ = {"rows": Frame[Lived], "return": Frame[Read]}
    assert [each.upstream for each in declare(read, write=Overwrite()).reads] == [LIVED]


# ---- newest_by ----


def test_the_greatest_value_wins_whatever_arrives_last(house: House):
    land(house, 5, {1: ("FR", 1), 2: ("FR", 1)})
    house.drain(SHOWN, LAST)
    land(house, 3, {1: ("FR", 1), 3: ("FR", 1)})
    work = house.drain(SHOWN, LAST)[LAST.key][0]
    assert house.rows(LAST).sort("who").select("who", pl.col("seen").dt.day()).rows() == [(1, 5), (2, 5), (3, 3)]
    assert (work.facts["rows_accepted"], work.facts["rows_superseded"]) == (2, 0)  # what stands is asked by the merge


def test_of_equal_values_the_later_arrival_wins_also_within_a_batch(house: House):
    land(house, 5, {1: ("FR", 1)})
    land(house, 3, {1: ("FR", 1)})
    house.drain(SHOWN, LAST)
    assert house.rows(LAST)["seen"].dt.day().to_list() == [5]
