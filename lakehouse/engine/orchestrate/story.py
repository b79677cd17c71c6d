"""`lakehouse why`: what the lake knows of one key, from the files it came with to the rows that were made of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from lakehouse.engine.declare.column import Column
from lakehouse.engine.declare.contract import columns_of
from lakehouse.engine.declare.errors import WrongUsage
from lakehouse.engine.declare.number import number
from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.table import Declaration, Read
from lakehouse.engine.delta import quarantine
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.log import read_commits
from lakehouse.engine.orchestrate.here import as_read
from lakehouse.engine.quality.text import read_text
from lakehouse.engine.quality.typed import typed

_SHOWN = 20
_ASIDE = ("kind", "source_file", "source_row", "reasons", "quarantined_at")


class NoSuchKey(WrongUsage):
    """A row is asked for in a way that the table does not know."""


@dataclass(frozen=True)
class Story:
    """Rows of one key of one table, `asked` in words. At most 20 of each are told.

    standing: the table's. arrivals: file, line and batch of every bronze row that has the key, and the table's version
    that first held it, where the log says so. set_aside: rows of the quarantines that name the key. made: by table, the
    rows of those that read this one which come of its standing rows.
    """

    table: str
    asked: str
    standing: pl.DataFrame
    arrivals: pl.DataFrame
    set_aside: pl.DataFrame
    made: Mapping[str, pl.DataFrame]

    def chapters(self) -> Iterator[tuple[str, pl.DataFrame]]:
        """Each with its title, as a person reads them."""
        yield f"{self.table}, {self.asked}", self.standing
        yield f"Came with (version: of {self.table}, the first that had read it)", self.arrivals
        yield "Was set aside", self.set_aside
        for key, rows in self.made.items():
            yield f"Made of it: {key}", rows


def story(declared: Declaration, tables: Sequence[Declaration], place: Place, values: Sequence[str]) -> Story:
    """What is known of the rows whose first key columns have these values. Reads the lake, writes nothing."""
    names = declared.key_columns
    if not names:
        raise NoSuchKey(f"{declared.key} has no key to ask for. Ask a table that reads it.")
    if not 0 < len(values) <= len(names):
        raise NoSuchKey(f"{declared.key}: {number(len(values), 'value')} given for its key ({', '.join(names)}).")
    key = dict(zip(names, values, strict=False))
    own = as_read(declared, place)
    if own is None:
        raise NoSuchKey(f"{declared.key} was not written yet. Next: lakehouse run")
    ours = {each.name: each for each in columns_of(declared.contract)}
    standing = own.scan().filter(pl.col(name) == _typed(declared, ours[name], value) for name, value in key.items())
    return Story(
        declared.key,
        ", ".join(f"{name} = {value}" for name, value in key.items()),
        standing.head(_SHOWN).collect(),
        _concat((_arrivals(own, read.upstream, place, key) for read in declared.reads), _CAME),
        _concat(_set_aside([declared, *(read.upstream for read in declared.reads)], place, key), _LEFT),
        dict(_made(declared, standing, tables, place)),
    )


def _typed(declared: Declaration, column: Column, value: str) -> pl.Expr:
    read = pl.DataFrame({"value": [value]}).select(read_text(pl.col("value"), column)).item()
    if read is None:
        raise NoSuchKey(f"{declared.key}: {value!r} is no {column.dtype}, as {column.name} is.")
    return pl.lit(read, column.dtype)


_CAME = pl.Schema(
    {"table": pl.String, "source_file": pl.String, "source_row": pl.Int64, "batch": pl.Int64, "version": pl.Int64}
)
_LEFT = pl.Schema({"table": pl.String, **{name: quarantine.ROWS[name] for name in _ASIDE}})


def _concat(frames: Iterator[pl.DataFrame], schema: pl.Schema) -> pl.DataFrame:
    return pl.concat([schema.to_frame(), *frames])


def _arrivals(own: Handle, upstream: Declaration, place: Place, key: Mapping[str, str]) -> pl.DataFrame:
    """The rows of a bronze upstream that have as much of the key as it knows by name."""
    theirs = [pl.col(name) == value for name, value in key.items() if name in upstream.schema]
    handle = as_read(upstream, place)
    if not upstream.is_bronze or not theirs or handle is None:
        return _CAME.to_frame()
    rows = handle.scan().filter(*theirs).select("source_file", "source_row", "batch").head(_SHOWN).collect()
    versions = _versions(own, handle, upstream.key) if rows.height else {}
    version = pl.col("batch").replace_strict(versions, default=None, return_dtype=pl.Int64)
    return rows.with_columns(table=pl.lit(upstream.key), version=version).select(_CAME.names())


def _versions(own: Handle, handle: Handle, upstream: str) -> dict[int, int]:
    """By batch of a bronze table, the first of our versions that had read it; nothing where a log was cleaned."""
    try:
        mine, others = (read_commits(each.address, 1, each.version) for each in (own, handle))
    except FileNotFoundError:
        return {}
    ours = [(commit.info.get(upstream), commit.version) for commit in mine if commit.is_a_run]
    theirs = [(commit.info.get("batch"), commit.version) for commit in others if commit.is_a_run]
    read = [(int(str(said)), version) for said, version in ours if str(said).isdecimal()]
    batches = {int(str(said)): version for said, version in reversed(theirs) if str(said).isdecimal()}
    found = {batch: next((version for upto, version in read if upto >= at), None) for batch, at in batches.items()}
    return {batch: version for batch, version in found.items() if version is not None}


def _set_aside(tables: Sequence[Declaration], place: Place, key: Mapping[str, str]) -> Iterator[pl.DataFrame]:
    """Rows with these values in their fields; of lines that did not parse, those in which all of them stand."""
    for each in dict.fromkeys(tables):
        handle = as_read(each, place)
        if handle is None:
            continue
        row = pl.col("row")
        names = [row.str.contains_any([value, json.dumps(value, ensure_ascii=False)[1:-1]]) for value in key.values()]
        fields = [row.str.json_path_match(f"$.{name}").eq(value).fill_null(value=True) for name, value in key.items()]
        rows = quarantine.read(handle, place.quarantine_beside(handle.address, each)).filter(
            *names, *([] if each.is_bronze else fields)
        )
        yield rows.with_columns(table=pl.lit(each.key)).select(_LEFT.names()).head(_SHOWN).collect()


def _made(
    declared: Declaration, standing: pl.LazyFrame, tables: Sequence[Declaration], place: Place
) -> Iterator[tuple[str, pl.DataFrame]]:
    for each in tables:
        handle = as_read(each, place)
        if handle is None or each.runs_on or declared not in [read.upstream for read in each.reads]:
            continue  # what Spark made of a row is not asked again here
        came = each.transform(*(standing if read.upstream is declared else _whole(read, place) for read in each.reads))
        keys = came.select(each.key_columns or each.schema.names()).unique().collect()
        yield each.key, handle.scan().join(keys.lazy(), on=keys.columns, how="semi").head(_SHOWN).collect()


def _whole(read: Read, place: Place) -> pl.LazyFrame:
    handle = as_read(read.upstream, place)
    rows = handle.scan() if handle else read.upstream.stored_schema.to_frame().lazy()
    return typed(read.upstream.contract, rows).lazy() if read.upstream.is_bronze else rows
