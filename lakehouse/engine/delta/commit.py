"""One version of a table, put into its log in one request.

A version is a file of the log that is there whole or not at all, and that only one writer can make. deltalake looks for
the newest version first and reads the new one afterwards: five answers of the store, one after the other. Where that
version's own file was cleaned away, and only a checkpoint stands for it, it does not commit at all (1.6.6).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

import msgspec
from deltalake import DeltaTable, PostCommitHookProperties
from deltalake.exceptions import CommitFailedError, DeltaError

from lakehouse.engine.declare.errors import Conflict, LakehouseError, Terminal, Transient
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta import store
from lakehouse.engine.delta.checkpoints import Checkpoints
from lakehouse.engine.delta.log import COMMIT_ID, RESTORED, Action, as_logged, read_commit
from lakehouse.engine.delta.place import log_name, root, storage_options
from lakehouse.engine.delta.refused import Unreachable, raise_where_refused
from lakehouse.engine.delta.statistics import DataFile
from lakehouse.engine.delta.vectors import Vector

if TYPE_CHECKING:
    from lakehouse.engine.delta.handle import Handle

NO_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
_ENGINE = f"lakehouse:{version_of('lakehouse')}"
SHA256 = "lakehouse.sha256"
"""The tag of a file in the log; other engines pass it on."""


_EXACT = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)  # all digits
_AS_NUMBERS = msgspec.json.Encoder(decimal_format="number")


def now() -> datetime:
    """As exactly as Delta keeps it."""
    at = datetime.now(UTC)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


class Gone(NamedTuple):
    """A file that goes: what the log knows of it. `logged` is its path, letter by letter as the log has it."""

    path: str
    logged: str
    size: int
    partition: Mapping[str, str | None]
    vector: Vector | None = None


class Marked(NamedTuple):
    """A file that stays with fewer rows: its add as the log has it, and the vector that it has from now on."""

    add: Action
    vector: Vector


@dataclass(frozen=True)
class Change:
    """What one version changes. `rearranges`: the same rows lie in other files; `note` is kept with the version.

    `metadata`: the action that gives the table other columns, `protocol` the one that asks more of its readers.
    `unmeasured`: columns of which no value goes into the log, not even of files that were measured before.
    """

    added: Sequence[DataFile]
    removed: Sequence[Gone]
    transactions: Mapping[str, int]
    note: Mapping[str, str]
    at: datetime
    rearranges: bool
    metadata: Action | None = None
    protocol: Action | None = None
    marked: Sequence[Marked] = ()
    unmeasured: Sequence[str] = ()

    @property
    def milliseconds(self) -> int:
        return int(self.at.timestamp() * 1000)


def land(base: Handle, change: Change) -> str:
    """Commit exactly the next version, or raise Conflict. Gives the mark that it goes by."""
    identity, version = secrets.token_hex(8), base.version + 1
    change = replace(change, note={**change.note, COMMIT_ID: identity}, unmeasured=base.unmeasured)
    try:
        _refuse_another_table(base)
        put(base.address, version, change)
    except (DeltaError, OSError) as error:
        _raise_unless_landed(base.address, version, identity, error)
    return identity


def put(address: Address, version: int, change: Change) -> None:
    """Commit files that come and go: nothing else is asked of a writer here (foreign.py).

    Raises FileExistsError where another has made that version, Terminal where the store lets us not in, else OSError.
    """
    try:
        store.create(address, log_name(version), b"\n".join(map(msgspec.json.encode, _actions(change))))
    except Terminal as refused:
        raise Terminal(f"{refused} Nothing was committed; version {version - 1} of {address} stands.") from refused


def let_in(address: Address, table: DeltaTable) -> DeltaTable:
    """The same version, by a token as of now: it keeps the one that it was opened by, which may have ended since."""
    if not address.token:
        return table
    return DeltaTable(root(address), version=table.version(), storage_options=storage_options(address))


def _actions(change: Change) -> Iterator[Action]:
    """As Delta's protocol writes them (PROTOCOL.md, "Actions")."""
    at, changes = change.milliseconds, not change.rearranges
    columns = {name: None for each in (*change.added, *change.removed) for name in each.partition}
    parameters = {
        "mode": "Overwrite" if change.removed or change.marked else "Append",
        "partitionBy": msgspec.json.encode(list(columns)).decode(),
    }
    operation = "WRITE"
    if (restored := change.note.get(RESTORED)) is not None:
        operation, parameters = "RESTORE", {"version": restored}
    own = {"timestamp": at, "operation": operation, "operationParameters": parameters, "engineInfo": _ENGINE}
    yield {"commitInfo": {**change.note, **own}}
    if change.protocol is not None:
        yield {"protocol": change.protocol}
    if change.metadata is not None:
        yield {"metaData": change.metadata}
    for file in change.added:
        yield {
            "add": {
                "path": as_logged(file.path),
                "partitionValues": file.partition,
                "size": file.size,
                "modificationTime": at,
                "dataChange": changes,
                "stats": _without_values(file.statistics, change.unmeasured),
                **({"tags": {SHA256: file.sha256}} if file.sha256 else {}),
                **({"deletionVector": file.vector.action} if file.vector else {}),
            }
        }
    for gone in change.removed:
        yield {"remove": _remove(gone, at, changes=changes)}
    for add, vector in change.marked:
        was = Gone(unquote(add["path"]), add["path"], add["size"], add["partitionValues"], Vector.of(add))
        yield {"remove": _remove(was, at, changes=changes)}
        bounds = _without_values(add["stats"], change.unmeasured, tightBounds=False)  # they need not occur any more
        yield {"add": {**add, "deletionVector": vector.action, "dataChange": changes, "stats": bounds}}
    for app, number in change.transactions.items():
        yield {"txn": {"appId": app, "version": number}}


