"""100,000 upserts into tables of growing size, of recent rows or of any: by us, by deltalake, by plain Polars."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from benchmarks.cost import BUILD, PROJECT, environment, python
from benchmarks.figures import Figures, goal
from benchmarks.generated import CHANNELS, COUNTRIES, FIRST_DAY, LINES_A_ORDER, drawn
from benchmarks.upserts import SUMMED, WAYS
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta.files import ROWS_PER_FILE, write_files
from lakehouse.engine.delta.handle import Handle

SIZES = (1_000_000, 10_000_000)
UPSERTS, STANDING = 100_000, 90_000
LINES_A_DAY = 25_000
PLAIN, ANEW, VECTORS, AS_IT_COMES, _ = WAYS
RECENT, SPREAD = "recent", "spread"
BECAUSE = "ours looks into the files for the keys first, measures and hashes every column, and syncs to the disk"
A_LONG_WAIT = 10_000_000  # rows from which on deltalake takes minutes and 11 GB as it comes

ABOUT = (
    "A table has 12 columns, and files of 1 M rows. What stands afterwards is counted and summed: else void.",
    "The merge alone, opening the table with it, imports without; peak: of the whole process up to the merge's end.",
    "recent: among the newest million rows; spread: over all rows (of 1 M these are the same).",
    "plain rewrite: each file whose range meets the batch's, less its keys, and the batch; sink_parquet, one commit.",
    "Ours is synced to the disk, hashed and measured in every column; the plain rewrite is measured in one.",
    "deltalake, tuned: streamed_exec=False, and the range of key and day as literals.",
)


class Case(NamedTuple):
    """So many rows of which those to be changed are the newest, or lie all over; and who changes them."""

    size: int
    rows: str
    way: str

    @property
    def name(self) -> str:
        return f"{millions(self.size)}, {self.rows}: {self.way}"


class Merged(NamedTuple):
    """Seconds, CPU seconds, peak MB and MB written of the merge alone; seconds of a full read after it."""

    wall: float
    cpu: float
    memory: float
    written: float
    read: float
    is_right: bool


def merges(*, rounds: int, size: int) -> Iterator[Figures]:
    """Tables of 1 M and 10 M rows, and of `size` where that is more; told anew after each."""
    found: dict[Case, Merged] = {}
    for rows in [*SIZES, size] if size > max(SIZES) else SIZES:
        folder = prepared(rows)
        kinds = [RECENT] if rows <= ROWS_PER_FILE else [RECENT, SPREAD]
        cases = [Case(rows, kind, way) for kind in kinds for way in WAYS if way != AS_IT_COMES or rows <= A_LONG_WAIT]
        costs: dict[Case, list[Merged]] = {case: [] for case in cases}
        for number in range(rounds):
            for case in cases:
                sys.stderr.write(f"… {case.name}, round {number + 1} of {rounds}\n")
                costs[case].append(on_a_copy(folder, "benchmarks.upserts", case.way, case.rows))
        found |= {case: median(each) for case, each in costs.items()}
        yield _figures(found, rounds)


def order_lines(rows: pl.Series) -> pl.DataFrame:
    """The order lines with these numbers; each follows from its number alone."""
    row = pl.col("row")
    order, product, day = row // LINES_A_ORDER, (drawn(12, row) ** 2 * 4_000).cast(pl.Int64), row // LINES_A_DAY
    ordered_at = pl.lit(FIRST_DAY).cast(pl.Datetime("us", "UTC")) + pl.duration(
        days=day, minutes=(480 + drawn(11, order) * 600).cast(pl.Int64)
    )
    chosen = (drawn(16, order) ** 4 * len(COUNTRIES)).cast(pl.Int64)
    return pl.DataFrame({"row": rows}).select(
        order_no=pl.lit("A") + order.cast(pl.String).str.zfill(9),
        line_no=row % LINES_A_ORDER + 1,
        sku=(20_000 + product).cast(pl.String),
        description=pl.when(product % 50 > 0).then(pl.format("PRODUCT {} OF THE CATALOGUE", product)),
        qty=1 + (drawn(15, row) ** 4 * 60).cast(pl.Int64),
        unit_price=((20 + product * 7 % 1_900) / 100).cast(pl.Decimal(12, 2)),
        customer_id=pl.when(drawn(17, order) > 0.05).then(12_000 + (drawn(13, order) ** 3 * 5_000).cast(pl.Int64)),
        country=chosen.replace_strict(dict(enumerate(COUNTRIES)), return_dtype=pl.String),
        channel=(drawn(18, order) * 4).cast(pl.Int64).replace_strict(dict(enumerate(CHANNELS)), return_dtype=pl.String),
        ordered_at=ordered_at,
        saved_at=ordered_at + pl.duration(seconds=(drawn(20, row) * 90).cast(pl.Int64)),
        day=ordered_at.dt.date(),
    )


def prepared(size: int) -> Path:
    """The folder of a table of so many rows, the batches and what must come out; made where it is not there."""
    folder = BUILD / f"merges-{size}"
    if (folder / "is_made").exists():
        return folder
    sys.stderr.write(f"… a table of {size:,} rows is made\n")
    shutil.rmtree(folder, ignore_errors=True)
    table = Handle.create(Address(str(folder / "table")), order_lines(pl.Series([], dtype=pl.Int64)).schema)
    added, total = [], 0
    for start in range(0, size, ROWS_PER_FILE):
        lines = order_lines(pl.int_range(start, min(start + ROWS_PER_FILE, size), eager=True))
        added += write_files(table, lines, after=len(added))
        total += int(lines[SUMMED].sum())
    table.commit(added, [], {}, {})
    fresh = order_lines(pl.int_range(size, size + UPSERTS - STANDING, eager=True))
    for kind, span in ((RECENT, min(size, ROWS_PER_FILE)), (SPREAD, size)):
        picked = size - span + pl.int_range(STANDING, eager=True) * span // STANDING
        changed = order_lines(picked).with_columns(pl.col(SUMMED) + 1, pl.col("saved_at") + pl.duration(days=1))
        pl.concat([changed, fresh]).write_parquet(folder / f"{kind}.parquet")
        expected = {"rows": size + fresh.height, "sum": total + STANDING + int(fresh[SUMMED].sum())}
        (folder / f"{kind}.json").write_text(json.dumps(expected))
    (folder / "is_made").touch()
    return folder


def on_a_copy(folder: Path, script: str, way: str, batch: str) -> Merged:
    """What a script does to a copy of the folder's table that shares its data files, in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="merges-", dir=BUILD) as home:
        copy = Path(home) / "table"
        shutil.copytree(folder / "table", copy, copy_function=_linked)
        shutil.copytree(folder / "table" / "_delta_log", copy / "_delta_log", dirs_exist_ok=True)
        before = set(copy.rglob("*"))
        os.sync()  # nobody pays for what others left to be written
        told = _told(python(script, way, copy, folder / f"{batch}.parquet"), Path(home))
        written = sum(file.stat().st_size for file in copy.rglob("*") if file.is_file() and file not in before)
    expected = json.loads((folder / f"{batch}.json").read_text())
    is_right = {name: told[name] for name in expected} == expected
    return Merged(told["wall"], told["cpu"], told["memory"], written / 1e6, told["read"], is_right)


