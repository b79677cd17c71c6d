from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from lakehouse.engine.declare.errors import Refused, WrongUsage
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.readers import Reader
from lakehouse.engine.delta.handle import CHECKPOINT_EVERY, Handle
from lakehouse.engine.delta.protocol import for_readers
from lakehouse.engine.delta.restore import prepare_restore, restore
from lakehouse.engine.delta.travel import (
    apart,
    as_it_stood,
    at_time,
    at_version,
    history,
    time_of,
    told_from,
    version_at,
)
from lakehouse_tests.engine.delta.writing import append, merge

SCHEMA = pl.Schema({"id": pl.Int64(), "note": pl.String()})


def rows(*ids: int, note: str = "first") -> pl.LazyFrame:
    return pl.LazyFrame({"id": ids, "note": [note] * len(ids)}, schema=SCHEMA)


@pytest.fixture
def grown(address: Address) -> Handle:
    """Version 1 holds 1 and 2, version 2 also 3; version 3 changes 3."""
    handle = Handle.create(address, SCHEMA)
    handle = append(handle, rows(1, 2), {}, {"bronze/orders": "7"}).handle
    handle = append(handle, rows(3), {}, {}).handle
    return merge(handle, rows(3, note="second"), ["id"], {}, {}).handle


def test_the_history_tells_what_came_and_went_with_each_version_newest_first(grown: Handle):
    told = history(grown)
    assert told.drop("committed_at", "bytes_added").rows() == [
        (3, "WRITE", 1, 1, 1, 1, "merged 1 row by files anew"),
        (2, "WRITE", 1, 0, 1, 0, ""),
        (1, "WRITE", 2, 0, 1, 0, "bronze/orders 7"),
        (0, "CREATE TABLE", 0, 0, 0, 0, ""),
    ]
    assert told["bytes_added"][0] == grown.files()["size"][-1]
    assert told["committed_at"].is_sorted(descending=True)
    assert (datetime.now(UTC) - told["committed_at"][0]) < timedelta(minutes=1)
    assert history(grown, 2)["version"].to_list() == [3, 2]


ROWS_AND_FILES = ("rows_added", "rows_removed", "files_added", "files_removed")


@pytest.fixture
def marked(address: Address) -> Handle:
    """Version 1 holds thirty rows in one file; version 2 gives 5 another note, and version 3 gives 6 and 7 one."""
    handle = append(Handle.create(address, SCHEMA), rows(*range(30)), {}, {}).handle
    for changed in (rows(5, note="second"), rows(6, 7, note="third")):
        handle = merge(for_readers(handle, [Reader.DATABRICKS]), changed, ["id"], {}, {}).handle
    return handle


def test_of_a_merge_by_vectors_the_history_tells_the_rows_that_went_and_no_file_that_stays(marked: Handle):
    told = history(marked)
    assert told.select(ROWS_AND_FILES).rows() == [(2, 2, 1, 0), (1, 1, 1, 0), (30, 0, 1, 0), (0, 0, 0, 0)]
    came = dict(marked.files().select("path", "size").rows())
    assert sorted(told["bytes_added"][:3]) == sorted(came.values())
    assert [history(marked, most).row(0) for most in (1, 2)] == [told.row(0)] * 2, "however many are asked for"


def test_of_rows_that_come_back_as_vectors_go_the_history_tells_as_many(marked: Handle):
    restored = restore(prepare_restore(marked, 2), None)
    assert history(restored, 1).select(ROWS_AND_FILES).rows() == [(2, 2, 0, 1)]
    anew = merge(restored, rows(*range(30), note="fourth"), ["id"], {}, {}).handle
    assert history(anew, 1).select(ROWS_AND_FILES).rows() == [(30, 30, 1, 2)], "29 rows of one file, and one of another"


def test_how_many_rows_went_with_a_file_is_not_told_where_nothing_says_how_many_it_held(grown: Handle):
    for version in range(3):
        Path(grown.address.uri, "_delta_log", f"{version:020d}.json").unlink()
    assert history(grown).select(ROWS_AND_FILES).rows() == [(1, None, 1, 1)]


def test_the_times_are_those_that_another_engine_tells(grown: Handle):
    theirs = {each["version"]: each["timestamp"] for each in DeltaTable(grown.address.uri).history()}
    ours = {
        version: int(at.timestamp() * 1000) for version, at in history(grown).select("version", "committed_at").rows()
    }
    assert ours == theirs


def test_each_version_is_read_as_it_stood(grown: Handle):
    stood = {version: at_version(grown, version).scan().collect()["note"].to_list() for version in range(4)}
    assert stood == {0: [], 1: ["first"] * 2, 2: ["first"] * 3, 3: ["first", "first", "second"]}


