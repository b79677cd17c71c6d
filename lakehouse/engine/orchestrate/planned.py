"""What the contracts as they are now ask of the tables as they stand, told before a run. Reads their logs only."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.table import Declaration, readers_of
from lakehouse.engine.delta.compatibility import Answer, Compatibility, check_compatibility
from lakehouse.engine.delta.evolution import files_anew
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.optimize import folds
from lakehouse.engine.delta.protocol import for_readers
from lakehouse.engine.delta.refused import Unreadable
from lakehouse.engine.orchestrate.inputs import as_declared, never_null, refuse_foreign_rows, refuse_other_ways
from lakehouse.engine.orchestrate.work import is_foreign


@dataclass(frozen=True)
class Planned:
    """What one table goes through: by its next run that writes, where that goes on; else why no run does it.

    version: that stands; None where none does. files, rows, bytes: what is written anew of it. readers: the keys of
    the tables that read it.
    """

    key: str
    version: int | None
    answer: Answer
    said: str
    readers: list[str]
    files: int = 0
    rows: int = 0
    bytes: int = 0


def planned(declared: Declaration, place: Place) -> Planned | None:
    """What the contract asks of the table at this place; None where it stays as it is. Writes nothing."""
    readers = readers_of(declared)
    try:
        own = Handle.open(place.table(declared))
    except Unreadable as why:
        return Planned(declared.key, None, Answer.REFUSE, str(why), readers)
    if own is None:
        return Planned(declared.key, None, Answer.COMPATIBLE, "its first run makes it", readers)
    found = check_compatibility(own.schema, declared.stored_schema, required=never_null(declared, own))
    try:
        said, anew = _carried_out(declared, own, found)
    except Refused as why:
        answer = Answer.REFUSE if found.goes_on else found.answer
        return Planned(declared.key, own.version, answer, str(why), readers)
    size = int(own.files().filter(pl.col("path").is_in(anew))["size"].sum())
    cost = (len(anew), own.rows_of(anew), size)
    return Planned(declared.key, own.version, found.answer, "; ".join(said), readers, *cost) if said else None


def _carried_out(declared: Declaration, own: Handle, found: Compatibility) -> tuple[list[str], list[str]]:
    """In words what is done, and the files that are written anew. Raises Refused where a run would, before it reads."""
    is_freed, is_theirs = folds(own, declared.readers), is_foreign(declared, own)
    view = as_declared(declared, own if is_freed else for_readers(own, declared.readers)) or own
    refuse_foreign_rows(declared, own)
    refuse_other_ways(declared, own)
    said, anew = [str(found)] if found.changes else [], files_anew(view)
    if own.partition_by != declared.partition_by:
        said = [*said, f"it is stored by {', '.join(declared.partition_by) or 'no column'} from then on"]
    if is_freed:
        said, anew = [*said, "its deletion vectors, which a reader cannot read, are folded in"], anew or [*own.vectors]
    if is_theirs:
        said = [*said, "no run of it made what stands there, and the first one replaces it"]
    is_replaced = said and (declared.is_written_whole or is_theirs)
    return said, own.files()["path"].to_list() if is_replaced else anew
