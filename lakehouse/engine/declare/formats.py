"""The formats of files, and the limits that hold before one is read. Values; no I/O.

Every format may lie plain, or packed as `.gz`, `.zip` (of one file) or `.zst`, told by the end of its name.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass, fields
from typing import Any

from lakehouse.engine.declare.errors import DeclarationError

__all__ = ["Avro", "Csv", "Excel", "Format", "Json", "JsonLines", "Limits", "Parquet"]


@dataclass(frozen=True)
class Format:
    """Base of the formats below. `str()` of one says what was declared otherwise than it is by default."""

    def __str__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._said())})"

    def _said(self) -> list[tuple[str, Any]]:
        every = ((each.name, each.default, getattr(self, each.name)) for each in fields(self))
        return [(name, value) for name, default, value in every if value != default]


@dataclass(frozen=True)
class JsonLines(Format):
    """One JSON object a line."""


@dataclass(frozen=True)
class Json(Format):
    """One JSON document: an array of objects. `records` is the JSON Pointer to it, where it lies within an object.

    `Json(records="/value")` reads `{"value":[…]}`; what stands beside the array is not kept.
    """

    records: str = ""

    def __post_init__(self) -> None:
        if self.records and not self.records.startswith("/"):
            raise DeclarationError(f"Json(records={self.records!r}): a JSON Pointer begins with '/', as in '/value'.")


@dataclass(frozen=True)
class Csv(Format):
    """Records of separated fields. Every field is text, an empty one null.

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
        _not_below_zero("Csv", self.preamble)
        if self.comment == "":
            raise DeclarationError("Csv(comment=''): every line begins with that; say None for no comments.")
        try:
            codecs.lookup(self.encoding)
        except LookupError:
            raise DeclarationError(
                f"Csv(encoding={self.encoding!r}): Python knows no such encoding; say 'utf-8', 'cp1252', 'utf-16', …"
            ) from None

    @property
    def is_utf8(self) -> bool:
        return codecs.lookup(self.encoding).name == "utf-8"


@dataclass(frozen=True)
class Parquet(Format):
    """A Parquet file. Its values become text: see `engine/ingest/canonical.py`."""


@dataclass(frozen=True)
class Avro(Format):
    """An Avro file with its schema in it, its blocks as they are or packed by deflate, Snappy, Zstandard, bzip2 or xz.

    Its values become text.
    """


@dataclass(frozen=True)
class Excel(Format):
    """A sheet of an Excel workbook (.xlsx, .xlsm), its first row the header. Its values become text.

    Without `sheet` the workbook must have one only. `preamble` rows before the header are passed over.
    """

    sheet: str | None = None
    preamble: int = 0

    def __post_init__(self) -> None:
        _not_below_zero("Excel", self.preamble)


def _not_below_zero(word: str, preamble: int) -> None:
    if preamble < 0:
        raise DeclarationError(f"{word}(preamble={preamble}): a number of lines is not below zero.")


@dataclass(frozen=True)
class Limits:
    """What a file may cost before it is set aside whole, asked before it is parsed.

    unpacked_bytes: what it holds, unpacked. ratio: how many times its packed size that may be; asked above 16 MiB only,
    where it begins to cost. columns: of a header, or fields of a JSON object. line_bytes: of a line of text, or of a
    record in a JSON document; of a longer one its record is set aside, not the file.
    """

    unpacked_bytes: int = 1 << 30
    ratio: int = 200
    columns: int = 2_000
    line_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        for each in fields(self):
            if getattr(self, each.name) < 1:
                raise DeclarationError(f"Limits({each.name}={getattr(self, each.name)}): a limit is at least 1.")
