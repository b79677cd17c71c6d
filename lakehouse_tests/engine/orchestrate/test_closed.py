"""A table that does not open stops its own run and what reads it; the others go on, and `status` tells of them all."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from lakehouse.engine.delta import known
from lakehouse.engine.orchestrate.run import drain, run_job
from lakehouse.engine.orchestrate.status import hints, left_stale, state, status
from lakehouse.engine.orchestrate.table import Table
from lakehouse_tests.driver import House
from lakehouse_tests.engine.delta.opening import opened
from lakehouse_tests.engine.orchestrate import test_remembered
from lakehouse_tests.engine.orchestrate.test_remembered import ALL, land, log, memory, notes, places, sums
from resources.delta_io_manager import DeltaIOManager

house = test_remembered.house
silver = test_remembered.known


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def flip(file: Path) -> None:
    """Other bytes where the pages are; its footer and its size stay."""
    content = bytearray(file.read_bytes())
    for each in range(4, len(content) // 3):
        content[each] ^= 0x5A
    file.write_bytes(content)


def close(house: House, each: Table) -> None:
    """Damage the first commit of a log that goes on after it: no cut of the power can have torn that."""
    log(house, each, 0).write_text("rubbish", encoding="utf-8")
    known.forget(house.place.table(each.declaration))


def ran(
    house: House, instance: dg.DagsterInstance, said: str = "is no Delta table that can be read"
) -> list[tuple[str, bool]]:
    """The tables that a run wrote, and those that were refused with what is `said`."""
    resources = {"lake": house.place.lake, "landing": house.place.landing}
    definitions = dg.Definitions(ALL, resources=resources | {"io_manager": DeltaIOManager(lake=house.place.lake)})

    def run(keys: Sequence[str], **words: Any) -> dg.ExecuteInProcessResult:
        return run_job(definitions, keys, instance, **words)

    done = list(drain(ALL, house.place, run, memory(house)))
    assert all(said in each.error for each in done if each.error)
    return [(each.key, not each.error) for each in done]


@pytest.mark.parametrize(
    ("closed", "told"),
    [
        (notes, [("bronze/notes", False)]),
        (silver, [("bronze/notes", True), ("silver/known", False)]),
        (sums, [("bronze/notes", True), ("silver/known", True), ("gold/sums", False), ("gold/places", True)]),
        (places, [("bronze/notes", True), ("silver/known", True), ("gold/sums", True), ("gold/places", False)]),
    ],
)
def test_what_does_not_hang_on_it_goes_on(
    house: House, instance: dg.DagsterInstance, closed: Table, told: list[tuple[str, bool]]
):
    land(house, "c")
    close(house, closed)
    assert ran(house, instance) == told
    refused = [each for each in told if not each[1]]
    assert ran(house, instance) == refused  # and every run says so


def test_a_ledger_that_does_not_open_stops_its_table_alone(house: House, instance: dg.DagsterInstance):
    ledger = house.place.ledger(notes.declaration)
    log_of = house.root / "lake" / "ledger" / "bronze" / "notes" / "_delta_log"
    (log_of / f"{0:020}.json").write_text("rubbish", encoding="utf-8")
    known.forget(ledger)
    shutil.rmtree(house.root / "lake" / "gold" / "sums")
    land(house, "c")
    assert sorted(ran(house, instance)) == [("bronze/notes", False), ("gold/sums", True)]


def test_where_nothing_of_it_is_due_the_run_of_its_reader_tells(house: House, instance: dg.DagsterInstance):
    close(house, silver)  # which is remembered as it stood
    shutil.rmtree(house.root / "lake" / "gold" / "sums")
    assert ran(house, instance) == [("gold/sums", False)]


def test_status_tells_it_once_and_where_all_others_stand(house: House, instance: dg.DagsterInstance):
    close(house, silver)
    found = {each.key: each for each in status(ALL, house.place, instance)}
    said = {key: state(each, list(found.values()), ALL) for key, each in found.items()}
    assert said == {"bronze/notes": "", "silver/known": "cannot be opened", "gold/sums": "", "gold/places": ""}
    assert (found["bronze/notes"].rows, found["silver/known"].version) == (2, None)
    [line] = hints(list(found.values()), ALL, house.place)
    assert line.startswith("silver/known: ")
    assert line.endswith("lakehouse table check silver/known")
    assert left_stale(ALL, house.place, memory(house)) == []


@pytest.mark.parametrize("damage", [flip, Path.unlink])
def test_a_damaged_file_is_named_by_the_run_that_reads_it(
    house: House, instance: dg.DagsterInstance, damage: Callable[[Path], None]
):
    path = next(iter(opened(house.place.table(silver.declaration)).files()["path"]))
    damage(house.root / "lake" / "silver" / "known" / path)
    shutil.rmtree(house.root / "lake" / "gold" / "sums")
    said = ran(house, instance, f"known: {path} is not ")
    assert said == [("gold/sums", False)]
    land(house, "a", pieces=3)  # a key that stands in it
    said = ran(house, instance, f"known: {path} is not ")
    assert said == [("bronze/notes", True), ("silver/known", False), ("gold/sums", False)]
