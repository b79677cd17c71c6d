"""Dagster's own daemon on the code location of a table of many files: its ticks, their runs, and what each used."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.cost import PROJECT

if TYPE_CHECKING:
    import dagster as dg
    from dagster._core.scheduler.instigation import InstigatorTick

PATIENCE = 900  # seconds


@dataclass(frozen=True)
class Span:
    """From when to when (epoch seconds) something was at work, and the most memory it had, in MB.

    `ticks`: how long (seconds) each of those was that one listing took.
    """

    began: float
    ended: float
    memory: float
    ticks: tuple[float, ...] = ()

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    def holds(self, moment: float) -> bool:
        return self.began <= moment <= self.ended


class Peaks(threading.Thread):
    """The greatest memory, in MB, of the code server and of the runs that it starts, asked for all the time."""

    def __init__(self, daemon: int) -> None:
        super().__init__(daemon=True)
        self._daemon = daemon
        self._most: dict[str, float] = {}
        self._servers: set[int] = set()

    def run(self) -> None:
        with suppress(FileNotFoundError, ProcessLookupError):
            while True:
                for pid in _below(self._daemon):
                    with suppress(FileNotFoundError, ProcessLookupError):
                        self._look(pid)
                time.sleep(0.1)

    def _look(self, pid: int) -> None:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        role = "server" if b"\0grpc\0" in command else "run" if b"spawn_main" in command else "other"
        if role == "server":
            self._servers.add(pid)
        status = Path(f"/proc/{pid}/status").read_text()
        most = int(status.partition("VmHWM:")[2].split()[0]) / 1024 if "VmHWM:" in status else 0
        self._most[role] = max(self._most.get(role, 0), most)

    def forget(self) -> None:
        """From now on; of the server, which stays, the kernel forgets its peak too."""
        for pid in self._servers:
            with suppress(FileNotFoundError, ProcessLookupError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")
        self._most.clear()

    def of(self, role: str) -> float:
        return self._most.get(role, 0)


@dataclass
class Daemon:
    """A running daemon, seen through its instance. A tick is what its record says: from its start to its end."""

    instance: dg.DagsterInstance
    peaks: Peaks
    log: Path
    process: subprocess.Popen[bytes] = field(repr=False)

    def nothing_new(self) -> Span:
        """The next listing that finds nothing new."""
        self.peaks.forget()
        return self._span(self._ticks(time.time(), asks=False))

    def after(self, land: Callable[[], object]) -> tuple[Span, Span]:
        """The listing that sees what `land` lands, and the run that it asks for; then waits until nothing is new.

        So what comes next lands right after a tick, and has settled when the next one looks.
        """
        self.peaks.forget()
        land()
        ticks = self._ticks(time.time(), asks=True)
        seen = self._span(ticks)
        record = self._until(lambda: self._ended(ticks[-1].run_ids[0]), "the end of the run")
        run = Span(record.start_time or 0, record.end_time or 0, self.peaks.of("run"))
        self.nothing_new()
        return seen, run

    def _span(self, ticks: list[InstigatorTick]) -> Span:
        began, ended = [each.timestamp for each in ticks], [each.end_timestamp or 0 for each in ticks]
        took = tuple(end - begin for begin, end in zip(began, ended, strict=True))
        return Span(began[0], ended[-1], self.peaks.of("server"), took)

    def _ended(self, run_id: str) -> dg.RunRecord | None:
        record = self.instance.get_run_record_by_id(run_id)
        if record is None or not record.dagster_run.is_finished:
            return None
        if not record.dagster_run.is_success:
            raise SystemExit(f"run {run_id} failed; the daemon's log is {self.log}")
        return record

    def _ticks(self, since: float, *, asks: bool) -> list[InstigatorTick]:
        return self._until(
            lambda: self._found(since, asks=asks), "a tick that asks for a run" if asks else "a tick without"
        )

    def _found(self, since: float, *, asks: bool) -> list[InstigatorTick] | None:
        """The ticks of the last listing since then, if it ended as it is meant to."""
        listing: list[InstigatorTick] = []
        for state in self.instance.all_instigator_state():
            ticks = self.instance.get_ticks(state.instigator_origin_id, state.selector_id, after=since)
            for tick in sorted(ticks, key=lambda each: each.timestamp):
                if tick.error:
                    raise SystemExit(f"a tick failed: {tick.error.to_string()}")
                listing.append(tick)
                said = tick.skip_reason or ""
                if not tick.is_completed or said.startswith("Listed"):
                    continue
                if tick.run_ids if asks else said.startswith("Nothing new"):
                    return listing
                listing.clear()
        return None

    def _until[T](self, found: Callable[[], T | None], what: str) -> T:
        give_up = time.monotonic() + PATIENCE
        while (answer := found()) is None:
            if time.monotonic() > give_up or self.process.poll() is not None:
                raise SystemExit(f"{what} did not come; the daemon's log: {self.log.read_text()[-2000:]}")
            time.sleep(0.5)
        return answer


@contextmanager
def daemon(environment: dict[str, str]) -> Iterator[Daemon]:
    """`dagster-daemon run` in this environment, until the end of the block."""
    import dagster as dg

    home = Path(environment["DAGSTER_HOME"])
    command = [Path(sys.executable).with_name("dagster-daemon"), "run", "-m", "benchmarks.many_files.location"]
    log = home / "daemon.log"
    with dg.DagsterInstance.from_config(str(home)) as instance, log.open("wb") as told:
        for asked in (instance.all_instigator_state, instance.get_runs_count, instance.get_asset_keys):
            asked()  # the instance is made by one alone: two at once fail
        process = subprocess.Popen(
            command, cwd=PROJECT, env=environment, start_new_session=True, stdout=told, stderr=subprocess.STDOUT
        )
        peaks = Peaks(process.pid)
        peaks.start()
        try:
            yield Daemon(instance, peaks, log, process)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


def _below(pid: int) -> Iterator[int]:
    """The processes that this one started, and what those started. Raises FileNotFoundError once it has ended."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            for child in map(int, (thread / "children").read_text().split()):
                yield child
                yield from _below(child)
