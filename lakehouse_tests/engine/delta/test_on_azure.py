"""The same core on a storage account: Azurite in the place of ADLS Gen2."""

import hashlib
import random
import threading
from datetime import UTC, datetime

import obstore
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from lakehouse.engine.declare.errors import Conflict, LakehouseError, Refused
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.readers import Reader
from lakehouse.engine.delta import quarantine, store
from lakehouse.engine.delta.check import check
from lakehouse.engine.delta.commit import SHA256
from lakehouse.engine.delta.evolution import evolve
from lakehouse.engine.delta.files import write_files
from lakehouse.engine.delta.handle import CHECKPOINT_EVERY, Handle
from lakehouse.engine.delta.heal import repair_checkpoints
from lakehouse.engine.delta.optimize import Aim, compact, zorder
from lakehouse.engine.delta.place import LOG, POINTER, log_name
from lakehouse.engine.delta.protocol import for_readers
from lakehouse.engine.delta.refused import Unreadable
from lakehouse.engine.delta.restore import prepare_restore, restore
from lakehouse.engine.delta.retention import hours_of, promise
from lakehouse.engine.delta.travel import history
from lakehouse.engine.delta.vacuum import plan_vacuum, sweep
from lakehouse.engine.delta.writes import overwrite, prepare_append, replace_slice
from lakehouse_tests.engine.delta.opening import opened
from lakehouse_tests.engine.delta.writing import append, merge

pytestmark = pytest.mark.azurite

SCHEMA = pl.Schema({"day": pl.String(), "id": pl.Int64()})


@pytest.fixture
def lake(azurite, new_container) -> Address:
    return azurite.address(new_container())


def rows(*ids: int, day: str | None = "d") -> pl.LazyFrame:
    return pl.LazyFrame({"day": [day] * len(ids), "id": ids}, schema=SCHEMA)


def test_where_no_table_is_there_is_no_handle(lake):
    assert Handle.open(lake / "t") is None


def test_a_wrong_key_is_an_error_and_not_a_missing_table(lake):
    wrong = Address(lake.uri, {**lake.options, "account_key": "d3Jvbmc="})
    with pytest.raises(LakehouseError) as failure:
        opened(wrong / "t")
    assert "d3Jvbmc=" not in str(failure.value)


def test_every_write_and_read_works_as_on_a_disk(lake):
    handle = Handle.create(lake / "t", SCHEMA)
    handle = append(handle, rows(1, 2), {"p": 1}, {}).handle
    handle = append(handle, rows(3), {"p": 2}, {}).handle
    assert handle.since(1).collect()["id"].to_list() == [3]
    assert handle.scan().collect()["id"].to_list() == [1, 2, 3]
    handle = merge(handle, rows(2, 4, day="e"), ["id"], {"p": 3}, {}).handle
    assert sorted(handle.scan().collect().rows()) == [("d", 1), ("d", 3), ("e", 2), ("e", 4)]
    handle = replace_slice(handle, rows(9, day="e"), pl.col("day") == "e", {"p": 4}, {}).handle
    handle = append(handle, rows(), {"p": 5}, {}).handle
    assert sorted(handle.scan().collect().rows()) == [("d", 1), ("d", 3), ("e", 9)]
    assert (handle.transaction("p"), handle.protocol) == (5, (1, 2))
    assert handle.updated_at.date() == datetime.now(UTC).date()
    with pytest.raises(Refused, match="Nothing was read"):
        handle.since(2)
    assert overwrite(handle, rows(5), {}, {}).handle.scan().collect()["id"].to_list() == [5]


def test_odd_partition_values_come_back(lake):
    frame = pl.DataFrame({"day": ["a/b'c=%&é[x]* z", "plain", None, "50%25"], "id": [1, 2, 3, 4]})
    handle = Handle.create(lake / "t", SCHEMA, partition_by=["day"])
    handle = append(handle, frame.lazy(), {}, {}).handle
    assert_frame_equal(handle.scan().sort("id").collect(), frame)
    assert_frame_equal(handle.since(0).sort("id").collect(), frame)
    merged = merge(handle, rows(1, day="plain"), ["id"], {}, {}).handle
    assert sorted(merged.scan().collect().rows(), key=repr) == sorted(
        [("plain", 1), ("plain", 2), (None, 3), ("50%25", 4)], key=repr
    )


