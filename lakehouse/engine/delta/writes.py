"""The ways a table is written: new data files first, then one commit that adds and removes files.

Every way has a `prepare_…`, which writes files that nobody sees, and a commit. Between the two the caller may do what
must come first; when the commit meets a Conflict, the files are orphans that harm nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import TypedDict, Unpack, cast

import polars as pl
import polars.selectors as cs

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.delta.batch import Batch, Spilled
from lakehouse.engine.delta.described import Notes, as_delta
from lakehouse.engine.delta.files import as_written, write_files
from lakehouse.engine.delta.fitting import fitted
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.memory import usual_budget
from lakehouse.engine.delta.place import full
from lakehouse.engine.delta.plan import Plan, Tell, Way, needs, nobody, worked_out
from lakehouse.engine.delta.prepared import Prepared, Reads, Written
from lakehouse.engine.delta.protocol import check_new
from lakehouse.engine.delta.pruning import may_hold
from lakehouse.engine.delta.slices import Slices
from lakehouse.engine.delta.sought import sought_by
from lakehouse.engine.delta.statistics import DataFile
from lakehouse.engine.delta.storable import check_names
from lakehouse.engine.delta.vectors import write_vectors

type Rows = pl.DataFrame | pl.LazyFrame
"""What is in memory is not read back to be measured."""

# Holds a space, so that no column of a table can have this name (check_storable).
_FILE = "data file"


def prepare_append(handle: Handle, rows: Rows, written: Sequence[DataFile] = ()) -> Prepared:
    """Add these rows. `written`: files that lie there and hold the first of them."""
    added = (*written, *write_files(handle, rows.slice(_rows(written)), after=len(written)))
    return Prepared(handle, added, (), _rows(added))


def prepare_overwrite(
    handle: Handle,
    rows: Rows,
    schema: pl.Schema | None = None,
    notes: Notes | None = None,
    *,
    by: Sequence[str] | None = None,
) -> Prepared:
    """Make these rows all there is; with `schema` the table takes that shape from then on, and the notes with it.

    by: the columns of its folders, which may be others with a `schema`.
    """
    stands, laid, columns = handle.stands_as or handle.schema, copy(handle), None
    laid.partition_by = handle.partition_by if by is None else tuple(by)
    laid.schema = handle.schema if schema is None else schema
    if schema is not None and (schema, laid.partition_by) != (stands, handle.partition_by):
        check_new(str(handle.address), handle.readers, schema)
        check_names(schema, str(handle.address), stands)
        columns = as_delta(schema, notes)
    added = tuple(write_files(laid, rows))
    removed = tuple(handle.files()["path"])
    return Prepared(handle, added, removed, _rows(added), columns, by=laid.partition_by, is_whole=True)


def overwrite(handle: Handle, rows: Rows, transactions: Mapping[str, int], note: Mapping[str, str]) -> Written:
    """Make these rows all there is. Equal content makes a version as well."""
    return prepare_overwrite(handle, rows).commit(transactions, note)


class How(TypedDict, total=False):
    """What a merge may be told. replaces: by which columns, instead of the key, a standing row goes.

    deleted: keys of which no row stays. newest_by: a row that is less in it than the one that stands is left out.
    budget: bytes of memory that the merge may take; half of what the process may have where it is not said.
    tell: is given the plan before a file is written, and another where a rival was first.
    """

    replaces: Sequence[str] | None
    deleted: pl.DataFrame | None
    newest_by: str | None
    budget: int | None
    tell: Tell


def plan_merge(handle: Handle, rows: Rows, key: Sequence[str], **how: Unpack[How]) -> Plan:
    """What `prepare_merge` would do with these rows. Reads, and writes nothing; Refused where that would be."""
    return worked_out(handle, batch_of(handle, rows, key, **how)).plan


def prepare_merge(handle: Handle, rows: Rows, key: Sequence[str], **how: Unpack[How]) -> Prepared:
    """Take the rows that one of `rows` replaces out of their files: by a deletion vector, or by writing these anew.

    A standing row goes when an incoming one, or one of the keys `deleted`, has its `key`, or, with `replaces`, its
    group. Incoming keys (and groups) must be unique and not null, else Refused. Rows that are too many for the budget,
    and a lazy frame, are laid into a local file, their keys looked up and the rows written part by part. Files are
    written anew in as many passes as the budget asks for; Refused where one file is too much for it, and before
    anything of the table is written.
    """
    return merge_batch(handle, batch_of(handle, rows, key, **how), how.get("tell", nobody))


def batch_of(handle: Handle, rows: Rows, key: Sequence[str], **how: Unpack[How]) -> Batch:
    """The rows as they are merged: what a merge may not hold, and what is not computed yet, lies in a local file."""
    replaces, budget, newest_by = how.get("replaces") or (), how.get("budget"), how.get("newest_by")
    fits = fitted(rows, handle.schema, str(handle.address))
    if strangers := [name for name in (*key, *replaces, newest_by) if name and name not in handle.schema]:
        raise Refused(f"{handle.address} has no column {strangers[0]} to merge by.")
    if replaces and newest_by:
        raise Refused(
            f"{handle.address}: a merge goes by replaces= or by newest_by=, not by both. Nothing was written."
        )
    if (deleted := how.get("deleted")) is not None:
        keys, there = {name: handle.schema[name] for name in key}, deleted.select(cs.by_name(*key, require_all=False))
        deleted = cast("pl.DataFrame", fitted(there, pl.Schema(keys), f"{handle.address} (deleted)"))
    budget = usual_budget() if budget is None else budget
    came = Spilled(fits) if isinstance(fits, pl.LazyFrame) else fits
    batch = Batch(came, key, replaces, deleted, newest_by, budget)
    if isinstance(came, Spilled) or needs(handle, batch)[1] is not None:
        return batch
    return replace(batch, rows=Spilled(came))


def merge_batch(handle: Handle, batch: Batch, tell: Tell = nobody) -> Prepared:
    """As `prepare_merge`."""
    plan, gone, touched, older, pieces = worked_out(handle, batch)
    tell(plan)
    added, last = list[DataFile](), [batch.written(older, *piece) for piece in pieces]
    for place, paths in enumerate(plan.passes, 1):
        rows = handle.scan_paths(paths, gone={**handle.gone, **gone.marked})
        if place == len(plan.passes) and isinstance(batch.rows, pl.DataFrame):
            rows, last = pl.concat([rows, *(each.lazy() for each in last)]), []
        with as_written(handle, paths):
            added += write_files(handle, rows, after=len(added))
    for rows in last:
        added += write_files(handle, rows, after=len(added))
    marked, removed = {}, touched
    if plan.way is Way.VECTORS:
        marked, removed = write_vectors(handle.address, gone.marked) if gone.marked else {}, gone.emptied
    reads = Reads(partial(_found, batch, plan.slices), lambda newest: merge_batch(newest, batch, tell))
    came, reads = batch.rows.height - len(older), reads if batch.count else None
    return Prepared(handle, tuple(added), removed, came, reads=reads, marked=marked, plan=plan)


def _found(batch: Batch, slices: int, at: Handle, paths: Sequence[str]) -> Iterator[pl.LazyFrame]:
    """The rows of these files that have one of the keys (or groups), by the parts in which these are looked up."""
    files = at.files().filter(pl.col("path").is_in(list(paths)))
    for part in batch.slices(slices):
        sought = (each.select(sought_by(each)) for each in part.goes)
        yield pl.concat(
            at.scan_paths(may_hold(files, keys, keys.columns)).join(keys.lazy(), on=keys.columns, how="semi")
            for keys in sought
        )


def prepare_replace_slices(handle: Handle, rows: Rows, slices: Slices) -> Prepared:
    """Make these rows, all of which must be of one of the slices, all that these hold."""
    return _plan_slice(handle, _slice_files(handle, rows, slices.holds), slices.holds, slices.files)


def replace_slice(  # noqa: PLR0917 # as merge
    handle: Handle, rows: Rows, predicate: pl.Expr, transactions: Mapping[str, int], note: Mapping[str, str]
) -> Written:
    """Make these rows all there is where `predicate` is true; rows where it is false or null stay.

    A rival that was first wrote another slice, so this one goes on top of it, unless the rival wrote one of the
    `transactions`: then what `rows` were computed from has changed, and Conflict is raised.
    """
    incoming = _slice_files(handle, rows, predicate)
    return _plan_slice(handle, incoming, predicate).commit(transactions, note)


def _slice_files(handle: Handle, rows: Rows, predicate: pl.Expr) -> list[DataFile]:
    rows = fitted(rows, handle.schema, str(handle.address))
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
    handle: Handle,
    incoming: Sequence[DataFile],
    predicate: pl.Expr,
    candidates: Callable[[Handle], Sequence[str]] | None = None,
) -> Prepared:
    """Files that lie wholly in the slice go, those that hold some of it are written anew with the rest.

    candidates: the files that may hold some of it, where more is known of the slice than its predicate.
    """
    files = handle.files()
    if candidates is not None:
        files = files.filter(pl.col("path").is_in(list(candidates(handle))))
    names = dict(zip(full(handle.address, files["path"]), files["path"], strict=True))
    # The reader prunes by folder and by the statistics of the row groups, and reads the predicate's columns only.
    inside = handle.scan_paths(files["path"].to_list(), file=_FILE).filter(predicate).group_by(_FILE).len().collect()
    touched = {names[path]: rows for path, rows in inside.iter_rows()}
    mixed = [
        path for path, rows in files.select("path", "rows").iter_rows() if path in touched and touched[path] != rows
    ]
    with as_written(handle, mixed):
        rest = write_files(handle, handle.scan_paths(mixed).filter(_is_outside(predicate))) if mixed else []
    removed = tuple(path for path in files["path"] if path in touched)
    reads = Reads(
        lambda at, paths: [at.scan_paths(paths).filter(predicate)],
        lambda newest: _plan_slice(newest, incoming, predicate, candidates),
        are_replaced=True,
    )
    return Prepared(handle, (*rest, *incoming), removed, _rows(incoming), reads=reads)


def _is_outside(predicate: pl.Expr) -> pl.Expr:
    return ~predicate.fill_null(value=False)


def _rows(files: Sequence[DataFile]) -> int:
    return sum(file.rows for file in files)
