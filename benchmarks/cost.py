"""What a whole process costs."""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[1]
BUILD = PROJECT / "build" / "benchmarks"


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock, of which `worked` after all imports (where the process says so); CPU seconds; peak MB."""

    wall: float
    worked: float
    cpu: float
    memory: float


def cost(command: Sequence[str], environment: dict[str, str]) -> Cost:
    """Run one process to its end. Raises CalledProcessError, what it printed told before."""
    ran = subprocess.run(
        [sys.executable, "-I", "-S", Path(__file__).with_name("used.py"), *command],
        env=environment, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if ran.returncode:
        sys.stderr.write(ran.stdout)
        ran.check_returncode()
    used = json.loads(ran.stdout.rpartition("used ")[2])
    worked = re.findall(r"^worked ([0-9.]+) s$", ran.stdout, re.MULTILINE)
    return Cost(used["wall"], float(worked[-1]) if worked else used["wall"], used["cpu"], used["memory"])


def median(costs: Sequence[Cost]) -> Cost:
    return Cost(*(statistics.median(getattr(each, name) for each in costs) for name in Cost.__annotations__))


def environment(home: Path, **more: str) -> dict[str, str]:
    """Ours, with a home of its own; Python keeps its bytecode, as it does wherever nobody forbids it."""
    dagster = home / "dagster"
    dagster.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(PROJECT / "resources" / "dagster.yaml", dagster / "dagster.yaml")
    return {
        **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        "PYTHONPATH": str(PROJECT),
        "LAKEHOUSE_HOME": str(home),
        "DAGSTER_HOME": str(dagster),
        "LAKEHOUSE_ENVIRONMENT": "local",
        **more,
    }


def python(module: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", module, *map(str, arguments)]


def lakehouse(*arguments: str) -> list[str]:
    return python("lakehouse.cli", *arguments)
