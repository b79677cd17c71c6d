import shutil
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake
from polars.testing import assert_frame_equal

from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta import known
from lakehouse.engine.delta.files import write_files
from lakehouse.engine.delta.foreign import load
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.rivals import followed
from lakehouse_tests.engine.delta.opening import opened

SCHEMA = pl.Schema({"id": pl.Int64()})


def add(handle, *ids, removed=()):
    frame = pl.DataFrame({"id": ids}, schema=SCHEMA)
    return handle.commit(write_files(handle, frame.lazy()), removed, {"a": ids[0]}, {})


def newest(address):
    """As whoever opens it is told."""
    handle = Handle.open(address)
    assert handle is not None
    return handle


@pytest.fixture
def opens(monkeypatch):
    """How often deltalake opened a table."""
    loads = []
    monkeypatch.setattr("lakehouse.engine.delta.handle.load", lambda *told: loads.append(told) or load(*told))
    return loads


def test_a_table_that_stands_as_it_was_seen_is_not_opened_again(address, opens):
    made = add(Handle.create(address, SCHEMA), 1)
    assert Handle.open(address) is made
    assert (made.rows, made.transaction("a"), opens) == (1, 1, [])
    known.forget(address)
    again = Handle.open(address)
    assert again is not made
    assert Handle.open(address) is again
    assert len(opens) == 1


def test_what_another_engine_commits_is_seen(address):
    add(Handle.create(address, SCHEMA), 1)
    write_deltalake(address.uri, pl.DataFrame({"id": [2]}), mode="append")
    assert (newest(address).version, newest(address).rows) == (2, 2)
    write_deltalake(address.uri, pl.DataFrame({"id": [3]}), mode="append")
    assert newest(address).rows == 3


def test_a_table_that_was_made_anew_up_to_the_same_version_is_seen(address):
    known_one = add(Handle.create(address, SCHEMA), 1)
    shutil.rmtree(address.uri)
    known.forget(address)
    other = add(Handle.create(address, SCHEMA), 7)
    known.keep(known_one)
    assert (other.version, other.id != known_one.id) == (1, True)
    assert newest(address).id == other.id
    known.keep(known_one)
    shutil.rmtree(address.uri)
    assert Handle.open(address) is None


def test_a_table_that_another_engine_has_made_anew_is_seen(address):
    write_deltalake(address.uri, pl.DataFrame({"id": [1]}))
    assert newest(address).rows == 1
    shutil.rmtree(address.uri)
    write_deltalake(address.uri, pl.DataFrame({"id": [1, 2]}))
    assert newest(address).rows == 2


def test_a_version_that_was_put_back_is_seen(address, tmp_path):
    add(Handle.create(address, SCHEMA), 1)
    shutil.copytree(address.uri, tmp_path / "kept")
    add(newest(address), 2)
    shutil.rmtree(address.uri)
    shutil.copytree(tmp_path / "kept", address.uri)
    assert newest(address).rows == 1


def test_so_many_tables_are_known_and_not_more(tmp_path, monkeypatch):
    monkeypatch.setattr(known, "MOST", 2)
    monkeypatch.setattr(known, "_seen", {})
    for name in "abc":
        write_deltalake(str(tmp_path / name), pl.DataFrame({"id": [1]}))
        Handle.open(Address(str(tmp_path / name)))
    assert [Path(uri).name for uri in known._seen] == ["b", "c"]


def test_files_of_several_writes_come_in_the_order_in_which_they_read(address):
    handle = Handle.create(address, SCHEMA)
    frames = [pl.LazyFrame({"id": [n]}, schema=SCHEMA) for n in range(8)]
    handle = handle.commit([file for frame in frames for file in write_files(handle, frame)], [], {}, {})
    assert_frame_equal(handle.files(), opened(address).files(), check_column_order=False)


EVERY = pl.DataFrame(
    {
        "day": [date(2011, 1, 1), date(2011, 1, 1), date(2012, 2, 29), None],
        "text": ["a", "é" * 40, None, ""],
        "int": [1, None, -(2**62), 4],
        "small": pl.Series([1, 2, 3, None], dtype=pl.Int8),
        "float": [0.1, 1e300, 3.0, None],
        "nan": [float("nan"), 1.0, 2.0, 3.0],
        "money": pl.Series([Decimal("1.005"), Decimal("-7.000"), None, Decimal("12345678901234567890.123")]),
        "whole": pl.Series([Decimal(5), None, Decimal(7), Decimal(-3)], dtype=pl.Decimal(38, 0)),
        "at": pl.Series([datetime(2011, 1, 1, 1, 2, 3, 123456, UTC), None] * 2, dtype=pl.Datetime("us", "UTC")),
        "flag": [True, None, False, True],
        "list": [[1], None, [], [2, 3]],
    }
)


@pytest.mark.parametrize("partition_by", [(), ("day",), ("small",)])
def test_what_a_commit_has_made_is_known_as_it_reads(address, partition_by):
    begun = handle = unasked = Handle.create(address, EVERY.schema, partition_by=partition_by)
    for part in (EVERY, EVERY.head(1), EVERY.clear(), EVERY.tail(2)):
        removed = handle.files()["path"].to_list()[:1]
        handle = handle.commit(write_files(handle, part.lazy()), removed, {}, {})
        told, reads = handle.files(), opened(address).files()
        assert set(told.columns) == set(reads.columns)
        assert_frame_equal(told, reads, check_column_order=False)
        carried_on = followed(begun)  # as another process does
        assert carried_on is not None
        assert_frame_equal(carried_on.files(), reads, check_column_order=False)
        assert (handle.rows, handle.bytes) == (opened(address).rows, opened(address).bytes)
        unasked = followed(unasked)  # nobody wants to know its files on the way
        assert unasked is not None
    assert_frame_equal(unasked.files(), opened(address).files(), check_column_order=False)
    assert handle.schema == EVERY.schema
    assert handle.id == DeltaTable(address.uri).metadata().id
