from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from lakehouse.engine.declare.errors import Conflict, Refused
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.readers import EVERY_READER, Reader
from lakehouse.engine.delta import quarantine
from lakehouse.engine.delta.check import check
from lakehouse.engine.delta.evolution import evolve
from lakehouse.engine.delta.handle import CHECKPOINT_EVERY, Handle
from lakehouse.engine.delta.log import only_upkeep, took_back
from lakehouse.engine.delta.optimize import Aim, compact, without_vectors
from lakehouse.engine.delta.place import log_file
from lakehouse.engine.delta.protocol import for_readers
from lakehouse.engine.delta.restore import prepare_restore, readable, restore
from lakehouse.engine.delta.retention import hours_of, promise
from lakehouse.engine.delta.slices import changed_slices
from lakehouse.engine.delta.travel import at_version, history
from lakehouse.engine.delta.vacuum import plan_vacuum, sweep
from lakehouse.engine.delta.writes import prepare_overwrite
from lakehouse_tests.engine.delta.opening import opened
from lakehouse_tests.engine.delta.test_vacuum import DAY, WEEK, aged
from lakehouse_tests.engine.delta.writing import append, merge

ABLE = (Reader.DELTA_RS, Reader.DATABRICKS)
SCHEMA = pl.Schema({"id": pl.Int64(), "note": pl.String()})


def rows(*ids: int, note: str = "first") -> pl.LazyFrame:
    return pl.LazyFrame({"id": ids, "note": [note] * len(ids)}, schema=SCHEMA)


def ids(frame: pl.LazyFrame) -> list[int]:
    return frame.collect()["id"].to_list()


def put_back(handle: Handle, version: int, aside: Address) -> Handle:
    return restore(prepare_restore(handle, version), aside)


@pytest.fixture
def grown(address: Address) -> Handle:
    """Version 1 holds 1 and 2, version 2 also 3, version 3 changes 2; each has read its upstream one version further.

    Only versions from 3 on have read the other upstream.
    """
    handle = Handle.create(address, SCHEMA)
    handle = append(handle, rows(1, 2), {"reads": 1}, {"bronze/orders": "1"}).handle
    handle = append(handle, rows(3), {"reads": 2}, {"bronze/orders": "2"}).handle
    return merge(handle, rows(2, note="second"), ["id"], {"reads": 3, "also reads": 1}, {"bronze/orders": "3"}).handle


def test_a_restored_table_holds_what_it_held_and_has_read_as_far_as_then(
    grown: Handle, aside: Address, duckdb_rows: Callable[[Handle], list[tuple[object, ...]]]
):
    restored = put_back(grown, 2, aside)
    for handle in (restored, opened(grown.address)):
        assert handle.version == 4
        assert handle.scan().collect().rows() == [(1, "first"), (2, "first"), (3, "first")]
        assert (handle.transaction("reads"), handle.transaction("also reads")) == (2, None)
        assert "also reads" not in handle.transactions()
    assert len(duckdb_rows(restored)) == 3
    assert check(restored).faults == {}
    newest = history(restored, 1).row(0, named=True)
    assert newest | {"operation": "RESTORE", "note": "bronze/orders 2, restored 2"} == newest
    assert DeltaTable(grown.address.uri).history(1)[0]["operation"] == "RESTORE"
    again = prepare_restore(append(restored, rows(9), {"also reads": 7}, {}).handle, 3)
    assert (again.rows_back, again.rows_gone) == (2, 2 + 1)


def test_a_position_that_was_taken_back_stays_so_behind_a_checkpoint(grown: Handle, aside: Address):
    handle = put_back(grown, 2, aside)
    while handle.version <= CHECKPOINT_EVERY:
        handle = append(handle, rows(handle.version), {}, {}).handle
    assert opened(grown.address).transaction("also reads") is None
    assert "also reads" not in opened(grown.address).transactions()


def test_a_table_can_be_put_back_to_before_its_first_rows_and_forward_again(grown: Handle, aside: Address):
    empty = put_back(grown, 0, aside)
    assert (ids(empty.scan()), empty.transactions().keys() & {"reads", "also reads"}) == ([], set())
    forward = put_back(empty, 3, aside)
    assert sorted(forward.scan().collect().rows()) == sorted(grown.scan().collect().rows())
    assert (forward.transaction("reads"), forward.transaction("also reads")) == (3, 1)


