"""The memory that a merge may have, and what it needs: a model made of measurements, and never below them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl

SHARE = 0.5
"""Of what the process may have: the other half is for what it holds already, and for other work."""

PLEASANT = 500_000_000
"""Bytes for which files are written anew at once where more is allowed: larger parts save no work."""

ALWAYS = 50_000_000
"""What threads, decoders and the allocator take beside all that is counted."""
_HASHED, _ROW, _PLACE, _UNFOLDS, _WRITTEN = 3, 128, 24, 2, 2
_READ_AT_ONCE = 1_000_000

_LIMITS = {"memory.max": ("/sys/fs/cgroup", ""), "memory.limit_in_bytes": ("/sys/fs/cgroup/memory", "memory")}
"""What a control group is held to, by the two versions of control groups: where they lie, and the controller's name."""


def usual_budget() -> int:
    """Half of what this process may have, in bytes: of the least limit of its control groups, else of the machine."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(SHARE * min([machine, *_limits(Path("/proc/self/cgroup"))]))


def _limits(told: Path) -> Iterator[int]:
    lines = told.read_text(encoding="utf-8").splitlines() if told.is_file() else []
    for _, controllers, path in (line.split(":", 2) for line in lines):
        for name, (root, controller) in _LIMITS.items():
            if controller in controllers.split(","):
                yield from _limits_above(Path(root), Path(path.lstrip("/")), name)


def _limits_above(root: Path, path: Path, name: str) -> Iterator[int]:
    """A container sees its own group as the root, and is told the path that it has outside."""
    for folder in (path, *path.parents):
        file = root / folder / name
        said = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
        if said.isdecimal():
            yield int(said)


class Extent(NamedTuple):
    """So many files, the rows that count in them as far as the log says, and their bytes."""

    files: int
    rows: int
    bytes: int

    @classmethod
    def of(cls, files: pl.DataFrame, paths: Iterable[str] | None = None) -> Extent:
        """Of `Handle.files`, all or some."""
        some = files if paths is None else files.filter(pl.col("path").is_in(list(paths)))
        return cls(some.height, int(some["rows"].sum()), int(some["size"].sum()))


@dataclass(frozen=True)
class Need:
    """What a merge takes, in bytes, beside what the process has: of `rows` that came, in memory, with their keys.

    width: of a row of the table as it is read; `stored`: of one in a file. in_groups: of one key many rows may go.
    """

    rows: int
    came: int
    keys: int
    width: float
    stored: float
    in_groups: bool

    @classmethod
    def of(cls, incoming: pl.DataFrame, goes: Sequence[pl.DataFrame], standing: Extent, *, in_groups: bool) -> Need:
        """Standing rows are taken to be as wide as the incoming ones, or as what they take in files unfolds to."""
        rows, came = goes[0].height, int(incoming.estimated_size())
        keys = sum(int(each.estimated_size()) for each in goes)
        stored = standing.bytes / (standing.rows or 1)
        width = max(came / (incoming.height or 1), _UNFOLDS * stored)
        return cls(rows, came, keys, width, stored or width / _UNFOLDS, in_groups)

    @property
    def to_hold(self) -> int:
        """The incoming rows, and their keys: checked, sorted, looked up."""
        return int(ALWAYS + self.came + _HASHED * self.keys + _ROW * self.rows)

    def to_probe(self, rows: int) -> int:
        """To read the keys of files with so many rows, keep the places of those found, and write the incoming rows."""
        read = self.keys / (self.rows or 1) * min(rows, _READ_AT_ONCE * pl.thread_pool_size()) * _WRITTEN
        found = rows if self.in_groups else min(rows, self.rows)
        return int(self.to_hold + self.came + read + _PLACE * found)

    def to_write(self, rows: int) -> int:
        """To write files with so many rows anew: they are read and encoded side by side."""
        return int(self.to_hold + _WRITTEN * rows * self.width)
