import math
import multiprocessing
from datetime import UTC, date, datetime
from decimal import Decimal
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from lakehouse.engine.declare.errors import Conflict, Refused
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta.files import write_files
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.writes import overwrite, prepare_append, prepare_merge, prepare_overwrite, replace_slice
from lakehouse_tests.engine.delta.opening import opened
from lakehouse_tests.engine.delta.writing import append, merge

SCHEMA = pl.Schema({"order": pl.String(), "line": pl.Int64(), "qty": pl.Int64()})
KEY = ("order", "line")


def rows(*lines: tuple[str | None, int | None, int | None]) -> pl.DataFrame:
    return pl.DataFrame(lines, schema=SCHEMA, orient="row")


def table(address: Address, frame: pl.DataFrame, rows_per_file: int = 1_000_000) -> Handle:
    handle = Handle.create(address, frame.schema)
    return handle.commit(write_files(handle, frame.lazy(), rows_per_file=rows_per_file), [], {}, {})


def content(handle: Handle) -> list[tuple[object, ...]]:
    return sorted(handle.scan().collect().rows(), key=repr)


def test_append_adds_its_rows_and_tells_what_it_did(address):
    first = append(Handle.create(address, SCHEMA), rows(("A", 1, 1)).lazy(), {"from": 3}, {"run": "r"})
    second = append(first.handle, rows(("B", 1, 2), ("B", 2, 3)).lazy(), {"from": 4}, {})
    assert content(second.handle) == [("A", 1, 1), ("B", 1, 2), ("B", 2, 3)]
    assert (second.version, second.rows, second.rows_written, second.files_added, second.files_removed) == (
        2,
        3,
        2,
        1,
        0,
    )
    assert second.bytes == first.bytes + second.bytes_written
    assert second.handle.transaction("from") == 4


def test_an_append_of_nothing_moves_the_position(address):
    written = append(table(address, rows(("A", 1, 1))), rows().lazy(), {"from": 9}, {})
    assert (written.version, written.rows, written.files_added, written.handle.transaction("from")) == (2, 1, 0, 9)


def test_what_was_prepared_is_seen_by_nobody_until_it_is_committed(address):
    handle = table(address, rows(("A", 1, 1)))
    for prepare in (prepare_append, prepare_overwrite):
        prepare(handle, rows(("B", 1, 1)).lazy())
    prepare_merge(handle, rows(("A", 1, 5)).lazy(), KEY)
    assert opened(address).version == 1
    assert content(opened(address)) == [("A", 1, 1)]


def test_overwrite_replaces_everything_and_equal_content_is_a_version_too(address):
    handle = table(address, rows(("A", 1, 1), ("A", 2, 1)))
    once = overwrite(handle, rows(("B", 1, 1)).lazy(), {"logic": 7}, {})
    twice = overwrite(once.handle, rows(("B", 1, 1)).lazy(), {}, {})
    assert (once.version, twice.version, twice.files_removed) == (2, 3, 1)
    assert content(twice.handle) == [("B", 1, 1)]
    assert twice.handle.transaction("logic") == 7


def test_a_whole_write_may_give_the_table_a_new_shape_in_the_same_commit(address):
    standing = table(address, rows(("A", 1, 1), ("B", 1, 2)))
    anew = pl.DataFrame({"order": ["A"], "pieces": [3]})
    written = prepare_overwrite(standing, anew.lazy(), anew.schema).commit({"logic": 7}, {})
    assert (written.version, written.files_removed, written.handle.transaction("logic")) == (2, 1, 7)
    assert (written.handle.schema, written.handle.id, written.handle.protocol) == (anew.schema, standing.id, (1, 2))
    assert opened(address).scan().collect().rows() == [("A", 3)]
    assert_frame_equal(pl.read_delta(address.uri), anew)


def test_a_whole_write_of_a_new_shape_conflicts_with_a_rival_and_leaves_the_table(address):
    standing = table(address, rows(("A", 1, 1)))
    anew = pl.DataFrame({"order": ["A"], "pieces": [3]})
    prepared = prepare_overwrite(standing, anew.lazy(), anew.schema)
    append(standing, rows(("B", 1, 2)).lazy(), {}, {})
    with pytest.raises(Conflict):
        prepared.commit({}, {})
    assert content(opened(address)) == [("A", 1, 1), ("B", 1, 2)]


def test_rows_appended_before_a_new_shape_are_not_read_as_new_ones(address):
    standing = table(address, rows(("A", 1, 1)))
    anew = pl.DataFrame({"order": ["A"], "pieces": [3]})
    written = prepare_overwrite(standing, anew.lazy(), anew.schema).commit({}, {})
    with pytest.raises(Refused, match="Nothing was read"):
        written.handle.since(standing.version)


