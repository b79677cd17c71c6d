"""Data files as one lazy frame, read by the table's schema and in a fixed order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
from pyroaring import BitMap

from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta.compatibility import widens
from lakehouse.engine.delta.fitting import read_as
from lakehouse.engine.delta.place import for_polars, full
from lakehouse.engine.delta.vectors import hiding

type Places = Mapping[str, BitMap]
"""Of rows in their file, by its path."""
NOTHING_GONE: Places = {}
_NO_PLACE = BitMap()

# Other engines may have stored nanoseconds without a zone (Spark's INT96), milliseconds, or a narrower type before a
# widening; a Delta timestamp holds microseconds in UTC, so none of these changes a value.
_OTHER_ENGINES = pl.ScanCastOptions(
    integer_cast="upcast",
    float_cast="upcast",
    datetime_cast=["nanosecond-downcast", "millisecond-upcast", "convert-timezone"],
    missing_struct_fields="insert",
    extra_struct_fields="ignore",
)


def in_commit_order(paths: Sequence[str]) -> list[str]:
    """Our files carry version and place in their names, so their names sort as they were committed."""
    return sorted(paths, key=lambda path: (path.rpartition("/")[2], path))


def files_in_order(files: pl.DataFrame) -> pl.DataFrame:
    """Rows of `Handle.files`, as they were committed."""
    order = {path: place for place, path in enumerate(in_commit_order(files["path"].to_list()))}
    return files.sort(pl.col("path").replace_strict(order, return_dtype=pl.Int64))


def scan_files(  # what a scan is made of
    address: Address,
    paths: Sequence[str],
    schema: pl.Schema,
    partition_by: Sequence[str],
    *,
    file: str | None = None,
    place: str | None = None,
    gone: Places = NOTHING_GONE,
) -> pl.LazyFrame:
    """The rows of these files, in the order given; `file` names a further column with each row's full path.

    place: names one with the row's place among all that these files hold, from 0. gone: by path, the places of rows in
    their file that are left out, and not counted.
    Not `pl.scan_delta`: it does not find a table whose folder holds a space, and promises no order.
    """
    beside = {**({file: pl.String} if file else {}), **({place: pl.UInt32} if place else {})}
    names = [*schema, *beside]
    if not paths:
        return pl.LazyFrame(schema={**schema, **beside})
    left_out = {path: gone.get(path, _NO_PLACE) for path in paths}
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
        row_index_name=place,
        _deletion_files=hiding(dict(zip(full(address, paths), left_out.values(), strict=True)))
        if any(left_out.values())
        else None,
        **for_polars(address),
    ).select(names)


def scan_older(
    address: Address,
    paths: Sequence[str],
    schema: pl.Schema,
    partition_by: Sequence[str],
    *,
    file: str | None = None,
    place: str | None = None,
    gone: Places = NOTHING_GONE,
) -> pl.LazyFrame:
    """The same of files that may be of before a column was widened: what each holds is asked of the file itself.

    place: that in its own file.
    """
    pieces: list[pl.LazyFrame] = []
    for path, whole in zip(paths, full(address, paths), strict=True):
        holds = pl.scan_parquet(whole, glob=False, **for_polars(address)).collect_schema()
        stored = pl.Schema({name: _narrower(holds.get(name), dtype) for name, dtype in schema.items()})
        rows = scan_files(address, [path], stored, partition_by, file=file, place=place, gone=gone)
        pieces.append(read_as(rows, stored, schema, str(address), beside=[each for each in (file, place) if each]))
    return pl.concat(pieces)


def _narrower(held: pl.DataType | None, dtype: pl.DataType) -> pl.DataType:
    return held if held is not None and widens(held, dtype) else dtype
