"""Tables that somebody else wrote: what we read of them is right, and what we commit leaves them right, or is refused.

Every refusal names Delta's feature, or the column, that is in the way. A protocol that only lists a feature is no
reason: what counts is whether the table makes use of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

import msgspec
import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.number import number
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta.commit import Gone
from lakehouse.engine.delta.place import NO_VALUE, root, storage_options
from lakehouse.engine.delta.protocol import COLUMN_MAPPING, DELETION_VECTORS, TIMESTAMP_NTZ, table_of
from lakehouse.engine.delta.refused import Unreachable, Unreadable, in_words, raise_where_refused
from lakehouse.engine.delta.statistics import standing_files
from lakehouse.engine.delta.storable import check_partition

if TYPE_CHECKING:
    from lakehouse.engine.delta.handle import Handle
    from lakehouse.engine.delta.statistics import DataFile

_VARIANT = {"variantType", "variantType-preview", "variantShredding-preview"}
_WIDENING = {"typeWidening", "typeWidening-preview"}
# Those that change what a file or a log means are looked for where they are used, by `_unread` and `files_of`.
_READ = {COLUMN_MAPPING, DELETION_VECTORS, TIMESTAMP_NTZ, "v2Checkpoint", "vacuumProtocolCheck", *_VARIANT, *_WIDENING}
# Those of which a writer must know something are looked for where they are used, by `_unwritten` and `check_change`.
_WRITTEN = _READ | {
    "allowColumnDefaults", "appendOnly", "changeDataFeed", "checkConstraints", "checkpointProtection",
    "generatedColumns", "identityColumns", "invariants",
}  # fmt: skip

_TRIED_AGAIN = ", max_retries: "
"""So a store's silence is told, also of a checkpoint, of which deltalake does not say whose fault it is."""
_UNKNOWN = re.compile(r"Unsupported Delta table type: '(?P<type>[^']+)'|Feature '(?P<feature>[^']+)' is not")
_WIDENED_BY_POLARS = {"byte", "short", "integer", "long"}, {"float", "double"}
_OF_A_COLUMN = {
    "delta.generationExpression": "generated columns",
    "delta.identity.start": "identity columns",
    "delta.invariants": "column invariants",
}


class Column(NamedTuple):
    """One field of a table's schema, as deep as it lies: Delta's name of its type, and what is said beside it.

    names: of the structs that it lies in, and its own; none within a list or a map, of which a row has many.
    """

    path: str
    type: Any
    nullable: bool
    metadata: Mapping[str, Any]
    names: tuple[str, ...] = ()


def readable(address: Address, table: DeltaTable) -> DeltaTable:
    """The same table. Raises Unreadable where our way of reading would make something else of it."""
    protocol = table.protocol()
    if protocol.min_reader_version > 1:
        for feature, why in _unread(table, protocol.reader_features or []):
            raise Unreadable(
                f"{address} has Delta's reader feature {feature} ({why}), which is not read here: nothing was. Read it "
                "with DuckDB or Spark, or have its writer take the feature away (in Spark: alter table "
                f"delta.`{address}` drop feature {feature})."
            )
    return table


def load(address: Address, version: int | None) -> DeltaTable | None:
    """None when there is no table."""
    try:
        return readable(address, DeltaTable(root(address), version=version, storage_options=storage_options(address)))
    except TableNotFoundError:
        return None
    except BaseException as error:
        is_panic = type(error).__name__ == "PanicException"  # Rust's, of a damaged checkpoint; it is not exported
        if not is_panic and not isinstance(error, (OSError, DeltaError)):
            raise
        raise_where_refused(address, error)
        if found := _UNKNOWN.search(str(error)):
            what = f"a column of type {found['type']}" if found["type"] else f"Delta's feature {found['feature']}"
            raise Unreadable(
                f"{address} has {what}, which is not known here: nothing was read. Read it with the engine that wrote "
                "it, or have that taken away there."
            ) from error
        if is_panic or (isinstance(error, DeltaError) and _TRIED_AGAIN not in str(error)):
            raise Unreadable(
                f"{address} is no Delta table that can be read: {in_words(error)}. Put its log back as it was, or see "
                f"what mends it: lakehouse table check {address.key}"
            ) from error
        raise Unreachable(f"{address} could not be opened: {in_words(error)}. Try again.") from error


def files_of(address: Address, table: DeltaTable, schema: pl.Schema) -> pl.DataFrame:
    """The files that stand, as `standing_files` has them. Raises Unreadable where one is not as it seems."""
    files = standing_files(_data_files(address, table), schema)
    for name in table.metadata().partition_columns:
        _check_folders(address, files, name, schema[name])
    return files


