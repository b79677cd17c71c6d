"""SQL over the lake, on this machine: DuckDB with one view a table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import duckdb

from lakehouse.engine.declare.errors import WrongUsage
from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.delta.handle import Handle


class SqlError(WrongUsage):
    """DuckDB could not run the statement."""


def connect(declarations: Sequence[Declaration], place: Place) -> duckdb.DuckDBPyConnection:
    """A connection with the views `bronze.…`, `silver.…`, `gold.…` of the tables that were written, as they stand now.

    A quarantine is `quarantine.<layer>_<table>`. Reading stays inside the lake: nothing is downloaded or installed.
    """
    connection = duckdb.connect(":memory:", config={"autoinstall_known_extensions": "false"})
    for extension in ("icu", "delta"):  # icu knows time zones: without it no timestamp is shown
        _load(connection, extension)
    connection.execute("set TimeZone = 'UTC'")
    for each in declarations:
        _view(connection, each.layer, each.name, place.table(each))
        _view(connection, "quarantine", f"{each.layer}_{each.name}", place.quarantine(each))
    return connection


def query(connection: duckdb.DuckDBPyConnection, statement: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows. Raises SqlError with DuckDB's own sentence."""
    try:
        result = connection.execute(statement)
        return [column[0] for column in result.description or []], result.fetchall()
    except duckdb.CatalogException as error:
        there = connection.execute("select schema_name || '.' || view_name from duckdb_views() where not internal")
        written = ", ".join(sorted(name for (name,) in there.fetchall())) or "none yet; next: lakehouse run"
        raise SqlError(f"{error}\nTables that were written: {written}") from error
    except duckdb.Error as error:
        raise SqlError(str(error)) from error


def _load(connection: duckdb.DuckDBPyConnection, extension: str) -> None:
    package = import_module(f"duckdb_extension_{extension}")
    found = files(package) / "extensions" / f"v{duckdb.__version__}" / f"{extension}.duckdb_extension"
    connection.load_extension(str(found))


def _view(connection: duckdb.DuckDBPyConnection, schema: str, name: str, address: Address) -> None:
    if Handle.open(address) is None:
        return
    where = (address.uri if address.is_local else _logged_in(connection, address)).replace("'", "''")
    connection.execute(f"create schema if not exists {_quoted(schema)}")
    view = f"create view {_quoted(schema)}.{_quoted(name)} as select * from delta_scan('{where}')"  # noqa: S608 # quoted
    connection.execute(view)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _logged_in(connection: duckdb.DuckDBPyConnection, address: Address) -> str:
    """The table's address as DuckDB's azure extension wants it, the account's key in a secret that it redacts."""
    _load(connection, "azure")
    options, where = address.options, urlsplit(address.uri)
    text = f"AccountName={options['account_name']};AccountKey={options['account_key']};"
    endpoint = options.get("endpoint")
    if endpoint is None:
        text += "DefaultEndpointsProtocol=https;EndpointSuffix=core.windows.net;"
    else:
        asked = urlsplit(endpoint)
        text += f"DefaultEndpointsProtocol={asked.scheme};BlobEndpoint={endpoint};"
        # the delta extension does not read BlobEndpoint; this is where it looks for an account elsewhere than on Azure
        os.environ["AZURITE_BLOB_STORAGE_URL"] = f"{asked.scheme}://{asked.netloc}"
    quoted = text.replace("'", "''")
    connection.execute(f"create or replace secret lake (type azure, connection_string '{quoted}')")
    return f"azure://{where.username}{where.path}"
