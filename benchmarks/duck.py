"""What each script by DuckDB needs: a connection, and a query's rows as Parquet files of a Delta table."""

from __future__ import annotations

import json
import secrets
import time
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import duckdb
from deltalake import DeltaTable
from deltalake.transaction import AddAction

from benchmarks.delta_files import commit


def connected() -> duckdb.DuckDBPyConnection:
    """DuckDB in memory, with what it needs of time zones and of Delta, in UTC."""
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    for extension in ("icu", "delta"):
        package = files(import_module(f"duckdb_extension_{extension}"))
        found = package / "extensions" / f"v{duckdb.__version__}" / f"{extension}.duckdb_extension"
        connection.load_extension(str(found))
    connection.execute("set TimeZone = 'UTC'")
    return connection


def write(connection: duckdb.DuckDBPyConnection, query: str, table: str, *, instead: bool = False) -> None:
    """Commit what a query gives to a Delta table, made where it is not there; `instead` of all that it holds."""
    Path(table).mkdir(parents=True, exist_ok=True)
    name = f"{secrets.token_hex(8)}.parquet"
    copied = connection.execute(f"copy ({query}) to '{table}/{name}' (format parquet, compression zstd, return_stats)")
    (_, rows, size, *_) = copied.fetchall()[0]
    statistics = {"numRecords": rows, "minValues": {}, "maxValues": {}, "nullCount": {}}
    added = AddAction(name, size, {}, time.time_ns() // 1_000_000, True, json.dumps(statistics))
    standing = DeltaTable(table).file_uris() if instead and DeltaTable.is_deltatable(table) else []
    gone = [Path(uri).name for uri in standing]
    commit(table, connection.sql(query).limit(0).pl().schema, [added] if rows else [], gone)