def test_what_stands_already_is_done(grown: Handle, aside: Address):
    assert prepare_restore(grown, 3).is_done
    assert prepare_restore(put_back(grown, 2, aside), 2).is_done
    assert not prepare_restore(put_back(opened(grown.address), 3, aside), 2).is_done


def test_another_shape_comes_back_with_its_rows(grown: Handle, aside: Address, address: Address):
    wider = pl.DataFrame({"id": [1], "note": ["x"], "more": [1.5]})
    reshaped = prepare_overwrite(grown, wider, wider.schema).commit({}, {}).handle
    restored = put_back(reshaped, 3, aside)
    assert restored.schema == opened(address).schema == SCHEMA
    assert (restored.id, restored.protocol) == (grown.id, grown.protocol)
    assert history(restored, 1)["operation"][0] == "RESTORE"  # a commit of ours, and not an overwrite by deltalake
    assert sorted(restored.scan().collect().rows()) == sorted(grown.scan().collect().rows())
    assert put_back(restored, 4, aside).scan().collect().rows() == wider.rows()


def test_folders_come_back(address: Address, aside: Address):
    handle = Handle.create(address, SCHEMA, partition_by=["note"])
    handle = append(handle, rows(1, note="a/b'c=%&é* z"), {}, {}).handle
    handle = prepare_overwrite(append(handle, rows(2, note="2"), {}, {}).handle, rows(3)).commit({}, {}).handle
    restored = put_back(handle, 2, aside)
    assert restored.scan().sort("id").collect().rows() == [(1, "a/b'c=%&é* z"), (2, "2")]
    assert restored.scan().filter(pl.col("note") == "2").collect()["id"].to_list() == [2]


def test_a_version_whose_files_are_gone_is_refused_and_the_file_named(grown: Handle):
    gone = next(path for path in prepare_restore(grown, 2).added).path
    Path(grown.address.uri, gone).unlink()
    with pytest.raises(Refused, match=rf"version 2 can no longer be read: 1 file of it missing, {gone} among"):
        prepare_restore(grown, 2)
    assert opened(grown.address).version == 3


@pytest.fixture
def marked(address: Address) -> Handle:
    """Version 1 holds 40 rows; each of versions 2, 3 and 4 changes one of them, by a deletion vector."""
    handle = append(Handle.create(address, SCHEMA, readers=ABLE), rows(*range(40)), {}, {}).handle
    for each in (1, 2, 3):
        handle = merge(for_readers(handle, ABLE), rows(each, note="second"), ["id"], {}, {}).handle
    return handle


def test_a_version_whose_deletion_vectors_are_gone_is_refused_though_its_rows_lie_there(marked: Handle):
    by_version = {version: at_version(marked, version).vectors for version in (2, 3, 4)}
    sweep(plan_vacuum(marked, 0, {}))
    for version in (2, 3):
        [gone] = by_version[version].values()
        for asked in (at_version, prepare_restore):
            with pytest.raises(Refused, match=rf"version {version} can no .*: 1 file of it missing, {gone.file} among"):
                asked(marked, version)
    assert at_version(marked, 1).scan().collect().height == 40
    assert opened(marked.address).vectors == by_version[4]


@pytest.mark.parametrize("readers", [ABLE, EVERY_READER])
def test_narrower_columns_come_back_with_the_files_of_then_also_where_only_those_were_changed(
    address: Address, aside: Address, readers: tuple[Reader, ...]
):
    """A run of which every row is set aside folds the vectors in and widens the columns, and changes no row."""
    narrow = rows(*range(40)).with_columns(qty=pl.lit(1, pl.Int32))
    handle = Handle.create(address, narrow.collect_schema(), readers=ABLE)
    handle = append(handle, narrow, {}, {}).handle
    handle = merge(for_readers(handle, ABLE), narrow.head(1), ["id"], {}, {}).handle
    assert handle.vectors
    wide = pl.Schema({**handle.schema, "qty": pl.Int64()})
    widened = append(evolve(without_vectors(handle, EVERY_READER), wide, {}), rows().with_columns(qty=1), {}, {}).handle
    restored = restore(readable(prepare_restore(widened, handle.version), readers), aside)
    for each in (restored, opened(address)):
        assert (each.schema, each.scan().collect().rows()) == (handle.schema, handle.scan().collect().rows())
    assert prepare_restore(restored, handle.version).is_done
    forth = put_back(restored, widened.version, aside)
    assert (forth.schema, forth.scan().collect().height) == (wide, 40)


