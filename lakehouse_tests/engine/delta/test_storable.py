import re
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
import pytest

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.sql_words import SQL_WORDS
from lakehouse.engine.delta.evolution import evolve
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.storable import check_names, check_storable
from lakehouse.engine.delta.writes import overwrite, prepare_append, prepare_merge, prepare_overwrite
from lakehouse_tests.engine.delta.opening import opened

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


@pytest.mark.parametrize("name", ["unit-price", "1st", "größe"])
@pytest.mark.parametrize("path", ["line", "lines[]", "lines[].of"])
def test_nor_has_a_field_as_deep_as_it_lies(name, path, tmp_path):
    column, *within = path.split(".")
    dtype = pl.Struct({name: pl.String()})
    dtype = pl.Struct({"of": dtype}) if within else dtype
    schema = pl.Schema({column.removesuffix("[]"): pl.List(dtype) if "[]" in column else dtype})
    with pytest.raises(Refused, match=re.escape(f"cannot have a column named '{path}.{name}'")):
        Handle.create(Address(str(tmp_path / "t")), schema)


def test_a_field_may_be_a_word_of_sql_since_no_engine_takes_one_for_its_own_after_a_dot():
    words = pl.Struct(dict.fromkeys(sorted(SQL_WORDS), pl.Int64()))
    check_names(pl.Schema({"s": words}), "orders", words=SQL_WORDS)
    with pytest.raises(
        Refused, match=r"orders cannot have a column named 'Order': .*\.rename\({'Order': 'Order_'}\)\."
    ):
        check_names(pl.Schema({"Order": pl.Int64()}), "orders", words=SQL_WORDS)
    row = dict.fromkeys(sorted(SQL_WORDS), 1)
    asked = ", ".join(f"s.{word}, t.s.{word} as {word}_" for word in sorted(SQL_WORDS))
    assert set(duckdb.sql(f"select {asked} from (select {row} as s) t").fetchall()[0]) == {1}


ODD = {"größe": "x", "sku": "a", "line": {"Unit Price": 1, "unit_price": 2, "1st": 3}, "order": 4}
ODDER = {"lines": [{"of": {"a-b": 5}, "": 6}], "Order": 7, "SKU": "b"}


@pytest.mark.parametrize("row", [ODD, ODDER, ODD | ODDER, {"a b": 1, "A_B": 2, "a-b": 3}], ids=str)
def test_the_refusal_says_how_the_same_values_are_called_otherwise(row, tmp_path):
    rows = mended = pl.DataFrame([row])
    while (refusal := refused(tmp_path, mended.schema)) is not None:
        mended = by_the_ways_out(mended, refusal)
    assert leaves(mended.row(0)) == leaves(rows.row(0))


def refused(folder: Path, schema: pl.Schema) -> str | None:
    try:
        check_names(schema, "orders", words=SQL_WORDS)
        Handle.create(Address(str(folder / "t")), schema)
    except Refused as refusal:
        return str(refusal)
    return None


def by_the_ways_out(rows: pl.DataFrame, refusal: str) -> pl.DataFrame:
    """The same rows, after what the refusal says was called one after the other; of several faults after the first."""
    said = refusal.removesuffix(". Nothing was written.").split("; ")[0]
    ways = re.split(r"word of SQL: |rename it: |rename one: ", said)[1]
    for way in ways.split(", then "):
        rows = eval(f"rows{way}" if way.startswith(".") else f"rows.with_columns({way})", {"pl": pl, "rows": rows})
    return rows


def leaves(value: object) -> list[object]:
    held = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else None
    return [value] if held is None else [leaf for each in held for leaf in leaves(each)]


def test_a_table_that_stands_keeps_the_names_it_has_and_takes_no_more_of_them(tmp_path):
    address = Address(str(tmp_path / "t"))
    theirs = pl.DataFrame({"order": [1], "line": [{"a-b": 1}]})
    theirs.write_delta(str(tmp_path / "t"))
    prepare_append(opened(address), theirs).commit({}, {})
    overwrite(opened(address), theirs, {}, {})
    merged = prepare_merge(opened(address), theirs, ["order"]).commit({}, {}).handle
    assert merged.scan().collect().rows() == theirs.rows()
    more = pl.Schema({**theirs.schema, "sku": pl.String()})
    evolved = evolve(merged, more, {})
    assert evolved.scan().collect()["sku"].to_list() == [None]
    for odd in ({**more, "c.d": pl.String()}, {**more, "line": pl.Struct({"a-b": pl.Int64, "c-d": pl.Int64})}):
        with pytest.raises(Refused, match=r"named '(c\.d|line\.c-d)'"):
            evolve(evolved, pl.Schema(odd), {})
        with pytest.raises(Refused, match=r"named '(c\.d|line\.c-d)'"):
            prepare_overwrite(evolved, theirs.head(0), pl.Schema(odd))
