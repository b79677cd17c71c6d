"""What a bronze table keeps of a file, record by record: a file that is gone can be read again from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta import quarantine
from lakehouse.engine.delta.check import altered
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.ingest.json_lines import json_line

type _Files = Mapping[tuple[object, ...], pl.DataFrame]


@dataclass(frozen=True)
class Kept:
    """A bronze table at one version, and its quarantine, by file; read when first asked for, and held in memory.

    Only of what lies there as it was written. `beside` are the columns that no file holds.
    """

    table: Handle
    aside: Address
    beside: Collection[str]

    def file(self, name: str, batch: int, records: int) -> tuple[bytes, pl.DataFrame] | None:
        """The accepted records of a file, each on its line, and its rejected ones as they were set aside.

        A line reads as the one that was sent, but is not written like it: `json_line`. None where records are missing.
        """
        accepted = self._accepted.get((name, batch), self.table.schema.to_frame())
        rejected = self._rejected.get((name, batch), quarantine.ROWS.to_frame())
        if accepted.height + rejected.height != records:
            return None
        stored = accepted.drop(self.beside).iter_rows(named=True)
        lines = {
            number: json_line(fields, extra)
            for number, fields, extra in zip(accepted["source_row"], stored, accepted["extra"], strict=True)
        }
        text = "\n".join(lines.get(number, "") for number in range(1, max(lines, default=0) + 1))
        return text.encode(), rejected

    @property
    def damaged(self) -> list[str]:
        """The files of table and quarantine that nothing is read from, each with what is wrong with it."""
        both = ((self.table.address, self._altered), (self.aside, self._altered_aside))
        return [f"{address}: {path} {fault}" for address, found in both for path, fault in found.items()]

    @cached_property
    def _altered(self) -> Mapping[str, str]:
        return altered(self.table, self.table.files()["path"])

    @cached_property
    def _altered_aside(self) -> Mapping[str, str]:
        return quarantine.damaged(self.table, self.aside)

    @cached_property
    def _accepted(self) -> _Files:
        whole = [path for path in self.table.files()["path"] if path not in self._altered]
        return _by_file(self.table.scan_paths(whole))

    @cached_property
    def _rejected(self) -> _Files:
        rows = quarantine.read(self.table, self.aside, without=self._altered_aside)
        lines = rows.filter(pl.col("source_row").is_not_null())
        return _by_file(lines.select(quarantine.ROWS.names()))


def _by_file(rows: pl.LazyFrame) -> _Files:
    return rows.collect().partition_by("source_file", "batch", as_dict=True, maintain_order=True)
