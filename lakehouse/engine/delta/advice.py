"""What is to be said of a table's partitions and merges, each with the numbers that say it. Told from the log alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

import polars as pl

from lakehouse.engine.declare.number import mb, number
from lakehouse.engine.declare.readers import Reader
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.log import MERGED, Commit, Past
from lakehouse.engine.delta.plan import Way
from lakehouse.engine.delta.protocol import DELETION_VECTORS, can_read

SMALL = 128_000_000
"""Bytes of a partition, below which files are too small to be read well."""
MANY_VALUES = 1_000
"""Values of one column, above which it is none to make folders of."""
MANY_PARTITIONS = 10_000
WORTH = 10_000_000
"""Bytes that a merge would save by another way, on average, from which on it is worth a word to who reads the table."""
_RECENT = 100


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
        values = partitions[column].n_unique()
        if isinstance(handle.schema[name], pl.Datetime):  # another engine's: ours makes none
            yield (
                f"{name} is a time, of {number(values, 'value')} so far: each is a folder of its own, and its name is "
                "by the clock of the engine that writes it; partition by a column of its days"
            )
        elif values > MANY_VALUES:
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
            f"{small:,} of {number(count, 'partition')} by {by} hold less than {mb(SMALL)} ({mb(mean)} on average): "
            "so small a table is read faster in fewer files; leave partition_by= away, or partition by a coarser column"
        )


class _Merge(NamedTuple):
    """What one merge did: rows that came, files that lost rows, the bytes of these, and those that it wrote."""

    came: int
    files: int
    bytes: int
    written: int
    is_anew: bool


def merge_advice(handle: Handle, readers: Sequence[Reader]) -> str:
    """Which way merges should take, and why, from those among the last versions; empty where it had none.

    readers: who is declared to read the table.
    """
    merges = list(_merges(handle))
    if not any(each.files for each in merges) or not handle.rows:
        return ""
    count, width = len(merges), handle.bytes / handle.rows
    anew = [each for each in merges if each.is_anew]
    touched = sum(each.files for each in merges) / count
    all_written, rows = (sum(each) for each in zip(*((each.written, each.came) for each in merges), strict=True))
    did = (
        f"its last {number(count, 'merge')} touched {touched:,.1f} files on average, of {handle.files().height:,} that "
        f"stand, and wrote {mb(all_written)} for {number(rows, 'row')} that came ({mb(int(rows * width))})"
    )
    if not anew:
        instead = sum(each.bytes for each in merges)
        return f"deletion vectors: {did}; files anew would have been about {mb(int(rows * width) + instead)}"
    saved = int(sum(each.written - each.came * width for each in anew))
    if saved < WORTH * len(anew):
        return f"files anew, as it is: {did}; deletion vectors would save {mb(max(saved, 0))}, and cost who reads it"
    if can_read(readers, DELETION_VECTORS):
        return f"deletion vectors, which its readers know: {did}; that will be {mb(saved)} less"
    able = [each for each in Reader if can_read([each], DELETION_VECTORS)]
    others = " and ".join(each for each in readers if each not in able)
    named = ", ".join(f"Reader.{each.name}" for each in able if each in readers) or "…"
    return (
        f"deletion vectors: {did}; by these it would have been {mb(saved)} less. If {others} need not read it, say so "
        f"in its file: @table(readers=[{named}])"
    )


def _merges(handle: Handle) -> Iterator[_Merge]:
    """Those among the newest versions, newest first, as far as the log goes back."""
    past = Past(handle.address)
    with suppress(FileNotFoundError):
        for version in islice(range(handle.version, -1, -1), _RECENT):
            if (commit := past.commit(version)).info.get(MERGED):
                yield _told(commit)


def _told(commit: Commit) -> _Merge:
    marked = {each["path"] for each in commit.of("add") if each.get("deletionVector")}
    lost = [each.get("size") or 0 for each in commit.of("remove")]
    written = sum(each["size"] for each in commit.of("add") if each["path"] not in marked)
    came, _, way = str(commit.info[MERGED]).partition(" by ")
    return _Merge(int(came.split()[0].replace(",", "")), len(lost), sum(lost), written, way == Way.ANEW)