def test_a_restore_that_was_worked_out_before_another_write_changes_nothing(grown: Handle, aside: Address):
    prepared = prepare_restore(grown, 1)
    later = append(grown, rows(4), {}, {}).handle
    with pytest.raises(Conflict):
        restore(prepared, aside)
    assert ids(opened(grown.address).scan()) == ids(later.scan())


def test_a_restore_whose_files_a_vacuum_took_since_it_was_worked_out_changes_nothing(grown: Handle, aside: Address):
    prepared = readable(prepare_restore(grown, 2), EVERY_READER)
    gone = prepared.added[0].path
    sweep(plan_vacuum(grown, 0, {}))
    for beside in (None, aside):
        with pytest.raises(Refused, match=rf"version 2 can no longer be read: 1 file of it missing, {gone} among"):
            restore(prepared, beside)
    assert opened(grown.address).version == grown.version
    assert opened(grown.address).scan().collect().height == 3


def test_what_a_table_promises_is_not_taken_back_with_its_columns(grown: Handle, aside: Address):
    reshaped = evolve(promise(grown, 999), pl.Schema({**SCHEMA, "more": pl.Int64()}), {})
    restored = put_back(reshaped, 3, aside)
    assert (restored.schema, hours_of(restored)) == (SCHEMA, 999)


def test_a_version_that_was_kept_comes_back_without_the_log_of_before_its_checkpoint(address: Address, aside: Address):
    handle = Handle.create(address, SCHEMA)
    for number in range(CHECKPOINT_EVERY + 2):
        handle = append(handle, rows(number), {"reads": number}, {}).handle
    then, wider = handle, rows(99).with_columns(more=1).collect()
    handle = prepare_overwrite(handle, wider, wider.schema).commit({"reads": 99, "also reads": 1}, {}).handle
    handle.checkpoint()
    for version in range(CHECKPOINT_EVERY):
        Path(log_file(address, version)).unlink()
    restored = put_back(opened(address), then.version, aside)
    assert restored.scan().collect().rows() == then.scan().collect().rows()
    assert restored.transactions() == {"reads": CHECKPOINT_EVERY + 1} | {
        app: version for app, version in restored.transactions().items() if quarantine.is_its_own(app)
    }
    assert check(restored).faults == {}
    assert check(restored).summed == check(then).files


def test_other_columns_come_back_where_another_engine_has_cleaned_the_newest_log(
    grown: Handle, aside: Address, duckdb_rows: Callable[[Handle], list[tuple[object, ...]]]
):
    """deltalake commits nothing there. What is put back is told by the checkpoint of then."""
    grown.checkpoint()
    wider = pl.DataFrame({"id": [1], "note": ["x"], "more": [1.5]})
    reshaped = prepare_overwrite(grown, wider, wider.schema).commit({"reads": 9}, {}).handle
    reshaped.checkpoint()
    for version in range(reshaped.version + 1):
        Path(log_file(grown.address, version)).unlink()
    restored = put_back(opened(grown.address), 3, aside)
    expected = sorted(grown.scan().collect().rows())
    for handle in (restored, opened(grown.address)):
        assert (handle.schema, handle.id, handle.transaction("reads")) == (SCHEMA, grown.id, 3)
        assert sorted(handle.scan().collect().rows()) == expected
    assert duckdb_rows(restored) == expected
    assert history(restored)["operation"].to_list() == ["RESTORE"]


def test_what_was_laid_together_in_between_is_no_other_row(address: Address, aside: Address):
    handle = Handle.create(address, SCHEMA)
    for number in (1, 2, 3):
        handle = append(handle, rows(number), {}, {}).handle
    handle = compact(handle, Aim()).handle
    assert handle.version == 4
    handle = put_back(handle, 3, aside)
    assert not only_upkeep(address, 3, handle.version)
    for position, new in ((1, [2, 3]), (2, [3]), (3, []), (4, [])):
        assert ids(handle.since(position)) == new
        changed = changed_slices(handle, position, ["id"])
        assert changed is not None
        assert changed.values["id"].to_list() == new
    handle = put_back(handle, 4, aside)
    assert (history(handle, 1)["note"][0], ids(handle.since(2))) == ("restored 4", [3])


