"""What must come out as it went in: the measure that a table conserves, counted on both sides of its transform."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import polars as pl

from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.orchestrate.inputs import Rows


@dataclass(frozen=True)
class Counted:
    """`read` counts rows. The others are of the table's measure, over the rows that read exactly.

    `superseded` was measured of arrivals that a later one of their group takes the place of; `dropped` of what each
    predicate leaves out, the first that is true of a row.
    """

    read: int
    measured: Any
    superseded: Any
    dropped: Mapping[str, Any]
    came_out: Any

    @property
    def difference(self) -> Any:
        """What nothing explains."""
        return self.measured - self.superseded - sum(self.dropped.values()) - self.came_out


@dataclass(frozen=True)
class Asked:
    """What was measured: of what was read, of what was handed over of it, and of what each predicate leaves out."""

    read: Any
    kept: Any
    dropped: Sequence[Any]


def ask(declared: Declaration, rows: Sequence[Rows], handed: Sequence[pl.LazyFrame]) -> Asked | None:
    """Measure what was read and handed to the transform; None of a table that conserves nothing.

    A parameter without the measure's or a predicate's columns counts for nothing in it.
    """
    if declared.conserves is None:
        return None
    into, _ = _measures(declared)
    asked = [_asked(into, [each.frame for each in rows]), _asked(into, handed)]
    asked += [_asked(into, handed, *only) for only in _one_of_each(list(declared.drops.values()))]
    numbers = [frame.item() or 0 for frame in pl.collect_all([lazy for some in asked for lazy in some])]
    ends = [0]
    for some in asked:
        ends.append(ends[-1] + len(some))
    read, kept, *dropped = [sum(numbers[begin:end]) for begin, end in pairwise(ends)]
    return Asked(read, kept, dropped)


def counted(declared: Declaration, rows: Sequence[Rows], asked: Asked | None, out: pl.DataFrame) -> Counted:
    """Count what was read, dropped on purpose, and came out. Of a table that conserves nothing only rows."""
    due = sum(each.input.count for each in rows)
    if asked is None:
        return Counted(due, measured=due, superseded=0, dropped={}, came_out=out.height)
    _, out_of = _measures(declared)
    return Counted(
        read=due,
        measured=asked.read,
        superseded=asked.read - asked.kept,
        dropped=dict(zip(declared.drops, asked.dropped, strict=True)),
        came_out=out.select(out_of).item() or 0,
    )


def _measures(declared: Declaration) -> tuple[pl.Expr, pl.Expr]:
    return (pl.len(), pl.len()) if declared.conserves == "rows" else declared.conserves  # type: ignore[return-value] # a pair


def _one_of_each(predicates: list[pl.Expr]) -> list[tuple[pl.Expr, pl.Expr]]:
    """Each predicate, and that none before it is true: a row that two would drop is dropped once."""
    sure = [each.fill_null(value=False) for each in predicates]
    return [(each, ~pl.any_horizontal(pl.lit(value=False), *sure[:place])) for place, each in enumerate(sure)]


def _asked(measure: pl.Expr, frames: Sequence[pl.LazyFrame], *only: pl.Expr) -> list[pl.LazyFrame]:
    names = {name for each in (measure, *only) for name in each.meta.root_names()}
    return [frame.filter(*only).select(measure) for frame in frames if names <= set(frame.collect_schema())]
