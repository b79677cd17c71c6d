"""Exact reading of text: the typed value prints back to the same number, date, time or text, or it is null and said so.

Polars expressions: lazy, vectorised, nested through `list.eval`, projection pushdown kept. Polars' own parsers are
not exact (a cast to Decimal rounds, strptime takes "2024-1-1", second 60 and year 0), so each is fenced by a pattern of
what it may see, or its value is printed and compared.

What reads: integers `-?(0|[1-9][0-9]*)` in range; decimals and floats as JSON writes them, exponents included, when not
a digit is lost; the formats of `declare/text.py`. "-0" is the number 0 (a float keeps the sign, an unsigned integer
takes none). Years 0001 to 9999, in UTC too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import cache, partial
from typing import Any

import polars as pl
from polars import field as _f
from polars.expr.struct import ExprStructNameSpace

from lakehouse.engine.declare.column import Column
from lakehouse.engine.declare.errors import DeclarationError
from lakehouse.engine.declare.text import (
    DateText,
    LocalTime,
    NumberText,
    TextFormat,
    TrueFalse,
    UtcTime,
    date_text,
    pieces,
    utc_time,
)

__all__ = ["read_text", "unread"]

_INTEGER = "(?:0|[1-9][0-9]*)"
_PLAIN = rf"\A-?{_INTEGER}(?:\.[0-9]+)?\z"
_NUMBER = rf"\A-?{_INTEGER}(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{{1,4}})?\z"
_DIRECTIVES = {
    "%Y": "[0-9]{4}",
    "%m": "(?:0[1-9]|1[0-2])",
    "%b": "(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)",
    "%d": "(?:0[1-9]|[12][0-9]|3[01])",
    "%H": "(?:[01][0-9]|2[0-3])",
    "%M": "[0-5][0-9]",
    "%S": "[0-5][0-9]",
    "%z": "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])",
    "%%": "%",
}
_WIDTHS = {"%Y": 4, "%b": 3, "%%": 1}
FIRST = datetime(1, 1, 1)  # noqa: DTZ001 # naive like the times it bounds
_LAST = datetime(9999, 12, 31, 23, 59, 59, 999999)  # noqa: DTZ001 # the same
# Polars 2.1 knows no summer time from 2100 on (chrono-tz's table ends there), zoneinfo and ICU do.
RULES_END = 2100
_TEXT = "text"
_OFTEN = 4  # where a text comes so often on average, telling texts apart is quicker than reading each


def read_text(text: pl.Expr, column: Column) -> pl.Expr:
    """What bronze stores of `column` -> the same as `column.dtype`; a leaf that does not read exactly is null.

    The result is named `column.name`. Raises DeclarationError where the type has no exact reading or its text format is
    of another type.
    """
    dtype = column.dtype
    if isinstance(dtype, pl.List):
        return text.list.eval(read_text(pl.element(), element(column, dtype))).alias(column.name)
    if isinstance(dtype, pl.Struct):
        fields = [read_text(text.struct.field(field.name), field) for field in column.fields]
        return pl.when(text.is_not_null()).then(pl.struct(fields)).alias(column.name)
    return _leaf(text, column).alias(column.name)


def unread(text: pl.Expr, column: Column) -> pl.Expr:
    """Boolean, never null: true where a leaf holds text that did not read exactly, or a null stands where none may.

    An element of a list is never nullable. Below a null that may stand nothing is asked.
    """
    dtype = column.dtype
    if isinstance(dtype, pl.List):
        wrong = text.list.agg(unread(pl.element(), element(column, dtype)).any()).fill_null(value=False)
    elif isinstance(dtype, pl.Struct):
        parts = [unread(text.struct.field(field.name), field) for field in column.fields]
        wrong = text.is_not_null() & pl.any_horizontal(parts)
    else:
        wrong = text.is_not_null() & _leaf(text, column).is_null()
    return wrong if column.nullable else wrong | text.is_null()


def element(column: Column, dtype: pl.List) -> Column:
    """What the elements of a list promise: its inner type, the same format and fields, and never null."""
    inner: Any = dtype.inner
    # Polars lets an inner type be given as its class: pl.List(pl.Int64)
    return replace(column, dtype=inner if isinstance(inner, pl.DataType) else inner(), nullable=False)


def _leaf(text: pl.Expr, column: Column) -> pl.Expr:
    dtype, form = column.dtype, column.text
    if form is not None and not form.fits(dtype):
        raise DeclarationError(f"{column.name}: {dtype} is not written as {form}; change its type or its text=.")
    if isinstance(dtype, pl.String):
        return text
    if dtype.is_integer() or isinstance(dtype, pl.Boolean):
        return _each(text, column)  # as quick as finding the distinct ones
    read = _each(pl.col(_TEXT), column)
    return text.map_batches(partial(_distinct_once, read=read, dtype=dtype), return_dtype=dtype, is_elementwise=True)


def _distinct_once(texts: pl.Series, read: pl.Expr, dtype: pl.DataType) -> pl.Series:
    """Prices and times repeat: where they do, each distinct text is read once, for a quarter of the work.

    Times do so row after row, the lines of an order: then it is not even looked for.
    """
    begins = texts.ne_missing(texts.shift())
    if not texts.is_empty():
        begins.scatter(0, values=True)  # nothing is before it, and it may be null
    if begins.sum() * _OFTEN < texts.len():
        return _distinct_once(texts.filter(begins), read, dtype).gather(begins.cum_sum() - 1)
    several: Any = texts.approx_n_unique()
    if several * _OFTEN >= texts.len():
        return texts.to_frame(_TEXT).select(read).to_series()
    distinct = texts.unique()
    return texts.replace_strict(distinct, distinct.to_frame(_TEXT).select(read).to_series(), return_dtype=dtype)


def _each(text: pl.Expr, column: Column) -> pl.Expr:
    dtype, form = column.dtype, column.text
    if isinstance(dtype, pl.Boolean):
        return _boolean(text, form)
    if isinstance(dtype, pl.Date):
        return _date(text, form)
    if dtype == pl.Datetime("us", "UTC"):
        return _instant(text, form)
    if dtype.is_numeric():
        return _numeric(_ungrouped(text, form) if isinstance(form, NumberText) else text, dtype)
    raise DeclarationError(
        f"{column.name}: {dtype} has no exact reading from text; declare it `str` or as one that has."
    )


def _numeric(text: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, pl.Decimal):
        return _decimal(text, dtype)
    return _integer(text, dtype) if dtype.is_integer() else _float(text, dtype)


def _named(name: str, first: pl.Expr) -> ExprStructNameSpace:
    """Begin a chain of named steps; each `with_fields` reads the ones before it by `_f(name)`.

    An expression that is used twice is worked out twice (within `list.eval` always): without names a local time costs
    six times as much.
    """
    return pl.struct(first.alias(name)).struct


def _boolean(text: pl.Expr, form: TextFormat | None) -> pl.Expr:
    true, false = (form.true, form.false) if isinstance(form, TrueFalse) else ("true", "false")
    return pl.when(text.eq(true)).then(statement=True).when(text.eq(false)).then(statement=False)


def _integer(text: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    steps = _named("text", text).with_fields(value=_f("text").cast(dtype, strict=False)).struct
    exact = _f("value").cast(pl.String).eq(_f("text")) | _f("text").eq("-0")
    return steps.with_fields(value=pl.when(exact).then(_f("value"))).struct.field("value")


def _decimal(text: pl.Expr, dtype: pl.Decimal) -> pl.Expr:
    """The fence lets no digit through that the type cannot hold; a number with an exponent is printed and compared."""
    before = dtype.precision - dtype.scale
    whole = f"(?:0|[1-9][0-9]{{0,{before - 1}}})" if before else "0"
    digits = rf"\.[0-9]{{1,{dtype.scale}}}0*" if dtype.scale else r"\.0+"
    steps = _named("text", text).with_fields(
        value=_f("text").cast(dtype, strict=False),
        held=_f("text").str.contains(rf"\A-?{whole}(?:{digits})?\z"),
        powered=pl.when(_f("text").str.contains("[eE]")).then(_f("text")),
    )
    printed = pl.when(_f("powered").is_not_null()).then(_f("value")).cast(pl.String)
    steps = steps.struct.with_fields(same=_number(_f("powered")).eq(_number(printed)))
    return steps.struct.with_fields(value=pl.when(_f("held") | _f("same")).then(_f("value"))).struct.field("value")


def _float(text: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Exact by length (a float holds every 15 digits, a Float32 every 6), by its print, or by comparing the numbers."""
    few = 6 if isinstance(dtype, pl.Float32) else 15
    steps = _named("text", text).with_fields(value=_f("text").cast(dtype, strict=False))
    steps = steps.struct.with_fields(printed=_f("value").cast(pl.String))
    short = (_f("text").str.len_bytes() <= few) & _f("text").str.contains(_PLAIN)
    steps = steps.struct.with_fields(held=short | (_f("printed").eq(_f("text")) & _f("value").is_finite()))
    steps = steps.struct.with_fields(
        rest=pl.when(~_f("held")).then(_f("text")), back=pl.when(~_f("held")).then(_f("printed"))
    )
    steps = steps.struct.with_fields(same=_number(_f("rest")).eq(_number(_f("back"))))
    return steps.struct.with_fields(value=pl.when(_f("held") | _f("same")).then(_f("value"))).struct.field("value")


