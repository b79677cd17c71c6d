import os
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from lakehouse import Append, Bronze, Files, Frame, JsonLines, column, table
from lakehouse.engine.declare.errors import DeclarationError
from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.ports import Found
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.orchestrate import sensor as sensors
from lakehouse.engine.orchestrate.sensor import ARRIVALS, WHY, arrivals_sensor
from lakehouse.engine.orchestrate.table import Table
from lakehouse.tables.silver.orders import orders
from lakehouse_tests.opened import tell
from resources.delta_io_manager import DeltaIOManager
from resources.local_disk import LocalDisk

pytestmark = pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning")

LEFT = '{"pattern": "notes/*.jsonl", "batch": 0, "began": "9999-09-09T09:09:09Z", "after": "x", "known": 7}'

# Dagster wants to know of a queued run where its code is.
SOMEWHERE = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("lakehouse"), "__repository__")
AT_ONCE = dg.RetryPolicy(max_retries=1)


class Notes(Bronze):
    """One row per note. Source: this test."""

    note_no: str = column("Number of the note")


@table(source=Files("notes/*.jsonl", formats=JsonLines(), settle=timedelta(0)), write=Append(), retry_policy=AT_ONCE)
def notes() -> Frame[Notes]: ...


class SlowNotes(Bronze):
    """One row per note, of files that are long in coming. Source: this test."""

    note_no: str = column("Number of the note")


@table(source=Files("notes/*.jsonl", formats=JsonLines(), settle=timedelta(hours=1)), write=Append())
def slow_notes() -> Frame[SlowNotes]: ...


@dataclass
class House:
    """A lake, a landing and a Dagster instance in memory, with what happens to them."""

    lake: LocalDisk
    landing: LocalDisk
    instance: dg.DagsterInstance
    cursor: str | None = None

    @property
    def resources(self) -> dict[str, object]:
        return {"lake": self.lake, "landing": self.landing, "io_manager": DeltaIOManager(lake=self.lake)}

    def land(self, name: str, *notes_nos: str) -> Path:
        file = Path(self.landing.path) / f"notes/{name}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f'{{"note_no":"{no}"}}\n' for no in notes_nos))
        return file

    def tick(self, of: Table = notes) -> dg.RunRequest | str:
        """What the sensor asks for, or why it does not."""
        resources = {"lake": self.lake, "landing": self.landing}
        with dg.build_sensor_context(self.instance, cursor=self.cursor, resources=resources) as context:
            told = arrivals_sensor(of).evaluate_tick(context)
        self.cursor = told.cursor
        assert not told.asset_events
        if not told.run_requests:
            return told.skip_message or ""
        [request] = told.run_requests
        return request

    def job(self) -> dg.JobDefinition:
        return dg.Definitions([notes], resources=self.resources).resolve_implicit_global_asset_job_def()

    def requested(self, status: dg.DagsterRunStatus) -> dg.DagsterRun:
        """A run as the daemon makes it of the sensor's request, in some state."""
        request = self.tick()
        assert isinstance(request, dg.RunRequest), request
        return self.instance.create_run_for_job(
            self.job(),
            tags=request.tags,
            asset_selection=frozenset([dg.AssetKey(["bronze", "notes"])]),
            status=status,
            remote_job_origin=RemoteJobOrigin(SOMEWHERE, "__ASSET_JOB"),
        )

    def crash(self) -> None:
        """The process that carried out the request is killed; Dagster notices."""
        self.instance.report_run_failed(self.requested(dg.DagsterRunStatus.STARTED))

    def run(self) -> dg.ExecuteInProcessResult:
        """The request carried out."""
        request = self.tick()
        assert isinstance(request, dg.RunRequest), request
        return self.run_by_hand(request.tags)

    def run_by_hand(self, tags: Mapping[str, str] | None = None) -> dg.ExecuteInProcessResult:
        config = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        return self.job().execute_in_process(
            config, instance=self.instance, tags=dict(tags or {}), raise_on_error=False
        )


def tags(asked: dg.RunRequest | str) -> Mapping[str, str]:
    assert isinstance(asked, dg.RunRequest), asked
    return asked.tags


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield House(LocalDisk(path=str(tmp_path / "lake")), LocalDisk(path=str(tmp_path / "landing")), instance)


