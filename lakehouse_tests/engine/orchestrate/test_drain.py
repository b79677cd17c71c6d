"""`drain`: what is due is run until nothing is, and what was refused is not tried again for nothing."""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from lakehouse import Append, Bronze, Files, Frame, Gold, JsonLines, Overwrite, column, table
from lakehouse.engine.orchestrate.run import Ran, drain, run_job
from lakehouse_tests.driver import House
from resources.delta_io_manager import DeltaIOManager


class Slips(Bronze):
    """One row per slip."""

    no: str = column("Number of the slip")
    pieces: int = column("Pieces")


class Total(Gold):
    """One row."""

    name: str = column("What is counted", key=True)
    pieces: int = column("All pieces", le=10)


@table(source=Files("slips/*.jsonl", formats=JsonLines(), settle=timedelta(0)), write=Append())
def slips() -> Frame[Slips]: ...


@table(write=Overwrite())
def total(sent: Frame[Slips]) -> Frame[Total]:
    return sent.select(name=pl.lit("pieces"), pieces=pl.col("pieces").sum())


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def land(house: House, name: str, pieces: int) -> None:
    house.land(f"slips/{name}.jsonl", f'{{"no":"{name}","pieces":{pieces}}}\n')


def drained(house: House, instance: dg.DagsterInstance, *, meanwhile: Callable[[], None] = lambda: None) -> list[Ran]:
    place = house.place
    resources = {"lake": place.lake, "landing": place.landing, "io_manager": DeltaIOManager(lake=place.lake)}
    definitions = dg.Definitions([slips, total], resources=resources)

    def run(keys: Sequence[str]) -> dg.ExecuteInProcessResult:
        result = run_job(definitions, keys, instance, why="a test")
        meanwhile()
        return result

    return list(drain([slips, total], place, run))


def test_what_is_due_runs_once_with_all_that_is_downstream(house: House, instance: dg.DagsterInstance):
    land(house, "a", 1)
    assert [(each.key, each.rows_written) for each in drained(house, instance)] == [
        ("bronze/slips", 1),
        ("gold/total", 1),
    ]
    assert drained(house, instance) == []


def test_a_table_that_was_refused_before_is_refused_once_more_when_something_new_came(
    house: House, instance: dg.DagsterInstance
):
    for name in "ab":
        land(house, name, 11)
        ran = drained(house, instance)
        assert [(each.key, bool(each.error)) for each in ran] == [("bronze/slips", False), ("gold/total", True)]
    assert [each.key for each in drained(house, instance)] == ["gold/total"]


def test_what_another_process_lands_while_a_table_is_refused_is_tried_in_the_same_drain(
    house: House, instance: dg.DagsterInstance
):
    land(house, "a", 11)

    def another_lands_once() -> None:
        if not house.file("slips/b.jsonl").exists():
            land(house, "b", -5)
            house.run(slips.declaration)

    ran = drained(house, instance, meanwhile=another_lands_once)
    assert [(each.key, bool(each.error)) for each in ran] == [
        ("bronze/slips", False),
        ("gold/total", True),
        ("gold/total", False),
    ]
