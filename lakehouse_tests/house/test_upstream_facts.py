"""Facts of pandera and Polars that the house leans on, or was built around. An upgrade says here which one moved.

Those of deltalake and Dagster stand in files of their own beside this one.
"""

import io
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

import pandera.errors
import pandera.polars as pa
import polars as pl
import pytest
from pandera.config import ValidationDepth, config_context

# ---- pandera ----


class Sized(pa.DataFrameModel):
    size: pl.Int64() = pa.Field(ge=1, description="Size", metadata={"ours": 1})  # type: ignore[valid-type]

    @pa.dataframe_check
    def small(self, data: pa.PolarsData) -> pl.LazyFrame:
        """Small ones only. (`self` is the class.)"""
        return data.lazyframe.select(pl.col("size") < 10)


@pytest.mark.parametrize("wrong", [0, 10])
def test_on_a_lazy_frame_pandera_checks_only_the_schema_and_bad_rows_pass(wrong: int):
    bad = pl.LazyFrame({"size": [wrong]})
    assert Sized.validate(bad).collect().height == 1
    with pytest.raises(pandera.errors.SchemaError):
        Sized.validate(bad.collect())
    with config_context(validation_depth=ValidationDepth.SCHEMA_AND_DATA), pytest.raises(pandera.errors.SchemaError):
        Sized.validate(bad).collect()
    with pytest.raises(pandera.errors.SchemaError):
        Sized.validate(pl.LazyFrame({"size": ["1"]})).collect()


def test_a_check_gives_its_mask_when_it_is_asked_alone():
    [check] = Sized.to_schema().columns["size"].checks
    mask = check(pl.LazyFrame({"size": [0, 1, None]}), "size").check_output.collect().to_series()
    assert mask.to_list() == [False, True, True]  # null is in bounds
    assert (check.name, check.statistics) == ("greater_than_or_equal_to", {"min_value": 1})


def test_a_rule_over_rows_that_says_null_lets_the_row_stand():
    rule: Any = next(iter(Sized.to_schema().checks or []))
    mask = rule(pl.LazyFrame({"size": [1, None, 10]})).check_output.collect().to_series()
    assert mask.to_list() == [True, True, False]


def test_a_field_gives_its_words_and_metadata_back():
    size = Sized.to_schema().columns["size"]
    assert (size.description, size.metadata, size.nullable) == ("Size", {"ours": 1}, False)


def model(hint: Any, name: str = "it") -> Any:
    made: Any = type(pa.DataFrameModel)("Model", (pa.DataFrameModel,), {"__annotations__": {name: hint}})
    return made.to_schema().columns


def test_pandera_takes_a_polars_type_with_all_its_parts():
    for dtype in (pl.Decimal(38, 3), pl.Datetime("us", "UTC"), pl.List(pl.Struct({"a": pl.Int8()})), pl.Date()):
        assert model(dtype)["it"].dtype.type == dtype


def test_pandera_loses_the_zone_of_an_annotated_datetime():
    assert model(Annotated[datetime, "UTC"])["it"].dtype.type.time_zone is None


def test_pandera_reads_a_bare_decimal_as_whole_numbers():
    assert model(Decimal)["it"].dtype.type.scale == 0


def test_pandera_reads_a_type_or_none_as_an_optional_column():
    column = model(int | None)["it"]
    assert (column.required, column.nullable) == (False, False)


def test_pandera_drops_a_column_that_begins_with_an_underscore():
    assert "_row" not in model(int, "_row")


def test_the_names_of_an_expressions_columns_leave_out_patterns_and_all():
    assert (pl.col("a") > pl.col("b")).meta.root_names() == ["a", "b"]
    assert (pl.col("^a.*$") > 0).meta.root_names() == []
    assert (pl.all() > 0).meta.root_names() == []


# ---- Polars: text that is read as something else, without a word. Why bronze text has a reader of its own ----


def csv(text: str, **how: Any) -> pl.DataFrame:
    return pl.read_csv(io.BytesIO(text.encode()), **how)


def test_csv_loses_leading_zeros_unless_everything_is_read_as_text():
    assert csv("sku\n00501\n").item() == 501
    assert csv("sku\n00501\n", infer_schema=False).item() == "00501"


def test_csv_makes_a_short_row_null():
    assert csv("a,b\n1,2\n3\n").rows() == [(1, 2), (3, None)]


def test_csv_takes_a_torn_last_number():
    assert csv("a,b\n1,1234\n2,12").rows() == [(1, 1234), (2, 12)]


