"""What a table reads in one run: each upstream pinned at one version, and the rows of it that are due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import polars as pl

from lakehouse.engine.declare.contract import Contract
from lakehouse.engine.declare.errors import Conflict, Refused
from lakehouse.engine.declare.number import mb, number
from lakehouse.engine.declare.table import Declaration, Read, readers_of
from lakehouse.engine.declare.write import Merge, Reading, ReplacePartition
from lakehouse.engine.delta.compatibility import check_compatibility
from lakehouse.engine.delta.evolution import as_if, nulls
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.log import NEVER_NULL, only_upkeep, took_back
from lakehouse.engine.delta.slices import Slices
from lakehouse.engine.orchestrate.work import LOGIC, is_made_otherwise, partition_position, position
from lakehouse.engine.quality.typed import Typed, typed

_KEPT_BYTES = 512 << 20
"""More than this is not held for the next reader."""
_BACK = "arrivals back"
"""How many arrivals of its group came after a row's. Holds a space: no column can have this name."""


@dataclass(frozen=True)
class Input:
    """One parameter's upstream, pinned; `since` is the version it was read up to, `whole` that all of it is due.

    reader: the key of the table that reads it. `slices`, where some of them are due: all their rows, and no others.
    """

    read: Read
    handle: Handle | None
    since: int | None
    whole: bool
    reader: str
    slices: Slices | None = None

    @cached_property
    def is_idle(self) -> bool:
        """Whether the upstream holds what it held when it was last consumed: it was not written since, or only kept."""
        if self.handle is None or self.since == self.handle.version:
            return True
        return self.since is not None and only_upkeep(self.handle.address, self.since, self.handle.version)

    @cached_property
    def stored(self) -> pl.LazyFrame:
        """The due rows as they lie in the upstream, in order; not read yet. Refused where they cannot be told."""
        schema = self.read.upstream.stored_schema
        if self.handle is None:
            return schema.to_frame().lazy()
        rows = self.handle.scan_paths(self._files) if self.slices is None else self.slices.of(self.handle)
        return rows.select(schema.names())

    @cached_property
    def count(self) -> int:
        """How many rows are due, as the upstream's log says: not told from what was read of them."""
        if self.handle is None or self.slices is not None:
            return int(self.stored.select(pl.len()).collect().item())
        return self.handle.rows_of(self._files)

    @cached_property
    def _files(self) -> list[str]:
        """Those of the upstream that hold the due rows, where these are not of some slices."""
        assert self.handle is not None  # noqa: S101 # what has files is there
        if self._is_whole or self.since is None:
            return self.handle.files()["path"].to_list()
        try:
            return self.handle.appended(self.since)
        except Refused as why:
            raise Refused(f"{self.reader}: {why} Make it anew: lakehouse rebuild {self.reader}+") from why

    @property
    def _is_whole(self) -> bool:
        return self.whole or self.since is None or self.read.reading is not Reading.NEW

    def rows(self) -> Rows:
        """Read text as its types. The rows of a bronze upstream are then in memory; others stay where they are."""
        upstream = self.read.upstream
        if not upstream.is_bronze:
            return Rows(self, self.stored, upstream.stored_schema.to_frame())
        table = self.handle and (self.handle.id, self.handle.version)
        stored = _Stored(table, None if self._is_whole else self.since, self.stored)
        parted = _typed(upstream.contract, stored)
        if parted.rows.estimated_size() > _KEPT_BYTES:
            _typed.cache_clear()
        return Rows(self, parted.lazy(), parted.unread)


@dataclass(frozen=True)
class _Stored:
    """Rows of a bronze table as they are stored; the same ones where table, version and beginning are the same."""

    table: tuple[str, int] | None
    since: int | None
    rows: pl.LazyFrame = field(compare=False)


@lru_cache(maxsize=1)
def _typed(contract: type[Contract], stored: _Stored) -> Typed:
    """Tables that read the same new rows run one after the other: the text is read once for all of them."""
    return typed(contract, stored.rows)


@dataclass(frozen=True)
class Rows:
    """One parameter's due rows: `frame` is what a transform may be handed, `unread` what does not read exactly."""

    input: Input
    frame: pl.LazyFrame
    unread: pl.DataFrame


def open_inputs(
    declared: Declaration,
    own: Handle | None,
    upstreams: Mapping[str, Handle | None],
    *,
    whole: bool,
    rebuild: bool = False,
) -> list[Input]:
    """The due rows of every parameter. `upstreams` are pinned handles by table key; `whole` reads all there is.

    Refused where what was read before cannot be told from what is due; a `rebuild` starts anew and never is.
    """
    if own is not None:
        own.ask(LOGIC, *(position(declared, each) for each in upstreams.values() if each))
    opened: list[Input] = []
    for read in declared.reads:
        handle = upstreams[read.upstream.key]
        since = own.transaction(position(declared, handle)) if own and handle else None
        each = Input(read, handle, since, whole=whole, reader=declared.key)
        if own is not None and not rebuild and own.transaction(LOGIC) is not None:
            _refuse_strangers(declared, own, each)
        opened.append(each)
    return opened


