"""Rows that go by deletion vectors: the same table as where files are written anew, to every engine that reads it."""

import json
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from pyroaring import BitMap

from lakehouse.engine.declare.errors import Conflict, Refused
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.readers import EVERY_READER, Reader
from lakehouse.engine.declare.write import Append
from lakehouse.engine.delta import known, optimize, quarantine
from lakehouse.engine.delta.check import check
from lakehouse.engine.delta.delivery import Delivery, deliver
from lakehouse.engine.delta.evolution import as_if, evolve
from lakehouse.engine.delta.files import write_files
from lakehouse.engine.delta.handle import CHECKPOINT_EVERY, Handle, Unreadable
from lakehouse.engine.delta.optimize import Aim, compact, without_vectors
from lakehouse.engine.delta.place import log_file
from lakehouse.engine.delta.protocol import for_readers
from lakehouse.engine.delta.restore import prepare_restore, readable, restore
from lakehouse.engine.delta.retention import hours_of, promise
from lakehouse.engine.delta.slices import changed_slices
from lakehouse.engine.delta.sought import why_no_marks
from lakehouse.engine.delta.travel import apart, at_version
from lakehouse.engine.delta.vacuum import plan_vacuum, sweep
from lakehouse.engine.delta.vectors import Damaged, Vector, read_vectors, vectors_of, write_vectors
from lakehouse.engine.delta.writes import overwrite, prepare_merge
from lakehouse_tests.engine.delta.opening import opened
from lakehouse_tests.engine.delta.writing import append, merge

SCHEMA = pl.Schema({"id": pl.Int64(), "day": pl.String(), "qty": pl.Decimal(38, 3)})
ABLE = (Reader.DELTA_RS, Reader.DATABRICKS)
type Line = tuple[int, str, int]


def rows(*lines: Line) -> pl.DataFrame:
    return pl.DataFrame(lines, schema={"id": pl.Int64, "day": pl.String, "qty": pl.Int64}, orient="row").with_columns(
        pl.col("qty").cast(pl.Decimal(38, 3))
    )


def table(address: Address, frame: pl.DataFrame, rows_per_file: int = 4) -> Handle:
    handle = Handle.create(address, SCHEMA, readers=ABLE)
    return handle.commit(write_files(handle, frame, rows_per_file=rows_per_file), [], {}, {})


def merged(handle: Handle, frame: pl.DataFrame, **words: list[str]) -> Handle:
    return merge(for_readers(handle, ABLE), frame.lazy(), ["id"], {"from": handle.version}, {}, **words).handle


def numbered(count: int) -> pl.DataFrame:
    return rows(*((number, "ab"[number % 2], number) for number in range(count)))


def content(handle: Handle) -> list[tuple[object, ...]]:
    return sorted(handle.scan().collect().rows(), key=repr)


def as_others_read(address: Address, duckdb_rows: Callable[[Handle], list[tuple[object, ...]]]) -> None:
    """Polars' and deltalake's own way, DuckDB, and ours from nothing known: the same rows."""
    known.forget(address)
    handle = opened(address)
    ours = content(handle)
    assert sorted(pl.scan_delta(DeltaTable(address.uri)).collect().rows(), key=repr) == ours
    assert duckdb_rows(handle) == ours
    assert handle.rows == len(ours)


def test_a_merge_marks_rows_as_gone_and_writes_no_file_anew(address, duckdb_rows):
    before = table(address, numbered(20))
    after = merged(before, rows((5, "c", 50), (30, "c", 300)))
    assert content(after) == content_of(before, (5, "c", 50), (30, "c", 300))
    assert set(before.files()["path"]) < set(after.files()["path"])
    assert {path: list(gone) for path, gone in after.gone.items()} == {before.files()["path"][1]: [1]}
    assert (after.rows, after.files().filter(pl.col("gone") > 0)["rows"].to_list()) == (21, [3])
    assert after.protocol == (3, 7)
    as_others_read(address, duckdb_rows)


def content_of(before: Handle, *lines: Line) -> list[tuple[object, ...]]:
    came = rows(*lines)
    return sorted(pl.concat([before.scan().collect().join(came, on="id", how="anti"), came]).rows(), key=repr)


