"""Slices of a table: rows that share a value of a column, or of several; and which of them its commits changed.

A slice may also be a window of time: its rows hold a value from one to before another.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from operator import itemgetter
from typing import Any
from urllib.parse import unquote

import polars as pl
import polars.selectors as cs
from pyroaring import BitMap

from lakehouse.engine.declare.number import number
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.hashed import row_hash
from lakehouse.engine.delta.log import Commit, read_commits, rows_in, standing_at
from lakehouse.engine.delta.partition_values import UNTIL, joined
from lakehouse.engine.delta.pruning import may_hold
from lakehouse.engine.delta.vectors import Damaged, Vector, all_but, places_of, read_vectors

type _File = tuple[str, Vector | None]
"""A path, and what takes rows out of it."""
type _Pieces = dict[str, BitMap]
"""Files by path, each with the places of the rows in it that do not count."""

# They hold a space, so that no column of a table can have these names (check_storable).
_SIGN, _ROWS = "came or went", "sum of their hashes"
_NAMED = 5
_UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
_COLUMNS = itemgetter("schemaString", "partitionColumns")  # what lets deletion vectors in leaves these as they are


@dataclass(frozen=True)
class Slices:
    """Some slices of a table. `values`: one row for each, with the values of the columns by which its rows are told.

    Where there is also a column `<name> until`, the rows hold a value from that of `<name>` to before it.
    """

    values: pl.DataFrame

    def __or__(self, other: Slices) -> Slices:
        return Slices(pl.concat([self.values, other.values]).unique(maintain_order=True))

    def __len__(self) -> int:
        return self.values.height

    def __str__(self) -> str:
        """`2 slices (day = 2024-05-01; day = 2024-05-03)`; the first few by name."""
        first = self.values.head(_NAMED).with_columns(cs.temporal().cast(pl.String))  # Python's end with the year 9999
        named = ["; ".join(f"{name} = {value}" for name, value in row.items()) for row in first.to_dicts()]
        more = ["…"] if len(self) > _NAMED else []
        return f"{number(len(self), 'slice')}" + (f" ({' | '.join([*named, *more])})" if named else "")

    @property
    def columns(self) -> list[str]:
        return [name for name in self.values.columns if not name.endswith(UNTIL)]

    @property
    def windowed(self) -> list[str]:
        return [name for name in self.columns if name + UNTIL in self.values.columns]

    def only(self, schema: pl.Schema) -> Slices | None:
        """The slices by those columns that a table has with the same type; None where it has none of them."""
        shared = [name for name in self.columns if schema.get(name) == self.values.schema[name]]
        until = [name + UNTIL for name in shared if name in self.windowed]
        return Slices(self.values.select(*shared, *until).unique(maintain_order=True)) if shared else None

    @cached_property
    def holds(self) -> pl.Expr:
        """True for a row of one of the slices, false or null for others; literals only, so that a reader can prune."""
        if self.values.is_empty():
            return pl.lit(value=False)
        if self.windowed:
            return self._in_windows(self.windowed[0])
        # each column by itself as well: of a struct nothing is known of a file
        wanted = [self._one(self.values[name]) for name in self.columns]
        if len(wanted) > 1:
            wanted.append(pl.struct(self.columns).is_in(pl.lit(self.values.to_struct().implode()), nulls_equal=True))
        return pl.all_horizontal(wanted)

    def files(self, handle: Handle) -> list[str]:
        """The data files that may hold rows of these slices, told from the log alone, in commit order."""
        if self.values.is_empty():
            return []
        files = handle.files()
        for name in self.windowed:
            files = files.filter(_windows_meet(files, name, self._windows(name)))
        return may_hold(files, self.values, [name for name in self.columns if name not in self.windowed])

    def of(self, handle: Handle) -> pl.LazyFrame:
        """All rows of these slices, in the table's order."""
        return handle.scan_paths(self.files(handle)).filter(self.holds)

    def _windows(self, name: str) -> list[tuple[datetime, datetime]]:
        """Those of one column, in order, as few as there can be."""
        return joined(self.values.select(name, name + UNTIL).unique().rows())

    def _in_windows(self, name: str) -> pl.Expr:
        """Windows that go with the same values of the other columns share one term, so that a range stays short."""
        others = [each for each in self.values.columns if each not in (name, name + UNTIL)]
        if not others:
            return pl.any_horizontal([_within(name, *each, self.values.schema[name]) for each in self._windows(name)])
        alike: dict[tuple[Any, ...], list[pl.DataFrame]] = {}
        for window in self.values.sort(self.values.columns).partition_by(name, name + UNTIL, maintain_order=True):
            alike.setdefault(tuple(window.select(others).rows()), []).append(window)
        terms = [
            Slices(pl.concat(some).select(name, name + UNTIL)).holds & Slices(some[0].select(others)).holds
            for some in alike.values()
        ]
        return pl.any_horizontal(terms)

    @staticmethod
    def _one(values: pl.Series) -> pl.Expr:
        column, known = pl.col(values.name), values.drop_nulls().unique()
        is_known = column.is_in(pl.lit(known.implode()))
        return is_known | column.is_null() if values.null_count() else is_known


NO_SLICES = Slices(pl.DataFrame())


def _within(name: str, start: datetime, end: datetime, dtype: pl.DataType) -> pl.Expr:
    # ">=, <", not is_between: what the statistics of a file are asked with
    return (pl.col(name) >= pl.lit(start, dtype=dtype)) & (pl.col(name) < pl.lit(end, dtype=dtype))


