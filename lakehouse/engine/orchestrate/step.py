"""The step that Dagster runs for a table: what `work` finds, as checks, metadata and one value for the IO manager."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import dagster as dg
import polars as pl
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION

from lakehouse.engine.declare.errors import Terminal
from lakehouse.engine.declare.number import number
from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.delta.check import told_where_altered
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.refused import told_where_refused
from lakehouse.engine.orchestrate.as_of import NOW, as_they_stood, marked
from lakehouse.engine.orchestrate.bronze import land
from lakehouse.engine.orchestrate.catalog import check_result, preview, shown
from lakehouse.engine.orchestrate.on_spark import refine_on_spark
from lakehouse.engine.orchestrate.plots import plots
from lakehouse.engine.orchestrate.progress import Landing, watched
from lakehouse.engine.orchestrate.refine import refine
from lakehouse.engine.orchestrate.work import LOGIC, MIXED, Work

CODE_VERSION = "dagster/code_version"
_NOTHING_NEW = {SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True}
"""Makes Dagster log no materialization of an output that is given: where none is given, it skips all that is downstream
in the same run, also what has work of its own to do."""

_REBUILD = dg.Field(
    bool,
    default_value=False,
    description="Make the table anew from all that its upstreams hold, and replace table and quarantine.",
)
_REINGEST = dg.Field(
    str,
    default_value="",
    description="Files that are read again although they were read before, as in dt=2011-09-05/*. Else what is new.",
)
_AS_OF = dg.Field(
    dg.Map(str, str),
    default_value={},
    description="Of upstream tables, by key, a version or a time: bronze/erp_orders: 2026-01-31T12:00:00Z. The table "
    "is made anew from what these were then and the others are now; its next run reads on from there.",
)


def config_of(declared: Declaration) -> dict[str, dg.Field]:
    """What may be said to one run of the table, in the UI too."""
    return {"rebuild": _REBUILD, **({"reingest": _REINGEST} if declared.is_bronze else {"as_of": _AS_OF})}


def step_of(declared: Declaration) -> Callable[..., Iterator[Any]]:
    """A compute function with one parameter per upstream table, whose values are futures of pinned handles."""
    upstreams = list(dict.fromkeys(read.upstream.key for read in declared.reads))

    def step(context: dg.AssetExecutionContext, **handles: Future[Handle | None]) -> Iterator[Any]:
        resources, most = context.resources, getattr(context.resources.io_manager, "merge_memory_mb", None)
        place = Place(resources.lake, getattr(resources, declared.connection), memory=most and most << 20)
        asked = context.op_execution_context.op_config
        pinned = _Opened({key: handles[key.replace("/", "__")] for key in upstreams})
        words = {"keys": _partitions(context), "landing": Landing(declared.key, context.log.info), **asked}
        yield from _events(declared, _work(declared, place, pinned, context, **words))

    parameters = [inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    parameters += [
        inspect.Parameter(key.replace("/", "__"), inspect.Parameter.POSITIONAL_OR_KEYWORD) for key in upstreams
    ]
    step.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # Dagster reads it
    step.__name__ = declared.name
    return step


class _Opened(Mapping[str, Handle | None]):
    """Tables by key, each waited for when it is asked for: meanwhile the table that reads them is opened."""

    def __init__(self, opening: Mapping[str, Future[Handle | None]]) -> None:
        self._opening = opening

    def __getitem__(self, key: str) -> Handle | None:
        return self._opening[key].result()

    def __iter__(self) -> Iterator[str]:
        return iter(self._opening)

    def __len__(self) -> int:
        return len(self._opening)


def _partitions(context: dg.AssetExecutionContext) -> list[str] | None:
    """The keys of a run's partitions; None where it has none."""
    has_some = context.has_partition_key or context.has_partition_key_range
    return [str(key) for key in context.partition_keys] if has_some else None


@contextmanager
def not_tried_again(place: Place) -> Iterator[None]:
    """What is transient stays an exception, which a retry policy repeats; what is not becomes a Failure."""
    try:
        with told_where_refused(*(lake.address() for lake in (place.lake, place.behind) if lake)):
            yield
    except Terminal as error:
        raise dg.Failure(str(error), allow_retries=False) from error


def _work(  # noqa: PLR0913 # what a run may be told
    declared: Declaration,
    place: Place,
    pinned: Mapping[str, Handle | None],
    context: dg.AssetExecutionContext,
    *,
    keys: list[str] | None,
    landing: Landing,
    rebuild: bool,
    reingest: str = "",
    as_of: Mapping[str, str] = NOW,
) -> Work:
    """The one boundary where errors become Dagster's: what trying again will not mend is not tried again."""
    try:
        with not_tried_again(place):
            if declared.is_bronze:
                return land(declared, place, rebuild=rebuild, reingest=reingest, progress=landing)
            then, rebuild = as_they_stood(pinned, as_of, declared.key), rebuild or bool(as_of)
            if declared.runs_on is not None:
                on_spark = refine_on_spark(declared, place, then, context.op_execution_context, rebuild=rebuild)
                return marked(on_spark, as_of)
            with told_where_altered(then.values):
                return marked(refine(declared, place, then, rebuild=rebuild, keys=keys), as_of)
    except pl.exceptions.PolarsError as error:
        if _hides_values(declared):
            why = f"{type(error).__name__}. What Polars says of it may hold personal values and is left out"
            said = f"{declared.key}: its transform failed: {why}: call the transform on what it reads to see it."
            raise dg.Failure(said, allow_retries=False) from None
        raise dg.Failure(f"{declared.key}: its transform failed: {error}", allow_retries=False) from error


def _hides_values(declared: Declaration) -> bool:
    return any(each.personal for each in (declared, *(read.upstream for read in declared.reads)))


def _events(declared: Declaration, work: Work) -> Iterator[Any]:
    checks = [check_result(declared, found) for found in work.findings]
    delivery = work.delivery
    if delivery is None:
        if work.refusal:
            yield from checks
            raise dg.Failure(work.refusal, metadata=shown(work.facts), allow_retries=False)
        yield dg.MaterializeResult(check_results=checks, metadata=_NOTHING_NEW)
        return
    watched(f"{declared.key}: writing {number(delivery.accepted.height, 'row')}")
    if work.refusal:  # the handling of the value raises, and checks that come with it would be lost
        yield from checks
        checks = []
    logic = delivery.transactions.get(LOGIC) or (delivery.handle and delivery.handle.transaction(LOGIC))
    yield dg.MaterializeResult(
        value=delivery,
        check_results=checks,
        metadata={**shown(work.facts), **plots(declared, delivery), "preview": preview(declared, delivery.accepted)},
        tags={CODE_VERSION: "mixed" if logic == MIXED else str(logic)},
    )
