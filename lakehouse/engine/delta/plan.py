"""What a merge will do to one version of a table, told before anything is written: the files, the way, the memory.

From the log: which files may hold a wanted key. From their key columns: which do, and how many rows of them go. There
is no third way: deltalake's own merge, tuned, takes longer and writes more than files written anew by us wherever it
was measured (docs/figures.md), and splits nothing; it is the oracle of the tests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import polars as pl
from pyroaring import BitMap

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.number import mb, number
from lakehouse.engine.delta.batch import Batch, Spilled
from lakehouse.engine.delta.files import ROWS_PER_FILE
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.memory import LEAST, PLEASANT, Extent, Need, as_read
from lakehouse.engine.delta.sought import Found, Gone, gone_by, look, seek, why_no_marks

MOST_GONE = 0.5
"""Of the rows of files that a merge touches: where more would be gone, what is left of them is written anew.

Measured on a file of 1 M rows of twelve columns (CPU seconds, 2.5 times those of a quiet machine): of 10 %, 30 %, 50 %
and 70 % vectors save 0.78, 0.65, 0.54 and 0.50 of the merge, and cost each full read after it 0.11, 0.13, 0.17 and
0.20 more, until files are laid together, which writes what is left after all: from a half on no work is saved.
"""


class Way(StrEnum):
    """How rows that others replace leave their files."""

    APPEND = "append"
    """No file holds one."""
    VECTORS = "deletion vectors"
    ANEW = "files anew"


@dataclass(frozen=True)
class Plan:
    """`rows` came, deletes among them. Of all files of the `table` some may hold such a key by their ranges; some do.

    older: those that are left out, since a newer one stands. slices: parts in which their keys are looked up.
    passes: files that are written anew together, as many as the memory lets be; all of them are one commit. Rows and
    bytes that are written, and `memory` (bytes, those of incoming rows in memory among them, beside what the process
    has already), are estimates, and rather too much than too little.
    """

    way: Way
    why: str
    rows: int
    older: int
    table: Extent
    may_hold: Extent
    holds: Extent
    slices: int
    passes: tuple[tuple[str, ...], ...]
    rows_written: int
    bytes_written: int
    memory: int
    budget: int

    def __str__(self) -> str:
        passes = f" in {len(self.passes):,} passes" if len(self.passes) > 1 else ""
        slices = f", looked up in {self.slices:,} parts" if self.slices > 1 else ""
        older = f" ({self.older:,} older than what stands)" if self.older else ""
        return (
            f"{number(self.rows, 'row')}{older} to merge{slices} by {self.way}{passes}: {self.why}. Of "
            f"{number(self.table.files, 'file')} {self.may_hold.files:,} may hold such a key and {self.holds.files:,} "
            f"do ({number(self.holds.rows, 'row')}, {mb(self.holds.bytes)}). To write: about "
            f"{number(self.rows_written, 'row')}, {mb(self.bytes_written)}; memory: at most {mb(self.memory)} of "
            f"{mb(self.budget)}."
        )

    @property
    def facts(self) -> dict[str, str | int]:
        """As metadata."""
        extents = {"": self.table, "_that_may_hold_a_key": self.may_hold, "_that_hold_a_key": self.holds}
        files = {f"files{which}": extent.files for which, extent in extents.items()}
        needs = {"slices": self.slices, "passes": len(self.passes), "memory": self.memory, "memory_budget": self.budget}
        rewrites = {"rows_to_write": self.rows_written, "bytes_to_write": self.bytes_written}
        files |= {"bytes_looked_through": self.may_hold.bytes, "rows_older": self.older}
        facts = {"way": str(self.way), "why": self.why, **files, **rewrites, **needs}
        return {f"merge/{name}": fact for name, fact in facts.items()}


type Tell = Callable[[Plan], object]


def nobody(_: Plan) -> None:
    """Is told of a plan."""


class Work(NamedTuple):
    """A plan, and what it was made of. `touched`: the files that hold a row that goes, in commit order.

    older: the numbers of rows that come and are not written. pieces: where each begins of those that are written at
    once of rows in a file, and how many they are.
    """

    plan: Plan
    gone: Gone
    touched: tuple[str, ...]
    older: BitMap
    pieces: Sequence[tuple[int, int]]


def needs(handle: Handle, batch: Batch) -> tuple[Need, int | None]:
    """What it takes to merge these rows into this version, and in how many parts their keys are looked up within it.

    None where there are none for which it is enough.
    """
    files = handle.files()
    need = Need.of(batch, Extent.of(files))
    return need, need.slices(files["rows"].max() or 0, batch.budget)  # pyright: ignore[reportArgumentType] # a number


def worked_out(handle: Handle, batch: Batch) -> Work:
    """How these rows are merged into this version. Refused where not even part by part the budget is kept to."""
    files = handle.files()
    need, slices = needs(handle, batch)
    need = need.sliced(slices or 1)
    within = _Within(handle, batch, need)
    within.refuse_above(need.to_hold)
    found, may_hold, memory, wrong, rows = Found(), set[str](), 0, Counter[str](), within.rows
    for keys in batch.slices(slices or 1) if batch.count else ():
        wrong += keys.wrong
        sought = [seek(handle, each) for each in keys.goes]
        near = {path for each in sought for path in each.files}
        probed = within.parts({path: rows[path] for path in near}, need.to_probe, within.budget)
        for each in sought:
            look(handle, each, probed, found, by=batch.newest_by)
        may_hold, memory = may_hold | near, max(memory, within.most(probed, rows, need.to_probe))
    within.refuse_wrong(wrong)
    gone = gone_by(handle, found)
    way, why = _chosen(gone, why_no_marks(handle))
    anew = [path for path, went in gone.new.items() if went != rows[path]] if way is Way.ANEW else []
    taken = as_read(handle, anew, lambda taken: need.to_write(taken) <= batch.budget)
    passes = within.parts(taken, need.to_write, PLEASANT)
    come = batch.rows.height - len(found.older)
    written = come + sum(rows[path] - gone.new[path] for path in anew)
    pieces = within.pieces() if come else []
    most = max((count for _, count in pieces), default=0) if isinstance(batch.rows, Spilled) else 0
    memory = max(memory, within.most(passes, taken, need.to_write), need.to_write(int(most * need.width)))
    plan = Plan(
        way, why, batch.count, len(found.older), Extent.of(files), Extent.of(files, may_hold),
        Extent.of(files, gone.new), slices or 1, passes, written, int(written * need.stored), memory, within.budget,
    )  # fmt: skip
    return Work(plan, gone, tuple(gone.new), found.older, pieces)


def _chosen(gone: Gone, no_marks: str) -> tuple[Way, str]:
    if not gone.new:
        return Way.APPEND, "no file holds such a key"
    if no_marks:
        return Way.ANEW, no_marks
    if gone.share > MOST_GONE:
        return Way.ANEW, f"{gone.share:.0%} of the rows of its files would be gone, more than {MOST_GONE:.0%}"
    return Way.VECTORS, "all who read it know them"


class _Within:
    """A budget, and what is done at once so as to keep to it."""

    def __init__(self, handle: Handle, batch: Batch, need: Need) -> None:
        self.budget, self._handle, self._batch, self._need = batch.budget, handle, batch, need
        self.rows = dict(handle.files().select("path", pl.col("rows").fill_null(0)).iter_rows())

    def parts(self, sizes: Mapping[str, int], need: Callable[[int], int], most: int) -> tuple[tuple[str, ...], ...]:
        """These files, in commit order, in parts that take no more than the budget, else Refused.

        sizes: by path, by which there is `need` of memory. most: what a part should take beside the incoming rows.
        """
        parts, size = list[tuple[str, ...]](), 0
        for path in (each for each in self.rows if each in sizes):
            self.refuse_above(need(sizes[path]), path)
            size += sizes[path]
            if parts and need(size) <= min(self.budget, need(0) + most):
                parts[-1] += (path,)
            else:
                size = sizes[path]
                parts.append((path,))
        return tuple(parts)

    def most(self, parts: Sequence[Sequence[str]], sizes: Mapping[str, int], need: Callable[[int], int]) -> int:
        return max((need(sum(sizes[path] for path in some)) for some in parts), default=need(0))

    def pieces(self) -> list[tuple[int, int]]:
        """All at once, of rows in memory."""
        rows = self._batch.rows
        if isinstance(rows, pl.DataFrame):
            return [(0, rows.height)]
        self.refuse_above(self._need.to_write(int(min(LEAST, rows.height) * self._need.width)))
        once = min(self._need.rows_within(self.budget), ROWS_PER_FILE)
        return [(start, min(once, rows.height - start)) for start in range(0, rows.height, once)]

    def refuse_wrong(self, wrong: Counter[str]) -> None:
        if wrong:
            columns, key = (", ".join(each) for each in (self._batch.sought_by, self._batch.key))
            raise Refused(
                f"{self._handle.address} refused {self._batch.count:,} rows to merge: {wrong['without']:,} with a null "
                f"among {columns}, {wrong['doubled']:,} that share their key ({key}) with another one. Nothing was "
                f"written; version {self._handle.version} stands. Reject the nulls and keep one row per key before "
                "merging."
            )

    def refuse_above(self, need: int, path: str = "") -> None:
        if need <= self.budget:
            return
        came = number(self._batch.count, "row")
        size = f" at once with the {number(self.rows[path], 'row')} of {path}" if path else ""
        raise Refused(
            f"{self._handle.address} refused {came} to merge: to hold them{size} takes about "
            f"{mb(need)} of memory, more than the {mb(self.budget)} that a merge may have here. Nothing was written; "
            f"version {self._handle.version} stands. Give it more (merge_memory_mb: in the environment's file), let "
            "fewer rows come at once (run more often), or let Spark make the table, on Databricks where the "
            'environment names it: @table(write=Overwrite(), runs_on=Spark("….spark.py")).'
        )
