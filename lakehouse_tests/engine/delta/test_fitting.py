"""What becomes of a frame whose columns are not the table's: widened by us and proved, or refused, counted."""

from datetime import UTC, date, datetime

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.delta.fitting import fitted
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.writes import overwrite, prepare_append, prepare_merge, replace_slice

TABLE = pl.Schema({"day": pl.Datetime("us", "UTC"), "id": pl.Int64()})
NARROW = pl.DataFrame({"id": [1, None], "day": [date(2024, 5, 1)] * 2}, schema={"id": pl.Int32(), "day": pl.Date()})
WIDE = pl.DataFrame({"day": [datetime(2024, 5, 1, tzinfo=UTC)] * 2, "id": [1, None]}, schema=TABLE)


def refusal(frame: pl.DataFrame, schema: dict[str, pl.DataType]) -> str:
    with pytest.raises(Refused) as refused:
        fitted(frame.lazy(), pl.Schema(schema), "gold/sales")
    assert str(refused.value).startswith("gold/sales refused a frame whose columns are not the table's: ")
    return str(refused.value)


def test_a_frame_with_the_tables_columns_is_handed_on_as_it_is():
    assert fitted(WIDE, TABLE, "t") is WIDE


def test_a_narrower_frame_in_another_order_fits_and_is_not_run_for_it():
    ran: list[int] = []
    lazy = NARROW.lazy().map_batches(lambda rows: ran.append(1) or rows)
    fits = fitted(lazy, TABLE, "t")
    assert not ran
    assert_frame_equal(fits.lazy().collect(), WIDE)
    assert_frame_equal(fitted(NARROW, TABLE, "t").lazy().collect(), WIDE)


def test_every_way_of_writing_widens(address):
    handle = Handle.create(address, TABLE)
    handle = prepare_append(handle, NARROW.lazy()).commit({}, {}).handle
    assert_frame_equal(handle.scan().collect(), WIDE)
    one = NARROW.head(1)
    handle = prepare_merge(handle, one.lazy(), ["id"]).commit({}, {}).handle
    handle = replace_slice(handle, one.lazy(), pl.col("id") == 1, {}, {}).handle
    assert_frame_equal(handle.scan().sort("id").collect(), WIDE.sort("id"))
    assert_frame_equal(overwrite(handle, one, {}, {}).handle.scan().collect(), WIDE.head(1))


def test_a_value_that_the_wider_type_has_no_room_for_is_found_on_the_way_and_nothing_is_committed(address):
    far = pl.DataFrame({"id": [1, 2], "day": [1, 200_000_000]}).cast({"day": pl.Int32}).cast({"day": pl.Date})
    handle = Handle.create(address, TABLE)
    for rows in (far, far.lazy()):
        with pytest.raises(Refused, match=r"orders: day: 1 value of Date would not be the same as Datetime"):
            prepare_append(handle, rows)
    assert handle.newest_version() == 0


@pytest.mark.parametrize(
    ("values", "dtype", "table", "said"),
    [
        ([1.5, 2.0, None], pl.Float64(), pl.Int64(), "Float64 in the frame, Int64 in the table: 1 of 3 values would"),
        ([2**40, 1], pl.Int64(), pl.Int32(), "1 of 2 values would change; a contract that declares Int64 widens the"),
        ([0.1, 0.5], pl.Float64(), pl.Float32(), "1 of 2 values would change; a contract that declares Float64"),
        (["007", "7"], pl.String(), pl.Int64(), "1 of 2 values would change"),
        ([[1], [2]], pl.List(pl.Int64()), pl.Int64(), "all of 2 values would change"),
        ([{"a": 1, "b": 2}], pl.Struct({"a": pl.Int8(), "b": pl.Int8()}), pl.Struct({"a": pl.Int8()}), "1 of 1 value"),
        ([1], pl.Int64(), pl.Int32(), "0 of 1 value would change"),
    ],
)
def test_a_wider_frame_is_refused_with_both_types_and_how_many_values_would_change(values, dtype, table, said):
    assert said in refusal(pl.DataFrame({"x": pl.Series(values, dtype=dtype)}), {"x": table})


def test_of_fields_that_are_named_otherwise_the_names_are_told():
    table = pl.List(pl.Struct({"sku": pl.String(), "of": pl.Struct({"a": pl.Int64()})}))
    frame = pl.List(pl.Struct({"sku": pl.String(), "of": pl.Struct({"b": pl.Int64()}), "note": pl.String()}))
    said = refusal(
        pl.DataFrame({"x": pl.Series([[{"sku": "1", "of": {"b": 1}, "note": None}]], dtype=frame)}), {"x": table}
    )
    names = "the table has no field x[].of.b, the table has no field x[].note, x[].of.a is missing in the frame"
    assert f"{names}, 1 of 1 value would change" in said


def test_every_difference_is_listed_and_no_other():
    frame = pl.DataFrame({"id": [1], "qty": [1.5], "new": ["a"]})
    said = refusal(frame, {"id": pl.Int64(), "qty": pl.Int64(), "gone": pl.String()})
    assert "new: the table has no such column (frame: String); a contract that declares it nullable adds it" in said
    assert "gone: missing in the frame (table: String)" in said
    assert "qty: Float64 in the frame, Int64 in the table" in said
    assert "id:" not in said
    assert said.endswith("Cast in the transform, or, where the contract changed on purpose, make the table anew: "
                         "lakehouse rebuild.")  # fmt: skip


def test_keys_that_are_deleted_are_widened_as_rows_are_or_refused(address):
    handle = (
        prepare_append(Handle.create(address, TABLE), WIDE.with_columns(id=pl.Series([1, 2]))).commit({}, {}).handle
    )
    none, narrow = WIDE.clear(), pl.DataFrame({"id": [1], "more": [0]}, schema_overrides={"id": pl.Int32})
    assert prepare_merge(handle, none, ["id"], deleted=narrow).commit({}, {}).handle.rows == 1
    with pytest.raises(Refused, match=r"orders \(deleted\) refused .* id: String in the frame, Int64 in the table"):
        prepare_merge(handle, none, ["id"], deleted=pl.DataFrame({"id": ["1"]}))
    with pytest.raises(Refused, match=r"orders \(deleted\) refused .* id: missing in the frame"):
        prepare_merge(handle, none, ["id"], deleted=pl.DataFrame({"no": ["1"]}))


def test_a_merge_goes_by_groups_or_by_what_is_newest_and_not_by_both(address):
    handle = Handle.create(address, TABLE)
    with pytest.raises(Refused, match=r"goes by replaces= or by newest_by=, not by both"):
        prepare_merge(handle, WIDE, ["id"], replaces=["day"], newest_by="id")
    with pytest.raises(Refused, match=r"has no column at to merge by"):
        prepare_merge(handle, WIDE, ["id"], newest_by="at")
