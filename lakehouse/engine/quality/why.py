"""Why a value did not read exactly, in words, for the few rows that did not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import polars as pl

from lakehouse.engine.declare.column import Column
from lakehouse.engine.declare.text import LocalTime
from lakehouse.engine.quality.masks import MASK
from lakehouse.engine.quality.text import FIRST, RULES_END, element, read_text

_SHOWN = 40
_NULL = "null, but the column is not nullable"
_AFTER_THE_VALUE = "(null, but .*|is not an exact .*|stood twice .*|never stood .*|is so far off .*)$"


def why_unread(rejected: pl.DataFrame, columns: Sequence[Column], most: int = 5) -> pl.Series:
    """The reasons of each rejected row, which holds the raw text of `columns`: a List(String) named "reasons".

    At most `most` sentences per row, then how many more. Lists count from 0. No value of a personal column is told.
    Walks the rows in Python: for the few.
    """
    found = [
        (row, leaf)
        for column in columns
        for row, value in enumerate(rejected[column.name].to_list())
        for leaf in _leaves(value, column, column.name)
    ]
    said = _reasons([leaf for _, leaf in found])
    rows: list[list[str]] = [[] for _ in range(rejected.height)]
    for (row, leaf), reason in zip(found, said, strict=True):
        if reason:
            rows[row].append(f"{leaf.path}: {reason}")
    short = [row if len(row) <= most else [*row[:most], f"and {len(row) - most:,} more"] for row in rows]
    return pl.Series("reasons", short, dtype=pl.List(pl.String))


def common_reason() -> pl.Expr:
    """Of one `reason` beside its row's `kind`, `upstream` and `source_file`: what other rows have in common with it.

    That is: without the value, the place in a list or a file, and the file's name. Null where it tells of no reason.
    """
    reason, numbers = pl.col("reason"), r"[0-9][0-9,]*"
    file = reason.str.strip_prefix(pl.col("source_file")).str.extract(r"^(?: cannot be read: )?(.*?)(?:[.;] |\.?$)")
    landed = reason.str.replace_all(numbers, "…")
    path = reason.str.extract("^([^:]*): ").str.replace_all(r"\[[0-9]+\]", "[…]")
    said = reason.str.extract(f"^.*{_AFTER_THE_VALUE}")
    read = path + pl.when(said.str.starts_with("null")).then(pl.lit(": ")).otherwise(pl.lit(" ")) + said
    return (
        pl.when(pl.col("kind") == "file").then(file.str.replace_all(numbers, "…"))
        .when(pl.col("kind") != "unread").then(reason)
        .when(pl.col("upstream").is_null()).then(landed)
        .otherwise(read)
    )  # fmt: skip


@dataclass(frozen=True)
class _Leaf:
    """One place in one row: `text` is None for a null that may not stand there."""

    path: str
    text: str | None
    column: Column


def _leaves(value: Any, column: Column, path: str) -> Iterator[_Leaf]:
    """The places of a raw value, nested ones too, that hold text or a null that may not stand."""
    if value is None:
        if not column.nullable:
            yield _Leaf(path, None, column)
    elif isinstance(column.dtype, pl.List):
        for at, item in enumerate(value):
            yield from _leaves(item, element(column, column.dtype), f"{path}[{at}]")
    elif isinstance(column.dtype, pl.Struct):
        for field in column.fields:
            inner = replace(field, personal=True) if column.personal else field
            yield from _leaves(value[field.name], inner, f"{path}.{field.name}")
    else:
        yield _Leaf(path, value, column)


def _reasons(leaves: Sequence[_Leaf]) -> list[str | None]:
    """What is wrong with each leaf, or None; texts of one column are read together."""
    texts: dict[Column, set[str]] = {}
    for leaf in leaves:
        if leaf.text is not None:
            texts.setdefault(leaf.column, set()).add(leaf.text)
    said = {column: _said(sorted(of), column) for column, of in texts.items()}
    return [_NULL if leaf.text is None else said[leaf.column].get(leaf.text) for leaf in leaves]


def _said(texts: list[str], column: Column) -> dict[str, str]:
    """Text -> the sentence, for the texts that do not read exactly."""
    form = column.text
    wrong = [text for text, value in zip(texts, _values(texts, column), strict=True) if value is None]
    written = f" ({form})" if form else ""
    shown = {text: MASK if column.personal else _shown(text) for text in wrong}
    said = {text: f"{shown[text]} is not an exact {_shown_type(column.dtype)}{written}" for text in wrong}
    if isinstance(form, LocalTime):
        walls = _values(wrong, replace(column, text=replace(form, zone="UTC")))
        firsts = _values(wrong, replace(column, text=replace(form, ambiguous="earliest")))
        for text, wall, first in zip(wrong, walls, firsts, strict=True):
            if isinstance(wall, datetime):
                said[text] = f"{shown[text]} {_on_the_clocks(wall, form, twice=first is not None)}"
    return said


def _on_the_clocks(wall: datetime, form: LocalTime, *, twice: bool) -> str:
    if twice:
        return f"stood twice on the clocks of {form.zone}; ambiguous= can say which is meant"
    if FIRST.year < wall.year < RULES_END:
        return f"never stood on the clocks of {form.zone}"
    return f"is so far off that its instant in {form.zone} is not certain"


def _values(texts: list[str], column: Column) -> list[object]:
    frame = pl.DataFrame({"text": texts}, schema={"text": pl.String})
    return frame.select(read_text(pl.col("text"), column)).to_series().to_list()


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def _shown_type(dtype: pl.DataType) -> str:
    return f"Decimal({dtype.precision}, {dtype.scale})" if isinstance(dtype, pl.Decimal) else str(dtype)
