"""What a declaration may not say, though each of its words is right by itself."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

import polars as pl

from lakehouse.engine.declare.contract import LAYERS, Bronze, columns_of
from lakehouse.engine.declare.errors import DeclarationError
from lakehouse.engine.declare.formats import Csv, Excel
from lakehouse.engine.declare.history import in_history
from lakehouse.engine.declare.slicing import in_slicing
from lakehouse.engine.declare.source import Snapshots
from lakehouse.engine.declare.spark import faults as faults_on_spark
from lakehouse.engine.declare.write import Append, History, Merge, ReplacePartition, why_not

if TYPE_CHECKING:
    from lakehouse.engine.declare.table import Declaration, Read


def refuse(declared: Declaration, beside: pl.Schema) -> None:
    """Raise DeclarationError with the first fault. `beside` names what a bronze table stores beside its columns."""
    special = _in_bronze(declared, beside) if declared.is_bronze else _in_reading(declared)
    for fault in chain(_in_general(declared), special, faults_on_spark(declared)):
        raise DeclarationError(f"{declared.key}: {fault}")


def _in_general(declared: Declaration) -> Iterator[str]:
    name, write = declared.contract.__name__, declared.write
    if (declared.source is None) == (not declared.reads):
        yield "a table has either source=… and no parameter, or reads other tables."
    if declared.is_bronze != issubclass(declared.contract, Bronze):
        yield "a Bronze contract takes source=…, and only a Bronze contract does."
    if not declared.grain:
        yield f"{name} has no docstring; its first line is the grain."
    if isinstance(write, Merge):
        yield from _in_merge(declared, write)
    if isinstance(write, History):
        yield from in_history(declared, write)
    if declared.layer == "gold" and not declared.key_columns:
        yield "a gold table states its grain; mark its columns with column(…, key=True)."
    if declared.marker in declared.schema:
        yield (
            f"{type(write).__name__}(deletes={declared.marker!r}) names a column of {name}, and what it is true of is "
            "not stored: take it out of the contract. To keep deleted rows and their mark, leave deletes=… away."
        )
    yield from in_slicing(declared)
    yield from _in_the_log(declared)
    if not _is_conserved(declared.conserves):
        yield f'conserves={declared.conserves!r} is neither "rows" nor two expressions, of the input and the output.'


def _in_merge(declared: Declaration, write: Merge) -> Iterator[str]:
    if not declared.key_columns:
        yield "Merge() needs a key; mark its columns with column(…, key=True)."
    for word, named in (("replaces", write.replaces), ("newest_by", write.newest_by)):
        if named is not None and named not in declared.schema:
            yield f"Merge({word}={named!r}) names no column of {declared.contract.__name__}."
    if write.replaces and write.newest_by:
        yield "Merge(replaces=…) takes the later arrival of a group, and newest_by= asks each row; say one of them."
    if write.deletes:
        yield from _in_deleting(write)


def _in_deleting(write: Merge) -> Iterator[str]:
    if write.replaces:
        yield "Merge(replaces=…) takes away by itself what a group no longer holds; leave deletes=… away."
    if write.newest_by:
        yield (
            "Merge(deletes=…, newest_by=…): of a key that was deleted nothing stands, so that a row which came late, "
            "older than its deletion, would stand up again. Leave newest_by=… away where rows arrive in order; else "
            "keep the mark as a column of the contract, and leave it out downstream."
        )


def _in_the_log(declared: Declaration) -> Iterator[str]:
    """Folders and transactions are written in the log, which keeps them when the rows are long gone."""
    kept = [*declared.partition_by]
    match declared.write:
        case ReplacePartition():
            kept += declared.slice_columns
        case History(valid_at=valid_at):
            kept.append(valid_at)
        case _:
            pass
    for name in (name for name in kept if name in declared.personal):
        yield (
            f"column {name!r} is personal, and the values of what a table is stored, replaced or kept by stand in its "
            "log and in messages. Go by another column."
        )


def _in_what_is_read(declared: Declaration, read: Read) -> Iterator[str]:
    """What is personal upstream is not shown here because somebody forgot a word."""
    theirs = read.upstream.personal
    for each in columns_of(declared.contract):
        if each.name in theirs and each.personal is None and not each.is_personal:
            yield (
                f"column {each.name!r} is personal in {read.upstream.key}: say column(…, personal=True) of it here as "
                "well, or personal=False where its values may be shown."
            )


def _is_conserved(conserves: Any) -> bool:
    match conserves:
        case None | "rows" | (pl.Expr(), pl.Expr()):
            return True
        case _:
            return False


def _in_bronze(declared: Declaration, beside: pl.Schema) -> Iterator[str]:
    if not isinstance(declared.write, Append):
        yield "a source is appended; write=Append()."
    if declared.rejects is not None:
        yield "bronze sets aside what it cannot read by itself; leave rejects=… to the tables that read it."
    if declared.conserves is not None or declared.drops:
        yield "landing counts every record by itself; leave conserves=… and drops=… to the tables that read it."
    if isinstance(declared.source, Snapshots) and declared.source.valid_at not in declared.schema:
        yield f"valid_at={declared.source.valid_at!r} names no column of {declared.contract.__name__}."
    for flat, said in ((Csv, "a field of CSV"), (Excel, "a cell of Excel")):
        if declared.source and any(isinstance(each, flat) for each in declared.source.dialects):
            for name in (name for name, dtype in declared.schema.items() if dtype.is_nested()):
                yield f"column {name!r} is {declared.schema[name]}, and {said} is one text; declare it `str`."
    for name in declared.schema:
        if name.lower() in beside:
            yield (
                f"{declared.contract.__name__}.{name}: every bronze table stores a column {name.lower()!r} of its own "
                f"(as it does {', '.join(beside)}). Leave the field undeclared: it is kept in 'extra'."
            )


def _in_reading(declared: Declaration) -> Iterator[str]:
    for read in declared.reads:
        upstream = read.upstream
        if sentence := why_not(declared.write, read.reading, upstream.contract.__name__, upstream.write):
            yield sentence
        if LAYERS.index(upstream.layer) > LAYERS.index(declared.layer):
            yield f"it reads {upstream.key}, and a table reads its own or a lower layer."
        yield from _in_replacing(declared.write, read)
        yield from _in_what_is_read(declared, read)
    if isinstance(declared.write, Append) and declared.key_columns:
        yield (
            f"Append() looks at no row that stands, so that a key ({', '.join(declared.key_columns)}) could be there "
            "twice. Write Merge(), which keeps the later row of each, or, below gold, leave key=True away."
        )


def _in_replacing(write: object, read: Read) -> Iterator[str]:
    if isinstance(write, Merge) and write.replaces and write.replaces not in read.upstream.schema:
        yield (
            f"Merge(replaces={write.replaces!r}) needs a column of that name in {read.upstream.key}, "
            "to tell which arrival of a group is the later one."
        )
