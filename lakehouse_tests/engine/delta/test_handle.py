import json
import multiprocessing
import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import polars as pl
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.transaction import AddAction, RemoveAction
from polars.testing import assert_frame_equal

from lakehouse.engine.declare.errors import Conflict, Refused, Transient
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta import commit as commit_module
from lakehouse.engine.delta import place
from lakehouse.engine.delta.files import write_files
from lakehouse.engine.delta.handle import CHECKPOINT_EVERY, Handle
from lakehouse.engine.delta.statistics import DataFile
from lakehouse_tests.engine.delta.opening import opened

MEASURED = '{"numRecords":1,"minValues":{},"maxValues":{},"nullCount":{}}'
SCHEMA = pl.Schema({"id": pl.Int64(), "note": pl.String()})


def rows(*ids: int) -> pl.DataFrame:
    return pl.DataFrame({"id": ids, "note": [f"n{i}" for i in ids]}, schema=SCHEMA)


def add(handle: Handle, *ids: int, **transactions: int) -> Handle:
    return handle.commit(write_files(handle, rows(*ids).lazy()), [], transactions, {})


def log(address: Address, version: int) -> Path:
    return Path(address.uri) / "_delta_log" / f"{version:020d}.json"


def test_where_no_table_is_there_is_no_handle(address, tmp_path):
    assert Handle.open(address) is None
    (tmp_path / "empty").mkdir()
    assert Handle.open(Address(str(tmp_path / "empty"))) is None


def test_a_new_table_is_empty_and_asks_for_the_least_protocol(address):
    made = Handle.create(address, SCHEMA, description="orders")
    assert (made.version, made.rows, made.bytes, made.schema, made.protocol) == (0, 0, 0, SCHEMA, (1, 2))
    assert made.description == "orders"
    assert made.files().height == 0
    assert_frame_equal(made.scan().collect(), rows())


def test_who_comes_second_opens_the_table_of_the_first(address):
    first = Handle.create(address, SCHEMA)
    assert Handle.create(address, SCHEMA).id == first.id


def test_a_commit_gives_a_new_handle_and_leaves_the_old_one(address):
    before = Handle.create(address, SCHEMA)
    after = add(before, 1, 2)
    assert (before.version, before.rows, before.scan().collect().height) == (0, 0, 0)
    assert (after.version, after.rows) == (1, 2)
    assert after.bytes == sum(path.stat().st_size for path in Path(address.uri).glob("*.parquet"))
    assert abs((datetime.now(UTC) - after.updated_at).total_seconds()) < 60


def test_a_scan_stays_at_its_version(address):
    first = add(Handle.create(address, SCHEMA), 1)
    scan = first.scan()
    add(first, 2)
    assert_frame_equal(scan.collect(), rows(1))


def test_a_whole_scan_gives_the_rows_in_the_order_they_were_committed(address):
    handle = Handle.create(address, SCHEMA)
    for ids in ([5, 1], [9], [2, 0]):
        handle = add(handle, *ids)
    assert_frame_equal(handle.scan().collect(), rows(5, 1, 9, 2, 0))


def test_transactions_come_back_and_a_commit_without_files_is_a_version(address):
    handle = Handle.create(address, SCHEMA)
    moved = handle.commit([], [], {"orders←6f1 upstream": 2**60 - 1}, {"run": "r1"})
    assert moved.version == 1
    assert moved.transaction("orders←6f1 upstream") == 2**60 - 1
    assert moved.transaction("other") is None
    assert moved.commit_of(1).info["run"] == "r1"


def test_two_commits_on_one_version_are_one_commit_and_one_conflict(address):
    mine = Handle.create(address, SCHEMA)
    theirs = opened(address)
    add(theirs, 1)
    with pytest.raises(Conflict, match="version 1 first"):
        add(mine, 2)
    assert_frame_equal(opened(address).scan().collect(), rows(1))


def test_a_table_that_was_made_anew_meanwhile_gets_no_version_of_the_old_one(address):
    handle = add(Handle.create(address, SCHEMA), 1)
    shutil.rmtree(address.uri)
    with pytest.raises(Conflict, match="was removed or made anew since its version 1 was read; nothing was committed"):
        add(handle, 2)
    add(Handle.create(address, SCHEMA), 3)
    with pytest.raises(Conflict, match="made anew"):
        add(handle, 2)
    assert_frame_equal(opened(address).scan().collect(), rows(3))
    assert not log(address, 2).exists()


