"""Where a table's files lie, as deltalake and Polars take it, and how a local disk is made to keep them."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.ports import Address

LOG = "_delta_log"
POINTER = "_last_checkpoint"
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""What the folder of rows without a value is called for."""
ASKED_AGAIN_SECONDS = 60


def root(address: Address) -> str:
    """The table's folder without a final slash; absolute on a local disk."""
    if not address.is_local:
        return address.uri.rstrip("/")
    if "%" in address.uri:
        # deltalake 1.6 decodes a local path as if it were a URL and then looks for another folder.
        raise Refused(f"{address} holds a '%', which deltalake takes for an escape: choose another folder.")
    return os.path.abspath(address.uri)  # noqa: PTH100 # resolve() would follow links and move the table


def storage_options(address: Address) -> dict[str, str] | None:
    return address.options or None


def for_polars(address: Address) -> dict[str, Any]:
    """By their names. A token is asked for again while a plan is carried out, however long that takes."""
    return {
        "storage_options": dict(address.fixed) or None,
        "credential_provider": _provider(address.token) if address.token else "auto",
    }


@cache
def _provider(token: Callable[[], str]) -> Callable[[], tuple[dict[str, str], int]]:
    """One of each, since Polars keeps a connection by it."""
    return lambda: ({"bearer_token": token()}, int(time.time()) + ASKED_AGAIN_SECONDS)


def full(address: Address, paths: Iterable[str]) -> list[str]:
    """Paths of the log (relative to the table, or absolute) as full paths."""
    base = root(address)
    return [path if "://" in path or Path(path).is_absolute() else f"{base}/{path}" for path in paths]


def sha256_of_file(path: str) -> str:
    """Of a local file."""
    with open(path, "rb") as file:  # noqa: PTH123 # file_digest wants the file itself
        return hashlib.file_digest(file, "sha256").hexdigest()


def tables_within(names: Iterable[str]) -> tuple[str, ...]:
    """The folders of other tables within a table's own, by the files below it: how their names begin."""
    return tuple({name.partition(f"{LOG}/")[0] for name in names if f"/{LOG}/" in name})


def log_name(version: int) -> str:
    """Below the table's folder."""
    return f"{LOG}/{version:020d}.json"


def log_file(address: Address, version: int) -> str:
    return f"{root(address)}/{log_name(version)}"


@contextmanager
def durable_beside(place: Path, content: bytes) -> Generator[Path]:
    """A durable file of this content in the folder of `place`, under a name that is never listed: to be moved there."""
    part = place.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield part
    finally:  # also where somebody interrupts it
        part.unlink(missing_ok=True)


def make_durable(paths: Iterable[str], below: str = "") -> None:
    """Sync (fsync) these local files and the folders that name them: deltalake issues no fsync of its own.

    below: the folder under which all folders may be new, and so are synced up to it.
    """
    files = {Path(path) for path in paths}
    folders = {folder for path in files for folder in path.parents if folder == path.parent or _lies_in(folder, below)}
    for path in [*files, *folders]:
        _sync(path)


def make_table_durable(address: Address) -> None:
    """The same of a new table on a local disk, of which every folder above may be new as well."""
    if not address.is_local:
        return
    make_durable([log_file(address, 0)], root(address))
    for folder in Path(root(address)).parents:
        with suppress(PermissionError):  # a folder of somebody else, that was there before
            _sync(folder)


def make_checkpoint_durable(address: Address, version: int) -> None:
    """The pointer is left out by deltalake where the checkpoint is there already: a run was killed between the two."""
    if not address.is_local:
        return
    checkpoint = Path(log_file(address, version)).with_suffix(".checkpoint.parquet")
    make_durable(str(each) for each in (checkpoint, checkpoint.with_name(POINTER)) if each.exists())


def _lies_in(folder: Path, above: str) -> bool:
    return bool(above) and folder.is_relative_to(above)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
