"""What the values of a table are like, column by column, in a pass over its rows that holds none of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import polars as pl

from lakehouse.engine.quality.masks import MASK

PROFILE = pl.Schema(
    {
        "column": pl.String,
        "type": pl.String,
        "nulls": pl.Int64,
        "distinct": pl.Int64,
        "min": pl.String,
        "max": pl.String,
        "mean": pl.String,
        "top": pl.String,
    }
)
FEW = 50
"""Of a column with at most so many different values the commonest are told."""
TOP = 5
_LONGEST = 40


def profile(rows: pl.LazyFrame, personal: Collection[str] = ()) -> tuple[int, pl.DataFrame]:
    """How many rows there are, and a row for each column: PROFILE. `distinct` is an estimate (HyperLogLog), within 2 %.

    min, max and mean of a text or a list are of its length, as `5 characters`; `top` is of columns with FEW values, for
    which only these columns are read again. Of personal columns only nulls and distinct are told.
    """
    columns = list(rows.collect_schema().items())
    measures = [each for place, column in enumerate(columns) for each in _measures(place, *column)]
    told: dict[str, Any] = rows.select(pl.len().alias("rows"), *measures).collect(engine="streaming").row(0, named=True)
    few = [
        name
        for place, (name, _) in enumerate(columns)
        if name not in personal and told.get(f"{place} distinct", FEW + 1) <= FEW
    ]
    tops = _tops(rows, few)
    found = [
        (name, str(dtype), *_told(told, place, dtype), tops.get(name)) for place, (name, dtype) in enumerate(columns)
    ]
    frame = pl.DataFrame(found, schema=PROFILE, orient="row")
    hides = pl.col("column").is_in(list(personal))
    hidden = [
        pl.when(hides & pl.col(name).is_not_null()).then(pl.lit(MASK)).otherwise(name).alias(name)
        for name in ("min", "max", "mean")
    ]
    return told["rows"], frame.with_columns(hidden)


def _measures(place: int, name: str, dtype: pl.DataType) -> Iterator[pl.Expr]:
    column = pl.col(name)
    yield column.null_count().alias(f"{place} nulls")
    if isinstance(dtype, pl.List):
        column = column.list.len()
    elif dtype.is_nested() or isinstance(dtype, pl.Binary):
        return
    else:
        # a null is none of its values
        yield (column.approx_n_unique().cast(pl.Int64) - column.is_null().any().cast(pl.Int64)).alias(
            f"{place} distinct"
        )
    if isinstance(dtype, pl.String):
        column = column.str.len_chars()
    if isinstance(dtype, pl.Boolean):
        yield column.mean().alias(f"{place} mean")
        return
    yield _in_words(column.min(), dtype).alias(f"{place} min")
    yield _in_words(column.max(), dtype).alias(f"{place} max")
    yield _in_words(column.mean(), pl.Datetime() if isinstance(dtype, pl.Date) else dtype).alias(f"{place} mean")


def _in_words(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """A time as Python writes it, whose own end with the year 9999."""
    if isinstance(dtype, pl.Date):
        return value.dt.to_string("%Y-%m-%d")
    if isinstance(dtype, pl.Datetime):
        return value.dt.to_string("%Y-%m-%d %H:%M:%S%.f" + ("%:z" if dtype.time_zone else ""))
    return value


def _tops(rows: pl.LazyFrame, names: Collection[str]) -> dict[str, str]:
    counts = [rows.group_by(name).agg(pl.len().alias("how many")).drop_nulls(name) for name in names]
    frames = pl.collect_all(counts, engine="streaming") if counts else []
    return {
        name: ", ".join(
            f"{_cut(value)} ({count:,})"
            for value, count in frame.sort(["how many", name], descending=[True, False])
            .head(TOP)
            .with_columns(_in_words(pl.col(name), frame.schema[name]))
            .rows()
        )
        for name, frame in zip(names, frames, strict=True)
    }


def _told(told: dict[str, Any], place: int, dtype: pl.DataType) -> tuple[object, ...]:
    unit = " items" if isinstance(dtype, pl.List) else " characters" if isinstance(dtype, pl.String) else ""
    values = [told.get(f"{place} {measure}") for measure in ("min", "max", "mean")]
    said = [None if value is None else f"{_short(value)}{unit}" for value in values]
    return told[f"{place} nulls"], told.get(f"{place} distinct"), *said


def _short(value: object) -> str:
    return f"{value:,.6g}" if isinstance(value, float) else str(value)


def _cut(value: object) -> str:
    said = str(value)
    return said if len(said) <= _LONGEST else f"{said[: _LONGEST - 1]}…"
