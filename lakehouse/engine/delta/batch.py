"""What comes to a merge: rows in memory, or in a local file of their own where a merge may not hold them."""

from __future__ import annotations

import os
import shutil
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import gettempdir, mkdtemp
from typing import NamedTuple

import polars as pl
from pyroaring import BitMap

from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta.hashed import row_hash
from lakehouse.engine.delta.store import end_of

# They hold a space, so that no column of a table can have these names (check_storable).
NO, NEWEST = "number of the row", "newest by"
_IN_USE = "lakehouse-rows-"
_ROWS_PER_GROUP = 50_000
_SAMPLE = 100_000


class Spilled:
    """Rows in a local file of their own, in their order; it is there as long as this is. A lazy frame is streamed."""

    def __init__(self, rows: pl.DataFrame | pl.LazyFrame) -> None:
        folder, lock = _own_folder()
        weakref.finalize(self, _remove, folder, lock)
        self._file = folder / "rows.parquet"
        rows.lazy().sink_parquet(self._file, compression="lz4", row_group_size=_ROWS_PER_GROUP)

    def lazy(self) -> pl.LazyFrame:
        return pl.scan_parquet(self._file, glob=False)

    def last(self, most: int) -> bytes:
        """So many bytes from its end."""
        return end_of(Address(str(self._file.parent)), self._file.name, self._file.stat().st_size, most)

    @cached_property
    def height(self) -> int:
        return int(self.lazy().select(pl.len()).collect().item())


class Keys(NamedTuple):
    """Keys, and groups, of which no standing row stays. `wrong`: how many hold a null, or are there more than once."""

    goes: Sequence[pl.DataFrame]
    wrong: Counter[str]


@dataclass(frozen=True)
class Batch:
    """Rows that come, with the `key` by which standing ones go; `replaces`: by whose group they do instead.

    deleted: keys beside theirs of which no standing row stays. newest_by: a column in which a row that comes may not
    be less than the one that stands; else it is left out. budget: what may be taken of memory.
    """

    rows: pl.DataFrame | Spilled
    key: Sequence[str]
    replaces: Sequence[str]
    deleted: pl.DataFrame | None
    newest_by: str | None
    budget: int

    @property
    def count(self) -> int:
        """Of the rows and the keys that are deleted."""
        return self.rows.height + (0 if self.deleted is None else self.deleted.height)

    @cached_property
    def key_size(self) -> int:
        """Of all that is looked up."""
        deleted = 0 if self.deleted is None else int(self.deleted.select(self.key).estimated_size())
        return _size(self._keys, self.rows) + deleted

    @property
    def sought_by(self) -> list[str]:
        return list(dict.fromkeys([*self.key, *self.replaces]))

    def slices(self, count: int) -> Iterator[Keys]:
        """What standing rows go by, in so many parts; all that share a key are in one."""
        keys = self._keys
        if self.deleted is not None:
            keys = pl.concat([keys, self.deleted.lazy().select(self.key)], how="diagonal")
        own = row_hash(self.key) % count
        for number in range(count):
            some = keys.filter(own == number).collect(engine="streaming") if count > 1 else keys.collect()
            goes = [some.select(self.replaces)] if self.replaces else [some]
            if self.replaces and not set(self.replaces) <= set(self.key):
                goes.append(some.select(self.key))  # a row that comes over from another group must not stay there
            yield Keys(goes, self._wrong(some))

    def written(self, older: BitMap, start: int, count: int) -> pl.DataFrame | pl.LazyFrame:
        """So many of the rows, without the older ones."""
        rows = self.rows if isinstance(self.rows, pl.DataFrame) else self.rows.lazy()
        rows, older = rows.slice(start, count), older & BitMap(range(start, start + count))
        if not older:
            return rows
        stays = ~pl.col(NO).is_in(pl.Series(older.to_array(), dtype=pl.UInt32).implode())
        return rows.with_row_index(NO, offset=start).filter(stays).drop(NO)

    def _wrong(self, keys: pl.DataFrame) -> Counter[str]:
        without = keys.select(pl.any_horizontal(pl.col(self.sought_by).is_null()).sum()).item()
        is_once = keys.select(row_hash(self.key).n_unique()).item() == keys.height  # in a third of the time
        doubled = 0 if is_once else keys.select(pl.struct(self.key).is_duplicated().sum()).item()
        return Counter(without=without, doubled=doubled)

    @property
    def _keys(self) -> pl.LazyFrame:
        newest = [] if self.newest_by is None else [NO, pl.col(self.newest_by).alias(NEWEST)]
        rows = self.rows.lazy() if self.newest_by is None else self.rows.lazy().with_row_index(NO)
        return rows.select(*self.sought_by, *newest)


def _own_folder() -> tuple[Path, int | None]:
    """A temporary folder, and its lock, which ends with this process. What others left that were killed goes first.

    Where the disk knows no locks (NFS has none of folders) it has none, and what a killed process left there stays.
    """
    for left in Path(gettempdir()).glob(f"{_IN_USE}*"):
        with suppress(OSError):  # it is in use, another's, or gone
            _remove(left, _locked(left))
    folder = Path(mkdtemp(prefix="lakehouse-"))
    try:
        lock = _locked(folder)
    except OSError:
        return folder, None
    return folder.rename(folder.with_name(folder.name.replace("lakehouse-", _IN_USE, 1))), lock


def _locked(folder: Path) -> int:
    import fcntl

    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock


def _remove(folder: Path, lock: int | None) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if lock is not None:
        os.close(lock)


def _size(rows: pl.LazyFrame, all_of: pl.DataFrame | Spilled) -> int:
    if isinstance(all_of, pl.DataFrame):
        return int(rows.collect().estimated_size())
    first = rows.head(_SAMPLE).collect()
    return int(first.estimated_size() / (first.height or 1) * all_of.height)
