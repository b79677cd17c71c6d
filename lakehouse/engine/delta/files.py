"""Data files: written once by Polars, measured from what lies there, and nothing to anyone until they are committed."""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import polars as pl
from polars.io.partition import FileProviderArgs, SinkedPath, SinkedPathsCallbackArgs

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.number import number
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta import store
from lakehouse.engine.delta.commit import SHA256
from lakehouse.engine.delta.fitting import fitted
from lakehouse.engine.delta.footers import told
from lakehouse.engine.delta.foreign import check_writable
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.place import NO_VALUE, full, make_durable, root, sha256_of_file
from lakehouse.engine.delta.refused import Unreachable, Unreadable, raise_where_refused
from lakehouse.engine.delta.scan import in_commit_order, scan_files
from lakehouse.engine.delta.sent import Sent
from lakehouse.engine.delta.statistics import DataFile, flat_columns, measure

ROWS_PER_FILE = 1_000_000
_OF_THE_STORE = ("os error", "transport error", "underlying IO error")
"""What Polars' Parquet writer says of a full disk, in the rows of a file and in its footer, and of bytes that could not
be sent: a ComputeError to it."""
_LONGEST_NAME = 255  # of a folder on a disk, in bytes; quoted, a byte that is no ASCII letter or digit is three


def write_files(
    handle: Handle,
    rows: pl.DataFrame | pl.LazyFrame,
    *,
    rows_per_file: int = ROWS_PER_FILE,
    unmeasured: Collection[str] = (),
    after: int = 0,
    named: str = "",
    spread: str | None = None,
) -> list[DataFile]:
    """The rows as new Parquet files beside the table's, in their order; the table does not show them yet.

    A lazy frame is run once, streaming. On a local disk the files are durable when this returns. No rows, no files.
    unmeasured: columns that leave no values in the log, beside those of the handle.
    after: how many files of the same commit hold the rows before these.
    named: what the file's name begins with, where its rows have their place in the table already: one file, at most.
    spread: a column of whole numbers that is not stored: rows that share one are a file, in their order. Its name is in
    the files' names.
    """
    handle.address.refuse_a_write()
    check_writable(handle)
    beside = {spread: rows.lazy().collect_schema()[spread]} if spread else {}
    rows = fitted(rows, pl.Schema({**handle.schema, **beside}), str(handle.address))
    frame = rows.lazy()
    names = _Names(handle, after, named, spread)
    sent = dict[str, Sent]()

    def send(file: FileProviderArgs) -> Any:
        path = names(file)
        return sent.setdefault(path, Sent(handle.address, path))

    keys = [*handle.partition_by, *([spread] if spread else [])]
    written: list[SinkedPathsCallbackArgs] = []
    try:
        frame.sink_parquet(
            pl.PartitionBy(
                root(handle.address),
                key=keys or None,
                include_key=False if keys else None,
                file_path_provider=names if handle.address.is_local else send,
                max_rows_per_file=rows_per_file,
                approximate_bytes_per_file=None,
            ),
            compression="zstd",
            compression_level=1,
            sync_on_close="all" if handle.address.is_local else None,
            mkdir=handle.address.is_local,
            sinked_paths_callback=written.append if handle.address.is_local else None,
        )
    except (OSError, pl.exceptions.ComputeError) as error:
        if isinstance(error, pl.exceptions.ComputeError) and not any(sign in str(error) for sign in _OF_THE_STORE):
            raise
        names.refuse_unfit()
        raise_where_refused(handle.address, error)
        raise Unreachable(f"{handle.address}: data files could not be written: {error}. Nothing changed.") from error
    names.refuse_unfit()
    lie = {names.relative(each.path): each for args in written for each in args.paths}
    there = {path: _sent(each) for path, each in sent.items()}
    there |= {path: _lying(handle.address, path, each) for path, each in lie.items()}
    # Polars writes a file for no rows as well, which nobody would ever clean up before the next vacuum
    store.remove(handle.address, [path for path, each in there.items() if not each.rows])
    there = {path: each for path, each in there.items() if each.rows}
    if handle.address.is_local:
        make_durable(full(handle.address, there), root(handle.address))
    order = in_commit_order(list(there))
    left_out = {*handle.partition_by, *unmeasured, *handle.unmeasured}
    measured = pl.Schema({name: dtype for name, dtype in handle.schema.items() if name not in left_out})
    with ThreadPoolExecutor() as beside:
        sums = [beside.submit(there[path].sha256) for path in order]
        statistics = _statistics(handle, rows, {path: there[path] for path in order}, measured)
        return [
            DataFile(path, there[path].size, there[path].rows, text, names.partition_of(path), sha256.result())
            for path, text, sha256 in zip(order, statistics, sums, strict=True)
        ]