def test_a_file_that_is_not_in_the_table_cannot_be_removed(address):
    handle = add(Handle.create(address, SCHEMA), 1)
    with pytest.raises(Refused, match="holds no file"):
        handle.commit([], ["nothing.parquet"], {}, {})


@pytest.fixture
def after_a_commit(address, monkeypatch):
    """A new table, and a way to let something happen as soon as a commit to it has landed."""

    def happens(then):
        plain = commit_module.put

        def wrapped(*args):
            monkeypatch.setattr(commit_module, "put", plain)
            plain(*args)
            then()

        monkeypatch.setattr(commit_module, "put", wrapped)

    return Handle.create(address, SCHEMA), happens


def clean_log(handle: Handle) -> Handle:
    """As another engine leaves it, of whose checkpoint the newest version is."""
    handle.checkpoint()
    for version in range(handle.version + 1):
        log(handle.address, version).unlink()
    return opened(handle.address)


def test_a_version_of_which_only_a_checkpoint_tells_is_committed_to(address, duckdb_rows):
    cleaned = clean_log(add(add(Handle.create(address, SCHEMA), 1), 2, mine=7))
    rival = opened(address)
    later = add(cleaned, 3)
    assert (later.version, later.transaction("mine")) == (3, 7)
    with pytest.raises(Conflict, match="version 3 first"):
        add(rival, 4)
    expected = [(1, "n1"), (2, "n2"), (3, "n3")]
    assert opened(address).scan().collect().rows() == expected
    assert sorted(pl.scan_delta(DeltaTable(address.uri)).collect().rows()) == expected
    assert duckdb_rows(later) == expected


def test_it_is_not_where_another_table_was_made_there_meanwhile(address):
    cleaned = clean_log(add(Handle.create(address, SCHEMA), 1))
    for made in (lambda: None, lambda: add(Handle.create(address, SCHEMA), 5).checkpoint()):
        shutil.rmtree(address.uri, ignore_errors=True)
        Path(address.uri, "_delta_log").mkdir(parents=True)
        made()
        log(address, 1).unlink(missing_ok=True)
        with pytest.raises(Conflict, match="was removed or made anew since its version 1 was read"):
            cleaned.commit([], [], {"mine": 1}, {})


def no_answer(*_):
    raise OSError("connection reset")


def test_a_commit_that_landed_although_it_failed_is_a_commit(after_a_commit):
    handle, happens = after_a_commit
    happens(no_answer)
    assert add(handle, 7).rows == 1


def test_a_failed_commit_that_nobody_took_is_transient_and_no_conflict(address, monkeypatch):
    handle = Handle.create(address, SCHEMA)
    monkeypatch.setattr(commit_module, "put", no_answer)
    with pytest.raises(Transient, match=r"was not committed: connection reset\. Version 0 stands") as failure:
        add(handle, 7)
    assert not isinstance(failure.value, Conflict)
    assert opened(address).version == 0


def test_a_commit_says_to_the_log_what_deltalake_says(address, tmp_path):
    """The same actions; deltalake is the oracle. A path with all that a URI escapes, values with and without one."""
    odd = "".join(map(chr, range(32, 128))) + "é€.parquet"
    shape = pl.Schema({**SCHEMA, "day": pl.Date()})
    logs: list[list[dict[str, object]]] = []
    for root in (address, by_deltalake := Address(str(tmp_path / "by deltalake"))):
        handle = Handle.create(root, shape, partition_by=["day", "note"])
        files = [
            DataFile(odd, 5, 1, MEASURED, {"day": "2024-05-01", "note": None}),
            DataFile("b", 6, 1, MEASURED, {"day": None, "note": "é=/%"}),
        ]
        moved = replace(files[0], path="day=2024-05-01/note=__HIVE_DEFAULT_PARTITION__/c")
        if root is by_deltalake:
            through_deltalake(root, files, [], [Transaction("a ← b", 2**60)], changes=True)
            through_deltalake(root, [moved], files, [], changes=False)
        else:
            handle = handle.commit(files, [], {"a ← b": 2**60}, {"table": "orders"})
            handle.commit([moved], [odd, "b"], {}, {}, rearranges=True)
        logs.append([json.loads(line) for number in (1, 2) for line in log(root, number).read_text().splitlines()])
        assert opened(root).files()["path"].to_list() == ["day=2024-05-01/note=__HIVE_DEFAULT_PARTITION__/c"]
    ours, theirs = (sorted(map(_said, actions), key=str) for actions in logs)
    assert ours == theirs
    assert len(ours) == 8  # two adds, a transaction; an add, two removes; of each commit the information