def _linked(old: str, new: str) -> None:
    if "_delta_log" not in Path(old).parts:
        Path(new).hardlink_to(old)


def _told(command: Sequence[str], home: Path) -> Mapping[str, Any]:
    ran = subprocess.run(
        [sys.executable, "-I", "-S", PROJECT / "benchmarks" / "used.py", *command],
        env=environment(home), cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if ran.returncode:
        sys.stderr.write(ran.stdout)
        ran.check_returncode()
    return json.loads(ran.stdout.rpartition("told ")[2].splitlines()[0])


def median(rounds: Sequence[Merged]) -> Merged:
    wall, cpu, memory, written, read = (statistics.median(each[place] for each in rounds) for place in range(5))
    return Merged(wall, cpu, memory, written, read, all(each.is_right for each in rounds))


def _figures(found: Mapping[Case, Merged], rounds: int) -> Figures:
    def ratio(case: Case) -> str:
        plain = found[case._replace(way=PLAIN)]
        return f"{found[case].wall / plain.wall:.2f}x" if found[case].is_right and plain.is_right else "void"

    rows = [
        (
            case.name, f"{each.wall:.2f}", f"{each.cpu:.2f}", f"{each.memory:,.0f}", f"{each.written:,.1f}",
            f"{each.read:.2f}", ratio(case),
        )
        for case, each in found.items()
    ]  # fmt: skip
    waited = sorted({case.size for case in found if case.size > A_LONG_WAIT})
    wrong = [
        f"VOID: after {case.name} rows or their sum are not as expected."
        for case, each in found.items()
        if not each.is_right
    ]
    return Figures(
        "11-merges",
        f"{UPSERTS:,} upserts: {STANDING:,} of standing rows, {UPSERTS - STANDING:,} new",
        ("", "wall s", "CPU s", "peak MB", "MB written", "full read s", "wall"),
        rows,
        [each.wall for each in found.values()],
        [
            f"Median of {rounds} round{'s' * (rounds > 1)}, each a process of its own on a copy of the table.",
            *ABOUT,
            *(f"MISSING: {AS_IT_COMES}, {millions(size)}: it takes minutes and 11 GB." for size in waited),
            *_goals(found),
            *wrong,
        ],
    )


def _goals(found: Mapping[Case, Merged]) -> Iterator[str]:
    """Each with what was measured, and by how much it is missed where it is."""
    sizes = sorted({case.size for case in found})
    recent = {size: found[Case(size, RECENT, ANEW)] for size in sizes}
    for size in sizes:
        ratio = recent[size].wall / found[Case(size, RECENT, PLAIN)].wall
        yield goal(f"copy-on-write, recent, {millions(size)}, to the plain rewrite", ratio, 1.1, "x", because=BECAUSE)
    for size in sizes[1:]:
        ratio = recent[size].wall / recent[sizes[0]].wall
        yield goal(f"copy-on-write, recent, {millions(size)} to {millions(sizes[0])}", ratio, 1.2, "x")
    if vectors := found.get(Case(10_000_000, SPREAD, VECTORS)):
        yield goal("deletion vectors, spread over 10 M", vectors.wall, 1, " s")
        yield goal("deletion vectors, spread over 10 M, written", vectors.written, 10, " MB")
    for way in (ANEW, VECTORS):
        case = max((case for case in found if case.way == way), key=lambda case: found[case].memory)
        yield goal(f"the most that a process has ({case.name})", found[case].memory, 700, " MB")


def millions(rows: int) -> str:
    return f"{rows / 1e6:g} M"
