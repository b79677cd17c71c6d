"""What a table reads in one run: each upstream pinned at one version, and the rows of it that are due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.table import Declaration, Read
from lakehouse.engine.declare.write import Merge, Overwrite, Reading
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.orchestrate.work import LOGIC, position
from lakehouse.engine.quality.typed import set_aside, typed


@dataclass(frozen=True)
class Input:
    """One parameter's rows. `stored` is what lies in the upstream, `frame` what the transform is handed, in order."""

    read: Read
    handle: Handle | None
    since: int | None
    stored: pl.LazyFrame
    frame: pl.LazyFrame

    @property
    def is_idle(self) -> bool:
        """Whether the upstream stands where it stood when it was last consumed."""
        return self.handle is None or self.since == self.handle.version

    @property
    def unread(self) -> pl.LazyFrame:
        """The rows of a bronze upstream that do not read exactly; none of other tables."""
        upstream = self.read.upstream
        if not upstream.is_bronze:
            return upstream.stored_schema.to_frame().lazy()
        return set_aside(upstream.contract, self.stored)


def open_inputs(
    declared: Declaration, own: Handle | None, upstreams: Mapping[str, Handle | None], *, whole: bool
) -> list[Input]:
    """The due rows of every parameter. `upstreams` are pinned handles by table key; `whole` reads all there is."""
    return [_open(declared, own, read, upstreams[read.upstream.key], whole) for read in declared.reads]


def positions(declared: Declaration, inputs: Sequence[Input]) -> dict[str, int]:
    """How far each upstream is consumed once this run's commit stands."""
    return {position(declared, each.handle): each.handle.version for each in inputs if each.handle is not None}


def _open(declared: Declaration, own: Handle | None, read: Read, handle: Handle | None, whole: bool) -> Input:
    schema = read.upstream.stored_schema
    if handle is None:
        empty = schema.to_frame().lazy()
        return Input(read, None, None, empty, _handed(declared, read, empty))
    since = own.transaction(position(declared, handle)) if own else None
    if whole or since is None or read.reading is Reading.FRAME:
        _refuse_stranger(declared, own, read, handle, since, whole)
        rows = handle.scan()
    else:
        rows = handle.since(since)
    stored = rows.select(schema.names())
    return Input(read, handle, since, stored, _handed(declared, read, stored))


def _refuse_stranger(
    declared: Declaration, own: Handle | None, read: Read, handle: Handle, since: int | None, whole: bool
) -> None:
    made_whole = own is not None and own.transaction(LOGIC) is not None
    if whole or since is not None or not made_whole or read.reading is Reading.FRAME:
        return
    raise Refused(
        f"{declared.key} has never read this {read.upstream.key} (table id {handle.id}): its upstream was made anew, "
        f"or is new to it. Nothing was written; version {own and own.version} stands. "
        f"Make it anew from what is there: lakehouse rebuild {declared.key}+"
    )


def _handed(declared: Declaration, read: Read, stored: pl.LazyFrame) -> pl.LazyFrame:
    return typed(read.upstream.contract, stored) if read.upstream.is_bronze else stored


def latest(declared: Declaration, each: Input) -> pl.LazyFrame:
    """With `Merge(replaces=…)`, the last arrival of every group; else all rows.

    An upstream row that holds a list is a document: it is its group's arrival. Else a group arrives with its file.
    """
    if not isinstance(declared.write, Merge) or declared.write.replaces is None:
        return each.frame
    group = declared.write.replaces
    schema = each.read.upstream.handed_schema
    if "source_file" not in schema or any(isinstance(dtype, pl.List) for dtype in schema.values()):
        return each.frame.filter(pl.col(group).is_last_distinct() | pl.col(group).is_null())
    arrival = pl.struct("batch", "source_file")
    return each.frame.filter((arrival == arrival.last().over(group)) | pl.col(group).is_null())


def is_idle(declared: Declaration, own: Handle | None, inputs: Sequence[Input]) -> bool:
    """Whether there is nothing to do: no upstream moved, and a table that is written whole has today's logic."""
    if own is None or own.transaction(LOGIC) is None:
        return all(each.handle is None for each in inputs)
    stale = isinstance(declared.write, Overwrite) and own.transaction(LOGIC) != declared.logic
    return not stale and all(each.is_idle for each in inputs)
