import json
import math
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta.files import write_files
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.statistics import LONGEST_TEXT, measure
from lakehouse_tests.engine.delta.opening import opened
from lakehouse_tests.engine.delta.writing import append

EVERY = pl.Schema(
    {
        "i64": pl.Int64(), "i8": pl.Int8(), "f64": pl.Float64(), "f32": pl.Float32(), "flag": pl.Boolean(),
        "text": pl.String(), "day": pl.Date(), "at": pl.Datetime("us", "UTC"), "money": pl.Decimal(38, 3),
        "raw": pl.Binary(), "lines": pl.List(pl.Struct({"sku": pl.String()})), "one": pl.Struct({"a": pl.Int64()}),
    }
)  # fmt: skip
MOMENT = datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=UTC)
ROW = {
    "i64": 2**63 - 1, "i8": -128, "f64": 0.1, "f32": 0.5, "flag": True, "text": "é£ 'x'\n\x00", "day": date(1, 1, 1),
    "at": MOMENT, "money": Decimal("12345678901234567890123456789012345.678"), "raw": b"\x00\xff",
    "lines": [{"sku": None}, {"sku": "A"}], "one": {"a": 1},
}  # fmt: skip


def committed(address: Address, frame: pl.DataFrame, rows_per_file: int = 1_000_000, partition_by=()) -> Handle:
    handle = Handle.create(address, frame.schema, partition_by=partition_by)
    return handle.commit(write_files(handle, frame.lazy(), rows_per_file=rows_per_file), [], {}, {})


def test_every_type_comes_back_as_it_went_in_by_two_engines(address, duckdb_rows):
    frame = pl.DataFrame([ROW, dict.fromkeys(ROW), ROW], schema=EVERY)
    handle = committed(address, frame)
    assert_frame_equal(handle.scan().collect(), frame)
    assert handle.protocol == (1, 2)
    assert [str(row) for row in duckdb_rows(handle)].count(str(duckdb_rows(handle)[0])) in {1, 2}
    assert {row[0] for row in duckdb_rows(handle)} == {2**63 - 1, None}
    assert Decimal("12345678901234567890123456789012345.678") in {row[8] for row in duckdb_rows(handle)}
    assert MOMENT in {row[7] for row in duckdb_rows(handle)}


def test_the_bounds_of_every_ranged_type_come_back_exactly(address):
    files = committed(address, pl.DataFrame([ROW], schema=EVERY)).files()
    for name in ("i64", "i8", "f64", "f32", "day", "at", "money"):
        assert files[f"min.{name}"].item() == files[f"max.{name}"].item() == ROW[name], name
    assert files["null_count.i64"].item() == 0
    assert files["null_count.lines"].item() is None


def test_files_are_cut_by_rows_and_keep_their_order(address):
    frame = pl.DataFrame({"id": range(1000)})
    handle = committed(address, frame, rows_per_file=100)
    assert handle.files()["rows"].to_list() == [100] * 10
    assert handle.files()["min.id"].to_list() == list(range(0, 1000, 100))
    assert_frame_equal(handle.scan().collect(), frame)


def test_files_of_several_partitions_sort_the_same_way_every_time(address):
    schema = pl.Schema({"day": pl.String(), "id": pl.Int64()})
    handle = Handle.create(address, schema, partition_by=["day"])
    frame = pl.DataFrame({"day": [f"d{number % 9}" for number in range(90)], "id": range(90)}, schema=schema)
    assert len({tuple(ids_by_file(handle, frame)) for _ in range(20)}) == 1


def ids_by_file(handle: Handle, frame: pl.DataFrame) -> list[tuple[int, ...]]:
    """Of the files that are written of it, in their order."""
    paths = [each.path for each in write_files(handle, frame, rows_per_file=4)]
    assert len({path.rpartition("/")[2] for path in paths}) == len(paths) == 9 * 3
    return [tuple(handle.scan_paths([path]).collect()["id"]) for path in paths]


def test_no_rows_are_no_files(address):
    handle = Handle.create(address, pl.Schema({"id": pl.Int64()}))
    assert write_files(handle, pl.LazyFrame(schema=handle.schema)) == []
    assert list(Path(address.uri).glob("*.parquet")) == []


def test_another_schema_is_refused_before_a_file_is_written(address):
    handle = Handle.create(address, pl.Schema({"id": pl.Int64()}))
    with pytest.raises(Refused, match="id: Float64 in the frame, Int64 in the table"):
        write_files(handle, pl.LazyFrame({"id": [2.7]}))
    assert list(Path(address.uri).glob("*.parquet")) == []


