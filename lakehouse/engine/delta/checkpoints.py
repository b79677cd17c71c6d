"""Checkpoints of a table's log: which of them are whole, and what they sum up of the log before them.

One is a file, of Parquet or of JSON, or some parts. What it holds of data files may lie beside it, in its sidecars.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import unquote

import msgspec
import polars as pl
from polars import selectors as cs

from lakehouse.engine.declare.errors import Terminal
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta import store
from lakehouse.engine.delta.place import LOG, for_polars, full

_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_NAME = re.compile(rf"^{LOG}/(\d{{20}})\.checkpoint(?:(?:\.\d{{10}}\.(\d{{10}})|\.{_UUID})?\.parquet|\.{_UUID}\.json)$")
_SIDECAR, _IN_SIDECARS = "sidecar", ("add", "remove")


class Damaged(Terminal):
    """A file of one, or a sidecar that it names, is not there or not as it was written."""


class Checkpoints:
    """Those whose parts are among `names`, files below the table's folder; by default all that lie there."""

    def __init__(self, address: Address, names: Iterable[str] | None = None) -> None:
        self._address = address
        self._files = dict[int, dict[str, list[str]]]()
        for name in sorted(store.sizes(address, LOG) if names is None else names, reverse=True):
            if found := _NAME.match(name):  # of those that are in parts each part says how many they are
                self._files.setdefault(int(found[1]), {}).setdefault(found[2] or name, []).append(name)

    def __iter__(self) -> Iterator[int]:
        """The versions that one stands for, whole, in order."""
        return iter(sorted(version for version in self._files if self._whole(version)))

    def _whole(self, version: int) -> list[list[str]]:
        """The files of each of a version of which no part is missing; deltalake takes the first of them."""
        of = self._files.get(version, {}).items()
        return [files for parts, files in of if not parts.isdigit() or int(parts) == len(files)]

    def parts(self, version: int) -> list[str]:
        """The files of all that are whole; none where none is, or there is none."""
        return [name for files in self._whole(version) for name in files]

    def can_be_read(self, version: int) -> bool:
        """Whether one is whole, and a table can be opened from it. Raises as `store.read` where its store is silent."""
        whole = self._whole(version)
        return bool(whole) and all(map(self._opens, whole))

    def _opens(self, files: Sequence[str]) -> bool:
        held, needed = set[str](), {"protocol", "metaData"}
        try:
            for rows in (rows for name in files for rows in self.read(name)):
                held |= {kind for kind in needed if of_kind(rows, kind)}
        except Damaged:
            return False
        return held == needed

    def broken(self) -> list[str]:
        """The files of those that are not whole, or cannot be read. Raises as `can_be_read`."""
        every = [(version, files) for version, of in self._files.items() for files in of.values()]
        lost = (files for version, files in every if files not in self._whole(version) or not self._opens(files))
        return [name for files in lost for name in files]

    def read(self, part: str) -> Iterator[pl.DataFrame]:
        """All that a file of one holds, then each of its sidecars. Raises Damaged; as `store.read` in all else."""
        yield (rows := self._read(part))
        yield from map(self._read, _sidecars(rows))

    def _read(self, name: str) -> pl.DataFrame:
        try:
            with store.at_hand(self._address, name) as here:  # raises: who does not answer says nothing of the file
                try:
                    return _frame(here, name)
                except (OSError, ValueError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
                    raise Damaged(str(error)) from error
        except FileNotFoundError as gone:
            raise Damaged(str(gone)) from gone

    def up_to(self, version: int) -> int | None:
        """The newest one up to this version; None where the log is read from its beginning."""
        return max((each for each in self if each <= version), default=None)

    def actions(self, version: int, kind: str) -> list[dict[str, Any]]:
        """What one holds of a kind, as the log would have it.

        Raises FileNotFoundError where a file of it is gone, PolarsError or ValueError where it cannot be read.
        """
        whole = self._whole(version)
        for files in whole[:-1]:
            with suppress(FileNotFoundError):  # of a sidecar: another one of this version tells the same
                return self._told(files, kind)
        return self._told(whole[-1], kind) if whole else []

    def _told(self, files: Sequence[str], kind: str) -> list[dict[str, Any]]:
        of_one = partial(_frame, self._address, kinds=[kind, _SIDECAR])
        frames = store.each_of(self._address, files, of_one)
        sidecars = [name for rows in frames for name in _sidecars(rows)] if kind in _IN_SIDECARS else []
        frames += store.each_of(self._address, sidecars, of_one)
        return [body for rows in frames for body in of_kind(rows, kind)]


def of_kind(rows: pl.DataFrame, kind: str) -> list[dict[str, Any]]:
    """The bodies of the actions of one kind."""
    return rows[kind].drop_nulls().to_list() if kind in rows.columns else []


def _sidecars(rows: pl.DataFrame) -> list[str]:
    """Those that it names, which always lie in their one folder."""
    return [f"{LOG}/_sidecars/{unquote(said['path']).rpartition('/')[2]}" for said in of_kind(rows, _SIDECAR)]


def _frame(address: Address, name: str, kinds: Sequence[str] = ()) -> pl.DataFrame:
    """A file, with a column for each kind of action; of these kinds alone where they are said."""
    if name.endswith(".json"):
        actions = [msgspec.json.decode(line) for line in store.read(address, [name])[0].splitlines() if line]
        found = kinds or {kind for action in actions for kind in action}
        # as they are: the fields of a map are no columns
        return pl.DataFrame([pl.Series(kind, [each.get(kind) for each in actions], pl.Object) for kind in found])
    file = pl.scan_parquet(full(address, [name])[0], glob=False, **for_polars(address))
    return file.select(cs.by_name(kinds, require_all=False) if kinds else cs.all()).collect()