@pytest.mark.parametrize("readers", [EVERY_READER, (Reader.SYNAPSE,), None])
def test_a_table_of_which_a_reader_knows_no_vectors_has_its_files_written_anew(address, readers):
    before = table(address, numbered(20))
    handle = for_readers(before, readers) if readers else before
    after = merge(handle, rows((5, "c", 50)).lazy(), ["id"], {}, {}).handle
    assert (after.gone, after.protocol, content(after)) == ({}, (1, 2), content_of(before, (5, "c", 50)))


def test_a_file_of_which_most_rows_would_be_gone_is_written_anew_and_one_that_loses_all_goes(address, duckdb_rows):
    before = merged(table(address, numbered(8)), rows((1, "c", 1)))
    most = merged(before, rows((0, "c", 0), (2, "c", 2)))
    assert before.files()["path"][0] not in most.files()["path"].to_list()
    whole = merged(table(address / "whole", numbered(12)), rows(*((number, "z", 0) for number in range(4))))
    assert (whole.gone, whole.files().height, whole.rows) == ({}, 3, 12)
    as_others_read(address, duckdb_rows)
    as_others_read(address / "whole", duckdb_rows)


def test_a_row_that_came_by_a_merge_goes_by_the_next_and_the_first_of_a_file_too(address, duckdb_rows):
    handle = table(address, numbered(20))
    for number in range(2 * CHECKPOINT_EVERY):
        handle = merged(handle, rows((number % 3 * 4, "x", number), (100 + number, "y", number)))
        if number % 7 == 0:
            known.forget(address)
            handle = opened(address)
    assert_frame_equal(
        handle.scan().filter(pl.col("day") == "x").sort("id").collect(), rows((0, "x", 18), (4, "x", 19), (8, "x", 17))
    )
    as_others_read(address, duckdb_rows)
    assert check(opened(address)).faults == {}


def test_groups_are_replaced_and_partitions_pruned(address, duckdb_rows):
    handle = Handle.create(address, SCHEMA, partition_by=["day"], readers=ABLE)
    handle = handle.commit(write_files(handle, numbered(40)), [], {}, {})
    after = merge(for_readers(handle, ABLE), rows((1, "b", -1), (41, "b", -41)).lazy(), ["id", "day"], {}, {}).handle
    assert list(after.gone) == [path for path in handle.files()["path"] if "day=b" in path]
    assert after.rows == 41
    as_others_read(address, duckdb_rows)


