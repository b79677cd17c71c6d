"""What one column promises: its type, unit and words. Values; no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import polars as pl

from lakehouse.engine.declare.text import TextFormat

SOURCE_NAME = "lakehouse.source_name"
"""In the log of a table: what the source of a column calls it, where that is not its name."""


@dataclass(frozen=True)
class Column:
    """One declared column. `dtype` is the promised Polars type; `fields` are those of a struct or of a list's structs.

    `bounds` are the names of the bounds that were declared of it; what they mean is pandera's to say. `was` is the name
    under which its source sent it before. `personal`: whether a value says something of a person, None where nothing
    was said of it.
    """

    name: str
    dtype: pl.DataType
    description: str = ""
    unit: str | None = None
    nullable: bool = False
    key: bool = False
    text: TextFormat | None = None
    fields: tuple[Column, ...] = ()
    bounds: tuple[str, ...] = ()
    was: str | None = None
    personal: bool | None = None

    @property
    def note(self) -> dict[str, str]:
        """What the log of its table says of it."""
        return {"comment": self.description, **({SOURCE_NAME: self.was} if self.was is not None else {})}

    @property
    def is_personal(self) -> bool:
        """Also of a column of which only a field is."""
        return bool(self.personal) or any(each.is_personal for each in self.fields)


def never_null(columns: Iterable[Column], prefix: str = "") -> Iterator[str]:
    """The paths of what may not be null: `amount`, `lines[].sku`."""
    for each in columns:
        path, dtype = f"{prefix}{each.name}", each.dtype
        if not each.nullable:
            yield path
        while isinstance(dtype, pl.List):
            path, dtype = f"{path}[]", cast("pl.DataType", dtype.inner)
        yield from never_null(each.fields, f"{path}.")
