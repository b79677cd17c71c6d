"""What a merge will do to one version of a table, told before anything is written: the files, the way, the memory.

From the log: which files may hold a wanted key. From their key columns: which do, and how many rows of them go. There
is no third way: deltalake's own merge, tuned, takes longer and writes more than files written anew by us wherever it
was measured (docs/figures.md), and splits nothing; it is the oracle of the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import polars as pl

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.number import mb, number
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.memory import PLEASANT, Extent, Need
from lakehouse.engine.delta.sought import NONE_GONE, Gone, Sought, found, gone_by, seek, why_no_marks

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

    passes: files that are written anew together, as many as the memory lets be; all of them are one commit. Rows and
    bytes that are written, and `memory` (bytes, those of the incoming rows among them, beside what the process has
    already), are estimates, and rather too much than too little.
    """

    way: Way
    why: str
    rows: int
    table: Extent
    may_hold: Extent
    holds: Extent
    passes: tuple[tuple[str, ...], ...]
    rows_written: int
    bytes_written: int
    memory: int
    budget: int

    def __str__(self) -> str:
        passes = f" in {len(self.passes):,} passes" if len(self.passes) > 1 else ""
        return (
            f"{number(self.rows, 'row')} to merge by {self.way}{passes}: {self.why}. Of "
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
        needs = {"passes": len(self.passes), "memory": self.memory, "memory_budget": self.budget}
        rewrites = {"rows_to_write": self.rows_written, "bytes_to_write": self.bytes_written}
        facts = {"way": str(self.way), "why": self.why, **files, **rewrites, **needs}
        return {f"merge/{name}": fact for name, fact in facts.items()}


type Tell = Callable[[Plan], object]


def nobody(_: Plan) -> None:
    """Is told of a plan."""


class Batch(NamedTuple):
    """Rows that come; keys, and groups, of which no standing row stays; and what may be taken of memory.

    in_groups: of one of these many rows may stand. tell: given each plan before a file is written by it.
    """

    rows: pl.DataFrame
    goes: Sequence[pl.DataFrame]
    in_groups: bool
    budget: int
    tell: Tell


class Work(NamedTuple):
    """A plan, and what it was made of. `touched`: the files that hold such a row, in commit order."""

    plan: Plan
    sought: Sequence[Sought]
    gone: Gone
    touched: tuple[str, ...]


def worked_out(handle: Handle, batch: Batch) -> Work:
    """How these rows are merged into this version. Refused where not even file by file the budget is kept to."""
    incoming, goes, in_groups, budget, _ = batch
    files = handle.files()
    need = Need.of(incoming, goes, Extent.of(files), in_groups=in_groups)
    count = goes[0].height
    within = _Within(handle, count, budget)
    within.refuse_above(need.to_hold)
    sought = [seek(handle, keys) for keys in goes] if count else []
    may_hold = {path for each in sought for path in each.files}
    probed = within.parts(may_hold, need.to_probe, within.budget)
    no_marks = why_no_marks(handle)
    gone = NONE_GONE if no_marks else gone_by(handle, sought, probed)
    held = found(handle, sought, probed) if no_marks else gone.new
    way, why = _chosen(held, no_marks, gone.share)
    rows = within.rows
    anew = [path for path in held if held[path] != rows[path]] if way is Way.ANEW else []
    passes = within.parts(anew, need.to_write, PLEASANT)
    written = incoming.height + sum(rows[path] - held[path] for path in anew)
    memory = max(within.most(probed, need.to_probe), within.most(passes, need.to_write))
    plan = Plan(
        way, why, count, Extent.of(files), Extent.of(files, may_hold), Extent.of(files, held), passes,
        written, int(written * need.stored), memory, within.budget,
    )  # fmt: skip
    return Work(plan, sought, gone, tuple(path for path in files["path"] if path in held))


def _chosen(held: Mapping[str, int], no_marks: str, share: float) -> tuple[Way, str]:
    if not held:
        return Way.APPEND, "no file holds such a key"
    if no_marks:
        return Way.ANEW, no_marks
    if share > MOST_GONE:
        return Way.ANEW, f"{share:.0%} of the rows of its files would be gone, more than {MOST_GONE:.0%}"
    return Way.VECTORS, "all who read it know them"


class _Within:
    """A budget, and what is done at once so as to keep to it."""

    def __init__(self, handle: Handle, came: int, budget: int) -> None:
        self.budget, self._handle, self._came = budget, handle, came
        self.rows = dict(handle.files().select("path", pl.col("rows").fill_null(0)).iter_rows())

    def parts(self, paths: Iterable[str], need: Callable[[int], int], most: int) -> tuple[tuple[str, ...], ...]:
        """These files, in commit order, in parts that take no more than the budget, else Refused.

        most: what a part should take beside the incoming rows.
        """
        parts, rows, some = list[tuple[str, ...]](), 0, set(paths)
        for path in (each for each in self.rows if each in some):
            self.refuse_above(need(self.rows[path]), path)
            rows += self.rows[path]
            if parts and need(rows) <= min(self.budget, need(0) + most):
                parts[-1] += (path,)
            else:
                rows = self.rows[path]
                parts.append((path,))
        return tuple(parts)

    def most(self, parts: Sequence[Sequence[str]], need: Callable[[int], int]) -> int:
        return max((need(sum(self.rows[path] for path in some)) for some in parts), default=need(0))

    def refuse_above(self, need: int, path: str = "") -> None:
        if need <= self.budget:
            return
        size = f" at once with the {number(self.rows[path], 'row')} of {path}" if path else ""
        raise Refused(
            f"{self._handle.address} refused {number(self._came, 'row')} to merge: to hold them{size} takes about "
            f"{mb(need)} of memory, more than the {mb(self.budget)} that a merge may have here. Nothing was written; "
            f"version {self._handle.version} stands. Give it more (merge_memory_mb: in the environment's file), let "
            "fewer rows come at once (run more often), or let Spark make the table, on Databricks where the "
            'environment names it: @table(write=Overwrite(), runs_on=Spark("….spark.py")).'
        )
