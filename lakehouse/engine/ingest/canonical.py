"""Typed values become the text that bronze keeps: one text for each value, which reads back as that value exactly.

Whole numbers are digits; a decimal has its scale; a float is the shortest text that gives the same float, without `.0`
(so 17850.0 is 17850, and reads as int, float or decimal); an instant is ISO 8601 in UTC with `Z`, a wall-clock time
the same without; the fraction of a second has no digits, six, or nine where nanoseconds stand. NaN and infinities are
`NaN`, `inf` and `-inf`, which no type reads. Bytes are no text: they are left to the caller.

Python's values (`of_value`) and Polars' columns (`of_column`) come to the same text.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import polars as pl

from lakehouse.engine.ingest.shapes import Number

__all__ = ["of_column", "of_value"]


def of_value(value: Any) -> Any:
    """A Python value with its leaves as text; bool, None and bytes stay as they are."""
    if isinstance(value, dict):
        return {str(name): of_value(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [of_value(inner) for inner in value]
    return _TEXTS.get(type(value), str)(value)


def _same(value: Any) -> Any:
    return value


def _float(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else str(value)
    if 1e-5 <= abs(value) < 1e-4:  # noqa: PLR2004 # where Python writes an exponent and Polars does not yet
        return Number(f"{Decimal(repr(value)):f}")
    digits, _, exponent = repr(value).removesuffix(".0").partition("e")
    return Number(f"{digits}e{exponent[0]}{exponent[1:].lstrip('0')}" if exponent else digits)


def _span(value: dt.timedelta) -> str:
    """A time that passed, in hours: 36:00:00."""
    seconds, micro = divmod(abs(value) // dt.timedelta(microseconds=1), 1_000_000)
    sign = "-" if value < dt.timedelta(0) else ""
    return f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}" + (f".{micro:06}" if micro else "")


def _instant(value: dt.datetime) -> str:
    if value.tzinfo is None:
        return value.isoformat()
    return value.astimezone(dt.UTC).isoformat().removesuffix("+00:00") + "Z"


_TEXTS: Mapping[type, Callable[[Any], Any]] = {
    **dict.fromkeys((type(None), bool, str, bytes), _same),
    int: Number,
    float: _float,
    Decimal: lambda value: Number(f"{value:f}"),
    dt.datetime: _instant,
    dt.date: dt.date.isoformat,
    dt.time: dt.time.isoformat,
    dt.timedelta: _span,
}


def of_column(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """A column with its leaves as text; bytes become base64."""
    if isinstance(dtype, pl.List | pl.Array):
        items = value.arr.to_list() if isinstance(dtype, pl.Array) else value
        return items.list.eval(of_column(pl.element(), _made(dtype.inner)))
    if isinstance(dtype, pl.Struct):
        fields = [of_column(value.struct.field(each.name), _made(each.dtype)).alias(each.name) for each in dtype.fields]
        return pl.when(value.is_not_null()).then(pl.struct(fields))
    if isinstance(dtype, pl.Datetime):
        return _time(value, dtype)
    if isinstance(dtype, pl.Time):
        return _fraction(value.dt.strftime("%H:%M:%S%.9f"))
    if isinstance(dtype, pl.Binary):
        return value.bin.encode("base64")
    text = value.cast(pl.String)
    return text.str.strip_suffix(".0") if dtype.is_float() else text


def _made(dtype: Any) -> pl.DataType:
    """Polars passes an inner type on as the class, where it was given so."""
    return dtype if isinstance(dtype, pl.DataType) else dtype()


def _time(value: pl.Expr, dtype: pl.Datetime) -> pl.Expr:
    digits = "%.9f" if dtype.time_unit == "ns" else "%.6f"
    utc = value if dtype.time_zone in (None, "UTC") else value.dt.convert_time_zone("UTC")
    text = _fraction(utc.dt.strftime(f"%Y-%m-%dT%H:%M:%S{digits}"))
    return text if dtype.time_zone is None else text + "Z"


def _fraction(text: pl.Expr) -> pl.Expr:
    """None, six or nine digits of it."""
    return text.str.strip_suffix(".000000000").str.strip_suffix(".000000").str.replace(r"(\.[0-9]{6})000$", "$1")
