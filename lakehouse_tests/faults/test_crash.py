"""Workers are killed (SIGKILL) in the middle of their work, and started again until nothing is due."""

from __future__ import annotations

import itertools
import random
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lakehouse_tests.faults import arrivals, calls
from lakehouse_tests.faults.crew import Ended, Worker
from lakehouse_tests.faults.standing import assert_counted_once, assert_duckdb_reads_the_same, standing
from lakehouse_tests.faults.worker import (
    CHECKPOINT,
    FILES_AND_COMMIT,
    LOST_ANSWER,
    PLAN_AND_APPLY,
    QUARANTINE_AND_TABLE,
)

pytestmark = pytest.mark.crash

# How many kills, in two lakes together: in the standard run, and in the long one.
AT_POINTS = {PLAN_AND_APPLY: 20, QUARANTINE_AND_TABLE: 20, FILES_AND_COMMIT: 20, LOST_ANSWER: 6, CHECKPOINT: 6}
AT_POINTS_LONG = dict.fromkeys(AT_POINTS, 60)
AT_RANDOM = 200
TIMES_LONG = 50
"""So many pairs of lakes, one after the other: what stands in one is compared with a lake that nothing disturbed."""
CALLS = 50
"""One in so many is the last. A round that drains makes some hundred; what a kill leaves to be done makes fewer."""


@dataclass
class Lake:
    """A lake whose workers are killed, and how often that was."""

    home: Path
    worker: Worker
    landings: int
    draw: random.Random
    landed: int = 0
    kills: list[str] = field(default_factory=list[str])
    ends: int = 0

    def next_round(self) -> arrivals.Round:
        self.landed += 1
        return arrivals.round_of(self.landings, self.landed - 1)

    def land(self, files: tuple[arrivals.Arrival, ...]) -> None:
        arrivals.land(self.home / "landing", files)

    def any_call(self) -> dict[str, object]:
        """Before, after or in the middle of it the worker dies."""
        call = calls.Call(calls.ANY, "", self.draw.randrange(1, CALLS))
        fault = self.draw.choice(["before", "after", "torn"])
        return {"call": call, "fault": fault, "log": str(self.home.with_suffix(".log"))}

    def count(self, ended: Ended) -> Ended:
        """Count a kill; how else a worker may end is by having drained the lake."""
        assert ended.was_killed or ended.is_drained, ended
        self.kills += [ended.said.get("point", "at random")] if ended.was_killed else []
        self.ends += 1
        return ended


def killed_at(point: str, kills: int, lake: Lake) -> None:
    """Land a round, kill its workers at `point` until one of them drains it; and so on until there were `kills`."""
    while len(lake.kills) < kills:
        lake.land(lake.next_round().all)
        while True:
            kill = {"point": point, "nth": lake.draw.choice([1, 1, 1, 2, 3]), "seed": lake.draw.randrange(1_000_000)}
            enough = len(lake.kills) >= kills
            if lake.count(lake.worker.run(lake.home, **({} if enough else {"kill": kill}))).is_drained:
                break


def killed_at_random(kills: int, lake: Lake) -> None:
    """Files land between the kills, drained or not; what corrects a file, or is it again, waits until that was taken.

    Some die by the clock, most in the middle of a call; one in four first keeps the tables.
    """
    normal = 1.0  # seconds, corrected by every run
    late: list[arrivals.Arrival] = []
    while len(lake.kills) < kills:
        if lake.draw.random() < 0.1:
            coming = lake.next_round()
            lake.land(coming.arrivals)
            late += coming.late
        job = {"maintains": lake.draw.choice(["tables", "files"])} if lake.draw.random() < 0.25 else {}
        if lake.draw.random() < 0.1:
            ended = lake.count(lake.worker.run_and_kill(lake.home, lake.draw.uniform(0, normal), **job))
        else:
            ended = lake.count(lake.worker.run(lake.home, **job, call=lake.any_call()))
        if ended.is_drained:
            lake.land(tuple(late))
            late.clear()
            normal = max(0.05, (normal + ended.said["seconds"]) / 2)
            coming = lake.next_round()
            lake.land(coming.arrivals)
            late += coming.late
        else:
            normal *= 1.1
    lake.count(lake.worker.run(lake.home))
    lake.land(tuple(late))
    assert lake.count(lake.worker.run(lake.home)).is_drained


@pytest.fixture
def in_two_lakes(workers, tmp_path, landings, seed) -> Callable[[Callable[[Lake], None]], list[Lake]]:
    """Does the same to two lakes at a time, each with its own draws."""

    numbers = itertools.count()

    def run(what: Callable[[Lake], None]) -> list[Lake]:
        lakes = [
            Lake(tmp_path / str(number), worker, landings, random.Random(seed + number))
            for worker, number in zip(workers(2), numbers, strict=False)
        ]
        with ThreadPoolExecutor(len(lakes)) as pool:
            list(pool.map(what, lakes))
        return lakes

    return run


def check(lakes: list[Lake], undisturbed: Any, kills: int, *, batches: bool) -> None:
    total = sum(len(lake.kills) for lake in lakes)
    workers, rounds = sum(lake.ends for lake in lakes), [lake.landed for lake in lakes]
    print(f"{total} kills of {workers} workers, {rounds} rounds")  # noqa: T201 # shown where the test fails
    assert total >= kills
    for lake in lakes:
        assert standing(lake.home, batches=batches) == undisturbed.after(lake.worker, lake.landed, batches=batches)
        assert_counted_once(lake.home)
        assert_duckdb_reads_the_same(lake.home)


@pytest.mark.parametrize(
    ("point", "kills"),
    [*AT_POINTS.items(), *(pytest.param(*each, marks=pytest.mark.long) for each in AT_POINTS_LONG.items())],
)
def test_no_row_is_lost_or_doubled_when_workers_are_killed(point, kills, in_two_lakes, undisturbed):
    lakes = in_two_lakes(lambda lake: killed_at(point, kills // 2, lake))
    assert {where for lake in lakes for where in lake.kills} == {point}
    check(lakes, undisturbed, kills, batches=True)


@pytest.mark.parametrize("times", [1, pytest.param(TIMES_LONG, marks=pytest.mark.long)])
def test_no_row_is_lost_or_doubled_when_workers_are_killed_at_random(times, in_two_lakes, undisturbed, seed):
    """Among them those that join files and take old ones away, while files land that were taken before."""
    began = time.monotonic()
    for number in range(1, times + 1):
        lakes = in_two_lakes(lambda lake: killed_at_random(AT_RANDOM // 2, lake))
        check(lakes, undisturbed, AT_RANDOM, batches=False)
        for lake in lakes:
            shutil.rmtree(lake.home)
        seconds = time.monotonic() - began
        print(f"at random: {number * AT_RANDOM:,} kills, {seconds:.0f} s, seed {seed}", flush=True)  # noqa: T201 # for docs