@settings(max_examples=max(25, settings().max_examples // 8), deadline=None)
@given(data=st.data())
def test_any_merges_give_the_table_that_plain_polars_gives(data, tmp_path_factory):
    address = Address(str(tmp_path_factory.mktemp("any") / "t"))
    standing = numbered(data.draw(st.integers(1, 30)))
    handle = table(address, standing, data.draw(st.integers(1, 9)))
    for _ in range(data.draw(st.integers(1, 5))):
        ids = data.draw(st.lists(st.integers(0, 40), unique=True, max_size=12))
        batch = rows(*((each, data.draw(st.sampled_from("abc")), each * 7) for each in ids))
        handle = merged(handle if data.draw(st.booleans()) else opened(address), batch)
        standing = pl.concat([standing.join(batch, on="id", how="anti"), batch])
        assert_frame_equal(handle.scan().sort("id").collect(), standing.sort("id"))
        assert handle.rows == standing.height
    assert_frame_equal(opened(address).scan().sort("id").collect(), standing.sort("id"))
    assert_frame_equal(pl.scan_delta(DeltaTable(address.uri)).sort("id").collect(), standing.sort("id"))


def test_the_slices_that_changed_are_those_of_rows_that_came_and_went(address):
    before = table(address, numbered(20))
    after = merged(merged(before, rows((5, "c", 50))), rows((6, "a", 6)))
    for handle in (after, opened(address)):
        changed = changed_slices(handle, before.version, ["day"])
        assert changed is not None
        assert sorted(changed.values["day"]) == ["b", "c"]  # row 6 is as it was, in another file


def test_two_versions_differ_in_the_rows_that_came_and_went_and_no_other_is_read(address):
    before = table(address, numbered(20))
    after = merged(before, rows((5, "c", 50)))
    was, now, shared = apart(at_version(after, before.version), after)
    assert was.collect().rows() == rows((5, "b", 5)).rows()
    assert now.collect().rows() == rows((5, "c", 50)).rows()
    assert shared == 19


def test_vectors_come_back_as_they_were_written_and_a_damaged_one_is_named(address, tmp_path):
    table(address, numbered(4))
    gone = {"one": BitMap([0, 3, 99]), "two": BitMap(range(0, 900_000, 3))}
    marks = write_vectors(address, gone)
    assert read_vectors(address, [mark.vector for mark in marks.values()]) == {
        marks[name].vector: places for name, places in gone.items()
    }
    [file] = (tmp_path / "lake" / "orders").glob("deletion_vector_*.bin")
    content = bytearray(file.read_bytes())
    content[30] ^= 1
    file.write_bytes(content)
    with pytest.raises(Damaged, match=r"deletion_vector_.* is not as it was written: its checksum is another"):
        read_vectors(address, [marks["one"].vector])


def test_each_damaged_file_of_vectors_is_named_by_a_check(address):
    handle = merged(table(address, numbered(20)), rows((1, "c", 1), (2, "c", 2)))
    handle = merged(handle, rows((11, "c", 11), (18, "c", 18)))
    damaged, gone = sorted({str(vector.file) for vector in handle.vectors.values()})
    file = Path(address.uri, damaged)
    file.write_bytes(file.read_bytes()[:-3] + b"xyz")
    Path(address.uri, gone).unlink()
    faults = check(opened(address)).faults
    assert sorted(faults) == [damaged, gone]
    assert faults[damaged].endswith(f"the deletion vector {damaged} is not as it was written: its checksum is another.")
    with pytest.raises((Damaged, FileNotFoundError)):
        opened(address).scan().collect()
    anew = overwrite(opened(address), numbered(5).lazy(), {}, {}).handle
    assert (anew.scan().collect().height, check(opened(address)).faults) == (5, {}), "which is what mends it"


def test_whichever_bit_of_a_checkpoint_falls_over_the_table_does_not_open_or_a_check_ends(address):
    """Of what keeps the vectors from being told, and lets the table open, there is much: delta-rs reads less of it."""
    handle = merged(table(address, numbered(20)), rows((1, "c", 1)))
    handle.checkpoint()
    for version in range(handle.version):
        Path(log_file(address, version)).unlink()
    checkpoint = Path(log_file(address, handle.version)).with_suffix(".checkpoint.parquet")
    whole, dice, named = checkpoint.read_bytes(), random.Random(20261123), 0
    for at in (dice.randrange(len(whole)) for _ in range(80)):
        checkpoint.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << dice.randrange(8)]) + whole[at + 1 :])
        with suppress(Unreadable):
            named += f"_delta_log/{checkpoint.name}" in check(opened(address)).faults
    assert named


def test_the_file_of_a_deletion_vector_is_told_as_deltas_protocol_writes_it():
    """PROTOCOL.md, "Deletion Vector Descriptor Schema", its own examples."""
    file = "ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin"
    assert Vector("u", "ab^-aqEH.-t@S}K{vb[*k^", 4, 40, 6).file == file
    away = Vector("p", "s3://mytable/deletion_vector_d2c6.bin", 4, 40, 6)
    assert away.file == "s3://mytable/deletion_vector_d2c6.bin"
    inline = Vector("i", "wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L", None, 40, 6)
    assert inline.file is None
    with pytest.raises(Damaged, match="none that we can read"):  # the older of its two formats
        read_vectors(Address("/nowhere"), [inline])
    for path in ("/nowhere/a.bin", "s3://mytable/a.bin"):  # whether it is the table's own or not
        with pytest.raises(Refused, match=rf"by an absolute path \(storageType p\), as a clone has: {path}\. Such are"):
            read_vectors(Address("/nowhere"), [Vector("p", path, 4, 40, 6)])


def test_compaction_folds_vectors_in_and_readers_find_the_same_rows(address, duckdb_rows):
    before = table(address, numbered(40), rows_per_file=20)
    marked = merged(before, rows((3, "c", 1), (25, "c", 2), (26, "c", 3)))
    folded = compact(marked, Aim(rows=20, small_ratio=1)).handle
    assert (folded.gone, content(folded), folded.rows) == (
        {path: places for path, places in marked.gone.items() if len(places) == 1},
        content(marked),
        40,
    )
    assert compact(folded, Aim(rows=20, small_ratio=1)).handle.version == folded.version
    changed = changed_slices(folded, before.version, ["day"])
    assert changed is not None
    assert sorted(changed.values["day"]) == ["a", "b", "c"]
    as_others_read(address, duckdb_rows)
    sweep(plan_vacuum(folded, 0, {}))
    as_others_read(address, duckdb_rows)


