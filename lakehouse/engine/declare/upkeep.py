"""How a table is kept: what an operator says of a layer, or of one table, in an environment file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

MOST_HOURS = 876_000
"""A hundred years: more than that no calendar goes back."""


@dataclass(frozen=True)
class Policy:
    """`retention_hours`: for so long every version can be read and restored, and nothing of it is taken away.

    `target_mb` (MiB) is what a file should have; files are joined where a share of `small_ratio` of a partition's files
    has less than half of it.
    """

    retention_hours: int = 720
    target_mb: int = 128
    small_ratio: float = 0.25


@runtime_checkable
class Policies(Protocol):
    """What an environment says of its tables."""

    def policy(self, table: str) -> Policy | None:
        """By the table's key; None where its layer is not kept here."""
        ...
