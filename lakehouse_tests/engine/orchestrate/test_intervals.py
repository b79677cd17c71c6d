"""Of a table that keeps its history, each run asks whether the versions of what it touched follow each other."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from deltalake import write_deltalake

from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.delta.history import Versions
from lakehouse.engine.orchestrate.checks import FOLLOW
from lakehouse.engine.orchestrate.work import Work
from lakehouse_tests.driver import House, finding, red
from lakehouse_tests.engine.orchestrate.test_history import ENDED, LIVED, SHOWN, land, versions

type Version = tuple[int, int, int | None]
"""Who, first day, first day no longer."""
OF = Versions(("who",), "since", ("country",))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def day(number: int | None) -> date | None:
    return None if number is None else date(2024, 5, number)


def laid(rows: Sequence[Version]) -> pl.LazyFrame:
    schema = {"who": pl.Int64, "since": pl.Date, "valid_to": pl.Date}
    return pl.LazyFrame([(who, day(since), day(until)) for who, since, until in rows], schema, orient="row")


def broken(rows: Sequence[Version], *, gapless: bool) -> list[tuple[int, int]]:
    return OF.broken(laid(rows), gapless=gapless).select("who", pl.col("since").dt.day()).rows()


@pytest.mark.parametrize(
    ("rows", "where_gapless", "where_it_may_end"),
    [
        ([(1, 1, 3), (1, 3, None), (2, 1, None)], [], []),
        ([(2, 1, None), (1, 3, None), (1, 1, 3)], [], []),
        ([(1, 1, 4), (1, 3, None)], [(1, 1)], [(1, 1)]),
        ([(1, 1, None), (1, 3, None)], [(1, 1)], [(1, 1)]),
        ([(1, 1, 2), (1, 3, None)], [(1, 1)], []),
        ([(1, 1, 3), (1, 3, 5), (2, 1, None)], [(1, 3)], []),
        ([(1, 2, 2), (1, 3, None)], [(1, 2)], [(1, 2)]),
        ([(1, 3, 1)], [(1, 3)], [(1, 3)]),
        ([(1, 3, None), (1, 3, None)], [(1, 3)], [(1, 3)]),
    ],
    ids=[
        "as it must be", "in any order", "one overlaps", "two are open", "a gap", "none is open", "of no time",
        "ends before it begins", "twice",
    ],
)  # fmt: skip
def test_versions_that_do_not_follow_each_other_are_named(
    rows: Sequence[Version], where_gapless: object, where_it_may_end: object
):
    assert broken(rows, gapless=True) == where_gapless
    assert broken(rows, gapless=False) == where_it_may_end


def damage(house: House, declared: Declaration, version: Version) -> None:
    """Another writer adds a version."""
    handle = house.open(declared)
    assert handle is not None
    row = laid([version]).with_columns(country=pl.lit("XX"), orders=1).select(handle.schema.names()).collect()
    write_deltalake(str(house.root / "lake" / declared.key), row.cast(handle.schema), mode="append")


def refused(house: House, declared: Declaration) -> Work:
    work = house.run(declared)
    assert work.delivery is None
    return work


@pytest.mark.parametrize("declared", [LIVED, ENDED], ids=["kept open", "closed"])
def test_what_another_writer_broke_is_refused_as_soon_as_its_thing_is_touched(house: House, declared: Declaration):
    land(house, 1, {1: ("FR", 1), 2: ("UK", 1)})
    land(house, 3, {1: ("ES", 1), 2: ("UK", 1)})
    house.drain(SHOWN, declared)
    damage(house, declared, (1, 2, 4))
    land(house, 5, {1: ("ES", 1), 2: ("FR", 1)})
    done = house.drain(SHOWN, declared)[declared.key][0]
    was = house.open(declared)
    assert red(done) == {}
    assert finding(done, FOLLOW).facts == {"failed": 0, "of": 2}
    land(house, 6, {1: ("FR", 1), 2: ("FR", 1)})
    house.drain(SHOWN)
    work = refused(house, declared)
    assert red(work) == {FOLLOW: "ERROR"}
    assert "who = 1, since = 2024-05-0" in str(finding(work, FOLLOW).facts["examples"])
    assert was is not None
    stands = f"Nothing was written; version {was.version} stands. Make it anew: lakehouse rebuild {declared.key}+"
    assert (work.refusal or "").endswith(stands)
    house.run(declared, rebuild=True)
    assert [each[:2] for each in versions(house, declared) if each[0] == 1] == [(1, "FR"), (1, "ES"), (1, "FR")]


def test_only_files_that_may_hold_what_came_are_looked_into(house: House):
    for first in (0, 1_000):
        land(house, 1 + first // 1_000, dict.fromkeys(range(first, first + 100), ("FR", 1)))
        house.drain(SHOWN, LIVED)
    handle = house.open(LIVED)
    assert handle is not None
    first = handle.files()["path"][0]
    (house.root / "lake" / LIVED.key / first).unlink()
    land(house, 5, {1_007: ("ES", 1)})
    assert finding(house.drain(SHOWN, LIVED)[LIVED.key][0], FOLLOW).passed
    land(house, 4, {1_008: ("ES", 1)})
    assert not any(each.delivery.whole for each in house.drain(SHOWN, LIVED)[LIVED.key] if each.delivery)
