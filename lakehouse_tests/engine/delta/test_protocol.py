"""What a commit would ask of those who read the table is known, and refused, before it is made."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lakehouse.engine.declare.errors import DeclarationError, Refused
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.readers import EVERY_READER, Reader, checked_readers
from lakehouse.engine.declare.write import Append
from lakehouse.engine.delta import quarantine
from lakehouse.engine.delta.delivery import Delivery, deliver
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.protocol import DELETION_VECTORS, TIMESTAMP_NTZ, can_read, for_readers, needed
from lakehouse.engine.delta.writes import Written, overwrite, prepare_overwrite
from lakehouse_tests.engine.delta.opening import opened
from lakehouse_tests.engine.delta.writing import append

SCHEMA = pl.Schema({"order": pl.String(), "at": pl.Datetime("us", "UTC")})
NAIVE = pl.Schema({"order": pl.String(), "at": pl.Datetime("us")})
WALL_CLOCK = datetime(1999, 12, 31, 23, 59)  # noqa: DTZ001 # that is what it is about
NAIVE_IS_READ_BY = (Reader.DELTA_RS, Reader.DATABRICKS)


def rows(schema: pl.Schema = NAIVE) -> pl.DataFrame:
    return pl.DataFrame({"order": ["A", "B"], "at": [WALL_CLOCK, None]}, schema=schema)


def asking_for(handle: Handle, feature: str) -> Handle:
    """The table, as another engine leaves it once a feature was turned on."""
    features = {"readerFeatures": [feature], "writerFeatures": [feature]}
    protocol = {"minReaderVersion": 3, "minWriterVersion": 7, **features}
    log = Path(handle.address.uri) / "_delta_log" / f"{handle.version + 1:020d}.json"
    log.write_text("\n".join(map(json.dumps, [{"commitInfo": {"timestamp": 0}}, {"protocol": protocol}])))
    return opened(handle.address)


def delivered(address: Address, handle: Handle | None, *readers: Reader, schema: pl.Schema = SCHEMA) -> Written:
    accepted = rows(schema)
    return deliver(
        Delivery(
            table=address,
            quarantine=Address(f"{address}-quarantine"),
            schema=schema,
            description="",
            handle=handle,
            write=Append(),
            key=(),
            whole=False,
            accepted=accepted,
            rejected=pl.DataFrame(schema=quarantine.ROWS),
            transactions={},
            readers=readers,
        )
    )


@pytest.mark.parametrize("readers", [None, EVERY_READER])
def test_a_column_that_a_reader_cannot_read_is_refused_before_the_table_is_made(address, readers):
    with pytest.raises(Refused) as refusal:
        Handle.create(address, NAIVE, readers=readers)
    assert str(refusal.value) == (
        f"{address} would need Delta's reader feature timestampNtz for its column at (a timestamp without a zone), "
        "which its readers synapse and fabric cannot read. Nothing was written. Either make it Datetime('us', 'UTC') "
        "by the zone of its clock, as .dt.replace_time_zone('Europe/London').dt.convert_time_zone('UTC'), "
        "or leave them out: @table(readers=[Reader.DELTA_RS, Reader.DATABRICKS])."
    )
    assert not Path(address.uri).exists()


def test_a_column_is_found_as_deep_as_it_hides(address):
    lines = pl.List(pl.Struct({"sent_at": pl.Datetime("us"), "qty": pl.Int64}))
    with pytest.raises(Refused, match=r"for its column lines\[\]\.sent_at \(a timestamp without a zone\)"):
        Handle.create(address, pl.Schema({"lines": lines}))


def test_the_only_reader_cannot_be_left_out(address):
    with pytest.raises(Refused, match=r"its reader synapse cannot read.* or name other readers than it\.$"):
        Handle.create(address, NAIVE, readers=[Reader.SYNAPSE])


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_where_every_reader_can_a_wall_clock_is_written_and_read_back_equal(address, duckdb_rows, monkeypatch, zone):
    monkeypatch.setenv("TZ", zone)  # what Python takes for the zone of a time without one
    handle = Handle.create(address, NAIVE, readers=NAIVE_IS_READ_BY)
    written = append(for_readers(handle, NAIVE_IS_READ_BY), rows().lazy(), {}, {}).handle
    for seen in (written, opened(address)):
        assert seen.scan().collect().equals(rows())
        assert seen.files()["min.at"].to_list() == [WALL_CLOCK]
    assert duckdb_rows(written) == rows().rows()
    assert written.protocol == (3, 7)


def test_a_whole_write_brings_no_column_that_a_reader_cannot_read(address):
    handle = append(Handle.create(address, SCHEMA), rows(SCHEMA).lazy(), {}, {}).handle
    before = sorted(Path(address.uri).rglob("*"))
    with pytest.raises(Refused, match=r"for its column at .*readers synapse and fabric"):
        prepare_overwrite(handle, rows(), NAIVE)
    with pytest.raises(Refused, match=r"for its column at .*readers synapse and fabric"):
        handle.commit([], [], {}, {}, schema=NAIVE)
    assert sorted(Path(address.uri).rglob("*")) == before


def test_a_whole_write_brings_no_feature_that_the_table_was_made_without(address):
    handle = append(Handle.create(address, SCHEMA), rows(SCHEMA).lazy(), {}, {}).handle
    prepared = prepare_overwrite(for_readers(handle, NAIVE_IS_READ_BY), rows(), NAIVE)
    with pytest.raises(Refused, match=r"made without .*timestampNtz, which its column at .*; version 1 stands\. Leave"):
        prepared.commit({}, {})
    assert opened(address).scan().collect().equals(rows(SCHEMA))


def test_a_reader_that_comes_later_and_cannot_read_what_stands_stops_the_next_write(address):
    first = delivered(address, None, Reader.DELTA_RS, Reader.DATABRICKS).handle
    standing = asking_for(first, TIMESTAMP_NTZ)
    before = sorted(Path(address.uri).rglob("*"))
    with pytest.raises(Refused) as refusal:
        delivered(address, standing, Reader.DELTA_RS, Reader.SYNAPSE)
    assert str(refusal.value) == (
        f"{address} stands with Delta's reader feature timestampNtz, which its reader synapse cannot read. Nothing "
        f"was written; version 2 stands. Take it away in Spark or Databricks (alter table delta.`{address}` drop "
        "feature timestampNtz), remove the folder and make the table anew (lakehouse rebuild), or leave it out: "
        "@table(readers=[Reader.DELTA_RS])."
    )
    assert sorted(Path(address.uri).rglob("*")) == before
    assert delivered(address, standing, Reader.DELTA_RS, Reader.DATABRICKS).version == 3


def test_of_deletion_vectors_the_next_write_frees_the_table_for_a_reader_that_comes_later(address):
    first = delivered(address, None, Reader.DELTA_RS, Reader.DATABRICKS).handle
    written = delivered(address, asking_for(first, DELETION_VECTORS), Reader.DELTA_RS, Reader.SYNAPSE).handle
    assert (written.version, written.protocol) == (4, (1, 7))
    assert written.scan().collect().equals(pl.concat([rows(SCHEMA)] * 2))


def test_nobody_commits_for_a_reader_who_cannot_read_what_stands(address):
    standing = asking_for(Handle.create(address, SCHEMA), DELETION_VECTORS)
    with pytest.raises(Refused, match="stands with Delta's reader feature deletionVectors, which its reader synapse"):
        for_readers(standing, [Reader.SYNAPSE])


def test_what_stands_is_no_fault_of_a_write_for_which_nobody_named_readers(address):
    standing = asking_for(Handle.create(address, SCHEMA), DELETION_VECTORS)
    assert overwrite(standing, rows(SCHEMA), {}, {}).version == 2


@pytest.mark.parametrize(
    ("readers", "answer"),
    [
        (EVERY_READER, False),
        (None, False),
        ([Reader.SYNAPSE], False),
        (EVERY_READER[:2], True),
        ([Reader.FABRIC], True),
    ],
)
def test_deletion_vectors_are_for_tables_that_synapse_does_not_read(readers, answer):
    assert can_read(readers, DELETION_VECTORS) is answer


def test_a_property_of_a_table_asks_for_its_feature():
    assert needed(SCHEMA).reader == 1
    mapped = needed(SCHEMA, {"delta.columnMapping.mode": "name", "delta.appendOnly": "true"})
    assert (mapped.reader, dict(mapped.features)) == (2, {"columnMapping": "its property delta.columnMapping.mode"})
    for name, value in (("enableDeletionVectors", "TRUE"), ("checkpointPolicy", "v2"), ("enableTypeWidening", "true")):
        assert needed(SCHEMA, {f"delta.{name}": value}).reader == 3
    assert needed(NAIVE).reader == 3


def test_readers_are_named_by_what_they_are():
    named: list[Any] = ["synapse", Reader.DELTA_RS, Reader.SYNAPSE]
    assert checked_readers("orders", named) == (Reader.DELTA_RS, Reader.SYNAPSE)
    wrongs: list[Any] = [["trino"], "snowflake"]
    for wrong in wrongs:
        with pytest.raises(DeclarationError, match=r"is no reader; there are Reader\.DELTA_RS, Reader\.DATABRICKS"):
            checked_readers("orders", wrong)
    with pytest.raises(DeclarationError, match="names none"):
        checked_readers("orders", [])
