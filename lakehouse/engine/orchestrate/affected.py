"""Which slices of a table are due: those in which a row of an upstream came, went or changed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_

import polars as pl

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.number import number
from lakehouse.engine.declare.partitions import PARTITION
from lakehouse.engine.declare.table import Declaration, launch
from lakehouse.engine.declare.write import Merge, Reading
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.slices import NO_SLICES, Slices, changed_slices
from lakehouse.engine.orchestrate.inputs import Input


def due_slices(declared: Declaration, inputs: Sequence[Input]) -> Slices | None:
    """The slices that changed in any upstream read as `Affected`, each by its rows before and after.

    None where all are due, or the table reads none: another upstream moved, which every slice may have read, or what
    changed cannot be told (an upstream was made anew, or its log is gone).
    """
    affected = [each for each in inputs if each.read.reading is Reading.AFFECTED]
    others = [each for each in inputs if each.read.reading is Reading.FRAME]
    if not affected or not all(each.is_idle for each in others):
        return None
    found: list[Slices] = []
    for each in affected:
        if each.handle is None:
            continue
        changed = None if each.since is None else changed_slices(each.handle, each.since, declared.slice_columns)
        if changed is None:
            return None
        found.append(changed)
    return reduce(or_, found) if found else NO_SLICES


def left_of(declared: Declaration, own: Handle | None, due: Slices | None, out: pl.DataFrame) -> dict[str, object]:
    """How many rows a merge leaves standing of due slices of which nothing came out: a rebuild would drop them."""
    if own is None or due is None or not isinstance(declared.write, Merge):
        return {}
    without = Slices(due.values.join(out, on=due.columns, how="anti", nulls_equal=True))
    rows = without.of(own).select(pl.len()).collect().item() if len(without) else 0
    return {"rows_left_of_nothing": rows} if rows else {}


def partitions_of(declared: Declaration, keys: Sequence[str] | None) -> Slices:
    """The slices of a run's partitions. Raises Refused where the run names none."""
    if declared.partitions is None or keys is None:
        raise Refused(
            f"{declared.key} is partitioned and the run names no partition, so what it may replace is not known. "
            f"Nothing was written. Launch it with a partition: {launch(declared.key, is_partitioned=True)}"
        )
    told = declared.partitions.slices(keys, declared.slice_columns, declared.schema)
    return Slices(told.drop(PARTITION).unique(maintain_order=True))


def outside(replaced: Slices, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of no slice that is replaced."""
    return rows.filter(~replaced.holds.fill_null(value=False))


def refusal_of_outside(
    declared: Declaration, replaced: Slices, strangers: pl.DataFrame, *, of: int, stands: str
) -> str:
    """Why a run fails whose transform made rows of other slices than those it was to make."""
    names = list(declared.slice_columns)
    there = Slices(strangers.select(names).unique(maintain_order=True))
    return (
        f"{declared.key} refused {strangers.height:,} of {number(of, 'row')} that came out: they are of {there}, and "
        f"the run replaces {replaced}. Nothing was written; {stands}. Let the transform keep {', '.join(names)} "
        "as it is handed over, or read Frame[…] and write Overwrite()."
    )
