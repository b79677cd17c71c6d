"""The first rows of an append, written while the next ones are still read."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import polars as pl

from lakehouse.engine.delta.files import write_files
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.statistics import DataFile

BYTES_AHEAD = 64 << 20
"""Of so much that was read, a file is written. What is less is left to the commit."""


class Ahead:
    """Writes data files beside a table, one after the other, in a thread of its own; nobody sees them yet.

    opens: gives the table when the first is written. It may have to make it.
    """

    def __init__(self, opens: Callable[[], Handle]) -> None:
        self._opens = opens
        self._rows: list[pl.DataFrame] = []
        self._bytes = 0
        self._pool = ThreadPoolExecutor(1)
        self._writes: list[Future[None]] = []
        self._files: list[DataFile] = []
        self.handle: Handle | None = None

    def add(self, rows: pl.DataFrame, size: int) -> None:
        """The next rows, read from `size` bytes."""
        self._rows.append(rows)
        self._bytes += size
        if self._bytes >= BYTES_AHEAD:
            self._writes.append(self._pool.submit(self._write, pl.concat(self._rows)))
            self._rows, self._bytes = [], 0

    def _write(self, rows: pl.DataFrame) -> None:
        self.handle = self.handle or self._opens()
        self._files += write_files(self.handle, rows, after=len(self._files))

    def files(self) -> tuple[DataFile, ...]:
        """Those that hold the first of the rows that were added. Raises what went wrong with one."""
        for each in self._writes:
            each.result()
        return tuple(self._files)
