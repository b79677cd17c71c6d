"""PostgreSQL's password, used rightly and wrongly; then all that came of it is searched for it, and PostgreSQL too."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

import pytest

from lakehouse_tests import forked
from lakehouse_tests.canaries import Canary, all_of, finds, rows_in_postgres, word
from lakehouse_tests.free_port import free_port
from lakehouse_tests.house.house import ROOT
from lakehouse_tests.postgres import Postgres
from lakehouse_tests.without_spark import without_spark

pytestmark = pytest.mark.postgres

NAME = "DAGSTER_POSTGRES_URL"
RIGHT, WRONG = word("the password"), word("a wrong password")
RUN = """
import logging, os, sys
from pathlib import Path
home = Path(os.environ["LAKEHOUSE_HOME"])
logging.basicConfig(level=logging.DEBUG, filename=home / "debug.log")
import dagster as dg
from lakehouse_tests.tour import sales
from resources.dagster_home import open_instance
from resources.delta_io_manager import DeltaIOManager
from resources.local_disk import LocalDisk

(home / "landing/shop").mkdir(parents=True, exist_ok=True)
(home / "landing/shop/1.csv").write_text("day\\n2011-01-04\\n")
instance = open_instance()
print(repr(instance), instance.info_str(), instance.get_ref(), sep="\\n")
landing = LocalDisk(path=str(home / "landing"))
for lake in (LocalDisk(path=str(home / each)) for each in ("lake", "debug.log")):  # which is no folder
    resources = {"landing": landing, "lake": lake, "io_manager": DeltaIOManager(lake=lake)}
    job = dg.Definitions([sales], resources=resources).resolve_implicit_global_asset_job_def()
    for each in job.execute_in_process(instance=instance, raise_on_error=False).all_events:
        print(each, each.event_specific_data)
"""


class House:
    """A home whose history is in a database of its own, and what its processes said."""

    def __init__(self, home: Path, server: Postgres, name: str) -> None:
        self.home, self.server, self.said = home, server, dict[str, bytes]()
        without_spark(home)
        file = home / "environments/without_spark.yaml"
        file.write_text(file.read_text() + "dagster_storage: postgres\n")
        server.psql(f"CREATE ROLE \"{name}\" LOGIN PASSWORD '{RIGHT.secret}'", database="postgres")
        server.psql(f'CREATE DATABASE "{name}" OWNER "{name}"', database="postgres")
        self.name = name
        self.url = self.url_with(RIGHT)

    def url_with(self, password: Canary, port: int = 0) -> str:
        secret = quote(password.secret, safe="")
        return f"postgresql://{self.name}:{secret}@127.0.0.1:{port or self.server.port}/{self.name}"

    def variables(self, url: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DAGSTER_")}
        return {**kept, **without_spark(self.home), NAME: url, "PYTHONPATH": str(ROOT)}

    def command(self, words: str, url: str | None = None, *, exits: int = 0) -> None:
        """`lakehouse …`; what it printed is kept."""
        done = forked.lakehouse(*words.split(), at=ROOT, environment=self.variables(url or self.url))
        self._keep(words, done)
        assert done.returncode == exits, done.stderr

    def python(self, *arguments: str, **more: str) -> None:
        """A Python with its arguments, and more variables; what it printed is kept."""
        started, surroundings = [sys.executable, *arguments], {**self.variables(self.url), **more}
        done = subprocess.run(started, env=surroundings, cwd=ROOT, capture_output=True, text=True, check=False)
        self._keep("python", done)
        assert done.returncode == 0, done.stderr

    def _keep(self, what: str, done: subprocess.CompletedProcess[str]) -> None:
        self.said[f"{what} {uuid.uuid4().hex}"] = (done.stdout + done.stderr).encode()

    def found(self, canaries: Iterable[Canary] = (RIGHT, WRONG)) -> list[str]:
        """Where a password stands: in what was said, in the home and lake, in the database."""
        self.said |= all_of(self.home)
        self.said["PostgreSQL"] = rows_in_postgres(self.url)
        return finds(canaries, self.said)


@pytest.fixture
def house(postgres: Postgres, tmp_path: Path) -> House:
    return House(tmp_path, postgres, tmp_path.name)


def test_the_password_of_the_history_is_in_nothing_that_came_of_it(house: House):
    house.python("-c", RUN)
    house.command("status")
    house.command("status", house.url_with(WRONG), exits=1)
    house.command("status", house.url.replace("postgresql", "mysql"), exits=2)
    assert house.found() == []
    told = b"".join(house.said.values())
    for words in (
        b"RUN_SUCCESS",
        b"RUN_FAILURE",
        b"password authentication failed",
        b"no URL of",
    ):
        assert words in told, words
    assert b"sales" in house.said["PostgreSQL"]


def test_a_password_that_the_history_holds_is_found(house: House):
    house.command("status")
    house.server.psql(
        f"CREATE TABLE told AS SELECT '{house.url}'::text AS body, '\\x00'::bytea AS more", database=house.name
    )
    house.server.psql(f'GRANT ALL ON told TO "{house.name}"', database=house.name)
    assert [each.split(":")[0] for each in house.found()] == ["the password in PostgreSQL"]


@pytest.mark.long
def test_the_password_is_in_nothing_that_came_of_days_of_work(house: House):
    """With Dagster's own commands too, a server that is down, and each thing that is no URL of a PostgreSQL."""
    secret = quote(RIGHT.secret, safe="")
    for day in ("2010-12-01", "2010-12-02"):
        house.command(f"land --from {day} --to {day}")
        house.command("run", house.url_with(WRONG), exits=1)
        house.command("run")
    house.command("status", house.url_with(RIGHT, free_port()), exits=1)
    for words in ("status", "rebuild gold/daily_sales", "why silver/orders 536365", "config show", "doctor storage"):
        house.command(words)
    for url in (
        f"{house.name}:{secret}@127.0.0.1/x",
        f"postgres://u:{secret}@127.0.0.1/x",
        f"postgresql://u:1@{secret}@127.0.0.1/x",
        f"postgresql://u:p@127.0.0.1:{secret}/x",
    ):
        for words in ("status", "rebuild gold/daily_sales"):
            house.command(words, url, exits=2)
    for words in ("instance info", "run list", "asset materialize --select bronze/erp_orders -m lakehouse.definitions"):
        house.python("-m", "dagster", *words.split(), DAGSTER_HOME=str(house.home / "dagster"))
    assert house.found() == []
