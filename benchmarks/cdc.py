"""A batch of 100,000 change events applied to a table of 10 M rows: by us, by deltalake, by plain Polars."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import polars as pl

from benchmarks.changes import TOLD, WAYS
from benchmarks.figures import Figures, goal
from benchmarks.merges import BECAUSE, RECENT, SPREAD, Merged, median, on_a_copy, order_lines, prepared
from benchmarks.upserts import KEY, SUMMED
from lakehouse.engine.delta.files import ROWS_PER_FILE

SIZE = 10_000_000
UPDATED, AGAIN, DELETED, BACK, FRESH, GONE_AGAIN = 60_000, 10_000, 14_000, 1_000, 14_000, 1_000
PLAIN, ANEW, VECTORS, *_ = WAYS

ABOUT = (
    f"{UPDATED:,} standing rows are updated, {AGAIN:,} of them twice; {DELETED:,} deleted, {BACK:,} of which are back.",
    f"{FRESH:,} rows are new, of which {GONE_AGAIN:,} go again. Of what is deleted only the key is told.",
    "The last event of a key counts, and looking for it is part of the time. The table is that of the upserts.",
    "What stands afterwards is counted, summed and hashed in every column: else void.",
    "ours: as Merge(deletes=) does; a deleted row is gone, from the files or by a deletion vector.",
    "recent: among the newest million rows; spread: over all rows. Peak: of the whole process up to the end.",
    "deltalake, tuned: streamed_exec=False, and the range of key and day as literals.",
)


class Case(NamedTuple):
    """Which rows change, and who changes them."""

    rows: str
    way: str

    @property
    def name(self) -> str:
        return f"{self.rows}: {self.way}"


def cdc(*, rounds: int, size: int) -> Iterator[Figures]:
    """A table of 10 M rows, or of `size` where that is more."""
    folder = prepared(max(size, SIZE))
    found: dict[Case, Merged] = {}
    for kind in (RECENT, SPREAD):
        batch = _events(folder, max(size, SIZE), kind)
        told: dict[str, list[Merged]] = {way: [] for way in WAYS}
        for number in range(rounds):
            for way in WAYS:
                sys.stderr.write(f"… {kind}: {way}, round {number + 1} of {rounds}\n")
                told[way].append(on_a_copy(folder, "benchmarks.changes", way, batch))
        found |= {Case(kind, way): median(each) for way, each in told.items()}
    yield _figures(found, max(size, SIZE), rounds)


def _events(folder: Path, size: int, kind: str) -> str:
    """The name of the file of the events; beside it lies what must stand after them."""
    span = min(size, ROWS_PER_FILE) if kind == RECENT else size
    picked = size - span + pl.int_range(UPDATED + DELETED, eager=True) * span // (UPDATED + DELETED)
    goes = pl.int_range(picked.len(), eager=True) * DELETED % picked.len() < DELETED
    standing, going = order_lines(picked.filter(~goes)), order_lines(picked.filter(goes))
    fresh = order_lines(pl.int_range(size, size + FRESH, eager=True))
    updated, back = [_more(standing, pieces) for pieces in (1, 2)], _more(going.head(BACK), 3)
    first = [_event(updated[0], "u"), _event(going, "d"), _event(fresh, "c")]
    then = [_event(updated[1].head(AGAIN), "u"), _event(back, "c"), _event(fresh.tail(GONE_AGAIN), "d")]
    stream = [pl.concat(each).select(pl.all().shuffle(1)) for each in (first, then)]
    pl.concat(stream).with_row_index("lsn").write_parquet(folder / f"events-{kind}.parquet")
    after = pl.concat([updated[1].head(AGAIN), updated[0].tail(-AGAIN), back, fresh.head(FRESH - GONE_AGAIN)])
    told = [each.select(**TOLD).row(0, named=True) for each in (pl.concat([standing, going]), after)]
    before = pl.scan_delta(str(folder / "table")).select(**TOLD).collect(engine="streaming").row(0, named=True)
    expected = {name: (before[name] - told[0][name] + told[1][name]) % 2**64 for name in TOLD}
    (folder / f"events-{kind}.json").write_text(json.dumps(expected))
    return f"events-{kind}"


def _more(lines: pl.DataFrame, pieces: int) -> pl.DataFrame:
    return lines.with_columns(pl.col(SUMMED) + pieces, pl.col("saved_at") + pl.duration(days=pieces))


def _event(lines: pl.DataFrame, op: str) -> pl.DataFrame:
    told = lines.select(
        pl.col(name) if op != "d" or name in KEY else pl.lit(None, dtype).alias(name)
        for name, dtype in lines.schema.items()
    )
    return told.select(pl.lit(op).alias("op"), pl.all())


def _figures(found: Mapping[Case, Merged], rows: int, rounds: int) -> Figures:
    def ratio(case: Case) -> str:
        plain = found[case._replace(way=PLAIN)]
        return f"{found[case].wall / plain.wall:.2f}x" if found[case].is_right and plain.is_right else "void"

    told = [
        (
            case.name, f"{each.wall:.2f}", f"{each.cpu:.2f}", f"{each.memory:,.0f}", f"{each.written:,.1f}",
            f"{each.read:.2f}", ratio(case),
        )
        for case, each in found.items()
    ]  # fmt: skip
    plain = found[Case(RECENT, PLAIN)].wall
    goals = (
        goal(f"{way}, recent, to the plain rewrite", found[Case(RECENT, way)].wall / plain, 1.1, "x", because=BECAUSE)
        for way in (ANEW, VECTORS)
    )
    wrong = (f"VOID: after {case.name} what stands is not as expected." for case in found if not found[case].is_right)
    said = f"Median of {rounds} round{'s' * (rounds > 1)}, each a process of its own on a copy of the table."
    notes = [said, *ABOUT, *goals, *wrong]
    columns = ("", "wall s", "CPU s", "peak MB", "MB written", "full read s", "wall")
    title = f"100,000 change events (insert, update, delete) applied to {rows / 1e6:g} M rows"
    return Figures("12-cdc", title, columns, told, [each.wall for each in found.values()], notes)
