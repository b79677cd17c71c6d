"""A Delta table at one version. Every commit is a compare-and-swap on the version that its handle holds."""

from __future__ import annotations

import logging
import secrets
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from copy import copy
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import polars as pl
from deltalake import CommitProperties, DeltaTable
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from lakehouse.engine.declare.errors import Conflict, LakehouseError, Refused, Terminal, Transient
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta import known as known_tables
from lakehouse.engine.delta import place
from lakehouse.engine.delta.commit import NO_HOOKS, Change, Gone, is_plain, put, put_through_deltalake
from lakehouse.engine.delta.heal import heal
from lakehouse.engine.delta.log import COMMIT_ID, Commit, appended, read_commit, transactions_at
from lakehouse.engine.delta.place import log_file, root, storage_options
from lakehouse.engine.delta.refused import Unreachable, Unreadable, in_words, raise_where_refused
from lakehouse.engine.delta.scan import in_commit_order, scan_files
from lakehouse.engine.delta.statistics import DataFile, added_files, standing_files
from lakehouse.engine.delta.storable import check_partition, check_storable

CHECKPOINT_EVERY = 10
# The log is what `since` reads, so no engine may clean it up.
_CONFIGURATION = {"delta.enableExpiredLogCleanup": "false"}

_logger = logging.getLogger(__name__)


