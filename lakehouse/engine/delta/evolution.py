"""A table that goes on with other columns: read as if it had them, and given them in one commit that keeps every row.

A column that is added costs a line of the log. One that is widened has every file written anew, since Delta has no way
to widen in place that all of its readers know; each value is proved to be the same on the way.
"""

from __future__ import annotations

from copy import copy

import polars as pl

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.number import number
from lakehouse.engine.delta.compatibility import Answer, Compatibility, check_compatibility
from lakehouse.engine.delta.described import Notes, as_delta
from lakehouse.engine.delta.files import write_files
from lakehouse.engine.delta.foreign import check_writable
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.log import COLUMNS, last_note
from lakehouse.engine.delta.protocol import check_commit
from lakehouse.engine.delta.storable import check_names, check_partition


def as_if(handle: Handle, schema: pl.Schema) -> Handle:
    """The same version, its rows read with the columns that the next commit will give it: see `evolve`."""
    found = check_compatibility(handle.schema, schema)
    if not found.changes:
        return handle
    _refuse_more(handle, found)
    view = copy(handle)
    view.schema, view.stands_as = schema, handle.stands_as or handle.schema
    if found.answer is Answer.WIDEN:
        files = handle.files()
        bounds = {f"{kind}.{name}": dtype for kind in ("min", "max", "partition") for name, dtype in schema.items()}
        view.older = {*handle.older, *files["path"]}
        view._files = files.cast({name: bounds[name] for name in files.columns if name in bounds})  # noqa: SLF001 # its own  # pyright: ignore[reportPrivateUsage]
    return view


def evolve(handle: Handle, schema: pl.Schema, notes: Notes, unmeasured: tuple[str, ...] = ()) -> Handle:
    """The table with these columns, one version on; as it is where it has them. Equal rows, in the same order.

    Raises Refused where it cannot go on with them, or a value would change; Conflict as every commit.
    """
    view = (handle if handle.stands_as else as_if(handle, schema)).leaving_out(unmeasured)
    if view.stands_as is None:
        return handle
    found, removed = check_compatibility(view.stands_as, schema), files_anew(view)
    before = copy(view)
    before.version -= 1  # by their names they sort before files that this run has written ahead
    added = write_files(before, view.scan()) if removed else []
    if removed and (came := sum(each.rows for each in added)) != view.rows:
        raise Refused(
            f"{view.address}: of {number(view.rows, 'row')} {came:,} came back from the files that were widened. "
            f"Nothing was committed; version {view.version} stands. Next: lakehouse table check {view.address.key}"
        )
    note = {**last_note(view.address, view.version), COLUMNS: str(found)}
    return view.commit(added, removed, {}, note, rearranges=True, schema=as_delta(schema, notes))


def nulls(handle: Handle, column: str) -> int:
    """How many rows are null in it: by the log, and by the rows themselves of files of which it does not say."""
    files, counted = handle.files(), f"null_count.{column}"
    told = pl.col(counted) if counted in files.columns else pl.lit(None, pl.Int64)
    if "gone" in files.columns:  # a row that is gone is still counted, where there is any to count
        told = pl.when((told == 0) | (pl.col("gone").fill_null(0) == 0)).then(told)
    rest = handle.scan_paths(files.filter(told.is_null())["path"].to_list())
    return int(files.select(told.sum()).item() + rest.select(pl.col(column).null_count()).collect().item())


def files_anew(view: Handle) -> list[str]:
    """The files that `evolve` writes anew to give a table the columns that it is seen with (`as_if`): all, or none.

    Reads the log only. Refused where the columns cannot be given to it, be they as compatible as they may.
    """
    stands = view.schema if view.stands_as is None else view.stands_as
    check_names(view.schema, str(view.address), stands)
    check_partition(view.address, view.schema, view.partition_by)
    check_commit(view, view.schema)
    is_widened = check_compatibility(stands, view.schema).answer is Answer.WIDEN
    return view.files()["path"].to_list() if is_widened else []


def _refuse_more(handle: Handle, found: Compatibility) -> None:
    stands = f"Nothing was written; version {handle.version} stands."
    if not found.goes_on:
        raise Refused(f"{handle.address} cannot go on with other columns: {found}. {stands} Make the table anew.")
    check_writable(handle)
