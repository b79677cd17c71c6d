"""Where a bronze table's rows come from."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta

from lakehouse.engine.declare.errors import DeclarationError


@dataclass(frozen=True)
class JsonLines:
    """One JSON object a line; `.gz` and `.zip` are unpacked."""


@dataclass(frozen=True)
class Csv:
    """Records of separated fields; `.gz` and `.zip` are unpacked. Every field is text, an empty one null.

    With a `header` the columns are found by name, in any order; without one they stand in the order of the contract.
    `preamble` lines before the header are passed over, as are lines that begin with `comment`. A `quote` within quotes
    is doubled; None: quotes are letters like others.
    """

    delimiter: str = ","
    encoding: str = "utf-8"
    quote: str | None = '"'
    header: bool = True
    preamble: int = 0
    comment: str | None = None

    def __post_init__(self) -> None:
        for name, mark in (("delimiter", self.delimiter), ("quote", self.quote)):
            if mark is not None and (len(mark) != 1 or not mark.isascii() or mark in "\r\n"):
                raise DeclarationError(f"Csv({name}={mark!r}): it is one ASCII letter, and no line end.")
        if self.delimiter == self.quote:
            raise DeclarationError(f"Csv: {self.quote!r} is both delimiter and quote.")
        if self.preamble < 0:
            raise DeclarationError(f"Csv(preamble={self.preamble}): a number of lines is not below zero.")
        if self.comment == "":
            raise DeclarationError("Csv(comment=''): every line begins with that; say None for no comments.")
        try:
            codecs.lookup(self.encoding)
        except LookupError:
            raise DeclarationError(
                f"Csv(encoding={self.encoding!r}): Python knows no such encoding; say 'utf-8', 'cp1252', 'utf-16', …"
            ) from None

    def __str__(self) -> str:
        said = ((each.name, each.default, getattr(self, each.name)) for each in fields(self))
        return f"Csv({', '.join(f'{name}={value!r}' for name, default, value in said if value != default)})"

    @property
    def is_utf8(self) -> bool:
        return codecs.lookup(self.encoding).name == "utf-8"


type Format = JsonLines | Csv


@dataclass(frozen=True)
class Files:
    """Files below the landing, by a glob of their names. The same content is taken once, whatever it is called.

    Where a source has had several formats, the first is taken that a file's header fits. A file is taken after its size
    and time stood still for `settle`.
    """

    pattern: str
    formats: Format | Sequence[Format]
    settle: timedelta = timedelta(seconds=2)

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
        return (self.formats,) if isinstance(self.formats, JsonLines | Csv) else tuple(self.formats)

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
