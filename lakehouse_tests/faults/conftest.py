"""Workers that live as long as the tests, and lakes that were never disturbed."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lakehouse_tests.conftest import leave_out
from lakehouse_tests.faults import arrivals, calls
from lakehouse_tests.faults.crew import Worker
from lakehouse_tests.faults.standing import Standing, standing


@pytest.fixture(scope="session")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], list[Worker]]]:
    """So many workers, each of which runs one job at a time; the same ones for every test."""
    leave_out(calls.why_missing())
    logs, started = tmp_path_factory.mktemp("workers"), list[Worker]()
    library = calls.build(logs)

    def crew(size: int) -> list[Worker]:
        while len(started) < size:
            started.append(Worker(logs / f"{len(started)}.log", preload=library))
        return started[:size]

    yield crew
    for worker in started:
        worker.close()


@pytest.fixture(scope="session")
def landings() -> int:
    """The seed of all that lands; printed where a test fails."""
    return secrets.randbits(32)


@pytest.fixture
def seed(landings) -> int:
    """Of everything else that a test draws. A fixed one repeats the draws, not the race."""
    drawn = secrets.randbits(32)
    print(f"seed = {drawn}, landings = {landings}")  # noqa: T201 # pytest shows it where a test fails
    return drawn


class Undisturbed:
    """A lake in which every round was drained, before the next landed, by a worker that nothing disturbed."""

    def __init__(self, home: Path, landings: int) -> None:
        self._home, self._landings = home, landings
        self._after: list[tuple[Standing, Standing]] = []

    def after(self, worker: Worker, rounds: int, *, batches: bool = True) -> Standing:
        """What stands after so many rounds; batches: with their numbers."""
        while len(self._after) < rounds:
            ended = worker.run(self._home, rounds=[{"seed": self._landings, "number": len(self._after)}])
            assert ended.is_drained, ended
            assert not ended.said["conflicts"]
            stands = standing(self._home)
            for name in ("silver/orders", "silver/order_lines"):
                assert len(stands.aside[name]) == arrivals.ASIDE * (len(self._after) + 1)
            self._after.append((stands, standing(self._home, batches=False)))
        return self._after[rounds - 1][0 if batches else 1]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, landings: int) -> Undisturbed:
    return Undisturbed(tmp_path_factory.mktemp("undisturbed"), landings)