class Handle:
    """One version of one Delta table. It never moves: a commit gives a new handle.

    `unmeasured`: the columns of which files that are written beside it leave no values in the log.
    """

    def __init__(
        self, address: Address, table: DeltaTable, unmeasured: tuple[str, ...] = (), *, version: int | None = None
    ) -> None:
        self.address = address
        self.version = table.version() if version is None else version
        self.unmeasured = unmeasured
        self.identity: object = None
        self._opened = table
        self.tip: Commit | None = None
        self._transactions = dict[str, int | None]()

    def __repr__(self) -> str:
        return f"Handle({self.address}, version={self.version})"

    @classmethod
    def open(cls, address: Address, version: int | None = None) -> Handle | None:
        """The table at its newest version, or at `version`; None when there is no table.

        The newest is looked for anew, and read anew only where it is not the one that this process knows.
        """
        if version is None and (known := known_tables.still_newest(address)) is not None:
            return known
        try:
            handle = cls._read(address, version)
        except Unreadable:
            if version is not None or not heal(address):
                raise
            handle = cls._read(address, None)
        if version is None and handle is not None:
            known_tables.keep(handle)
        return handle

    @classmethod
    def _read(cls, address: Address, version: int | None) -> Handle | None:
        table = _load(address, version)
        return None if table is None else cls(address, table).with_tip()

    @classmethod
    def create(
        cls, address: Address, schema: pl.Schema, *, description: str = "", partition_by: Sequence[str] = ()
    ) -> Handle:
        """The new, empty table; when another was first, the table that the other made."""
        address.refuse_a_write()
        check_storable(schema, str(address))
        check_partition(address, schema, partition_by)
        try:
            created = DeltaTable.create(
                root(address),
                DeltaSchema.from_arrow(schema),
                mode="error",
                partition_by=list(partition_by),
                description=description or None,
                configuration=_CONFIGURATION,
                # With retries two creators both succeed: the second as version 1, with another table id.
                commit_properties=CommitProperties(max_commit_retries=0),
                storage_options=storage_options(address),
                post_commithook_properties=NO_HOOKS,
            )
        except (DeltaError, OSError) as error:
            if (standing := cls.open(address)) is not None:
                return standing
            raise_where_refused(address, error)
            raise Unreachable(f"{address} could not be created: {in_words(error)}. Try again.") from error
        if address.is_local:
            place.make_table_durable(address)
        return cls(address, created).with_tip()

    @property
    def _table(self) -> DeltaTable:
        """This version. What a commit has made is known without it, and so it is opened only where more is asked for.

        Not by `update_incremental`: others may hold the version that would so be moved.
        """
        if self._opened.version() != self.version:
            again = _load(self.address, self.version)
            if again is None:
                raise Unreachable(f"{self.address}: version {self.version} was there, and the table is gone since.")
            self._opened = again
        return self._opened

    def newest_version(self) -> int:
        """That the table stands at now. Costs a listing."""
        raw: Any = self._opened._table  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] # else it would be moved
        return int(raw.get_latest_version())

    def leaving_out(self, unmeasured: tuple[str, ...]) -> Handle:
        """The same version; what is written beside it leaves no values of these columns in the log."""
        if not unmeasured:
            return self
        same = copy(self)
        same.unmeasured = unmeasured
        return same

    @cached_property
    def id(self) -> str:
        """The id that the table was created with: another table at the same place has another."""
        return str(self._table.metadata().id)

    @cached_property
    def description(self) -> str:
        return self._table.metadata().description or ""

    @cached_property
    def schema(self) -> pl.Schema:
        return pl.Schema(self._table.schema())

    @cached_property
    def partition_by(self) -> tuple[str, ...]:
        return tuple(self._table.metadata().partition_columns)

    @property
    def protocol(self) -> tuple[int, int]:
        """The least reader and writer version that the table asks for."""
        versions = self._table.protocol()
        return versions.min_reader_version, versions.min_writer_version

    @property
    def rows(self) -> int:
        return self.rows_of(self._files["path"].to_list())

    @property
    def bytes(self) -> int:
        return int(self._files["size"].sum())

    @cached_property
    def updated_at(self) -> datetime:
        """When this version was committed (UTC)."""
        # Not DeltaTable.history: it comes back empty where the folder's name holds a '#' or a '?'.
        return datetime.fromtimestamp(self.commit_of(self.version).info["timestamp"] / 1000, UTC)

    def transaction(self, app: str) -> int | None:
        """The version that `app` last committed with, None when it never did."""
        if app not in self._transactions:  # deltalake reads the log for every answer
            is_behind = self._opened.version() <= self.version  # by commits of ours, of which each transaction is kept
            self._transactions[app] = (self._opened if is_behind else self._table).transaction_version(app)
        return self._transactions[app]

    def ask(self, *apps: str) -> None:
        """Read the log for each of them side by side, as a store far away answers late; `transaction` then knows."""
        unknown = [app for app in apps if app not in self._transactions]
        if unknown:
            with ThreadPoolExecutor(len(unknown)) as pool:
                deque(pool.map(self.transaction, unknown), maxlen=0)

    def transactions(self) -> dict[str, int]:
        """All at once: asking for one takes a millisecond."""
        return transactions_at(self.address, self.version)

    def commit_of(self, version: int) -> Commit:
        """What one version of this table holds. Raises FileNotFoundError when its log is gone or never was."""
        return self.tip if self.tip and version == self.version else read_commit(self.address, version)

    def files(self) -> pl.DataFrame:
        """One row per data file, in commit order.

        Columns: path, size, rows, modified_at, then min.<column>, max.<column> and null_count.<column> for every
        column that was measured, and partition.<column>.

        Null is unknown. A minimum is a lower bound and a maximum an upper one, not always a value that occurs.
        """
        return self._files

    @cached_property
    def _files(self) -> pl.DataFrame:
        return _in_commit_order(standing_files(pl.DataFrame(self._table.get_add_actions()), self.schema))

    def scan(self) -> pl.LazyFrame:
        """The rows of this version, whatever is committed later; files in commit order, rows as they were written."""
        return self.scan_paths(self._files["path"].to_list())

    def scan_paths(self, paths: Sequence[str], *, file: str | None = None) -> pl.LazyFrame:
        """The rows of some of the table's files, in the order given; `file` adds a column with the full path."""
        return scan_files(self.address, paths, self.schema, self.partition_by, file=file)

    def appended(self, position: int) -> list[str]:
        """The files that the versions (position, self.version] appended, in commit, then file order.

        Refused when that cannot be told: rows were taken away in between, a log or a compacted file is gone, or
        `position` lies ahead of the table.
        """
        if position > self.version:
            raise Refused(
                f"{self.address} stands at version {self.version}, and was read up to version {position}: it was "
                "restored or made anew. Nothing was read."
            )
        paths = appended(self.address, position, self.version, self.tip)
        standing = set(self._files["path"])
        self._refuse_missing([path for path in paths if path not in standing])
        return paths

    def since(self, position: int) -> pl.LazyFrame:
        """The rows of those files, in their order."""
        return self.scan_paths(self.appended(position))

    def rows_of(self, paths: Sequence[str]) -> int:
        """How many rows these files hold, from the log; counted in them where it does not say."""
        counts = self._files.filter(pl.col("path").is_in(paths))["rows"]
        if counts.len() == len(paths) and counts.null_count() == 0:
            return int(counts.sum())
        return int(self.scan_paths(paths).select(pl.len()).collect().item())

    def commit(
        self,
        added: Sequence[DataFile],
        removed: Iterable[str],
        transactions: Mapping[str, int],
        note: Mapping[str, str],
        *,
        rearranges: bool = False,
        schema: pl.Schema | None = None,
    ) -> Handle:
        """Commit exactly version + 1, or raise Conflict. No files at all is a version too: it carries transactions.

        removed: paths as `files()` tells them. note: kept with the commit; Delta's own keys (operation, timestamp,
        engineInfo) are taken. `rearranges` says that the same rows lie in other files (compaction). A new `schema`
        comes with the files that make the table anew; all others go, whatever `removed` says.
        """
        self.address.refuse_a_write()
        identity, now = secrets.token_hex(8), _now()
        reshapes = schema is not None and schema != self.schema
        paths = set[str]() if reshapes else set(removed)  # overwrite finds them itself
        gone = self._gone(paths)
        change = Change(added, gone, transactions, {**note, COMMIT_ID: identity}, now, rearranges=rearranges)
        try:
            if reshapes or self.identity is None or not is_plain(self._opened):
                put_through_deltalake(self.address, self._table, change, schema if reshapes else None)
            else:
                self._refuse_another_table()
                put(self.address, self.version + 1, change)
        except (DeltaError, OSError) as error:
            self._raise_unless_landed(identity, error)
        committed = Handle(self.address, self._opened, version=self.version + 1)
        committed.identity, committed._transactions = identity, {**self._transactions, **transactions}
        if not reshapes:
            committed._carry_on(self, added_files(added, now, self.schema), paths)
        return committed._after_commit()

    def _refuse_another_table(self) -> None:
        """No version is put on top of a table that was made anew at this place meanwhile, or where none is left."""
        with suppress(FileNotFoundError):
            if read_commit(self.address, self.version).identity == self.identity:
                return
        raise Conflict(
            f"{self.address} was removed or made anew since its version {self.version} was read; nothing was "
            "committed. Run again."
        )

    def _gone(self, paths: set[str]) -> list[Gone]:
        if strangers := paths.difference(self._files["path"]):
            raise Refused(
                f"{self.address}: version {self.version} holds no file {min(strangers)}; nothing was removed."
            )
        partition = [f"partition.{name}" for name in self.partition_by]
        told = self._files.filter(pl.col("path").is_in(paths)).select("path", "size", pl.col(partition).cast(pl.String))
        return [
            Gone(path, size, dict(zip(self.partition_by, values, strict=True))) for path, size, *values in told.rows()
        ]

    def _raise_unless_landed(self, identity: str, error: Exception) -> None:
        """An error is no proof of "not committed": a lost answer to the PUT is repeated, and conflicts with itself."""
        version = self.version + 1
        try:
            commit = read_commit(self.address, version)
        except FileNotFoundError:
            raise_where_refused(self.address, error)
            kind = Transient if isinstance(error, CommitFailedError | OSError) else Terminal
            raise kind(
                f"{self.address}: version {version} was not committed: {error}. Version {self.version} stands."
            ) from error
        except (OSError, LakehouseError, ValueError) as unknown:  # a torn one is no JSON
            raise Unreachable(
                f"{self.address}: whether version {version} was committed is not known: {unknown}. Open it to see."
            ) from error
        if commit.info.get(COMMIT_ID) != identity:
            raise Conflict(
                f"{self.address}: another writer committed version {version} first; nothing of ours was committed. "
                "Open it again, read again, decide."
            ) from error

    def _carry_on(self, before: Handle, came: pl.DataFrame, went: set[str]) -> None:
        """What the commit has made of the version before it is known without a look."""
        self.id, self.description, self.schema, self.partition_by = (
            before.id, before.description, before.schema, before.partition_by
        )  # fmt: skip
        stay = before._files.filter(~pl.col("path").is_in(went))
        self._files = _in_commit_order(pl.concat([stay, came], how="diagonal_relaxed")) if came.height else stay

    def _after_commit(self) -> Handle:
        if self.address.is_local:
            place.make_durable([log_file(self.address, self.version)])
        if self.version % CHECKPOINT_EVERY == 0:
            self.checkpoint()
        known_tables.keep(self)
        return self

    def checkpoint(self) -> None:
        """Sum up the log, so that opening stays cheap. It only helps: failing, it is told and left."""
        try:
            self._table.create_checkpoint()
        except (DeltaError, OSError, LakehouseError) as error:
            _logger.warning("%s: no checkpoint at version %d: %s", self.address, self.version, error)
            return
        if self.address.is_local:
            place.make_checkpoint_durable(self.address, self.version)

    def _refuse_missing(self, paths: Sequence[str]) -> None:
        """Files that a compaction took out of the table are read as long as they lie there."""
        for path in paths:
            try:
                self.scan_paths([path]).select(pl.len()).collect()
            except FileNotFoundError as gone:
                raise Refused(
                    f"{self.address}: the appended file {path} was compacted and cleaned away before it was read. "
                    "Nothing was read."
                ) from gone

    def with_tip(self) -> Handle:
        """A power cut can leave a commit of no bytes, which deltalake takes for an empty one: its rows are lost."""
        try:
            commit = read_commit(self.address, self.version)
        except FileNotFoundError:
            return self  # a checkpoint stands for it
        if not commit.actions:
            raise Unreadable(
                f"{self.address}: the log of version {self.version} is empty, as a power cut leaves it; its rows are "
                f"not in the table. Remove {log_file(self.address, self.version)} and run again."
            )
        self.tip, self.identity = commit, commit.identity
        self._transactions = {txn["appId"]: txn["version"] for txn in commit.of("txn")}
        return self


def _in_commit_order(files: pl.DataFrame) -> pl.DataFrame:
    order = {path: place for place, path in enumerate(in_commit_order(files["path"].to_list()))}
    return files.sort(pl.col("path").replace_strict(order, return_dtype=pl.Int64))


def _now() -> datetime:
    """As exactly as Delta keeps it."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _load(address: Address, version: int | None) -> DeltaTable | None:
    """None when there is no table."""
    try:
        return DeltaTable(root(address), version=version, storage_options=storage_options(address))
    except TableNotFoundError:
        return None
    except OSError as error:
        raise_where_refused(address, error)
        raise Unreachable(f"{address} could not be opened: {in_words(error)}. Try again.") from error
    except DeltaError as error:
        raise Unreadable(f"{address} is no Delta table that can be read: {error}") from error
