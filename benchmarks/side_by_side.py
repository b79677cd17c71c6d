"""Bronze → silver → gold, and then an increment: scripts by hand, our tables and a peer, in turn on the same files."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from benchmarks.cost import BUILD, Cost, cost, environment, lakehouse, median, python
from benchmarks.figures import Figures, goal
from benchmarks.generated import CSV, INCREMENT, JSON_LINES, landed
from benchmarks.peers import python_of_peers, why_no_duckdb, why_no_sail, why_no_spark

BEST, USUAL, ALONE, OURS = NO_PEERS = "best script", "usual script", "ours, rooms alone", "ours, with Dagster"
PEER, DLT, DUCKDB, SAIL, SPARK = "dagster-polars", "dlt", "DuckDB", "Sail", "Spark"
GOALS = {False: 1.10, True: 2}
"""Of ours to the best script: in full, and for an increment."""
MORE_WORK = (
    "Ours beside the script's work: hashes what landed, keeps a ledger, keeps each value's own text and reads it "
    "exactly, judges every rule by its name, counts rows and sums from table to table, measures every column and "
    "syncs to the disk."
)
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


def _contenders(race: Race) -> tuple[dict[str, Callable[[Path, Path], list[str]]], dict[str, str]]:
    """By name, the command that takes a landing into a lake; and why it is missing, of those that cannot be had."""
    of, peers = f"benchmarks.{race.graph}", str(python_of_peers() or "")
    missing = dict.fromkeys((PEER, DLT), "" if peers else "could not be installed") | {DUCKDB: why_no_duckdb()}
    both = {SAIL: why_no_sail(), SPARK: why_no_spark()}
    missing |= both if race.graph == "lines" else dict.fromkeys(both, "its script is of flat CSV only")
    found: dict[str, Callable[[Path, Path], list[str]]] = {
        BEST: lambda *folders: python(f"{of}.best", *folders),
        USUAL: lambda *folders: python(f"{of}.usual", *folders),
        ALONE: lambda *folders: python("benchmarks.ours", f"{of}.tables", *folders, "alone"),
        OURS: lambda *folders: python("benchmarks.ours", f"{of}.tables", *folders),
        PEER: lambda *folders: [peers, *python(f"{of}.peer", *folders)[1:]],
        DLT: lambda *folders: [peers, *python(f"{of}.by_dlt", *folders)[1:]],
        DUCKDB: lambda *folders: python(f"{of}.by_duckdb", *folders),
        SAIL: lambda *folders: python(f"{of}.by_spark", *folders, "sail"),
        SPARK: lambda *folders: python(f"{of}.by_spark", *folders, "spark"),
    }
    why = {name: why for name, why in missing.items() if why}
    is_asked = {*NO_PEERS, *missing} - {*why}
    return {name: command for name, command in found.items() if name in is_asked}, why


def _figures(race: Race, rounds: int) -> Iterator[Figures]:
    contenders, missing = _contenders(race)
    first: dict[str, list[Cost]] = {name: [] for name in contenders}
    then: dict[str, list[Cost]] = {name: [] for name in contenders}
    odd: dict[str, str] = {}
    for number in range(rounds):
        truth: tuple[dict[str, pl.DataFrame], dict[str, pl.DataFrame]] = {}, {}
        for name in list(contenders):
            _say(f"{race.title}: round {number + 1} of {rounds}, {name}")
            try:
                with tempfile.TemporaryDirectory(prefix="lakehouse-bench-") as folder:
                    home = Path(folder)
                    landing, lake = home / "landing", home / "lake"
                    for files, costs, its in ((race.base, first, truth[0]), (race.more, then, truth[1])):
                        if files:
                            _link(files, landing)
                            costs[name].append(cost(contenders[name](landing, lake), environment(home)))
                            odd |= _differences(race.graph, lake, its, name)
            except subprocess.CalledProcessError as failed:
                if name in NO_PEERS:
                    raise
                missing[name] = f"it ended with {failed.returncode}"
                for each in (contenders, first, then):
                    del each[name]
    notes = [f"MISSING: {name}: {why}." for name, why in missing.items()]
    yield _table(race, first, odd, notes=notes)
    if race.more:
        yield _table(race, then, odd, notes=notes, more=True)


def _link(files: Path, landing: Path) -> None:
    """The same files under another name, as old as they are."""
    shutil.copytree(files, landing, copy_function=lambda old, new: Path(new).hardlink_to(old), dirs_exist_ok=True)


def _differences(graph: str, lake: Path, truth: dict[str, pl.DataFrame], of: str) -> dict[str, str]:
    """By contender, a table that is not, row for row, that of the first one."""
    found: dict[str, str] = {}
    # the peer makes its quarantine anew as well, and so forgets what was corrected since
    for key in (*TABLES[graph], *(() if of == PEER else ("quarantine",))):
        rows = _set_aside(lake) if key == "quarantine" else _rows(_place(lake, key))
        if not rows.equals(truth.setdefault(key, rows)):
            found[of] = key
            _say(f"{key} of {of} DIFFERS from that of the {BEST}: void")
    return found


def _place(lake: Path, key: str) -> Path | None:
    """Where the table lies: dagster-polars and dlt each have their own name for it."""
    places = (lake / key, (lake / key).with_suffix(".delta"), lake / "tables" / key.replace("/", "_"))
    return next((place for place in places if place.exists()), None)


def _rows(table: Path | None) -> pl.DataFrame:
    """All rows in one order, columns in one order."""
    if table is None:
        return pl.DataFrame()
    rows = pl.read_delta(str(table))
    key = [name for name in ("order_no", "line_no", "day", "country") if name in rows.columns]
    return rows.select(sorted(rows.columns)).sort(key)


def _set_aside(lake: Path) -> pl.DataFrame:
    """The keys of the lines that were set aside; ours keeps each as it came, as JSON, the others as columns."""
    key = ("order_no", "line_no")
    ours, theirs = lake / "quarantine" / "silver" / "order_lines", _place(lake, "quarantine/order_lines")
    if theirs:
        rows = pl.read_delta(str(theirs))
    elif ours.exists():
        rows = pl.read_delta(str(ours)).select(
            pl.col("row").str.json_path_match(f"$.{name}").alias(name) for name in key
        )
    else:
        rows = pl.DataFrame(schema=dict.fromkeys(key, pl.String))
    return rows.select(pl.col(key).cast(pl.String)).sort(key)


def _table(
    race: Race, costs: dict[str, list[Cost]], odd: dict[str, str], *, notes: list[str], more: bool = False
) -> Figures:
    middle = {name: median(each) for name, each in costs.items()}
    best = middle[BEST]
    measure, title = (
        (f"{race.measure}-more", f"then {INCREMENT:,} more") if more else (f"{race.measure}-full", "in full")
    )
    dagster = f"Dagster takes {middle[OURS].worked - middle[ALONE].worked:.1f} s of it, and "
    goals = (
        goal(f"{name}, worked, to the {BEST}", middle[name].worked / best.worked, GOALS[more], "x", because=why)
        for name, why in ((ALONE, "ours does more (below)"), (OURS, f"{dagster}ours does more (below)"))
        if name not in odd
    )
    void = (f"VOID: {key} of {name} is not that of the {BEST}: no ratio." for name, key in odd.items())
    notes = [f"Median of {len(costs[BEST])} rounds; MB of the largest process.", *goals, MORE_WORK, *void, *notes]

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