def test_for_a_reader_who_knows_no_vectors_they_are_folded_in_and_asked_for_no_more(address, aside, duckdb_rows):
    marked = merged(merged(table(address, numbered(20)), rows((5, "c", 50), (30, "c", 300))), rows((6, "d", 60)))
    there, in_order = content(marked), marked.scan().collect().rows()
    assert without_vectors(marked, ABLE) is marked
    plain = without_vectors(marked, EVERY_READER)
    assert (plain.protocol, plain.has_vectors, dict(plain.gone)) == ((1, 7), False, {})
    assert plain.scan().collect().rows() == in_order
    assert set(marked.files()["path"]) - set(plain.files()["path"]) == set(marked.gone)
    as_others_read(address, duckdb_rows)
    assert check(plain).faults == {}
    assert content(at_version(plain, marked.version)) == there
    assert plain.since(marked.version).collect().is_empty()
    for handle in (plain, opened(address)):
        assert without_vectors(handle, EVERY_READER) is handle
    anew = merge(for_readers(plain, EVERY_READER), rows((7, "e", 7)).lazy(), ["id"], {}, {}).handle
    assert (anew.gone, anew.protocol) == ({}, (1, 7))
    assert content(promise(anew, 999)) == content_of(plain, (7, "e", 7))
    back = restore(prepare_restore(opened(address), marked.version), aside)
    assert (back.protocol, content(back)) == ((3, 7), there), "by the vectors of then, which no reader must overlook"
    as_others_read(address, duckdb_rows)
    assert content(without_vectors(opened(address), EVERY_READER)) == there
    assert content(merged(opened(address), rows((8, "f", 8)))) == content_of(marked, (8, "f", 8))


def test_what_is_put_back_for_a_reader_who_knows_no_vectors_comes_without_them_in_one_commit(
    address, aside, duckdb_rows
):
    marked = merged(table(address, numbered(20)), rows((5, "c", 50), (6, "d", 60)))
    in_order = marked.scan().collect().rows()
    plain = without_vectors(marked, EVERY_READER).leaving_out(("qty",))
    prepared = prepare_restore(append(plain, rows((9, "z", 9)).lazy(), {}, {}).handle.leaving_out(("qty",)), 2)
    back = restore(readable(prepared, EVERY_READER), aside)
    assert (back.version, back.protocol, back.has_vectors) == (prepared.now.version + 1, (1, 7), False)
    assert opened(address).scan().collect().rows() == in_order
    as_others_read(address, duckdb_rows)
    assert check(back).faults == {}
    anew = [add for add in opened(address).commit_of(back.version).of("add") if add["path"] not in marked.standing.adds]
    assert ["qty" in add["stats"] for add in anew] == [False], "what is personal is not in the log"
    assert prepare_restore(opened(address), marked.version).is_done
    on = restore(prepare_restore(back, prepared.now.version), aside)
    assert restore(prepare_restore(on, back.version), aside).scan().collect().rows() == in_order


def test_what_became_personal_is_left_out_wherever_the_log_tells_anew_of_a_file_that_was_measured(address, aside):
    standing = table(address, numbered(8), rows_per_file=8)

    def told(handle: Handle) -> list[dict[str, Any]]:
        return [
            json.loads(add["stats"]) for add in handle.commit_of(handle.version).of("add") if "deletionVector" in add
        ]

    marked = merged(standing.leaving_out(("qty",)), rows((5, "c", 50)))
    [bounds] = told(marked)
    assert [*bounds["minValues"], *bounds["maxValues"]] == ["id", "day", "id", "day"]
    assert (bounds["nullCount"]["qty"], bounds["numRecords"], bounds["tightBounds"]) == (0, 8, False)
    later = merged(merged(opened(address), rows((6, "c", 60))), rows((7, "c", 70)))
    with_values = merged(table(Address(f"{address}_too"), numbered(8), rows_per_file=8), rows((5, "c", 50)))
    assert {"qty"} < told(with_values)[0]["minValues"].keys()
    on = merged(with_values, rows((6, "c", 60)))
    for now, then in ((later, marked), (on, with_values)):
        back = restore(prepare_restore(now.leaving_out(("qty",)), then.version), aside)
        assert [sorted(each["minValues"]) for each in told(back)] == [["day", "id"]]
        assert content(back) == content(then)


