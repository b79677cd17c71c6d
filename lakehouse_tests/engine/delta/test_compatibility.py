from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars._typing import PolarsDataType

from lakehouse.engine.delta.compatibility import Answer, check_compatibility, widens
from lakehouse.engine.delta.fitting import fitted
from lakehouse_tests.engine.delta.lattice import PLAIN, TYPES, UTC, values, wider

OLD = pl.Schema({"id": pl.Int64(), "qty": pl.Int32(), "lines": pl.List(pl.Struct({"sku": pl.String()}))})


def changed(**columns: pl.DataType | None) -> pl.Schema:
    return pl.Schema({name: dtype for name, dtype in {**OLD, **columns}.items() if dtype is not None})


# ---- which type is wider ----


@given(TYPES)
def test_a_type_is_as_wide_as_itself(dtype):
    assert widens(dtype, dtype)


@given(st.data())
def test_widening_is_transitive(data):
    one = data.draw(TYPES)
    two = data.draw(wider(one))
    three = data.draw(wider(two))
    assert not (widens(one, two) and widens(two, three)) or widens(one, three)


@given(st.data())
def test_of_two_types_only_one_is_wider(data):
    one = data.draw(TYPES)
    two = data.draw(wider(one))
    assert not (widens(one, two) and widens(two, one)) or one == two


@given(st.data())
def test_what_is_widened_keeps_every_value(data):
    one = data.draw(TYPES)
    two = data.draw(wider(one).filter(lambda other: widens(one, other)))
    was = pl.Series("x", data.draw(st.lists(values(one), max_size=5)), one, strict=False)
    became = fitted(was.to_frame(), pl.Schema({"x": two}), "t").lazy().collect()["x"]
    assert became.dtype == two
    assert [plain(value, two) for value in became] == [plain(value, two) for value in was]


def plain(value: Any, dtype: PolarsDataType) -> object:
    """As Python compares it, whatever type it is kept in."""
    if value is None:
        return None
    if isinstance(dtype, pl.List):
        return [plain(each, dtype.inner) for each in value]
    if isinstance(dtype, pl.Struct):
        return {each.name: plain(value.get(each.name), each.dtype) for each in dtype.fields}
    if dtype == UTC:
        return (value.year, value.month, value.day, getattr(value, "hour", 0), getattr(value, "microsecond", 0))
    return "NaN" if value != value else value  # noqa: PLR0124 # NaN is not itself


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (pl.Int32(), pl.Int64()), (pl.Float32(), pl.Float64()), (pl.Date(), UTC), (pl.Int32(), pl.Float64()),
        (pl.Decimal(10, 2), pl.Decimal(12, 4)), (pl.Int64(), pl.Decimal(19, 0)),
        (pl.List(pl.Int32()), pl.List(pl.Int64())), (pl.Struct({"x": pl.Int8()}), pl.Struct({"x": pl.Int16()})),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_declared_to_widen_widens_and_not_back(old, new):
    assert widens(old, new)
    assert not widens(new, old)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (pl.Int64(), pl.Float64()), (pl.Int32(), pl.Float32()), (pl.Decimal(10, 2), pl.Decimal(10, 4)),
        (pl.Decimal(10, 2), pl.Float64()), (pl.Int64(), pl.String()), (pl.Int64(), pl.Decimal(18, 0)),
        (pl.Date(), pl.Datetime("us")), (UTC, pl.Date()), (pl.Boolean(), pl.Int8()), (pl.Int64(), pl.List(pl.Int64())),
        (pl.Struct({"x": pl.Int8(), "y": pl.Int8()}), pl.Struct({"y": pl.Int8(), "x": pl.Int8()})),
    ],
    ids=str,
)  # fmt: skip
def test_what_would_lose_a_value_or_change_its_meaning_does_not_widen(old, new):
    assert not widens(old, new)


# ---- what a change of columns asks for ----


@given(TYPES)
def test_the_same_columns_ask_for_nothing(dtype):
    found = check_compatibility(pl.Schema({"x": dtype}), pl.Schema({"x": dtype}), required=["x"])
    assert (found.answer, found.changes, found.goes_on) == (Answer.COMPATIBLE, (), True)


@pytest.mark.parametrize(
    ("new", "answer", "said"),
    [
        (changed(note=pl.String()), Answer.COMPATIBLE, "note (String) is added; null in rows that stand"),
        (changed(qty=pl.Int64()), Answer.WIDEN, "qty is widened from Int32 to Int64"),
        (changed(qty=None), Answer.NEW_VERSION, "qty (Int32) is dropped or renamed"),
        (changed(qty=pl.Int16()), Answer.NEW_VERSION, "qty turns from Int32 into Int16, which does not hold every"),
        (changed(qty=pl.String()), Answer.NEW_VERSION, "qty turns from Int32 into String"),
        (changed(must=pl.String()), Answer.NEW_VERSION, "must (String) is new and may not be null"),
        (changed(qty=pl.UInt64()), Answer.REFUSE, "qty is UInt64: return it as a decimal"),
        (changed(QTY=pl.Int32()), Answer.REFUSE, "qty and QTY differ by case only"),
        (
            changed(lines=pl.List(pl.Struct({"sku": pl.String(), "size": pl.Int8()}))), Answer.COMPATIBLE,
            "lines gains fields, null in rows that stand",
        ),
        (
            changed(lines=pl.List(pl.Struct({"sku": pl.String(), "must": pl.Int8()}))), Answer.NEW_VERSION,
            "lines gains lines[].must, which is new and may not be null",
        ),
        (pl.Schema(reversed(OLD.items())), Answer.COMPATIBLE, "the order is lines, qty, id"),
    ],
)  # fmt: skip
def test_every_change_is_answered_with_the_column_and_why(new, answer, said):
    found = check_compatibility(OLD, new, required=["id", "must", "lines[].must"])
    assert found.answer is answer
    assert said in str(found)
    assert found.goes_on == (answer in (Answer.COMPATIBLE, Answer.WIDEN))


def test_of_several_changes_the_one_that_asks_for_most_is_the_answer_and_said_first():
    found = check_compatibility(OLD, changed(note=pl.String(), qty=pl.Int64(), id=None))
    assert found.answer is Answer.NEW_VERSION
    assert str(found).startswith("id (Int64) is dropped or renamed; qty is widened")
    assert "note (String) is added" in str(found)


@given(st.dictionaries(st.sampled_from("abc"), PLAIN, min_size=1), st.data())
def test_what_goes_on_twice_goes_on_at_once(columns, data):
    one = pl.Schema(columns)
    two = pl.Schema({**{name: data.draw(wider(dtype)) for name, dtype in one.items()}, "d": pl.String()})
    three = pl.Schema({**{name: data.draw(wider(dtype)) for name, dtype in two.items()}, "e": pl.String()})
    if check_compatibility(one, two).goes_on and check_compatibility(two, three).goes_on:
        assert check_compatibility(one, three).goes_on
