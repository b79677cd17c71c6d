"""SQL over the lake, on this machine: DuckDB with one view a table."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from importlib import import_module
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import duckdb
import polars as pl

from lakehouse.engine.declare.errors import Refused, WrongUsage
from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.delta import quarantine
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.travel import at_version, time_of, version_at
from lakehouse.engine.ingest import ledger

_SHOW_TABLES = re.compile(r"\s*show\s+(all\s+)?tables\s*;?\s*", re.IGNORECASE)
_BESIDE = ["quarantine", "ledger"]
_SQL_TYPES = {
    pl.String(): "varchar",
    pl.Int64(): "bigint",
    pl.List(pl.String()): "varchar[]",
    pl.Datetime("us", "UTC"): "timestamptz",
}
_EXPLAIN = re.compile(r"\A\s*explain\s+(analyze\s+)?(\([^)]*\)\s*)?", re.IGNORECASE)  # it may do what it explains
_ONLY_READS = (
    "lakehouse sql only reads (select, show, describe, summarize, explain), and this statement does something else: it "
    "was not run. A table changes with what lands (lakehouse run), or with its file (lakehouse rebuild)."
)


class SqlError(WrongUsage):
    """DuckDB could not run the statement."""


def connect(
    declarations: Sequence[Declaration], place: Place, plain: Sequence[Sequence[str]] = (), *, as_of: str | None = None
) -> duckdb.DuckDBPyConnection:
    """A connection with the views `bronze.…`, `silver.…`, `gold.…` of the tables that were written, as they stand now.

    as_of: a time, as they stood then. Of a table that was not there, or no longer can be read so, asking says why.

    `plain` are the keys of other tables of the lake: `a.b` for ("a", "b"). A quarantine is
    `quarantine.<layer>_<table>`, the ledger of a bronze table `ledger.bronze_<table>`; both are empty where there is
    none yet. Reading stays inside the lake: nothing is downloaded or installed.
    """
    connection = duckdb.connect(":memory:", config={"autoinstall_known_extensions": "false"})
    for extension in ("icu", "delta"):  # icu knows time zones: without it no timestamp is shown
        _load(connection, extension)
    connection.execute("set TimeZone = 'UTC'")
    view = partial(_view, connection, as_of=time_of(as_of) if as_of else None)
    for each in declarations:
        beside = f"{each.layer}_{each.name}"
        if not view((each.layer, each.name), place.table(each)) and (behind := place.behind_of(each)):
            view((each.layer, each.name), behind)
        view(("quarantine", beside), place.quarantine(each), quarantine.STORED)
        if each.is_bronze:
            view(("ledger", beside), place.ledger(each), ledger.SCHEMA)
    for key in plain:
        view(_schema_and_name(key), place.lake.address(*key))
    return connection


def query(
    connection: duckdb.DuckDBPyConnection, statement: str, ways: Iterable[tuple[Sequence[str], str]] = ()
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of one statement. Raises SqlError with DuckDB's own sentence, or where it would write.

    `ways` are keys of tables, each with the command that writes it: said where a table is not there.
    """
    try:
        statements = connection.extract_statements(statement)
        if len(statements) != 1:
            raise SqlError(_not_one(len(statements), connection, ways))
        asked = connection.extract_statements(_EXPLAIN.sub("", statement))
        if [each.type for each in asked] != [duckdb.StatementType.SELECT]:
            raise SqlError(_ONLY_READS)
        if _SHOW_TABLES.fullmatch(statement):
            return ["table"], [(name,) for name in _names(connection)]
        result = connection.execute(statements[0])
        return [column[0] for column in result.description or []], result.fetchall()
    except duckdb.CatalogException as error:
        raise SqlError(f"{error}\n{_there(connection, ways)}") from error
    except duckdb.Error as error:
        raise SqlError(str(error)) from error


def _not_one(number: int, connection: duckdb.DuckDBPyConnection, ways: Iterable[tuple[Sequence[str], str]]) -> str:
    if number:
        return f"There are {number} statements, and only one is asked at a time: call lakehouse sql for each."
    return f'No statement was given. As in: lakehouse sql "show tables"\n{_there(connection, ways)}'


def _there(connection: duckdb.DuckDBPyConnection, ways: Iterable[tuple[Sequence[str], str]]) -> str:
    names = _names(connection)
    missing = [(name, way) for key, way in ways if (name := _shown(*_schema_and_name(key))) not in names]
    said = f"There are: {', '.join(names) or 'no tables yet'}"
    return said + "".join(f"\n{name} was not written yet. Next: {way}" for name, way in missing)


