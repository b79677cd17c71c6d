"""What a table's step costs beyond a step of plain Dagster."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.cost import Cost, cost, environment, median, python
from benchmarks.figures import Figures
from benchmarks.made import package

COPIES = 12


def overhead_per_asset(*, rounds: int, size: int) -> Iterator[Figures]:  # noqa: ARG001 # thirteen tables
    """Thirteen tables that pass one row on, as ours and as plain assets, each in one run of its own process."""
    costs: dict[str, list[Cost]] = {
        "plain Dagster, nothing stored": [],
        "ours, with Dagster": [],
        "ours, rooms alone": [],
    }
    for _ in range(rounds):
        for name, taken in costs.items():
            with tempfile.TemporaryDirectory(prefix="lakehouse-bench-") as folder:
                home = Path(folder)
                ours = [
                    "benchmarks.ours",
                    package(home, "copies", bronze=1, copies=COPIES),
                    home / "landing",
                    home / "lake",
                ]
                (home / "landing" / "sent_0").mkdir(parents=True)
                (home / "landing" / "sent_0" / "one.jsonl").write_text('{"n": 1, "said": "one"}\n')
                plain = name.startswith("plain")
                alone = ["alone"] if name.endswith("alone") else []
                command = python("benchmarks.plain_assets") if plain else python(*map(str, ours), *alone)
                taken.append(cost(command, environment(home, PATH_OF_TABLES=folder)))
    middle = {name: median(each) for name, each in costs.items()}
    base = middle["plain Dagster, nothing stored"]
    rows = [
        (name, f"{each.cpu:.2f}", f"{each.wall:.2f}", f"{1000 * (each.cpu - base.cpu) / (COPIES + 1):.0f}")
        for name, each in middle.items()
    ]
    yield Figures(
        "7-overhead",
        "Thirteen tables that pass one row on, in one run",
        ("", "CPU s", "wall s", "ms CPU a table more"),
        rows,
        [each.cpu for each in middle.values()],
        ["Ours reads, judges, counts and commits each table durably; a plain asset hands on a number in memory."],
    )