def through_deltalake(address, added, removed, transactions, *, changes):
    table, at = DeltaTable(address.uri), 1
    actions = [AddAction(each.path, each.size, dict(each.partition), at, changes, each.statistics) for each in added]
    actions += [RemoveAction(each.path, changes, at, each.size, dict(each.partition)) for each in removed]
    table.create_write_transaction(
        actions, "append", table.schema(), table.metadata().partition_columns,
        commit_properties=CommitProperties(app_transactions=transactions),
    )  # fmt: skip


def _said(action):
    """Without the time, what is null, and who did it."""
    kind, body = next(iter(action.items()))
    if kind == "commitInfo":
        return kind, {}
    return kind, {
        name: value for name, value in body.items() if value is not None and not name.endswith(("Time", "Timestamp"))
    }


def test_a_transaction_is_known_of_versions_that_were_not_read_again(address):
    handle = add(add(Handle.create(address, SCHEMA), 1, first=1), 2, second=2)
    reopened = opened(address)
    went_on = add(reopened, 3, third=3)
    for app, number in (("first", 1), ("second", 2), ("third", 3), ("none", None)):
        assert (went_on.transaction(app), opened(address).transaction(app)) == (number, number)
    assert handle.transaction("third") is None


def test_a_transaction_is_known_where_the_log_was_cleaned_after_the_version_was_opened(address):
    handle = opened(add(add(add(Handle.create(address, SCHEMA), 1, first=1), 2, second=2), 3).address)
    clean_log(opened(address))
    assert [handle.transaction(app) for app in ("first", "second", "none")] == [1, 2, None]


def test_since_gives_what_was_appended_after_a_position(address):
    handle = Handle.create(address, SCHEMA)
    for ids in ([3, 1], [], [2], [9, 8]):
        handle = add(handle, *ids)
    assert_frame_equal(handle.since(0).collect(), rows(3, 1, 2, 9, 8))
    assert_frame_equal(handle.since(1).collect(), rows(2, 9, 8))
    assert_frame_equal(handle.since(3).collect(), rows(9, 8))
    assert_frame_equal(handle.since(4).collect(), rows())
    assert_frame_equal(opened(address, 3).since(1).collect(), rows(2))


def test_since_reads_the_files_of_one_commit_in_their_order(address):
    handle = Handle.create(address, SCHEMA)
    files = write_files(handle, rows(*range(50)).lazy(), rows_per_file=4)
    assert len(files) > 5
    assert_frame_equal(handle.commit(files, [], {}, {}).since(0).collect(), rows(*range(50)))


def test_a_handle_stays_what_it_was_when_a_commit_has_gone_through_it(address):
    first = add(Handle.create(address, SCHEMA), 1)
    second = add(first, 2)
    assert (first.rows, second.rows) == (1, 2)
    assert first.scan().collect().height == 1
    assert_frame_equal(second.files(), opened(address).files())
    with pytest.raises(Conflict):
        add(first, 3)


def test_a_commit_that_a_rival_has_gone_on_from_is_the_version_it_made(address, after_a_commit):
    handle, happens = after_a_commit
    happens(lambda: add(opened(address), 2))
    made = add(handle, 1)
    assert (made.version, made.rows, opened(address).rows) == (1, 1, 2)


def test_since_refuses_a_position_ahead_of_the_table(address):
    with pytest.raises(Refused, match="Nothing was read"):
        add(Handle.create(address, SCHEMA), 1).since(2)


def test_since_refuses_when_rows_were_taken_away(address):
    first = add(Handle.create(address, SCHEMA), 1)
    second = first.commit(write_files(first, rows(2).lazy()), first.files()["path"], {}, {})
    with pytest.raises(Refused, match=r"version 2 took 1 file away.*Nothing was read"):
        second.since(1)
    assert second.since(2).collect().is_empty()


def test_since_refuses_when_a_log_is_gone(address):
    handle = Handle.create(address, SCHEMA)
    for number in range(3):
        handle = add(handle, number)
    handle.checkpoint()
    log(address, 2).unlink()
    with pytest.raises(Refused, match=r"is gone.*Nothing was read"):
        opened(address).since(0)
    assert_frame_equal(opened(address).since(2).collect(), rows(2))