def _data_files(address: Address, table: DeltaTable) -> pl.DataFrame:
    """The add actions of the table, as deltalake tells them."""
    actions = pl.DataFrame(table.get_add_actions())
    away = actions.filter(pl.col("path").str.contains(r"^(/|[A-Za-z][A-Za-z0-9+.-]*:)"))
    if away.height:
        raise Unreadable(
            f"{address} holds {number(away.height, 'file')} of another folder ({away['path'][0]}), as a shallow clone "
            "does: nothing was read. Read the table that it was cloned from, or have it cloned deep."
        )
    folders = len(table.metadata().partition_columns)
    odd = actions.filter(~pl.col("path").str.contains(f"^(?:[^/=]+=[^/]*/){{{folders}}}[^/]*$")) if folders else away
    if odd.height:
        raise Unreadable(
            f"{address} is partitioned, and {number(odd.height, 'file')} ({odd['path'][0]}) not in folders that say "
            "by which values (delta.randomizeFilePrefixes): nothing was read. Have its writer turn that off and write "
            "the table anew."
        )
    return actions


def _check_folders(address: Address, files: pl.DataFrame, name: str, dtype: pl.DataType) -> None:
    """Refuse folders, by which Polars tells the value of the column, that say another one than the log."""
    folder = pl.col("path").str.extract(rf"(?:^|/){re.escape(name)}=([^/]*)/")
    told = files.select("path", value=f"partition.{name}", folder=folder).unique(["value", "folder"])
    held = pl.Series([None if each in (None, NO_VALUE) else unquote(each) for each in told["folder"]], dtype=pl.String)
    is_other = pl.col("folder").is_null() | pl.col("value").ne_missing(_as_polars_reads(held, dtype))
    if (other := told.filter(is_other).sort("path")).height:
        raise Unreadable(
            f"{address} is partitioned by {name} ({dtype}), and of {number(other.height, 'partition')} the folder "
            f"says otherwise than the log ({other['path'][0]}: {other['value'][0]}), as Spark does with timestamps "
            "where its session is not in UTC: nothing was read. Read it with DuckDB or Spark, or have it written anew "
            "there: by a column of another type, or with spark.sql.session.timeZone=UTC."
        )


def _as_polars_reads(texts: pl.Series, dtype: pl.DataType) -> pl.Series:
    """The values that it takes these texts for; null where one is none."""
    if isinstance(dtype, pl.String):
        return texts
    if isinstance(dtype, pl.Binary):
        return pl.Series([None] * len(texts), dtype=dtype)
    lines = texts.fill_null("").to_frame("value").write_csv(include_header=False, quote_style="always").encode()
    return pl.read_csv(lines, has_header=False, schema={"value": dtype}, ignore_errors=True)["value"]


def check_writable(handle: Handle) -> None:
    """Refuse to write to a table that asks more of a writer than to add and to remove files, before anything is."""
    for feature, why in _unwritten(table_of(handle)):
        raise Refused(
            f"{handle.address} has {feature} ({why}), which our writer would not keep. Nothing was written; version "
            f"{handle.version} stands. Have it written by the engine that made it, or the feature taken away there."
        )
    check_partition(handle.address, handle.schema, handle.partition_by)


def check_change(
    handle: Handle, added: Sequence[DataFile], removed: int, *, rearranges: bool, moves: bool = True, marked: int = 0
) -> None:
    """Refuse a commit that the table's own rules forbid: `removed` files go, `marked` lose rows, and `added` come.

    moves: whether a row of those that go may be in those that come.
    """
    check_writable(handle)
    table = table_of(handle)
    configuration = table.metadata().configuration
    asks = {name for name, value in configuration.items() if str(value).lower() == "true"}
    stands = f"Nothing was committed; version {handle.version} stands."
    if (removed or marked) and not rearranges and "delta.appendOnly" in asks:
        lost = f"{number(removed, 'file')} would go" if removed else f"{number(marked, 'file')} would lose rows"
        raise Refused(
            f"{handle.address} is append-only (delta.appendOnly), and {lost}. {stands} "
            "Append to it, or have its owner take the property away."
        )
    if added and removed and moves and not rearranges and "delta.enableChangeDataFeed" in asks:
        raise Refused(
            f"{handle.address} keeps a change data feed (delta.enableChangeDataFeed), in which rows that only move to "
            f"another file would count as changed. {stands} Append to it, write it whole, or have its owner turn the "
            "feed off."
        )
    for column in () if rearranges else _columns(table):
        if not column.nullable and (nulls := _nulls(handle, column, added)):
            raise Refused(
                f"{handle.address}: column {column.path} is NOT NULL, and {nulls}. {stands} Filter such rows, or have "
                "the column made nullable."
            )


