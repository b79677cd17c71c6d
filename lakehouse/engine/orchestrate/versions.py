"""A table at the versions that it had."""

from __future__ import annotations

from dataclasses import replace

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.travel import apart
from lakehouse.engine.orchestrate.here import as_read
from lakehouse.engine.quality.difference import Difference, difference


def standing(declared: Declaration, place: Place) -> Handle:
    """The table as it is read here. Refused where it was not written yet."""
    handle = as_read(declared, place)
    if handle is None:
        raise Refused(f"{declared.key} was not written yet. Next: lakehouse run")
    return handle


def beside(declared: Declaration, handle: Handle, place: Place) -> dict[str, Address]:
    """Where what is kept beside a table, `handle`, would lie: its quarantine, and of a bronze table its ledger."""
    kept = {"quarantine": place.quarantine_beside(handle.address, declared)}
    return kept | ({"ledger": place.ledger_beside(handle.address, declared)} if declared.is_bronze else {})


def between(declared: Declaration | None, one: Handle, other: Handle) -> Difference:
    """What `other` changed of `one`, two versions of it. What lies in files of only one of them is held in memory.

    Of a plain asset's table, which is not declared, whole rows are compared.
    """
    was, now, shared = apart(one, other)
    found = difference(was.collect(), now.collect(), declared.key_columns if declared else ())
    return replace(found, same=found.same + shared, personal=declared.personal if declared else ())
