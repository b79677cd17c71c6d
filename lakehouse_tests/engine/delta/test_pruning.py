from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from lakehouse.engine.delta.pruning import may_hold


def candidates(
    low: Sequence[object], high: Sequence[object], wanted: Sequence[object], dtype: pl.DataType
) -> list[str]:
    bounds = {"min.x": pl.Series(low, dtype=dtype), "max.x": pl.Series(high, dtype=dtype)}
    files = pl.DataFrame({"path": [chr(97 + place) for place in range(len(low))], **bounds})
    return may_hold(files, pl.DataFrame({"x": pl.Series(wanted, dtype=dtype)}), ["x"])


def test_a_file_whose_range_holds_no_wanted_value_is_left_out():
    assert candidates([0, 10, 20], [9, 19, 29], [5, 25], pl.Int64()) == ["a", "c"]
    assert candidates([0, 10], [9, 19], [9], pl.Int64()) == ["a"]
    assert candidates([0, 10], [9, 19], [10], pl.Int64()) == ["b"]
    assert candidates([0, 10], [4, 19], [7], pl.Int64()) == []


def test_an_unknown_bound_leaves_no_file_out():
    assert candidates([None, 10, None], [9, None, None], [9], pl.Int64()) == ["a", "c"]
    assert candidates([None, 10, None], [9, None, None], [10], pl.Int64()) == ["b", "c"]


def test_a_moment_beyond_a_bound_that_was_cut_to_milliseconds_is_kept():
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    wanted = [moment + timedelta(microseconds=900)]
    assert candidates([moment], [moment], wanted, pl.Datetime("us", "UTC")) == ["a"]


@pytest.mark.parametrize("dtype", [pl.Float64(), pl.Decimal(38, 0)], ids=str)
def test_a_type_whose_bounds_other_engines_round_leaves_no_file_out(dtype):
    assert candidates([0], [1], [7], dtype) == ["a"]


def test_a_column_that_was_not_measured_leaves_no_file_out():
    assert may_hold(pl.DataFrame({"path": ["a"]}), pl.DataFrame({"x": [1]}), ["x"]) == ["a"]
