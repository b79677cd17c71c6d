"""Dagster's jobs that keep tables: one for each layer, with an op for each table."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from lakehouse.engine.declare.errors import Terminal
from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.declare.upkeep import Policies
from lakehouse.engine.delta.refused import told_where_refused
from lakehouse.engine.orchestrate.table import RETRIES, Table
from lakehouse.engine.orchestrate.upkeep import keep_up, observed


def upkeep_jobs(tables: Sequence[Table]) -> list[dg.JobDefinition]:
    """A job for each layer that has tables: an op for each, so that one that is refused stops no other."""
    layers = dict.fromkeys(each.declaration.layer for each in tables)
    return [_job(layer, [each.declaration for each in tables]) for layer in layers]


def _job(layer: str, tables: Sequence[Declaration]) -> dg.JobDefinition:
    ops = [_op(each, tables) for each in tables if each.layer == layer]
    graph = dg.GraphDefinition(
        name=f"upkeep_{layer}",
        node_defs=ops,
        description=f"Joins small files of the {layer} tables, sums their logs up, and takes away what is older than "
        "their retention (`upkeep:` of the environment file). What it did stands in each table's observations.",
    )
    return graph.to_job()


def _op(declared: Declaration, tables: Sequence[Declaration]) -> dg.OpDefinition:
    def kept(context: dg.OpExecutionContext) -> None:
        resources: Any = context.resources
        policies: Policies = resources.upkeep
        policy = policies.policy(declared.key)
        if policy is None:
            context.log.info("%s is not kept here: `upkeep:` names neither it nor its layer.", declared.key)
            return
        place = Place(resources.lake, resources.lake)
        try:
            with told_where_refused(place.lake.address()):
                done = keep_up(declared, place, policy, tables)
        except Terminal as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        if done is None:
            context.log.info("%s was not written yet.", declared.key)
            return
        context.log_event(observed(declared, done.facts))

    return dg.op(
        name=f"keep__{declared.layer}__{declared.name}",
        description=f"Keeps {declared.key}.",
        out=dg.Out(dg.Nothing),
        required_resource_keys={"lake", "upkeep"},
        retry_policy=RETRIES,
    )(kept)