def minutes_later(monkeypatch: pytest.MonkeyPatch, minutes: float) -> None:
    monkeypatch.setattr(sensors, "_now", lambda: datetime.now(UTC) + timedelta(minutes=minutes))


@pytest.mark.parametrize(("switch", "said"), [("off", "is switched off here"), ("shadow", "taken already")])
def test_a_switch_says_whether_what_lands_is_taken_and_where(house: House, switch: str, said: str):
    house.landing = LocalDisk(path=house.landing.path, switches={"bronze/notes": switch})
    house.land("a", "1", "2")
    assert isinstance(house.tick(), dg.RunRequest) is (switch == "shadow")
    assert house.job().execute_in_process(instance=house.instance).success
    place = Place(house.lake, house.landing)
    assert Handle.open(place.table(notes.declaration)) is None, "nothing reads it"
    taken = Handle.open(place.shadow.table(notes.declaration))
    assert (taken and taken.rows_of(taken.files()["path"].to_list())) == (2 if switch == "shadow" else None)
    assert said in str(house.tick())


def test_an_empty_landing_is_said_and_asks_for_nothing(house: House):
    assert house.tick() == "No file lies at notes/*.jsonl yet."


def test_new_files_ask_for_one_run_without_a_run_key_and_without_a_list_of_files(house: House):
    first = house.land("a", "1")
    os.utime(first, (1_700_000_000, 1_700_000_000))
    house.land("b", "2")
    request = house.tick()
    assert isinstance(request, dg.RunRequest)
    assert request.run_key is None
    assert request.run_config == {}
    assert request.asset_selection is None  # the sensor's own target: this table
    assert set(request.tags) >= {ARRIVALS, WHY}
    assert request.tags[WHY] == (
        "Saw 2 new or changed files and 0 known at notes/*.jsonl (notes/a.jsonl … notes/b.jsonl, the oldest "
        "there since 2023-11-14 22:13 UTC)."
    )


def test_the_sensor_runs_by_default_targets_its_table_and_looks_four_times_a_minute():
    sensor = arrivals_sensor(notes)
    assert sensor.name == "notes_arrivals"
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    assert sensor.minimum_interval_seconds == 15
    assert [target.assets_defs for target in sensor.targets] == [[notes]]


def test_what_was_taken_is_known_and_asks_for_nothing(house: House):
    house.land("a", "1")
    assert house.run().success
    assert house.tick() == "Nothing new at notes/*.jsonl: 1 file there, taken already."


def test_a_corrected_file_asks_again(house: House):
    house.land("a", "1")
    assert house.run().success
    os.utime(house.land("a", "2"), (0, 1_700_000_000))
    assert isinstance(house.tick(), dg.RunRequest)


@pytest.mark.parametrize(
    ("status", "stage"),
    [
        (dg.DagsterRunStatus.QUEUED, "queued"),
        (dg.DagsterRunStatus.STARTING, "under way"),
        (dg.DagsterRunStatus.STARTED, "under way"),
    ],
)
def test_a_run_that_waits_or_works_is_not_asked_for_twice(house: House, status: dg.DagsterRunStatus, stage: str):
    house.land("a", "1")
    run = house.requested(status)
    house.land("b", "2")
    said = house.tick()
    assert isinstance(said, str)
    assert said.endswith(f"Run {run.run_id[:8]} of bronze/notes is {stage}; not asking twice.")


def test_a_run_of_the_whole_graph_counts_as_a_run_of_the_table(house: House):
    house.land("a", "1")
    house.instance.create_run_for_job(house.job(), status=dg.DagsterRunStatus.STARTED)
    assert "is under way; not asking twice." in str(house.tick())


def test_a_run_of_another_table_is_not_waited_for(house: House):
    house.land("a", "1")
    other = dg.Definitions([slow_notes], resources=house.resources).resolve_implicit_global_asset_job_def()
    house.instance.create_run_for_job(other, status=dg.DagsterRunStatus.STARTED)
    assert isinstance(house.tick(), dg.RunRequest)


