import os
import subprocess
import sys
from pathlib import Path

import pytest

from resources.dagster_home import FILES_OPEN

WORK = """
from pathlib import Path
import dagster as dg
from resources.dagster_home import open_instance

@dg.op
def nothing(): ...

@dg.job
def little(): nothing()

instance = open_instance()
quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
result = little.execute_in_process(instance=instance, run_config=quiet)
history = Path(instance.root_directory) / "history"
for file in (history / "runs.db", history / "runs/index.db", history / f"runs/{result.run_id}.db"):
    log = file.with_name(file.name + "-wal")
    print(file.name, "log kept" if log.exists() and log.stat().st_size else "log written back")
with instance.run_storage.connect() as connection:
    print("synchronous", connection.exec_driver_sql("PRAGMA synchronous").scalar())
"""


MANY = (
    WORK.partition("history =")[0]
    + """
import os, sqlalchemy
for _ in range(12):
    little.execute_in_process(instance=instance, run_config=quiet)
open_files = set()
for each in os.listdir("/proc/self/fd"):
    try:
        open_files.add(os.readlink(f"/proc/self/fd/{each}"))
    except FileNotFoundError:
        pass
print(len([each for each in open_files if each.endswith(".db")]))
other = sqlalchemy.create_engine(f"sqlite:///{instance.root_directory}/../other.db")
with other.connect() as connection:
    print(connection.exec_driver_sql("PRAGMA synchronous").scalar())
"""
)


def child(code: str, home: object) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DAGSTER_")}
    environment["LAKEHOUSE_HOME"] = str(home)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_history_is_synced_at_checkpoints_and_not_after_every_event(tmp_path):
    *logs, synchronous = child(WORK, tmp_path / "what a URL would read #1 %23 & more")
    assert [each.partition(" ")[2] for each in logs] == ["log kept"] * 3
    assert synchronous == "synchronous 1"


def test_when_the_process_ends_the_history_is_written_back_and_another_reads_it(tmp_path):
    child(WORK, tmp_path)
    assert not list((tmp_path / "dagster").rglob("*-wal"))
    read = """
from resources.dagster_home import open_instance
(run,) = open_instance().get_runs()
print(run.status.value)
"""
    assert child(read, tmp_path) == ["SUCCESS"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not tell a process its open files")
def test_many_runs_keep_a_few_files_open_and_no_other_database_is_touched(tmp_path):
    open_files, synchronous_of_another = child(MANY, tmp_path)
    assert int(open_files) <= FILES_OPEN
    assert synchronous_of_another == "2"
