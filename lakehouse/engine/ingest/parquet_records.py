"""Parquet becomes frames of text, a column at a time: every row is accepted, or the file is unreadable as a whole."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from lakehouse.engine.declare.column import Column
from lakehouse.engine.declare.formats import Limits
from lakehouse.engine.declare.number import number
from lakehouse.engine.declare.table import as_text
from lakehouse.engine.ingest.canonical import of_column
from lakehouse.engine.ingest.header import LINE, Layout, arranged, by_header
from lakehouse.engine.ingest.misfit import Misfit, OverLimit, foreign
from lakehouse.engine.ingest.parquet_probe import BYTES_PER_VALUE, footer, refuse_broken
from lakehouse.engine.ingest.parsed import REJECTED, Parsed
from lakehouse.engine.ingest.shapes import Record, exact

__all__ = ["opened", "read_parquet"]


def opened(content: bytes, columns: Sequence[Column], limits: Limits) -> int:
    """The rows of a file that reads, as its footer says. Raises Misfit, OverLimit."""
    refuse_broken(content, limits.unpacked_bytes)
    layout(content, columns, limits)
    return footer(content).rows


def layout(content: bytes, columns: Sequence[Column], limits: Limits) -> Layout:
    """Where the columns stand, by the file's footer. Raises Misfit, OverLimit."""
    says = footer(content)
    stands = by_header(list(says.schema), columns, limits.columns)
    if says.unpacked > limits.unpacked_bytes:
        size = f"{says.rows:,} rows of {number(len(says.schema), 'column')}, at {BYTES_PER_VALUE} bytes a value"
        raise OverLimit(f"it says that it holds {size} more than", "unpacked_bytes", limits.unpacked_bytes)
    came = says.schema.dtypes()
    for each in columns:
        place = stands.places[each.name]
        if place is not None and (why := _unfit(came[place], as_text(each.dtype))):
            raise Misfit(f"column {each.name!r} is {came[place]}, {why}")
    return stands


def _unfit(came: Any, stored: Any) -> str:
    """Why a Parquet type has not the declared shape; empty where it has."""
    if isinstance(came, pl.List | pl.Array) and isinstance(stored, pl.List):
        return _unfit(came.inner, stored.inner)
    if isinstance(came, pl.Struct) and isinstance(stored, pl.Struct):
        there = {each.name: each.dtype for each in came.fields}
        return next(
            (why for each in stored.fields if each.name in there and (why := _unfit(there[each.name], each.dtype))), ""
        )
    if came == pl.Null:
        return ""
    if came == pl.Binary:
        return "and bytes are no text; have them sent as text (UTF-8, base64), or leave the column undeclared"
    if came.is_nested() or stored.is_nested():
        return f"declared as {'one value' if not stored.is_nested() else stored}"
    return ""


def read_parquet(files: Sequence[bytes], columns: Sequence[Column], limits: Limits) -> Parsed:
    """Read files; other columns and fields than the declared ones go to `extra`. Rows count from 1."""
    stored = pl.Schema({each.name: as_text(each.dtype) for each in columns})
    nowhere = Layout(0, dict.fromkeys(stored), {})
    accepted = [_arranged(pl.DataFrame(), nowhere, 0, stored)]
    unreadable: dict[int, str] = {}
    for file, content in enumerate(files):
        try:
            with foreign("a Parquet file"):
                stands = layout(content, columns, limits)
                rows = pl.read_parquet(io.BytesIO(content))
        except Misfit as why:
            unreadable[file] = str(why)
        else:
            accepted.append(_arranged(rows, stands, file, stored))
    return Parsed(pl.concat(accepted), REJECTED.to_frame(), unreadable)


def _arranged(rows: pl.DataFrame, stands: Layout, file: int, stored: pl.Schema) -> pl.DataFrame:
    texts = rows.select(
        *(of_column(pl.col(name), dtype).alias(f"{place}") for place, (name, dtype) in enumerate(rows.schema.items())),
        pl.int_range(1, rows.height + 1, dtype=pl.Int64).alias(LINE),
    )

    def shaped(name: str, field: str | None) -> pl.Expr:
        return (
            pl.lit(None, stored[name]) if field is None else _shaped(pl.col(field), texts.schema[field], stored[name])
        )

    out = arranged(texts, stands, file, shaped)
    strays = {
        name: texts[f"{place}"].to_list()
        for name, place in stands.places.items()
        if place is not None and _has_strays(texts.schema[f"{place}"], stored[name])
    }
    return out.with_columns(_extra(out["extra"], strays, stored)) if strays else out


def _shaped(value: pl.Expr, came: Any, stored: Any) -> pl.Expr:
    """A column of text leaves with the declared fields, each in its place; those that are not there are null."""
    if came == stored:
        return value
    if isinstance(came, pl.List):
        return value.list.eval(_shaped(pl.element(), came.inner, stored.inner))
    if isinstance(came, pl.Struct):
        there = {each.name: each.dtype for each in came.fields}
        fields = [
            (_shaped(value.struct.field(each.name), there[each.name], each.dtype) if each.name in there
             else pl.lit(None, each.dtype)).alias(each.name)
            for each in stored.fields
        ]  # fmt: skip
        return pl.when(value.is_not_null()).then(pl.struct(fields))
    return value.cast(stored)  # of a column of nulls


def _has_strays(came: Any, stored: Any) -> bool:
    """Whether a nested field came that is not declared."""
    if isinstance(came, pl.List) and isinstance(stored, pl.List):
        return _has_strays(came.inner, stored.inner)
    if isinstance(came, pl.Struct) and isinstance(stored, pl.Struct):
        declared = {each.name: each.dtype for each in stored.fields}
        return any(each.name not in declared or _has_strays(each.dtype, declared[each.name]) for each in came.fields)
    return False


def _extra(flat: pl.Series, strays: Mapping[str, list[Any]], stored: pl.Schema) -> pl.Series:
    """`extra` with the undeclared nested fields as well, each with its place; row by row, which only these cost."""
    record = Record(pl.Schema({name: stored[name] for name in strays}))
    merged: list[str | None] = []
    for extra, *values in zip(flat, *strays.values(), strict=True):
        _, inner = exact(dict(zip(strays, values, strict=True)), record, Limits())
        merged.append(f"{extra[:-1]},{inner[1:]}" if extra and inner else extra or inner)
    return pl.Series("extra", merged, dtype=pl.String)
