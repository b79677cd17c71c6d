"""What is made in an environment, and what is not, and why."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.ports import Address, Cluster
from lakehouse.engine.declare.table import AnyTable, Declaration, Plain
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.refused import Unreadable
from lakehouse.engine.orchestrate.table import Table

TABLES_AT_ONCE = 16


def left_out(tables: Sequence[Table], cluster: Cluster) -> dict[str, str]:
    """The tables that cannot be made here for want of a Spark, by key, each with the sentence that says so."""
    on_spark = [each.declaration.key for each in tables if each.declaration.runs_on]
    why = cluster.why_not() if on_spark else ""
    return {key: f"{key} is left out here: it runs on Spark, and {why}" for key in on_spark if why}


def unmade(tables: Sequence[Table], place: Place) -> list[str]:
    """The keys of the tables that the lake does not have, so that the one behind is read."""
    with ThreadPoolExecutor(TABLES_AT_ONCE) as pool:
        handles = pool.map(lambda each: Handle.open(place.table(each.declaration)), tables)
        return [each.declaration.key for each, handle in zip(tables, handles, strict=True) if handle is None]


def as_read(declared: Declaration, place: Place) -> Handle | None:
    """A table as its readers find it: where the lake has none, as it stands in the one behind."""
    return or_behind(Handle.open(place.table(declared)), declared, place)


def lies_at(declared: AnyTable, place: Place) -> Address:
    """Where a table lies as its readers find it, whether it opens or not."""
    own, behind = place.table(declared), None if isinstance(declared, Plain) else place.behind_of(declared)
    with suppress(Unreadable):
        return behind if behind and Handle.open(own) is None else own
    return own


def or_behind(own: Handle | None, declared: Declaration, place: Place) -> Handle | None:
    behind = place.behind_of(declared) if own is None else None
    return Handle.open(behind) if behind else own