def test_two_commits_on_one_version_are_one_commit_and_one_conflict(lake):
    mine = Handle.create(lake / "t", SCHEMA)
    append(opened(lake / "t"), rows(1), {}, {})
    with pytest.raises(Conflict):
        prepare_append(mine, rows(2)).once({}, {})


def test_checkpoints_come_by_themselves_and_the_log_stays(lake):
    handle = Handle.create(lake / "t", SCHEMA)
    for number in range(CHECKPOINT_EVERY + 1):
        handle = append(handle, rows(number), {"p": number}, {}).handle
    again = opened(lake / "t")
    assert again.transaction("p") == CHECKPOINT_EVERY
    assert again.since(0).collect()["id"].to_list() == list(range(CHECKPOINT_EVERY + 1))


def test_racing_creators_and_writers_each_land_exactly_once(lake):
    start = threading.Barrier(3)

    def write(number: int) -> None:
        start.wait()
        handle = Handle.create(lake / "t", SCHEMA)
        while True:
            try:
                append(handle, rows(number), {}, {})
            except Conflict:
                handle = opened(lake / "t")
            else:
                return

    writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    handle = opened(lake / "t")
    assert (handle.version, sorted(handle.scan().collect()["id"])) == (3, [0, 1, 2])


def test_a_table_is_put_back_as_on_a_disk(lake):
    made = Handle.create(lake / "t", SCHEMA, partition_by=["day"])
    first = append(made, rows(1, 2, day="a/b'c=%&é*"), {"p": 1}, {}).handle
    moment = datetime(2024, 5, 1, tzinfo=UTC)
    bad = pl.DataFrame([("u", "s", "f", 1, 1, "broke", ["r"], "x", moment)], schema=quarantine.ROWS, orient="row")
    attempt = quarantine.write(first, lake / "q", bad, whole=False)
    second = append(first, rows(3), {"p": 2, "other": 1, **attempt.transactions}, {}).handle
    anew = quarantine.write(second, lake / "q", bad.clear(), whole=True)
    third = overwrite(second, rows(4), {"p": 3, **anew.transactions}, {}).handle
    quarantine.settle(third, lake / "q")
    assert quarantine.count(third, lake / "q") == 0
    back = restore(prepare_restore(third, 2), lake / "q")
    assert sorted(opened(lake / "t").scan().collect().rows()) == [("a/b'c=%&é*", 1), ("a/b'c=%&é*", 2), ("d", 3)]
    assert (back.transaction("p"), quarantine.read(back, lake / "q").collect()["row"].to_list()) == (2, ["x"])
    empty = restore(prepare_restore(back, 1), lake / "q")
    assert (empty.transaction("other"), quarantine.count(empty, lake / "q")) == (None, 0)
    assert empty.since(1).collect().is_empty()
    with pytest.raises(Conflict):
        restore(prepare_restore(back, 3), lake / "q")
    again = append(empty, rows(5), {}, {}).handle
    assert again.since(1).collect()["id"].to_list() == [5]
    with pytest.raises(Refused, match="put back to what stood before version 2"):
        again.since(2)


def test_quarantine_works_as_on_a_disk(lake):
    table = Handle.create(lake / "t", SCHEMA)
    moment = datetime(2024, 5, 1, tzinfo=UTC)
    bad = pl.DataFrame([("u", "s", "f", 1, 1, "broke", ["r"], "x", moment)], schema=quarantine.ROWS, orient="row")
    lost = quarantine.write(table, lake / "q", bad, whole=False)
    won = quarantine.write(table, lake / "q", bad, whole=False)
    assert lost.transactions != won.transactions
    table = append(table, rows(1), won.transactions, {}).handle
    assert quarantine.count(table, lake / "q") == quarantine.read(table, lake / "q").collect().height == 1
    quarantine.settle(table, lake / "q")
    assert opened(lake / "q").rows == 1