def _nulls(handle: Handle, column: Column, added: Sequence[DataFile]) -> str:
    """What is known of the nulls of these files in a column that must have none; empty where there are none."""
    if column.path in {name for each in added for name in each.partition}:
        nulls = sum(each.rows for each in added if each.partition[column.path] is None)
        return f"it is null in {number(nulls, 'row')}" if nulls else ""
    counts = [msgspec.json.decode(each.statistics)["nullCount"].get(column.path) for each in added]
    if None in counts:
        if not column.names:
            return "whether it holds a null is not counted, as it is in a list or a map"
        rows = handle.scan_paths([each.path for each in added], gone={})
        counts = [rows.select(_is_null(*column.names).sum()).collect().item()]
    return f"it is null in {number(sum(counts), 'row')}" if sum(counts) else ""


def _is_null(name: str, *deeper: str) -> pl.Expr:
    """Whether a row that has the struct in which a column lies has none of it."""
    value, is_there = pl.col(name), pl.lit(value=True)
    for each in deeper:
        value, is_there = value.struct.field(each), value.is_not_null()
    return value.is_null() & is_there


def _unread(table: DeltaTable, features: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each reader feature that the table makes use of and our scan does not know, with what makes use of it."""
    for feature in features:
        if feature not in _READ:
            yield feature, "its protocol lists it"
    mode = table.metadata().configuration.get("delta.columnMapping.mode", "none")
    if mode != "none":
        yield COLUMN_MAPPING, f"its property delta.columnMapping.mode is {mode}"
    for column in _columns(table):
        if column.type == "variant":
            yield next((each for each in features if each in _VARIANT), "variantType"), f"its column {column.path}"
        for change in column.metadata.get("delta.typeChanges", []):
            old, new = change["fromType"], change["toType"]
            if not any({old, new} <= kind for kind in _WIDENED_BY_POLARS):
                feature = next((each for each in features if each in _WIDENING), "typeWidening")
                yield feature, f"its column {column.path} was {old} and is {new}"


def _unwritten(table: DeltaTable) -> Iterator[tuple[str, str]]:
    """Each thing that a writer of the table must do and ours does not, with what asks for it."""
    for feature in table.protocol().writer_features or []:
        if feature not in _WRITTEN:
            yield f"Delta's writer feature {feature}", "its protocol lists it"
    for name, rule in table.metadata().configuration.items():
        if name.startswith("delta.constraints."):
            yield f"the CHECK constraint {name.removeprefix('delta.constraints.')}", str(rule)
    for column in _columns(table):
        for key, feature in _OF_A_COLUMN.items():
            if key in column.metadata:
                yield feature, f"column {column.path}"


def _columns(table: DeltaTable) -> Iterator[Column]:
    fields: list[Any] = msgspec.json.decode(table.schema().to_json())["fields"]
    return (column for each in fields for column in _in_field("", each, (each["name"],)))


def _in_field(prefix: str, field: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[Column]:
    path, kind = prefix + field["name"], field["type"]
    yield Column(path, kind, field["nullable"], field["metadata"], names)
    yield from _in_type(path, kind, names)


def _in_type(path: str, kind: Any, names: tuple[str, ...] = ()) -> Iterator[Column]:
    """The columns within one that is nested."""
    match kind:
        case {"type": "struct", "fields": fields}:
            for each in fields:
                yield from _in_field(f"{path}.", each, (*names, each["name"]) if names else ())
        case {"type": "array", "elementType": element, "containsNull": nullable}:
            yield Column(f"{path}[]", element, nullable, {})
            yield from _in_type(f"{path}[]", element)
        case {"type": "map", "keyType": key, "valueType": value, "valueContainsNull": nullable}:
            yield Column(f"{path}{{}}", value, nullable, {})
            yield from _in_type(f"{path}{{}}", value)
            yield from _in_type(f"{path}{{key}}", key)
        case _:
            return


def gone_of(handle: Handle, paths: set[str]) -> list[Gone]:
    """What the log knows of these files of a version, which are to go. Refused where it has no such file."""
    if not paths:
        return []
    files = handle.files()
    if strangers := paths.difference(files["path"]):
        raise Refused(
            f"{handle.address}: version {handle.version} holds no file {min(strangers)}; nothing was removed."
        )
    partition = [f"partition.{name}" for name in handle.partition_by]
    told = files.filter(pl.col("path").is_in(paths)).select("path", "logged", "size", pl.col(partition).cast(pl.String))
    return [
        Gone(path, logged, size, dict(zip(handle.partition_by, values, strict=True)), handle.vectors.get(path))
        for path, logged, size, *values in told.rows()
    ]
