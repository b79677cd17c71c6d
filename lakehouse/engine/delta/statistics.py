"""Smallest and greatest value, nulls and rows of each data file: written by us, read back from the log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from urllib.parse import unquote

import msgspec
import polars as pl

from lakehouse.engine.delta.footers import NOTHING, RANGED, Told
from lakehouse.engine.delta.log import as_logged
from lakehouse.engine.delta.vectors import Vector

# A longer text is cut to its beginning for the minimum (still a lower bound); its maximum is left out.
LONGEST_TEXT = 32
_UNCUT = 60  # bytes; to a footer Polars cuts what has more than 64, which may be less than LONGEST_TEXT characters

_NO_ROWS = pl.LazyFrame()


@dataclass(frozen=True)
class DataFile:
    """One Parquet file of a table, written and not yet (or already) committed. `path` is relative to the table.

    sha256: of its bytes, as hexadecimal digits; empty where nobody took it. vector: which of its rows do not count.
    """

    path: str
    size: int
    rows: int
    statistics: str
    partition: Mapping[str, str | None]
    sha256: str = ""
    vector: Vector | None = None


type Landed = tuple[DataFile, datetime]
"""A file of the table, and when it was committed (UTC)."""
type Came = Mapping[str, Landed]
"""By path."""


def measure(files: Sequence[pl.LazyFrame], schema: pl.Schema, told: Sequence[Told] = ()) -> list[str]:
    """Delta's statistics JSON for each of these frames, one frame per data file; `schema` is what the files hold.

    told: what their footers say; only other columns are read.
    Lists and structs are not measured: Delta asks for nothing of a list, and to count its nulls all of it is read.
    """
    flat, plans = flat_columns(schema), list[pl.LazyFrame]()
    told = told or [NOTHING] * len(files)
    for file, known in zip(files, told, strict=True):
        rest = pl.Schema({name: dtype for name, dtype in flat.items() if f"n {name}" not in known.counts})
        plans.append(known.ends.lazy().select(_measures(known.ends.schema)))
        plans.append((file if rest or "rows" not in known.counts else _NO_ROWS).select(_measures(rest)))
    answers = [answer.row(0, named=True) for answer in pl.collect_all(plans)]
    return [
        _as_json({**ends, **rest, **known.counts}, flat)
        for known, rest, ends in zip(told, answers[1::2], answers[::2], strict=True)
    ]


def flat_columns(schema: pl.Schema) -> pl.Schema:
    """Those that are measured."""
    return pl.Schema({name: dtype for name, dtype in schema.items() if not dtype.is_nested()})


def standing_files(actions: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """The add actions of deltalake, a row per file, with one flat column per measure: see Handle.files."""
    columns = [
        pl.col("path").map_elements(unquote, return_dtype=pl.String),
        pl.col("path").alias("logged"),
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
    return _with_folders(actions.select(columns), schema)


def added_files(files: Iterable[Landed], schema: pl.Schema) -> pl.DataFrame:
    """What `standing_files` will tell of files that were just committed, without a look at the log."""
    rows = [
        {
            "path": file.path,
            "logged": as_logged(file.path),
            "size": file.size,
            "rows": file.rows,
            "modified_at": at,
            **{f"partition.{name}": _as_typed(value, schema[name]) for name, value in file.partition.items()},
            **_flat(_FROM_JSON.decode(file.statistics), schema),
        }
        for file, at in files
    ]
    there = {name for row in rows for name in row}
    kinds = ("min", "max", "null_count", "partition")
    columns = {
        f"{kind}.{name}": pl.Int64() if kind == "null_count" else schema[name] for kind in kinds for name in schema
    }
    known = pl.Schema({"path": pl.String(), "logged": pl.String(), "size": pl.Int64(), "rows": pl.Int64()})
    shape = {**known, "modified_at": pl.Datetime("us", "UTC")}
    frame = pl.DataFrame(rows, shape | {name: dtype for name, dtype in columns.items() if name in there})
    return _with_folders(frame, schema)


@dataclass(frozen=True)
class Grown:
    """The files of a version, and by path what came and went since: a frame of them is made when somebody asks."""

    files: pl.DataFrame
    came: Came = field(default_factory=dict[str, "Landed"])
    went: AbstractSet[str] = frozenset()

    def on(self, came: Came, went: AbstractSet[str]) -> Grown:
        """The same, after these came and went too."""
        stay = {path: file for path, file in self.came.items() if path not in went}
        return Grown(self.files, {**stay, **came}, self.went | went)

    def laid_together(self, schema: pl.Schema) -> pl.DataFrame:
        """As `standing_files` has them, in no order."""
        stay = self.files.filter(~pl.col("path").is_in(self.went))
        return pl.concat([stay, added_files(self.came.values(), schema)], how="diagonal_relaxed") if self.came else stay


def without_gone(files: pl.DataFrame, gone: Mapping[str, int]) -> pl.DataFrame:
    """The same files, of which some have, by path, so many rows that are gone, whatever they had before."""
    if not gone:
        return files
    before = pl.col("gone").fill_null(0) if "gone" in files.columns else pl.lit(0, pl.Int64)
    now = pl.col("path").replace_strict(gone, default=before, return_dtype=pl.Int64)
    return files.with_columns(gone=now, rows=pl.col("rows") + before - now)


def _with_folders(files: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """The value of a folder is both bounds of its column."""
    return files.with_columns(
        pl.col(f"partition.{name}").alias(f"{bound}.{name}")
        for name in schema
        if f"partition.{name}" in files.columns
        for bound in ("min", "max")
    )


_FROM_JSON = msgspec.json.Decoder(float_hook=Decimal)  # all digits


def _flat(statistics: Mapping[str, Mapping[str, object]], schema: pl.Schema) -> dict[str, object]:
    flat = {f"null_count.{name}": count for name, count in statistics["nullCount"].items()}
    for kind, bounds in (("min", "minValues"), ("max", "maxValues")):
        flat |= {f"{kind}.{name}": _as_typed(value, schema[name]) for name, value in statistics[bounds].items()}
    return flat


def _as_typed(value: object, dtype: pl.DataType) -> object:
    if isinstance(value, str):
        if isinstance(dtype, pl.Datetime):
            return datetime.fromisoformat(value)
        if isinstance(dtype, pl.Date):
            return date.fromisoformat(value)
        return int(value) if dtype.is_integer() else value
    if dtype.is_float() and isinstance(value, Decimal | int):
        return float(value)
    return Decimal(value) if isinstance(dtype, pl.Decimal) and isinstance(value, int) else value


def _measures(schema: pl.Schema) -> list[pl.Expr]:
    """rows, then of each column: n (nulls), lo, hi; a bound that would not be true, or not fit JSON, is null."""
    measures = [pl.len().alias("rows")]
    for name, dtype in schema.items():
        column = pl.col(name)
        measures.append(column.null_count().alias(f"n {name}"))
        if not isinstance(dtype, RANGED):
            continue
        low, high = column.min(), column.max()
        if dtype.is_float():
            # NaN is greater than all numbers to Polars, and nothing to a minimum: no bound holds beside it.
            low, high = (pl.when(column.is_finite().all()).then(bound) for bound in (low, high))
        elif dtype.is_temporal():
            low, high = (pl.when(bound.dt.year().is_between(1, 9999)).then(bound) for bound in (low, high))
        elif isinstance(dtype, pl.String):
            is_short = (high.str.len_chars() <= LONGEST_TEXT) & (high.str.len_bytes() <= _UNCUT)
            low, high = low.str.head(LONGEST_TEXT), pl.when(is_short).then(high)
        measures += [low.alias(f"lo {name}"), high.alias(f"hi {name}")]
    return measures


def _as_json(row: Mapping[str, object], schema: pl.Schema) -> str:
    def bounds(end: str) -> dict[str, object]:
        values = ((name, row.get(f"{end} {name}")) for name in schema)
        return {name: _as_number_or_text(value) for name, value in values if value is not None}

    counted = {name: row[f"n {name}"] for name in schema}
    return msgspec.json.encode(
        {"numRecords": row["rows"], "minValues": bounds("lo"), "maxValues": bounds("hi"), "nullCount": counted}
    ).decode()


def _as_number_or_text(value: object) -> object:
    if isinstance(value, Decimal):
        return msgspec.Raw(format(value, "f").encode())  # all digits: a float would round
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.isoformat(timespec="microseconds")
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    if isinstance(value, date):
        return value.isoformat()
    return value
