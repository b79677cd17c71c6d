"""Which data files may hold given values, told from the log alone. A file that is left out certainly holds none."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

_EXACT_DIGITS = 15
_PRUNED = (pl.Int64, pl.Int32, pl.Int16, pl.Int8, pl.Date, pl.Datetime, pl.String)


def may_hold(files: pl.DataFrame, wanted: pl.DataFrame, columns: Sequence[str]) -> list[str]:
    """The paths of `files` (Handle.files) whose ranges meet a value of `wanted` in every one of `columns`."""
    meets = pl.repeat(True, files.height, eager=True)
    for column in columns:
        if _is_pruned(wanted.schema[column]) and f"min.{column}" in files.columns:
            meets &= _ranges_meet(files, column, wanted[column]) | _null_meets(files, column, wanted[column])
    return files.filter(meets)["path"].to_list()


def _is_pruned(dtype: pl.DataType) -> bool:
    # delta-rs writes decimals through a float; a float's own bounds leave NaN out.
    return isinstance(dtype, _PRUNED) or (isinstance(dtype, pl.Decimal) and dtype.precision <= _EXACT_DIGITS)


def _null_meets(files: pl.DataFrame, column: str, values: pl.Series) -> pl.Series:
    """True for a file in which a null is wanted and may be: of a partition's column its value says it."""
    if not values.null_count():
        return pl.repeat(False, files.height, eager=True)
    counted = f"null_count.{column}"
    told = pl.col(counted) != 0 if counted in files.columns else pl.lit(value=True)
    if f"partition.{column}" in files.columns:
        told = pl.col(f"partition.{column}").is_null()
    return files.select(told.fill_null(value=True)).to_series()


def _ranges_meet(files: pl.DataFrame, column: str, values: pl.Series) -> pl.Series:
    """True for a file that has an unknown bound on one side and a value on the other, or a value between the two."""
    values = values.drop_nulls().unique().sort()
    low, high = files[f"min.{column}"].cast(values.dtype), files[f"max.{column}"].cast(values.dtype)
    if isinstance(values.dtype, pl.Datetime):
        high = high.dt.offset_by("1ms")  # other engines cut their bounds to milliseconds
    first = values.search_sorted(low, side="left").zip_with(
        low.is_not_null(), pl.zeros(len(low), pl.UInt32, eager=True)
    )
    end = pl.repeat(len(values), len(high), dtype=pl.UInt32, eager=True)
    last = values.search_sorted(high, side="right").zip_with(high.is_not_null(), end)
    return last > first