def _schema_and_name(key: Sequence[str]) -> tuple[str, str]:
    """A key's parts as a view's: a.b_c of ("a", "b", "c")."""
    schema, *name = key if len(key) > 1 else ("main", *key)
    return schema, "_".join(name)


def _names(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The views, as they are asked for; those of quarantines and ledgers last."""
    found = connection.execute("select schema_name, view_name from duckdb_views() where not internal").fetchall()
    ordered = sorted(found, key=lambda each: (_BESIDE.index(each[0]) if each[0] in _BESIDE else -1, each))
    return [_shown(schema, name) for schema, name in ordered]


def _shown(schema: str, name: str) -> str:
    return name if schema == "main" else f"{schema}.{name}"


def _load(connection: duckdb.DuckDBPyConnection, extension: str) -> None:
    package = import_module(f"duckdb_extension_{extension}")
    found = files(package) / "extensions" / f"v{duckdb.__version__}" / f"{extension}.duckdb_extension"
    connection.load_extension(str(found))


def _view(
    connection: duckdb.DuckDBPyConnection,
    name: tuple[str, str],
    address: Address,
    empty: pl.Schema | None = None,
    *,
    as_of: datetime | None,
) -> bool:
    """The table at an address; without one there a view of no rows with the columns of `empty`, if given, or none."""
    if (handle := Handle.open(address)) is not None:
        where = address.uri if address.is_local else _logged_in(connection, address)
        rows = f"select * from delta_scan({_text(where)}{_then(handle, as_of)}"  # noqa: S608 # quoted
    elif empty is not None:
        columns = (f"cast(null as {_SQL_TYPES[dtype]}) as {_quoted(column)}" for column, dtype in empty.items())
        rows = f"select {', '.join(columns)} where false"
    else:
        return False
    schema, view = map(_quoted, name)
    connection.execute(f"create schema if not exists {schema}")
    connection.execute(f"create view if not exists {schema}.{view} as {rows}")
    return True


def _then(handle: Handle, as_of: datetime | None) -> str:
    """What follows a table's address. Where it cannot be read as it stood, who asks for its rows is told why."""
    if as_of is None:
        return ")"
    try:
        return f", version = {at_version(handle, version_at(handle, as_of)).version})"
    except Refused as why:
        return f") where error({_text(str(why))}) is null"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _logged_in(connection: duckdb.DuckDBPyConnection, address: Address) -> str:
    """The table's address as DuckDB's azure extension wants it, the way in told in a secret that it redacts."""
    _load(connection, "azure")
    # its default knows the certificates of the machine that it was built on
    connection.execute("set azure_transport_option_type = 'curl'")
    where, options = urlsplit(address.uri), address.options
    asked = urlsplit(options["endpoint"])
    if not asked.path:  # each container with a secret of its own
        container = f"{where.scheme}://{where.netloc}"
        named, scope = _quoted(container), f", scope {_text(container)}"
        connection.execute(f"create or replace secret {named} (type azure, {_secret(options)}{scope})")
        return address.uri
    # elsewhere than on Azure: the delta extension does not read BlobEndpoint, and looks for it here
    os.environ["AZURITE_BLOB_STORAGE_URL"] = f"{asked.scheme}://{asked.netloc}"
    connection.execute(f"create or replace secret lake (type azure, {_secret(options)})")
    return f"azure://{where.username}{where.path}"


def _secret(options: Mapping[str, str]) -> str:
    """What Polars and deltalake open an account with, in DuckDB's words."""
    account, endpoint = options["account_name"], options["endpoint"]
    if token := options.get("bearer_token"):
        return f"provider access_token, access_token {_text(token)}, account_name {_text(account)}"
    ways = {"account_key": "AccountKey", "sas_token": "SharedAccessSignature"}
    text = f"AccountName={account};" + "".join(f"{ways[name]}={options[name]};" for name in ways if name in options)
    if urlsplit(endpoint).path:
        text += f"DefaultEndpointsProtocol={urlsplit(endpoint).scheme};BlobEndpoint={endpoint};"
    else:
        text += f"DefaultEndpointsProtocol=https;EndpointSuffix={endpoint.partition('.blob.')[2]};"
    return f"connection_string {_text(text)}"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
