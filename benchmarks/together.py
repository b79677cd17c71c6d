"""Writers of one table at once, each a process of its own, against one that does the same work alone."""

import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

from benchmarks.figures import Figures, goal
from lakehouse.engine.declare.errors import Conflict
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta.files import write_files
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.optimize import Aim, compact
from lakehouse.engine.delta.writes import prepare_append, prepare_merge, prepare_overwrite

PROCESSES = multiprocessing.get_context("spawn")
SCHEMA = pl.Schema({"part": pl.Int64(), "id": pl.Int64(), "times": pl.Int64()})
IN_A_PART = 10_000
_BECAUSE = "who meets a rival's commit reads it, and commits again on top of it"

type Does = Callable[[str, int, int], int]
type Job = tuple[Does, int, int]
"""What is done, under which name, how often."""


@dataclass(frozen=True)
class Race:
    """What several do at once, each a process of its own. `holds`: the rows that must stand, of those that gave up."""

    name: str
    crew: list[Job]
    begins: Callable[[str], None]
    holds: Callable[[pl.DataFrame, int], bool]


def together(*, rounds: int, size: int) -> Iterator[Figures]:  # noqa: ARG001 # no order lines
    """Ten that append, four that merge into a part of their own: by us and by deltalake; by us the rest."""
    told, bars, goals = list[tuple[str, ...]](), list[float](), list[str]()
    for race, is_ours in _races():
        alone, at_once = list[tuple[float, int]](), list[tuple[float, int]]()
        for number in range(rounds):  # in turn: what else this machine does meets both
            sys.stderr.write(f"… {race.name}, round {number + 1} of {rounds}\n")
            alone.append(_run(race, [race.crew]))
            at_once.append(_run(race, [[each] for each in race.crew]))
        one, many = (statistics.median(seconds for seconds, _ in each) for each in (alone, at_once))
        failed = max(failed for _, failed in at_once)
        told.append((race.name, f"{one:.2f}", f"{many:.2f}", f"{many / one:.2f}x", str(failed)))
        bars.append(many / one)
        if is_ours:
            goals.append(goal(f"{race.name}, together to alone", many / one, 1.3, "x", because=_BECAUSE))
    yield Figures(
        "10-together",
        "Writers of one table at once, on a local disk",
        ("", "alone s", "together s", "together / alone", "gave up"),
        told,
        bars,
        [
            f"Median of {rounds} round{'s' * (rounds > 1)}.",
            "alone: one process does the work of all, one after the other; ours is synced to the disk",
            "gave up: commits that raised and were not asked for again; of ours each ends the measure",
            "ours: an overwrite that lost is asked for again; a compaction of what a rival has joined is none",
            "deltalake compacts and overwrites in no race: where two compactions overlap, it doubles rows",
            *goals,
        ],
    )


def _races() -> Iterator[tuple[Race, bool]]:
    """Each, and whether it is of ours."""
    for who, appends, merges in (
        ("ours", _appends, _merges),
        ("deltalake", _appends_of_deltalake, _merges_of_deltalake),
    ):
        crew = [(appends, name, 40) for name in range(10)]
        yield Race(f"10 writers x 40 appends, {who}", crew, _empty, _all_of(400)), who == "ours"
        crew = [(merges, name, 10) for name in range(4)]
        yield Race(f"4 merges x 10 into parts of their own, {who}", crew, _parts, _all_of_parts), who == "ours"
    crew = [(_overwrites, 0, 20), (_appends, 1, 40)]
    yield Race("20 overwrites against 40 appends, ours", crew, _empty, _the_last_overwrite), True
    crew = [(_compacts, 9, 10), (_appends, 8, 40), (_merges, 0, 10)]
    beside = _all_of(4 * IN_A_PART + 40)
    yield Race("10 compactions against 40 appends and 10 merges, ours", crew, _parts, beside), True
    crew = [(_compacts, 0, 1), (_compacts, 1, 1)]
    yield Race("2 compactions of 100 files, ours", crew, _pieces, _all_of(5_000_000)), True


def _all_of(rows: int) -> Callable[[pl.DataFrame, int], bool]:
    return lambda found, failed: found.height == rows - failed


def _all_of_parts(found: pl.DataFrame, _: int) -> bool:
    return found.height == 4 * IN_A_PART  # who gave up changed none


def _the_last_overwrite(found: pl.DataFrame, _: int) -> bool:
    return found.filter(part=0)["id"].to_list() == [19]


def _empty(uri: str) -> None:
    Handle.create(Address(uri), SCHEMA)


def _parts(uri: str) -> None:
    table = Handle.create(Address(uri), SCHEMA, partition_by=["part"])
    prepare_append(table, pl.concat(_rows(part, IN_A_PART, 0) for part in range(4))).commit({}, {})


def _pieces(uri: str) -> None:
    """Small files, of 50,000 rows each."""
    table = Handle.create(Address(uri), SCHEMA)
    files = write_files(table, _rows(0, 5_000_000, 0).sample(fraction=1, shuffle=True, seed=1), rows_per_file=50_000)
    table.commit(files, [], {}, {})


def _run(race: Race, work: list[list[Job]]) -> tuple[float, int]:
    """Seconds from the common start to the last end, and how often somebody gave up; what stands is looked at."""
    with tempfile.TemporaryDirectory(prefix="lakehouse-bench-") as folder:
        uri = str(Path(folder) / "t")
        race.begins(uri)
        start, said = PROCESSES.Barrier(len(work)), PROCESSES.Queue()
        processes = [PROCESSES.Process(target=_work, args=(uri, jobs, start, said)) for jobs in work]
        for process in processes:
            process.start()
        told = [said.get(timeout=300) for _ in processes]  # one that raised says nothing
        for process in processes:
            process.join()
        failed, rows = sum(each[2] for each in told), pl.read_delta(uri)
        if not race.holds(rows, failed) or rows.select("part", "id").is_duplicated().any():
            sys.exit(f"{race.name}: {rows.height:,} rows stand, of which some are missing or doubled; {failed} gave up")
        return max(end for _, end, _ in told) - min(begin for begin, _, _ in told), failed


def _work(uri: str, jobs: list[Job], start: Any, said: Any) -> None:
    pl.read_delta(uri)  # everything is loaded
    start.wait()
    began = time.time()
    failed = sum(does(uri, name, count) for does, name, count in jobs)
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


def _overwrites(uri: str, name: int, count: int) -> int:
    for number in range(count):
        is_first = False
        while not is_first:
            with suppress(Conflict):
                prepare_overwrite(_opened(uri), _one(name, number)).commit({f"overwriter {name}": number}, {})
                is_first = True
    return 0


def _compacts(uri: str, _: int, count: int) -> int:
    for _ in range(count):
        with suppress(Conflict):
            compact(_opened(uri), Aim(small_ratio=0))
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
