"""All that an upstream holds of some things, and no more of it than need be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import polars as pl
from polars.io.plugins import register_io_source

from lakehouse.engine.declare.contract import columns_of
from lakehouse.engine.delta.slices import Slices
from lakehouse.engine.orchestrate.inputs import Input, Rows
from lakehouse.engine.quality.text import read_text
from lakehouse.engine.quality.typed import typed

type _Names = set[str]
_SEED, _NUMBER = 4_242_424_242, 17  # what no transform asks of a column


def rows_of_things(
    transform: Callable[..., pl.LazyFrame], inputs: Sequence[Input], things: pl.DataFrame
) -> tuple[Rows, ...]:
    """Of every parameter the rows, whenever they came, of which a row of these things may come out; in order.

    things: a row for each, with the columns of what comes out that name it. Where a column of a parameter is not
    certainly one of them, all its rows are read.
    """
    named = named_by(transform, [each.read.upstream.handed_schema for each in inputs], things.columns)
    return tuple(
        _rows(replace(each, whole=True), things.select(pl.col(mine).alias(theirs) for theirs, mine in names.items()))
        for each, names in zip(inputs, named, strict=True)
    )


def named_by(
    transform: Callable[..., pl.LazyFrame], schemas: Sequence[pl.Schema], who: Sequence[str]
) -> list[dict[str, str]]:
    """Of each parameter the columns that are one of `who` when they come out, and which.

    Told by Polars, which asks a column that goes in what is asked of one that comes out only where that is the same.
    """
    found = [dict[str, str]() for _ in schemas]
    for name in who:
        told: list[list[_Names]] = [[] for _ in schemas]
        probes = [_probe(schema, name, each.append) for schema, each in zip(schemas, told, strict=True)]
        try:
            transform(*probes).filter(_asked(pl.col(name))).collect()
        except pl.exceptions.PolarsError:  # it cannot be run without rows
            continue
        for names, each in zip(found, told, strict=True):
            if each and (same := set.intersection(*each)):
                names[min(same)] = name
    return found


def _probe(schema: pl.Schema, name: str, tell: Callable[[_Names], None]) -> pl.LazyFrame:
    """No rows; tells which of its columns it is asked of what is asked of `name`, each time it is read."""

    def source(
        columns: list[str] | None, predicate: pl.Expr | None, first: int | None, _: int | None
    ) -> Iterator[pl.DataFrame]:
        asked = [] if predicate is None or first is not None else list(_parts(predicate))
        ways = {each: (_asked(pl.col(each)), _asked(pl.col(each).alias(name))) for each in schema}
        tell({each for each, some in ways.items() if any(part.meta.eq(way) for part in asked for way in some)})
        yield schema.to_frame().select(columns or schema.names())

    return register_io_source(source, schema=schema)


def _asked(column: pl.Expr) -> pl.Expr:
    return column.hash(_SEED) == pl.lit(_NUMBER, pl.UInt64)


def _parts(predicate: pl.Expr) -> Iterator[pl.Expr]:
    """What must all be true."""
    match predicate.meta.pop():
        case [right, left] if predicate.meta.eq(left & right):
            yield from _parts(left)
            yield from _parts(right)
        case _:
            yield predicate


def _rows(each: Input, things: pl.DataFrame) -> Rows:
    """The rows with one of these values. Of a bronze table all its text is looked through, and what fits is read."""
    upstream = each.read.upstream
    if not things.width:
        return each.rows()
    if not upstream.is_bronze:
        return replace(each, slices=Slices(things)).rows()
    columns = [each for each in columns_of(upstream.contract) if each.name in things.columns]
    fits = [read_text(pl.col(each.name), each).is_in(things[each.name].implode()) for each in columns]
    parted = typed(upstream.contract, each.stored.filter(fits))
    return Rows(each, parted.lazy(), parted.unread)
