"""What a person is told of work that takes long: now and then a line in Dagster's log, and at once whoever watches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from lakehouse.engine.declare.number import number

EVERY = 10.0
"""Seconds between two lines of one table in Dagster's log: each is written to its database."""

type Tell = Callable[[str], None]

_watcher: ContextVar[Tell | None] = ContextVar("watcher", default=None)


@contextmanager
def watching(tell: Tell) -> Iterator[None]:
    """Have `tell` called with what is being done, many times a second, by all that runs inside in this thread."""
    token = _watcher.set(tell)
    try:
        yield
    finally:
        _watcher.reset(token)


def watched(said: str) -> None:
    """What is being done now, for whoever watches."""
    if (tell := _watcher.get()) is not None:
        tell(said)


class Landing:
    """How far a batch of the table `key` is: told whoever watches, and, where it takes long, `log`."""

    def __init__(self, key: str, log: Tell, clock: Callable[[], float] = time.monotonic) -> None:
        self._key, self._log, self._clock = key, log, clock
        self._logged_at = clock()

    def __call__(self, files: int, of: int, records: int) -> None:
        said = f"{files:,} of {number(of, 'file')} read, {number(records, 'record')}"
        watched(f"{self._key}: {said}")
        if (now := self._clock()) - self._logged_at >= EVERY:
            self._log(said)
            self._logged_at = now
