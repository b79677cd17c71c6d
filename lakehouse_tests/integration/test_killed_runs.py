"""A server whose history is in PostgreSQL, and runs that are killed, or that would write one table at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from lakehouse_tests.house.project import Project
from lakehouse_tests.integration import dagster_dev
from lakehouse_tests.integration.dagster_dev import ENDED, DagsterDev, Run, until
from lakehouse_tests.postgres import PASSWORD, Postgres

pytestmark = [pytest.mark.dagster_dev, pytest.mark.postgres]

ENVIRONMENT = """
connections:
  landing: {type: local_disk, path: landing}
  lake: {type: local_disk, path: lake}
dagster_storage: postgres
"""
READINGS = """
from lakehouse import Append, Bronze, Files, Frame, JsonLines, column, table


class Readings(Bronze):
    '''One row per reading. Source: a meter.'''

    no: int = column("Number of the reading")
    value: int = column("What the meter showed")


@table(source=Files("readings/*.jsonl", formats=JsonLines()), write=Append())
def readings() -> Frame[Readings]: ...
"""
METER = """
import os
import time
from pathlib import Path

import dagster as dg

from lakehouse import Frame, Merge, New, Quarantine, Silver, column, table
from lakehouse.tables.bronze.readings import Readings


class Meter(Silver):
    '''One row per reading.'''

    no: int = column("Number of the reading", key=True)
    value: int = column("What the meter showed")


@table(write=Merge(), rejects=Quarantine(), automation_condition=dg.AutomationCondition.eager())
def meter(readings: New[Readings]) -> Frame[Meter]:
    is_real = readings.limit(1).collect().height  # it is also tried on an empty frame, where it is loaded
    while is_real and Path(os.environ["LAKEHOUSE_HOME"], "hold").exists():
        time.sleep(0.05)
    return readings.select("no", "value")
"""
MANY = 250_000  # readings, by which the writing of a file takes long enough to be killed in it
REBUILD = {"ops": {"silver__meter": {"config": {"rebuild": True}}}}  # there is always something to do
POLL = 15  # seconds, of resources/dagster.yaml


@dataclass(frozen=True)
class Meters:
    """The server, its history, and how many readings have landed."""

    server: DagsterDev
    postgres: Postgres
    database: str
    landed: list[int]

    def land(self, count: int) -> None:
        file = self.server.home / f"landing/readings/{len(self.landed)}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text("".join(f'{{"no": {sum(self.landed) + at}, "value": {at}}}\n' for at in range(count)))
        part.rename(file)
        self.landed.append(count)

    def log(self, folder: str) -> int:
        """How many commits a table has."""
        return len(list((self.server.home / "lake" / folder / "_delta_log").glob("*.json")))

    def new_run(self, table: str, before: list[Run]) -> Run | None:
        """The run of one table that was asked for since, and is under way."""
        wanted = (each for each in self.server.new_runs(before) if each.tables == {table})
        return next((each for each in wanted if each.status == "STARTED"), None)

    def process(self, run: str) -> int:
        """The process of a run, by what PostgreSQL keeps of its start."""
        asked = f"SELECT event FROM event_logs WHERE run_id = '{run}' AND dagster_event_type = 'PIPELINE_START'"
        return json.loads(self.postgres.psql(asked, database=self.database))["dagster_event"]["pid"]

    def start_again(self) -> None:
        """On the same home, after it was killed."""
        seen = self.server.environment
        settings = {name: seen[name] for name in ("LAKEHOUSE_ENVIRONMENT", "DAGSTER_POSTGRES_URL")}
        again = dagster_dev.start(self.server.home, project=Path(seen["PYTHONPATH"]), settings=settings)
        self.server.port, self.server.process = again.port, again.process

    def ended(self, run: str, status: str, seconds: float) -> None:
        until(lambda: self.server.status(run) in ENDED, seconds, what=f"the end of run {run}", every=0.2)
        assert self.server.status(run) == status

    def arrived(self) -> bool:
        """Whether every reading has come through; none may be there twice."""
        for table in ("bronze/readings", "silver/meter"):
            if not self.log(table):
                return False
            numbers = pl.scan_delta(str(self.server.home / "lake" / table)).select("no").collect()["no"].cast(int)
            assert numbers.is_unique().all(), table
            assert numbers.len() <= sum(self.landed), table
            if numbers.len() < sum(self.landed):
                return False
        return True

    def rest(self) -> None:
        """Wait until all has come through and nothing is under way."""
        until(self.arrived, 90, what="every reading in silver")
        until(lambda: all(each.status in ENDED for each in self.server.runs()), 60, what="the end of all runs")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Runs of silver/meter stop in their midst meanwhile."""
        hold = self.server.home / "hold"
        hold.touch()
        try:
            yield
        finally:
            hold.unlink()


