"""Slices of a table: rows that share a value of a column, or of several; and which of them its commits changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import unquote

import polars as pl

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.number import number
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.log import Commit, read_commits
from lakehouse.engine.delta.pruning import may_hold

_SIGN = "came or went"  # holds a space, so that no column of a table can have this name
_NAMED = 5


@dataclass(frozen=True)
class Slices:
    """Some slices of a table. `values`: one row for each, with the values of the columns by which its rows are told."""

    values: pl.DataFrame

    def __or__(self, other: Slices) -> Slices:
        return Slices(pl.concat([self.values, other.values]).unique(maintain_order=True))

    def __len__(self) -> int:
        return self.values.height

    def __str__(self) -> str:
        """`2 slices (day = 2024-05-01; day = 2024-05-03)`; the first few by name."""
        named = ["; ".join(f"{name} = {value}" for name, value in row.items()) for row in self._first.to_dicts()]
        more = ["…"] if len(self) > _NAMED else []
        return f"{number(len(self), 'slice')}" + (f" ({' | '.join([*named, *more])})" if named else "")

    @property
    def columns(self) -> list[str]:
        return self.values.columns

    @cached_property
    def holds(self) -> pl.Expr:
        """True for a row of one of the slices, false for every other: literals only, so that a reader can prune."""
        if self.values.is_empty():
            return pl.lit(value=False)
        # each column by itself as well: of a struct nothing is known of a file
        wanted = [self._one(self.values[name]) for name in self.columns]
        if len(wanted) > 1:
            wanted.append(pl.struct(self.columns).is_in(pl.lit(self.values.to_struct().implode()), nulls_equal=True))
        return pl.all_horizontal(wanted)

    def files(self, handle: Handle) -> list[str]:
        """The data files that may hold rows of these slices, told from the log alone, in commit order."""
        return may_hold(handle.files(), self.values, self.columns) if len(self) else []

    def of(self, handle: Handle) -> pl.LazyFrame:
        """All rows of these slices, in the table's order."""
        return handle.scan_paths(self.files(handle)).filter(self.holds)

    @property
    def _first(self) -> pl.DataFrame:
        return self.values.head(_NAMED)

    @staticmethod
    def _one(values: pl.Series) -> pl.Expr:
        column, known = pl.col(values.name), values.drop_nulls().unique()
        is_known = column.is_in(pl.lit(known.implode())).fill_null(value=False)
        return is_known | column.is_null() if values.null_count() else is_known


NO_SLICES = Slices(pl.DataFrame())


def changed_slices(handle: Handle, since: int, columns: Sequence[str]) -> Slices | None:
    """The slices by `columns` in which a row came, went or changed in the versions (since, handle.version].

    Rows that were only carried into another file count for nothing, nor do commits that only rearrange rows. None where
    it cannot be told: a log or a file of that time is gone, or the table was given other columns.
    Costs a look at the files that came and went, of which only `columns` are read where no file went.
    """
    try:
        commits = read_commits(handle.address, since + 1, handle.version)
        came_and_went = _files_that(handle, commits)
        return None if came_and_went is None else _rows_that(handle, *came_and_went, list(columns))
    except FileNotFoundError:
        return None


def _files_that(handle: Handle, commits: Sequence[Commit]) -> tuple[list[str], list[str]] | None:
    """The paths that came, and those that went; one that did both is neither. None where the columns are others."""
    net = Counter[str]()
    for commit in commits:
        if any(commit.of("metaData")):
            return None
        for add in commit.of("add"):
            if add.get("deletionVector"):
                raise Refused(
                    f"{handle.address}: version {commit.version} carries a deletion vector, written by another engine. "
                    "Nothing was read."
                )
            net[unquote(add["path"])] += add.get("dataChange", True)
        for remove in commit.of("remove"):
            net[unquote(remove["path"])] -= remove.get("dataChange", True)
    return sorted(path for path in net if net[path] > 0), sorted(path for path in net if net[path] < 0)


def _rows_that(handle: Handle, came: Sequence[str], went: Sequence[str], columns: list[str]) -> Slices:
    """Every row that came, less every equal one that went: the slices of what is left, on either side."""
    rows = [handle.scan_paths(paths) for paths in (came, went) if paths]
    if not rows:
        return Slices(pl.DataFrame(schema={name: handle.schema[name] for name in columns}))
    moved = rows[0]
    if came and went:
        signed = [each.with_columns(pl.lit(sign).alias(_SIGN)) for each, sign in zip(rows, (1, -1), strict=True)]
        moved = pl.concat(signed).group_by(handle.schema.names()).agg(pl.col(_SIGN).sum()).filter(pl.col(_SIGN) != 0)
    return Slices(moved.select(columns).unique().sort(columns).collect(engine="streaming"))
