"""A table whose rows a script for Spark makes: the job leaves them in a staging place, and here they are judged."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import polars as pl

from lakehouse.engine.declare.errors import LakehouseError, Refused, Terminal
from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.ports import Address, SparkJob
from lakehouse.engine.declare.spark import script_of
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.orchestrate.refine import refine
from lakehouse.engine.orchestrate.work import Work

STAGING = "staging"
"""Folder of the lake where jobs leave their rows, in `staging/<layer>/<table>/<version to come>-<attempt>`."""

_logger = logging.getLogger(__name__)


def refine_on_spark(
    declared: Declaration, place: Place, pinned: Mapping[str, Handle | None], context: Any, *, rebuild: bool
) -> Work:
    """As `refine`, with the rows that the table's script leaves. Where they lay is taken away again."""
    own = Handle.open(place.table(declared))
    facts: dict[str, object] = {}
    with ExitStack() as afterwards:

        def made(*_frames: pl.LazyFrame) -> pl.LazyFrame:
            staged = _staged(declared, context, own)
            _tidy(place, declared, own)
            afterwards.callback(_remove, place, staged)
            job = _job(declared, pinned, place.lake.address(*staged), _attempt(declared, context))
            try:
                facts.update(context.resources.spark.run(job, context))
            except Terminal as failed:
                stands = f"version {own.version} stands" if own else "there is no table yet"
                raise Refused(f"{failed}\nNothing was written; {stands}.") from failed
            return _left(job)

        work = refine(declared, place, pinned, rebuild=rebuild, transform=made)
    return replace(work, facts={**facts, **work.facts})


def _job(declared: Declaration, pinned: Mapping[str, Handle | None], writes: Address, token: str) -> SparkJob:
    reads: dict[str, tuple[Address, int]] = {}
    for read in declared.reads:
        handle = pinned[read.upstream.key]
        if handle is None:
            raise Refused(f"{declared.key} reads {read.upstream.key}, which is not there yet. Nothing was written.")
        reads[read.parameter] = (handle.address, handle.version)
    return SparkJob(declared.key, token, script_of(declared), reads, writes)


def _left(job: SparkJob) -> pl.LazyFrame:
    """The rows that a job left: those of its one commit, so that they are all there or none."""
    left = Handle.open(job.writes)
    if left is None:
        raise Refused(
            f"{job.table}: {job.script.name} ended well and left no Delta table at {job.writes}. Nothing was written. "
            "Let it save its rows there, where it is told to by `writes`."
        )
    return left.scan()


def _staged(declared: Declaration, context: Any, own: Handle | None) -> tuple[str, ...]:
    to_come = own.version + 1 if own else 0
    return (STAGING, declared.layer, declared.name, f"{to_come}-{_attempt(declared, context)[:16]}")


def _attempt(declared: Declaration, context: Any) -> str:
    """The same for one attempt of one run, whatever is sent twice, and no other's."""
    said = f"{context.run_id} {declared.key} {context.retry_number}"
    return hashlib.sha256(said.encode()).hexdigest()


def _tidy(place: Place, declared: Declaration, own: Handle | None) -> None:
    """Take away what killed attempts left: those for a version that stands by now could not be committed any more."""
    folder = (STAGING, declared.layer, declared.name)
    for name in place.lake.folders(*folder) if own else ():
        to_come = name.partition("-")[0]
        if own and to_come.isdigit() and int(to_come) <= own.version:
            _remove(place, (*folder, name))


def _remove(place: Place, folder: Sequence[str]) -> None:
    """It only helps: what fails is left to the next start."""
    try:
        place.lake.remove(*folder)
    except (LakehouseError, OSError) as passing:
        _logger.warning("%s: what a job left was not taken away: %s", "/".join(folder), passing)
