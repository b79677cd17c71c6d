"""A table that runs on Spark: its script is a real child process, and what it leaves is judged and committed here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lakehouse.engine.orchestrate.here import left_out
from lakehouse_tests.shares import TABLES, House, failure
from resources.no_spark import NoSpark
from resources.sail import Sail

PROJECT = Path(__file__).parents[3]


@pytest.fixture
def house(tmp_path: Path) -> House:
    made = House(tmp_path, Sail(wait_seconds=0.05))
    made.land("1", a=1, b=3)
    return made


def staged(house: House) -> list[str]:
    return house.lake.folders("staging", "gold", "shares")


def test_what_the_script_leaves_is_judged_and_committed_and_no_staging_stays(house: House):
    result = house.run()
    assert result.success, failure(result)
    assert house.shares() == {"a": 0.25, "b": 0.75}
    assert staged(house) == []
    checks = {each.check_name: each.passed for each in result.get_asset_check_evaluations()}
    assert checks["share__le"]
    assert checks["key_is_unique"]


def test_what_it_says_prints_and_reports_reaches_dagster(house: House):
    result = house.run()
    said = house.said(result)
    assert "sharing 2 slips" in said
    assert "printed by the script" in said
    [made] = [each for each in result.get_asset_materialization_events() if each.step_key == "gold__shares"]
    metadata = made.materialization.metadata
    assert (metadata["slips"].value, metadata["made by"].value) == (2, "the script")
    assert metadata["rows_written"].value == 2


def test_with_nothing_new_no_script_is_started(house: House, monkeypatch: pytest.MonkeyPatch):
    house.run()
    monkeypatch.setenv("SHARES", "fails")
    assert house.run().success
    version = house.version()
    house.land("2", c=4)
    assert not house.run().success
    assert house.version() == version


def test_new_rows_above_are_read_at_the_version_that_counts_as_read(house: House):
    house.run()
    house.land("2", c=4)
    assert house.run().success
    assert house.shares() == {"a": 0.125, "b": 0.375, "c": 0.5}


def test_messages_of_megabytes_do_not_vanish(house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SHARES", "talks much")
    result = house.run()
    assert result.success
    long = [each.user_message for each in house.instance.all_logs(result.run_id) if len(each.user_message) > 1_000_000]
    assert [each.split(" ")[0] for each in long] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("fails", ["shares.spark.py failed (exit code 1)", "ValueError: the third column is missing"]),
        ("breaks a rule", ["gold/shares refused 1 of 3 rows: 1 share__le"]),
        ("other columns", ["'share' is missing; 'part' is not declared"]),
        ("leaves nothing", ["ended well and left no Delta table"]),
        ("reports a check", ["reports a check, share__le, which nobody asked for"]),
        ("dies", ["its last messages are missing"]),
    ],
)
def test_a_script_that_does_not_do_what_it_should_changes_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, how: str, words: list[str]
):
    assert house.run().success
    house.land("2", c=0)
    monkeypatch.setenv("SHARES", how)
    result = house.run()
    assert not result.success
    said = failure(result)
    for each in [*words, "Nothing was written"]:
        assert each in said
    assert house.shares() == {"a": 0.25, "b": 0.75}
    assert staged(house) == []


def test_a_table_without_a_spark_is_left_out_with_a_sentence_and_refuses_when_it_is_asked_for(tmp_path: Path):
    house = House(tmp_path, NoSpark(declared_in="local.yaml"))
    house.land("1", a=1, b=3)
    sentence = "local.yaml names none. Put `spark: {kind: sail}` there, or kind: databricks"
    assert left_out(TABLES, house.cluster) == {
        "gold/shares": f"gold/shares is left out here: it runs on Spark, and {sentence}"
    }
    result = house.run()
    assert sentence in failure(result)
    assert len(result.get_asset_materialization_events()) == 2
    assert left_out(TABLES[:2], house.cluster) == {}


WORKER = """
import json, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background processes have not
from pathlib import Path
from lakehouse_tests.shares import House
from resources.sail import Sail
house = House(Path(sys.argv[1]), Sail(wait_seconds=0.05))
try:
    result = house.run()
finally:
    print(json.dumps([each.status.value for each in house.instance.get_runs()]), flush=True)
"""


@pytest.mark.parametrize("signal_sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_stopped_takes_its_script_with_it_and_can_be_run_again(
    house: House, tmp_path: Path, signal_sent: signal.Signals
):
    pid = tmp_path / "pid"
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(house.home)],
        cwd=PROJECT,
        env={**os.environ, "SHARES": "hangs", "SHARES_PID": str(pid), "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    wait_for(lambda: pid.exists() and pid.read_text() != "")
    script = int(pid.read_text())
    assert is_alive(script)
    worker.send_signal(signal_sent)
    printed, _ = worker.communicate(timeout=60)
    wait_for(lambda: not is_alive(script))
    if signal_sent is not signal.SIGKILL:
        [status] = json.loads(printed.splitlines()[-1])
        assert status in ("FAILURE", "CANCELED")
    assert house.version() is None
    assert house.run().success
    assert house.shares() == {"a": 0.25, "b": 0.75}


def test_what_a_killed_attempt_left_goes_once_its_version_stands(house: House):
    lake = house.home / "lake/staging/gold/shares"
    for name in ("0-dead", "1-dead", "2-rival", "7-rival", "notes"):
        (lake / name).mkdir(parents=True)
    house.run()  # makes versions 0 and 1
    house.land("2", c=4)
    house.run()
    assert staged(house) == ["2-rival", "7-rival", "notes"]


def wait_for(is_true: Callable[[], bool], seconds: float = 60) -> None:
    give_up = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
