"""Where a bronze table's rows come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from lakehouse.engine.declare.errors import DeclarationError
from lakehouse.engine.declare.formats import Format, Limits


@dataclass(frozen=True)
class Files:
    """Files below a connection, by a glob of their names. The same content is taken once, whatever it is called.

    Where a source has had several formats, the first is taken that a file's header fits. A file is taken after its size
    and time stood still for `settle`. One that is over the `limits` is set aside whole.
    """

    pattern: str
    formats: Format | Sequence[Format]
    settle: timedelta = timedelta(seconds=2)
    limits: Limits = field(default_factory=Limits)
    connection: str = "landing"

    def __post_init__(self) -> None:
        if not self.pattern or self.pattern.startswith(("/", ".")) or "\\" in self.pattern or "**" in self.pattern:
            raise DeclarationError(
                f"{self._said}: a pattern is relative to the landing, with '/', and '*' stays within a "
                "folder, as in 'erp/orders/dt=*/orders.jsonl.gz'."
            )
        if self.settle < timedelta(0):
            raise DeclarationError(f"{self._said}: settle={self.settle} is below zero.")
        if not self.dialects:
            raise DeclarationError(f"{self._said}: formats=[] reads no file; name at least one.")

    @property
    def dialects(self) -> tuple[Format, ...]:
        """The formats in the order in which they are tried."""
        return (self.formats,) if isinstance(self.formats, Format) else tuple(self.formats)

    @property
    def _said(self) -> str:
        return f"{type(self).__name__}({self.pattern!r})"


@dataclass(frozen=True)
class Snapshots(Files):
    """Files of which each is the whole as it stood at a time, so that equal content at another time says something new.

    `valid_at` is the column that holds the time. It is taken from the file's name: with `valid_at="dt"`, all rows of
    'erp/customers/dt=2010-12-04/customers.csv' have the text '2010-12-04' in their column `dt`.
    """

    valid_at: str = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        named = [part for part in self.pattern.split("/") if part.startswith(f"{self.valid_at}=")]
        if len(named) != 1:
            raise DeclarationError(
                f"{self._said}: valid_at={self.valid_at!r} is taken from the file's name, and {len(named)} parts of "
                f"the pattern begin with '{self.valid_at}='; write one, as in 'erp/customers/dt=*/customers.csv'."
            )

    def time_of(self, name: str) -> str:
        """The text after `<valid_at>=` in the name of a file of this source."""
        place = next(
            place for place, part in enumerate(self.pattern.split("/")) if part.startswith(f"{self.valid_at}=")
        )
        return name.split("/")[place].partition("=")[2]
