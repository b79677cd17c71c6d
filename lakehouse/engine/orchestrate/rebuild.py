"""`lakehouse rebuild`: make tables anew from all that their upstreams hold, and say beforehand what would change."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import dagster as dg

from lakehouse.engine.declare.errors import Refused, WrongUsage
from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.table import AnyTable, Declaration, Plain
from lakehouse.engine.declare.write import Reading
from lakehouse.engine.delta.travel import time_of
from lakehouse.engine.orchestrate.as_of import NOW, as_they_stood
from lakehouse.engine.orchestrate.bronze import land
from lakehouse.engine.orchestrate.here import as_read
from lakehouse.engine.orchestrate.load import plain_in
from lakehouse.engine.orchestrate.refine import refine
from lakehouse.engine.orchestrate.run import Ran, outcomes, run_job
from lakehouse.engine.orchestrate.stand import opened
from lakehouse.engine.orchestrate.table import Table
from lakehouse.engine.quality.difference import Difference, difference

_SELECTION = re.compile(r"(\+*)([\w/]+)(\+*)\Z")


class NoSuchTable(WrongUsage):
    """A selection names no table."""


def selected(assets: Sequence[dg.AssetsDefinition], selection: str) -> tuple[list[Table], list[Plain]]:
    """The tables of `silver/orders`, `silver/orders+` (and all downstream) or `+silver/orders`, upstreams first.

    Beside them the plain assets among these.
    """
    known = {each.declaration.key: each for each in assets if isinstance(each, Table)}
    match = _SELECTION.match(selection)
    if match is None or match[2] not in known:
        for each in plain_in(assets):
            if match and each.key == match[2]:
                raise NoSuchTable(each.left_alone)
        there = ", ".join(known) or "none is declared yet"
        raise NoSuchTable(f"{selection!r} names no table. Known: {there}; add + for all that is downstream.")
    words = dg.AssetSelection.from_string(f'{match[1]}key:"{match[2]}"{match[3]}')
    chosen = words.resolve(assets)
    return [each for each in known.values() if each.key in chosen], plain_in(assets, words)


def named(tables: Sequence[Table], key: str) -> Table:
    """The table with this key."""
    return _known({each.declaration.key: each for each in tables}, key)


def stored_as(assets: Sequence[dg.AssetsDefinition], key: str) -> AnyTable:
    """What is known of the table with this key, be it a plain asset's."""
    tables = {each.declaration.key: each.declaration for each in assets if isinstance(each, Table)}
    return _known({**tables, **{each.key: each for each in plain_in(assets)}}, key)


def _known[T](known: Mapping[str, T], key: str) -> T:
    if key not in known:
        raise NoSuchTable(f"{key!r} names no table. Known: {', '.join(known) or 'none is declared yet'}.")
    return known[key]


def left_behind(tables: Sequence[Table], made: Sequence[Table]) -> list[Table]:
    """Tables that read the new rows of one of these: once it is made anew, what is new to them cannot be told."""
    keys = {each.declaration.key for each in made}
    return [
        each
        for each in tables
        if each.declaration.key not in keys
        and any(read.reading is Reading.NEW and read.upstream.key in keys for read in each.declaration.reads)
    ]


def read_as_of(declared: Declaration, time: str | None, made: Sequence[Table]) -> dict[str, str]:
    """Run config `as_of` of a rebuild as of a time: of the upstreams that are not themselves `made` anew."""
    keys = {each.declaration.key for each in made}
    if time is None:
        return {}
    time_of(time)  # refused here where it is none: of the run config a number is a version
    if declared.is_bronze:
        raise NoSuchTable(f"{declared.key} reads files and no table, of which none is kept as it was at {time}.")
    return {read.upstream.key: time for read in declared.reads if read.upstream.key not in keys}


def compare(declared: Declaration, place: Place, as_of: Mapping[str, str] = NOW) -> Difference:
    """The exact difference between the table as it is read here and as a rebuild would make it now. Writes nothing.

    as_of: the upstreams that it would read as they stood at a version or a time.
    Both frames are held in memory. Raises Refused where the rebuild itself would be, and for what runs on Spark.
    """
    if declared.runs_on is not None:
        raise Refused(
            f"{declared.key} is made on Spark, in a run of its own: what a rebuild would change is known when it is "
            f"done. Nothing was written. To make it anew: lakehouse rebuild {declared.key}"
        )
    if declared.is_bronze:
        anew = land(declared, place, rebuild=True)
    else:
        upstreams = as_they_stood(opened(declared, place)[1], as_of, declared.key)
        anew = refine(declared, place, upstreams, rebuild=True)
    if anew.delivery is None or anew.refusal:
        raise Refused(anew.refusal or f"{declared.key} has nothing to be made from.")
    own = anew.delivery.handle or as_read(declared, place)
    standing = own.scan().collect() if own else declared.stored_schema.to_frame()
    found = difference(standing, anew.delivery.accepted, declared.key_columns)
    return replace(found, personal=declared.personal)


def rebuild(definitions: dg.Definitions, table: Table, instance: dg.DagsterInstance, as_of: Mapping[str, str]) -> Ran:
    """Make one table anew, in a run of its own that Dagster records; `as_of`: see `compare`."""
    why = " ".join([f"lakehouse rebuild {table.declaration.key}", *(f"--as-of {time}" for time in {*as_of.values()})])
    asked = {"rebuild": True, **({"as_of": dict(as_of)} if as_of else {})}
    return _run(definitions, table, instance, asked, why=why)


def reingest(definitions: dg.Definitions, table: Table, instance: dg.DagsterInstance, files: str) -> Ran:
    """Read files of a bronze table again on purpose, in a run of its own; `files`: a glob of the ends of names."""
    if not table.declaration.is_bronze:
        raise NoSuchTable(f"{table.declaration.key} reads no files; a bronze table does. Next: lakehouse rebuild")
    why = f"lakehouse reingest {table.declaration.key} --files '{files}'"
    return _run(definitions, table, instance, {"reingest": files}, why=why)


def _run(
    definitions: dg.Definitions, table: Table, instance: dg.DagsterInstance, asked: Mapping[str, object], *, why: str
) -> Ran:
    key = table.declaration.key
    config = {"ops": {key.replace("/", "__"): {"config": asked}}}
    all_keys = table.declaration.partitions.keys() if table.declaration.partitions else []
    partitions = (all_keys[0], all_keys[-1]) if all_keys else None
    result = run_job(definitions, [key], instance, why=why, config=config, partitions=partitions)
    return next(outcomes(result, [key]))
