"""How long a file that has landed takes until its day is in gold."""

import os
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from benchmarks.cost import cost, environment, lakehouse, python
from benchmarks.figures import Figures


def landed_file_to_gold_row(*, rounds: int, size: int) -> Iterator[Figures]:  # noqa: ARG001 # one file
    """One day of the example lands: by `lakehouse run` on a lake that holds a month, and while `dagster dev` runs."""
    rows, seconds = [], []
    for name, measure, goal in (("lakehouse run", _by_command, 5), ("dagster dev", _under_dagster_dev, 60)):
        with tempfile.TemporaryDirectory(prefix="lakehouse-bench-") as folder:
            seconds.append(measure(Path(folder), rounds))
            rows.append((name, f"{seconds[-1]:.1f}", f"< {goal}"))
    yield Figures(
        "4-newest", "From a landed file to its row in gold, the example's tables", ("", "wall s", "goal"), rows, seconds
    )


def _by_command(home: Path, rounds: int) -> float:
    cost(lakehouse("land", "--to", "2010-12-20"), environment(home))
    cost(lakehouse("run"), environment(home))
    walls: list[float] = []
    for day in ("2010-12-21", "2010-12-22", "2010-12-23")[:rounds]:
        cost(lakehouse("land", "--from", day, "--to", day), environment(home))
        walls.append(cost(lakehouse("run"), environment(home)).wall)
    return statistics.median(walls)


def _under_dagster_dev(home: Path, rounds: int) -> float:  # noqa: ARG001 # it takes a minute
    cost(python("resources.dagster_home"), environment(home))
    server = subprocess.Popen(
        python("dagster", "dev", "-w", "workspace.yaml", "-p", "0"),
        env=environment(home), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        cost(lakehouse("land", "--from", "2011-01-04", "--to", "2011-01-04"), environment(home))
        _wait(lambda: _days_in_gold(home) >= 1, 300)  # the daemons are up and have done their first round
        cost(lakehouse("land", "--from", "2011-01-05", "--to", "2011-01-05"), environment(home))
        began = time.monotonic()
        _wait(lambda: _days_in_gold(home) > 1, 300)
        return time.monotonic() - began
    finally:
        os.killpg(server.pid, signal.SIGINT)
        server.wait(60)


def _days_in_gold(home: Path) -> int:
    table = home / "lake" / "gold" / "daily_sales"
    if not (table / "_delta_log").exists():
        return 0
    return pl.scan_delta(str(table)).select(pl.col("day").n_unique()).collect().item()


def _wait(ready: Callable[[], bool], seconds: float) -> None:
    give_up = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > give_up:
            raise SystemExit(f"not there after {seconds:.0f} s")
        time.sleep(0.2)
