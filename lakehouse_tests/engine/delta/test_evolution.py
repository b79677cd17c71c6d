"""A table that is given other columns: equal rows, one commit, and every reader goes on."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from lakehouse.engine.declare.errors import Conflict, Refused
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.readers import EVERY_READER, Reader
from lakehouse.engine.delta import evolution, files
from lakehouse.engine.delta.check import check
from lakehouse.engine.delta.compatibility import check_compatibility
from lakehouse.engine.delta.described import as_delta
from lakehouse.engine.delta.evolution import as_if, evolve, nulls
from lakehouse.engine.delta.files import write_files
from lakehouse.engine.delta.fitting import fitted
from lakehouse.engine.delta.handle import CHECKPOINT_EVERY, Handle
from lakehouse.engine.delta.protocol import for_readers
from lakehouse.engine.delta.slices import changed_slices
from lakehouse.engine.delta.travel import at_version, history
from lakehouse.engine.delta.writes import prepare_merge, prepare_overwrite
from lakehouse_tests.engine.delta.lattice import values, wider
from lakehouse_tests.engine.delta.opening import opened
from lakehouse_tests.engine.delta.writing import append, merge

NARROW = pl.DataFrame(
    {
        "id": [1, 2, None], "day": [date(2024, 5, 1), None, date(2024, 5, 3)], "price": [1.5, None, 2.25],
        "sum": [Decimal("1.25"), Decimal("-3.50"), None], "lines": [[{"qty": 1}], [], None],
    },
    schema={
        "id": pl.Int32(), "day": pl.Date(), "price": pl.Float32(), "sum": pl.Decimal(5, 2),
        "lines": pl.List(pl.Struct({"qty": pl.Int8()})),
    },
)  # fmt: skip
WIDE = pl.Schema(
    {
        "note": pl.String(), "id": pl.Int64(), "day": pl.Datetime("us", "UTC"), "price": pl.Float64(),
        "sum": pl.Decimal(12, 4), "lines": pl.List(pl.Struct({"qty": pl.Int32(), "unit": pl.String()})),
    }
)  # fmt: skip
ADDED = pl.Schema({**NARROW.schema, "note": pl.String()})
WIDENED = pl.DataFrame(
    {
        "note": [None] * 3, "id": [1, 2, None],
        "day": [datetime(2024, 5, 1, tzinfo=UTC), None, datetime(2024, 5, 3, tzinfo=UTC)], "price": [1.5, None, 2.25],
        "sum": [Decimal("1.2500"), Decimal("-3.5000"), None], "lines": [[{"qty": 1, "unit": None}], [], None],
    },
    schema=WIDE,
)  # fmt: skip


def table(address: Address, rows: pl.DataFrame = NARROW, rows_per_file: int = 2, **words: Any) -> Handle:
    handle = Handle.create(address, rows.schema, **words)
    return handle.commit(write_files(handle, rows, rows_per_file=rows_per_file), [], {"p": 1}, {"table": "silver/t"})


def assert_read_alike(handle: Handle, duckdb_rows: Callable[[Handle], list[tuple[object, ...]]], rows: pl.DataFrame):
    """By Polars, delta-rs and DuckDB, each in its own order."""
    arrow = pl.DataFrame(DeltaTable(handle.address.uri).to_pyarrow_table())
    duck = pl.DataFrame(duckdb_rows(handle), schema=rows.schema, orient="row")
    for read in (pl.read_delta(handle.address.uri), arrow.cast(rows.schema), duck):
        assert sorted(map(repr, read.select(rows.columns).rows())) == sorted(map(repr, rows.rows()))


def test_a_column_that_is_added_costs_a_line_of_the_log(address):
    before = table(address)
    after = evolve(before, ADDED, {})
    assert_frame_equal(after.scan().collect(), NARROW.with_columns(note=pl.lit(None, pl.String)))
    assert (after.version, after.transaction("p")) == (before.version + 1, 1)
    assert after.files()["path"].to_list() == before.files()["path"].to_list()
    assert {*map(next, map(iter, after.commit_of(after.version).actions))} == {"commitInfo", "metaData"}


def test_what_is_widened_is_written_anew_with_equal_values_that_every_engine_reads(address, duckdb_rows):
    before = table(address)
    after = evolve(before, WIDE, {})
    assert_frame_equal(after.scan().collect(), WIDENED)
    assert_frame_equal(opened(address).scan().collect(), WIDENED)
    assert_frame_equal(pl.read_delta(address.uri).select(WIDE.names()), WIDENED)
    assert_read_alike(after, duckdb_rows, WIDENED)
    assert (after.protocol, after.rows, check(after).faults) == ((1, 2), 3, {})
    assert after.files()["max.id"].to_list() == [2]
    assert_frame_equal(at_version(opened(address), before.version).scan().collect(), NARROW)


@pytest.mark.parametrize("schema", [ADDED, WIDE])
def test_every_engine_reads_rows_of_before_and_after(address, duckdb_rows, schema):
    after = append(evolve(table(address), schema, {}), WIDENED.lazy() if schema is WIDE else NARROW.with_columns(
        note=pl.lit("new")).lazy(), {}, {}).handle  # fmt: skip
    rows = after.scan().collect()
    assert rows.height == 6
    assert_read_alike(after, duckdb_rows, rows)


def test_fields_that_structs_gain_are_null_in_rows_that_stand_for_every_engine(address, duckdb_rows):
    gained = pl.Schema({**NARROW.schema, "lines": pl.List(pl.Struct({"qty": pl.Int8(), "unit": pl.String()}))})
    before = table(address)
    after = evolve(before, gained, {})
    assert after.files()["path"].to_list() == before.files()["path"].to_list()
    assert after.scan().collect()["lines"].to_list() == [[{"qty": 1, "unit": None}], [], None]
    assert_read_alike(after, duckdb_rows, after.scan().collect())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(st.data())
def test_evolving_twice_is_evolving_once_and_keeps_every_row(tmp_path_factory, data):
    old = data.draw(st.dictionaries(st.sampled_from("abc"), st.sampled_from([*NARROW.schema.dtypes()]), min_size=1))
    new = pl.Schema({**{name: data.draw(wider(dtype)) for name, dtype in old.items()}, "d": pl.String()})
    rows = pl.DataFrame(
        {name: pl.Series(data.draw(st.lists(values(each), min_size=2, max_size=2)), dtype=each, strict=False)
         for name, each in old.items()},
        schema=old,
    )  # fmt: skip
    before = table(Address(str(tmp_path_factory.mktemp("t"))), rows)
    if not check_compatibility(before.schema, new).goes_on:
        with pytest.raises(Refused, match="cannot go on with other columns"):
            evolve(before, new, {})
        return
    once = evolve(before, new, {})
    assert evolve(once, new, {}) is once
    assert (once.version, once.schema) == (before.version + 1, new)
    assert_frame_equal(once.scan().collect(), as_if(before, new).scan().collect())
    kept = pl.Schema({name: new[name] for name in old})
    assert_frame_equal(once.scan().select(kept.names()).collect(), fitted(rows, kept, "t").lazy().collect())


def test_a_table_is_read_as_if_it_had_the_columns_before_it_has_them(address):
    before = table(address)
    view = as_if(before, WIDE)
    assert_frame_equal(view.scan().collect(), WIDENED)
    assert view.files()["min.day"].to_list() == [datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 5, 3, tzinfo=UTC)]
    assert_frame_equal(before.scan().collect(), NARROW)
    assert before.newest_version() == before.version


@pytest.mark.parametrize("schema", [ADDED, WIDE])
def test_a_reader_that_is_behind_reads_on_across_it(address, schema):
    first = table(address, NARROW.head(1))
    second = append(first, NARROW.tail(2).lazy(), {}, {}).handle
    evolved = evolve(second, schema, {})
    last = append(evolved, evolved.scan().head(1), {}, {}).handle
    expected = [2, None, 1]
    assert last.since(first.version).collect()["id"].to_list() == expected
    assert opened(address).since(first.version).collect()["id"].to_list() == expected
    assert opened(address).since(second.version).collect()["id"].to_list() == [1]
    assert opened(address).since(evolved.version).collect()["id"].to_list() == [1]
    assert last.since(first.version).collect().schema == schema


@pytest.mark.parametrize("schema", [ADDED, WIDE])
def test_slices_that_changed_are_told_across_it(address, schema):
    first = table(address)
    other = NARROW.filter(pl.col("id") == 2).with_columns(price=pl.lit(9, pl.Float32))
    before = merge(first, other.lazy(), ["id"], {}, {}).handle
    view = changed_slices(as_if(before, schema), first.version, ["id"])
    assert view is not None
    assert view.values["id"].to_list() == [2]
    evolved = evolve(before, schema, {})
    changed = changed_slices(evolved, evolved.version - 1, ["id"])
    assert changed is not None
    assert len(changed) == 0
    more = evolved.scan().filter(pl.col("id") == 1).with_columns(note=pl.lit("new"))
    after = merge(evolved, more, ["id"], {}, {}).handle
    told = changed_slices(opened(address), first.version, ["id"])
    assert told is not None
    assert told.values["id"].to_list() == [1, 2]
    assert after.version == evolved.version + 1


def test_a_table_that_was_made_anew_meanwhile_has_no_slices_to_tell(address):
    first = table(address)
    evolve(
        prepare_overwrite(first, NARROW.select("id"), pl.Schema({"id": pl.Int32()})).commit({}, {}).handle,
        pl.Schema({"id": pl.Int64()}),
        {},
    )
    assert changed_slices(opened(address), first.version, ["id"]) is None


def test_partitions_are_kept(address, duckdb_rows):
    rows = pl.DataFrame({"shop": [1, 2, None], "qty": [1, 2, 3]}, schema={"shop": pl.Int16(), "qty": pl.Int32()})
    wide = pl.Schema({"shop": pl.Int64(), "qty": pl.Int64()})
    after = evolve(table(address, rows, partition_by=["shop"]), wide, {})
    assert after.partition_by == ("shop",)
    assert_frame_equal(after.scan().sort("qty").collect(), rows.cast(wide))
    assert_read_alike(after, duckdb_rows, rows.cast(wide))
    with pytest.raises(Refused, match="cannot be partitioned by shop"):
        evolve(after, pl.Schema({"shop": pl.Decimal(20, 0), "qty": pl.Int64()}), {})


def test_rows_that_a_run_has_written_ahead_come_after_those_that_it_widens(address, monkeypatch):
    """Files are read by their names: a later arrival must not come to lie before an earlier one."""
    later = count()  # by the random part of its name alone, what is written later comes later
    monkeypatch.setattr(files.secrets, "token_hex", lambda _: f"{next(later):016x}")
    view = as_if(table(address, NARROW.head(2)), WIDE)
    last = fitted(NARROW.tail(1).select(pl.lit(None, pl.String).alias("note"), pl.all()), WIDE, "t").lazy().collect()
    ahead = write_files(view, last)
    evolved = evolve(view, WIDE, {})
    evolved.commit(ahead, [], {}, {})
    assert_frame_equal(opened(address).scan().collect(), WIDENED)


def test_what_is_no_widening_is_refused_and_nothing_is_written(address):
    before = table(address)
    files = sorted(Path(address.uri).rglob("*.parquet"))
    with pytest.raises(Refused, match=r"id turns from Int32 into String.*Nothing was written; version 1 stands"):
        evolve(before, pl.Schema({**NARROW.schema, "id": pl.String()}), {})
    with pytest.raises(Refused, match="would have to quote"):
        evolve(before, pl.Schema({**NARROW.schema, "unit-price": pl.String()}), {})
    assert (sorted(Path(address.uri).rglob("*.parquet")), before.newest_version()) == (files, 1)


def test_a_value_without_room_in_the_wider_type_stops_it(address):
    far = pl.DataFrame({"day": [1, 200_000_000]}, schema={"day": pl.Int32}).cast({"day": pl.Date})
    before = table(address, far)
    with pytest.raises(Refused, match="day: 1 value of Date would not be the same"):
        evolve(before, pl.Schema({"day": pl.Datetime("us", "UTC")}), {})
    assert before.newest_version() == before.version


def test_rows_that_do_not_come_back_stop_it(address, monkeypatch):
    before = table(address)
    monkeypatch.setattr(evolution, "write_files", lambda view, rows: write_files(view, rows.head(2)))
    with pytest.raises(Refused, match="of 3 rows 2 came back"):
        evolve(before, WIDE, {})
    assert before.newest_version() == before.version


def test_killed_before_its_commit_it_changed_nothing_and_comes_again(address, monkeypatch):
    before = table(address)
    with monkeypatch.context() as killed:
        killed.setattr(Handle, "commit", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            evolve(before, WIDE, {})
    assert_frame_equal(opened(address).scan().collect(), NARROW)
    assert_frame_equal(evolve(opened(address), WIDE, {}).scan().collect(), WIDENED)


def test_two_at_once_are_one_evolution_and_one_conflict(address):
    mine, other = table(address), opened(address)
    evolve(other, WIDE, {})
    with pytest.raises(Conflict):
        evolve(mine, WIDE, {})
    assert_frame_equal(opened(address).scan().collect(), WIDENED)


def test_a_table_that_asks_more_of_its_writers_is_left_alone(address):
    before = table(address)
    DeltaTable(address.uri).alter.add_constraint({"known": "id > 0 or id is null"})
    with pytest.raises(Refused, match=r"has the CHECK constraint known .* which our writer would not keep"):
        evolve(opened(address), ADDED, {})
    assert opened(address).schema == before.schema


def test_what_was_left_for_the_next_run_stays_at_the_newest_version(address):
    after = evolve(table(address), ADDED, {})
    assert after.commit_of(after.version).info["table"] == "silver/t"
    assert history(after)["note"][0] == "columns note (String) is added; null in rows that stand"


def test_what_is_known_of_a_column_is_in_the_log_and_stays_there(address, duckdb_rows):
    notes = {"id": {"comment": "Order", "lakehouse.source_name": "Order No."}}
    made = Handle.create(address, as_delta(NARROW.schema, notes))
    handle = made.commit(write_files(made, NARROW), [], {}, {})
    assert notes_of(handle)["id"] == notes["id"]
    handle = evolve(handle, WIDE, {"note": {"comment": "Words"}})
    assert (notes_of(handle)["id"], notes_of(handle)["note"]) == (notes["id"], {"comment": "Words"})
    for _ in range(CHECKPOINT_EVERY):
        handle = append(handle, WIDENED.clear().lazy(), {}, {}).handle
    anew = prepare_overwrite(handle, WIDENED.select("id"), pl.Schema({"id": pl.Int64()}))
    handle = anew.commit({}, {}).handle
    assert notes_of(opened(address)) == {"id": notes["id"]}
    assert_read_alike(handle, duckdb_rows, WIDENED.select("id"))


def notes_of(handle: Handle) -> dict[str, dict[str, str]]:
    return {each.name: each.metadata for each in DeltaTable(handle.address.uri).schema().fields}


def test_files_that_are_written_anew_leave_no_personal_values_in_the_log(address):
    after = evolve(table(address), WIDE, {}, unmeasured=("sum",))
    logged = [msgspec.json.decode(each["stats"]) for each in after.commit_of(after.version).of("add")]
    assert len(logged) == 1
    assert "id" in logged[0]["maxValues"]
    assert "sum" not in logged[0]["maxValues"]


@pytest.mark.parametrize(
    "words",
    [{}, {"partition_by": ("day",)}, {"unmeasured": ("day",)}, {"readers": (Reader.DELTA_RS, Reader.DATABRICKS)}],
    ids=["measured", "in folders", "personal", "by vectors"],
)
def test_nulls_are_counted_whatever_the_log_says_of_them(address, words: dict[str, Any]):
    days = [date(2024, 5, 1), None, date(2024, 5, 3), None, None, date(2024, 5, 6)]
    unmeasured, rows = words.pop("unmeasured", ()), pl.DataFrame({"id": range(120), "day": days * 20})
    handle = Handle.create(address, rows.schema, **words).leaving_out(unmeasured)
    handle = handle.commit(write_files(handle, rows, rows_per_file=60), [], {}, {})
    assert [nulls(handle, name) for name in rows.columns] == [0, 60]
    came = pl.DataFrame({"id": [3], "day": [date(2024, 5, 4)]}).cast(rows.schema)
    handle = for_readers(handle, words.get("readers", EVERY_READER)).leaving_out(unmeasured)
    handle = prepare_merge(handle, came, ["id"]).commit({}, {}).handle
    assert nulls(handle, "day") == 59
    assert bool(handle.vectors) == ("readers" in words)
    assert nulls(evolve(handle, pl.Schema({**rows.schema, "note": pl.String()}), {}), "note") == 120


def test_nulls_that_the_log_has_counted_are_not_read(address, monkeypatch: pytest.MonkeyPatch):
    handle, read = table(address), list[str]()
    monkeypatch.setattr(Handle, "scan_paths", lambda _, paths: read.extend(paths) or NARROW.clear().lazy())
    assert (nulls(handle, "price"), read) == (1, [])
    assert (nulls(handle, "lines"), read) == (0, handle.files()["path"].to_list())
