"""A process that drains a lake without Dagster's overhead, and dies or fails where it is told to.

Reads jobs from its standard input, one JSON object a line, and forks a child for each; what the child says, and how it
ended, comes back line by line. The parent has imported what is slow, and nothing has been asked of it, so that a fork
is safe: the threads that stand there tend memory. Faults are put into the child only, by wrapping functions, or below
it, by a library that was loaded before libc (calls.c): production code has no hooks.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lakehouse_tests.preloaded import load, settle

KILLED, DRAINED, FAILED = -signal.SIGKILL, 0, 3

IN_ROW = 100
"""Who meets so many conflicts one after the other has no rival, but a bug."""

Job = dict[str, Any]


def main() -> None:
    load()
    import lakehouse.engine.delta.handle
    import lakehouse.engine.ingest.reader

    assert lakehouse
    settle()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(_child(json.loads(line)))
        _say(pid=child)
        _, status = os.waitpid(child, 0)
        _say(ended=os.waitstatus_to_exitcode(status))


def _child(job: Job) -> int:
    try:
        _work(job)
    except BaseException as error:  # noqa: BLE001 # the child ends here; its parent must not go on as it
        traceback.print_exc()
        _say(failed=type(error).__name__, why=str(error))
        return FAILED
    return DRAINED


def _work(job: Job) -> None:
    """job: home; optionally kill {point, nth, seed}, error {name, seed}, call {log, call, fault}, rounds to land and
    drain one by one, batch (files in one), ahead (whether the rows of each file are written while the next is read;
    else in every other process), and maintains (before it drains: "tables", or "files" as well).
    """
    from lakehouse.engine.declare.place import Place
    from lakehouse.engine.delta import ahead
    from lakehouse.engine.ingest import landing, reader
    from lakehouse_tests.faults.standing import DECLARED
    from resources.local_disk import LocalDisk

    landing.FILES_PER_BATCH = job.get("batch", 2)  # several batches from a few files
    if job.get("ahead", os.getpid() % 2):
        reader.BYTES_AT_ONCE = ahead.BYTES_AHEAD = 1
    home = Path(job["home"])
    place = Place(lake=LocalDisk(path=str(home / "lake")), landing=LocalDisk(path=str(home / "landing")))
    drain = Drain(place, DECLARED)
    if kill := job.get("kill"):
        _put_kill(**kill)
    if error := job.get("error"):
        from lakehouse_tests.faults import errors

        errors.put(**error)
        drain.passing = (OSError,)  # as Dagster's retries take it
    if call := job.get("call"):
        from lakehouse_tests.faults import calls

        drain.passing = (OSError,)
        calls.arm(home / "lake", Path(call["log"]), calls.Call(*call.get("call", ("", ""))), call["fault"])
    _say(ready=True)
    began = time.monotonic()
    if what := job.get("maintains"):
        drain.maintain(files=what == "files")
    for number in job.get("rounds", [None]):
        if number is not None:
            from lakehouse_tests.faults import arrivals

            arrivals.land(home / "landing", arrivals.round_of(**number).all)
        drain.all()
    _say(
        delivered=drain.delivered,
        conflicts=drain.conflicts,
        errors=drain.errors,
        seconds=time.monotonic() - began,
    )


class Drain:
    """Runs every table until nothing is due, by what Dagster's step and IO manager call, in their order."""

    def __init__(self, place: Any, declared: list[Any]) -> None:
        self.place, self.declared = place, declared
        self.delivered = self.conflicts = self.errors = 0
        self.passing: tuple[type[Exception], ...] = ()

    def all(self) -> None:
        while sum(self.runs_of(each) for each in self.declared):
            pass

    def runs_of(self, declared: Any) -> int:
        """Run a table until nothing is due for it; how often there was something to write."""
        return next(times for times in itertools.count() if not self.one(declared))

    def one(self, declared: Any) -> bool:
        """One run of a table, started again after what is transient. Whether there was something to write."""
        from lakehouse.engine.declare.errors import Conflict, Transient
        from lakehouse.engine.delta.delivery import deliver

        in_row = 0
        while True:
            try:
                delivery = self._delivery(declared)
                if delivery is None:
                    return False
                deliver(delivery)
            except Conflict as faster:
                self.conflicts += 1
                in_row += 1
                if in_row > IN_ROW:
                    raise AssertionError(f"{in_row} conflicts, one after the other: {faster}") from faster
            except (Transient, *self.passing) as error:
                sys.stderr.write(f"{declared.key}: {type(error).__name__}: {error}\n")
                self.errors += 1
            else:
                self.delivered += 1
                return True

    def maintain(self, *, files: bool) -> None:
        """As a lakehouse keeps its tables: joined, summed up; with `files`, all goes that no reader needs any more."""
        from lakehouse.engine.orchestrate import upkeep

        if files:  # whatever the table promises to keep, as by --override-retention
            upkeep.plan_vacuum = _of_no_hours(upkeep.plan_vacuum)
        for each in self.declared:
            while not self._is_maintained(each):
                pass

    def _is_maintained(self, declared: Any) -> bool:
        from lakehouse.engine.declare.errors import Conflict, Transient
        from lakehouse.engine.declare.upkeep import Policy
        from lakehouse.engine.orchestrate.upkeep import keep_up

        try:
            keep_up(declared, self.place, Policy(), self.declared)
        except (Conflict, Transient, *self.passing) as error:
            sys.stderr.write(f"{declared.key}: {type(error).__name__}: {error}\n")
            self.errors += 1
            return False
        return True

    def _delivery(self, declared: Any) -> Any:
        from lakehouse.engine.delta.handle import Handle
        from lakehouse.engine.orchestrate.bronze import land
        from lakehouse.engine.orchestrate.refine import refine

        if declared.is_bronze:
            work = land(declared, self.place)
        else:
            pinned = {each.upstream.key: Handle.open(self.place.table(each.upstream)) for each in declared.reads}
            work = refine(declared, self.place, pinned)
        if work.refusal:
            raise AssertionError(f"nothing that lands here is refused, and yet: {work.refusal}")
        return work.delivery


