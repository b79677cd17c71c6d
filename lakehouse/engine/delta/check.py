"""Whether a table is whole: its files lie there as they were written, and hold what its log says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
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
from lakehouse.engine.delta.checkpoints import Checkpoints
from lakehouse.engine.delta.commit import SHA256
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.log import Action, read_commit, read_commits, summed_up
from lakehouse.engine.delta.place import LOG, POINTER, full, log_name, sha256_of_file, tables_within
from lakehouse.engine.delta.statistics import DataFile, added_files, measure
from lakehouse.engine.delta.vectors import Vector, read_vectors

FILES_AT_ONCE = 4
_POINTER = f"{LOG}/{POINTER}"
_COMMITS_AT_ONCE = 64


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
    except (DeltaError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
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


def altered(handle: Handle, paths: Iterable[str]) -> dict[str, str]:
    """Which of these files of this version are not the bytes that were written, and what is wrong with each.

    One without a checksum is known by its size alone. Raises as `check` does.
    """
    there, found = store.sizes(handle.address), dict[str, str]()
    for path in paths:
        add = handle.standing.adds[path]
        tags: Mapping[str, str] = add.get("tags") or {}
        if not (fault := _fault_of_size(there.get(path), add["size"])):
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
        if is_a_count or (kind == "min" and held < value) or (kind == "max" and held > value):
            yield f"{name} is {held}, and {value} by the log"


def _cannot_be_read(error: BaseException) -> str:
    return f"cannot be read: {str(error).partition(chr(10))[0]}"


class _Log:
    """The log from the last checkpoint on: what lies before it is needed by nobody who reads this version."""

    def __init__(self, handle: Handle, there: Mapping[str, int]) -> None:
        self._handle, self._there = handle, there
        self.sums = dict[str, str]()
        """The checksums that it keeps, by path."""

    def faults(self) -> dict[str, str]:
        listed = Checkpoints(self._handle.address, self._there).up_to(self._handle.version)
        pointed = summed_up(self._handle.address)
        faults = {_POINTER: "cannot be read"} if pointed < 0 and _POINTER in self._there else dict[str, str]()
        first = max(pointed, -1 if listed is None else listed)
        if first >= 0:
            sums = {part: fault for part, fault in self._checkpoint(first) if fault}
            faults |= sums or self._lie_of_checkpoint(first)
        for version in range(first + 1, self._handle.version + 1):
            if fault := self._commit(version):
                faults[log_name(version)] = fault
        return faults

    def _lie_of_checkpoint(self, version: int) -> dict[str, str]:
        """Where every commit lies there, they say which files stand; a damaged page may read as something else."""
        stands = dict[str, int]()
        try:
            for first in range(0, self._handle.version + 1, _COMMITS_AT_ONCE):
                last = min(first + _COMMITS_AT_ONCE - 1, self._handle.version)
                for commit in read_commits(self._handle.address, first, last):
                    for gone in commit.of("remove"):
                        stands.pop(unquote(gone["path"]), None)
                    stands |= {unquote(add["path"]): add["size"] for add in commit.of("add")}
        except (FileNotFoundError, ValueError):
            return {}  # cleaned up, or told beside it
        read = dict(self._handle.files().select("path", "size").iter_rows())
        if not (others := stands.items() ^ read.items()):
            return {}
        name = f"{LOG}/{version:020d}.checkpoint.parquet"
        return {name: f"tells of other files than the log: {min(others)[0]} and {len(others) - 1:,} more"}

    def _commit(self, version: int) -> str:
        try:
            commit = read_commit(self._handle.address, version)
        except FileNotFoundError:
            return "is not there"
        except ValueError as error:
            return _cannot_be_read(error)
        for add in commit.of("add"):
            self._keep(add)
        return "" if commit.actions else "is empty, as a power cut leaves it"

    def _keep(self, add: Action) -> None:
        tags: dict[str, str] = dict(add.get("tags") or {})
        if sha256 := tags.get(SHA256):
            self.sums[unquote(add["path"])] = sha256

    def _checkpoint(self, version: int) -> Iterator[tuple[str, str]]:
        begin = f"{LOG}/{version:020d}.checkpoint."
        parts = [name for name in self._there if name.startswith(begin)]
        if not parts:
            yield f"{begin}parquet", "is not there"
        address = self._handle.address
        for part in parts:
            with store.at_hand(address, part) as here:
                try:
                    adds = pl.read_parquet(full(here, [part])[0], glob=False)["add"]
                except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
                    yield part, _cannot_be_read(error)
                    continue
            for add in adds.drop_nulls():
                self._keep(add)
