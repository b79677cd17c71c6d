"""Which slices commits changed: those of rows that really differ, at the cost of the files that came and went."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.readers import Reader
from lakehouse.engine.delta.evolution import evolve
from lakehouse.engine.delta.files import write_files
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.partition_values import UNTIL
from lakehouse.engine.delta.protocol import for_readers
from lakehouse.engine.delta.pruning import may_hold
from lakehouse.engine.delta.restore import prepare_restore, restore
from lakehouse.engine.delta.slices import NO_SLICES, Slices, changed_slices
from lakehouse.engine.delta.vectors import Damaged
from lakehouse.engine.delta.writes import overwrite, prepare_overwrite, prepare_replace_slices
from lakehouse_tests.engine.delta.opening import opened
from lakehouse_tests.engine.delta.writing import append, merge

SCHEMA = pl.Schema({"order": pl.String(), "day": pl.Date(), "tags": pl.List(pl.String()), "net": pl.Float64()})
ABLE = (Reader.DELTA_RS, Reader.DATABRICKS)
type Row = tuple[str | None, int | None, list[str] | None, float | None]


def rows(*lines: Row) -> pl.DataFrame:
    """Orders: number, day of May, tags, net."""
    made = [(number, day and date(2024, 5, day), tags, net) for number, day, tags, net in lines]
    return pl.DataFrame(made, schema=SCHEMA, orient="row")


def table(address: Address, frame: pl.DataFrame, rows_per_file: int = 1_000_000, **words: Any) -> Handle:
    handle = Handle.create(address, frame.schema, **words)
    return handle.commit(write_files(handle, frame.lazy(), rows_per_file=rows_per_file), [], {}, {})


def days(slices: Slices | None) -> list[int | None]:
    assert slices is not None
    return [each and each.day for (each,) in slices.values.rows()]


def of_days(*days: int | None) -> Slices:
    values = [each and date(2024, 5, each) for each in days]
    return Slices(pl.DataFrame({"day": values}, schema={"day": pl.Date()}))


A, B, C = ("A", 1, ["x"], 1.0), ("B", 2, [], 2.0), ("C", 3, None, 3.0)


def test_rows_that_a_rewrite_only_carried_along_touch_no_slice(address: Address):
    standing = table(address, rows(A, B, C))
    after = merge(standing, rows(("B", 2, [], 2.5)).lazy(), ["order"], {}, {})
    assert after.files_removed == 1
    assert days(changed_slices(after.handle, standing.version, ["day"])) == [2]


@pytest.mark.parametrize(
    ("changed", "touched"),
    [
        (("B", 3, [], 2.0), [2, 3]),  # moved to another day: its day before, and after
        (("B", 2, [], 2.0), []),  # the very same row
        (("B", 2, None, 2.0), [2]),  # no list is not an empty one
        (("B", 2, [], float("nan")), [2]),
        (("B", None, [], 2.0), [None, 2]),
        (("D", 4, [], 1.0), [4]),
    ],
)
def test_a_slice_is_changed_by_its_rows_before_and_after(address: Address, changed: Row, touched: list[int | None]):
    standing = table(address, rows(A, B, C))
    after = merge(standing, rows(changed).lazy(), ["order"], {}, {}).handle
    assert days(changed_slices(after, standing.version, ["day"])) == touched


def test_equal_rows_are_counted(address: Address):
    standing = table(address, rows(A, A, B))
    after = overwrite(standing, rows(A, B).lazy(), {}, {}).handle
    assert days(changed_slices(after, standing.version, ["day"])) == [1]


def test_values_that_rows_of_a_slice_have_swapped_are_a_change(address: Address):
    standing = table(address, rows(("A", 1, ["x"], 1.0), ("B", 1, ["x"], 2.0), ("C", 2, ["x"], 1.0), C))
    after = overwrite(standing, rows(("A", 1, ["x"], 2.0), ("B", 1, ["x"], 1.0), ("C", 2, ["x"], 1.0), C), {}, {})
    assert days(changed_slices(after.handle, standing.version, ["day"])) == [1]


def test_what_was_changed_and_changed_back_in_between_is_not_changed(address: Address):
    standing = table(address, rows(A, B))
    there = merge(standing, rows(("A", 5, ["x"], 9.0)).lazy(), ["order"], {}, {}).handle
    back = merge(there, rows(A).lazy(), ["order"], {}, {}).handle
    assert days(changed_slices(back, standing.version, ["day"])) == []
    assert days(changed_slices(back, there.version, ["day"])) == [1, 5]


def test_a_compaction_changes_nothing_also_between_changes(address: Address):
    standing = table(address, rows(A, B, C), rows_per_file=1)
    appended = append(standing, rows(("D", 4, [], 1.0)).lazy(), {}, {}).handle
    compacted = appended.commit(
        write_files(appended, appended.scan()), appended.files()["path"], {}, {}, rearranges=True
    )
    assert days(changed_slices(compacted, appended.version, ["day"])) == []
    after = merge(compacted, rows(("B", 2, [], 5.0)).lazy(), ["order"], {}, {}).handle
    assert days(changed_slices(after, standing.version, ["day"])) == [2, 4]


def test_appended_rows_are_read_by_their_slice_column_only(address: Address, monkeypatch: pytest.MonkeyPatch):
    standing = table(address, rows(A))
    after = append(standing, rows(B, C).lazy(), {}, {}).handle
    read: list[str] = []
    collect = pl.LazyFrame.collect

    def seen(self: pl.LazyFrame, **words: Any) -> Any:
        read.append(self.explain())
        return collect(self, **words)

    monkeypatch.setattr(pl.LazyFrame, "collect", seen)
    assert days(changed_slices(after, standing.version, ["day"])) == [2, 3]
    assert len([each for each in read if "PROJECT 1/4 COLUMNS" in each]) == 1


def test_slices_may_be_named_by_several_columns(address: Address):
    standing = table(address, rows(A, B, C))
    after = merge(standing, rows(("B", 2, ["y"], 2.0), ("C", 1, None, 3.0)).lazy(), ["order"], {}, {}).handle
    changed = changed_slices(after, standing.version, ["day", "order"])
    assert changed is not None
    assert changed.values.rows() == [(date(2024, 5, 1), "C"), (date(2024, 5, 2), "B"), (date(2024, 5, 3), "C")]
    assert sorted(changed.of(after).collect()["order"]) == ["B", "C"]


@pytest.mark.parametrize("damage", [lambda whole: whole[: len(whole) // 2], lambda whole: bytes(len(whole))])
def test_it_cannot_be_told_where_a_file_that_went_is_damaged_and_one_that_stands_is_never_passed_over(
    address: Address, damage: Callable[[bytes], bytes]
):
    standing = table(address, rows(A, B))
    anew = prepare_overwrite(standing, rows(A, C).lazy()).commit({}, {}).handle
    for handle in (anew, standing):
        file = Path(address.uri, handle.files()["path"][0])
        whole = file.read_bytes()
        file.write_bytes(damage(whole))
        if handle is standing:
            assert changed_slices(anew, standing.version, ["day"]) is None
        else:
            with pytest.raises((pl.exceptions.PolarsError, pl.exceptions.PanicException)):
                changed_slices(anew, standing.version, ["day"])
        file.write_bytes(whole)
    assert days(changed_slices(anew, standing.version, ["day"])) == [2, 3]


def test_a_damaged_deletion_vector_is_passed_over_only_once_it_stands_no_more(address: Address):
    standing = for_readers(table(address, rows(A, B, C), readers=ABLE), ABLE)
    marked = merge(standing, rows(("B", 2, [], 2.5)).lazy(), ["order"], {}, {}).handle
    [vector] = marked.vectors.values()
    file = Path(address.uri, str(vector.file))
    file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(Damaged):
        changed_slices(marked, standing.version, ["day"])
    anew = prepare_overwrite(marked, rows(A).lazy()).commit({}, {}).handle
    assert changed_slices(anew, marked.version, ["day"]) is None


def test_it_cannot_be_told_where_a_log_or_a_file_is_gone_or_columns_are_others(address: Address):
    standing = table(address, rows(A, B))
    merged = merge(standing, rows(("A", 1, [], 9.0)).lazy(), ["order"], {}, {}).handle
    anew = rows(A, B).with_columns(more=pl.lit(1, pl.Int64))
    reshaped = prepare_overwrite(merged, anew.lazy(), anew.schema).commit({}, {}).handle
    assert changed_slices(reshaped, merged.version, ["day"]) is None
    assert changed_slices(merged, standing.version, ["day"]) is not None
    Path(address.uri, standing.files()["path"][0]).unlink()
    assert changed_slices(merged, standing.version, ["day"]) is None
    Path(address.uri, "_delta_log", f"{merged.version:020d}.json").unlink()
    assert changed_slices(merged, standing.version, ["day"]) is None


def test_it_cannot_be_told_where_a_table_was_put_back_to_narrower_columns_with_deletion_vectors(address: Address):
    def merged(handle: Handle, net: float) -> Handle:
        return merge(
            for_readers(handle, ABLE), rows(("A", 1, ["x"], net)).cast(handle.schema).lazy(), ["order"], {}, {}
        ).handle

    standing = table(address, rows(A, B, C).cast({"net": pl.Float32()}), readers=ABLE)
    marked = merged(standing, 7.0)
    assert marked.vectors
    assert days(changed_slices(marked, standing.version, ["day"])) == [1], "vectors are let in by that commit"
    wide = merged(for_readers(evolve(marked, SCHEMA, {}), ABLE), 1e300)
    assert days(changed_slices(wide, standing.version, ["day"])) == [1], "widened since, with no row changed"
    assert restore(prepare_restore(wide, marked.version), None).schema["net"] == pl.Float32()
    back = opened(address)
    assert [changed_slices(back, since, ["day"]) for since in range(standing.version, back.version)] == [None] * 4
    assert days(changed_slices(merged(back, 8.0), back.version, ["day"])) == [1]


# ---- replacing them ----


def test_every_slice_in_scope_is_replaced_also_those_for_which_nothing_came_out(address: Address):
    standing = table(address, rows(A, B, C))
    prepared = prepare_replace_slices(standing, rows(("E", 2, None, 7.0)).lazy(), of_days(1, 2))
    after = prepared.commit({"from": 3}, {}).handle
    assert sorted(after.scan().collect()["order"]) == ["C", "E"]
    assert after.transaction("from") == 3


def test_rows_outside_the_scope_are_refused_and_the_table_stands(address: Address):
    standing = table(address, rows(A, B))
    for scope in (of_days(2), NO_SLICES):
        with pytest.raises(Refused, match="refused 1 of 1 rows that lie outside the slice"):
            prepare_replace_slices(standing, rows(("E", 1, None, 7.0)).lazy(), scope)
    assert opened(address).version == standing.version


def test_only_files_that_may_hold_the_slices_are_looked_at(address: Address):
    standing = table(address, rows(A, B, C, ("N", None, None, None)), rows_per_file=1)
    paths = standing.files()["path"].to_list()
    assert of_days(2).files(standing) == [paths[1], paths[3]]  # nothing but nulls leaves no bounds
    assert of_days(None).files(standing) == [paths[3]]
    assert of_days(3, None).files(standing) == paths[2:]
    assert (of_days().files(standing), NO_SLICES.files(standing)) == ([], [])
    for path in paths[:3]:
        Path(address.uri, path).unlink()
    assert of_days(None).of(standing).collect()["order"].to_list() == ["N"]
    after = prepare_replace_slices(standing, rows().lazy(), of_days(None)).commit({}, {})
    assert (after.files_removed, after.rows) == (1, 3)


def test_a_null_is_looked_for_in_a_partition_of_nulls(address: Address):
    standing = table(address, rows(A, ("N", None, None, None)), partition_by=["day"])
    held = may_hold(standing.files(), of_days(None).values, ["day"])
    assert standing.scan_paths(held).collect()["order"].to_list() == ["N"]
    after = prepare_replace_slices(standing, rows(("M", None, None, None)).lazy(), of_days(None, 1)).commit({}, {})
    assert after.handle.scan().collect()["order"].to_list() == ["M"]


def test_slices_say_which_they_are():
    assert str(of_days(1)) == "1 slice (day = 2024-05-01)"
    assert str(of_days(*range(1, 9))).startswith("8 slices (day = 2024-05-01 | day = 2024-05-02 | ")
    assert str(of_days(*range(1, 9))).endswith("day = 2024-05-05 | …)")
    assert str(NO_SLICES) == "0 slices"


def test_slices_of_times_that_python_does_not_know_say_which_they_are():
    at = pl.Series("at", [datetime(2024, 5, 1, 5, tzinfo=UTC), None], dtype=pl.Datetime("us", "UTC"))
    assert str(Slices(at.to_frame())) == "2 slices (at = 2024-05-01 05:00:00.000000+00:00 | at = None)"
    assert str(Slices(at.dt.offset_by("9000y").to_frame()[:1])) == "1 slice (at = +11024-05-01 05:00:00.000000+00:00)"


values = st.tuples(st.none() | st.integers(1, 3), st.none() | st.sampled_from(["x", "y"]))


@given(st.lists(values, max_size=6, unique=True), st.lists(values, max_size=12))
@settings(max_examples=200)
def test_a_row_is_of_a_slice_when_its_values_are(
    named: list[tuple[int | None, str | None]], held: list[tuple[int | None, str | None]]
):
    schema = {"n": pl.Int64(), "word": pl.String()}
    slices = Slices(pl.DataFrame(named, schema=schema, orient="row"))
    frame = pl.DataFrame(held, schema=schema, orient="row")
    assert frame.filter(slices.holds).rows() == [each for each in held if each in named]
    assert frame.filter(~slices.holds.fill_null(value=False)).rows() == [each for each in held if each not in named]


# ---- windows, and all transactions ----

moments = st.integers(0, 12)
windows = st.lists(st.tuples(moments, st.integers(1, 3), st.sampled_from(["x", "y"])), max_size=5, unique=True)


def at(minute: int) -> datetime:
    return datetime(2024, 5, 1, 9, minute, tzinfo=UTC)


@given(
    windows,
    st.lists(st.tuples(st.none() | moments, st.sampled_from(["x", "y"])), max_size=12),
    st.sampled_from([["word"], []]),
)
@settings(max_examples=100)
def test_a_row_is_of_a_window_from_its_start_to_before_its_end(
    named: list[tuple[int, int, str]], held: list[tuple[int | None, str]], by: list[str]
):
    time = pl.Datetime("us", "UTC")
    values = [(at(start), at(start + long), word) for start, long, word in named]
    frame = pl.DataFrame(values, schema={"t": time, f"t{UNTIL}": time, "word": pl.String()}, orient="row")
    slices = Slices(frame.select("t", f"t{UNTIL}", *by))
    rows = pl.DataFrame(
        [(None if minute is None else at(minute), word) for minute, word in held],
        schema={"t": time, "word": pl.String()},
        orient="row",
    )
    wanted = [
        (moment, word)
        for moment, word in rows.rows()
        if any(moment and start <= moment < end and (not by or word == other) for start, end, other in values)
    ]
    assert rows.filter(slices.holds).rows() == wanted
    assert rows.filter(~slices.holds.fill_null(value=False)).height == rows.height - len(wanted)


def test_files_outside_every_window_are_not_looked_at(address: Address):
    frame = pl.DataFrame({"t": [at(1), at(5), at(9), None]}, schema={"t": pl.Datetime("us", "UTC")})
    standing = table(address, frame, rows_per_file=1)
    paths = standing.files()["path"].to_list()
    window = pl.DataFrame(
        {"t": [at(2), at(5)], f"t{UNTIL}": [at(3), at(6)]},
        schema_overrides={"t": pl.Datetime("us", "UTC"), f"t{UNTIL}": pl.Datetime("us", "UTC")},
    )
    assert Slices(window).files(standing) == [paths[1], paths[3]]
    assert Slices(window).of(standing).collect().rows() == [(at(5),)]


def test_all_transactions_are_those_that_are_asked_for_one_by_one(address: Address):
    handle = Handle.create(address, SCHEMA)
    for number in range(23):  # checkpoints at 10 and 20
        handle = handle.commit([], [], {f"app {number % 5}": number, "each": number}, {})
        told = handle.transactions()
        assert told == {app: handle.transaction(app) for app in told}
        assert len(told) == min(number + 1, 5) + 1
    early = opened(address, 7)
    assert early.transactions()["each"] == 6
