"""The memory that a merge may have, and what it needs: a model made of measurements, and never below them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import polars as pl
import polars.selectors as cs

from lakehouse.engine.delta.batch import Batch, Spilled
from lakehouse.engine.delta.footers import AT_MOST, unpacked
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.scan import NOTHING_GONE
from lakehouse.engine.delta.store import each_of, end_of

SHARE = 0.5
"""Of what the process may have: the other half is for what it holds already, and for other work."""

PLEASANT = 350_000_000
"""Bytes for which files are written anew at once where more is allowed: larger parts save no work."""

ALWAYS = 50_000_000
"""What threads, decoders and the allocator take beside all that is counted."""
LEAST = 10_000
"""Rows of which the keys are looked up at once, and that are written at once: fewer only where no more came."""
_UNEVEN = 1.1
_HASHED, _ROW, _PLACE, _UNFOLDS, _WRITTEN = 3, 128, 24, 2, 3
_FEW_THREADS, _A_THREAD = 8, 0.185
"""So many write what two do in little more memory; each further one adds a piece in flight (measured with 2 to 32)."""
_MADE = 2_000_000
"""Bytes that each such thread has of versions that are made (measured with 2 to 32)."""
_KEPT = 10_000_000
"""Bytes that each thread from the third on keeps of a batch in a file, which it reads part by part."""
_SORTED, _SEEN = 8, 150
_READ_AT_ONCE = 1_000_000
_SOME, _LONG = 1_000, 500
"""Rows at either end of a file at which texts are looked that it says once each, and the bytes that these may be of."""

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


type _Told = tuple[list[tuple[int, int]], list[str]]


def as_read(handle: Handle, paths: Sequence[str], fits: Callable[[int], bool]) -> dict[str, int]:
    """By path, in bytes, what all rows that lie in these files take in memory, as their footers tell it.

    Texts that a file says once each, and then by their numbers, are as long as its first ones or its last; or as they
    are, all of them read, where long ones might not be let in. fits: whether a file of so many bytes is.
    """
    sizes, schema = dict(handle.files().select("path", "size").iter_rows()), handle.schema

    def footer(path: str) -> _Told:
        return unpacked(partial(end_of, handle.address, path, sizes[path]), schema)

    told = zip(paths, each_of(handle.address, paths, footer), strict=True)
    return {path: _as_read(handle.scan_paths([path], gone=NOTHING_GONE), each, fits) for path, each in told}


def _as_read(rows: pl.LazyFrame, told: _Told, fits: Callable[[int], bool]) -> int:
    groups, names = told
    count, known = map(sum, zip((0, 0), *groups, strict=True))
    texts = rows.select(names)
    if not names or not fits(known + count * len(names) * _LONG):
        return known + sum(int(each.estimated_size()) for each in texts.collect_batches() if names)
    return known + int(count * max(_a_row(each.collect()) for each in (texts.head(_SOME), texts.tail(_SOME))))


def _widest(rows: Spilled) -> float:
    """Bytes that a row takes in memory, on average where that is most."""
    groups, names = unpacked(rows.last, rows.lazy().collect_schema())
    texts = map(_a_row, rows.lazy().select(names).collect_batches())
    return max((taken / (count or 1) for count, taken in groups), default=0) + max(texts, default=0)


def _a_row(texts: pl.DataFrame) -> float:
    return texts.estimated_size() / (texts.height or 1)


def versions_at_once(seen: pl.DataFrame, own: Handle | None, near: Collection[str] | None, budget: int) -> int:
    """In how many parts versions are made of what was seen, so that each keeps to what the made ones leave of it.

    Of what its `own` table holds there is at most a row for each that was seen, or all (None), as wide as in one of the
    files `near`. Of rows of 40 to 250 bytes five to seven times these are taken; what joins take is in the rest.
    """
    came, rows = int(seen.estimated_size()), seen.height
    stands = both = came + AT_MOST * rows * len(seen.select(cs.string() | cs.binary()).columns)
    if own is not None:
        files = own.files() if near is None else own.files().filter(pl.col("path").is_in(list(near)))
        sizes = as_read(own, files["path"].to_list(), lambda taken: _SORTED * taken <= budget)
        rows = int(files["rows"].sum()) if near is None else rows
        widths = (size / (count or 1) for size, count in zip(sizes.values(), files["rows"], strict=True))
        stands = max(stands, int(rows * max(widths, default=0)))
    need = _SORTED * (both + stands) + _SEEN * (seen.height + rows)
    return -(-need // max(budget - ALWAYS - 2 * came - _MADE * _more_threads(), budget // 4)) or 1


def _written() -> float:
    """How many times rows are held while they are written, at most."""
    return _WRITTEN + _A_THREAD * _more_threads()


def _more_threads() -> int:
    return max(pl.thread_pool_size() - _FEW_THREADS, 0)


@dataclass(frozen=True)
class Need:
    """What a merge takes, in bytes, beside what the process has: of `rows` whose `keys` are looked up at once.

    Measured where Polars allocates as `import lakehouse` tells it to.
    held: what the rows that come take, 0 where they are read from a file; `width`: of one of these as it is read, at
    most. stored: of a row in a file. in_groups: of one key many rows may go. marked: places of rows, a bit for each.
    """

    rows: int
    held: int
    keys: int
    width: float
    stored: float
    in_groups: bool
    marked: int

    @classmethod
    def of(cls, batch: Batch, standing: Extent) -> Need:
        rows, held = batch.rows, 0 if isinstance(batch.rows, Spilled) else int(batch.rows.estimated_size())
        width = _widest(rows) if isinstance(rows, Spilled) else held / (rows.height or 1)
        stored, marked = standing.bytes / (standing.rows or 1), (standing.rows + batch.count) // 8
        many = bool(batch.replaces)
        return cls(batch.count, held, batch.key_size, width, stored or width / _UNFOLDS, many, marked)

    def sliced(self, slices: int) -> Need:
        """Where the keys are looked up in so many parts, of which none is exactly as large as another."""
        share = 1 if slices == 1 else _UNEVEN / slices
        return replace(self, rows=int(self.rows * share), keys=int(self.keys * share))

    def slices(self, most: int, budget: int) -> int | None:
        """In how many parts the keys are looked up, beside a file with so many rows; None where none are enough."""
        counts = (1 << power for power in range(max(self.rows // LEAST, 1).bit_length()))
        return next((count for count in counts if self.sliced(count).to_probe(most) <= budget), None)

    @property
    def _always(self) -> int:
        return ALWAYS if self.held else ALWAYS + _KEPT * max(pl.thread_pool_size() - 2, 0)

    @property
    def to_hold(self) -> int:
        """The incoming rows, and their keys: checked, sorted, looked up."""
        return int(self._always + self.held + _HASHED * self.keys + _ROW * self.rows + self.marked)

    def to_probe(self, rows: int) -> int:
        """To read the keys of files with so many rows, keep the places of those found, and write the incoming rows."""
        read = self.keys / (self.rows or 1) * min(rows, _READ_AT_ONCE * pl.thread_pool_size()) * _WRITTEN
        found = rows if self.in_groups else min(rows, self.rows)
        return int(self.to_hold + self.held + read + _PLACE * found)

    def to_write(self, taken: int) -> int:
        """To write rows that take so much as they are read, anew or for the first time: both are done side by side."""
        return int(self._always + self.held + self.marked + _written() * taken)

    def rows_within(self, budget: int) -> int:
        """How many of the rows that come may be written at once."""
        return int((budget - self.to_write(0)) / (_written() * self.width or 1))
