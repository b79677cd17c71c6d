"""One version of a table, put into its log: by us in one request, or by deltalake where a table asks for more.

A version is a file of the log that is there whole or not at all, and that only one writer can make. deltalake looks for
the newest version first and reads the new one afterwards: five answers of the store, one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version as version_of
from typing import NamedTuple
from urllib.parse import quote

import msgspec
import polars as pl
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake import Schema as DeltaSchema
from deltalake.transaction import AddAction, RemoveAction

from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta import store
from lakehouse.engine.delta.log import RESTORED, Action
from lakehouse.engine.delta.place import log_name, root, storage_options
from lakehouse.engine.delta.statistics import DataFile

NO_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
_ENGINE = f"lakehouse:{version_of('lakehouse')}"
SHA256 = "lakehouse.sha256"
"""The tag of a file in the log; other engines pass it on."""
_KEPT = "!$&'()+,/:;=@~"  # as deltalake has it: a file goes by the name it came with


class Gone(NamedTuple):
    """A file that goes: what the log knows of it."""

    path: str
    size: int
    partition: Mapping[str, str | None]


@dataclass(frozen=True)
class Change:
    """What one version changes. `rearranges`: the same rows lie in other files; `note` is kept with the version.

    `metadata`: the action that gives the table another shape.
    """

    added: Sequence[DataFile]
    removed: Sequence[Gone]
    transactions: Mapping[str, int]
    note: Mapping[str, str]
    at: datetime
    rearranges: bool
    metadata: Action | None = None

    @property
    def milliseconds(self) -> int:
        return int(self.at.timestamp() * 1000)


def is_plain(table: DeltaTable) -> bool:
    """Whether a writer of this table need know nothing but how files come and go."""
    protocol, configuration = table.protocol(), table.metadata().configuration
    return (
        (protocol.min_reader_version, protocol.min_writer_version) == (1, 2)
        and configuration.get("delta.appendOnly") != "true"
        and not table.schema().invariants
    )


def put(address: Address, version: int, change: Change) -> None:
    """Commit to a plain table. Raises FileExistsError where another has made that version, else OSError."""
    store.create(address, log_name(version), b"\n".join(map(msgspec.json.encode, _actions(change))))


def put_through_deltalake(address: Address, table: DeltaTable, change: Change, schema: pl.Schema | None) -> None:
    """Commit by deltalake, which knows what features ask for. With `schema` the files that come make the table anew."""
    if address.token:  # it keeps the one that it was opened by, which may have ended since
        table = DeltaTable(root(address), version=table.version(), storage_options=storage_options(address))
    at, changes = change.milliseconds, not change.rearranges
    adds = [
        AddAction(each.path, each.size, dict(each.partition), at, changes, each.statistics) for each in change.added
    ]
    removes = [RemoveAction(each.path, changes, at, each.size, dict(each.partition)) for each in change.removed]
    table.create_write_transaction(
        [*adds, *removes],
        mode="append" if schema is None else "overwrite",
        schema=table.schema() if schema is None else DeltaSchema.from_arrow(schema),
        partition_by=table.metadata().partition_columns,
        commit_properties=CommitProperties(
            custom_metadata=dict(change.note),
            max_commit_retries=0,  # with retries two of 14 pairs of rivals doubled rows
            app_transactions=[Transaction(app, number) for app, number in change.transactions.items()],
        ),
        post_commithook_properties=NO_HOOKS,
    )


def _actions(change: Change) -> Iterator[Action]:
    """As Delta's protocol writes them (PROTOCOL.md, "Actions")."""
    at, changes = change.milliseconds, not change.rearranges
    columns = {name: None for each in (*change.added, *change.removed) for name in each.partition}
    parameters = {
        "mode": "Overwrite" if change.removed else "Append",
        "partitionBy": msgspec.json.encode(list(columns)).decode(),
    }
    operation = "WRITE"
    if (restored := change.note.get(RESTORED)) is not None:
        operation, parameters = "RESTORE", {"version": restored}
    own = {"timestamp": at, "operation": operation, "operationParameters": parameters, "engineInfo": _ENGINE}
    yield {"commitInfo": {**change.note, **own}}
    if change.metadata is not None:
        yield {"metaData": change.metadata}
    for file in change.added:
        yield {
            "add": {
                "path": quote(file.path, safe=_KEPT),
                "partitionValues": file.partition,
                "size": file.size,
                "modificationTime": at,
                "dataChange": changes,
                "stats": file.statistics,
                **({"tags": {SHA256: file.sha256}} if file.sha256 else {}),
            }
        }
    for gone in change.removed:
        yield {
            "remove": {
                "path": quote(gone.path, safe=_KEPT),
                "deletionTimestamp": at,
                "dataChange": changes,
                "extendedFileMetadata": True,
                "partitionValues": gone.partition,
                "size": gone.size,
            }
        }
    for app, number in change.transactions.items():
        yield {"txn": {"appId": app, "version": number}}
