from datetime import UTC, date, datetime, timedelta
from unittest.mock import patch

import polars as pl
import pytest
from deltalake import write_deltalake

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.delta import advice
from lakehouse.engine.delta.advice import partition_advice
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.statistics import DataFile
from lakehouse_tests.engine.delta.opening import opened

SCHEMA = pl.Schema({"day": pl.Date(), "shop": pl.Int64(), "n": pl.Int64()})
NOTHING = '{"numRecords":1,"minValues":{},"maxValues":{},"nullCount":{}}'


def table(address, days: int, size: int, *, shops: int = 1, partition_by: tuple[str, ...] = ("day",)) -> Handle:
    """As its log tells of it: a file for each partition, of which nothing was written."""
    told = [
        DataFile(
            f"day={day}/shop={shop}/x.parquet", size, 1, NOTHING,
            {"day": f"{date(2000, 1, 1) + timedelta(day)}", "shop": f"{shop}"} if len(partition_by) > 1 else
            {"day": f"{date(2000, 1, 1) + timedelta(day)}"},
        )
        for day in range(days) for shop in range(shops)
    ]  # fmt: skip
    return Handle.create(address, SCHEMA, partition_by=partition_by).commit(told, [], {}, {})


def test_a_table_in_a_few_large_partitions_needs_no_advice(address):
    assert partition_advice(table(address, 1_000, 128_000_000)) == []


def test_a_table_without_partitions_or_rows_needs_none(address, tmp_path):
    assert partition_advice(Handle.create(address, SCHEMA)) == []
    assert partition_advice(Handle.create(address / "other", SCHEMA, partition_by=["day"])) == []


def test_a_column_of_many_values_is_named_with_their_number(address):
    [said] = partition_advice(table(address, 1_001, 128_000_000))
    assert said.startswith("day has 1,001 values, more than 1,000: partition by a column of fewer")


def test_small_partitions_are_counted_and_their_mean_said(address):
    [said] = partition_advice(table(address, 4, 2_500_000))
    assert said.startswith("4 of 4 partitions by day hold less than 128 MB (2.5 MB on average): ")


def test_partitions_are_counted_over_all_columns(address):
    with patch.object(advice, "MANY_PARTITIONS", 20):
        handle = table(address, 7, 200_000_000, shops=3, partition_by=("day", "shop"))
        [said] = partition_advice(handle)
    assert said.startswith("21 partitions by day, shop, more than 20: every reader lists them all")
    assert advice.MANY_PARTITIONS == 10_000


def test_a_time_that_another_engine_partitions_by_is_named_with_the_number_of_its_values(address):
    at = pl.datetime_range(datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 5, 3, tzinfo=UTC), "1h", eager=True)
    write_deltalake(address.uri, pl.DataFrame({"at": at, "n": 1}), partition_by="at")
    said, small = partition_advice(opened(address))
    assert said.startswith("at is a time, of 49 values so far: each is a folder of its own")
    assert small.startswith("49 of 49 partitions by at hold less than 128 MB")


def test_a_time_of_day_is_refused_before_there_is_a_table(address):
    schema = pl.Schema({"at": pl.Datetime("us", "UTC"), "n": pl.Int64()})
    with pytest.raises(Refused, match=r"cannot be partitioned by at: .* has no exact name as a folder.*or a Date"):
        Handle.create(address, schema, partition_by=["at"])
