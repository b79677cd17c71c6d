"""Starts workers, kills them, and says how they ended."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from lakehouse_tests.faults.worker import DRAINED, FAILED, KILLED

ROOT = Path(__file__).parents[2]
LONGEST = 600  # rivals that commit first keep a drain busy; this only ends what hangs
"""Seconds after which a worker that says nothing is taken for one that hangs."""


@dataclass(frozen=True)
class Ended:
    """How a worker ended, with all that it said."""

    code: int
    said: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def was_killed(self) -> bool:
        return self.code == KILLED

    @property
    def is_drained(self) -> bool:
        return self.code == DRAINED

    def __bool__(self) -> bool:
        raise TypeError("ask for was_killed or is_drained")


class Worker:
    """A process in which one worker after the other is started: the next is ready as soon as it has loaded Polars."""

    def __init__(self, log: Path, *, preload: Path | None = None) -> None:
        self._log = log.open("ab")
        self._said = b""
        self._pid: int | None = None
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("worker.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **({"LD_PRELOAD": str(preload)} if preload else {})},
        )

    def close(self) -> None:
        self._end_child()
        for pipe in (self._process.stdin, self._process.stdout):
            _is_open(pipe).close()
        self._process.wait(LONGEST)
        self._log.close()

    def start(self, home: Path, **job: Any) -> None:
        """Begin, and return once the worker is about to drain."""
        told = _is_open(self._process.stdin)
        told.write(json.dumps({"home": str(home), **job}).encode() + b"\n")
        told.flush()
        self._pid = self._next()["pid"]
        self._heard: dict[str, Any] = {}
        while not {"ready", "failed"} & self._heard.keys():
            self._heard |= self._next()

    def kill(self) -> None:
        """SIGKILL it, unless it has ended already."""
        if self._pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)

    def end(self, within: float = LONGEST) -> Ended:
        """Wait for its end, for `within` seconds."""
        while "ended" not in self._heard:
            self._heard |= self._next(within)
        self._pid = None
        return Ended(self._heard.pop("ended"), self._heard)

    def run(self, home: Path, **job: Any) -> Ended:
        self.start(home, **job)
        return self.end()

    def run_and_kill(self, home: Path, after: float, **job: Any) -> Ended:
        """Let it drain for `after` seconds, and kill it, unless it has ended by then."""
        self.start(home, **job)
        until = time.monotonic() + after
        while "ended" not in self._heard:
            line = self._line(until - time.monotonic())
            if line is None:
                self.kill()
                break
            self._heard |= line
        return self.end()

    def _next(self, within: float = LONGEST) -> dict[str, Any]:
        line = self._line(within)
        if line is None:
            self.kill()
            while "ended" not in (self._line(LONGEST) or {"ended": None}):
                pass  # the next job finds an empty pipe
            self._pid = None
            raise AssertionError(f"a worker said nothing for {within} s; it was killed. {self._log.name}")
        return line

    def _line(self, within: float) -> dict[str, Any] | None:
        pipe = _is_open(self._process.stdout).fileno()
        until = time.monotonic() + within
        while b"\n" not in self._said:
            if not select.select([pipe], [], [], max(0, until - time.monotonic()))[0]:
                return None
            said = os.read(pipe, 1 << 16)
            if not said:
                raise AssertionError(f"the parent of the workers has gone: {Path(self._log.name).read_text()[-2000:]}")
            self._said += said
        line, _, self._said = self._said.partition(b"\n")
        return json.loads(line)

    def _end_child(self) -> None:
        if self._pid is not None:
            self.kill()
            self._pid = None


def _is_open(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


__all__ = ["DRAINED", "FAILED", "KILLED", "Ended", "Worker"]