def test_who_read_a_table_that_was_only_kept_since_goes_on_after_it_is_put_back(address: Address, aside: Address):
    handle = append(Handle.create(address, SCHEMA), rows(1), {}, {}).handle
    kept = evolve(promise(handle, 999), pl.Schema({**SCHEMA, "more": pl.Int64()}), {})
    handle = put_back(append(kept, rows(2).with_columns(more=1), {}, {}).handle, 1, aside)
    assert ids(append(handle, rows(5), {}, {}).handle.since(kept.version)) == [5]
    assert not took_back(address, kept.version, handle.version)


def test_who_stands_at_a_version_that_was_kept_goes_on_without_the_log_before_it(address: Address, aside: Address):
    handle = Handle.create(address, SCHEMA)
    for number in (1, 2):
        handle = append(handle, rows(number), {}, {}).handle
    kept = compact(handle, Aim()).handle
    kept.checkpoint()
    handle = put_back(append(kept, rows(3), {}, {}).handle, kept.version, aside)
    handle = append(handle, rows(4), {}, {}).handle
    for version in range(kept.version):
        Path(log_file(address, version)).unlink()
    assert ids(handle.since(kept.version)) == [4]
    assert took_back(address, kept.version + 1, handle.version)


def test_columns_that_are_added_after_a_restore_are_no_restore(grown: Handle, aside: Address):
    handle = evolve(put_back(grown, 2, aside), pl.Schema({**SCHEMA, "more": pl.Int64()}), {})
    newest = handle.commit_of(handle.version)
    assert (newest.restored, newest.info["operation"], newest.info["bronze/orders"]) == (None, "WRITE", "2")


class TestWhoReadsNewRows:
    def test_goes_on_where_what_it_has_read_still_counts(self, address: Address, aside: Address):
        handle = Handle.create(address, SCHEMA)
        for number in (1, 2, 3):
            handle = append(handle, rows(number), {}, {}).handle
        handle = append(put_back(handle, 2, aside), rows(5), {}, {}).handle
        assert [ids(handle.since(position)) for position in (0, 1, 2, 4)] == [[1, 2, 5], [2, 5], [5], [5]]
        handle = append(put_back(handle, 3, aside), rows(7), {}, {}).handle
        assert [ids(handle.since(position)) for position in (1, 2, 3, 4, 6)] == [[2, 3, 7], [3, 7], [7], [3, 7], [7]]

    def test_is_refused_where_rows_that_it_has_read_were_taken_away(self, address: Address, aside: Address):
        handle = Handle.create(address, SCHEMA)
        for number in (1, 2, 3):
            handle = append(handle, rows(number), {}, {}).handle
        handle = append(put_back(handle, 1, aside), rows(5), {}, {}).handle
        for position in (2, 3):
            with pytest.raises(Refused, match=f"put back to what stood before version {position}"):
                handle.since(position)
        assert ids(handle.since(4)) == [5]