def test_a_killed_run_that_stays_started_is_given_up(house: House, monkeypatch: pytest.MonkeyPatch):
    house.land("a", "1")
    house.requested(dg.DagsterRunStatus.STARTED)
    minutes_later(monkeypatch, 14)
    assert isinstance(house.tick(), str)
    minutes_later(monkeypatch, 16)
    assert isinstance(house.tick(), dg.RunRequest)


def test_a_queued_run_is_never_given_up(house: House, monkeypatch: pytest.MonkeyPatch):
    house.land("a", "1")
    house.requested(dg.DagsterRunStatus.QUEUED)
    minutes_later(monkeypatch, 60 * 24)
    assert isinstance(house.tick(), str)


def refuse_everything(house: House) -> None:
    """Another table lies where this one would be made."""
    address = Place(house.lake, house.landing).table(notes.declaration)
    Handle.create(address, pl.Schema({"other": pl.Int64()}), description="not ours")


def test_after_a_refusal_it_is_quiet_and_says_what_the_run_said(house: House, monkeypatch: pytest.MonkeyPatch):
    refuse_everything(house)
    house.land("a", "1")
    failed = house.run()
    assert not failed.success
    minutes_later(monkeypatch, 60 * 24)
    said = house.tick()
    assert isinstance(said, str)
    assert f"Run {failed.run_id[:8]} refused these very files, so not asking again until something new lands: " in said
    assert "make the table anew: lakehouse rebuild bronze/notes+" in said  # and who reads it, of all that is declared
    assert "To try again, materialize bronze/notes by hand" in said
    assert said.endswith("To try again, materialize bronze/notes by hand.")


def test_after_a_refusal_something_new_is_asked_for_once(house: House):
    refuse_everything(house)
    house.land("a", "1")
    house.run()
    house.land("b", "2")
    assert not house.run().success
    assert "refused these very files" in str(house.tick())


def test_after_a_crash_it_asks_again_at_once(house: House):
    house.land("a", "1")
    house.crash()
    assert isinstance(house.tick(), dg.RunRequest)


