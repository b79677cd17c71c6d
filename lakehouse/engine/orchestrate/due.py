"""Which partitions of a table are due: never made though there are rows of them, or changed since they were made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import polars as pl

from lakehouse.engine.declare.number import number
from lakehouse.engine.declare.partitions import PARTITION
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.partition_values import UNTIL
from lakehouse.engine.delta.slices import Slices, changed_slices
from lakehouse.engine.orchestrate.work import partition_position

_THERE = " there"  # begins with a space: no column of a table ends so


def due_partitions(declared: Declaration, own: Handle | None, upstreams: Mapping[str, Handle | None]) -> list[str]:
    """The keys that are due, in order. What changed in an upstream without the column makes none due.

    Costs a look at the rows of what was never made, and at the files that changed since the first that was.
    """
    if declared.partitions is None:
        return []
    keys = declared.partitions.keys()
    table = declared.partitions.slices(keys, declared.slice_columns, declared.schema)
    done = own.transactions() if own else {}
    due, never, is_told = set[str](), set(keys), False
    for read in declared.reads:
        handle = upstreams[read.upstream.key]
        if handle is None:
            continue
        made = {key: done[app] for key in keys if (app := partition_position(declared, handle, key)) in done}
        never -= made.keys()
        if (shared := Slices(table.drop(PARTITION)).only(read.upstream.schema)) is not None:
            is_told = True
            due.update(*_due_of(table, shared, handle, made))
    if not is_told and any(upstreams.values()):  # of which partition its rows are is not known
        due = never
    return [key for key in keys if key in due]


def _due_of(table: pl.DataFrame, by: Slices, handle: Handle, made: Mapping[str, int]) -> Iterator[set[str]]:
    never = table.filter(~pl.col(PARTITION).is_in(list(made)))
    rows = Slices(never.select(by.values.columns)).of(handle).select(by.columns).unique().collect()
    yield _keys_of(never, rows)
    versions = sorted(set(made.values()))
    for since, until in pairwise([*versions, handle.version]):
        if since == until:
            continue
        behind = table.filter(pl.col(PARTITION).is_in([key for key, version in made.items() if version <= since]))
        changed = changed_slices(handle, since, by.columns, until=until)
        yield set(behind[PARTITION]) if changed is None else _keys_of(behind, changed.values)


def _keys_of(table: pl.DataFrame, rows: pl.DataFrame) -> set[str]:
    """The partitions of which there is one of these rows."""
    there = rows.rename({name: name + _THERE for name in rows.columns})
    holds: list[pl.Expr] = []
    for name in rows.columns:
        until = name + UNTIL
        if until in table.columns:
            holds += [pl.col(name) <= pl.col(name + _THERE), pl.col(until) > pl.col(name + _THERE)]
        else:
            holds.append(pl.col(name) == pl.col(name + _THERE))
    return set(table.join_where(there, *holds)[PARTITION])


def in_words(keys: Sequence[str]) -> str:
    """`3 partitions (2024-05-01 … 2024-05-09)`."""
    return f"{number(len(keys), 'partition')} ({keys[0] if len(keys) == 1 else f'{keys[0]} … {keys[-1]}'})"
