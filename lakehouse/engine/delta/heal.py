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
from pathlib import Path

import msgspec
import polars as pl

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta import known, store
from lakehouse.engine.delta.place import LOG, POINTER, make_durable, root

_COMMIT = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"\d{20}\.checkpoint\..*parquet|_last_checkpoint")

_logger = logging.getLogger(__name__)


def heal(address: Address) -> None:
    """Move aside what keeps a table from being opened.

    The newest commit, where it is empty or does not end: nobody has built on it, and since a commit gets its name when
    it has all its bytes, nobody is writing it. Checkpoints that cannot be read, where every commit lies there: they
    only sum up.
    """
    log = Path(root(address), LOG)
    if address.is_local and not address.only_read and os.name != "nt" and log.is_dir():
        _heal_newest(address, log)
        _heal_checkpoints(address, log)


def repair_checkpoints(address: Address) -> list[str]:
    """Move every checkpoint aside, readable or not, wherever the table lies. Their names below the table's folder.

    Refused where a commit is missing, which only they tell of.
    """
    address.refuse_a_write()
    names = [name.removeprefix(f"{LOG}/") for name in store.sizes(address)]
    found = [name for name in names if _CHECKPOINT.fullmatch(name)]
    if found and not _is_complete(names):
        raise Refused(
            f"{address}: commits are missing from its log, and only the checkpoints tell what they held. Nothing was "
            "moved. Make the table anew: lakehouse rebuild."
        )
    for name in found:
        store.rename(address, f"{LOG}/{name}", f"{LOG}/{_aside(name)}")
    known.forget(address)
    return [f"{LOG}/{name}" for name in found]


def is_whole(commit: bytes) -> bool:
    """Whether the lines of a commit are there, and each of them is JSON."""
    lines = [line for line in commit.splitlines() if line]
    try:
        return bool(lines) and all(isinstance(msgspec.json.decode(line), dict) for line in lines)
    except msgspec.DecodeError:
        return False


def _heal_newest(address: Address, log: Path) -> None:
    newest = max((each for each in log.iterdir() if _COMMIT.fullmatch(each.name)), default=None)
    aside = newest and _move_if_torn(newest)
    if newest and aside:
        _logger.warning(
            "%s: version %d was torn, as a power cut leaves it. It lies at %s now, and the version before it stands; "
            "what it held comes with the next run.", address, int(newest.stem), aside,
        )  # fmt: skip


def _move_if_torn(newest: Path) -> Path | None:
    """Move it, unless another has done so meanwhile: then a whole commit may have its name."""
    import fcntl

    with suppress(FileNotFoundError), newest.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
        if os.fstat(file.fileno()).st_ino == newest.stat().st_ino and not is_whole(file.read()):
            return _move(newest)
    return None


def _heal_checkpoints(address: Address, log: Path) -> None:
    broken = [each.name for each in log.iterdir() if _CHECKPOINT.fullmatch(each.name) and not _is_readable(each)]
    if not broken or not _is_complete(each.name for each in log.iterdir()):
        return
    for name in {*broken, POINTER}:
        with suppress(FileNotFoundError):  # another heals it, too
            _move(log / name)
    _logger.warning("%s: %s cannot be read, and was moved aside: the log holds it all.", address, ", ".join(broken))


def _is_readable(file: Path) -> bool:
    """Of the pointer: whether it leads to a checkpoint that is there."""
    try:
        if file.name == POINTER:
            version = int(msgspec.json.decode(file.read_bytes())["version"])
            return any(file.parent.glob(f"{version:020d}.checkpoint.*"))
        pl.read_parquet(file, glob=False)
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return False
    return True


def _is_complete(names: Iterable[str]) -> bool:
    """Whether every commit from the first one is among them."""
    versions = sorted(int(found[1]) for name in names if (found := _COMMIT.fullmatch(name)))
    return versions == list(range(len(versions))) and bool(versions)


def _move(file: Path) -> Path:
    moved = file.rename(file.with_name(_aside(file.name)))
    make_durable([str(moved)])
    return moved


def _aside(name: str) -> str:
    return f".torn-{secrets.token_hex(4)}-{name}"