def test_merge_replaces_by_key_and_inserts_the_rest(address):
    handle = table(address, rows(("A", 1, 1), ("A", 2, 2), ("B", 1, 3)))
    written = merge(handle, rows(("A", 2, 20), ("C", 1, 4)).lazy(), KEY, {"from": 2}, {})
    assert content(written.handle) == [("A", 1, 1), ("A", 2, 20), ("B", 1, 3), ("C", 1, 4)]
    assert (written.rows, written.rows_written, written.handle.transaction("from")) == (4, 2, 2)


def test_merge_of_nothing_moves_the_position_and_touches_no_file(address):
    handle = table(address, rows(("A", 1, 1)))
    written = merge(handle, rows().lazy(), KEY, {"from": 5}, {})
    assert (written.version, written.files_added, written.files_removed) == (2, 0, 0)
    assert written.handle.transaction("from") == 5
    assert content(written.handle) == [("A", 1, 1)]


def test_merge_writes_only_the_files_anew_that_hold_a_matched_key(address):
    frame = pl.DataFrame({"id": range(0, 2000, 2), "qty": [0] * 1000})
    handle = table(address, frame, rows_per_file=100)
    before = set(handle.files()["path"])
    # 401 lies in the range of a file that does not hold it; 9999 lies in none.
    written = merge(handle, pl.LazyFrame({"id": [10, 401, 1990, 9999], "qty": [1, 1, 1, 1]}), ["id"], {}, {})
    assert written.files_removed == 2
    assert len(before & set(written.handle.files()["path"])) == 8
    assert written.rows == 1002


def test_a_replaced_group_loses_the_lines_that_no_longer_come(address):
    handle = table(address, rows(("A", 1, 1), ("A", 2, 2), ("B", 1, 3), (None, 1, 4)))
    written = merge(handle, rows(("A", 1, 10)).lazy(), KEY, {}, {}, replaces=["order"])
    assert content(written.handle) == sorted([("A", 1, 10), ("B", 1, 3), (None, 1, 4)], key=repr)


def test_a_row_that_moves_to_another_group_leaves_its_old_one(address):
    handle = table(address, rows(("A", 1, 1), ("B", 2, 2), ("B", 3, 3)))
    written = merge(handle, rows(("B", 1, 9)).lazy(), ["line"], {}, {}, replaces=["order"])
    assert content(written.handle) == [("B", 1, 9)]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (rows(("A", 1, 1), ("A", 1, 2)), "2 that share their key"),
        (rows((None, 1, 1)), "1 with a null"),
        (rows(("A", None, 1), ("B", None, 1)), "2 with a null"),
    ],
)
def test_a_batch_whose_keys_name_no_row_or_two_is_refused(address, bad, said):
    handle = table(address, rows(("A", 1, 1)))
    with pytest.raises(Refused, match=said):
        merge(handle, bad.lazy(), KEY, {}, {})
    assert opened(address).version == 1


def test_a_column_that_the_table_has_not_is_refused(address):
    handle = table(address, rows(("A", 1, 1)))
    with pytest.raises(Refused, match="no column nothing"):
        merge(handle, rows(("A", 1, 1)).lazy(), ["nothing"], {}, {})
    with pytest.raises(Refused, match="qty: String in the frame"):
        merge(handle, rows(("A", 1, 1)).lazy().cast({"qty": pl.String}), KEY, {}, {})


# Long texts, texts beyond ASCII, and texts that differ only past the place where bounds are cut.
NAMES = st.sampled_from(["a", "é", "Z", "\U0001f600", "x" * 33, "x" * 32 + "a", "x" * 32, "ÿ" * 40, "", "z"])
LINES = st.dictionaries(st.tuples(NAMES, st.integers(1, 3)), st.none() | st.integers(0, 9), max_size=12)


def drawn(
    lines: dict[tuple[Any, Any], int | None], order: pl.DataType = SCHEMA["order"], line: pl.DataType = SCHEMA["line"]
) -> pl.DataFrame:
    schema = {**SCHEMA, "order": order, "line": line}
    return pl.DataFrame([(*key, qty) for key, qty in lines.items()], schema, orient="row")


@settings(max_examples=30, deadline=None)
@given(standing=LINES, batch=LINES, rows_per_file=st.integers(1, 5))
def test_merge_is_the_merge_of_plain_polars_and_twice_is_once(standing, batch, rows_per_file):
    with TemporaryDirectory() as folder:
        handle = table(Address(f"{folder}/t"), drawn(standing), rows_per_file)
        once = merge(handle, drawn(batch).lazy(), KEY, {}, {}).handle
        twice = merge(once, drawn(batch).lazy(), KEY, {}, {}).handle
        expected = sorted(drawn({**standing, **batch}).rows(), key=repr)
        assert content(once) == content(twice) == expected
        assert (once.rows, twice.rows) == (len(expected), len(expected))


