"""What a power cut leaves half of in a table's log, taken out of the way, so that the table opens as it stood before.

On a local disk only: a storage account has a file whole or not at all. Nothing is deleted: what is moved stays in the
log's folder, under a name that begins with a dot, which no engine reads.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from itertools import batched, takewhile, zip_longest
from pathlib import Path

import msgspec

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta import known, store
from lakehouse.engine.delta.checkpoints import Checkpoints
from lakehouse.engine.delta.log import summed_up
from lakehouse.engine.delta.place import LOG, POINTER, log_name, make_durable, root

_COMMIT = re.compile(rf"{LOG}/(\d{{20}})\.json")
_CHECKPOINT = re.compile(rf"{LOG}/(\d{{20}})\.checkpoint\..*(parquet|json)")
_TORN = re.compile(rf"{LOG}/\.torn-[0-9a-f]{{8}}-(\d{{20}})\.json")
_READ_AT_ONCE = 64

_logger = logging.getLogger(__name__)


def heal(address: Address) -> None:
    """Move aside what keeps a table from being opened.

    The newest commit, where it is empty or does not end: nobody has built on it, and since a commit gets its name when
    it has all its bytes, nobody is writing it. Checkpoints that cannot be read, where what is left tells the same: they
    only sum up.
    """
    log = Path(root(address), LOG)
    if address.is_local and not address.only_read and os.name != "nt" and log.is_dir():
        _heal_newest(address, log)
        _heal_checkpoints(address)


def repair_checkpoints(address: Address, anew: str) -> list[str]:
    """Move checkpoints aside, wherever the table lies and also where it does not open. Their names below its folder.

    All of them where every commit lies there, since one that can be read may lie; else those that cannot be read.
    Refused where what is left of the log would not tell the same; the way out is `anew` then.
    """
    address.refuse_a_write()
    log = _Log(address)
    is_complete = not log.lacks(-1)
    if not is_complete and (missing := log.lacks(log.base)):
        raise Refused(
            f"{address}: {missing} is missing or damaged, and no checkpoint that can be read stands for it. "
            f"Nothing was moved. Put the log back as it was; else {anew}"
        )
    moved = log.sums if is_complete else log.broken
    for name in moved:
        store.rename(address, name, f"{LOG}/{_aside(name.removeprefix(f'{LOG}/'))}")
    known.forget(address)
    return moved


def is_whole(commit: bytes) -> bool:
    """Whether the lines of a commit are there, and each of them is JSON."""
    lines = [line for line in commit.splitlines() if line]
    try:
        return bool(lines) and all(isinstance(msgspec.json.decode(line), dict) for line in lines)
    except msgspec.DecodeError:
        return False


def _heal_newest(address: Address, log: Path) -> None:
    newest = max((each for each in log.iterdir() if _COMMIT.fullmatch(f"{LOG}/{each.name}")), default=None)
    aside = newest and _move_if_torn(newest)
    if newest and aside:
        _logger.warning(
            "%s: version %d was torn, as a power cut leaves it. It lies at %s now, and the version before it stands. "
            "What it held of a table comes with its next run. What it held of a table's quarantine or ledger does not: "
            "lakehouse table check %s names what mends it.", address, int(newest.stem), aside, address.key,
        )  # fmt: skip


def _move_if_torn(newest: Path) -> Path | None:
    """Move it, unless another has done so meanwhile: then a whole commit may have its name."""
    import fcntl

    with suppress(FileNotFoundError), newest.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
        if os.fstat(file.fileno()).st_ino == newest.stat().st_ino and not is_whole(file.read()):
            return _move(newest)
    return None


def _heal_checkpoints(address: Address) -> None:
    log = _Log(address)
    if not log.broken or log.lacks(log.base):
        return
    for name in log.broken:
        with suppress(FileNotFoundError):  # another heals it, too
            _move(Path(root(address), name))
    said = ", ".join(log.broken)
    _logger.warning("%s: %s cannot be read, and was moved aside: the rest of the log tells the same.", address, said)


class _Log:
    """A table's log as it is listed. `sums`: all that only sums up; `broken`: what of it cannot be read.

    base: the version of the newest checkpoint that can be read, which whoever opens the table goes by without the
    broken ones; -1 where that is the log from its beginning.
    """

    def __init__(self, address: Address) -> None:
        self._address, names, pointer = address, store.sizes(address, LOG), f"{LOG}/{POINTER}"
        self.sums = [name for name in names if _CHECKPOINT.fullmatch(name) or name == pointer]
        self.broken = Checkpoints(address, names).broken()
        self._left = names.keys() - self.broken
        begin = log_name(summed_up(address)).replace("json", "checkpoint.")
        if pointer in names and not any(name.startswith(begin) for name in self._left):
            self.broken.append(pointer)
        self.base = max(Checkpoints(address, self._left), default=-1)

    def lacks(self, base: int) -> str:
        """The first commit after `base` that is missing or torn; empty where those that are there lead to the newest.

        A version whose commit was torn and moved aside is none, unless a checkpoint that can be read tells of it.
        """
        told = _versions(_COMMIT, self._left) | _versions(_CHECKPOINT, self._left)
        newest = max(told | (_versions(_CHECKPOINT, self.broken) - _versions(_TORN, self._left)), default=-1)
        needed = map(log_name, range(base + 1, newest + 1))
        for some in batched(needed, _READ_AT_ONCE):
            there = takewhile(self._left.__contains__, some)
            whole = map(is_whole, store.read(self._address, [*there]))
            if lost := next((name for name, stands in zip_longest(some, whole) if not stands), ""):
                return lost
        return ""


def _versions(kind: re.Pattern[str], names: Iterable[str]) -> set[int]:
    return {int(found[1]) for name in names if (found := kind.fullmatch(name))}


def _move(file: Path) -> Path:
    moved = file.rename(file.with_name(_aside(file.name)))
    make_durable([str(moved)])
    return moved


def _aside(name: str) -> str:
    return f".torn-{secrets.token_hex(4)}-{name}"
