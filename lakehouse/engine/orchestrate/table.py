"""`@table`: a declaration as a real Dagster asset. Called directly it is its bare transform: frames in, a frame out."""

import inspect
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypedDict, Unpack, cast
from warnings import catch_warnings, simplefilter

import dagster as dg
import polars as pl
from dagster._core.errors import DagsterExecutionInterruptedError

from lakehouse.engine.declare.errors import DeclarationError, Refused
from lakehouse.engine.declare.readers import EVERY_READER, Reader
from lakehouse.engine.declare.source import Files
from lakehouse.engine.declare.spark import Spark
from lakehouse.engine.declare.sql_words import SQL_WORDS
from lakehouse.engine.declare.table import Conserves, Declaration, declare
from lakehouse.engine.declare.write import Quarantine, Write
from lakehouse.engine.delta.protocol import check_new
from lakehouse.engine.orchestrate.catalog import check_specs, definition_metadata, specs_of
from lakehouse.engine.orchestrate.partitions import DagsterPartitions
from lakehouse.engine.orchestrate.step import config_of, step_of


class Retries(dg.RetryPolicy):
    """A retry policy that lets an interrupt through: after Ctrl-C or "terminate" Dagster would begin the step again."""

    def calculate_delay(self, attempt_num: int) -> int | float:
        interrupt = sys.exception()
        if isinstance(interrupt, KeyboardInterrupt | DagsterExecutionInterruptedError):
            raise interrupt
        return super().calculate_delay(attempt_num)


