"""Errors of a disk, put where a disk gives them, again and again, in this process only."""

from __future__ import annotations

import errno
import os
import random
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FULL_FOR_DATA = "no space for a data file"
FULL_FOR_LEDGER = "no space for a file of the ledger"
FULL_FOR_LOG = "no room for a commit"
NOT_DURABLE = "a file that cannot be synced"
UNREADABLE_LANDING = "a landed file that cannot be read once"
UNREADABLE_TABLE = "a data file that cannot be read once"
UNREADABLE_LOG = "a log that cannot be read once"
ALL = (FULL_FOR_DATA, FULL_FOR_LEDGER, FULL_FOR_LOG, NOT_DURABLE, UNREADABLE_LANDING, UNREADABLE_TABLE, UNREADABLE_LOG)


def put(name: str, seed: int) -> None:
    """From now on `name` happens now and then."""
    from lakehouse.engine.delta import commit, files, handle, place
    from resources.local_disk import LocalDisk

    now = _now_and_then(random.Random(seed))
    match name:
        case "no space for a data file":
            _fill_disk(files, lambda _: now())
        case "no space for a file of the ledger":
            _fill_disk(files, lambda root: "/ledger/" in root and now())
        case "no room for a commit":
            _around(commit, "put", now, _no_room)
        case "a file that cannot be synced":
            _instead(place.os, "fsync", now, errno.EIO)
        case "a landed file that cannot be read once":
            _instead(LocalDisk, "read", now, errno.EIO)
        case "a data file that cannot be read once":
            _instead(handle, "scan_files", now, errno.EIO)
        case "a log that cannot be read once":
            _instead(handle, "read_commit", now, errno.EIO)
            _instead(handle, "appended", now, errno.EIO)
        case _:
            raise ValueError(name)


def _now_and_then(draw: random.Random) -> Callable[[], bool]:
    """Ever more seldom, so that a run which has many such occasions gets through in the end."""
    left, times = draw.randrange(2), 0

    def now() -> bool:
        nonlocal left, times
        left -= 1
        if left >= 0:
            return False
        times += 1
        left = draw.randrange(1, 3 + 2 * times)
        return True

    return now


def _instead(owner: Any, name: str, now: Callable[[], bool], number: int) -> None:
    plain = getattr(owner, name)

    def wrapped(*args: Any, **named: Any) -> Any:
        if now():
            raise OSError(number, os.strerror(number))
        return plain(*args, **named)

    setattr(owner, name, wrapped)


def _around(owner: Any, name: str, now: Callable[[], bool], within: Callable[[], Any]) -> None:
    plain = getattr(owner, name)

    def wrapped(*args: Any, **named: Any) -> Any:
        if not now():
            return plain(*args, **named)
        with within():
            return plain(*args, **named)

    setattr(owner, name, wrapped)


@contextmanager
def _no_room() -> Iterator[None]:
    """No file grows beyond some bytes: the kernel refuses the store's own write (EFBIG)."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def _fill_disk(files: Any, now: Callable[[str], bool]) -> None:
    """The data file's name leads to a device that is always full: the kernel refuses Polars' own write (ENOSPC)."""
    plain = files._Names.__call__

    def named(names: Any, file: Any) -> str:
        name = plain(names, file)
        root = files.root(names._handle.address)
        if now(root):
            Path(root).mkdir(parents=True, exist_ok=True)
            Path(root, name).symlink_to("/dev/full")
        return name

    files._Names.__call__ = named
