"""The ways a table is written: new data files first, then one commit that adds and removes files.

Every way has a `prepare_…`, which writes files that nobody sees, and a commit. Between the two the caller may do what
must come first; when the commit meets a Conflict, the files are orphans that harm nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from lakehouse.engine.declare.errors import Conflict, Refused
from lakehouse.engine.delta.files import write_files
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.place import full
from lakehouse.engine.delta.protocol import check_new
from lakehouse.engine.delta.pruning import may_hold, within
from lakehouse.engine.delta.slices import Slices
from lakehouse.engine.delta.statistics import DataFile
from lakehouse.engine.delta.storable import check_same

# A slice is planned again on every version that a rival took: Delta's own compare-and-swap loop. With as many
# rivals as this each of them has lost at most once to each other.
SLICE_ATTEMPTS = 20

type Rows = pl.DataFrame | pl.LazyFrame
"""What is in memory is not read back to be measured."""

# Holds a space, so that no column of a table can have this name (check_storable).
_FILE = "data file"


@dataclass(frozen=True)
class Written:
    """What one commit did. `rows` and `bytes` are the table's, `rows_written` those of the frame that was given."""

    handle: Handle
    version: int
    rows: int
    rows_written: int
    files_added: int
    files_removed: int
    bytes: int
    bytes_written: int


@dataclass(frozen=True)
class Prepared:
    """Data files that lie beside the table, and what they take the place of; nothing until it is committed."""

    handle: Handle
    added: tuple[DataFile, ...]
    removed: tuple[str, ...]
    rows_written: int
    schema: pl.Schema | None = None

    def commit(self, transactions: Mapping[str, int], note: Mapping[str, str]) -> Written:
        """One version, exactly the next one of `handle`; else Conflict."""
        handle = self.handle.commit(self.added, self.removed, transactions, note, schema=self.schema)
        stay = self.handle.files().filter(~pl.col("path").is_in(self.removed))
        is_counted = stay["rows"].null_count() == 0
        bytes_written = sum(file.size for file in self.added)
        return Written(
            handle=handle,
            version=handle.version,
            # told without a look at what was committed: it is exactly this
            rows=int(stay["rows"].sum()) + _rows(self.added) if is_counted else handle.rows,
            rows_written=self.rows_written,
            files_added=len(self.added),
            files_removed=len(self.removed),
            bytes=int(stay["size"].sum()) + bytes_written,
            bytes_written=bytes_written,
        )


def prepare_append(handle: Handle, rows: Rows, written: Sequence[DataFile] = ()) -> Prepared:
    """Add these rows. `written`: files that lie there and hold the first of them."""
    added = (*written, *write_files(handle, rows.slice(_rows(written)), after=len(written)))
    return Prepared(handle, added, (), _rows(added))


def prepare_overwrite(handle: Handle, rows: Rows, schema: pl.Schema | None = None) -> Prepared:
    """Make these rows all there is; with `schema` the table takes that shape from then on."""
    if schema is not None:
        check_new(str(handle.address), handle.readers, schema)
    added = tuple(write_files(handle, rows, schema=schema))
    return Prepared(handle, added, tuple(handle.files()["path"]), _rows(added), schema)


def overwrite(handle: Handle, rows: Rows, transactions: Mapping[str, int], note: Mapping[str, str]) -> Written:
    """Make these rows all there is. Equal content makes a version as well."""
    return prepare_overwrite(handle, rows).commit(transactions, note)


def prepare_merge(handle: Handle, rows: Rows, key: Sequence[str], *, replaces: Sequence[str] | None = None) -> Prepared:
    """Write anew the files that hold a row which one of `rows` replaces, and only those.

    A standing row goes when an incoming one has its `key`, or, with `replaces`, its group. Incoming keys (and groups)
    must be unique and not null, else Refused. The incoming rows are held in memory.
    """
    incoming = rows.lazy().collect()
    check_same(incoming.schema, handle.schema, str(handle.address))
    _check_key(handle, incoming, key, replaces or ())
    matches = [list(replaces or key)]
    if replaces and not set(replaces) <= set(key):
        matches.append(list(key))  # a row that comes over from another group must not stay there
    sought = [_sought(handle, incoming, columns) for columns in matches] if incoming.height else []
    touched = _touched(handle, sought)
    if not touched:
        return Prepared(handle, tuple(write_files(handle, incoming)) if incoming.height else (), (), incoming.height)
    standing = handle.scan_paths(touched)
    for each in sought:
        standing = standing.join(each.wanted.lazy(), on=each.wanted.columns, how="anti", maintain_order="left")
    added = write_files(handle, pl.concat([standing, incoming.lazy()]))
    return Prepared(handle, tuple(added), tuple(touched), incoming.height)


def prepare_replace_slices(handle: Handle, rows: Rows, slices: Slices) -> Prepared:
    """Make these rows, all of which must be of one of the slices, all that these hold."""
    return _plan_slice(handle, _slice_files(handle, rows, slices.holds), slices.holds, slices.files(handle))