def test_what_is_put_back_for_readers_who_all_know_vectors_comes_with_them(address, aside):
    marked = merged(table(address, numbered(8)), rows((5, "c", 50)))
    plain = append(without_vectors(marked, EVERY_READER), rows((9, "z", 9)).lazy(), {}, {}).handle
    back = restore(readable(prepare_restore(plain, marked.version), ABLE), aside)
    assert (back.protocol, dict(back.vectors)) == ((3, 7), dict(marked.vectors))
    freed = restore(readable(prepare_restore(back, marked.version - 1), EVERY_READER), aside)
    assert (freed.protocol, freed.scan().collect().rows()) == ((1, 7), numbered(8).rows()), "of a table that had some"


def test_what_a_rival_marks_while_vectors_are_folded_in_is_folded_in_too(address, monkeypatch, duckdb_rows):
    marked = merged(table(address, numbered(8)), rows((0, "x", -1)))
    rivals = [lambda: merged(opened(address), rows((5, "x", -1)))]

    def after_a_rival(*args, **words):
        if rivals:
            rivals.pop()()
        return write_files(*args, **words)

    monkeypatch.setattr(optimize, "write_files", after_a_rival)
    plain = without_vectors(marked, EVERY_READER)
    assert content(plain) == content(opened(address)) == content_of(marked, (5, "x", -1))
    assert vectors_of(opened(address).standing.adds) == {}, "which whoever knows none would overlook"
    as_others_read(address, duckdb_rows)


def test_a_delivery_is_not_put_on_top_of_what_a_rival_delivered_while_vectors_were_folded_in(
    address, aside, monkeypatch
):
    marked = merged(table(address, numbered(8)), rows((0, "x", -1)))
    came, nothing = rows((9, "a", 9)), quarantine.ROWS.to_frame()
    rivals = [lambda: append(opened(address), came.lazy(), {"read up to": 5}, {})]

    def after_a_rival(*args, **words):
        if rivals:
            rivals.pop()()
        return write_files(*args, **words)

    monkeypatch.setattr(optimize, "write_files", after_a_rival)
    delivery = Delivery(
        address, aside, SCHEMA, "", marked, Append(), (), whole=False, accepted=came, rejected=nothing,
        transactions={"read up to": 5},
    )  # fmt: skip
    with pytest.raises(Conflict, match="while its deletion vectors were folded in"):
        deliver(delivery)
    assert content(opened(address)) == content_of(marked, (9, "a", 9))


def test_a_table_that_is_to_get_columns_is_freed_of_its_vectors_as_it_stands(address, duckdb_rows):
    marked = merged(table(address, numbered(20)), rows((5, "c", 50)))
    wider = pl.Schema({**SCHEMA, "id": pl.Decimal(38, 0)})
    view = without_vectors(as_if(marked, wider), EVERY_READER)
    assert (view.schema, view.stands_as, opened(address).schema) == (wider, SCHEMA, SCHEMA)
    as_others_read(address, duckdb_rows)
    evolved = evolve(for_readers(view, EVERY_READER), wider, {})
    assert (evolved.schema, evolved.protocol) == (wider, (1, 7))
    assert evolved.scan().cast({"id": pl.Int64}).collect().rows() == marked.scan().collect().rows()


def test_a_feature_that_another_engine_listed_is_left_where_it_is_used(address):
    handle = table(address, numbered(8))
    asked = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["timestampNtz", "deletionVectors"]}
    asked |= {"writerFeatures": ["timestampNtz", "deletionVectors", "appendOnly"]}
    handle.commit([], [], {}, {}, asks=lambda standing, _: (asked, standing.metadata))
    plain = without_vectors(opened(address), [Reader.SYNAPSE])
    said = DeltaTable(address.uri).protocol()
    assert (plain.protocol, said.reader_features) == ((3, 7), ["timestampNtz"])
    assert sorted(said.writer_features or []) == ["appendOnly", "checkpointProtection", "timestampNtz"]