def _number(text: pl.Expr) -> pl.Expr:
    """A key that texts of the same number share: sign, digits, place of the point. Null for what is no number."""
    steps = _named("text", text).with_fields(text=pl.when(_f("text").str.contains(_NUMBER)).then(_f("text")))
    steps = steps.struct.with_fields(
        sign=_f("text").str.extract(r"\A(-?)"),
        whole=_f("text").str.extract(r"\A-?([0-9]+)"),
        fraction=_f("text").str.extract(r"\.([0-9]+)").fill_null(""),
        power=_f("text").str.extract(r"[eE]([+-]?[0-9]+)\z").cast(pl.Int64).fill_null(0),
    )
    steps = steps.struct.with_fields(digits=_f("whole") + _f("fraction"))
    steps = steps.struct.with_fields(led=_f("digits").str.strip_chars_start("0"))
    leading = _length("digits") - _length("led")
    point = (_f("power") + _length("whole") - leading).cast(pl.String)
    key = pl.concat_str(_f("sign"), _f("led").str.strip_chars_end("0"), pl.lit("e"), point)
    key = pl.when(_f("led").eq("")).then(pl.lit("0")).otherwise(key)
    return steps.struct.with_fields(key=key).struct.field("key")


def _length(field: str) -> pl.Expr:
    return _f(field).str.len_bytes().cast(pl.Int64)