@contextmanager
def as_written(handle: Handle, paths: Sequence[str]) -> Generator[None]:
    """While these files are written anew: raises Unreadable where one, on a local disk, is not as it was written.

    The new file's checksum would hide that for good. A storage account looks after what lies there itself.
    """
    if not (handle.address.is_local and paths):
        yield
        return
    with ThreadPoolExecutor(1) as beside:
        faults = beside.submit(_altered, handle, paths)
        try:
            yield
        finally:  # also where it could not be read
            if altered := faults.result():
                raise Unreadable(
                    f"{handle.address}: {altered[0]} is not as it was written (its checksum is another), so it is not "
                    f"written anew: its {number(handle.rows_of(altered[:1]), 'row')} may be other ones. Nothing was "
                    f"committed; version {handle.version} stands. What mends it: lakehouse table check "
                    f"{handle.address.key}"
                )


def _altered(handle: Handle, paths: Sequence[str]) -> list[str]:
    tags: dict[str, Mapping[str, str]] = {path: handle.standing.adds[path].get("tags") or {} for path in paths}
    sums = {path: tags[path].get(SHA256) for path in paths}
    files = zip(paths, full(handle.address, paths), strict=True)
    return [path for path, file in files if sums[path] and Path(file).exists() and sha256_of_file(file) != sums[path]]


class _There(NamedTuple):
    """A file as it lies there. `last` gives that many bytes from its end."""

    rows: int
    size: int
    last: Callable[[int], bytes]
    sha256: Callable[[], str]


def _lying(address: Address, path: str, file: SinkedPath) -> _There:
    """On a local disk, and just written, so that it is in memory still."""
    last = partial(store.end_of, address, path, file.num_bytes)
    return _There(file.num_rows, file.num_bytes, last, partial(sha256_of_file, file.path))


def _sent(file: Sent) -> _There:
    return _There(told(file.last, pl.Schema()).counts["rows"], file.size, file.last, file.sha256)


class _Names:
    """File names that sort in commit order: the version they are meant for, their place in it, a random part."""

    def __init__(self, handle: Handle, after: int, named: str, spread: str | None) -> None:
        self._handle, self._after, self._named, self._spread = handle, after, named, spread
        self._write = secrets.token_hex(8)
        self._unfit: str | None = None

    def __call__(self, file: FileProviderArgs) -> str:
        # Called from several threads, in any order: only folder and index tell the place of the file's rows.
        before = int(file.partition_keys[self._spread].item()) if self._spread else self._after
        folders = [self._folder(file.partition_keys, key) for key in self._handle.partition_by]
        apart = blake2b("/".join(folders).encode(), digest_size=6).hexdigest()  # names differ also between folders
        place = f"{before:06d}-{file.index_in_partition:06d}-{apart}"
        name = f"{self._handle.version + 1:020d}-{place}-{self._write}"
        if self._spread:
            name += f"-{self._spread.strip()}"
        name = f"{self._named}.{self._write}.parquet" if self._named else f"{name}.parquet"
        return "/".join([*folders, name])

    def _folder(self, keys: pl.DataFrame, column: str) -> str:
        value = keys[column].cast(pl.String).item()
        folder = f"{quote(column, safe='')}={NO_VALUE if value is None else quote(value, safe='')}"
        if value in ("", NO_VALUE):
            self._unfit = f"{column} = {value!r}: Delta reads it back as null"
        elif isinstance(keys.schema[column], pl.Date) and keys[column].dt.year().is_between(1, 9999).item() is False:
            self._unfit = f"{column} = {value}: T-SQL and Python know days of the years 1 to 9999 only"
        elif value and len(folder) > _LONGEST_NAME:
            its = f"its {len(value)} characters take {len(folder)} bytes as a folder"
            self._unfit = f"{column} = {value[:20]}…: {its}, which may have {_LONGEST_NAME} in its name"
        return folder

    def refuse_unfit(self) -> None:
        if self._unfit is not None:
            raise Refused(
                f"{self._handle.address} is partitioned and cannot hold {self._unfit}. Nothing was committed. Give "
                "such rows another value, or partition by another column."
            )

    def relative(self, path: str) -> str:
        depth = len(self._handle.partition_by) + 1
        return "/".join(path.replace(os.sep, "/").split("/")[-depth:])

    def partition_of(self, path: str) -> dict[str, str | None]:
        folders = path.split("/")[:-1]
        values = (folder.split("=", 1)[1] for folder in folders)
        return {
            column: None if value == NO_VALUE else unquote(value)
            for column, value in zip(self._handle.partition_by, values, strict=True)
        }


def _statistics(
    handle: Handle, rows: pl.DataFrame | pl.LazyFrame, written: Mapping[str, _There], measured: pl.Schema
) -> list[str]:
    """Of each file, as its footer tells it. Rows not written are an error."""
    held = [scan_files(handle.address, [path], measured, ()) for path in written]
    if isinstance(rows, pl.DataFrame) and not handle.partition_by:
        counts = [each.rows for each in written.values()]
        if (there := sum(counts)) != rows.height:
            raise Unreachable(f"{handle.address}: {there:,} of {rows.height:,} rows were written. Nothing changed.")
        starts = itertools.accumulate(counts, initial=0)
        held = [rows.slice(start, count).lazy() for start, count in zip(starts, counts, strict=False)]
    flat = flat_columns(measured)
    return measure(held, measured, [told(each.last, flat) for each in written.values()])