def test_a_rival_that_marks_the_same_file_first_is_gone_round(address):
    before = table(address, numbered(20))
    first = prepare_merge(for_readers(before, ABLE), rows((4, "x", 4)), ["id"])
    second = prepare_merge(for_readers(before, ABLE), rows((5, "y", 5)), ["id"])
    first.commit({}, {})
    after = second.commit({}, {}).handle
    assert content(after) == content(opened(address)) == content_of(before, (4, "x", 4), (5, "y", 5))


def test_columns_are_added_and_widened_over_vectors(address):
    marked = merged(table(address, numbered(20)), rows((5, "c", 50)))
    wider = pl.Schema({**SCHEMA, "note": pl.String()})
    evolved = evolve(for_readers(marked, ABLE), wider, {})
    assert evolved.scan().select(*SCHEMA).sort("id").collect().equals(marked.scan().sort("id").collect())
    assert evolved.rows == opened(address).rows == 20


def test_what_is_removed_takes_its_vector_along(address, duckdb_rows):
    marked = merged(table(address, numbered(20)), rows((5, "c", 50)))
    assert content(overwrite(marked, rows((1, "a", 1)), {}, {}).handle) == rows((1, "a", 1)).rows()
    as_others_read(address, duckdb_rows)


def test_marks_are_made_on_a_version_of_which_only_a_checkpoint_tells(address, duckdb_rows):
    marked = merged(table(address, numbered(20)), rows((5, "c", 50)))
    marked.checkpoint()
    for version in range(marked.version + 1):
        Path(log_file(address, version)).unlink()
    after = merged(opened(address), rows((5, "d", 51), (6, "d", 60)))
    assert content(after) == content_of(marked, (5, "d", 51), (6, "d", 60))
    assert sum(map(len, after.gone.values())) == 2
    as_others_read(address, duckdb_rows)


def test_no_row_is_marked_where_the_log_does_not_count_the_rows_of_a_file(address):
    handle = table(address, numbered(8))
    log = Path(log_file(address, handle.version))
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    next(action["add"] for action in actions if "add" in action)["stats"] = "{}"
    log.write_text("\n".join(map(json.dumps, actions)))
    after = merged(opened(address), rows((1, "x", -1), (6, "x", -1)))
    assert content(after) == content_of(handle, (1, "x", -1), (6, "x", -1))
    assert after.gone == {}


def test_of_a_table_that_is_only_appended_to_no_row_goes_by_a_vector(address):
    told = {"configuration": {"delta.appendOnly": "true"}}
    handle = table(address, numbered(8)).commit([], [], {}, {}, asks=lambda stands, _: (None, stands.metadata | told))
    with pytest.raises(Refused, match=r"is append-only .*, and 1 file would lose rows\. Nothing was"):
        merged(opened(address), rows((1, "x", -1)))
    assert opened(address).version == handle.version


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_table_is_put_back_with_the_vectors_that_it_had(address, aside, duckdb_rows, version):
    first = merged(table(address, numbered(20)), rows((5, "c", 50)))
    newest = merged(merged(first, rows((6, "d", 60), (15, "d", 150))), rows(*((number, "z", 0) for number in range(8))))
    then = at_version(newest, version)
    restored = restore(prepare_restore(newest, version), aside)
    assert (content(restored), restored.rows) == (content(then), then.rows)
    as_others_read(address, duckdb_rows)
    assert content(merged(opened(address), rows((5, "n", 1)))) == content_of(then, (5, "n", 1))


def test_a_promise_of_retention_asks_no_more_of_who_reads_a_table_with_vectors(address):
    """deltalake, where it sets a property, asks for variantType as well: nobody here could write the table again."""
    marked = merged(table(address, numbered(8)), rows((1, "c", 1)))
    promised = promise(marked, 200)
    assert (hours_of(promised), promised.version, promised.has_vectors) == (200, marked.version + 1, True)
    assert DeltaTable(address.uri).protocol().reader_features == ["deletionVectors"]
    assert content(promised) == content(marked)
    assert merged(promised, rows((2, "c", 2))).rows == 8


def test_a_table_whose_protocol_does_not_name_its_features_is_not_raised_to_one_that_does(address):
    DeltaTable.create(
        address.uri, rows((1, "a", 1)).to_arrow().schema, configuration={"delta.enableChangeDataFeed": "true"}
    )
    handle = for_readers(opened(address), ABLE)
    assert handle.protocol == (1, 4)
    assert why_no_marks(handle).startswith("another engine gave it writer version 4")
