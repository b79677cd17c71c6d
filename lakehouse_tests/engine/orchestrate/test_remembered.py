"""What was found with nothing due is not looked at again, until anything changes that it hung on."""

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from lakehouse import (
    Append,
    Bronze,
    Files,
    Frame,
    Gold,
    JsonLines,
    Merge,
    New,
    Overwrite,
    ReplacePartition,
    Silver,
    column,
    table,
)
from lakehouse.engine.delta.delivery import deliver
from lakehouse.engine.delta.files import write_files
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.orchestrate import remembered as module
from lakehouse.engine.orchestrate.partitions import DagsterPartitions
from lakehouse.engine.orchestrate.remembered import Remembered
from lakehouse.engine.orchestrate.run import drain
from lakehouse.engine.orchestrate.status import left_stale
from lakehouse_tests.driver import House

SETTLE = timedelta(seconds=0.05)


class Notes(Bronze):
    """One row per note."""

    no: str = column("Number of the note")
    place: str = column("Where it was written")
    pieces: int = column("Pieces")


class Known(Silver):
    """One row per note."""

    no: str = column("Number of the note", key=True)
    place: str = column("Where it was written")
    pieces: int = column("Pieces")


class Sums(Gold):
    """One row per place."""

    place: str = column("Where it was written", key=True)
    pieces: int = column("All pieces", le=10)


class Places(Gold):
    """One row per place."""

    place: str = column("Where it was written", key=True)


@table(source=Files("notes/*.jsonl", formats=JsonLines(), settle=SETTLE), write=Append())
def notes() -> Frame[Notes]: ...


@table(write=Merge())
def known(sent: New[Notes]) -> Frame[Known]:
    return sent.select("no", "place", "pieces")


@table(write=Overwrite())
def sums(known: Frame[Known]) -> Frame[Sums]:
    return known.group_by("place").agg(pl.col("pieces").sum())


@table(write=ReplacePartition("place"), partitions_def=dg.StaticPartitionsDefinition(["Rye", "Ely"]))
def places(known: Frame[Known]) -> Frame[Places]:
    return known.select("place").unique()


ALL = [notes, known, sums, places]
KEYS = [each.declaration.key for each in ALL]


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Two batches went through every table, and all of it is remembered."""
    house = House(tmp_path)
    for name, place in (("a", "Rye"), ("b", "Ely")):
        land(house, name, place)
        made(house)
    assert due(house) == []
    return house


def land(house: House, name: str, place: str = "Rye", pieces: int = 1) -> None:
    house.land(f"notes/{name}.jsonl", f'{{"no":"{name}","place":"{place}","pieces":{pieces}}}\n')


def made(house: House) -> None:
    house.drain(notes.declaration, known.declaration, sums.declaration)
    work = house.work_of(places.declaration, ["Rye", "Ely"])
    assert work.delivery is not None
    deliver(work.delivery)


class AskedError(Exception):
    """A run was asked for."""


def due(house: House) -> list[str]:
    """The tables that a run would begin with, by what the file remembers."""
    asked: list[str] = []

    def run(keys: list[str], **_: object) -> dg.ExecuteInProcessResult:
        asked.extend(keys)
        raise AskedError

    with suppress(AskedError):
        list(drain(ALL, house.place, run, memory(house)))
    return asked


def memory(house: House) -> Remembered:
    return Remembered(house.place, house.root / "not_due.json")


def opened(house: House, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tables that a run opens to know that nothing is due."""
    seen: list[str] = []
    really = Handle.open

    def noting(address: object, version: int | None = None) -> Handle | None:
        seen.append("/".join(Path(str(address)).parts[-2:]))
        return really(address, version)  # type: ignore[arg-type] # as it was given

    with monkeypatch.context() as patched:
        patched.setattr(Handle, "open", noting)
        assert due(house) == []
    return seen


def log(house: House, each: dg.AssetsDefinition, version: int) -> Path:
    return house.root / "lake" / "/".join(each.key.path) / "_delta_log" / f"{version:020}.json"


def test_no_table_is_opened_while_all_stands_as_it_stood(house: House, monkeypatch: pytest.MonkeyPatch):
    assert opened(house, monkeypatch) == []


def test_what_one_file_changes_is_opened_and_nothing_else(house: House, monkeypatch: pytest.MonkeyPatch):
    land(house, "c")
    house.drain(notes.declaration, known.declaration)
    assert due(house)[0] == "gold/sums"
    house.drain(sums.declaration)
    made(house)
    opened(house, monkeypatch)
    house.run(sums.declaration, rebuild=True)
    assert opened(house, monkeypatch) == ["gold/sums", "silver/known"]


def a_file_lands(house: House) -> None:
    land(house, "c")


def a_file_is_corrected(house: House) -> None:
    land(house, "a", pieces=2)


def a_batch_is_planned(house: House) -> None:
    """By a run that then crashed: nothing has landed that is not known."""
    house.work(notes.declaration, reingest="a.jsonl")


