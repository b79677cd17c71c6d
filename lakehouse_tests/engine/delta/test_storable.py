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