def test_data_files_without_a_commit_are_nothing_to_any_reader(address, duckdb_rows):
    handle = committed(address, pl.DataFrame({"id": [1]}))
    write_files(handle, pl.LazyFrame({"id": [2]}))
    again = opened(address)
    assert again.scan().collect()["id"].to_list() == [1]
    assert duckdb_rows(again) == [(1,)]


def test_personal_columns_leave_no_value_in_the_log(address):
    handle = Handle.create(address, pl.Schema({"id": pl.Int64(), "name": pl.String()}))
    (file,) = write_files(handle, pl.LazyFrame({"id": [1], "name": ["Ada"]}), unmeasured=["name"])
    assert "Ada" not in file.statistics
    assert json.loads(file.statistics)["maxValues"] == {"id": 1}


@pytest.mark.parametrize("folder", ["plain", "a b", "é£", "[x]*?", "a'b", "#1", "{x}"])
def test_a_table_may_lie_in_a_folder_of_any_name_without_a_percent_sign(tmp_path, folder, duckdb_rows):
    frame = pl.DataFrame({"day": ["a/b'c=%&é[x]* z", "plain", None, "é", "50%25"], "id": [1, 2, 3, 4, 5]})
    address = Address(str(tmp_path / folder / "t"))
    handle = committed(address, frame, partition_by=["day"])
    assert_frame_equal(handle.scan().collect().sort("id"), frame)
    assert_frame_equal(handle.since(0).collect().sort("id"), frame)
    assert set(handle.files()["partition.day"]) == set(frame["day"])
    if not set(folder) & set("[*?{"):  # DuckDB's own reader takes the folder for a pattern
        assert duckdb_rows(handle) == sorted(frame.rows(), key=repr)
    emptied = handle.commit([], handle.files()["path"], {}, {})
    assert emptied.scan().collect().is_empty()


HARM = [
    "o'brien\"; drop table x; --\n",
    "../../x",
    "..",
    "/etc/x",
    "a\0b",
    "\x1b[2J",
    "]]>%",
    "*?[x]",
    "{y}",
    "\\..\\x",
]


def test_a_partition_value_that_means_harm_is_the_name_of_one_folder_and_comes_back(tmp_path):
    frame = pl.DataFrame({"day": HARM, "id": range(len(HARM))}, schema_overrides={"id": pl.Int64})
    handle = committed(Address(str(tmp_path / "lake" / "t")), frame, partition_by=["day"])
    assert_frame_equal(handle.scan().collect().sort("id"), frame)
    for place, value in enumerate(HARM):
        assert handle.scan().filter(pl.col("day") == value).collect()["id"].to_list() == [place]
    written = [each.relative_to(tmp_path) for each in tmp_path.rglob("*.parquet")]
    assert {each.parts[:2] for each in written} == {("lake", "t")}
    assert {len(each.parts) for each in written} == {4}


def test_a_partitioned_table_is_refused_in_a_folder_that_looks_like_a_partition(tmp_path):
    schema = pl.Schema({"day": pl.String(), "id": pl.Int64()})
    with pytest.raises(Refused, match="takes for a partition"):
        Handle.create(Address(str(tmp_path / "a=b" / "t")), schema, partition_by=["day"])
    assert committed(Address(str(tmp_path / "a=b" / "t")), pl.DataFrame({"id": [1]})).scan().collect().height == 1


@pytest.mark.parametrize("value", ["", "__HIVE_DEFAULT_PARTITION__"])
def test_a_partition_value_that_would_come_back_as_null_is_refused(address, value):
    with pytest.raises(Refused, match="reads it back as null"):
        committed(address, pl.DataFrame({"day": [value, "x"], "id": [1, 2]}), partition_by=["day"])


@pytest.mark.parametrize("day", [3_000_000, -800_000], ids=["10183", "before 1"])
def test_a_day_that_python_does_not_know_is_no_folder_and_the_table_goes_on(address, day):
    handle = committed(address, pl.DataFrame({"day": [date(2024, 5, 1)], "id": [1]}), partition_by=["day"])
    with pytest.raises(Refused, match=r"cannot hold day = .*days of the years 1 to 9999 only\. Nothing was committed"):
        append(handle, pl.LazyFrame({"day": pl.Series([day], dtype=pl.Int32).cast(pl.Date), "id": [2]}), {}, {})
    later = append(opened(address), pl.LazyFrame({"day": [date(9999, 12, 31), None], "id": [3, 4]}), {}, {}).handle
    assert (later.version, sorted(later.scan().collect()["id"])) == (handle.version + 1, [1, 3, 4])


