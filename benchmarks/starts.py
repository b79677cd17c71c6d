"""What there is to wait for before anything is done: commands, and a code location of 500 tables."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.cost import cost, environment, lakehouse, median, python
from benchmarks.figures import Figures
from benchmarks.made import package

TABLES = {"bronze": 100, "merged": 200, "counted": 200}


def starts(*, rounds: int, size: int) -> Iterator[Figures]:  # noqa: ARG001 # no order lines
    """`lakehouse --help`, `lakehouse status` on a lake that holds a month, and definitions of 500 tables."""
    with tempfile.TemporaryDirectory(prefix="lakehouse-bench-") as folder:
        home = Path(folder)
        cost(lakehouse("land", "--to", "2010-12-20"), environment(home))
        cost(lakehouse("run"), environment(home))
        many = python("benchmarks.location", package(home, "many", **TABLES))
        commands = (
            ("lakehouse --help", lakehouse("--help"), ""),
            ("lakehouse status", lakehouse("status"), ""),
            ("lakehouse run, nothing new", lakehouse("run"), ""),
            (f"code location, {sum(TABLES.values())} tables", many, "<= 5"),
        )
        middle = []
        for _, command, _ in commands:
            cost(command, environment(home, PATH_OF_TABLES=folder))  # bytecode is written
            middle.append(median([cost(command, environment(home, PATH_OF_TABLES=folder)) for _ in range(rounds)]))
    yield Figures(
        "6-starts",
        "Starts, each a process of its own",
        ("", "wall s", "CPU s", "MB", "goal, wall s"),
        [
            (name, f"{each.wall:.2f}", f"{each.cpu:.2f}", f"{each.memory:.0f}", goal)
            for (name, _, goal), each in zip(commands, middle, strict=True)
        ],
        [each.wall for each in middle],
    )
