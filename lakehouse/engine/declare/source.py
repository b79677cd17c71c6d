"""Where a bronze table's rows come from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from lakehouse.engine.declare.errors import DeclarationError


@dataclass(frozen=True)
class JsonLines:
    """One JSON object a line; `.gz` is unpacked."""


@dataclass(frozen=True)
class Files:
    """Files below the landing, by a glob of their names. The same content is taken once, whatever it is called.

    A file is taken after its size and time stood still for `settle`.
    """

    pattern: str
    formats: JsonLines
    settle: timedelta = timedelta(seconds=2)

    def __post_init__(self) -> None:
        if not self.pattern or self.pattern.startswith(("/", ".")) or "\\" in self.pattern or "**" in self.pattern:
            raise DeclarationError(
                f"Files({self.pattern!r}): a pattern is relative to the landing, with '/', and '*' stays within a "
                "folder, as in 'erp/orders/dt=*/orders.jsonl.gz'."
            )
        if self.settle < timedelta(0):
            raise DeclarationError(f"Files({self.pattern!r}): settle={self.settle} is below zero.")
