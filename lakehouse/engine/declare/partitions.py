"""What the engine asks of a table's partitions. Who runs the tables (Dagster) knows them; see `orchestrate`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import polars as pl

PARTITION = "partition key"
"""The column of a key. Holds a space, so that no column of a table can have this name."""


class Partitions(Protocol):
    """The partitions of one table, by key, and which slices they are."""

    def faults(self, columns: Sequence[str], schema: pl.Schema) -> Iterator[str]:
        """Why a table that replaces slices by `columns` cannot have these partitions, in words."""
        ...

    def keys(self) -> list[str]:
        """All that there are by now, in order."""
        ...

    def slices(self, keys: Sequence[str], columns: Sequence[str], schema: pl.Schema) -> pl.DataFrame:
        """The slices of each key: PARTITION, then the values as `Slices` has them. Refused where there are none."""
        ...