def _first_reading(project: Project, settings: dict[str, str]) -> None:
    """Brought through by the command, which is quicker than a server's ticks."""
    landing = project.home / "landing/readings"
    landing.mkdir(parents=True)
    (landing / "0.jsonl").write_text('{"no": 0, "value": 0}\n')
    seen = {**os.environ, **settings, "LAKEHOUSE_HOME": str(project.home), "PYTHONPATH": str(project.root)}
    subprocess.run([sys.executable, "-m", "lakehouse.cli", "run"], cwd=project.root, env=seen, check=True)


@pytest.fixture(scope="module")
def meters(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[Meters]:
    """A project of two tables, of which the first file has come through."""
    project = Project.copied(tmp_path_factory.mktemp("meters"), tables=False)
    for name, content in {"bronze/readings.py": READINGS, "silver/meter.py": METER}.items():
        file = project.root / "lakehouse/tables" / name
        file.parent.mkdir(exist_ok=True)
        file.with_name("__init__.py").touch()
        file.write_text(content)
    (project.home / "environments").mkdir(parents=True)
    (project.home / "environments/shop.yaml").write_text(ENVIRONMENT)
    settings = {"LAKEHOUSE_ENVIRONMENT": "shop", "DAGSTER_POSTGRES_URL": postgres.new_database("killed")}
    _first_reading(project, settings)
    server = dagster_dev.start(project.home, project=project.root, settings=settings)
    made = Meters(server, postgres, "killed", [1])
    try:
        made.rest()
        yield made
        told = server.log.read_text()
    finally:
        left = server.stop()
    assert left == []
    assert PASSWORD not in told
    assert settings["DAGSTER_POSTGRES_URL"].split(":")[2].split("@")[0] not in told


def test_the_history_is_in_postgresql_and_in_no_file(meters):
    kept = meters.postgres.psql("SELECT run_id FROM runs", database=meters.database).splitlines()
    assert sorted(kept) == sorted(each.id for each in meters.server.runs())
    assert kept
    assert list((meters.server.home / "dagster").rglob("*.db*")) == []


@pytest.mark.long
def test_of_two_runs_of_one_table_the_second_waits_in_the_queue_for_the_end_of_the_first(meters):
    with meters.held():
        first = meters.server.materialize("silver/meter", config=REBUILD)
        until(lambda: meters.server.status(first) == "STARTED", 60, what="the start of the first", every=0.2)
        second = meters.server.materialize("silver/meter", config=REBUILD)
        other = meters.server.materialize("bronze/readings")  # shows that the queue was looked through
        meters.ended(other, "SUCCESS", 60)
        assert meters.server.status(second) == "QUEUED"
    meters.ended(first, "SUCCESS", 60)
    meters.ended(second, "SUCCESS", 60)


def test_a_worker_that_is_killed_in_mid_write_is_told_of_at_once_and_its_files_are_taken_by_the_next_run(meters):
    before, planned, written = meters.server.runs(), meters.log("ledger/bronze/readings"), meters.log("bronze/readings")
    meters.land(MANY)
    meters.server.materialize("bronze/readings")  # the sensor would ask for it too, at its next tick
    until(lambda: meters.log("ledger/bronze/readings") > planned, 60, what="a planned batch", every=0.002)
    run = meters.new_run("bronze/readings", before)
    assert run
    os.kill(meters.process(run.id), signal.SIGKILL)
    assert meters.log("bronze/readings") == written
    meters.ended(run.id, "FAILURE", 10)
    meters.rest()


@pytest.mark.long
def test_a_killed_lakehouse_command_ends_as_failed_and_what_waited_for_its_table_begins(meters):
    before = meters.server.runs()
    with meters.held():
        command = [sys.executable, "-m", "lakehouse.cli", "rebuild", "silver/meter"]
        where = {"cwd": meters.server.environment["PYTHONPATH"], "env": dict(meters.server.environment)}
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **where) as typed:
            run = until(lambda: meters.new_run("silver/meter", before), 60, what="a run of the command", every=0.2)
            waiting = meters.server.materialize("silver/meter")
            assert meters.process(run.id) == typed.pid
            typed.kill()
        meters.ended(run.id, "FAILURE", POLL + 5)
    meters.ended(waiting, "SUCCESS", 60)
    meters.rest()


@pytest.mark.long
def test_after_a_power_cut_the_run_that_was_under_way_ends_as_failed_and_is_begun_again(meters):
    before = meters.server.runs()
    with meters.held():
        meters.land(10)
        run = until(lambda: meters.new_run("silver/meter", before), 90, what="a run by automation", every=0.2)
        process = meters.process(run.id)
        os.killpg(meters.server.process.pid, signal.SIGKILL)
        meters.server.process.wait()
        meters.start_again()
        meters.ended(run.id, "FAILURE", POLL + 15)
    said = f"SELECT event FROM event_logs WHERE run_id = '{run.id}' AND dagster_event_type = 'PIPELINE_FAILURE'"
    assert f"Its process {process} on " in meters.postgres.psql(said, database=meters.database)
    meters.rest()
    (retried,) = (each for each in meters.server.runs() if each.tags.get("dagster/parent_run_id") == run.id)
    assert (retried.status, retried.tables) == ("SUCCESS", {"silver/meter"})
