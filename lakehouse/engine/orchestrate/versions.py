"""A table at the versions that it had."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.table import AnyTable, Declaration
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.quarantine import torn_off
from lakehouse.engine.delta.travel import apart
from lakehouse.engine.ingest.rewind import lost_batches
from lakehouse.engine.orchestrate.here import as_read, lies_at
from lakehouse.engine.quality.difference import Difference, difference


def standing(declared: Declaration, place: Place) -> Handle:
    """The table as it is read here. Refused where it was not written yet."""
    handle = as_read(declared, place)
    if handle is None:
        raise Refused(f"{declared.key} was not written yet. Next: lakehouse run")
    return handle


class Part(NamedTuple):
    """A table, or what is kept beside it, and the words that mend it.

    repair: its checkpoints; anew: damaged files; afresh: where it does not open. lacks: what the table says that it
    should hold and does not, by name, and what mends that where it is not `anew`.
    """

    name: str
    address: Address
    repair: str
    anew: str
    afresh: str
    lacks: Callable[[Handle], tuple[Mapping[str, str], str]] = lambda _: ({}, "")


def parts(declared: AnyTable, place: Place) -> list[Part]:
    """A table as it is read here, its quarantine, and of a bronze table its ledger, whether they are there or not."""
    own, repair = lies_at(declared, place), f"lakehouse table repair {declared.key}"
    anew = declared.made_by
    if isinstance(declared, Declaration):  # who reads new rows of a bronze table cannot go on from one made anew
        anew = f"lakehouse rebuild {declared.key}" + "+" * declared.is_bronze
    found = [Part(declared.key, own, repair, anew, f"move {own} away: {anew}")]
    if isinstance(declared, Declaration):
        aside = place.quarantine_beside(own, declared)
        afresh = f"move {aside} away: {anew}"
        found += [
            Part(f"{declared.key}, its quarantine", aside, repair, anew, afresh, lambda own: (torn_off(own, aside), ""))
        ]
    if isinstance(declared, Declaration) and declared.is_bronze:
        ledger = place.ledger_beside(own, declared)
        anew = (
            f"put {ledger} back as it was, or move it and {own} away: lakehouse run lands anew what the landing holds"
        )
        lost = partial(lost_batches, declared, ledger)
        found += [Part(f"{declared.key}, its ledger", ledger, repair, anew, anew, lost)]
    return found


def between(declared: Declaration | None, one: Handle, other: Handle) -> Difference:
    """What `other` changed of `one`, two versions of it. What lies in files of only one of them is held in memory.

    Of a plain asset's table, which is not declared, whole rows are compared.
    """
    was, now, shared = apart(one, other)
    found = difference(was.collect(), now.collect(), declared.key_columns if declared else ())
    return replace(found, same=found.same + shared, personal=declared.personal if declared else ())
