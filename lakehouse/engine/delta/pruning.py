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


def within(files: pl.DataFrame, wanted: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """The rows of `wanted` that are in the ranges of these files, taken together: no other can be in one of them."""
    for column in columns:
        if _is_pruned(wanted.schema[column]) and f"min.{column}" in files.columns:
            bounds = _bounds(files, column, wanted.schema[column])
            wanted = wanted.filter(_in_range(pl.col(column), bounds) | pl.col(column).is_null())
    return wanted


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
    values, bounds = values.drop_nulls(), _bounds(files, column, values.dtype)
    first, last = pl.lit(values).min(), pl.lit(values).max()
    near = bounds.filter((pl.col("low") <= last).fill_null(value=True), (pl.col("high") >= first).fill_null(value=True))
    # files hold mostly what is older than all that came: only what meets the others is sorted
    values = values.to_frame("value").filter(_in_range(pl.col("value"), near)).to_series().sort()
    low, high = bounds["low"], bounds["high"]
    begin = values.search_sorted(low, side="left").zip_with(
        low.is_not_null(), pl.zeros(len(low), pl.UInt32, eager=True)
    )
    end = pl.repeat(len(values), len(high), dtype=pl.UInt32, eager=True)
    end = values.search_sorted(high, side="right").zip_with(high.is_not_null(), end)
    return end > begin


def _bounds(files: pl.DataFrame, column: str, dtype: pl.DataType) -> pl.DataFrame:
    high = pl.col(f"max.{column}").cast(dtype)
    if isinstance(dtype, pl.Datetime):
        high = high.dt.offset_by("1ms")  # other engines cut their bounds to milliseconds
    return files.select(pl.col(f"min.{column}").cast(dtype).alias("low"), high.alias("high"))


def _in_range(value: pl.Expr, bounds: pl.DataFrame) -> pl.Expr:
    """Whether it lies between the least and the greatest bound; true where one is not known."""
    if bounds.is_empty():
        return pl.lit(value=False)
    # never a value of Python's: a bound may lie past the year 9999, where its datetime ends
    known = bounds.select(pl.when(pl.all().null_count() == 0).then(pl.all()))
    least, greatest = pl.lit(known["low"]).min(), pl.lit(known["high"]).max()
    return (value >= least).fill_null(value=True) & (value <= greatest).fill_null(value=True)
