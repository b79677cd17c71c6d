"""Data files as one lazy frame, read by the table's schema and in a fixed order."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta.place import for_polars, full

# Other engines may have stored nanoseconds without a zone (Spark's INT96) or a narrower type before a widening; a
# Delta timestamp holds microseconds in UTC, so neither changes a value.
_OTHER_ENGINES = pl.ScanCastOptions(
    integer_cast="upcast",
    float_cast="upcast",
    datetime_cast=["nanosecond-downcast", "convert-timezone"],
    missing_struct_fields="insert",
    extra_struct_fields="ignore",
)


def in_commit_order(paths: Sequence[str]) -> list[str]:
    """Our files carry version and place in their names, so their names sort as they were committed."""
    return sorted(paths, key=lambda path: (path.rpartition("/")[2], path))


def sorted_as_committed(files: pl.DataFrame) -> pl.DataFrame:
    """Rows that have a `path`, in commit order."""
    order = {path: place for place, path in enumerate(in_commit_order(files["path"].to_list()))}
    return files.sort(pl.col("path").replace_strict(order, return_dtype=pl.Int64))


def scan_files(
    address: Address, paths: Sequence[str], schema: pl.Schema, partition_by: Sequence[str], *, file: str | None = None
) -> pl.LazyFrame:
    """The rows of these files, in the order given; `file` names a further column with each row's full path.

    Not `pl.scan_delta`: it does not find a table whose folder holds a space, and promises no order.
    """
    names = [*schema, *([file] if file else [])]
    if not paths:
        return pl.LazyFrame(schema={**schema, **({file: pl.String} if file else {})})
    return pl.scan_parquet(
        full(address, paths),
        glob=False,
        schema={name: dtype for name, dtype in schema.items() if name not in partition_by},
        hive_partitioning=bool(partition_by),
        hive_schema={name: schema[name] for name in partition_by} or None,
        missing_columns="insert",
        extra_columns="ignore",
        cast_options=_OTHER_ENGINES,
        include_file_paths=file,
        **for_polars(address),
    ).select(names)
