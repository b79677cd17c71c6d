"""Several runs of the same tables at once: whoever loses a race begins again, and nobody does harm."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest

from lakehouse.engine.declare.errors import Conflict
from lakehouse.engine.declare.place import Place
from lakehouse.engine.delta import quarantine
from lakehouse.engine.delta.delivery import Delivery, deliver
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.prepared import Prepared
from lakehouse.engine.ingest import landing
from lakehouse.engine.ingest.landing import next_batch
from lakehouse.engine.ingest.ledger import Ledger
from lakehouse.engine.orchestrate.bronze import land
from lakehouse.engine.orchestrate.refine import refine
from lakehouse.example.replay import days
from lakehouse_tests.faults import arrivals
from lakehouse_tests.faults.crew import ROOT, Ended, Worker
from lakehouse_tests.faults.standing import (
    BRONZE,
    DECLARED,
    EXAMPLE,
    assert_counted_once,
    assert_duckdb_reads_the_same,
    place_of,
    standing,
)
from lakehouse_tests.faults.worker import Drain
from lakehouse_tests.without_spark import without_spark
from resources.local_disk import LocalDisk

ORDERS, DAILY = (next(each for each in DECLARED if each.name == name) for name in ("orders", "daily_sales"))


def names_taken(home: Path) -> set[str]:
    place = place_of(home)
    ledger = Ledger.open(BRONZE, place.ledger(BRONZE), Handle.open(place.table(BRONZE)))
    return set(ledger.done()["name"])


def begin_again(worker: Worker, home: Path, draw: random.Random, stop: threading.Event) -> Iterator[Ended]:
    """Workers, one after the other, until told to stop; every third is killed, some lay files together before."""
    while not stop.is_set():
        if draw.random() < 1 / 3:
            yield worker.run_and_kill(home, draw.uniform(0, 2))
        else:
            yield worker.run(home, **({"maintains": "tables"} if draw.random() < 1 / 3 else {}))


@pytest.mark.crash
@pytest.mark.parametrize(
    ("runs", "rounds"),
    [(2, 4), (4, 4), pytest.param(2, 40, marks=pytest.mark.long), pytest.param(4, 40, marks=pytest.mark.long)],
)
def test_no_row_is_lost_or_doubled_when_several_drain_one_lake(  # noqa: PLR0917 # fixtures
    runs, rounds, workers, undisturbed, landings, seed, tmp_path
):
    """Files land meanwhile, and some of the workers are killed."""
    crew, stop, draw = workers(runs), threading.Event(), random.Random(seed)
    with ThreadPoolExecutor(runs) as pool:
        lists = [
            pool.submit(list, begin_again(worker, tmp_path, random.Random(seed + at), stop))
            for at, worker in enumerate(crew)
        ]
        try:
            for number in range(rounds):
                coming = arrivals.round_of(landings, number)
                arrivals.land(tmp_path / "landing", coming.arrivals)
                for late in coming.late:  # what is corrected, or comes again, was taken before
                    wait_until(lambda name=late.name: name in names_taken(tmp_path))
                    arrivals.land(tmp_path / "landing", (late,))
                time.sleep(draw.uniform(0, 0.5))
        finally:
            stop.set()
        ended = [each for ends in lists for each in ends.result()]
        last = list(pool.map(lambda worker: worker.run(tmp_path), crew))
    assert all(each.is_drained for each in last), last
    failed = [each for each in ended if not each.was_killed and not each.is_drained]
    assert not failed, failed
    conflicts = sum(each.said.get("conflicts", 0) for each in [*ended, *last])
    said = f"{len(ended) + runs} workers, {sum(each.was_killed for each in ended)} killed, {conflicts} conflicts"
    print(said)  # noqa: T201 # shown where the test fails
    assert standing(tmp_path, batches=False) == undisturbed.after(crew[0], rounds, batches=False)
    assert_counted_once(tmp_path)
    assert_duckdb_reads_the_same(tmp_path)


def wait_until(true: Callable[[], bool], seconds: float = 600) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.crash
def test_lakehouse_run_twice_at_once_drains_once_and_both_succeed(workers, tmp_path):
    [worker] = workers(1)
    calm, rivals = tmp_path / "calm", tmp_path / "rivals"
    for number in range(3):
        for home in (calm, rivals):
            arrivals.land(home / "landing", arrivals.round_of(7, number, clean=True).arrivals)
    rates = next(file for file in days(date(2010, 12, 1), date(2010, 12, 1)) if file.source == "reference/fx_monthly")
    LocalDisk(path=str(rivals / "landing")).write(rates.name, rates.content)
    assert worker.run(calm).is_drained
    command = [sys.executable, "-m", "lakehouse.cli", "run"]
    environment = {**os.environ, **without_spark(rivals), "PYTHONPATH": str(ROOT)}
    begun = [
        subprocess.Popen(command, env=environment, cwd=rivals, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=300)[0].decode() for process in begun]
    assert [process.returncode for process in begun] == [0, 0], "\n\n".join(said)
    stands = [standing(home, batches=False, tables=EXAMPLE) for home in (calm, rivals)]
    assert stands[0] == stands[1]
    (rivals / "landing" / rates.name).unlink()  # what is counted below is the orders
    assert_counted_once(rivals)
    assert_duckdb_reads_the_same(rivals, EXAMPLE)


# What two processes do in an order that a race takes once in a thousand times.


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return place_of(tmp_path)


@pytest.fixture
def one_file_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landing, "FILES_PER_BATCH", 1)


def land_round(tmp_path: Path, number: int) -> None:
    arrivals.land(tmp_path / "landing", arrivals.round_of(1, number, clean=True).all)


def test_who_pinned_an_upstream_before_a_rival_went_on_begins_again(place, tmp_path):
    """Not refused, which nobody would try again: the upstream was not made anew."""
    rival = Drain(place, DECLARED)
    land_round(tmp_path, 0)
    rival.all()
    pinned = {BRONZE.key: Handle.open(place.table(BRONZE)), "bronze/erp_returns": None}
    land_round(tmp_path, 1)
    rival.all()
    with pytest.raises(Conflict):
        refine(ORDERS, place, pinned)


def test_who_pinned_an_upstream_before_a_rival_went_on_does_not_put_a_table_back(place, tmp_path):
    rival = Drain(place, DECLARED)
    land_round(tmp_path, 0)
    rival.all()
    pinned = {ORDERS.key: Handle.open(place.table(ORDERS))}
    land_round(tmp_path, 1)
    rival.all()
    stands = standing(tmp_path)
    with pytest.raises(Conflict):
        refine(DAILY, place, pinned)
    assert standing(tmp_path) == stands


def test_a_batch_is_not_planned_beside_a_bronze_table_that_has_moved(place, tmp_path, one_file_a_batch):
    """Opened between a rival's batches: the bronze table before it, the ledger after it."""
    rival = Drain(place, DECLARED)
    land_round(tmp_path, 0)
    rival.one(BRONZE)
    before = Handle.open(place.table(BRONZE))
    rival.one(BRONZE)
    land(BRONZE, place)  # planned, not applied: now two batches ahead of what was opened
    ledger = Ledger.open(BRONZE, place.ledger(BRONZE), before)
    with pytest.raises(Conflict):
        next_batch(BRONZE, place.landing, ledger)
    rival.all()
    assert_counted_once(tmp_path)