def compacted(handle: Handle) -> Handle:
    return handle.commit(
        write_files(handle, handle.scan()), handle.files()["path"], {}, {"why": "compact"}, rearranges=True
    )


def test_since_reads_over_a_compaction_while_the_old_files_lie_there(address):
    one = add(add(Handle.create(address, SCHEMA), 1), 2)
    whole = add(compacted(one), 3)
    assert whole.files().height == 2
    assert_frame_equal(whole.since(1).collect(), rows(2, 3))


def test_since_refuses_when_a_compacted_file_is_cleaned_away(address):
    one = add(add(Handle.create(address, SCHEMA), 1), 2)
    whole = compacted(one)
    (Path(address.uri) / one.files()["path"][1]).unlink()
    with pytest.raises(Refused, match=r"compacted and cleaned away.*Nothing was read"):
        whole.since(1)


def test_checkpoints_come_by_themselves_and_no_log_is_cleaned_up(address):
    handle = Handle.create(address, SCHEMA)
    for number in range(CHECKPOINT_EVERY * 2):
        handle = add(handle, number, counter=number)
    names = [file.name for file in log(address, 0).parent.iterdir()]
    assert sum("checkpoint.parquet" in name for name in names) == 2
    assert sum(name.endswith(".json") for name in names) == CHECKPOINT_EVERY * 2 + 1
    again = opened(address)
    assert again.transaction("counter") == CHECKPOINT_EVERY * 2 - 1
    assert again.updated_at == handle.updated_at
    assert_frame_equal(again.since(0).collect(), rows(*range(CHECKPOINT_EVERY * 2)))
    assert DeltaTable(address.uri).metadata().configuration["delta.enableExpiredLogCleanup"] == "false"


def test_logs_older_than_any_retention_outlive_a_checkpoint(address):
    handle = Handle.create(address, SCHEMA)
    for number in range(3):
        handle = add(handle, number)
        os.utime(log(address, number), (0, 0))
    handle.checkpoint()
    assert_frame_equal(opened(address).since(0).collect(), rows(0, 1, 2))


def test_a_checkpoint_that_fails_does_not_fail_the_commit(address, caplog):
    handle = add(Handle.create(address, SCHEMA), 1)
    handle = Handle(address, cast(DeltaTable, NoCheckpoint(handle._table)))
    handle.checkpoint()
    assert "no checkpoint at version 1" in caplog.text


class NoCheckpoint:
    def __init__(self, table):
        self._table = table

    def __getattr__(self, name):
        return getattr(self._table, name)

    def create_checkpoint(self):
        raise OSError("disk full")


def test_a_commit_is_on_the_disk_before_it_is_told(address, monkeypatch):
    synced: list[Path] = []
    monkeypatch.setattr(place, "_sync", synced.append)
    add(Handle.create(address, SCHEMA), 1)
    assert {log(address, 0), log(address, 1), log(address, 0).parent, *Path(address.uri).parents} <= set(synced)


def test_a_folder_with_a_percent_sign_is_refused(tmp_path):
    with pytest.raises(Refused, match="another folder"):
        Handle.create(Address(str(tmp_path / "a%20b")), SCHEMA)


def test_every_commit_names_its_own_id(address):
    add(add(Handle.create(address, SCHEMA), 1), 2)
    infos = [json.loads(log(address, version).read_text().splitlines()[0])["commitInfo"] for version in (1, 2)]
    assert infos[0]["lakehouse commit"] != infos[1]["lakehouse commit"]


def race_to_append(uri: str, name: int, count: int, start) -> None:
    for number in range(count):
        start.wait(60)
        handle = Handle.create(Address(f"{uri}{number}"), SCHEMA)
        files = write_files(handle, rows(name).lazy())
        while True:
            try:
                handle.commit(files, [], {f"writer {name}": number}, {})
                break
            except Conflict:
                handle = opened(handle.address)


def test_racing_writers_make_a_table_once_and_each_land_exactly_once(address):
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(3)
    writers = [context.Process(target=race_to_append, args=(address.uri, name, 12, start)) for name in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    for number in range(12):
        handle = opened(Address(f"{address.uri}{number}"))
        assert handle.version == 3
        assert sorted(handle.scan().collect()["id"]) == sorted(handle.since(0).collect()["id"]) == [0, 1, 2]
        assert [handle.transaction(f"writer {name}") for name in range(3)] == [number] * 3