def the_table_is_deleted(house: House) -> None:
    shutil.rmtree(log(house, sums, 0).parents[1])


def its_upstream_is_made_anew(house: House) -> None:
    """At the very version at which it stood, with other rows."""
    before = house.open(known.declaration)
    shutil.rmtree(log(house, known, 0).parents[1])
    house.run(known.declaration)
    write_a_row(house)
    now = house.open(known.declaration)
    assert before
    assert now
    assert (now.version, now.id != before.id) == (before.version, True)


def its_upstream_is_put_back(house: House) -> None:
    handle = house.open(known.declaration)
    assert handle
    log(house, known, handle.version).unlink()


def another_writes_its_upstream(house: House) -> None:
    write_a_row(house)


def write_a_row(house: House) -> None:
    handle = house.open(known.declaration)
    assert handle
    row = pl.DataFrame({"no": ["x"], "place": ["Rye"], "pieces": [1]}, schema=handle.schema)
    handle.commit(write_files(handle, row.lazy()), [], {}, {})


@pytest.mark.parametrize(
    ("change", "first"),
    [
        (a_file_lands, "bronze/notes"),
        (a_file_is_corrected, "bronze/notes"),
        (a_batch_is_planned, "bronze/notes"),
        (the_table_is_deleted, "gold/sums"),
        (its_upstream_is_made_anew, "gold/sums"),
        (its_upstream_is_put_back, "silver/known"),
        (another_writes_its_upstream, "gold/sums"),
    ],
)
def test_a_run_notices_when(house: House, change: Callable[[House], None], first: str):
    change(house)
    assert due(house)[0] == first


def test_what_is_declared_otherwise_is_looked_at_again(house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(vars(sums.declaration), "logic", 7)
    assert due(house) == ["gold/sums"]


def test_a_new_partition_is_looked_for(house: House, monkeypatch: pytest.MonkeyPatch):
    land(house, "c", "Wells")
    house.drain(notes.declaration, known.declaration, sums.declaration)
    made(house)
    assert due(house) == []
    wells = DagsterPartitions(dg.StaticPartitionsDefinition(["Rye", "Ely", "Wells"]))
    monkeypatch.setitem(vars(places.declaration), "partitions", wells)
    assert due(house) == ["gold/places"]


def test_other_code_judges_anew(house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_engine", lambda: "newer")
    assert set(opened(house, monkeypatch)) >= set(KEYS)


def test_another_lake_is_another_matter(house: House, tmp_path: Path):
    other = House(tmp_path / "other")
    shutil.copytree(house.root / "lake", other.root / "lake")
    shutil.copytree(house.root / "landing", other.root / "landing")
    shutil.rmtree(log(other, sums, 0).parents[1])
    shutil.copy(house.root / "not_due.json", other.root / "not_due.json")
    assert due(other) == ["gold/sums"]
    assert due(house) == []


def test_a_file_whose_clock_is_ahead_is_taken_once_it_has_settled(house: House):
    ahead = datetime.now(UTC) + timedelta(seconds=1)
    house.land("notes/c.jsonl", '{"no":"c","place":"Rye","pieces":1}\n', modified_at=ahead)
    assert due(house) == []
    time.sleep(1 + 2 * SETTLE.total_seconds())
    assert due(house)[0] == "bronze/notes"


def test_a_refused_table_is_tried_again_by_every_run(house: House):
    land(house, "c", pieces=11)
    house.drain(notes.declaration, known.declaration)
    assert house.run(sums.declaration).refusal
    for _ in range(2):
        assert due(house) == ["gold/sums"]


def test_a_table_with_rows_of_an_older_logic_is_told_of_by_every_run(house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(vars(known.declaration), "logic", 7)
    for _ in range(2):
        remembered = memory(house)
        assert list(drain(ALL, house.place, lambda _: pytest.fail("nothing is due"), remembered)) == []
        assert left_stale(ALL, house.place, remembered) == ["silver/known"]


def test_a_table_that_moved_far_is_found(house: House, monkeypatch: pytest.MonkeyPatch):
    for _ in range(12):  # past what begins as the version that is remembered
        house.run(sums.declaration, rebuild=True)
    assert opened(house, monkeypatch)
    assert opened(house, monkeypatch) == []
    another_writes_its_upstream(house)
    assert due(house) == ["gold/sums"]


def test_many_batches_are_listed_ledger_by_ledger(house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "BATCHES_TOGETHER", 0)
    assert opened(house, monkeypatch) == []
    a_batch_is_planned(house)
    assert due(house)[0] == "bronze/notes"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"versions": 1}'])
def test_a_file_that_is_lost_or_broken_costs_time_only(house: House, monkeypatch: pytest.MonkeyPatch, text: str):
    (house.root / "not_due.json").write_text(text)
    assert set(opened(house, monkeypatch)) >= set(KEYS)
    assert opened(house, monkeypatch) == []