def test_who_comes_second_to_make_the_ledger_plans_nothing(place, tmp_path, one_file_a_batch, monkeypatch):
    rival = Drain(place, DECLARED)
    land_round(tmp_path, 0)
    ledger = Ledger.open(BRONZE, place.ledger(BRONZE), None)
    rival.one(BRONZE)
    land(BRONZE, place)
    with pytest.raises(Conflict):
        next_batch(BRONZE, place.landing, ledger)
    rival.all()
    assert_counted_once(tmp_path)


def test_of_two_plans_of_a_batch_the_one_that_was_applied_counts(place, tmp_path):
    """A file was corrected between the plan of a slow run and its commit; another run has planned the batch anew."""
    land_round(tmp_path, 0)
    slow = land(BRONZE, place).delivery
    arrivals.land(tmp_path / "landing", arrivals.round_of(1, 1, clean=True).corrections)
    fast = land(BRONZE, place).delivery
    assert slow is not None
    assert fast is not None
    deliver(slow)
    with pytest.raises(Conflict):
        deliver(fast)
    Drain(place, DECLARED).all()
    assert_counted_once(tmp_path)


def test_who_pinned_no_upstream_before_a_rival_made_it_begins_again(place, tmp_path):
    land_round(tmp_path, 0)
    pinned = {BRONZE.key: Handle.open(place.table(BRONZE)), "bronze/erp_returns": None}
    Drain(place, DECLARED).all()
    with pytest.raises(Conflict):
        refine(ORDERS, place, pinned)


def set_aside(place: Place, tmp_path: Path) -> Delivery:
    """What a run leaves that was killed between quarantine and table, and what it was about to deliver."""
    arrivals.land(tmp_path / "landing", arrivals.round_of(1, 0).all)
    Drain(place, DECLARED).all()
    arrivals.land(tmp_path / "landing", arrivals.round_of(1, 1).all)
    delivery = land(BRONZE, place).delivery
    assert delivery is not None
    assert delivery.handle is not None
    assert delivery.rejected.height
    quarantine.write(delivery.handle, delivery.quarantine, delivery.rejected, whole=False)
    return delivery


def test_what_a_killed_run_set_aside_is_gone_for_other_engines_once_the_next_stands(place, tmp_path):
    """They read the quarantine as plain Delta, without asking which attempt won."""
    set_aside(place, tmp_path)
    Drain(place, DECLARED).one(BRONZE)
    assert_duckdb_reads_the_same(tmp_path)


def test_what_a_killed_winner_did_not_take_away_goes_with_the_next_start(place, tmp_path, monkeypatch):
    delivery = set_aside(place, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Prepared, "once", killed_after(Prepared.once))
        with pytest.raises(KeyboardInterrupt):
            deliver(delivery)
    Drain(place, DECLARED).all()
    assert_duckdb_reads_the_same(tmp_path)


def killed_after(plain: Callable[..., object]) -> Callable[..., object]:
    def commit(*args: object) -> object:
        plain(*args)
        raise KeyboardInterrupt

    return commit