def test_a_crash_between_plan_and_apply_is_asked_for_again_though_all_files_are_gone(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    landed = house.land("a", "1")

    def killed(*_: object, **__: object) -> None:
        raise OSError("the disk went away")

    with monkeypatch.context() as broken:
        broken.setattr("resources.delta_io_manager.deliver", killed)
        assert not house.run().success
    landed.unlink()
    request = house.tick()
    assert isinstance(request, dg.RunRequest)
    assert request.tags[WHY].endswith("a planned batch is not finished.")


def test_an_error_that_may_pass_is_no_refusal(house: House, monkeypatch: pytest.MonkeyPatch):
    house.land("a", "1")

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("resources.delta_io_manager.deliver", full)
        assert not house.run().success
    assert house.run().success


def test_crashes_in_a_row_are_asked_for_after_pauses_that_double_up_to_an_hour(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    house.land("a", "1")
    house.crash()
    house.crash()
    for pause in (1, 2, 4, 8, 16, 32, 60, 60):
        minutes_later(monkeypatch, pause - 0.2)
        assert "runs of these very files failed" in str(house.tick()), pause
        minutes_later(monkeypatch, pause + 0.2)
        house.crash()


def test_a_file_that_still_settles_is_left_and_named(house: House):
    house.land("a", "1")
    assert house.tick(slow_notes) == (
        "Saw 0 new or changed files and 0 known at notes/*.jsonl; 1 more touched within the last 60 min, "
        "left to settle. Nothing to take."
    )


def test_two_thousand_files_are_looked_at_within_two_seconds_of_cpu(house: House):
    for number in range(2_000):
        house.land(f"{number:04}", str(number))
    assert house.run().success
    began = time.process_time()
    said = house.tick()
    took = time.process_time() - began
    assert isinstance(said, dg.RunRequest)
    assert said.tags[WHY].startswith("Saw 1,000 new or changed files and 1,000 known")  # a batch is 1,000
    assert took < 2, took


def test_a_tick_lists_the_landing_once_and_reads_no_file_of_it(house: House):
    opened: list[tuple[str, str]] = []
    tell(house.landing.path, lambda kind, path: opened.append((kind, path)))
    folders = [("list", house.landing.path), ("list", f"{house.landing.path}/notes")]
    house.land("a", "1")
    opened.clear()
    assert isinstance(house.tick(), dg.RunRequest)
    assert opened == folders
    assert house.run().success
    opened.clear()
    assert str(house.tick()).startswith("Nothing new")
    assert opened == folders


def test_the_sensor_waits_for_nothing(house: House, monkeypatch: pytest.MonkeyPatch):
    house.land("a", "1")

    def slept(seconds: float) -> None:
        raise AssertionError(f"slept {seconds} s")

    monkeypatch.setattr(time, "sleep", slept)
    assert isinstance(house.tick(), dg.RunRequest)
    assert isinstance(house.tick(slow_notes), str)


def test_a_table_without_files_has_no_sensor():
    with pytest.raises(DeclarationError, match=r"silver/orders has no source=Files"):
        arrivals_sensor(orders)


class Pages(LocalDisk):
    """A landing that tells one file with each page, as a container tells 5,000; a tick has time for one page."""

    def pages(self, pattern: str, after: str = "") -> Generator[tuple[list[Found], str]]:
        files = [each for each in self.files(pattern) if each.name > after]
        for place, each in enumerate(files, start=1):
            yield [each], each.name if place < len(files) else ""


@pytest.fixture
def many(house: House, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr("lakehouse.engine.orchestrate.seen.A_TICK_LISTS", timedelta(seconds=-1))
    house.landing = Pages(path=house.landing.path)
    return house


def test_what_a_tick_cannot_list_the_next_ones_do(many: House):
    for name in "abc":
        many.land(name, name)
    assert many.tick() == (
        "Listed 1 file at notes/*.jsonl so far, 1 of them new or changed. There are more than one tick can list: the "
        "next goes on from there, and what is new is asked for when all are seen."
    )
    assert str(many.tick()).startswith("Listed 2 files at notes/*.jsonl so far, 2 of them")
    saw = tags(many.tick())[WHY]
    assert saw.startswith("Saw 3 new or changed files and 0 known at notes/*.jsonl (notes/a.jsonl … notes/c.jsonl, ")
    assert str(many.tick()).startswith("Listed 1 file")  # from the beginning


def test_a_listing_begins_anew_when_a_run_has_taken_files_meanwhile(many: House):
    for name in "abc":
        many.land(name, name)
    assert str(many.tick()).startswith("Listed 1 file")
    assert many.run_by_hand().success
    assert many.tick() == (
        "Listed 1 file at notes/*.jsonl so far, 0 of them new or changed. There are more than one tick can list: the "
        "next goes on from there, and what is new is asked for when all are seen."
    )
    many.tick()
    assert many.tick() == "Nothing new at notes/*.jsonl: 3 files there, taken already."


def test_the_same_files_are_the_same_however_they_were_listed(house: House, many: House):
    for name in "abc":
        many.land(name, name)
    many.tick()
    many.tick()
    apart = tags(many.tick())
    house.landing = LocalDisk(path=house.landing.path)
    assert tags(house.tick())[ARRIVALS] == apart[ARRIVALS]
    house.land("d", "d")
    assert tags(house.tick())[ARRIVALS] != apart[ARRIVALS]


@pytest.mark.parametrize(
    "cursor", ["", "{}", "not ours", LEFT.replace("notes/*.jsonl", "other/*"), LEFT.replace("0", "1")]
)
def test_a_cursor_of_something_else_is_no_place_to_go_on_from(house: House, cursor: str):
    house.land("a", "1")
    house.cursor = LEFT
    assert "Saw 1 new or changed file and 7 known" in tags(house.tick())[WHY]
    house.cursor = cursor
    assert "Saw 1 new or changed file and 0 known" in tags(house.tick())[WHY]


def test_a_listing_that_was_left_long_ago_begins_anew(many: House, monkeypatch: pytest.MonkeyPatch):
    for name in "ab":
        many.land(name, name)
    many.tick()
    monkeypatch.setattr("lakehouse.engine.orchestrate.seen.LASTS", timedelta(0))
    assert str(many.tick()).startswith("Listed 1 file")