def _ungrouped(text: pl.Expr, form: NumberText) -> pl.Expr:
    """The number as JSON writes it, or null where it is not written in this format."""
    mark, group = re.escape(form.decimal), re.escape(form.group)
    whole = rf"(?:{_INTEGER}|[1-9][0-9]{{0,2}}(?:{group}[0-9]{{3}})+)" if form.group else _INTEGER
    before = f"(?:{re.escape(form.prefix)})?" if form.prefix else ""
    written = pl.when(text.str.contains(rf"\A-?{before}{whole}(?:{mark}[0-9]+)?\z")).then(text)
    if form.prefix:
        written = written.str.replace(form.prefix, "", literal=True)
    if form.group:
        written = written.str.replace_all(form.group, "", literal=True)
    return written.str.replace(form.decimal, ".", literal=True)


def _date(text: pl.Expr, form: TextFormat | None) -> pl.Expr:
    shape = _shape(form.pattern if isinstance(form, DateText) else date_text("%Y-%m-%d").pattern)
    steps = _named("text", text).with_fields(value=_f("text").str.to_date(shape.chrono, strict=False))
    exact = _f("text").str.contains(shape.fence) & (_f("value") >= date(1, 1, 1))
    return steps.struct.with_fields(value=pl.when(exact).then(_f("value"))).struct.field("value")