def test_a_version_that_never_was_is_refused(grown: Handle):
    for version in (4, -1):
        with pytest.raises(Refused, match=rf"has versions 0 to 3, and no version {version}\."):
            at_version(grown, version)


def test_the_version_of_a_time_is_the_newest_that_was_committed_by_then(grown: Handle):
    at = dict(history(grown).select("version", "committed_at").rows())
    assert [version_at(grown, at[version]) for version in range(4)] == [
        max(other for other in at if at[other] <= at[version]) for version in range(4)
    ]
    assert version_at(grown, datetime.now(UTC)) == 3
    with pytest.raises(Refused, match=rf"was not there at 2020-01-01 00:00:00 UTC.*: version 0 is of {at[0]:%Y-%m-%d}"):
        version_at(grown, datetime(2020, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("said", ["2020-10-14T18:00:00+05:00", "2020-10-14T13:00:00Z", "2020-10-14T01:00:00-12:00"])
def test_a_time_of_another_zone_is_told_in_utc(grown: Handle, said: str):
    for then in (datetime.fromisoformat(said), time_of(said)):
        with pytest.raises(Refused, match=r"was not there at 2020-10-14 13:00:00 UTC, as far as"):
            version_at(grown, then)


@pytest.mark.parametrize("said", ["9999-12-31T23:00:00-12:00", "0001-01-01T00:00:00+05:00"])
def test_a_time_that_utc_does_not_have_is_refused(said: str):
    with pytest.raises(WrongUsage, match=r"not a time of the years 1 to 9999\. Say it as in"):
        time_of(said)


@pytest.mark.parametrize("said", ["2026-01-31", "20260131", "2026-01-31T12:00", "2026-01-31 12:00:05.25"])
def test_a_time_of_no_zone_is_refused_with_one_that_is_taken(said: str):
    with pytest.raises(WrongUsage, match=r"Say \S+Z for UTC, or an offset such as \S+\+01:00\.") as refused:
        time_of(said)
    told = str(refused.value).split()
    utc, offset = time_of(told[told.index("Say") + 1]), time_of(told[-1].rstrip("."))
    assert (utc.tzinfo, utc - offset) == (UTC, timedelta(hours=1))


def test_a_number_is_no_time_but_a_version_where_one_may_be_meant(grown: Handle):
    with pytest.raises(
        WrongUsage, match=r"as of 2: not a time of the years 1 to 9999\. .*; a version of a table is its --version"
    ):
        at_time(grown, "2")
    with pytest.raises(
        WrongUsage, match=r"as of noon: not a time of the years 1 to 9999\. Say it as in 2026-01-31T12:00:00Z\.$"
    ):
        at_time(grown, "noon")
    assert (as_it_stood(grown, "2").version, at_time(grown, "9999-12-31T00:00:00Z").version) == (2, 3)


def test_only_the_files_are_read_in_which_two_versions_differ(grown: Handle):
    was, now, shared = apart(at_version(grown, 1), grown)
    assert (was.collect().rows(), now.collect().rows(), shared) == ([], [(3, "second")], 2)
    Path(grown.address.uri, at_version(grown, 1).files()["path"][0]).unlink()
    assert now.collect().rows() == [(3, "second")], "the file of both is not asked"
    back, forth, _ = apart(grown, at_version(grown, 2))
    assert (back.collect().rows(), forth.collect().rows()) == ([(3, "second")], [(3, "first")])


def test_where_the_log_was_cleaned_the_history_ends(address: Address):
    handle = Handle.create(address, SCHEMA)
    for number in range(CHECKPOINT_EVERY + 3):
        handle = append(handle, rows(number), {}, {}).handle
    before = history(handle)
    assert told_from(handle) == 0
    for version in range(CHECKPOINT_EVERY - 2):
        Path(address.uri, "_delta_log", f"{version:020d}.json").unlink()
    left = history(handle)
    assert (told_from(handle), told_from(at_version(handle, CHECKPOINT_EVERY))) == (CHECKPOINT_EVERY - 2,) * 2
    assert left["version"].to_list() == list(range(CHECKPOINT_EVERY + 3, CHECKPOINT_EVERY - 3, -1))
    assert left.equals(before.head(left.height))
    with pytest.raises(Refused, match=f"as far as its log tells: version {CHECKPOINT_EVERY - 2} is of "):
        version_at(handle, datetime(2020, 1, 1, tzinfo=UTC))


def test_what_another_engine_wrote_is_told_too(grown: Handle):
    write_deltalake(grown.address.uri, rows(9).collect(), mode="append")
    handle = Handle.open(grown.address)
    assert handle
    assert history(handle, 1).select("version", "operation", "rows_added").rows() == [(4, "WRITE", 1)]
    assert at_version(handle, 3).rows == 3