PLAN_AND_APPLY = "between plan and apply"
QUARANTINE_AND_TABLE = "between quarantine and table"
FILES_AND_COMMIT = "between data files and commit"
LOST_ANSWER = "after a commit, before its answer"
CHECKPOINT = "in a checkpoint"
POINTS = (PLAN_AND_APPLY, QUARANTINE_AND_TABLE, FILES_AND_COMMIT, LOST_ANSWER, CHECKPOINT)


def _put_kill(point: str, nth: int, seed: int) -> None:
    """Die at the nth time (from 1) that `point` is passed."""
    from deltalake import DeltaTable

    from lakehouse.engine.delta import handle, prepared, quarantine
    from lakehouse.engine.ingest import ledger

    times = itertools.count(1)

    def die(*_: object) -> None:
        if next(times) == nth:
            _say(point=point)
            os.kill(os.getpid(), signal.SIGKILL)

    def die_soon(*_: object) -> None:
        if next(times) == nth:
            _say(point=point)
            delay = random.Random(seed).uniform(0, 0.006)
            threading.Thread(target=lambda: (time.sleep(delay), os.kill(os.getpid(), signal.SIGKILL))).start()

    match point:
        case "between plan and apply":
            _after(ledger.Ledger, "commit", die)
        case "between quarantine and table":
            _after(quarantine, "write", lambda attempt: die() if attempt.rows else None)
        case "between data files and commit":
            _before(prepared.Prepared, "once", lambda each: die() if each.added else None)
        case "after a commit, before its answer":
            _before(handle.Handle, "_after_commit", die)
        case "in a checkpoint":
            handle.CHECKPOINT_EVERY = 2
            _before(DeltaTable, "create_checkpoint", die_soon)
        case _:
            raise ValueError(point)


def _of_no_hours(plan: Callable[..., Any]) -> Callable[..., Any]:
    def planned(handle: Any, _: int, *told: Any, **named: Any) -> Any:
        return plan(handle, 0, *told, **named)

    return planned


def _after(owner: Any, name: str, then: Callable[[Any], None]) -> None:
    plain = getattr(owner, name)

    def wrapped(*args: Any, **named: Any) -> Any:
        result = plain(*args, **named)
        then(result)
        return result

    setattr(owner, name, wrapped)


def _before(owner: Any, name: str, first: Callable[[Any], None]) -> None:
    plain = getattr(owner, name)

    def wrapped(*args: Any, **named: Any) -> Any:
        first(args[0])
        return plain(*args, **named)

    setattr(owner, name, wrapped)


def _say(**what: Any) -> None:
    os.write(1, f"{json.dumps(what)}\n".encode())


if __name__ == "__main__":
    main()