def test_columns_are_added_and_widened_and_who_is_behind_reads_on(lake):
    narrow = pl.Schema({"id": pl.Int32()})
    first = append(Handle.create(lake / "t", narrow), pl.LazyFrame({"id": [1]}, narrow), {}, {})
    second = append(first.handle, pl.LazyFrame({"id": [2]}, {"id": pl.Int8}), {}, {}).handle  # widened by us
    evolved = evolve(second, pl.Schema({"day": pl.String(), "id": pl.Int64()}), {})
    last = append(evolved, rows(3), {}, {}).handle
    assert opened(lake / "t").scan().collect().rows() == [(None, 1), (None, 2), ("d", 3)]
    assert last.since(first.version).collect().rows() == [(None, 2), ("d", 3)]
    assert check(last).faults == {}


def test_what_is_not_there_is_told_from_a_store_that_fails(lake):
    handle = append(Handle.create(lake / "t", SCHEMA), rows(1), {}, {}).handle
    with pytest.raises(FileNotFoundError):
        handle.commit_of(2)
    with pytest.raises(FileNotFoundError):
        handle.scan_paths(["nothing.parquet"]).select(pl.len()).collect()


@pytest.mark.parametrize("folder", [(), ("day",)], ids=["whole", "in folders of odd names"])
def test_a_file_is_hashed_as_it_is_sent_and_damage_of_any_byte_is_found(lake, folder):
    made = Handle.create(lake / "t", SCHEMA, partition_by=folder)
    handle = prepare_append(made, rows(1, 2, day="a/b'c=%&é*").collect()).commit({}, {}).handle
    handle = append(handle, rows(3), {}, {}).handle  # streamed, and not held in memory
    assert (check(handle).faults, check(handle).summed, check(handle).unused) == ({}, 2, 0)
    assert history(handle)["rows_added"].to_list() == [1, 2, 0]
    [add] = handle.commit_of(1).of("add")
    path = handle.files()["path"][0]
    [whole] = store.read(lake / "t", [path])
    assert add["tags"] == {SHA256: hashlib.sha256(whole).hexdigest()}
    for at in (0, len(whole) // 2, len(whole) - 1):
        overwrite_blob(lake / "t", path, whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert check(handle).faults == {path: "is not as it was written: its checksum is another"}
    overwrite_blob(lake / "t", path, whole)
    assert check(handle).faults == {}
    overwrite_blob(lake / "t", path, whole[:-1])
    assert "bytes, and" in check(handle).faults[path]
    store.remove(lake / "t", [path])
    assert check(handle).faults == {path: "is not there"}


def overwrite_blob(address: Address, name: str, content: bytes) -> None:
    obstore.put(store.store_of(address), name, content)


def test_a_file_of_many_parts_is_hashed_part_by_part_and_files_without_rows_go_again(lake):
    dice = random.Random(20261123)
    wide = pl.DataFrame({"id": range(40_000), "text": [dice.randbytes(256).hex() for _ in range(40_000)]})
    handle = append(Handle.create(lake / "t", wide.schema), wide.lazy(), {}, {}).handle
    assert handle.bytes > 8 << 20, "more than one part of it is sent"
    assert (check(handle).faults, check(handle).summed) == ({}, 1)
    assert_frame_equal(handle.scan().collect(), wide)
    assert write_files(handle, wide.lazy().filter(pl.col("id") < 0)) == []
    assert check(handle).unused == 0


def test_a_merge_by_deletion_vectors_sends_the_vectors_alone_and_compaction_folds_them_in(lake):
    known_to_all = (Reader.DELTA_RS, Reader.DATABRICKS)
    handle = append(Handle.create(lake / "t", SCHEMA), rows(*range(40)), {}, {}).handle
    [file] = handle.files()["path"]
    handle = merge(for_readers(handle, known_to_all), rows(2, 3, 50, day="new"), ["id"], {}, {}).handle
    [vector] = [name for name in store.sizes(lake / "t") if name.endswith(".bin")]
    assert [add["path"] for add in handle.commit_of(2).of("add") if "deletionVector" in add] == [file], "it stays"
    assert (handle.vectors[file].kind, handle.vectors[file].rows, handle.vectors[file].file) == ("u", 2, vector)
    expected = [("d", number) for number in range(40) if number not in {2, 3}] + [("new", id_) for id_ in (2, 3, 50)]
    assert sorted(opened(lake / "t").scan().collect().rows()) == sorted(expected)
    assert check(opened(lake / "t")).faults == {}
    [whole] = store.read(lake / "t", [vector])
    overwrite_blob(lake / "t", vector, whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "its checksum is another" in check(opened(lake / "t")).faults[vector]
    overwrite_blob(lake / "t", vector, whole)
    folded = compact(for_readers(opened(lake / "t"), known_to_all), Aim()).handle
    assert (len(folded.files()), dict(opened(lake / "t").vectors)) == (1, {})
    assert sorted(opened(lake / "t").scan().collect().rows()) == sorted(expected)
    folded.checkpoint()
    sweep(plan_vacuum(opened(lake / "t"), 0, {}))
    assert not [name for name in store.sizes(lake / "t") if name.endswith(".bin")]


def test_a_table_is_kept_as_on_a_disk(lake):
    odd = "a/b'c=%&é"
    handle = Handle.create(lake / "t", SCHEMA, partition_by=["day"])
    for number in range(CHECKPOINT_EVERY + 1):
        handle = append(handle, rows(number, day=odd), {}, {}).handle
    behind, handle = handle.version, promise(handle, 168)
    assert hours_of(opened(lake / "t")) == 168
    done = compact(handle, Aim())
    assert (done.rewritten, done.after.files) == (CHECKPOINT_EVERY + 1, 1)
    done.handle.checkpoint()
    handle = append(done.handle, rows(99, day=odd), {}, {}).handle
    assert plan_vacuum(handle, 168, {}).files == {}, "all of it is of just now"
    kept = plan_vacuum(handle, 0, {"silver/new": 1})
    assert len(kept.files) == 1, "the first is read already"
    swept = plan_vacuum(handle, 0, {"silver/new": behind})
    assert (len(swept.files), len(swept.log)) == (CHECKPOINT_EVERY + 1, CHECKPOINT_EVERY)
    sweep(swept)
    handle = opened(lake / "t")
    assert handle.scan().collect()["id"].to_list() == [*range(CHECKPOINT_EVERY + 1), 99]
    assert handle.since(behind).collect()["id"].to_list() == [99]
    assert zorder(handle, ["id"], Aim(rows=4)).handle.scan().sort("id").collect().height == CHECKPOINT_EVERY + 2
    assert check(opened(lake / "t")).faults == {}


def test_a_damaged_checkpoint_of_a_cleaned_log_is_repaired_from_the_one_before_it(lake):
    handle = Handle.create(lake / "t", SCHEMA)
    for number in range(4):
        handle = append(handle, rows(number), {}, {}).handle
        if number % 2:
            handle.checkpoint()
    store.remove(lake / "t", [log_name(version) for version in (0, 1)])
    damaged = log_name(4).replace("json", "checkpoint.parquet")
    overwrite_blob(lake / "t", damaged, store.read(lake / "t", [damaged])[0][:-9])
    with pytest.raises(Unreadable, match="see what mends it: lakehouse table check"):
        opened(lake / "t")
    assert repair_checkpoints(lake / "t", "") == [damaged, f"{LOG}/{POINTER}"]
    assert sum(name.startswith(f"{LOG}/.torn-") for name in store.sizes(lake / "t")) == 2
    opened(lake / "t").checkpoint()
    assert (opened(lake / "t").rows, check(opened(lake / "t")).faults) == (4, {})
    for version in (2, 4):
        overwrite_blob(lake / "t", log_name(version).replace("json", "checkpoint.parquet"), b"")
    with pytest.raises(Refused, match=rf"{log_name(0)} is missing .*Nothing was moved.*; else make it anew"):
        repair_checkpoints(lake / "t", "make it anew")
    assert repair_checkpoints(lake / "nothing", "") == []
