"""Writers of one table at once, each a process of its own, against one that does the same work alone."""

import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

from benchmarks.figures import Figures, goal
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.writes import prepare_append, prepare_merge

PROCESSES = multiprocessing.get_context("spawn")
SCHEMA = pl.Schema({"part": pl.Int64(), "id": pl.Int64(), "times": pl.Int64()})
IN_A_PART = 10_000
BECAUSE = "who meets a rival's commit reads it, and commits again on top of it"

type Does = Callable[[str, int, int], int]


def together(*, rounds: int, size: int) -> Iterator[Figures]:  # noqa: ARG001 # no order lines
    """Ten that append 40 times, four that merge into a part of their own: by us, and by deltalake as it comes."""
    races = (
        ("10 writers x 40 appends", 10, 40, _appends, _appends_of_deltalake),
        ("4 merges x 10 into parts of their own", 4, 10, _merges, _merges_of_deltalake),
    )
    told, bars, goals = list[tuple[str, ...]](), list[float](), list[str]()
    for name, writers, count, ours, theirs in races:
        for who, does in (("ours", ours), ("deltalake", theirs)):
            alone, at_once = list[tuple[float, int]](), list[tuple[float, int]]()
            for _ in range(rounds):  # in turn: what else this machine does meets both
                alone.append(_race(does, [list(range(writers))], count))
                at_once.append(_race(does, [[each] for each in range(writers)], count))
            one, many = (statistics.median(seconds for seconds, _ in each) for each in (alone, at_once))
            failed = max(failed for _, failed in at_once)
            told.append((f"{name}, {who}", f"{one:.1f}", f"{many:.1f}", f"{many / one:.2f}x", str(failed)))
            bars.append(many / one)
            if does is ours:
                goals.append(goal(f"{name}, together to alone", many / one, 1.3, "x", because=BECAUSE))
    yield Figures(
        "10-together",
        "Writers of one table at once, on a local disk",
        ("", "alone s", "together s", "together / alone", "gave up"),
        told,
        bars,
        [
            "alone: one process does the work of all, one after the other; ours is synced to the disk",
            "gave up: commits that raised and were not asked for again; of ours each raises here, and ends the measure",
            *goals,
        ],
    )


def _race(does: Does, crew: list[list[int]], count: int) -> tuple[float, int]:
    """Seconds from the common start to the last end, and how often somebody gave up; the rows are counted."""
    with tempfile.TemporaryDirectory(prefix="lakehouse-bench-") as folder:
        uri = str(Path(folder) / "t")
        table = Handle.create(Address(uri), SCHEMA, partition_by=["part"] if does in PARTED else [])
        if does in PARTED:
            parts = sum(map(len, crew))
            prepare_append(table, pl.concat(_rows(part, IN_A_PART, 0) for part in range(parts))).commit({}, {})
        start, said = PROCESSES.Barrier(len(crew)), PROCESSES.Queue()
        processes = [PROCESSES.Process(target=_work, args=(does, uri, (names, count, start, said))) for names in crew]
        for process in processes:
            process.start()
        told = [said.get() for _ in processes]
        for process in processes:
            process.join()
        failed = sum(each[2] for each in told)
        rows, wanted = pl.read_delta(uri), sum(map(len, crew)) * (IN_A_PART if does in PARTED else count)
        if rows.height != wanted - (0 if does in PARTED else failed) or rows.select("part", "id").is_duplicated().any():
            sys.exit(f"{does.__name__}: {rows.height:,} rows stand, {wanted:,} were written, {failed} gave up")
        return max(end for _, end, _ in told) - min(begin for begin, _, _ in told), failed


def _work(does: Does, uri: str, job: tuple[list[int], int, Any, Any]) -> None:
    names, count, start, said = job
    pl.read_delta(uri)  # everything is loaded
    start.wait()
    began = time.time()
    failed = sum(does(uri, name, count) for name in names)
    said.put((began, time.time(), failed))


def _rows(part: int, height: int, times: int) -> pl.DataFrame:
    ids = pl.int_range(height, eager=True)
    return pl.DataFrame({"part": part, "id": ids, "times": times}, schema=SCHEMA)


def _opened(uri: str) -> Handle:
    handle = Handle.open(Address(uri))
    assert handle is not None
    return handle


def _one(part: int, number: int) -> pl.DataFrame:
    return pl.DataFrame({"part": [part], "id": [number], "times": [number]}, schema=SCHEMA)


def _appends(uri: str, name: int, count: int) -> int:
    for number in range(count):
        prepare_append(_opened(uri), _one(name, number)).commit({f"writer {name}": number}, {})
    return 0


def _merges(uri: str, name: int, count: int) -> int:
    for times in range(count):
        batch = _rows(name, IN_A_PART // 10, times + 1)
        prepare_merge(_opened(uri), batch, ["part", "id"]).commit({f"writer {name}": times}, {})
    return 0


def _appends_of_deltalake(uri: str, name: int, count: int) -> int:
    failed = 0
    for number in range(count):
        try:
            write_deltalake(uri, _one(name, number), mode="append")
        except CommitFailedError:
            failed += 1
    return failed


def _merges_of_deltalake(uri: str, name: int, count: int) -> int:
    failed = 0
    for times in range(count):
        merge = DeltaTable(uri).merge(
            _rows(name, IN_A_PART // 10, times + 1), "t.part = s.part AND t.id = s.id", "s", "t"
        )
        try:
            merge.when_matched_update_all().when_not_matched_insert_all().execute()
        except CommitFailedError:
            failed += 1
    return failed


PARTED = (_merges, _merges_of_deltalake)
