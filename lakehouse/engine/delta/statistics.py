"""Smallest and greatest value, nulls and rows of each data file: written by us, read back from the log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from urllib.parse import unquote

import msgspec
import polars as pl

# A longer text is cut to its beginning for the minimum (still a lower bound); its maximum is left out.
LONGEST_TEXT = 32

_RANGED = (
    pl.Int64, pl.Int32, pl.Int16, pl.Int8, pl.Float64, pl.Float32, pl.Date, pl.Datetime, pl.Decimal, pl.String,
)  # fmt: skip


def measure(files: Sequence[pl.LazyFrame], schema: pl.Schema) -> list[str]:
    """Delta's statistics JSON for each of these frames, one frame per data file; `schema` is what the files hold.

    Lists and structs are not measured: Delta asks for nothing of a list, and to count its nulls all of it is read.
    """
    flat = pl.Schema({name: dtype for name, dtype in schema.items() if not dtype.is_nested()})
    plans = [file.select(_measures(flat)) for file in files]
    return [_as_json(answer.row(0, named=True), flat) for answer in pl.collect_all(plans)]


def standing_files(actions: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """The add actions of deltalake, a row per file, with one flat column per measure: see Handle.files."""
    columns = [
        pl.col("path").map_elements(unquote, return_dtype=pl.String),
        pl.col("size_bytes").alias("size"),
        pl.col("num_records").alias("rows")
        if "num_records" in actions.columns
        else pl.lit(None, pl.Int64).alias("rows"),
        pl.from_epoch("modification_time", "ms").dt.replace_time_zone("UTC").alias("modified_at"),
    ]
    for kind in ("min", "max", "null_count", "partition"):
        dtype = actions.schema.get(kind)
        if not isinstance(dtype, pl.Struct):
            continue
        measured = {field.name for field in dtype.fields}
        columns += [pl.col(kind).struct.field(name).alias(f"{kind}.{name}") for name in schema if name in measured]
    files = actions.select(columns)
    return files.with_columns(
        pl.col(f"partition.{name}").alias(f"{bound}.{name}")
        for name in schema
        if f"partition.{name}" in files.columns
        for bound in ("min", "max")
    )


def _measures(schema: pl.Schema) -> list[pl.Expr]:
    """rows, then for column i: n<i> (nulls), lo<i>, hi<i>; a bound that would not be true, or not fit JSON, is null."""
    measures = [pl.len().alias("rows")]
    for index, (name, dtype) in enumerate(schema.items()):
        column = pl.col(name)
        measures.append(column.null_count().alias(f"n{index}"))
        if not isinstance(dtype, _RANGED):
            continue
        low, high = column.min(), column.max()
        if dtype.is_float():
            # NaN is greater than all numbers to Polars, and nothing to a minimum: no bound holds beside it.
            low, high = (pl.when(column.is_finite().all()).then(bound) for bound in (low, high))
        elif dtype.is_temporal():
            low, high = (pl.when(bound.dt.year().is_between(1, 9999)).then(bound) for bound in (low, high))
        elif isinstance(dtype, pl.String):
            low, high = low.str.head(LONGEST_TEXT), pl.when(high.str.len_chars() <= LONGEST_TEXT).then(high)
        measures += [low.alias(f"lo{index}"), high.alias(f"hi{index}")]
    return measures


def _as_json(row: dict[str, object], schema: pl.Schema) -> str:
    def bounds(prefix: str) -> dict[str, object]:
        values = ((name, row.get(f"{prefix}{index}")) for index, name in enumerate(schema))
        return {name: _as_number_or_text(value) for name, value in values if value is not None}

    counted = {name: row[f"n{index}"] for index, name in enumerate(schema)}
    return msgspec.json.encode(
        {"numRecords": row["rows"], "minValues": bounds("lo"), "maxValues": bounds("hi"), "nullCount": counted}
    ).decode()


def _as_number_or_text(value: object) -> object:
    if isinstance(value, Decimal):
        return msgspec.Raw(format(value, "f").encode())  # all digits: a float would round
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    if isinstance(value, date):
        return value.isoformat()
    return value