def _windows_meet(files: pl.DataFrame, name: str, windows: Sequence[tuple[datetime, datetime]]) -> pl.Expr:
    """True for a file whose range meets a window, or is not known."""
    if f"min.{name}" not in files.columns:
        return pl.lit(value=True)
    dtype = files.schema[f"min.{name}"]
    low, high = pl.col(f"min.{name}"), pl.col(f"max.{name}").dt.offset_by("1ms")  # others cut bounds to milliseconds
    meets = [(low < pl.lit(end, dtype=dtype)) & (high >= pl.lit(start, dtype=dtype)) for start, end in windows]
    return pl.any_horizontal(meets).fill_null(value=True)


def changed_slices(handle: Handle, since: int, columns: Sequence[str], *, until: int | None = None) -> Slices | None:
    """The slices by `columns` in which a row came, went or changed in the versions (since, until or handle.version].

    Rows that were only carried into another file count for nothing, nor do commits that only rearrange rows. None where
    it cannot be told: a log or a file of that time is gone, or cannot be read and stands no more, or the table was
    given other columns.
    Costs a look at the files that came and went, of which only `columns` are read where no file went.
    """
    try:
        commits = read_commits(handle.address, since + 1, handle.version if until is None else until)
        if (came_and_went := _files_that(handle, commits)) is None:
            return None
        try:
            return _rows_that(handle, *came_and_went, list(columns))
        except _UNREADABLE:
            if _is_one_unreadable(handle, [path for layers in came_and_went for some in layers for path in some]):
                return None
            raise
    except FileNotFoundError:
        return None
    except Damaged:
        places_of(handle.address, handle.vectors)  # raises where it is one that stands
        return None


def _is_one_unreadable(handle: Handle, paths: Sequence[str]) -> bool:
    """Whether one of these that stands no more is damaged: of what stands that is told, and never passed over."""
    for path in set(paths).difference(handle.files()["path"]):
        try:
            every = row_hash(handle.schema.names(), 0).sum()
            handle.scan_paths([path], gone={}).select(every).collect(engine="streaming")
        except _UNREADABLE:
            return True
    return False


def _files_that(handle: Handle, commits: Sequence[Commit]) -> tuple[list[_Pieces], list[_Pieces]] | None:
    """The files of which rows came, and those of which rows went. None where other columns came with rows.

    Columns that were added or widened meanwhile leave the rows as they were: what went is then read as it was stored.
    """
    net, rows, is_evolved = Counter[_File](), dict[str, int | None](), False
    for commit in commits:
        added, removed = (
            [each for each in commit.of(kind) if each.get("dataChange", True)] for kind in ("add", "remove")
        )
        for metadata in commit.of("metaData"):
            before = standing_at(handle.address, commit.version - 1).metadata if added or removed else metadata
            if _COLUMNS(metadata) != _COLUMNS(before):
                return None
            is_evolved = True
        # one that is put back came, and was carried away before: so it counts as often as it was said to come
        net.update((unquote(each["path"]), Vector.of(each)) for each in added)
        net.subtract((unquote(each["path"]), Vector.of(each)) for each in removed)
        rows |= {unquote(each["path"]): rows_in(each) for each in added}
    if is_evolved or handle.stands_as is not None:
        handle.older.update({path for path, _ in net} - set(handle.files()["path"]))
    return _pieces(handle.address, net, rows)


def _pieces(
    address: Address, net: Counter[_File], rows: Mapping[str, int | None]
) -> tuple[list[_Pieces], list[_Pieces]]:
    """What is to be read of each file, as often as it came or went: all but these places.

    Of one that only has another vector than it had, the rows in which these differ.
    """
    moved = {each: times for each, times in sorted(net.items(), key=repr) if times}
    places = {None: BitMap(), **read_vectors(address, [vector for _, vector in moved if vector])}
    came, went = list[_Pieces](), list[_Pieces]()
    for path in dict.fromkeys(path for path, _ in moved):
        sides = [(places[vector], times) for (each, vector), times in moved.items() if each == path]
        count = rows.get(path)
        if count is not None and sorted(times for _, times in sides) == [-1, 1]:
            was, there = (gone for gone, _ in sorted(sides, key=lambda side: side[1]))
            sides = [(all_but(was - there, count), 1), (all_but(there - was, count), -1)]
            sides = [(gone, times) for gone, times in sides if len(gone) < count]
        for gone, times in sides:
            for _ in range(abs(times)):
                _lay(came if times > 0 else went, path, gone)
    return came, went


def _lay(layers: list[_Pieces], path: str, gone: BitMap) -> None:
    """A file that is read twice is so by two scans."""
    for layer in layers:
        if path not in layer:
            layer[path] = gone
            return
    layers.append({path: gone})


def _rows_that(handle: Handle, came: list[_Pieces], went: list[_Pieces], columns: list[str]) -> Slices:
    """Every row that came, less every equal one that went: the slices of what is left, on either side.

    Rows are summed up by their hashes, so that memory is taken for slices, not for rows. The seed is drawn anew, so
    that nobody can make rows of which it would not tell that they are others.
    """
    signed = [
        handle.scan_paths(list(some), gone=some).with_columns(pl.lit(sign, pl.Int64).alias(_SIGN))
        for layers, sign in ((came, 1), (went, -1))
        for some in layers
    ]
    if not signed:
        return Slices(pl.DataFrame(schema={name: handle.schema[name] for name in columns}))
    moved = pl.concat(signed)
    if came and went:
        row = row_hash(handle.schema.names(), secrets.randbits(62)).reinterpret(signed=True)
        left = moved.group_by(columns).agg(pl.col(_SIGN).sum(), (row * pl.col(_SIGN)).sum().alias(_ROWS))
        moved = left.filter((pl.col(_SIGN) != 0) | (pl.col(_ROWS) != 0))
    return Slices(moved.select(columns).unique().sort(columns).collect(engine="streaming"))
