"""A declaration tried on empty frames of its upstreams: what cannot work is said at load, before data is touched."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import polars as pl

from lakehouse.engine.declare.errors import DeclarationError

if TYPE_CHECKING:
    from lakehouse.engine.declare.table import Declaration

_MISSING = re.compile(r'^(?:unable to find column )?"(?P<missing>.*?)"(?P<valid>; valid columns: \[(?P<names>.*)\])?')


def returned_schema(declared: Declaration) -> pl.Schema:
    """What the transform returns for empty frames. Raises DeclarationError naming table, column and "did you mean"."""
    frames = [pl.LazyFrame(schema=read.upstream.handed_schema) for read in declared.reads]
    try:
        returned: Any = declared.transform(*frames)
        if isinstance(returned, pl.LazyFrame):
            return returned.collect_schema()
    # the boundary of this room: a transform is the user's code, and may raise anything
    except Exception as broken:
        raise DeclarationError(
            f"{declared.key}: its transform fails on empty frames: {_explained(declared, broken)}."
        ) from broken
    way_out = "; end it with .lazy()" if isinstance(returned, pl.DataFrame) else ""
    raise DeclarationError(
        f"{declared.key}: its transform returned {type(returned).__name__}, not a LazyFrame{way_out}."
    )


def try_counting(declared: Declaration) -> None:
    """Ask `conserves` and `drops` of empty frames. Each must go with at least one of the upstreams."""
    handed = [read.upstream.handed_schema for read in declared.reads]
    for name, predicate in declared.drops.items():
        _ask(f"{declared.key}: drops[{name!r}]", predicate, handed)
    if isinstance(declared.conserves, tuple):
        into, out_of = declared.conserves
        _ask(f"{declared.key}: conserves' first expression", into, handed)
        _ask(f"{declared.key}: conserves' second expression", out_of, [declared.returned_schema])


def _ask(what: str, asked: pl.Expr, schemas: Iterable[pl.Schema]) -> None:
    faults: list[str] = []
    for schema in schemas:
        try:
            pl.LazyFrame(schema=schema).select(asked).collect_schema()
        except pl.exceptions.PolarsError as broken:
            faults.append(_said(broken, set(schema)))
        else:
            return
    told = "; ".join(faults)
    stop = "" if told.endswith("?") else "."
    raise DeclarationError(f"{what} goes with none of the frames that it is asked of: {told}{stop}")


def _explained(declared: Declaration, broken: Exception) -> str:
    known = {name for read in declared.reads for name in read.upstream.handed_schema}
    said = _said(broken, known)
    if not isinstance(broken, pl.exceptions.ColumnNotFoundError):
        return said
    handed = "; ".join(
        f"{read.upstream.key} hands over {', '.join(read.upstream.handed_schema)}" for read in declared.reads
    )
    return f"{said} ({handed})"


def _said(broken: Exception, known: set[str]) -> str:
    first = str(broken).split("\n", 1)[0]
    found = _MISSING.match(first)
    if not isinstance(broken, pl.exceptions.ColumnNotFoundError) or found is None:
        return f"{type(broken).__name__}: {first}"
    there = re.findall(r'"(.*?)"', found["names"] or "") or sorted(known)
    near = get_close_matches(found["missing"], there, n=1)
    return f"column {found['missing']!r} is not there" + (f"; did you mean {near[0]!r}?" if near else "")
