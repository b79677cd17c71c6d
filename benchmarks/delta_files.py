"""Data files by Polars' own writer and one commit for all of them, not delta-rs' writer: for the best scripts."""

import json
import secrets
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
from deltalake import DeltaTable, Schema
from deltalake.transaction import AddAction, RemoveAction
from polars.io.partition import FileProviderArgs, SinkedPathsCallbackArgs

ROWS_PER_FILE = 1_000_000


def sink(frame: pl.LazyFrame, table: str, measured: Sequence[str] = ()) -> list[AddAction]:
    """The rows as Parquet files of the table, not committed; with statistics of the columns that a reader prunes by."""
    write, written = secrets.token_hex(8), list[SinkedPathsCallbackArgs]()

    def named(file: FileProviderArgs) -> str:
        return f"{write}-{file.index_in_partition:05d}.parquet"

    frame.sink_parquet(
        pl.PartitionBy(
            table, file_path_provider=named, max_rows_per_file=ROWS_PER_FILE, approximate_bytes_per_file=None
        ),
        compression="zstd",
        compression_level=1,
        mkdir=True,
        sinked_paths_callback=written.append,
    )
    files = sorted((each for args in written for each in args.paths if each.num_rows), key=lambda each: each.path)
    bounds = [bound for name in measured for bound in (pl.col(name).min().name.prefix("<"), pl.col(name).max())]
    found = pl.collect_all([pl.scan_parquet(each.path).select(bounds) for each in files]) if measured else []
    now = time.time_ns() // 1_000_000
    adds: list[AddAction] = []
    for place, each in enumerate(files):
        row = found[place].row(0, named=True) if measured else {}
        statistics = {
            "numRecords": each.num_rows,
            "minValues": {name: _text(row[f"<{name}"]) for name in measured},
            "maxValues": {name: _text(row[name]) for name in measured},
            "nullCount": {},
        }
        adds.append(AddAction(Path(each.path).name, each.num_bytes, {}, now, True, json.dumps(statistics)))
    return adds


def _text(value: object) -> object:
    """As Delta's statistics write it; a datetime is a date as well."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return value.isoformat() if isinstance(value, date) else value


def commit(table: str, schema: pl.Schema, adds: Sequence[AddAction], removes: Iterable[str] = ()) -> None:
    """One version of the table, made where it is not there; `removes` names files of it that go."""
    shape = Schema.from_arrow(schema)
    standing = (
        DeltaTable(table) if DeltaTable.is_deltatable(table) else DeltaTable.create(table, shape, partition_by=None)
    )
    now = time.time_ns() // 1_000_000
    gone = [RemoveAction(path, True, now, 0, {}) for path in removes]
    standing.create_write_transaction([*adds, *gone], mode="append", schema=shape)


def full(table: str, paths: Iterable[str]) -> list[str]:
    return [f"{table}/{path}" for path in paths]


def replace(table: str, came: pl.DataFrame, by: Sequence[str], within: str) -> list[str]:
    """Let `came` take the place of the rows with the same `by`; only files that hold one are written anew.

    `within`: a column that no correction changes, so that only files whose range meets that of `came` are looked into.
    Gives the files that may hold a row of that range from now on.
    """
    low, high = came[within].min(), came[within].max()
    files = pl.DataFrame(DeltaTable(table).get_add_actions(flatten=True))
    near = files.filter((pl.col(f"min.{within}") <= high) & (pl.col(f"max.{within}") >= low))
    candidates = full(table, near["path"])
    keys = came.select(by).unique().lazy()
    touched: list[str] = []
    if candidates:
        held = pl.scan_parquet(candidates, include_file_paths="file", glob=False).select(*by, "file")
        touched = held.join(keys, on=by, how="semi").select(pl.col("file").unique()).collect()["file"].to_list()
    standing = [pl.scan_parquet(touched, glob=False).join(keys, on=by, how="anti")] if touched else []
    added = sink(pl.concat([*standing, came.lazy()]), table, [within])
    commit(table, came.schema, added, [path.removeprefix(f"{table}/") for path in touched])
    return [path for path in candidates if path not in touched] + full(table, (each.path for each in added))


def replace_days(table: str, made: pl.DataFrame, days: pl.Series) -> None:
    """Let `made` take the place of all rows of these days in a small table."""
    paths = pl.DataFrame(DeltaTable(table).get_add_actions(flatten=True))["path"].to_list()
    kept = pl.scan_parquet(full(table, paths), glob=False).filter(~pl.col("day").is_in(days.implode()))
    commit(table, made.schema, sink(pl.concat([kept, made.lazy()]), table), paths)
