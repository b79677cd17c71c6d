"""Checkpoints of a table's log: which of them are whole, and what they sum up of the log before them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import polars as pl

from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta import store
from lakehouse.engine.delta.place import LOG, for_polars, full

_NAME = re.compile(rf"^{LOG}/(\d{{20}})\.checkpoint(\.\d{{10}}\.\d{{10}})?\.parquet$")


class Checkpoints:
    """Those whose parts are among `names`, files below the table's folder; by default all that lie there."""

    def __init__(self, address: Address, names: Iterable[str] | None = None) -> None:
        self._address = address
        self._parts = dict[int, list[str]]()
        for name in store.sizes(address) if names is None else names:
            if found := _NAME.match(name):
                self._parts.setdefault(int(found[1]), []).append(name)

    def __iter__(self) -> Iterator[int]:
        """The versions that one stands for, whole, in order."""
        return iter(sorted(version for version in self._parts if self.parts(version)))

    def parts(self, version: int) -> list[str]:
        """The files of one that is whole; none where it is not, or there is none."""
        parts = sorted(self._parts.get(version, []))
        one = [name for name in parts if name.endswith(".checkpoint.parquet")]
        return one or (parts if parts and int(parts[0].split(".")[3]) == len(parts) else [])

    def can_be_read(self, version: int) -> bool:
        """Whether one is whole, and a table can be opened from it. Raises as `store.read` where its store is silent."""
        held, needed = set[str](), {"protocol", "metaData"}
        for part in self.parts(version):
            with store.at_hand(self._address, part) as here:  # raises: who does not answer says nothing of the file
                try:
                    rows = pl.read_parquet(full(here, [part])[0], glob=False)
                except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
                    return False
                held |= {name for name in needed & {*rows.columns} if rows[name].drop_nulls().len()}
        return held == needed

    def broken(self) -> list[str]:
        """The files of those that are not whole, or cannot be read. Raises as `can_be_read`."""
        every = self._parts.items()
        return [name for version, parts in every if not self.can_be_read(version) for name in parts]

    def up_to(self, version: int) -> int | None:
        """The newest one up to this version; None where the log is read from its beginning."""
        return max((each for each in self if each <= version), default=None)

    def actions(self, version: int, kind: str) -> Iterator[dict[str, Any]]:
        """What one holds of a kind, as the log would have it. Raises PolarsError where it cannot be read."""
        for part in self.parts(version):
            file = pl.scan_parquet(full(self._address, [part])[0], glob=False, **for_polars(self._address))
            yield from file.select(kind).collect().to_series().drop_nulls()
