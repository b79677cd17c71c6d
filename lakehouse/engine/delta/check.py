"""Whether a table is whole: its files lie there as they were written, and hold what its log says of them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import unquote

import msgspec
import polars as pl
from deltalake.exceptions import DeltaError

from lakehouse.engine.declare.errors import LakehouseError
from lakehouse.engine.declare.number import number
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta import store
from lakehouse.engine.delta.checkpoints import Checkpoints, Damaged, of_kind
from lakehouse.engine.delta.commit import SHA256
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.log import MERGED, Action, Commit, read_commit, read_commits, summed_up
from lakehouse.engine.delta.place import LOG, POINTER, full, log_name, sha256_of_file, tables_within
from lakehouse.engine.delta.refused import Unreadable
from lakehouse.engine.delta.statistics import DataFile, added_files, measure
from lakehouse.engine.delta.vectors import Vector, read_vectors

FILES_AT_ONCE = 4
_POINTER = f"{LOG}/{POINTER}"
_COMMITS_AT_ONCE = 64
_OTHER_ROWS = {"WRITE", "CREATE OR REPLACE TABLE AS SELECT", "REPLACE TABLE AS SELECT"}
_CUT = timedelta(milliseconds=1)


@dataclass(frozen=True)
class Checked:
    """`faults` says of each file that is not as it should be what is wrong; `summed` were compared with a checksum.

    `unused` files are of no version that stands: what an interrupted write left, and what later versions replaced.
    """

    version: int
    files: int
    rows: int
    summed: int
    faults: Mapping[str, str]
    unused: int
    unused_bytes: int

    @classmethod
    def unreadable(cls, why: str) -> Checked:
        """Of a table that cannot be opened."""
        return cls(0, 0, 0, 0, {LOG: why}, 0, 0)

    @property
    def opens(self) -> bool:
        return LOG not in self.faults

    @property
    def only_sums(self) -> bool:
        """Whether nothing is damaged but what sums up the log, and can be made anew from it."""
        return all(name == _POINTER or ".checkpoint." in name for name in self.faults)


def check(handle: Handle, tell: Callable[[str], None] = lambda _: None) -> Checked:
    """Read every file of this version, whole, and the log that leads to it.

    Each is compared with the checksum that was taken when it was written, and held against the rows, nulls and bounds
    of the log. From a storage account each comes once, into a temporary folder; raises as `store.read` does where one
    does not come.
    """
    there = store.sizes(handle.address)
    log = _Log(handle, there)
    faults, sums = log.faults(), log.sums
    try:
        files: list[dict[str, Any]] = list(handle.files().iter_rows(named=True))
        vectors = _by_file(handle.vectors)
    except (DeltaError, FileNotFoundError, ValueError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
        if not faults:
            raise
        return Checked(handle.version, 0, 0, 0, faults, 0, 0)

    def fault_of(file: dict[str, Any]) -> str:
        return _fault(handle, there.get(file["path"]), file, sums.get(file["path"]))

    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        for done, (file, fault) in enumerate(zip(files, pool.map(fault_of, files), strict=True), 1):
            tell(f"{done:,} of {number(len(files), 'file')} read")
            faults |= {file["path"]: fault} if fault else {}
        found = pool.map(partial(_fault_of_vectors, handle.address), vectors.values())
        faults |= {name: fault for name, fault in zip(vectors, found, strict=True) if fault}
    used, elsewhere = {file["path"] for file in files}, (f"{LOG}/", *tables_within(there))
    unused = [size for name, size in there.items() if name not in used | {*vectors} and not name.startswith(elsewhere)]
    return Checked(handle.version, len(files), handle.rows, len(used & sums.keys()), faults, len(unused), sum(unused))


@contextmanager
def told_where_altered(read: Callable[[], Iterable[Handle | None]]) -> Generator[None]:
    """Around what reads these tables: Unreadable where Polars ends at a file of theirs that is not as it was written.

    Costs nothing before that, and then each file's bytes on a local disk, a listing in a storage account.
    """
    try:
        yield
    except (FileNotFoundError, pl.exceptions.ComputeError, pl.exceptions.PanicException):
        for handle in filter(None, read()):
            if faults := altered(handle, handle.files()["path"], fetched=False):
                path, fault = next(iter(faults.items()))
                more = f", and {number(len(faults) - 1, 'file')} beside it" if len(faults) > 1 else ""
                raise Unreadable(
                    f"{handle.address}: {path} {fault}{more}. Nothing was written of what reads it. "
                    f"What mends it: lakehouse table check {handle.address.key}"
                ) from None  # what Polars says may hold values
        raise


def altered(handle: Handle, paths: Iterable[str], *, fetched: bool = True) -> dict[str, str]:
    """Which of these files of this version are not the bytes that were written, and what is wrong with each.

    One without a checksum is known by its size alone, as are those in a storage account that are not to be `fetched`.
    Raises as `check` does.
    """
    there, found = store.sizes(handle.address), dict[str, str]()
    for path in paths:
        add = handle.standing.adds[path]
        tags: Mapping[str, str] = add.get("tags") or {}
        fault = _fault_of_size(there.get(path), add["size"])
        if not fault and (fetched or handle.address.is_local):
            with store.at_hand(handle.address, path) as here:
                fault = _fault_of_sum(here, path, tags.get(SHA256))
        found |= {path: fault} if fault else {}
    return found


def _fault_of_size(size: int | None, logged: int) -> str:
    if size is None:
        return "is not there"
    return "" if size == logged else f"has {number(size, 'byte')}, and {logged:,} by the log"


def _fault_of_sum(here: Address, path: str, sha256: str | None) -> str:
    is_as_written = not sha256 or sha256_of_file(full(here, [path])[0]) == sha256
    return "" if is_as_written else "is not as it was written: its checksum is another"


def _by_file(vectors: Mapping[str, Vector]) -> dict[str, list[Vector]]:
    """Those that lie in one file; those that lie in the log alone together."""
    found = dict[str, list[Vector]]()
    for vector in vectors.values():
        found.setdefault(vector.file or "a deletion vector in the log", []).append(vector)
    return found


def _fault_of_vectors(address: Address, vectors: Sequence[Vector]) -> str:
    try:
        read_vectors(address, vectors)
    except (OSError, ValueError, LakehouseError) as error:
        return _cannot_be_read(error)
    return ""


def _fault(handle: Handle, size: int | None, said: dict[str, Any], sha256: str | None) -> str:
    path = said["path"]
    if fault := _fault_of_size(size, said["size"]):
        return fault
    stored = pl.Schema({name: dtype for name, dtype in handle.schema.items() if name not in handle.partition_by})
    said = {**said, "rows": None if said["rows"] is None else said["rows"] + (said.get("gone") or 0)}
    with store.at_hand(handle.address, path) as here:  # raises: who does not answer says nothing of the file
        try:
            if fault := _fault_of_sum(here, path, sha256):
                return fault
            view = copy(handle)
            view.address = here
            rows = view.scan_paths([path], gone={}).select(stored.names())
            statistics = measure([rows], stored)[0]
            nested = [pl.col(name).hash().sum() for name, dtype in stored.items() if dtype.is_nested()]
            rows.select(nested).collect()
        except (OSError, LakehouseError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            return _cannot_be_read(error)
    file = DataFile(path, said["size"], msgspec.json.decode(statistics)["numRecords"], statistics, {})
    return "; ".join(_lies(said, added_files([(file, said["modified_at"])], stored).row(0, named=True)))


def _lies(said: dict[str, Any], holds: dict[str, Any]) -> Iterator[str]:
    """What the log says and the file does not hold. A bound need not be a value that occurs, but must bound."""
    for name, value in said.items():
        held, kind = holds.get(name), name.partition(".")[0]
        if value is None or held is None:
            continue
        is_a_count = kind in ("rows", "null_count") and held != value
        # other engines cut their bounds to milliseconds, as `pruning` knows
        is_above = held - value >= _CUT if isinstance(value, datetime) else held > value
        if is_a_count or (kind == "min" and held < value) or (kind == "max" and is_above):
            yield f"{name} is {held}, and {value} by the log"


def _cannot_be_read(error: BaseException) -> str:
    return f"cannot be read: {str(error).partition(chr(10))[0]}"


class _Log:
    """The log from the last checkpoint on: what lies before it is needed by nobody who reads this version."""

    def __init__(self, handle: Handle, there: Mapping[str, int]) -> None:
        self._handle, self._there = handle, there
        self.sums = dict[str, str]()
        """The checksums that it keeps, by path."""
        self._went, self._anew, self._twice = set[str](), dict[str, int](), dict[int, str]()
        self._checkpoints = Checkpoints(handle.address, there)

    def faults(self) -> dict[str, str]:
        listed = self._checkpoints.up_to(self._handle.version)
        pointed = summed_up(self._handle.address)
        faults = {_POINTER: "cannot be read"} if pointed < 0 and _POINTER in self._there else dict[str, str]()
        first = max(pointed, -1 if listed is None else listed)
        if first >= 0:
            sums = {part: fault for part, fault in self._checkpoint(first) if fault}
            faults |= sums or self._lie_of_checkpoint(first)
        for version in range(first + 1, self._handle.version + 1):
            if fault := self._commit(version):
                faults[log_name(version)] = fault
        stand = self._handle.files()["path"].to_list() if self._twice else []
        ended = {version for version in self._twice if all(self._anew.get(path, -1) > version for path in stand)}
        return faults | {log_name(version): why for version, why in self._twice.items() if version not in ended}

    def _follow(self, commit: Commit) -> None:
        """Whether it took files that were gone already, so that what they had become stands beside what it made."""
        if commit.restored is not None:
            self._twice = {version: why for version, why in self._twice.items() if version <= commit.restored}
        removed, added = ({unquote(each["path"]) for each in commit.of(kind)} for kind in ("remove", "add"))
        operation, engine = (commit.info.get(name, "unknown") for name in ("operation", "engineInfo"))
        if again := removed & self._went:
            self._twice[commit.version] = (
                f"({operation} by {engine}) replaces {number(len(removed), 'file')}, of which {len(again):,} were gone "
                "already: rows may stand twice since. Look at them, or put the table back to the version before: "
                f"lakehouse table restore {self._handle.address.key} --version {commit.version - 1}"
            )
        if operation in _OTHER_ROWS and MERGED not in commit.info and commit.changes_rows:
            self._anew |= dict.fromkeys(added, commit.version)
        self._went |= removed
        self._went -= added

    def _lie_of_checkpoint(self, version: int) -> dict[str, str]:
        """Where every commit lies there, they say which files stand; a damaged page may read as something else."""
        stands = dict[str, int]()
        try:
            for first in range(0, self._handle.version + 1, _COMMITS_AT_ONCE):
                last = min(first + _COMMITS_AT_ONCE - 1, self._handle.version)
                for commit in read_commits(self._handle.address, first, last):
                    if commit.version <= version:
                        self._follow(commit)
                    for gone in commit.of("remove"):
                        stands.pop(unquote(gone["path"]), None)
                    stands |= {unquote(add["path"]): add["size"] for add in commit.of("add")}
        except (FileNotFoundError, ValueError):
            self._went.clear()
            return {}  # cleaned up, or told beside it
        read = dict(self._handle.files().select("path", "size").iter_rows())
        if not (others := stands.items() ^ read.items()):
            return {}
        told = f"tells of other files than the log: {min(others)[0]} and {len(others) - 1:,} more"
        return {self._parts(version)[0]: told}

    def _commit(self, version: int) -> str:
        try:
            commit = read_commit(self._handle.address, version)
        except FileNotFoundError:
            return "is not there"
        except ValueError as error:
            return _cannot_be_read(error)
        for add in commit.of("add"):
            self._keep(add)
        self._follow(commit)
        return "" if commit.actions else "is empty, as a power cut leaves it"

    def _keep(self, add: Action) -> None:
        tags: dict[str, str] = dict(add.get("tags") or {})
        if sha256 := tags.get(SHA256):
            self.sums[unquote(add["path"])] = sha256

    def _checkpoint(self, version: int) -> Iterator[tuple[str, str]]:
        if not self._parts(version):
            yield f"{LOG}/{version:020d}.checkpoint.parquet", "is not there"
        for part in self._parts(version):
            try:
                for add in (add for rows in self._checkpoints.read(part) for add in of_kind(rows, "add")):
                    self._keep(add)
            except Damaged as error:
                yield part, _cannot_be_read(error)

    def _parts(self, version: int) -> list[str]:
        return [name for name in self._there if name.startswith(f"{LOG}/{version:020d}.checkpoint.")]