def test_csv_renames_a_repeated_header():
    assert csv("a,a\n1,2\n").columns == ["a", "a_duplicated_0"]


def test_csv_with_lines_that_end_in_a_carriage_return_has_no_rows():
    assert csv("a,b\r1,2\r3,4\r").height == 0


def test_csv_drops_what_is_too_much_when_it_may():
    assert csv("a,b\n1,2,3\n", truncate_ragged_lines=True).rows() == [(1, 2)]


def ndjson(*lines: str, **how: Any) -> pl.DataFrame:
    return pl.read_ndjson(io.BytesIO("\n".join(lines).encode()), **how)


def test_json_lines_lose_a_field_that_first_comes_after_row_100():
    found = ndjson(*['{"a": 1}'] * 100, '{"a": 1, "late": 2}')
    assert (found.height, found.columns) == (101, ["a"])


def test_json_lines_null_a_value_of_another_type_when_errors_are_ignored():
    assert ndjson('{"a": 1}', '{"a": "x"}', schema={"a": pl.Int64}, ignore_errors=True)["a"].to_list() == [1, None]


def test_json_lines_keep_only_one_of_two_equal_names():
    assert ndjson('{"a": 1, "a": 2}').width == 1


def decoded(text: str, dtype: pl.DataType) -> Any:
    return pl.Series([text]).str.json_decode(dtype).to_list()[0]


def test_json_decode_is_not_exact():
    assert decoded('{"a": 1.5}', pl.Struct({"a": pl.Int64()})) == {"a": 1}
    assert decoded('{"a": 0.1000000000000000055}', pl.Struct({"a": pl.String()})) == {"a": "0.1"}
    assert decoded('{"a": 1.10}', pl.Struct({"a": pl.String()})) == {"a": "1.1"}
    assert decoded('{"a": 1, "b": 2}', pl.Struct({"a": pl.Int64()})) == {"a": 1}


MONEY: dict[str, tuple[Callable[[pl.Series], pl.Series], str, Decimal | None]] = {
    "a cast rounds": (lambda text: text.cast(pl.Decimal(38, 2)), "0.001", Decimal("0.00")),
    "to_decimal rounds": (lambda text: text.str.to_decimal(scale=2), "1.005", Decimal("1.00")),
    "to_decimal makes null of what is no number": (lambda text: text.str.to_decimal(scale=2), "1O.50", None),
}


@pytest.mark.parametrize(("read", "text", "read_as"), MONEY.values(), ids=list(MONEY))
def test_money(read: Callable[[pl.Series], pl.Series], text: str, read_as: Decimal | None):
    assert read(pl.Series([text])).to_list() == [read_as]


def test_a_product_of_decimals_keeps_the_larger_scale_only():
    price = pl.Series([Decimal("0.001")], dtype=pl.Decimal(38, 3))
    assert (price * price).to_list() == [Decimal("0.000")]


def test_the_mean_of_decimals_is_a_float():
    assert isinstance(pl.Series([Decimal("0.1")]).mean(), float)


# ---- Polars: what the rooms lean on ----


def test_naive_and_utc_times_do_not_silently_become_one():
    naive = pl.DataFrame({"at": [datetime(2024, 5, 1)]})  # noqa: DTZ001 # naive on purpose
    utc = pl.DataFrame({"at": [datetime(2024, 5, 1, tzinfo=UTC)]})
    with pytest.raises(pl.exceptions.SchemaError):
        pl.concat([naive, utc])


def test_a_left_join_keeps_the_order_of_rows_where_it_is_asked_to():
    left = pl.LazyFrame({"k": list(range(5_000, 0, -1))})
    right = pl.LazyFrame({"k": list(range(5_001)), "v": list(range(5_001))})
    joined = left.join(right, on="k", how="left", maintain_order="left").collect(engine="streaming")
    assert joined["k"].to_list() == list(range(5_000, 0, -1))


def test_a_column_that_is_gone_is_named_on_an_empty_frame_before_any_data():
    with pytest.raises(pl.exceptions.ColumnNotFoundError, match=r'unable to find column "b"; valid columns: \["a"\]'):
        pl.LazyFrame(schema={"a": pl.Int64}).select("b").collect_schema()


def test_the_text_of_an_expression_is_cut_and_so_no_measure_of_its_meaning():
    assert str(pl.col("a").is_in([1, 2, 3, 4, 5])) == str(pl.col("a").is_in([1, 2, 9, 9, 5]))
