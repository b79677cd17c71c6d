"""100,000 rows seen, into tables of 1 M and 10 M versions (SCD2), of things that lie together or all over."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import NamedTuple

import polars as pl

from benchmarks.cost import BUILD
from benchmarks.figures import Figures
from benchmarks.generated import COUNTRIES, drawn
from benchmarks.merges import Merged, goal, median, millions, on_a_copy
from benchmarks.seen import DAY, FIRST, SCHEMA, TOLD, WAYS
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta.files import ROWS_PER_FILE, write_files
from lakehouse.engine.delta.handle import Handle

SIZES = (1_000_000, 10_000_000)
SEEN, STANDING = 100_000, 90_000
SEEN_AT, EPOCH = "seen at", date(1970, 1, 1)
TOGETHER, SPREAD = "together", "spread"
ANEW, VECTORS, AS_IT_COMES, TUNED = WAYS

ABOUT = (
    "A table has 8 columns, two versions a thing, the second one open, and files of 1 M rows.",
    f"Seen: {STANDING // 2:,} rows with another tracked value, as many with another untracked one, the rest is new.",
    "What stands afterwards is counted and summed, its ends and its open versions too: else void.",
    "Opening the table, the versions, the check of them, and the delivery; without imports, Dagster and landing.",
    "together: things of the newest million versions; spread: over all of them.",
    "deltalake: what was seen joined with the open versions; a row more for each that changes; one merge, 3 clauses.",
    "deltalake, tuned: streamed_exec=False, and the range of things as literals.",
)


class Case(NamedTuple):
    size: int
    things: str
    way: str

    @property
    def name(self) -> str:
        return f"{millions(self.size)}, {self.things}: {self.way}"


def history(*, rounds: int, size: int) -> Iterator[Figures]:  # noqa: ARG001 # as every measure is called
    """Tables of 1 M and 10 M versions; told anew after each."""
    found: dict[Case, Merged] = {}
    for rows in SIZES:
        folder = _prepared(rows)
        kinds = [TOGETHER] if rows <= ROWS_PER_FILE else [TOGETHER, SPREAD]
        cases = [Case(rows, kind, way) for kind in kinds for way in WAYS]
        costs: dict[Case, list[Merged]] = {case: [] for case in cases}
        for number in range(rounds):
            for case in cases:
                sys.stderr.write(f"… {case.name}, round {number + 1} of {rounds}\n")
                costs[case].append(on_a_copy(folder, "benchmarks.seen", case.way, case.things))
        found |= {case: median(each) for case, each in costs.items()}
        yield _figures(found, rounds)


def _versions(rows: pl.Series) -> pl.DataFrame:
    """The versions with these numbers: of each thing two, one after the other."""
    row, is_open = pl.col("row"), pl.col("row") % 2 == 1
    chosen = (drawn(16, row) ** 4 * len(COUNTRIES)).cast(pl.Int64)
    begun = pl.lit(FIRST) + pl.duration(days=(drawn(11, row // 2) * 300).cast(pl.Int64))
    changed = begun + pl.duration(days=1 + (drawn(12, row // 2) * 60).cast(pl.Int64))
    return (
        pl.DataFrame({"row": rows})
        .select(
            customer_id=row // 2,
            name=pl.format("CUSTOMER {} OF THE BOOKS", row // 2),
            country=chosen.replace_strict(dict(enumerate(COUNTRIES)), return_dtype=pl.String),
            channel=(drawn(18, row) * 4).cast(pl.Int64).cast(pl.String),
            orders=1 + (drawn(15, row) ** 4 * 60).cast(pl.Int64),
            amount=((20 + row * 7 % 1_900) / 100).cast(pl.Decimal(12, 2)),
            since=pl.when(is_open).then(changed).otherwise(begun),
            valid_to=pl.when(~is_open).then(changed),
        )
        .cast(SCHEMA)
    )  # type: ignore[arg-type] # a schema of instances


def _prepared(size: int) -> Path:
    """The folder of a table of so many versions, what is seen and what must come out; made where it is not there."""
    folder = BUILD / f"history-{size}"
    if (folder / "is_made").exists():
        return folder
    sys.stderr.write(f"… a table of {size:,} versions is made\n")
    shutil.rmtree(folder, ignore_errors=True)
    table, added = Handle.create(Address(str(folder / "table")), SCHEMA), []
    totals = dict.fromkeys(TOLD, 0)
    for start in range(0, size, ROWS_PER_FILE):
        rows = _versions(pl.int_range(start, min(start + ROWS_PER_FILE, size), eager=True))
        added += write_files(table, rows, after=len(added))
        totals = {name: totals[name] + told for name, told in _told(rows).items()}
    table.commit(added, [], {SEEN_AT: (DAY - EPOCH).days - 1}, {})
    fresh = _versions(size + 2 * pl.int_range(SEEN - STANDING, eager=True) + 1).with_columns(since=pl.lit(DAY))
    for kind, span in ((TOGETHER, min(size, ROWS_PER_FILE)), (SPREAD, size)):
        things = (size - span) // 2 + pl.int_range(STANDING, eager=True) * (span // 2) // STANDING
        standing = _versions(things * 2 + 1)
        moves, more = pl.int_range(pl.len()) % 2 == 0, pl.col("orders") + 1
        country = pl.when(moves).then(pl.col("country") + "?").otherwise("country")
        came = standing.with_columns(country, more, since=pl.lit(DAY))
        pl.concat([came, fresh]).write_parquet(folder / f"{kind}.parquet")
        ended = standing.filter(moves).with_columns(valid_to=pl.lit(DAY))
        after = pl.concat([ended, came.filter(moves), standing.filter(~moves).with_columns(more), fresh])
        expected = {name: totals[name] - _told(standing)[name] + told for name, told in _told(after).items()}
        (folder / f"{kind}.json").write_text(json.dumps(expected))
    (folder / "is_made").touch()
    return folder


def _told(rows: pl.DataFrame) -> dict[str, int]:
    return rows.select(**TOLD).row(0, named=True)


def _figures(found: Mapping[Case, Merged], rounds: int) -> Figures:
    def ratio(case: Case) -> str:
        theirs = found[case._replace(way=TUNED)]
        return f"{found[case].wall / theirs.wall:.2f}x" if found[case].is_right and theirs.is_right else "void"

    rows = [
        (
            case.name, f"{each.wall:.2f}", f"{each.cpu:.2f}", f"{each.memory:,.0f}", f"{each.written:,.1f}",
            f"{each.read:.2f}", ratio(case),
        )
        for case, each in found.items()
    ]  # fmt: skip
    wrong = [f"VOID: after {case.name} the versions are not as expected." for case in found if not found[case].is_right]
    notes = [f"Median of {rounds} round{'s' * (rounds > 1)}, each a process of its own on a copy of the table.", *ABOUT]
    return Figures(
        "12-history",
        f"{SEEN:,} rows seen, into a table of versions (SCD2)",
        ("", "wall s", "CPU s", "peak MB", "MB written", "full read s", "wall"),
        rows,
        [each.wall for each in found.values()],
        [*notes, *_goals(found), *wrong],
    )


def _goals(found: Mapping[Case, Merged]) -> Iterator[str]:
    for kind in (TOGETHER, SPREAD):
        if each := found.get(Case(10_000_000, kind, VECTORS)):
            yield goal(f"deletion vectors, 10 M, {kind}", each.wall, 2, " s")
