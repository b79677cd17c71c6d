"""What a person is told while work takes long."""

from datetime import timedelta
from io import StringIO
from pathlib import Path

import dagster as dg
import pytest
from rich.console import Console

from lakehouse import Append, Bronze, Files, Frame, JsonLines, column, table
from lakehouse.cli_progress import watched as on_a_terminal
from lakehouse.engine.orchestrate import progress
from lakehouse.engine.orchestrate.bronze import land
from lakehouse.engine.orchestrate.progress import watched, watching
from lakehouse.engine.orchestrate.run import run_job
from lakehouse.engine.orchestrate.sensor import WHY
from lakehouse_tests.driver import House
from resources.delta_io_manager import DeltaIOManager

pytestmark = pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning")


class Slips(Bronze):
    """One row per slip. Source: this test."""

    no: str = column("Number of the slip")


@table(source=Files("slips/*", formats=JsonLines(), settle=timedelta(0)), write=Append())
def slips() -> Frame[Slips]: ...


SLIPS = slips.declaration


@pytest.fixture
def house(tmp_path: Path) -> House:
    house = House(tmp_path)
    for place in range(3):
        house.land(f"slips/{place}", '{"no":"1"}\n' + f'{{"no":"{place}"}}\n')
    return house


def run(house: House, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    place = house.place
    resources = {"lake": place.lake, "landing": place.landing, "io_manager": DeltaIOManager(lake=place.lake)}
    definitions = dg.Definitions([slips], resources=resources)
    return run_job(definitions, ["bronze/slips"], instance, why="a test")


def test_a_batch_tells_before_each_file_how_many_were_read_and_the_records_they_held(house: House):
    told: list[tuple[int, int, int]] = []
    land(SLIPS, house.place, progress=lambda *far: told.append(far))
    house.run(SLIPS)
    land(SLIPS, house.place, progress=lambda *far: told.append(far), rebuild=True)
    land(SLIPS, house.place, progress=lambda *far: told.append(far), reingest="slips/*")
    assert told == [(0, 3, 0), (1, 3, 2), (2, 3, 4)] * 3


def test_a_planned_batch_that_is_taken_up_again_tells_too(house: House):
    land(SLIPS, house.place)  # planned, and then killed
    told: list[tuple[int, int, int]] = []
    land(SLIPS, house.place, progress=lambda *far: told.append(far))
    assert told == [(0, 3, 0), (1, 3, 2), (2, 3, 4)]


def test_whoever_watches_hears_of_the_table_its_files_and_what_is_written(house: House):
    said: list[str] = []
    with dg.DagsterInstance.ephemeral() as instance, watching(said.append):
        result = run(house, instance)
        assert result.dagster_run.tags[WHY] == "a test"
    assert said == [
        "bronze/slips",
        "bronze/slips: 0 of 3 files read, 0 records",
        "bronze/slips: 1 of 3 files read, 2 records",
        "bronze/slips: 2 of 3 files read, 4 records",
        "bronze/slips: writing 6 rows",
    ]
    watched("nobody hears this")
    assert len(said) == 5


def lines_of(instance: dg.DagsterInstance, of: dg.ExecuteInProcessResult) -> list[str]:
    logged = [each for each in instance.all_logs(of.run_id) if each.dagster_event is None]
    return [each.user_message for each in logged]


def test_a_batch_leaves_lines_in_dagsters_log_and_one_that_is_quickly_done_none(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    with dg.DagsterInstance.ephemeral() as instance:
        assert lines_of(instance, run(house, instance)) == []
        house.land("slips/4", '{"no":"4"}\n')
        house.land("slips/5", '{"no":"5"}\n')
        monkeypatch.setattr(progress, "EVERY", 0)
        assert lines_of(instance, run(house, instance)) == [
            "0 of 2 files read, 0 records",
            "1 of 2 files read, 1 record",
        ]


def test_ten_seconds_pass_between_two_lines():
    logged: list[str] = []
    seconds = iter([0.0, 6.0, 12.0, 13.0, 21.9, 22.0])
    landing = progress.Landing("bronze/slips", logged.append, lambda: next(seconds))
    for files in range(5):
        landing(files, 9, 7)
    assert logged == ["1 of 9 files read, 7 records", "4 of 9 files read, 7 records"]


def test_a_terminal_shows_what_is_done_on_a_line_that_goes_and_a_file_gets_nothing():
    paper, file = StringIO(), StringIO()
    for written, is_terminal in ((paper, True), (file, False)):
        with on_a_terminal(Console(file=written, force_terminal=is_terminal), "Looking") as tell:
            watched("bronze/slips: 1 of 3 files read [of many]")
            tell("Looking again")
    assert "Looking again …" in paper.getvalue()
    assert paper.getvalue().endswith("\x1b[2K")
    assert file.getvalue() == ""
