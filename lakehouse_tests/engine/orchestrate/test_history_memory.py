"""Versions are made of some things after the others where those of all at once would take too much memory."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from lakehouse import Append, Bronze, Files, Frame, History, JsonLines, New, Silver, Vanished, column
from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.table import declare
from lakehouse.engine.delta import memory
from lakehouse.engine.delta.files import write_files
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.orchestrate.history import Made, Seen
from lakehouse.engine.orchestrate.work import SEEN
from lakehouse_tests.engine.delta.cores import GIVES_BACK, check_memory_ran_out, run


class Shown(Bronze):
    """One row per thing and day."""

    no: int = column("Number")
    at: date = column("Day")
    a: int = column("Something")
    b: int = column("Something")
    c: int = column("Something")
    d: int = column("Something")


class Things(Silver):
    """One row per version."""

    no: int = column("Number", key=True)
    at: date = column("Day", key=True)
    valid_to: date = column("First day no longer", nullable=True)
    a: int = column("Something")
    b: int = column("Something")
    c: int = column("Something")
    d: int = column("Something")


def shown() -> Frame[Shown]: ...


declare(shown, write=Append(), source=Files("shown/*", formats=JsonLines()))


def things(rows: New[Shown]) -> Frame[Things]:
    return rows.select("no", "at", "a", "b", "c", "d")


DECLARED = declare(things, write=History("at"))
SCHEMA = DECLARED.schema


def said(count: int, day: int, turn: int) -> pl.DataFrame:
    no = pl.int_range(count, eager=True).alias("no")
    frame = no.to_frame().with_columns(at=pl.lit(date(2024, 1, day)), valid_to=pl.lit(None, pl.Date))
    what = (pl.col("no") // turn).hash
    frame = frame.with_columns(what(place).reinterpret(signed=True).alias(name) for place, name in enumerate("abcd"))
    return frame.select(SCHEMA.names())


def stood(address: Address, count: int) -> Handle:
    handle = Handle.create(address, SCHEMA)
    seen = {SEEN: int(datetime(2024, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000}
    return handle.commit(write_files(handle, said(count, 1, 1), rows_per_file=50_000), [], seen, {})


def made(own: Handle, seen: pl.DataFrame, most: int, vanished: Vanished = Vanished.KEPT_OPEN) -> Made:
    nothing: object = None
    place = Place(nothing, nothing, memory=most)  # type: ignore[arg-type] # it is not looked at
    return Seen(DECLARED, History("at", vanished=vanished), own, seen, seen.clear(), ()).versions(place, ())


@pytest.mark.parametrize("vanished", Vanished)
def test_versions_that_are_made_part_by_part_are_those_that_are_made_at_once(tmp_path, monkeypatch, vanished):
    own, seen = stood(Address(str(tmp_path / "t")), 500), said(700, 2, 3)
    seen = seen.filter(pl.col("no") % 5 != 0)
    at_once = made(own, seen, 1 << 40, vanished)
    monkeypatch.setattr(memory, "ALWAYS", 0)
    parted = made(own, seen, 4 * int(seen.estimated_size()), vanished)
    assert parted.facts.pop("versions_made_in_parts") > 2
    assert parted.versions.equals(at_once.versions.sort("no", "at"))
    assert (parted.facts, parted.transactions) == (at_once.facts, at_once.transactions)
    assert at_once.facts["versions_begun"] > 200
    assert at_once.facts["versions_ended"] == (500 if vanished is Vanished.CLOSED else 400)


def test_of_a_table_in_which_much_stands_a_small_snapshot_is_taken_in_parts(tmp_path, monkeypatch):
    own, seen = stood(Address(str(tmp_path / "t")), 50_000), said(7, 2, 1)
    monkeypatch.setattr(memory, "ALWAYS", 0)
    told = made(own, seen, 4_000_000, Vanished.CLOSED)
    assert told.facts["versions_made_in_parts"] > 2
    assert told.facts["versions_ended"] == 50_000 - 7
    assert told.transactions == {SEEN: 19724 * 86_400_000_000}


def test_no_thing_is_made_in_a_part_of_its_own_where_there_is_memory_enough(tmp_path):
    assert "versions_made_in_parts" not in made(stood(Address(str(tmp_path / "t")), 5), said(5, 2, 1), 64 << 20).facts


@pytest.mark.parametrize("vanished", Vanished)
def test_versions_that_stand_count_as_they_unfold_where_what_was_seen_says_nothing(tmp_path, vanished):
    address = Address(str(tmp_path / "t"))
    schema = pl.Schema({**SCHEMA, "text": pl.String()})
    long = pl.lit("some words that are said again " * 50)
    handle = Handle.create(address, schema)
    handle = handle.commit(write_files(handle, said(5_000, 1, 1).with_columns(text=long)), [], {}, {})
    seen = said(5_000, 2, 2).with_columns(text=pl.lit(None, pl.String))
    near = None if vanished is Vanished.CLOSED else handle.files()["path"].to_list()
    budget = memory.ALWAYS + 20_000_000
    assert memory.versions_at_once(seen, handle, near, budget) > 2
    assert memory.versions_at_once(seen, None, None, budget) == 1


# ---- what is really taken, by a process of its own

MAKE = """
import json, sys
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta.handle import Handle
from lakehouse import Vanished
from lakehouse_tests.engine.orchestrate.test_history_memory import made, said

address, vanished, count, limit, budget = sys.argv[1], Vanished(sys.argv[2]), *map(int, sys.argv[3:])
own, seen = Handle.open(Address(address)), said(count, 2, 2)
made(own, seen.head(10), 1 << 30)
give_no_more_than(limit)
told = made(own, seen, budget, vanished)
print(json.dumps({"begun": told.facts["versions_begun"], "parts": "versions_made_in_parts" in told.facts}))
"""


@pytest.mark.parametrize("cores", [2, *(pytest.param(each, marks=pytest.mark.long) for each in (8, 32))])
@pytest.mark.parametrize("vanished", [Vanished.KEPT_OPEN, pytest.param(Vanished.CLOSED, marks=pytest.mark.long)])
def test_a_history_keeps_to_its_budget_where_the_kernel_gives_no_more_and_is_killed_at_once(
    tmp_path: Path, vanished: Vanished, cores: int
):
    address, count, budget = Address(str(tmp_path / "t")), 400_000, 200_000_000
    stood(address, count)
    kept, killed = (
        run(MAKE, address.uri, vanished.value, count, budget, most, cores=cores, beside=GIVES_BACK)
        for most in (budget, 1 << 40)
    )
    assert kept.returncode == 0, kept.stderr[-2_000:]
    assert json.loads(kept.stdout)["parts"]
    check_memory_ran_out(killed)