RETRIES = Retries(max_retries=3, delay=0.5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""For what is transient only (another writer was first, a server did not answer); a refusal is never repeated."""

_A = dg.AutomationCondition
_HANDLED = (_A.newly_requested() | _A.initial_evaluation()) & ~_A.any_deps_updated()


class DagsterWords(TypedDict, total=False):
    """Dagster's own arguments of `@asset`, under Dagster's own names."""

    automation_condition: dg.AutomationCondition[Any]
    backfill_policy: dg.BackfillPolicy
    freshness_policy: dg.FreshnessPolicy
    kinds: set[str]
    metadata: Mapping[str, Any]
    op_tags: Mapping[str, Any]
    owners: list[str]
    partitions_def: dg.PartitionsDefinition[Any]
    pool: str
    retry_policy: dg.RetryPolicy
    tags: Mapping[str, str]


class Table(dg.AssetsDefinition):
    """A table's asset. `declaration` is what its file says."""

    declaration: Declaration

    # a plain asset takes any object here; ours takes what its transform takes
    def __call__(self, *frames: pl.LazyFrame, **named: pl.LazyFrame) -> pl.LazyFrame:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The bare transform, without Dagster."""
        return self.declaration.transform(*frames, **named)


def table(  # noqa: PLR0913 # one parameter per declared fact
    *,
    write: Write,
    source: Files | None = None,
    rejects: Quarantine | None = None,
    conserves: Conserves = None,
    drops: Mapping[str, pl.Expr] | None = None,
    partition_by: str | Sequence[str] = (),
    runs_on: Spark | None = None,
    readers: Sequence[Reader] = EVERY_READER,
    zorder: str | Sequence[str] = (),
    **dagster: Unpack[DagsterWords],
) -> Callable[[Callable[..., pl.LazyFrame]], Table]:
    """Make a function of frames a table of the lake.

    write: how its rows are taken; source: where a bronze table's rows come from; rejects: set failing rows aside.
    conserves: "rows", or (expression over the input, expression over the output) that must be equal; drops: by name,
    a predicate over the input for what is left out on purpose. partition_by: the columns by whose values the files lie
    in folders (Hive's way), for a table so large that most reads and merges want a few of them: a million rows each.
    runs_on: Spark("a script"), where one machine is too small. readers: the engines beside ours that read it, all of
    them where it is not said: a commit that one of them could not read is refused. zorder: the columns, up to four,
    by which upkeep lays its rows, so that a filter on any of them reads few files. All other words are Dagster's.
    Raises DeclarationError when the declaration cannot work.
    """

    def of(transform: Callable[..., pl.LazyFrame]) -> Table:
        said: dict[str, Any] = {
            "conserves": conserves,
            "drops": drops,
            "partition_by": partition_by,
            "runs_on": runs_on,
            "readers": readers,
            "zorder": zorder,
        }
        if (partitions := dagster.get("partitions_def")) is not None:
            said["partitions"] = DagsterPartitions(partitions)
        declared = declare(transform, write=write, source=source, rejects=rejects, **said)
        _refuse_in_lake(declared)
        _refuse_unknown(declared, dagster)
        return _asset(declared, cast("dict[str, Any]", dagster))

    return of


def _refuse_unknown(declared: Declaration, words: Mapping[str, object]) -> None:
    known = [*inspect.getfullargspec(table).kwonlyargs, *DagsterWords.__annotations__]
    for word in words:
        if word not in inspect.signature(dg.asset).parameters:
            near = get_close_matches(word, known, n=1)
            hint = f"; did you mean {near[0]}=?" if near else f" (it has {', '.join(sorted(known))})."
            raise DeclarationError(f"{declared.key}: @table has no {word}={hint}")


def _refuse_in_lake(declared: Declaration) -> None:
    """What the lake cannot hold and Dagster could not tell apart is said at load, before a run meets it."""
    try:
        check_new(declared.key, declared.readers, declared.stored_schema)
    except Refused as why:
        raise DeclarationError(str(why)) from why
    if words := [name for name in declared.stored_schema if name.lower() in SQL_WORDS]:
        was = f', with was="{words[0]}" for what the source calls it' if declared.is_bronze else ""
        raise DeclarationError(
            f"{declared.key}: SQL keeps the word {' and '.join(words)} for itself, so who reads the table must "
            f"quote it. Give the column another name{was}."
        )
    names = Counter(each.name for each in specs_of(declared))
    if twice := [name for name, times in names.items() if times > 1]:
        raise DeclarationError(
            f"{declared.key}: there are two checks called {', '.join(twice)}; one of them is the engine's own, or "
            "follows from a column. Give the @check another name."
        )


def _asset(declared: Declaration, words: dict[str, Any]) -> Table:
    words["retry_policy"] = Retries(*words.get("retry_policy", RETRIES))
    words.setdefault("kinds", {"spark" if declared.runs_on else "polars", "deltalake", declared.layer})
    words.setdefault("pool", declared.key)  # one run at a time writes a table: concurrency in resources/dagster.yaml
    if condition := words.get("automation_condition"):
        words["automation_condition"] = _forgets_no_update(condition)
    words["metadata"] = {**definition_metadata(declared), **_sliced_by(declared), **words.get("metadata", {})}
    with catch_warnings():
        simplefilter("ignore", dg.BetaWarning)  # of backfill_policy=: Dagster is pinned, and backfills are tested
        made = _made(declared, words)
    made.__class__ = Table
    table_asset = cast("Table", made)
    table_asset.declaration = declared
    return table_asset


def _made(declared: Declaration, words: dict[str, Any]) -> dg.AssetsDefinition:
    return dg.asset(
        key=[declared.layer, declared.name],
        group_name=declared.layer,
        ins=dict(_ins(declared)),
        description=_description(declared),
        code_version=str(declared.logic),
        check_specs=check_specs(declared),
        required_resource_keys={"lake", declared.connection, "io_manager", *({"spark"} if declared.runs_on else ())},
        config_schema=config_of(declared),
        output_required=False,
        dagster_type=dg.Any,  # type: ignore[arg-type] # Dagster's own constant, typed as a class
        **words,
    )(step_of(declared))


def _forgets_no_update(condition: dg.AutomationCondition[Any]) -> dg.AutomationCondition[Any]:
    """Of `eager()` and what is made from it: an upstream's update counts as handled when a run was asked for.

    Dagster's own counts it as handled when the table is written, also by a run that had begun before the update and
    did not read it: its rows would wait for the next file. The price is a run with nothing to do now and then.
    """
    return condition.replace("handled", _HANDLED) if asks(condition, "any_deps_updated") else condition


def asks(condition: dg.AutomationCondition[Any], label: str) -> bool:
    """Whether a part of the condition is the one that Dagster calls so."""
    return condition.get_label() == label or any(asks(each, label) for each in condition.children)


def _ins(declared: Declaration) -> Iterator[tuple[str, dg.AssetIn]]:
    """One input for each upstream table. Which of its rows are read is told by columns, not by partitions."""
    upstreams = {read.upstream.key: read.upstream for read in declared.reads}
    for key, upstream in upstreams.items():
        shares = upstream.partitions is not None and set(upstream.slice_columns) & set(declared.slice_columns)
        mapping = None if shares or upstream.partitions is None else dg.AllPartitionMapping()
        pinned = {"lakehouse/pinned": True}
        yield key.replace("/", "__"), dg.AssetIn(key=key.split("/"), metadata=pinned, partition_mapping=mapping)


def _sliced_by(declared: Declaration) -> dict[str, Any]:
    """By which columns the rows are of partitions, in the words that plain assets say it in."""
    if declared.partitions is None:
        return {}
    columns = declared.slice_columns
    return {"partition_by": columns[0] if len(columns) == 1 else {name: name for name in columns}}


def _description(declared: Declaration) -> str:
    return inspect.getdoc(declared.contract) or ""
