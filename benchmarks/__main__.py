"""`make bench`: what the promises cost, against hand-written Polars and plain Dagster, measured in the same run.

Figures are CPU and wall seconds of whole processes, the median of several; read the ratios, not the seconds.
"""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from rich.bar import Bar
from rich.console import Console
from rich.table import Table

PYTHON = sys.executable
ROUNDS = 3
out = Console(width=120, highlight=False)


@dataclass(frozen=True)
class Cost:
    """CPU and wall seconds, and peak memory in MB."""

    cpu: float
    wall: float
    memory: float


def cost(command: Sequence[str], environment: dict[str, str]) -> Cost:
    """Run one process to its end. Raises CalledProcessError with what it printed."""
    began = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    printed = process.stdout.read() if process.stdout else ""
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise subprocess.CalledProcessError(status, command, printed)
    return Cost(used.ru_utime + used.ru_stime, time.monotonic() - began, used.ru_maxrss / 1024)


def median(costs: Sequence[Cost]) -> Cost:
    return Cost(*(statistics.median(getattr(each, name) for each in costs) for name in ("cpu", "wall", "memory")))


def environment(home: Path) -> dict[str, str]:
    """Ours, but Python keeps its bytecode, as it does wherever nobody forbids it."""
    return {
        **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        "LAKEHOUSE_HOME": str(home),
        "DAGSTER_HOME": str(home / "dagster"),
        "LAKEHOUSE_ENVIRONMENT": "local",
    }


def lakehouse(*arguments: str) -> list[str]:
    return [PYTHON, "-m", "lakehouse.cli", *arguments]


def slice_against_hand(home: Path) -> None:
    """A year of orders: our rooms alone, the whole command, and the hand-written script, in turn."""
    cost(lakehouse("land"), environment(home))
    time.sleep(3)  # the files settle
    ours: dict[str, list[Cost]] = {"by hand": [], "our rooms": [], "lakehouse run": []}
    hand = home / "by_hand"
    for _ in range(ROUNDS):
        shutil.rmtree(hand, ignore_errors=True)
        script = [PYTHON, "-m", "benchmarks.by_hand", str(home / "landing"), str(hand)]
        ours["by hand"].append(cost(script, environment(home)))
        for name, command in (
            ("our rooms", [PYTHON, "-m", "benchmarks.engine_only"]),
            ("lakehouse run", lakehouse("run")),
        ):
            shutil.rmtree(home / "lake", ignore_errors=True)
            ours[name].append(cost(command, environment(home)))
    _assert_equal_tables(hand, home / "lake")
    _draw("A year of orders (22,137 documents, 532,621 lines) into four tables", ours, "by hand")


def _assert_equal_tables(hand: Path, lake: Path) -> None:
    for key in ("silver/orders", "silver/order_lines", "gold/daily_sales"):
        theirs, ours = (pl.read_delta(str(root / key)) for root in (hand, lake))
        by = theirs.columns[:2]
        if not theirs.sort(by).equals(ours.select(theirs.columns).sort(by)):
            raise SystemExit(f"{key} differs from the hand-written one: the comparison is void.")


def _draw(title: str, costs: dict[str, list[Cost]], base: str) -> None:
    drawn = Table(title=title, title_justify="left", box=None)
    for name in ("", "CPU s", "wall s", "MB", "CPU ratio", ""):
        drawn.add_column(name, justify="right" if name else "left")
    middle = {name: median(each) for name, each in costs.items()}
    most = max(each.cpu for each in middle.values())
    for name, each in middle.items():
        ratio = each.cpu / middle[base].cpu
        bar = Bar(most, 0, each.cpu, width=30, color="green")
        drawn.add_row(name, f"{each.cpu:.2f}", f"{each.wall:.2f}", f"{each.memory:.0f}", f"{ratio:.2f}x", bar)
    out.print(drawn, "")


def landed_file_to_gold_row(home: Path) -> None:
    """One day lands on a lake that holds a month: until `lakehouse run` has ended, warm."""
    cost(lakehouse("land", "--to", "2010-12-20"), environment(home))
    cost(lakehouse("run"), environment(home))
    walls: list[float] = []
    for day in ("2010-12-21", "2010-12-22", "2010-12-23"):
        cost(lakehouse("land", "--from", day, "--to", day), environment(home))
        began = time.monotonic()
        cost(lakehouse("run"), environment(home))
        walls.append(time.monotonic() - began)
    out.print(f"landed file to gold row under `lakehouse run`: {statistics.median(walls):.1f} s (goal < 5 s)")


def under_dagster_dev(home: Path) -> None:
    """One day lands while `dagster dev` runs: until its day is in gold."""
    ready = [PYTHON, "-m", "resources.dagster_home"]
    cost(ready, environment(home))
    server = subprocess.Popen(
        [PYTHON, "-m", "dagster", "dev", "-w", "workspace.yaml", "-p", "0"],
        env=environment(home), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        cost(lakehouse("land", "--from", "2011-01-04", "--to", "2011-01-04"), environment(home))
        _wait(lambda: _days_in_gold(home) >= 1, 300)  # the daemons are up and have done their first round
        began = time.monotonic()
        cost(lakehouse("land", "--from", "2011-01-05", "--to", "2011-01-05"), environment(home))
        _wait(lambda: _days_in_gold(home) > 1, 300)
        out.print(f"landed file to gold row under `dagster dev`: {time.monotonic() - began:.0f} s (goal < 60 s)")
    finally:
        os.killpg(server.pid, signal.SIGINT)
        server.wait(60)


def _days_in_gold(home: Path) -> int:
    table = home / "lake" / "gold" / "daily_sales"
    return (
        pl.scan_delta(str(table)).select(pl.col("day").n_unique()).collect().item()
        if (table / "_delta_log").exists()
        else 0
    )


def _wait(ready: Callable[[], bool], seconds: float) -> None:
    give_up = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > give_up:
            raise SystemExit(f"not there after {seconds:.0f} s")
        time.sleep(0.2)


def overhead_per_asset() -> None:
    """Thirteen tables that pass one row on, as ours and as plain assets: what a step costs beyond Dagster's own."""
    costs: dict[str, list[Cost]] = {"plain Dagster": [], "ours": []}
    for _ in range(ROUNDS):
        for name, kind in (("plain Dagster", "plain"), ("ours", "ours")):
            with tempfile.TemporaryDirectory() as folder:
                command = [PYTHON, "-m", "benchmarks.trivial", kind, folder]
                costs[name].append(cost(command, environment(Path(folder))))
    plain, ours = median(costs["plain Dagster"]), median(costs["ours"])
    _draw("Thirteen tables that pass one row on, in one run", costs, "plain Dagster")
    out.print(f"overhead per asset over plain Dagster: {1000 * (ours.cpu - plain.cpu) / 13:.0f} ms CPU")


def main() -> None:
    out.print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", "")
    for measure in (slice_against_hand, landed_file_to_gold_row, under_dagster_dev):
        with tempfile.TemporaryDirectory(prefix="lakehouse-bench-") as folder:
            measure(Path(folder))
    overhead_per_asset()


if __name__ == "__main__":
    main()
