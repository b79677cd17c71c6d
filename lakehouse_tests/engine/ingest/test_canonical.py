"""Typed values as text: one for each, the same from Python's values as from Polars', and it reads back exactly."""

import datetime as dt
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lakehouse.engine.declare.column import Column
from lakehouse.engine.declare.text import local_time
from lakehouse.engine.ingest.avro_records import _single
from lakehouse.engine.ingest.canonical import of_column, of_value
from lakehouse.engine.quality.text import read_text
from lakehouse_tests.making import midnight

SECONDS = st.datetimes(midnight("1678-01-01"), midnight("2261-01-01"))  # what nanoseconds reach


def texts(values: list[Any], dtype: Any) -> list[str | None]:
    column = pl.Series("x", values, dtype=dtype)
    return column.to_frame().select(of_column(pl.col("x"), column.dtype)).to_series().to_list()


def back(said: list[str | None], column: Column) -> list[Any]:
    return pl.DataFrame({"x": pl.Series(said, dtype=pl.String)}).select(read_text(pl.col("x"), column))["x"].to_list()


def of_values(values: list[Any]) -> list[str]:
    return [str(of_value(value)) for value in values]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
@example([0.1, 17850.0, -0.0, 6.1e-5, 1e-5, 9.9e-6, 1e16, 1e15, 5e-324, 1.7976931348623157e308, 0.1 + 0.2])
def test_a_float(values: list[float]):
    said = texts(values, pl.Float64)
    assert said == of_values(values)
    assert list(map(str, back(said, Column("x", pl.Float64())))) == list(map(str, values))


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False).filter(lambda value: abs(value) < 1e13)))
@example([0.1, 16777216.0])
def test_a_float_of_32_bits_is_the_shortest_text_of_its_own(values: list[float]):
    column = pl.Series(values, dtype=pl.Float32)
    said = texts(values, pl.Float32)
    assert [float(text or "") for text in said] == [float(_single(value)) for value in column]
    assert back(said, Column("x", pl.Float32())) == column.to_list()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_said_and_read_by_no_type(value: float):
    said = texts([value], pl.Float64)
    assert said == of_values([value])
    assert back(said, Column("x", pl.Float64())) == back(said, Column("x", pl.Decimal(38, 3))) == [None]


def test_a_whole_number_that_was_kept_as_a_float_reads_as_int_float_and_decimal():
    said = texts([17850.0, -3.0], pl.Float64)
    assert said == ["17850", "-3"]
    for dtype in (pl.Int64(), pl.Float64(), pl.Decimal(38, 3)):
        assert back(said, Column("x", dtype)) == [17850, -3]
    assert back(texts([17850.5], pl.Float64), Column("x", pl.Int64())) == [None]


@given(st.lists(st.decimals(min_value=-(10**12), max_value=10**12, places=3)))
def test_a_decimal_has_its_scale(values: list[Decimal]):
    said = texts(values, pl.Decimal(38, 3))
    assert said == of_values(pl.Series(values, dtype=pl.Decimal(38, 3)).to_list())
    assert back(said, Column("x", pl.Decimal(38, 3))) == values


@given(st.lists(SECONDS.map(lambda each: each.replace(tzinfo=dt.UTC))), st.sampled_from(["us", "ns"]))
def test_an_instant_is_utc_and_reads_back(values: list[dt.datetime], unit: Any):
    said = texts(values, pl.Datetime(unit, "UTC"))
    assert said == of_values(values)
    assert back(said, Column("x", pl.Datetime("us", "UTC"))) == values


def test_an_instant_of_another_zone_becomes_utc():
    summer = dt.datetime(2024, 7, 1, 9, 30, tzinfo=dt.UTC)
    assert texts([summer], pl.Datetime("ms", "Europe/London")) == ["2024-07-01T09:30:00Z"]
    assert of_value(summer.astimezone(dt.timezone(dt.timedelta(hours=5)))) == "2024-07-01T09:30:00Z"


def test_nanoseconds_are_said_and_not_cut_off():
    ns = pl.Series("x", [1_700_000_000_123_456_789, 1_700_000_000_123_456_000]).cast(pl.Datetime("ns", "UTC"))
    said = ns.to_frame().select(of_column(pl.col("x"), ns.dtype))["x"].to_list()
    assert said == ["2023-11-14T22:13:20.123456789Z", "2023-11-14T22:13:20.123456Z"]
    assert [each is None for each in back(said, Column("x", pl.Datetime("us", "UTC")))] == [True, False]


@given(st.lists(st.datetimes()))
def test_a_time_without_a_zone_is_wall_clock_text(values: list[dt.datetime]):
    said = texts(values, pl.Datetime("us"))
    assert said == of_values(values)
    assert set(back(said, Column("x", pl.Datetime("us", "UTC")))) <= {None}
    zone = local_time("UTC", "%Y-%m-%dT%H:%M:%S.%f")
    read = back(said, Column("x", pl.Datetime("us", "UTC"), text=zone))
    assert [each.replace(tzinfo=None) for each in read] == values


@given(st.lists(st.dates()), st.lists(st.times()), st.lists(st.booleans()), st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_dates_times_booleans_and_whole_numbers(
    dates: list[dt.date], times: list[dt.time], truths: list[bool], numbers: list[int]
):
    assert texts(dates, pl.Date) == of_values(dates)
    assert back(texts(dates, pl.Date), Column("x", pl.Date())) == dates
    assert texts(times, pl.Time) == of_values(times)
    assert texts(truths, pl.Boolean) == ["true" if each else "false" for each in truths]
    assert texts(numbers, pl.Int64) == of_values(numbers)
    assert back(texts(numbers, pl.Int64), Column("x", pl.Int64())) == numbers


def test_time_that_passed_is_in_hours():
    assert of_value(dt.timedelta(days=1, hours=12)) == "36:00:00"
    assert of_value(-dt.timedelta(minutes=1, microseconds=5)) == "-00:01:00.000005"


def test_null_is_null_at_every_depth():
    dtype = pl.List(pl.Struct({"a": pl.Float64, "b": pl.List(pl.Int8)}))
    values = [None, [], [None], [{"a": None, "b": [1, None]}, {"a": 2.0, "b": None}]]
    assert texts(values, dtype) == [None, [], [None], [{"a": None, "b": ["1", None]}, {"a": "2", "b": None}]]
    assert texts([None, [1, 2]], pl.Array(pl.Int8, 2)) == [None, ["1", "2"]]
