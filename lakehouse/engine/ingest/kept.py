"""What a bronze table keeps of a file: every record, as it was written. So a file that is gone can be read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.table import STORED_BESIDE
from lakehouse.engine.delta import quarantine
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.ingest.json_lines import json_line

type _Files = Mapping[tuple[object, ...], pl.DataFrame]


@dataclass(frozen=True)
class Kept:
    """The records of a bronze table at one version, and those in its quarantine, by file; read when first asked for."""

    table: Handle
    aside: Address

    def content(self, name: str, batch: int, records: int) -> bytes | None:
        """A file that reads as the one of this batch did, each record on its line; None where some are missing."""
        lines: dict[int, bytes] = {}
        if (rows := self._accepted.get((name, batch))) is not None:
            stored = rows.drop(STORED_BESIDE).iter_rows(named=True)
            for number, fields, extra in zip(rows["source_row"], stored, rows["extra"], strict=True):
                lines[number] = json_line(fields, extra).encode()
        if (rows := self._rejected.get((name, batch))) is not None:
            lines.update((number, raw.encode()) for number, raw in rows.select("source_row", "row").iter_rows())
        if len(lines) != records:
            return None
        return b"\n".join(lines.get(number, b"") for number in range(1, max(lines, default=0) + 1))

    @cached_property
    def _accepted(self) -> _Files:
        return _by_file(self.table.scan())

    @cached_property
    def _rejected(self) -> _Files:
        return _by_file(quarantine.read(self.table, self.aside).filter(pl.col("source_row").is_not_null()))


def _by_file(rows: pl.LazyFrame) -> _Files:
    return rows.collect().partition_by("source_file", "batch", as_dict=True, maintain_order=True)
