"""Figures as they are printed, kept and published: docs/figures.md with a table a measure, and one plot of them all."""

from __future__ import annotations

import io
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.bar import Bar
from rich.console import Console
from rich.table import Table

from benchmarks.cost import BUILD, PROJECT

PAGE, PLOT = PROJECT / "docs" / "figures.md", PROJECT / "docs" / "images" / "figures.svg"
KEPT = BUILD / "figures"
WIDTH = 118
NUMBER = re.compile(r"[0-9][0-9,]*(\.[0-9]+)?")
ABOUT = """# Figures

Made by `make bench`, which ends in writing this page; `python -m benchmarks <measure>` measures one again. All that is
compared ran in turn on the same files, and the tables that came out were held against each other row for row: where
they differed, no ratio stands here. Each figure is the median of the rounds, of a whole process; *worked* is what of
its wall time was left after Python had started and imported. Read the ratios, not the seconds. Who could not be had
where it was measured is named as MISSING beneath the table; a section stays until its measure is made again.
"""

out = Console(width=WIDTH, highlight=False)


@dataclass(frozen=True)
class Figures:
    """One measure: rows of text under `columns`, a number a row for its bar, and sentences beneath."""

    measure: str
    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    bars: list[float]
    notes: list[str] = field(default_factory=list)
    machine: str = ""

    def keep(self) -> None:
        """Print them, and keep them for the page."""
        out.print(self.title, style="bold")
        out.print(_drawn(self), *self.notes, "", sep="\n")
        KEPT.mkdir(parents=True, exist_ok=True)
        (KEPT / f"{self.measure}.json").write_text(json.dumps({**asdict(self), "machine": machine()}, indent=1))


def machine() -> str:
    """Where and when this runs, and of what: machine, date, commit, versions."""
    cpu = next((line.split(": ")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=PROJECT, capture_output=True, text=True, check=False
    ).stdout.strip()
    libraries = ", ".join(f"{name} {version(name)}" for name in ("dagster", "polars", "deltalake", "pandera"))
    return (
        f"{os.cpu_count()} cores ({cpu or platform.machine()}), {memory:.0f} GB, {platform.system()}, "
        f"Python {platform.python_version()}, {libraries}; {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit}, "
        f"load {os.getloadavg()[0]:.1f}"
    )


def _lines(path: str) -> Iterator[str]:
    if Path(path).exists():
        yield from Path(path).read_text().splitlines()


def publish() -> None:
    """Write page and plot: what is kept takes the place of its section, and all else that stands on the page stays.

    A measure that has another title now leaves its old section behind, for a hand to take away.
    """
    on_page = [_read(text) for text in PAGE.read_text().split("\n## ")[1:]] if PAGE.exists() else []
    kept = [Figures(**json.loads(file.read_text())) for file in sorted(KEPT.glob("*.json"))]
    found = list({each.title: each for each in [*on_page, *kept]}.values())
    if not found:
        sys.exit("No figures are kept yet: make bench")
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    console = Console(record=True, width=WIDTH, highlight=False, file=io.StringIO())
    for each in found:
        console.print(each.title, style="bold")
        console.print(_drawn(each), "")
    PLOT.write_text(console.export_svg(title="make bench", code_format=SVG))
    PAGE.write_text("\n".join([ABOUT, f"![All figures as bars](images/{PLOT.name})", *map(_section, found)]) + "\n")
    out.print(f"{PAGE.name} and {PLOT.name} are written.")


def _read(section: str) -> Figures:
    """A section as `_section` wrote it, without its `##`; the bar of a row is its first number."""
    title, *lines = section.splitlines()
    columns, _, *rows = [tuple(line[2:-2].split(" | ")) for line in lines if line.startswith("| ")]
    notes = [line[2:] for line in lines if line.startswith("- ")]
    machine = next(line for line in lines if line.startswith("<sub>")).removeprefix("<sub>").removesuffix("</sub>")
    return Figures("", title, columns, rows, [_first_number(row[1:]) for row in rows], notes, machine)


def _first_number(cells: Sequence[str]) -> float:
    return next((float(cell.replace(",", "")) for cell in cells if NUMBER.fullmatch(cell)), 0)


def goal(what: str, is_: float, most: float, unit: str, *, because: str = "") -> str:
    """The sentence that says whether it is kept, and else by how much it is missed, and why."""
    missed = f"MISSED by {_short(is_ - most)}{unit} ({is_ / most - 1:.0%}){because and ', because ' + because}"
    return f"Goal: {what}: {_short(is_)}{unit}, at most {most:g}{unit}: {'kept' if is_ <= most else missed}."


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.2f}"


def _drawn(figures: Figures) -> Table:
    drawn = Table(box=None, padding=(0, 1))
    for place, name in enumerate(figures.columns):
        drawn.add_column(name, justify="right" if place else "left")
    drawn.add_column("")
    most = max(figures.bars, default=0) or 1
    for row, bar in zip(figures.rows, figures.bars, strict=True):
        drawn.add_row(*row, Bar(most, 0, bar, width=28, color="green"))
    return drawn


def _section(figures: Figures) -> str:
    lines = [
        "| " + " | ".join(figures.columns) + " |",
        "| --- |" + " ---: |" * (len(figures.columns) - 1),
        *("| " + " | ".join(row) + " |" for row in figures.rows),
    ]
    notes = "\n".join(f"- {note}" for note in figures.notes)
    return f"\n## {figures.title}\n\n" + "\n".join(lines) + f"\n\n{notes}\n\n<sub>{figures.machine}</sub>"


# rich's own picture, without the fonts that it would fetch
SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; }}
{styles}
</style>
<defs>{lines}</defs>
<rect width="{width}" height="{height}" fill="#1e1e1e" rx="8"/>
<g transform="translate({terminal_x}, {terminal_y})">{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""
