"""Workers are killed (SIGKILL) in the middle of their work, and started again until nothing is due."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lakehouse_tests.faults import arrivals
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
AT_RANDOM, AT_RANDOM_LONG = 60, 120


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
    """Files land between the kills, drained or not; only what corrects a file waits until that was taken."""
    normal = 1.0  # seconds, corrected by every run
    corrections: list[arrivals.Arrival] = []
    while len(lake.kills) < kills:
        if lake.draw.random() < 0.25:
            coming = lake.next_round()
            lake.land(coming.arrivals)
            corrections += coming.corrections
        ended = lake.count(lake.worker.run_and_kill(lake.home, lake.draw.uniform(0, normal)))
        if ended.is_drained:
            lake.land(tuple(corrections))
            corrections.clear()
            normal = max(0.05, (normal + ended.said["seconds"]) / 2)
            coming = lake.next_round()
            lake.land(coming.arrivals)
            corrections += coming.corrections
        else:
            normal *= 1.1
    lake.count(lake.worker.run(lake.home))
    lake.land(tuple(corrections))
    assert lake.count(lake.worker.run(lake.home)).is_drained


@pytest.fixture
def in_two_lakes(workers, tmp_path, landings, seed) -> Callable[[Callable[[Lake], None]], list[Lake]]:
    """Does the same to two lakes at a time, each with its own draws."""

    def run(what: Callable[[Lake], None]) -> list[Lake]:
        crew = workers(2)
        lakes = [Lake(tmp_path / str(at), worker, landings, random.Random(seed + at)) for at, worker in enumerate(crew)]
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


@pytest.mark.parametrize("kills", [AT_RANDOM, pytest.param(AT_RANDOM_LONG, marks=pytest.mark.long)])
def test_no_row_is_lost_or_doubled_when_workers_are_killed_at_random(kills, in_two_lakes, undisturbed):
    lakes = in_two_lakes(lambda lake: killed_at_random(kills // 2, lake))
    check(lakes, undisturbed, kills, batches=False)