def _instant(text: pl.Expr, form: TextFormat | None) -> pl.Expr:
    """Text -> Datetime("us", "UTC"), by way of the wall clock it names."""
    form = form if isinstance(form, LocalTime | UtcTime) else utc_time()
    shape = _shape(form.pattern)
    steps = _named("text", pl.when(text.str.contains(shape.fence)).then(text))
    wall = _f("text").str.head(shape.width).str.to_datetime(shape.chrono, time_unit="us", strict=False)
    if shape.fraction:
        digits = _f("text").str.slice(shape.width).str.extract(r"\A[.,]([0-9]+)").str.head(6).str.pad_end(6, "0")
        wall = wall + pl.duration(microseconds=digits.cast(pl.Int64).fill_null(0))
    steps = steps.with_fields(wall=wall)
    if isinstance(form, LocalTime):
        utc = _utc(_f("wall"), form)
    else:
        utc = _f("wall") - _offset(_f("text")) if shape.offset else _f("wall")
    steps = steps.struct.with_fields(utc=utc)
    known = _f("utc").is_between(FIRST, _LAST) & _f("wall").is_between(FIRST, _LAST)
    return steps.struct.with_fields(utc=pl.when(known).then(_f("utc")).dt.replace_time_zone("UTC")).struct.field("utc")


def _offset(fenced: pl.Expr) -> pl.Expr:
    """The ±hh:mm at the end of a text; Z is none."""
    steps = _named("signed", pl.when(~fenced.str.ends_with("Z")).then(fenced.str.tail(6)))
    minutes = _f("signed").str.slice(1, 2).cast(pl.Int64) * 60 + _f("signed").str.slice(4, 2).cast(pl.Int64)
    steps = steps.with_fields(minutes=minutes, west=_f("signed").str.starts_with("-"))
    signed = pl.when(_f("west")).then(-_f("minutes")).otherwise(_f("minutes")).fill_null(0)
    return steps.struct.with_fields(offset=pl.duration(minutes=signed)).struct.field("offset")


def _utc(wall: pl.Expr, form: LocalTime) -> pl.Expr:
    """Naive wall-clock times of the zone -> naive UTC; null where a time stands twice (unless said which) or never."""
    years, days = _same_calendars()
    steps = _named("wall", wall).with_fields(
        utc=_by_table(_f("wall"), form),
        late=pl.when(_f("wall").dt.year() >= RULES_END).then(_f("wall")),
    )
    since = _f("late").dt.year().replace_strict(years, days, default=None, return_dtype=pl.Int64)
    steps = steps.struct.with_fields(shift=pl.duration(days=since))
    by_rule = _by_table(_f("late") - _f("shift"), form) + _f("shift")
    steps = steps.struct.with_fields(agreed=_f("late").is_null() | by_rule.eq(_f("utc")))
    return steps.struct.with_fields(utc=pl.when(_f("agreed")).then(_f("utc"))).struct.field("utc")


def _by_table(wall: pl.Expr, form: LocalTime) -> pl.Expr:
    there = wall.dt.replace_time_zone(form.zone, ambiguous=form.ambiguous or "null", non_existent="null")
    return there.dt.convert_time_zone("UTC").dt.replace_time_zone(None)


@cache
def _same_calendars() -> tuple[list[int], list[int]]:
    """The years from 2100, and for each the days since the year before 2100 that has the same calendar."""
    kinds = {_calendar(year): year for year in range(RULES_END - 28, RULES_END)}
    years = list(range(RULES_END, 10_000))
    return years, [(date(year, 1, 1) - date(kinds[_calendar(year)], 1, 1)).days for year in years]


def _calendar(year: int) -> tuple[int, int]:
    return date(year, 1, 1).weekday(), date(year, 12, 31).weekday()


@dataclass(frozen=True)
class _Shape:
    """A pattern made ready: the fence it must match whole, and the part of one width that chrono reads."""

    fence: str
    chrono: str
    width: int
    fraction: bool
    offset: bool


@cache
def _shape(pattern: str) -> _Shape:
    parts = pieces(pattern)
    fraction = "%f" in parts
    fixed = parts[: parts.index("%f") - 1] if fraction else [part for part in parts if part != "%z"]
    rest = parts[len(fixed) :]
    fence = "".join(_DIRECTIVES.get(part) or re.escape(part) for part in fixed)
    if fraction:
        fence += rf"(?:{re.escape(rest[0])}[0-9]{{1,6}}0*)?"
    fence += "".join(_DIRECTIVES.get(part) or re.escape(part) for part in rest[2 if fraction else 0 :])
    width = sum(_WIDTHS.get(part, len(part)) for part in fixed)
    return _Shape(rf"\A{fence}\z", "".join(fixed), width, fraction, "%z" in parts)
