"""What is to be said of a table's partitions, each time with the number that says it. Told from the log alone."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from lakehouse.engine.declare.number import number
from lakehouse.engine.delta.handle import Handle

SMALL = 128_000_000
"""Bytes of a partition, below which files are too small to be read well."""
MANY_VALUES = 1_000
"""Values of one column, above which it is none to make folders of."""
MANY_PARTITIONS = 10_000


def partition_advice(handle: Handle) -> list[str]:
    """Why the table would be better off with other partitions, or none; nothing where it has none, or no rows."""
    if not handle.partition_by or handle.files().is_empty():
        return []
    return list(_advice(handle))


def _advice(handle: Handle) -> Iterator[str]:
    by = ", ".join(handle.partition_by)
    columns = [f"partition.{name}" for name in handle.partition_by]
    partitions = handle.files().group_by(columns).agg(pl.col("size").sum())
    count = partitions.height
    for name, column in zip(handle.partition_by, columns, strict=True):
        if (values := partitions[column].n_unique()) > MANY_VALUES:
            yield (
                f"{name} has {values:,} values, more than {MANY_VALUES:,}: partition by a column of fewer (the month "
                "of a day, the country of a customer); files are found by their ranges without folders too"
            )
    if count > MANY_PARTITIONS:
        yield (
            f"{number(count, 'partition')} by {by}, more than {MANY_PARTITIONS:,}: every reader lists them all; "
            "partition by fewer columns, or by coarser ones"
        )
    if small := partitions.filter(pl.col("size") < SMALL).height:
        mean = int(handle.files()["size"].sum()) // count
        yield (
            f"{small:,} of {number(count, 'partition')} by {by} hold less than {_mb(SMALL)} ({_mb(mean)} on average): "
            "so small a table is read faster in fewer files; leave partition_by= away, or partition by a coarser column"
        )


def _mb(size: int) -> str:
    return f"{size / 1_000_000:,.1f} MB" if size < SMALL else f"{size / 1_000_000:,.0f} MB"
