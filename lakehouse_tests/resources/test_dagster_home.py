import os
import subprocess
import sys

WORK = """
from pathlib import Path
import dagster as dg
from resources.dagster_home import open_instance

@dg.op
def nothing(): ...

@dg.job
def little(): nothing()

instance = open_instance()
result = little.execute_in_process(instance=instance, run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}})
history = Path(instance.root_directory) / "history"
for file in (history / "runs.db", history / "runs/index.db", history / f"runs/{result.run_id}.db"):
    log = file.with_name(file.name + "-wal")
    print(file.name, "log kept" if log.exists() and log.stat().st_size else "log written back")
with instance.run_storage.connect() as connection:
    print("synchronous", connection.exec_driver_sql("PRAGMA synchronous").scalar())
"""  # noqa: E501 # one line of it is that long


def child(code: str, home: object) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DAGSTER_")}
    environment["LAKEHOUSE_HOME"] = str(home)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_history_is_synced_at_checkpoints_and_not_after_every_event(tmp_path):
    *logs, synchronous = child(WORK, tmp_path)
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
