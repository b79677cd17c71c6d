"""What the columns of a table hold of the rows of a partition: values of their types, never pasted text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import polars as pl

from lakehouse.engine.declare.errors import Refused

UNTIL = " until"
"""Behind a column's name, the name of the column that holds where its windows end."""

_KEY = "key of a dimension"
_BITS: dict[type[pl.DataType], int] = {pl.Int8: 8, pl.Int16: 16, pl.Int32: 32, pl.Int64: 64}


@dataclass(frozen=True)
class Dimension:
    """One column that says of which partition a row is; `window` is that of a key, where keys are spans of time."""

    column: str
    dtype: pl.DataType
    window: Callable[[str], tuple[datetime, datetime]] | None = None


def with_values(keys: pl.DataFrame, dimensions: Sequence[Dimension], table: str) -> pl.DataFrame:
    """In place of each dimension's key (a column of `keys`, by the dimension's name) what its column holds.

    A value; several rows for the days of a Date; or a window from the value to before that of `<column> until`.
    Raises Refused where the column's type cannot tell a key.
    """
    for each in dimensions:
        values = _values(each, keys[each.column].unique(maintain_order=True).to_list(), table)
        keys = keys.rename({each.column: _KEY}).join(values, on=_KEY, how="left", maintain_order="left").drop(_KEY)
    return keys


def joined[T: date](bounds: list[tuple[T, T]]) -> list[tuple[T, T]]:
    """Windows that follow each other as one."""
    found: list[tuple[T, T]] = []
    for start, end in sorted(bounds):
        if found and found[-1][1] == start:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def _values(of: Dimension, keys: Sequence[str], table: str) -> pl.DataFrame:
    column, dtype, until = of.column, of.dtype, of.column + UNTIL
    if of.window is None or not isinstance(dtype, pl.Date | pl.Datetime):
        values = [_value(key, of, table) for key in keys]
        return pl.DataFrame({_KEY: keys, column: values}, schema={_KEY: pl.String(), column: dtype})
    rows = [(key, *_bounds(of.window(key), key, of, table)) for key in keys]
    found = pl.DataFrame(rows, schema={_KEY: pl.String(), column: dtype, until: dtype}, orient="row")
    if isinstance(dtype, pl.Datetime):
        return found
    days = pl.date_ranges(column, until, closed="left")
    return found.with_columns(days.alias(column)).drop(until).explode(column, empty_as_null=False)


def _value(key: str, of: Dimension, table: str) -> str | int | date:
    """The very text, or the number or day that prints back to it."""
    if isinstance(of.dtype, pl.String):
        return key
    if not isinstance(of.dtype, (pl.Date, *_BITS)):
        raise Refused(
            f"{table}: {of.column} is {of.dtype}, by which partition {key!r} cannot be told. Nothing was written. "
            "Use a String, an integer or a Date; with time windows also Datetime('us', 'UTC')."
        )
    try:
        value = date.fromisoformat(key) if isinstance(of.dtype, pl.Date) else _integer(key, of.dtype)
    except ValueError:
        value = None
    if value is None or str(value) != key:
        raise Refused(
            f"{table}: partition {key!r} is no {of.dtype} that prints back to it, as the column {of.column} needs. "
            "Nothing was written. Make the column a String, or spell the keys as the column prints."
        )
    return value


def _bounds(window: tuple[datetime, datetime], key: str, of: Dimension, table: str) -> tuple[date, date]:
    """From the start of a partition to before its end: UTC, or days of the window's own time zone."""
    start, end = window
    if isinstance(of.dtype, pl.Datetime):
        return datetime.fromtimestamp(start.timestamp(), UTC), datetime.fromtimestamp(end.timestamp(), UTC)
    if start.time() != end.time():
        raise Refused(
            f"{table}: partition {key!r} is part of a day, which the Date column {of.column} cannot tell. "
            "Nothing was written. Make the column Datetime('us', 'UTC'), or a String that holds the key."
        )
    return start.date(), end.date()


def _integer(key: str, dtype: pl.DataType) -> int:
    value = int(key)
    if max(value, ~value).bit_length() >= _BITS[type(dtype)]:
        raise ValueError(key)
    return value
