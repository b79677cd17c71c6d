"""Parquet is read once in a process of its own before it is read in ours: a flipped byte may end the one that reads.

Polars believes the lengths in a page. One that is wrong asks for more memory than there is, which aborts the process:
no exception, and no run would ever get past the file. The child is started with the first file, and ends with us.
"""

from __future__ import annotations

import atexit
import io
import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import IO

import polars as pl

from lakehouse.engine.ingest.misfit import Misfit, foreign

__all__ = ["BYTES_PER_VALUE", "Footer", "footer", "refuse_broken"]

BYTES_PER_VALUE = 8  # at the least, once it is read: a page of one repeated value is packed into nothing
_NUMBER = 8  # bytes of a number that is sent
_one_at_a_time = Lock()


@dataclass(frozen=True)
class Footer:
    """What a file says of itself."""

    schema: pl.Schema
    rows: int

    @property
    def unpacked(self) -> int:
        """Bytes, at the least."""
        return self.rows * len(self.schema) * BYTES_PER_VALUE


def footer(content: bytes) -> Footer:
    """Raises whatever Polars does."""
    schema = pl.Schema(pl.read_parquet_schema(io.BytesIO(content)))
    return Footer(schema, pl.scan_parquet(io.BytesIO(content)).select(pl.len()).collect().item())


def refuse_broken(content: bytes, most: int) -> None:
    """Raises Misfit where the file does not read to its end. One of more than `most` bytes is read no further."""
    with _one_at_a_time:
        child = _child()
        assert child.stdin is not None  # noqa: S101 # both are pipes
        assert child.stdout is not None  # noqa: S101
        try:
            for part in (most.to_bytes(_NUMBER), len(content).to_bytes(_NUMBER), content):
                child.stdin.write(part)
            child.stdin.flush()
            said = child.stdout.readline()
        except BrokenPipeError:
            said = b""
        if not said:
            _end()
            raise Misfit(
                f"it is not a Parquet file, or is cut off or corrupt: to read it ended a process ({child.returncode})"
            )
    if why := json.loads(said):
        raise Misfit(why)


@cache
def _child() -> subprocess.Popen[bytes]:
    atexit.register(_end)
    command = [sys.executable, "-m", __name__]
    return subprocess.Popen(  # noqa: S603 # our own module
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


def _end() -> None:
    """Let the child go, if there is one; the next file starts another."""
    atexit.unregister(_end)
    if _child.cache_info().currsize:
        _child().communicate()
        _child.cache_clear()


def _serve(asked: IO[bytes], said: IO[str]) -> None:
    """For each file a line: null, or why it does not read."""
    while most := asked.read(_NUMBER):
        content, why = asked.read(int.from_bytes(asked.read(_NUMBER))), None
        try:
            with foreign("a Parquet file"):
                _read(content, int.from_bytes(most))
        except Misfit as broken:
            why = str(broken)
        print(json.dumps(why), file=said, flush=True)


def _read(content: bytes, most: int) -> None:
    says = footer(content)
    if says.unpacked <= most and (rows := pl.read_parquet(io.BytesIO(content)).height) != says.rows:
        raise Misfit(f"its footer says that it holds {says.rows:,} rows, and it holds {rows:,}")


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout)
