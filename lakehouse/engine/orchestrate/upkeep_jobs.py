"""Dagster's jobs over tables that stand: for each layer one that keeps and one that checks; and one that puts back."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import dagster as dg
from pydantic import Field

from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.table import AnyTable, Declaration
from lakehouse.engine.declare.upkeep import Policies, Policy
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.orchestrate.catalog import as_table
from lakehouse.engine.orchestrate.load import connections_of, plain_in
from lakehouse.engine.orchestrate.rebuild import stored_as
from lakehouse.engine.orchestrate.restore import Step, carry_out, left_alone, plan_to, restored_event
from lakehouse.engine.orchestrate.step import not_tried_again
from lakehouse.engine.orchestrate.table import RETRIES, Table
from lakehouse.engine.orchestrate.upkeep import examine, keep_up, observed, own_table
from lakehouse.engine.quality.profile import profile


class Told(NamedTuple):
    """What is said of a table: as its observation, as a warning of the run, and why the run fails."""

    facts: Mapping[str, object]
    warning: str = ""
    refusal: str = ""


_VERBS = {"upkeep": "keep", "check": "check"}

type _Work = Callable[[AnyTable, Place, Policy, Sequence[Declaration]], Told | None]


def upkeep_jobs(assets: Sequence[dg.AssetsDefinition]) -> list[dg.JobDefinition]:
    """A job for each layer that has tables: an op for each, so that one that is refused stops no other.

    Plain assets belong to the layer that their key begins with.
    """
    said = (
        "Joins small files of the {} tables, sums their logs up, and takes away what is older than their retention "
        "(`upkeep:` of the environment file). What it did stands in each table's observations."
    )
    return _by_layer("upkeep", assets, _kept, said)


def check_jobs(assets: Sequence[dg.AssetsDefinition]) -> list[dg.JobDefinition]:
    """The same, to read every file: what is damaged fails the run; what the values are like is told beside it."""
    said = (
        "Reads the {} tables that `upkeep:` of the environment file names, whole, with their logs, and fails where a "
        "file is damaged. What it found stands in each table's observations, with a profile of the values."
    )
    return _by_layer("check", assets, _checked, said)


def _kept(declared: AnyTable, place: Place, policy: Policy, tables: Sequence[Declaration]) -> Told | None:
    done = keep_up(declared, place, policy, tables)
    return done and Told(done.facts, warning=done.retention and f"{declared.key}: its retention is {done.retention}")


def _checked(declared: AnyTable, place: Place, _: Policy, __: Sequence[Declaration]) -> Told | None:
    everything = [*examine(declared, place, lambda: own_table(declared, place))]
    if not everything:
        return None
    facts = dict(everything[0].facts)
    if not everything[0].refusal and (handle := own_table(declared, place)) is not None:
        facts["profile"] = as_table(profile(handle.scan(), declared.personal)[1])
    return Told(facts, refusal=" ".join(each.refusal for each in everything if each.refusal))


def _by_layer(name: str, assets: Sequence[dg.AssetsDefinition], work: _Work, said: str) -> list[dg.JobDefinition]:
    declared, plain = [each.declaration for each in assets if isinstance(each, Table)], plain_in(assets)

    def of(layer: str) -> dg.JobDefinition:
        ops = [_op(name, each, declared, work) for each in (*declared, *plain) if each.path[0] == layer]
        return dg.GraphDefinition(name=f"{name}_{layer}", node_defs=ops, description=said.format(layer)).to_job()

    return [of(layer) for layer in dict.fromkeys(each.layer for each in declared)]


def _op(job: str, declared: AnyTable, tables: Sequence[Declaration], work: _Work) -> dg.OpDefinition:
    def done(context: dg.OpExecutionContext) -> None:
        resources: Any = context.resources
        policies: Policies = resources.upkeep
        policy = policies.policy(declared.key)
        if policy is None:
            context.log.info("%s is left alone here: `upkeep:` names neither it nor its layer.", declared.key)
            return
        place = Place(resources.lake, resources.lake)
        with not_tried_again(place):
            told = work(declared, place, policy, tables)
        if told is None:
            context.log.info("%s was not written yet.", declared.key)
            return
        context.log_event(observed(declared, told.facts))
        if told.warning:
            context.log.warning(told.warning)
        if told.refusal:
            raise dg.Failure(told.refusal, allow_retries=False)

    return dg.op(
        name=f"{_VERBS[job]}__{dg.AssetKey(declared.path).to_python_identifier()}",
        description=f"{_VERBS[job].title()}s {declared.key}.",
        out=dg.Out(dg.Nothing),
        required_resource_keys={"lake", "upkeep"},
        retry_policy=RETRIES,
    )(done)


class Asked(dg.Config):
    """Which table is put back, and to what: `version` or `as_of`."""

    table: str = Field(description="A table, silver/orders.")
    version: int | None = Field(None, description="Of `lakehouse table history`.")
    as_of: str | None = Field(None, description="The version that stood then: 2026-01-31T12:00:00Z.")
    downstream: bool = Field(False, description="Put back also what has read later versions, as far as needed.")
    accept_loss: bool = Field(False, description="Also where files that would have to land again are gone.")
    accept_rebuild: bool = Field(False, description="Also where tables downstream will have to be made anew.")
    dry_run: bool = Field(False, description="Only say what would be done.")


def restore_job(assets: Sequence[dg.AssetsDefinition]) -> dg.JobDefinition:
    """`lakehouse table restore` as a job: its run config says what the command's words say."""
    tables = [each for each in assets if isinstance(each, Table)]
    declared = [each.declaration for each in tables]
    connections = {"lake", "landing", *connections_of(tables).values()}

    def put_back(context: dg.OpExecutionContext, config: Asked) -> None:
        resources: Any = context.resources
        known, behind = {name: getattr(resources, name) for name in connections}, resources.io_manager.behind
        place = Place(resources.lake, resources.landing, known, behind=behind)
        done = dict[str, int]()

        def tell(step: Step, restored: Handle) -> None:
            done[step.declared.key] = restored.version
            context.log.info(
                "%s is put back, as version %d. To undo: %s", step.declared.key, restored.version, step.undo
            )
            context.log_event(restored_event(step, restored))

        with not_tried_again(place):
            asked = {"version": config.version, "as_of": config.as_of, "downstream": config.downstream}
            root = stored_as(assets, config.table)
            planned = plan_to(root, declared, place, **asked)
            lines = [line for step in planned.steps for line in (str(step), *step.remarks)]
            said = "\n".join([*lines, *left_alone(root, assets)])
            consents = {"accept_loss": config.accept_loss, "accept_rebuild": config.accept_rebuild}
            if (refusal := planned.refusal(**consents)) is not None:
                raise dg.Failure(refusal, metadata={"plan": said}, allow_retries=False)
            said = "\n".join([said, *planned.left])
            if not config.dry_run:
                carry_out(planned, place, tell)
        context.add_output_metadata({"plan": said, "restored": done, "dry_run": config.dry_run})

    op = dg.op(
        description="Puts a table back to a version or a time, and with it how far it has read.",
        out=dg.Out(dg.Nothing),
        required_resource_keys={*connections, "io_manager"},
        retry_policy=RETRIES,
    )(put_back)
    said = "Puts a table back to a version that it had, as `lakehouse table restore` does: Launchpad says which."
    return dg.GraphDefinition(name="restore", node_defs=[op], description=said).to_job()