def keeps_what_it_read(declared: Declaration) -> bool:
    """Whether rows that it made of an upstream stay when the upstream no longer holds what they were made of."""
    return not (declared.is_written_whole or isinstance(declared.write, ReplacePartition))


def as_declared(declared: Declaration, handle: Handle | None, *, reader: Declaration | None = None) -> Handle | None:
    """The table with the columns that its contract declares, which its next write gives it where it lacks some.

    A `reader` may find more than it needs. Refused where rows that stand could not have them: asked before anything is
    read or planned, so that the way out, a rebuild, finds nothing half done.
    """
    if handle is None:
        return None
    stands, declares = handle.schema, declared.stored_schema
    if reader:
        declares = pl.Schema({**declares, **{name: stands[name] for name in stands if name not in declares}})
        stands = pl.Schema({name: stands[name] for name in declares if name in stands})
    if stands == declares:
        return handle
    found = check_compatibility(stands, declares, required=never_null(declared, handle))
    is_known = handle.transaction(LOGIC) is not None and not (reader and reader.runs_on)
    if found.goes_on and is_known:
        return as_if(handle, declares)
    who = f"{reader.key} reads {declared.key}, which" if reader else declared.key
    readers = ", ".join(readers_of(declared))
    raise Refused(
        f"{who} stands with other columns than its contract declares: {found}. Nothing was read or written; version "
        f"{handle.version} stands. Put the contract back, or make the table anew: lakehouse rebuild {declared.key}+"
        + (f" (with those that read it: {readers})" if readers else "")
    )


def never_null(declared: Declaration, stands: Handle) -> frozenset[str]:
    """The paths of columns that a table cannot be given, for the rows that stay in it."""
    return frozenset() if declared.is_written_whole or not stands.rows else declared.never_null


def kept_full(declared: Declaration) -> dict[str, str]:
    """What a commit notes after which no row of a column that the contract says is never null is null."""
    return {NEVER_NULL: ", ".join(name for name in declared.schema if name in declared.never_null)}


def changed_columns(own: Handle | None) -> dict[str, object]:
    """What a run says of the columns that it gives its table; nothing where it gives it none."""
    if own is None or own.stands_as is None:
        return {}
    return {"columns_changed": str(check_compatibility(own.stands_as, own.schema))}


def as_read_by(reader: Declaration, upstreams: Mapping[str, Handle | None]) -> dict[str, Handle | None]:
    """The upstreams of a table, by key, each with the columns that its contract declares."""
    declared = {read.upstream.key: read.upstream for read in reader.reads}
    return {key: as_declared(each, upstreams[key], reader=reader) for key, each in declared.items()}


def refuse_other_ways(declared: Declaration, own: Handle | None) -> None:
    """Refuse a table that was written otherwise than `partition_by=`, `write=` and its key say, and is not made whole.

    What else its logic says may change: rows that stand stay right as rows of such a table.
    """
    if own is not None and (why := why_otherwise(declared, own)):
        raise Refused(
            f"{declared.key} {why}. Nothing was read or written; version {own.version} stands. Put that back, or make "
            f"it anew: lakehouse rebuild {declared.key}+"
        )


def why_otherwise(declared: Declaration, own: Handle) -> str:
    """Why a run could not go on from the rows of this version; nothing where it can."""
    if declared.is_written_whole:
        return ""
    if own.partition_by != declared.partition_by:
        stands, said = (", ".join(each) or "no column" for each in (own.partition_by, declared.partition_by))
        cost = f"{number(own.files().height, 'file')} ({number(own.rows, 'row')}, {mb(own.bytes)})"
        return f"is stored by {stands}, and partition_by= says {said}: {cost} would have to be written anew"
    if is_made_otherwise(declared, own):
        now = f"{type(declared.write).__name__}() of today"
        return f"was made with another write= or key than {now}, which cannot go on from its {number(own.rows, 'row')}"
    if null := _nulls(declared, own):
        return f"holds nulls where its contract does not say nullable=True: {null} of {own.rows:,}"
    return ""


def _nulls(declared: Declaration, own: Handle) -> str:
    """The columns that may not be null and are, with how many rows; of those only that the last commit did not note."""
    kept = str(_last_note(own).get(NEVER_NULL)).split(", ")
    asked = [name for name in own.schema if name in declared.never_null and name not in kept]
    if not asked or declared.is_bronze or own.transaction(LOGIC) is None:
        return ""
    return ", ".join(f"{name} in {number(n, 'row')}" for name in asked if (n := nulls(own, name)))


def refuse_foreign_rows(declared: Declaration, own: Handle | None) -> None:
    """Refuse a bronze table whose rows came from elsewhere: in no ledger, they would be counted by nobody."""
    if declared.is_bronze and own is not None and own.transaction(LOGIC) is None and own.rows:
        raise Refused(
            f"{declared.key} holds {number(own.rows, 'row')} that no run of it has written, so of which files they are "
            f"is not known. Nothing was read or written; version {own.version} stands. Move {own.address} away and run "
            "again, or give the table another name."
        )