def test_a_value_too_long_for_a_folder_is_refused_with_its_length_and_not_tried_again(address):
    longest = "ä" * 41 + "abcde"  # each ä is %C3%A4 there
    handle = committed(address, pl.DataFrame({"day": [longest, "b"], "id": [1, 2]}), partition_by=["day"])
    assert handle.scan().filter(day=longest).collect()["id"].to_list() == [1]
    too_long = pl.LazyFrame({"day": [f"{longest}f"], "id": [3]})
    with pytest.raises(
        Refused, match=r"hold day = ä{20}…: its 47 characters take 256 bytes as a folder, .* Nothing was"
    ):
        append(handle, too_long, {}, {})


@pytest.mark.parametrize("dtype", [pl.Int32(), pl.Date(), pl.String()], ids=str)
def test_a_partition_keeps_its_type(address, dtype):
    frame = pl.DataFrame({"part": pl.Series([1, 20, None]).cast(dtype), "id": [1, 2, 3]})
    assert_frame_equal(committed(address, frame, partition_by=["part"]).scan().collect().sort("id"), frame)


def test_a_partition_without_an_exact_name_is_refused(address):
    with pytest.raises(Refused, match="no exact name"):
        Handle.create(address, pl.Schema({"f": pl.Float64(), "id": pl.Int64()}), partition_by=["f"])
    with pytest.raises(Refused, match="no such column"):
        Handle.create(address, pl.Schema({"f": pl.Float64(), "id": pl.Int64()}), partition_by=["g"])
    with pytest.raises(Refused, match="leave one"):
        Handle.create(address, pl.Schema({"id": pl.Int64()}), partition_by=["id"])


def test_long_texts_are_bounded_from_below_only(address):
    files = committed(address, pl.DataFrame({"text": ["é" * 40, "z" * 40]})).files()
    assert files["min.text"].item() == "z" * LONGEST_TEXT
    assert "max.text" not in files.columns or files["max.text"].item() is None


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_leaves_no_bounds(odd):
    (text,) = measure([pl.LazyFrame({"x": [1.0, odd, None]})], pl.Schema({"x": pl.Float64()}))
    assert json.loads(text) == {"numRecords": 3, "minValues": {}, "maxValues": {}, "nullCount": {"x": 1}}


def test_days_that_json_cannot_spell_leave_no_bound():
    frame = pl.LazyFrame({"x": pl.Series([0, 5_000_000], dtype=pl.Int32).cast(pl.Date)})
    (text,) = measure([frame], pl.Schema({"x": pl.Date()}))
    assert json.loads(text)["minValues"] == {"x": "1970-01-01"}
    assert json.loads(text)["maxValues"] == {}


TEXTS = st.text(st.sampled_from("aZé£\U0001f600\u00ff\x00 '"), max_size=40)
VALUES = {
    "text": (pl.String(), TEXTS),
    "number": (pl.Int64(), st.integers(-(2**63), 2**63 - 1)),
    "money": (pl.Decimal(38, 3), st.decimals(-(10**34), 10**34, places=3)),
    "share": (pl.Float64(), st.floats()),
    "day": (pl.Date(), st.dates()),
    "at": (pl.Datetime("us", "UTC"), st.datetimes(timezones=st.just(UTC))),
}


@settings(max_examples=25, deadline=None)
@given(st.data(), st.sampled_from(sorted(VALUES)))
def test_no_engine_misses_a_row_because_of_a_bound(duck, data, name):
    dtype, values = VALUES[name]
    drawn = data.draw(st.lists(st.none() | values, min_size=1, max_size=8))
    frame = pl.DataFrame({"x": pl.Series(drawn, dtype=dtype)})
    with TemporaryDirectory() as folder:
        handle = committed(Address(f"{folder}/t"), frame, rows_per_file=2)
        for low, high in handle.files().select(*_bounds(handle)).iter_rows():
            assert low is None or high is None or low <= high
        for value in {value for value in drawn if value is not None and value == value}:  # noqa: PLR0124 # not NaN
            expected = drawn.count(value)
            assert handle.scan().filter(pl.col("x") == pl.lit(value, dtype)).collect().height == expected
            if name != "money" and "\x00" not in str(value):  # DuckDB binds a long Decimal as a double
                found = duck.execute(f"SELECT count(*) FROM delta_scan('{folder}/t') WHERE x = $1", [value]).fetchone()
                assert found == (expected,)


def _bounds(handle: Handle) -> list[pl.Expr]:
    names = handle.files().columns
    return [pl.col(name) if name in names else pl.lit(None).alias(name) for name in ("min.x", "max.x")]
