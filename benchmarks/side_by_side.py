"""Bronze → silver → gold, and then an increment: scripts by hand, our tables and a peer, in turn on the same files."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from benchmarks.cost import BUILD, Cost, cost, environment, lakehouse, median, python
from benchmarks.figures import Figures
from benchmarks.generated import CSV, INCREMENT, JSON_LINES, landed
from benchmarks.peers import python_of_peers

BEST, PEER, OURS = "best script", "dagster-polars", "ours, with Dagster"
TABLES = {
    "documents": ("silver/order_lines", "silver/orders", "gold/daily_sales"),
    "lines": ("silver/order_lines", "gold/daily_sales"),
}


@dataclass(frozen=True)
class Race:
    """One graph and the files it is run on; `more`, where there is one, lands after the first run."""

    measure: str
    title: str
    graph: str
    base: Path
    more: Path | None


def year(*, rounds: int, size: int) -> Iterator[Figures]:  # noqa: ARG001 # a year is a year
    """The year of Online Retail."""
    base = BUILD / "year"
    if not (base / "done").exists():
        cost(lakehouse("land"), environment(base))
        (base / "done").touch()
    title = "Online Retail, a year of order documents (gzip JSON lines; 22,137 documents, 532,621 lines)"
    yield from _figures(Race("1-year", title, "documents", base / "landing", None), rounds)


def documents(*, rounds: int, size: int) -> Iterator[Figures]:
    """Generated order documents."""
    what = f"{size / 1e6:g} M generated order lines (order documents, gzip JSON lines)"
    files = landed(BUILD / f"documents-{size}", size, JSON_LINES)
    yield from _figures(Race(f"2-documents-{size:09d}", what, "documents", files.base, files.more), rounds)


def lines(*, rounds: int, size: int) -> Iterator[Figures]:
    """Generated order lines."""
    what = f"{size / 1e6:g} M generated order lines (flat CSV; eight rules and a quarantine)"
    files = landed(BUILD / f"lines-{size}", size, CSV)
    yield from _figures(Race(f"3-lines-{size:09d}", what, "lines", files.base, files.more), rounds)


def _contenders(race: Race) -> dict[str, Callable[[Path, Path], list[str]]]:
    """By name, the command that takes a landing into a lake."""
    found: dict[str, Callable[[Path, Path], list[str]]] = {
        BEST: lambda landing, lake: python(f"benchmarks.{race.graph}.best", landing, lake),
        "usual script": lambda landing, lake: python(f"benchmarks.{race.graph}.usual", landing, lake),
        "ours, rooms alone": lambda landing, lake: python(
            "benchmarks.ours", f"benchmarks.{race.graph}.tables", landing, lake, "alone"
        ),
        OURS: lambda landing, lake: python("benchmarks.ours", f"benchmarks.{race.graph}.tables", landing, lake),
    }
    if interpreter := python_of_peers():
        found[PEER] = lambda landing, lake: [
            str(interpreter), *python(f"benchmarks.{race.graph}.peer", landing, lake)[1:]
        ]  # fmt: skip
    return found


def _figures(race: Race, rounds: int) -> Iterator[Figures]:
    contenders = _contenders(race)
    first: dict[str, list[Cost]] = {name: [] for name in contenders}
    then: dict[str, list[Cost]] = {name: [] for name in contenders}
    odd: dict[str, str] = {}
    for number in range(rounds):
        truth: tuple[dict[str, pl.DataFrame], dict[str, pl.DataFrame]] = {}, {}
        for name, command in contenders.items():
            _say(f"{race.title}: round {number + 1} of {rounds}, {name}")
            with tempfile.TemporaryDirectory(prefix="lakehouse-bench-") as folder:
                home = Path(folder)
                landing, lake = home / "landing", home / "lake"
                _link(race.base, landing)
                first[name].append(cost(command(landing, lake), environment(home)))
                odd |= _differences(race.graph, lake, truth[0], name)
                if race.more:
                    _link(race.more, landing)
                    then[name].append(cost(command(landing, lake), environment(home)))
                    odd |= _differences(race.graph, lake, truth[1], name)
    yield _table(race, first, odd, more=False)
    if race.more:
        yield _table(race, then, odd, more=True)


def _link(files: Path, landing: Path) -> None:
    """The same files under another name, as old as they are."""
    shutil.copytree(files, landing, copy_function=lambda old, new: Path(new).hardlink_to(old), dirs_exist_ok=True)


def _differences(graph: str, lake: Path, truth: dict[str, pl.DataFrame], of: str) -> dict[str, str]:
    """By contender, a table that is not, row for row, that of the first one."""
    found: dict[str, str] = {}
    # the peer makes its quarantine anew as well, and so forgets what was corrected since
    for key in (*TABLES[graph], *(() if of == PEER else ("quarantine",))):
        rows = _set_aside(lake) if key == "quarantine" else _rows(lake / key)
        if not rows.equals(truth.setdefault(key, rows)):
            found[of] = key
            _say(f"{key} of {of} DIFFERS from that of the {BEST}: void")
    return found


def _rows(table: Path) -> pl.DataFrame:
    """All rows in one order, columns in one order."""
    place = table if table.exists() else table.with_suffix(".delta")  # dagster-polars' name for it
    rows = pl.read_delta(str(place))
    key = [name for name in ("order_no", "line_no", "day", "country") if name in rows.columns]
    return rows.select(sorted(rows.columns)).sort(key)


def _set_aside(lake: Path) -> pl.DataFrame:
    """The keys of the lines that were set aside; ours keeps each as it came, as JSON, the others as columns."""
    key = ("order_no", "line_no")
    ours, theirs = lake / "quarantine" / "silver" / "order_lines", lake / "quarantine" / "order_lines"
    if theirs.exists():
        rows = pl.read_delta(str(theirs))
    elif ours.exists():
        rows = pl.read_delta(str(ours)).select(
            pl.col("row").str.json_path_match(f"$.{name}").alias(name) for name in key
        )
    else:
        rows = pl.DataFrame(schema=dict.fromkeys(key, pl.String))
    return rows.select(pl.col(key).cast(pl.String)).sort(key)


def _table(race: Race, costs: dict[str, list[Cost]], odd: dict[str, str], *, more: bool) -> Figures:
    middle = {name: median(each) for name, each in costs.items()}
    best = middle[BEST]
    measure, title = (
        (f"{race.measure}-more", f"then {INCREMENT:,} more") if more else (f"{race.measure}-full", "in full")
    )
    said = f"Median of {len(costs[BEST])} rounds. Goal of ours: at most {2 if more else 1.25} times the {BEST}."
    notes = [said, *(f"VOID: {key} of {name} is not that of the {BEST}: no ratio." for name, key in odd.items())]
    if PEER not in costs:
        notes.append("dagster-polars could not be installed here: it is missing.")

    def ratio(name: str, what: str) -> str:
        return "void" if name in odd else f"{getattr(middle[name], what) / getattr(best, what):.2f}x"

    rows = [
        (
            name, f"{each.wall:.1f}", f"{each.worked:.1f}", f"{each.cpu:.1f}", f"{each.memory:,.0f}",
            *(ratio(name, what) for what in ("wall", "worked", "cpu")),
        )
        for name, each in middle.items()
    ]  # fmt: skip
    columns = ("", "wall s", "worked s", "CPU s", "MB", "wall", "worked", "CPU")
    return Figures(measure, f"{race.title}: {title}", columns, rows, [each.wall for each in middle.values()], notes)


def _say(what: str) -> None:
    sys.stderr.write(f"… {what}\n")