EPOCH, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
ENDS: list[tuple[pl.DataType, list[Any]]] = [
    (pl.String(), ["", "x" * 32, "x" * 32 + "a", "ÿ" * 40, "\U0001f600"]),
    (pl.Int64(), [-(2**63), -1, 0, 2**53 + 1, 2**63 - 1]),
    (pl.Int32(), [-(2**31), -1, 0, 2**31 - 1]),
    (pl.Int16(), [-(2**15), -1, 0, 2**15 - 1]),
    (pl.Int8(), [-128, -1, 0, 127]),
    (pl.Boolean(), [False, True]),
    (pl.Float64(), [-math.inf, -1e308, -5e-324, 0.0, 1e308, math.inf, math.nan]),
    (pl.Date(), [date.min, date(1969, 12, 31), date(1970, 1, 1), date.max]),
    (pl.Datetime("us", "UTC"), [datetime.min.replace(tzinfo=UTC), EPOCH, LAST.replace(microsecond=999_000), LAST]),
    (pl.Decimal(15, 2), [Decimal(f"{sign}9999999999999.{cents}") for sign in ("", "-") for cents in (98, 99)]),
    (pl.Decimal(38, 18), [Decimal(f"{sign}{'9' * 20}.{'9' * 17}{last}") for sign in ("", "-") for last in (8, 9)]),
    (pl.Binary(), [b"", b"\x00", b"\xff" * 40, b"\xff" * 41]),
]


@st.composite
def to_merge(draw: st.DrawFn) -> list[pl.DataFrame]:
    """What stands, what comes, and what goes beside it; two columns of keys, each with the ends of a type.

    Not -0.0 beside 0.0: deltalake's merge takes the one for smaller and passes over files that hold the other.
    """
    order, line = draw(st.sampled_from(ENDS)), draw(st.sampled_from(ENDS))
    keys = st.tuples(st.sampled_from(order[1]), st.sampled_from(line[1]))
    lines = st.dictionaries(keys, st.none() | st.integers(0, 9), max_size=12)
    standing, batch, deleted = draw(lines), draw(lines), draw(st.sets(keys, max_size=4))
    gone = dict.fromkeys(key for key in deleted if key not in batch)
    return [drawn(each, order[0], line[0]) for each in (standing, batch, gone)]


@settings(max_examples=20, deadline=None)
@given(frames=to_merge())
def test_merge_is_the_merge_of_deltalake(frames):
    standing, batch, gone = frames
    with TemporaryDirectory() as folder:
        ours = table(Address(f"{folder}/ours"), standing, 3)
        ours = prepare_merge(ours, batch, KEY, deleted=gone).commit({}, {}).handle
        theirs = table(Address(f"{folder}/theirs"), standing, 3)
        source = pl.concat([batch.with_columns(gone=False), gone.with_columns(gone=True)])
        (
            DeltaTable(theirs.address.uri)
            .merge(source, 't."order" = s."order" AND t.line = s.line', "s", "t", streamed_exec=False)
            .when_matched_delete("s.gone")
            .when_matched_update({f'"{name}"': f's."{name}"' for name in SCHEMA})
            .when_not_matched_insert({f'"{name}"': f's."{name}"' for name in SCHEMA}, "NOT s.gone")
            .execute()
        )
        merged, expected = (each.scan().sort(KEY).collect() for each in (ours, opened(theirs.address)))
        assert_frame_equal(merged, expected)


def test_a_moment_at_the_end_of_time_is_merged(address):
    frame = pl.DataFrame({"id": [EPOCH, LAST], "qty": [1, 2]}, {"id": pl.Datetime("us", "UTC"), "qty": pl.Int64()})
    handle = merge(table(address, frame), frame.tail(1).with_columns(qty=3).lazy(), ["id"], {}, {}).handle
    assert content(merge(handle, frame.head(1).lazy(), ["id"], {}, {}).handle) == [(EPOCH, 1), (LAST, 3)]


@settings(max_examples=30, deadline=None)
@given(standing=LINES, batch=LINES, rows_per_file=st.integers(1, 5))
def test_a_slice_is_replaced_and_nothing_else(standing, batch, rows_per_file):
    wanted = {key: qty for key, qty in batch.items() if qty is not None and qty > 4}
    kept = {key: qty for key, qty in standing.items() if qty is None or qty <= 4}
    with TemporaryDirectory() as folder:
        handle = table(Address(f"{folder}/t"), drawn(standing), rows_per_file)
        written = replace_slice(handle, drawn(wanted).lazy(), pl.col("qty") > 4, {"p": 1}, {})
        assert content(written.handle) == sorted([*drawn(kept).rows(), *drawn(wanted).rows()], key=repr)
        assert written.rows == len(kept) + len(wanted)