class TestWhatWasSetAside:
    def test_is_what_it_was_then_also_where_a_whole_write_took_it_away(self, address: Address, aside: Address):
        handle, stood = Handle.create(address, SCHEMA), dict[int, list[str]]()
        for whole in (False, False, True, False):
            attempt = quarantine.write(handle, aside, refused(f"v{handle.version + 1}"), whole=whole)
            handle = append(handle, rows(1), attempt.transactions, {}).handle
            quarantine.settle(handle, aside)
            stood[handle.version] = set_aside(handle, aside)
        assert stood == {1: ["v1"], 2: ["v1", "v2"], 3: ["v3"], 4: ["v3", "v4"]}
        for version in (2, 4, 1, 3, 0, 2):
            handle = put_back(handle, version, aside)
            assert set_aside(handle, aside) == stood.get(version, [])
            assert quarantine.count(handle, aside) == len(stood.get(version, []))
        attempt = quarantine.write(handle, aside, refused("new"), whole=False)
        assert set_aside(append(handle, rows(1), attempt.transactions, {}).handle, aside) == ["v1", "v2", "new"]

    def test_of_an_attempt_that_lost_does_not_come_back(self, address: Address, aside: Address):
        handle = Handle.create(address, SCHEMA)
        quarantine.write(handle, aside, refused("lost"), whole=False)
        attempt = quarantine.write(handle, aside, refused("won"), whole=False)
        first = append(handle, rows(1), attempt.transactions, {}).handle
        second = append(first, rows(2), {}, {}).handle
        assert set_aside(put_back(second, 1, aside), aside) == ["won"]

    def test_comes_back_with_the_oldest_version_that_a_vacuum_leaves(self, address: Address, aside: Address):
        """Which of the first rows count is told by the log of version 1: nobody looked until the last ones came."""
        handle = Handle.create(address, SCHEMA)
        for number in range(1, CHECKPOINT_EVERY + 5):
            rejected = refused(f"v{number}") if number in (1, CHECKPOINT_EVERY + 4) else quarantine.ROWS.to_frame()
            attempt = quarantine.write(handle, aside, rejected, whole=False)
            handle = append(handle, rows(number), attempt.transactions, {}).handle
        handle = aged(handle, dict.fromkeys(range(CHECKPOINT_EVERY + 3), 20 * DAY))
        swept = plan_vacuum(handle, WEEK, {}, log_from=partial(quarantine.asks_from, handle, aside))
        sweep(swept)
        assert swept.oldest == CHECKPOINT_EVERY + 2
        assert set_aside(restore(prepare_restore(handle, swept.oldest, aside), aside), aside) == ["v1"]

    def test_keeps_no_log_once_it_was_looked_through(self, address: Address, aside: Address):
        first = Handle.create(address, SCHEMA)
        quarantine.write(first, aside, refused("lost"), whole=False)
        attempt = quarantine.write(first, aside, refused("v1"), whole=False)
        handle = append(first, rows(1), attempt.transactions, {}).handle
        quarantine.settle(handle, aside)
        for number in range(2, CHECKPOINT_EVERY + 5):
            handle = append(handle, rows(number), {}, {}).handle
        handle = aged(handle, dict.fromkeys(range(CHECKPOINT_EVERY + 3), 20 * DAY))
        swept = plan_vacuum(handle, WEEK, {}, log_from=partial(quarantine.asks_from, handle, aside))
        assert len(swept.log) == CHECKPOINT_EVERY
        sweep(swept)
        assert set_aside(restore(prepare_restore(handle, swept.oldest, aside), aside), aside) == ["v1"]


def refused(row: str) -> pl.DataFrame:
    said = ("u", "s", "f", 1, 1, "broke", ["r"], row, datetime(2024, 5, 1, tzinfo=UTC))
    return pl.DataFrame([said], schema=quarantine.ROWS, orient="row")


def set_aside(handle: Handle, aside: Address) -> list[str]:
    return quarantine.read(handle, aside).collect()["row"].to_list()


def test_a_promise_to_keep_versions_outlives_a_shape_that_comes_back(grown: Handle, aside: Address):
    promised = promise(grown, 720)
    evolved = evolve(promised, pl.Schema({**SCHEMA, "more": pl.String()}), {})
    restored = put_back(evolved, 2, aside)
    assert (restored.schema, hours_of(opened(grown.address))) == (SCHEMA, 720)


def test_who_read_up_to_a_promise_reads_on_where_the_version_before_it_comes_back(grown: Handle, aside: Address):
    """A promise changes no rows, so that all that was read still stands."""
    promised = promise(grown, 720)
    restored = put_back(append(promised, rows(4), {}, {}).handle, 3, aside)
    assert restored.since(promised.version).collect().rows() == []
    assert not took_back(grown.address, promised.version, restored.version)


def test_who_takes_other_columns_after_it_was_put_back_is_not_put_back_once_more(grown: Handle, aside: Address):
    evolved = evolve(put_back(grown, 2, aside), pl.Schema({**SCHEMA, "more": pl.String()}), {})
    newest = evolved.commit_of(evolved.version)
    assert (newest.restored, newest.info["operation"], newest.info["bronze/orders"]) == (None, "WRITE", "2")
