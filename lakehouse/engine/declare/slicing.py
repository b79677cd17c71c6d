"""What a declaration may not say of slices, which are replaced together, and of the folders it is stored in."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

import polars as pl

from lakehouse.engine.declare.contract import columns_of
from lakehouse.engine.declare.write import Append, Merge, Reading, ReplacePartition

if TYPE_CHECKING:
    from lakehouse.engine.declare.partitions import Partitions
    from lakehouse.engine.declare.table import Declaration, Read

_FOLDERS = (pl.String, pl.Int64, pl.Int32, pl.Int16, pl.Int8, pl.Date)
_NAMING = (pl.String, pl.Int64, pl.Int32, pl.Int16, pl.Int8, pl.Date, pl.Datetime)
"""Types whose values name a slice: each is equal to itself only, is ordered, and stands in the statistics of a file."""

MOST_COLUMNS = 4
"""By so many a table can be laid: of more each would count for little."""


def in_slicing(declared: Declaration) -> Iterator[str]:
    """Every fault of `ReplacePartition(…)`, of `Affected[…]` and of `partition_by=`, in words."""
    if isinstance(declared.write, ReplacePartition):
        yield from _in_replacing(declared, declared.write)
    for read in declared.reads:
        if read.reading is Reading.AFFECTED:
            yield from _in_affected(declared, read)
    if declared.partitions is not None:
        yield from _in_partitions(declared, declared.partitions)
    if declared.partition_by:
        yield from _in_folders(declared)
    if declared.zorder:
        yield from _in_zorder(declared)
    yield from _in_order(declared)


def _in_replacing(declared: Declaration, write: ReplacePartition) -> Iterator[str]:
    name, schema, key = declared.contract.__name__, declared.schema, declared.key_columns
    nullable = {each.name for each in columns_of(declared.contract) if each.nullable}
    if not write.columns or len(set(write.columns)) < len(write.columns):
        yield f"ReplacePartition({write.by!r}) names its columns once each, and at least one."
    for column in write.columns:
        if column not in schema:
            yield f"ReplacePartition({write.by!r}) names no column of {name}: {', '.join(schema)}."
        elif not isinstance(schema[column], _NAMING):
            yield f"ReplacePartition({write.by!r}): {_cannot_name(column, schema[column])}"
        elif column in nullable:
            yield (
                f"ReplacePartition({write.by!r}): a row without {column} would be of no slice that can be replaced. "
                "Leave nullable=True away; such rows then break a rule, and rejects=Quarantine() sets them aside."
            )
        elif key and column not in key:
            yield (
                f"ReplacePartition({write.by!r}): two slices could hold one key ({', '.join(key)}) unseen, since only "
                f"those in scope are judged. Mark {column} with column(…, key=True) too, or write Merge()."
            )


def _in_affected(declared: Declaration, read: Read) -> Iterator[str]:
    upstream, columns = read.upstream, declared.slice_columns
    word, whole = (f"{each}[{upstream.contract.__name__}]" for each in ("Affected", "Frame"))
    if upstream.is_bronze:
        yield (
            f"{word}: {upstream.key} keeps text, of which the slices are not known before it is read. "
            f"Read it as New[…] into a silver table, and Affected[…] of that."
        )
        return
    for column in columns:
        ours, theirs = declared.schema.get(column), upstream.schema.get(column)
        if ours is None:
            continue  # said of the way of writing
        if theirs is None:
            yield (
                f"{word} hands over slices of {column!r}, by which {declared.key} is written, and {upstream.key} has "
                f"no such column: {', '.join(upstream.schema)}. Add it there, or read {whole}."
            )
        elif ours != theirs:
            yield (
                f"{word} hands over slices of {column!r}, which is {theirs} in {upstream.key} and {ours} here. "
                f"Make it one type, or read {whole}."
            )
        elif not isinstance(theirs, _NAMING):
            yield f"{word}: {_cannot_name(column, theirs)}"


def _in_partitions(declared: Declaration, partitions: Partitions) -> Iterator[str]:
    if not isinstance(declared.write, ReplacePartition):
        yield (
            "partitions_def= goes with write=ReplacePartition(…), which says by which column a row is of a partition, "
            "and replaces it by what comes out for it."
        )
        return
    for read in declared.reads:
        name = read.upstream.contract.__name__
        if read.reading is Reading.AFFECTED:
            yield (
                f"with partitions_def= a run is told which slices it replaces, and Affected[{name}] are those that "
                f"changed. Read Frame[{name}], of which a run is handed its slice, or leave partitions_def= away."
            )
        elif read.upstream.is_bronze:
            yield (
                f"{read.upstream.key} keeps text, of which the partition is not known before it is read. "
                "Read it as New[…] into a silver table, and Frame[…] of that."
            )
    yield from partitions.faults(declared.write.columns, declared.schema)


def _in_folders(declared: Declaration) -> Iterator[str]:
    """The faults of `partition_by=`: each column names a folder, and what lies in it is one value of it."""
    schema, columns = declared.stored_schema, declared.partition_by
    said = f"partition_by={', '.join(columns)}"
    if declared.is_bronze:
        yield (
            f"{said}: a source may send any text, also one that no folder can be called by, and landing never refuses. "
            "Leave it to the tables that read this one."
        )
    if len(set(columns)) < len(columns) or len(columns) >= len(schema):
        yield f"{said}: name each column once, and leave at least one for the files in the folders."
    for column in columns:
        if column not in schema:
            yield f"{said} names no column of {declared.contract.__name__}: {', '.join(schema)}."
        elif not isinstance(schema[column], _FOLDERS):
            yield (
                f"{said}: {column!r} is {schema[column]}, which has no exact name as a folder. Store the table by a "
                "String, an integer or a Date, such as the day of a time."
            )


def _in_zorder(declared: Declaration) -> Iterator[str]:
    said = f"zorder={', '.join(declared.zorder)}"
    if isinstance(declared.write, Append):
        yield f"{said}: it is written by Append, and a reader takes the later of two rows: the order of rows counts."
    hidden = declared.personal
    for fault in unlayable(declared.zorder, declared.stored_schema, declared.partition_by, hidden):
        yield f"{said}: {fault}."


def unlayable(
    columns: Sequence[str], schema: pl.Schema, folders: Collection[str], hidden: Collection[str]
) -> list[str]:
    """Why a table cannot be laid by these columns, in words: it has them not, or they have no ranges."""

    def why(name: str) -> str:
        if name not in schema:
            return f"it has no column {name}; it has {', '.join(schema)}"
        if name in folders:
            return f"its folders are by {name} already"
        if schema[name].is_nested() or isinstance(schema[name], pl.Binary):
            return f"{name} is {schema[name]}, of which no ranges are kept"
        return f"{name} is personal and leaves no ranges in the log" if name in hidden else ""

    complaints = [said for name in columns if (said := why(name))]
    if not 0 < len(set(columns)) == len(columns) <= MOST_COLUMNS:
        complaints.append(f"1 to {MOST_COLUMNS} columns can be named, each once")
    return complaints


def _in_order(declared: Declaration) -> Iterator[str]:
    """Rows keep their order within a folder only, and of two of one key the later one wins."""
    if not isinstance(declared.write, Merge) or declared.write.newest_by:
        return
    for upstream in (read.upstream for read in declared.reads):
        if isinstance(upstream.write, Append) and upstream.partition_by:
            yield (
                f"Merge() lets the later of two rows of one key win, and {upstream.key} is stored by "
                f"{', '.join(upstream.partition_by)}: which of them came later is not known across folders. Say by "
                "which column, Merge(newest_by=…), or leave partition_by= away there."
            )


def _cannot_name(column: str, dtype: pl.DataType) -> str:
    return f"{column!r} is {dtype}, which names no slice; a String, an integer, a Date or a Utc does."