def test_rows_outside_the_slice_are_refused(address):
    handle = table(address, rows(("A", 1, 1)))
    with pytest.raises(Refused, match="2 of 3 rows that lie outside"):
        replace_slice(handle, rows(("A", 1, 1), ("B", 1, 1), (None, 1, 1)).lazy(), pl.col("order") == "A", {}, {})
    assert opened(address).version == 1


def test_a_slice_removes_whole_files_without_reading_them_anew(address):
    handle = table(address, pl.DataFrame({"day": [d for d in range(10) for _ in range(10)], "x": range(100)}), 10)
    written = replace_slice(handle, pl.LazyFrame({"day": [3], "x": [0]}), pl.col("day") == 3, {}, {})
    assert (written.files_removed, written.files_added, written.rows) == (1, 1, 91)


def test_a_slice_is_committed_again_over_a_rival_slice_with_the_same_files(address):
    handle = table(address, rows(("A", 1, 1), ("B", 1, 1)))
    replace_slice(handle, rows(("B", 1, 5)).lazy(), pl.col("order") == "B", {"b": 1}, {})
    written = replace_slice(handle, rows(("A", 1, 7)).lazy(), pl.col("order") == "A", {"a": 1}, {})
    assert content(written.handle) == [("A", 1, 7), ("B", 1, 5)]
    assert written.version == 3


def test_a_slice_is_a_conflict_when_a_rival_moved_its_position(address):
    handle = table(address, rows(("A", 1, 1), ("B", 1, 1)))
    replace_slice(handle, rows(("B", 1, 5)).lazy(), pl.col("order") == "B", {"upstream": 1}, {})
    with pytest.raises(Conflict):
        replace_slice(handle, rows(("A", 1, 7)).lazy(), pl.col("order") == "A", {"upstream": 1}, {})
    assert content(opened(address)) == [("A", 1, 1), ("B", 1, 5)]


def test_slices_of_a_partitioned_table_are_its_folders(address):
    frame = pl.DataFrame({"day": ["a", "a", "b", None], "id": [1, 2, 3, 4]})
    handle = Handle.create(address, frame.schema, partition_by=["day"])
    handle = append(handle, frame.lazy(), {}, {}).handle
    written = replace_slice(handle, pl.LazyFrame({"day": ["a"], "id": [9]}), pl.col("day") == "a", {}, {})
    assert (written.files_removed, written.files_added) == (1, 1)
    assert_frame_equal(
        written.handle.scan().sort("id").collect(), pl.DataFrame({"day": ["b", None, "a"], "id": [3, 4, 9]})
    )
    merged = merge(written.handle, pl.LazyFrame({"day": ["b"], "id": [9]}), ["id"], {}, {}).handle
    assert content(merged) == sorted([("b", 3), (None, 4), ("b", 9)], key=repr)


def test_another_engine_reads_what_merges_and_slices_left(address, duckdb_rows):
    handle = table(address, rows(("A", 1, 1), ("A", 2, 2), ("é", 1, 3)), rows_per_file=1)
    handle = merge(handle, rows(("é", 1, 9), ("C", 1, 1)).lazy(), KEY, {"p": 1}, {}).handle
    handle = replace_slice(handle, rows(("A", 5, 5)).lazy(), pl.col("order") == "A", {}, {}).handle
    assert duckdb_rows(handle) == content(handle) == [("A", 5, 5), ("C", 1, 1), ("é", 1, 9)]
    assert handle.protocol == (1, 2)


def race_to_merge(uri: str, name: int, count: int) -> None:
    """Each merge adds one to a counter that all share and sets a key of its own."""
    address = Address(uri)
    for number in range(count):
        while True:
            handle = opened(address)
            shared = handle.scan().filter(pl.col("order") == "shared").collect()["qty"][0]
            batch = rows(("shared", 0, shared + 1), (f"writer {name}", number, number))
            try:
                merge(handle, batch.lazy(), KEY, {f"writer {name}": number}, {})
            except Conflict:
                continue
            break


def test_racing_merges_lose_no_update(address):
    table(address, rows(("shared", 0, 0)))
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=race_to_merge, args=(address.uri, name, 6)) for name in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    handle = opened(address)
    assert handle.version == 19
    assert handle.scan().filter(pl.col("order") == "shared").collect()["qty"].to_list() == [18]
    assert handle.rows == 19