def _without_values(statistics: str, unmeasured: Sequence[str], **more: bool) -> str:
    """Delta's statistics JSON without the ends of these columns; how many nulls they have stays."""
    if not (unmeasured or more):
        return statistics
    told = _EXACT.decode(statistics)
    for ends in (told[kind] for kind in ("minValues", "maxValues") if kind in told):
        for name in unmeasured:
            ends.pop(name, None)
    return _AS_NUMBERS.encode({**told, **more}).decode()


def _remove(gone: Gone, at: int, *, changes: bool) -> Action:
    return {
        "path": gone.logged,
        "deletionTimestamp": at,
        "dataChange": changes,
        "extendedFileMetadata": True,
        "partitionValues": gone.partition,
        "size": gone.size,
        **({"deletionVector": gone.vector.action} if gone.vector else {}),
    }


def _refuse_another_table(base: Handle) -> None:
    """No version is put on top of a table that was made anew at this place meanwhile, or where none is left."""
    if _stands(base):
        return
    raise Conflict(
        f"{base.address} was removed or made anew since its version {base.version} was read; nothing was committed. "
        "Run again."
    )


def _stands(base: Handle) -> bool:
    try:
        return read_commit(base.address, base.version).identity == base.identity
    except FileNotFoundError:
        if base.identity is not None or (there := Checkpoints(base.address)).up_to(base.version) != base.version:
            return False
        return any(each["id"] == base.id for each in there.actions(base.version, "metaData"))


def _raise_unless_landed(address: Address, version: int, identity: str, error: Exception) -> None:
    """An error is no proof of "not committed": a lost answer to the PUT is repeated, and conflicts with itself."""
    try:
        commit = read_commit(address, version)
    except FileNotFoundError:
        raise_where_refused(address, error)
        kind = Transient if isinstance(error, CommitFailedError | OSError) else Terminal
        raise kind(f"{address}: version {version} was not committed: {error}. Version {version - 1} stands.") from error
    except (OSError, LakehouseError, ValueError) as unknown:  # a torn one is no JSON
        raise Unreachable(
            f"{address}: whether version {version} was committed is not known: {unknown}. Open it to see."
        ) from error
    if commit.info.get(COMMIT_ID) != identity:
        raise Conflict(
            f"{address}: another writer committed version {version} first; nothing of ours was committed. "
            "Open it again, read again, decide."
        ) from error