def positions(declared: Declaration, inputs: Sequence[Input], keys: Sequence[str]) -> dict[str, int]:
    """How far each upstream is consumed, by each of its partitions where it has some, once this run's commit stands."""
    there = [each.handle for each in inputs if each.handle is not None]
    if declared.partitions is not None:
        return {partition_position(declared, handle, key): handle.version for handle in there for key in keys}
    return {position(declared, handle): handle.version for handle in there}


def note_of(inputs: Sequence[Input]) -> dict[str, str]:
    """Which upstreams were there, and at which version: kept with the commit, for people and for the next run."""
    return {each.read.upstream.key: str(each.handle and each.handle.version) for each in inputs}


def _refuse_strangers(declared: Declaration, own: Handle, each: Input) -> None:
    """Refuse an upstream that is gone, was made anew or put back; Conflict where only another run was faster."""
    upstream, handle, since = each.read.upstream.key, each.handle, each.since
    stands = f"Nothing was written; version {own.version} of {declared.key} stands."
    anew = f"Make it anew from what is there: lakehouse rebuild {declared.key}+"
    before = _last_note(own).get(upstream)
    if handle is None:
        if before not in (None, "None"):
            raise Refused(
                f"{declared.key}: {upstream} is gone; it stood at version {before} when it was last read. {stands}"
            )
        return
    if since is None:
        if each.read.reading is Reading.NEW and before != "None":
            raise Refused(
                f"{declared.key} has never read this {upstream} (table id {handle.id}): its upstream was made anew, "
                f"or is new to it. {stands} {anew}"
            )
        return
    if since > handle.version:
        newest = Handle.open(handle.address)
        if newest is not None and newest.id == handle.id and newest.version >= since:
            raise Conflict(
                f"{declared.key}: another run has read {upstream} further, up to {since}. {stands} Run again."
            )
        raise Refused(
            f"{declared.key} has read {upstream} up to version {since}, and it stands at {handle.version}: it was put "
            f"back. {stands} {anew}"
        )
    is_told_later = each.read.reading is Reading.NEW  # when they are read
    if not is_told_later and keeps_what_it_read(declared) and took_back(handle.address, since, handle.version):
        raise Refused(
            f"{declared.key} holds rows that it made of {upstream} at version {since}, and {upstream} was put back to "
            f"what stood before. {stands} Put it back too (lakehouse table history {declared.key}; lakehouse table "
            f"restore {declared.key} --version …), or make it anew: lakehouse rebuild {declared.key}+"
        )


def _last_note(own: Handle) -> Mapping[str, object]:
    """What `note_of` said at the last commit; nothing where another engine has committed since, or cleaned its log."""
    try:
        return own.commit_of(own.version).info
    except FileNotFoundError:
        return {}


def latest(declared: Declaration, each: Rows) -> pl.LazyFrame:
    """With `Merge(replaces=…)`, the last arrival of every group; else all rows. Rows without a group are kept."""
    group = replaced_group(declared)
    if group is None or not each.input.read.upstream.is_bronze:
        return each.frame
    if _is_of_documents(declared, each):
        return each.frame.filter(pl.col(group).is_last_distinct() | pl.col(group).is_null())
    arrival = pl.struct("batch", "source_file")
    return each.frame.filter((arrival == arrival.last().over(group)) | pl.col(group).is_null())


def earlier(declared: Declaration, each: Rows, groups: pl.Series, back: int) -> pl.LazyFrame:
    """Of these groups, the rows of the arrival that `back` others came after."""
    group = replaced_group(declared)
    if group is None or not each.input.read.upstream.is_bronze:
        return each.frame.clear()
    rows = each.frame.filter(pl.col(group).is_in(groups.implode()))
    if _is_of_documents(declared, each):
        number = pl.int_range(pl.len()).over(group)
    else:
        number = pl.struct("batch", "source_file").rle_id().cast(pl.Int64).over(group)
    counted = rows.with_columns((number.max().over(group) - number).alias(_BACK))
    return counted.filter(pl.col(_BACK) == back).drop(_BACK)


def replaced_group(declared: Declaration) -> str | None:
    return declared.write.replaces if isinstance(declared.write, Merge) else None


def _is_of_documents(declared: Declaration, each: Rows) -> bool:
    """Whether a row of a bronze upstream is an arrival of its group by itself. Else a group arrives with its file.

    It is where it holds a list of objects, unless it also has the reader's whole key and so is one row of several.
    """
    schema = each.input.read.upstream.schema
    holds_rows = any(isinstance(dtype, pl.List) and isinstance(dtype.inner, pl.Struct) for dtype in schema.values())
    return holds_rows and not all(name in schema for name in declared.key_columns)


def is_idle(declared: Declaration, own: Handle | None, inputs: Sequence[Input]) -> bool:
    """Whether there is nothing to do: no upstream moved, and a table that is written whole has today's logic."""
    if own is None or own.transaction(LOGIC) is None:
        return all(each.handle is None for each in inputs)
    stale = declared.is_written_whole and own.transaction(LOGIC) != declared.logic
    return not stale and all(each.is_idle for each in inputs)
