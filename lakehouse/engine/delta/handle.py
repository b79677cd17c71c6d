"""A Delta table at one version. Every commit is a compare-and-swap on the version that its handle holds."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import polars as pl
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import DeltaError
from pyroaring import BitMap

from lakehouse.engine.declare.errors import LakehouseError, Refused
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.readers import Reader
from lakehouse.engine.delta import known as known_tables
from lakehouse.engine.delta import log, place
from lakehouse.engine.delta.commit import NO_HOOKS, Change, Marked, land, let_in, now
from lakehouse.engine.delta.described import Columns, as_delta, meta_data
from lakehouse.engine.delta.foreign import check_change, files_of, gone_of, load
from lakehouse.engine.delta.heal import heal
from lakehouse.engine.delta.log import Commit, Standing, appended, read_commit, standing_at
from lakehouse.engine.delta.place import log_file, root, storage_options
from lakehouse.engine.delta.protocol import DELETION_VECTORS, check_commit, check_new
from lakehouse.engine.delta.refused import Unreachable, Unreadable, in_words, raise_where_refused
from lakehouse.engine.delta.scan import Places, files_in_order, scan_files, scan_older
from lakehouse.engine.delta.statistics import Came, DataFile, Grown, without_gone
from lakehouse.engine.delta.storable import check_columns
from lakehouse.engine.delta.vectors import NO_MARKS, Asks, Mark, Vector, enabling, places_of, vectors_of

CHECKPOINT_EVERY = 10
_CONFIGURATION = {"delta.enableExpiredLogCleanup": "false"}  # `since` reads the log, so no engine may clean it up

_logger = logging.getLogger(__name__)


class Handle:
    """One version of one Delta table. It never moves: a commit gives a new handle.

    `unmeasured`: the columns of which files that are written beside it leave no values in the log. `older`: files that
    may hold narrower types than the table's. `stands_as`: its columns, where `schema` are those it is to be given.
    """

    def __init__(
        self, address: Address, table: DeltaTable, unmeasured: tuple[str, ...] = (), *, version: int | None = None
    ) -> None:
        self.address = address
        self.version = table.version() if version is None else version
        self.unmeasured = unmeasured
        self.readers: tuple[Reader, ...] | None = None  # nobody has said who reads it
        self.identity: object = None
        self._opened = table
        self.tip: Commit | None = None
        self._transactions = dict[str, int | None]()
        self.older = set[str]()
        self.stands_as: pl.Schema | None = None
        self._grown: Grown | None = None

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
            if version is not None:
                raise
            heal(address)
            handle = cls._read(address, None)  # another may have healed it meanwhile
        if version is None and handle is not None:
            known_tables.keep(handle)
        return handle

    @classmethod
    def _read(cls, address: Address, version: int | None) -> Handle | None:
        table = load(address, version)
        return None if table is None else cls(address, table).with_tip()

    @classmethod
    def create(
        cls,
        address: Address,
        schema: Columns,
        *,
        description: str = "",
        partition_by: Sequence[str] = (),
        readers: Sequence[Reader] | None = None,
    ) -> Handle:
        """The new, empty table; when another was first, the table that the other made."""
        address.refuse_a_write()
        check_columns(address, pl.Schema(schema), partition_by)
        check_new(str(address), readers, pl.Schema(schema))
        try:
            created = DeltaTable.create(
                root(address),
                as_delta(schema),
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
        place.make_table_durable(address)
        return cls(address, created).with_tip()

    @property
    def _table(self) -> DeltaTable:
        """This version. What a commit has made is known without it, and so it is opened only where more is asked for.

        Not by `update_incremental`: others may hold the version that would so be moved.
        """
        if self._opened.version() != self.version:
            again = load(self.address, self.version)
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

    @cached_property
    def has_vectors(self) -> bool:
        """Whether rows of its files may be gone by deletion vectors."""
        return DELETION_VECTORS in (self._table.protocol().reader_features or [])

    @cached_property
    def standing(self) -> Standing:  # what the log amounts to, read from the last checkpoint on
        return standing_at(self.address, self.version)

    @cached_property
    def vectors(self) -> Mapping[str, Vector]:
        """The deletion vectors of files, by path."""
        return vectors_of(self.standing.adds) if self.has_vectors else {}

    @cached_property
    def gone(self) -> Mapping[str, BitMap]:
        """The places, in their file, of rows that are no longer of the table; by path."""
        return places_of(self.address, self.vectors)

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
            try:
                self._transactions[app] = (self._opened if is_behind else self._table).transaction_version(app)
            except (DeltaError, OSError):  # its log was cleaned up since, or its token has ended
                self._transactions[app] = self.transactions().get(app)
        return None if (found := self._transactions[app]) == log.NEVER else found

    def ask(self, *apps: str) -> None:
        """Read the log for each of them side by side, as a store far away answers late; `transaction` then knows."""
        if unknown := [app for app in apps if app not in self._transactions]:
            with ThreadPoolExecutor(len(unknown)) as pool:
                deque(pool.map(self.transaction, unknown), maxlen=0)

    def transactions(self) -> dict[str, int]:
        """All at once: asking for one takes a millisecond."""
        return log.transactions_at(self.address, self.version)

    def commit_of(self, version: int) -> Commit:
        """What one version of this table holds. Raises FileNotFoundError when its log is gone or never was."""
        return self.tip if self.tip and version == self.version else read_commit(self.address, version)

    def files(self) -> pl.DataFrame:
        """One row per data file, in commit order.

        Columns: path, logged (the path as the log spells it), size, rows, modified_at, then min.<column>, max.<column>
        and null_count.<column> for every column that was measured, and partition.<column>. `gone`, where a deletion
        vector takes rows away: how many; not in `rows`. Null is unknown. A minimum is a lower bound and a maximum an
        upper one, not always a value that occurs.
        """
        return self._files

    @cached_property
    def _files(self) -> pl.DataFrame:
        if self._grown is not None:
            return files_in_order(self._grown.laid_together(self.schema))
        files = files_of(self.address, self._table, self.schema)
        return files_in_order(without_gone(files, {path: each.rows for path, each in self.vectors.items()}))

    def scan(self) -> pl.LazyFrame:
        """The rows of this version, whatever is committed later; files in commit order, rows as they were written."""
        return self.scan_paths(self._files["path"].to_list())

    def scan_paths(
        self, paths: Sequence[str], *, file: str | None = None, place: str | None = None, gone: Places | None = None
    ) -> pl.LazyFrame:
        """The rows of some of its files, in the order given; `file` and `place` add columns as `scan_files` does.

        `gone`: by path, the places of rows that are left out, instead of those that are gone in this version.
        """
        scan, left_out = scan_files if self.older.isdisjoint(paths) else scan_older, self.gone if gone is None else gone
        return scan(self.address, paths, self.schema, self.partition_by, file=file, place=place, gone=left_out)

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
        gone = [path for path in paths if path not in standing]
        self.older.update(gone)  # they may be of before a column was widened
        self._refuse_missing(gone)
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

    def commit(  # noqa: PLR0913 # all that one version may change
        self,
        added: Sequence[DataFile],
        removed: Iterable[str],
        transactions: Mapping[str, int],
        note: Mapping[str, str],
        *,
        rearranges: bool = False,
        moves: bool = True,
        schema: Columns | None = None,
        by: Sequence[str] | None = None,
        marked: Mapping[str, Mark] = NO_MARKS,
        asks: Asks | None = None,
    ) -> Handle:
        """Commit exactly version + 1, or raise Conflict. No files at all is a version too: it carries transactions.

        removed: paths as `files()` tells them. note: kept with the commit; Delta's own keys (operation, timestamp) are
        taken. `rearranges`: the same rows lie in other files (compaction); `moves`: some that stay may. Without the
        first, a new `schema`, or columns of folders (`by`), come with the files that make the table anew, or put it
        back: all others go. `marked`: files that stay, by path, with all rows gone then. `asks`: protocol and metadata.
        """
        self.address.refuse_a_write()
        at, by = now(), self.partition_by if by is None else tuple(by)
        stands = (self.stands_as or self.schema, self.partition_by)
        reshaped = as_delta(schema) if schema and (pl.Schema(schema), by) != stands else None
        check_commit(self, pl.Schema(reshaped) if reshaped else None)
        gone = gone_of(self, paths := set(removed))
        check_change(self, added, len(gone), rearranges=rearranges, moves=moves, marked=len(marked))
        metadata = meta_data(self._table, reshaped, by) if reshaped else None
        asks = enabling if marked or any(each.vector for each in added) else asks
        protocol, metadata = asks(self.standing, metadata) if asks else (None, metadata)
        marks = [Marked(self.standing.adds[path], mark.vector) for path, mark in marked.items()]
        change = Change(added, gone, transactions, note, at, rearranges, metadata, protocol, marks)
        is_read = reshaped or (asks and not marked) or log.RESTORED in note  # who measured files that are put back?
        came = None if is_read else {file.path: (file, at) for file in added}
        committed: Handle = self._later(self.version + 1, transactions, came, paths)
        committed.identity = land(self, change)
        if marked:
            committed._mark(marked, looks_again=protocol is not None)
        return committed._after_commit()

    def followed_by(self, commits: Sequence[Commit], came: Came, went: set[str]) -> Handle:
        """The version that these commits of rivals made of its files, without a look at anything else."""
        moved = dict(each for commit in commits for each in commit.transactions.items())
        later = self._later(self.version + len(commits), moved, came, went)
        later.tip, later.identity = commits[-1], commits[-1].identity
        return later

    def _later(self, version: int, moved: Mapping[str, int], came: Came | None, went: set[str]) -> Handle:
        later = Handle(self.address, self._opened, version=version)
        later._transactions = {**self._transactions, **moved}
        if came is not None:
            later._carry_on(self, came, went)
        return later

    def _carry_on(self, before: Handle, came: Came, went: set[str]) -> None:
        """What the commit has made of the version before it is known without a look."""
        self.id, self.description = before.id, before.description
        self.schema, self.partition_by, self.has_vectors = before.schema, before.partition_by, before.has_vectors
        kept = before.gone if "gone" in vars(before) or not went.issuperset(before.vectors) else dict[str, BitMap]()
        self.gone = {path: places for path, places in kept.items() if path not in went}
        self._grown = ((None if "_files" in vars(before) else before._grown) or Grown(before._files)).on(came, went)

    def _mark(self, marked: Mapping[str, Mark], *, looks_again: bool) -> None:
        self.has_vectors, self.gone = True, {**self.gone, **{path: mark.places for path, mark in marked.items()}}
        self._files = without_gone(self._files, {path: mark.vector.rows for path, mark in marked.items()})
        self._opened = self._table if looks_again else self._opened

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
            let_in(self.address, self._table).create_checkpoint()
        except (DeltaError, OSError, LakehouseError) as error:
            _logger.warning("%s: no checkpoint at version %d: %s", self.address, self.version, error)
            return
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
        self._transactions.update(commit.transactions)
        return self
