from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

import polars as pl
import pytest

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.storable import check_storable

UNFIT = [
    pl.Categorical(), pl.Enum(["a"]), pl.Time(), pl.Duration("us"), pl.Null(), pl.Int128(), pl.UInt128(), pl.UInt64(),
    pl.UInt32(), pl.UInt16(), pl.UInt8(), pl.Float16(), pl.Object(), pl.Array(pl.Int64, 2),
    pl.Datetime("ms", "UTC"), pl.Datetime("ns", "UTC"), pl.Datetime("us", "Europe/London"),
]  # fmt: skip
SUMMER = datetime(2024, 7, 1, 12, 0, 0, 123_000)  # noqa: DTZ001 # what a wall clock showed
WAYS_OUT = [
    (pl.Categorical(), "a", "a"),
    (pl.Enum(["a"]), "a", "a"),
    (pl.Time(), time(0, 0, 1, 5), 1_000_005_000),
    (pl.Duration("ms"), timedelta(seconds=1), 1_000),
    (pl.Duration("ns"), timedelta(seconds=1), 1_000_000_000),
    (pl.Null(), None, None),
    (pl.Int128(), -(2**100), Decimal(-(2**100))),
    (pl.UInt128(), 2**100, Decimal(2**100)),
    (pl.UInt64(), 2**64 - 1, Decimal(2**64 - 1)),
    (pl.UInt32(), 2**32 - 1, 2**32 - 1),
    (pl.UInt16(), 2**16 - 1, 2**16 - 1),
    (pl.UInt8(), 255, 255),
    (pl.Float16(), 1.5, 1.5),
    (pl.Array(pl.Int64, 2), [1, 2], [1, 2]),
    (pl.Datetime("ms"), SUMMER, SUMMER.replace(hour=11, tzinfo=UTC)),
    (pl.Datetime("ns"), SUMMER, SUMMER.replace(hour=11, tzinfo=UTC)),
    (pl.Datetime("ms", "UTC"), SUMMER.replace(tzinfo=UTC), SUMMER.replace(tzinfo=UTC)),
    (pl.Datetime("ns", "UTC"), SUMMER.replace(tzinfo=UTC), SUMMER.replace(tzinfo=UTC)),
    (pl.Datetime("us", "Europe/London"), SUMMER.replace(tzinfo=UTC), SUMMER.replace(tzinfo=UTC)),
]
FIT = [
    pl.String(), pl.Int64(), pl.Int32(), pl.Int16(), pl.Int8(), pl.Float64(), pl.Float32(), pl.Boolean(), pl.Date(),
    pl.Binary(), pl.Datetime("us", "UTC"), pl.Datetime("us"), pl.Decimal(38, 3), pl.List(pl.Struct({"x": pl.String})),
]  # fmt: skip


@pytest.mark.parametrize("dtype", FIT, ids=str)
def test_what_delta_holds_is_storable(dtype):
    check_storable(pl.Schema({"x": dtype}), "orders")


@pytest.mark.parametrize("dtype", UNFIT, ids=str)
def test_what_delta_cannot_hold_is_refused_by_column_and_type(dtype):
    with pytest.raises(Refused, match=r"orders .*amount is ") as refusal:
        check_storable(pl.Schema({"id": pl.Int64(), "amount": dtype}), "orders")
    assert str(dtype) in str(refusal.value)


@pytest.mark.parametrize("dtype", UNFIT, ids=str)
def test_it_is_refused_as_deep_as_it_hides(dtype):
    with pytest.raises(Refused, match=r"lines\[\]\.qty is "):
        check_storable(pl.Schema({"lines": pl.List(pl.Struct({"qty": dtype}))}), "orders")


def way_out(schema: pl.Schema) -> pl.Expr:
    """What the refusal says to write."""
    with pytest.raises(Refused) as refusal:
        check_storable(schema, "orders")
    _, begin, written = str(refusal.value).rpartition(": pl.col(")
    return eval(f"pl.col({written.removesuffix('. Nothing was written.')}", {"pl": pl}) if begin else pl.lit(None)


@pytest.mark.parametrize(("dtype", "value", "stored"), WAYS_OUT, ids=[str(each) for each, *_ in WAYS_OUT])
def test_the_refusal_says_the_expression_by_which_the_same_value_is_stored(dtype, value, stored):
    rows = pl.Series("amount", [value, None], dtype).to_frame()
    mended = rows.select(way_out(rows.schema))
    check_storable(mended.schema, "orders")
    assert mended["amount"].to_list() == [stored, None]
    deep = rows.select(lines=pl.concat_list(pl.struct(of=pl.struct("amount"))))
    mended = deep.select(way_out(deep.schema))
    check_storable(mended.schema, "orders")
    assert mended["lines"].to_list() == [[{"of": {"amount": stored}}], [{"of": {"amount": None}}]]


def test_every_type_that_is_refused_has_its_expression_tried():
    without_values = {pl.Object}
    assert {type(each) for each in UNFIT} - without_values == {type(each) for each, *_ in WAYS_OUT}
    text = way_out(pl.Schema({"x": pl.Object()}))
    assert pl.DataFrame({"x": [object]}, schema={"x": pl.Object}).select(text).schema == {"x": pl.String}


def test_a_value_that_the_expression_cannot_keep_stops_it():
    for dtype in (pl.Int128(), pl.UInt128()):
        rows = pl.Series("amount", [2**127 - 1], dtype).to_frame()
        with pytest.raises(pl.exceptions.InvalidOperationError):
            rows.select(way_out(rows.schema))
    twice = pl.Series("at", ["2024-10-27T01:30"]).str.to_datetime(time_unit="ms").to_frame()
    with pytest.raises(pl.exceptions.ComputeError, match="is ambiguous"):
        twice.select(way_out(twice.schema))


def test_names_that_differ_by_case_only_are_refused():
    with pytest.raises(Refused, match="sku and SKU differ by case only"):
        check_storable(pl.Schema({"sku": pl.String(), "SKU": pl.String()}), "orders")
    with pytest.raises(Refused, match=r"line\.sku and line\.SKU"):
        check_storable(pl.Schema({"line": pl.Struct({"sku": pl.String(), "SKU": pl.String()})}), "orders")


@pytest.mark.parametrize("name", ["unit price", "a,b", "a=b", "a;b", "{a}", "(a)", "a\tb", ""])
def test_names_that_spark_cannot_read_are_refused(name):
    with pytest.raises(Refused, match="rename it"):
        check_storable(pl.Schema({name: pl.String()}), "orders")


def test_a_table_without_columns_is_refused():
    with pytest.raises(Refused, match="no column"):
        check_storable(pl.Schema({}), "orders")


@pytest.mark.parametrize("name", ["unit-price", "1st", "größe", "a.b", 'a"b'])
def test_a_new_table_has_no_name_that_a_reader_must_quote(name, tmp_path):
    with pytest.raises(Refused, match=r"cannot have a column named .*would have to quote"):
        Handle.create(Address(str(tmp_path / "t")), pl.Schema({name: pl.String()}))