def replace_slice(  # noqa: PLR0917 # as merge
    handle: Handle, rows: Rows, predicate: pl.Expr, transactions: Mapping[str, int], note: Mapping[str, str]
) -> Written:
    """Make these rows all there is where `predicate` is true; rows where it is false or null stay.

    A rival that took the version wrote another slice, so this one is planned again on top of it, unless the rival
    moved one of the `transactions`: then what `rows` were computed from has changed, and Conflict is raised.
    """
    incoming = _slice_files(handle, rows, predicate)
    prepared = _plan_slice(handle, incoming, predicate)
    for _ in range(SLICE_ATTEMPTS - 1):
        try:
            return prepared.commit(transactions, note)
        except Conflict:
            newest = Handle.open(handle.address)
            if newest is None or newest.id != handle.id or newest.schema != handle.schema:
                raise
            if any(newest.transaction(app) != handle.transaction(app) for app in transactions):
                raise
            prepared = _plan_slice(newest, incoming, predicate)
    return prepared.commit(transactions, note)


def _slice_files(handle: Handle, rows: Rows, predicate: pl.Expr) -> list[DataFile]:
    incoming = write_files(handle, rows)
    written = handle.scan_paths([file.path for file in incoming]) if isinstance(rows, pl.LazyFrame) else rows.lazy()
    outside = written.filter(_is_outside(predicate)).select(pl.len()).collect().item()
    if outside:
        raise Refused(
            f"{handle.address} refused {outside:,} of {_rows(incoming):,} rows that lie outside the slice {predicate}. "
            f"Nothing was committed; version {handle.version} stands. Filter them, or replace the slices they are in."
        )
    return incoming


def _plan_slice(
    handle: Handle, incoming: Sequence[DataFile], predicate: pl.Expr, candidates: Sequence[str] | None = None
) -> Prepared:
    """Files that lie wholly in the slice go, those that hold some of it are written anew with the rest.

    candidates: the files that may hold some of it, where more is known of the slice than its predicate.
    """
    files = handle.files()
    if candidates is not None:
        files = files.filter(pl.col("path").is_in(list(candidates)))
    names = dict(zip(full(handle.address, files["path"]), files["path"], strict=True))
    # The reader prunes by folder and by the statistics of the row groups, and reads the predicate's columns only.
    inside = handle.scan_paths(files["path"].to_list(), file=_FILE).filter(predicate).group_by(_FILE).len().collect()
    touched = {names[path]: rows for path, rows in inside.iter_rows()}
    mixed = [
        path for path, rows in files.select("path", "rows").iter_rows() if path in touched and touched[path] != rows
    ]
    rest = write_files(handle, handle.scan_paths(mixed).filter(_is_outside(predicate))) if mixed else []
    removed = tuple(path for path in files["path"] if path in touched)
    return Prepared(handle, (*rest, *incoming), removed, _rows(incoming))


def _is_outside(predicate: pl.Expr) -> pl.Expr:
    return ~predicate.fill_null(value=False)


class _Sought(NamedTuple):
    """Keys (or groups) that may stand, each once, and the files, by their ranges, that may hold one of them."""

    wanted: pl.DataFrame
    files: list[str]


def _sought(handle: Handle, incoming: pl.DataFrame, columns: list[str]) -> _Sought:
    files, wanted = handle.files(), incoming.select(columns)
    candidates = may_hold(files, wanted, columns)
    return _Sought(within(files.filter(pl.col("path").is_in(candidates)), wanted, columns).unique(), candidates)


def _touched(handle: Handle, sought: Sequence[_Sought]) -> list[str]:
    """The paths, in commit order, of the files that hold a row to be replaced, told from the columns read."""
    held: set[str] = set()
    for wanted, candidates in sought:
        names = dict(zip(full(handle.address, candidates), candidates, strict=True))
        found = (
            handle.scan_paths(candidates, file=_FILE)
            .select(*wanted.columns, _FILE)
            .join(wanted.lazy(), on=wanted.columns, how="semi")
            .select(pl.col(_FILE).unique())
            .collect()
        )
        held.update(names[path] for path in found[_FILE])
    return [path for path in handle.files()["path"] if path in held]


def standing_rows(handle: Handle, keys: pl.DataFrame, columns: Sequence[str]) -> pl.LazyFrame:
    """Some columns of the standing rows that have one of these keys. `keys` has the key columns and no others."""
    sought = _sought(handle, keys, keys.columns)
    rows = handle.scan_paths(_touched(handle, [sought])).select(columns)
    return rows.join(sought.wanted.lazy(), on=keys.columns, how="semi", maintain_order="left")


def _check_key(handle: Handle, incoming: pl.DataFrame, key: Sequence[str], replaces: Sequence[str]) -> None:
    columns = list(dict.fromkeys([*key, *replaces]))
    if strangers := [name for name in columns if name not in incoming.columns]:
        raise Refused(f"{handle.address} has no column {strangers[0]} to merge by.")
    without = incoming.select(pl.any_horizontal(pl.col(columns).is_null()).sum()).item()
    keys = pl.struct(list(key))
    is_once = incoming.select(keys.hash().n_unique()).item() == incoming.height  # in a third of the time
    doubled = 0 if is_once else incoming.select(keys.is_duplicated().sum()).item()
    if without or doubled:
        raise Refused(
            f"{handle.address} refused {incoming.height:,} rows to merge: {without:,} with a null among "
            f"{', '.join(columns)}, {doubled:,} that share their key ({', '.join(key)}) with another one. Nothing was "
            f"written; version {handle.version} stands. Reject the nulls and keep one row per key before merging."
        )


def _rows(files: Sequence[DataFile]) -> int:
    return sum(file.rows for file in files)
