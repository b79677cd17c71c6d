"""`lakehouse table optimize | vacuum | profile`: keeping a table, and what its values are like."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from lakehouse.cli_table import Key, tables
from lakehouse.drawn import draw_rows
from lakehouse.engine.declare.number import number
from lakehouse.engine.declare.upkeep import MOST_HOURS
from lakehouse.opened import Lakehouse, out, told

if TYPE_CHECKING:
    from lakehouse.engine.declare.table import AnyTable
    from lakehouse.engine.declare.upkeep import Policy
    from lakehouse.engine.delta.handle import Handle
    from lakehouse.engine.delta.optimize import Layout
    from lakehouse.engine.delta.vacuum import Sweep

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


@tables.command()
def optimize(
    key: Key,
    *,
    zorder: Annotated[
        str | None, typer.Option("--zorder", metavar="COLUMNS", help="Lay rows by these, up to four: country,day")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Join small files, the order of rows kept; or lay rows so that filters on some columns read few files.

    Without --zorder by the columns that the table's file says, if it says any (zorder=).
    """
    from lakehouse.cli_progress import watched
    from lakehouse.engine.declare.errors import WrongUsage
    from lakehouse.engine.declare.upkeep import Policy
    from lakehouse.engine.orchestrate.upkeep import facts_of_files, laid_by, would_do
    from lakehouse.engine.orchestrate.upkeep import optimize as optimized

    asked = [name.strip() for name in zorder.split(",")] if zorder is not None else []
    if "" in asked:
        raise WrongUsage(
            f"--zorder {zorder!r} leaves out a column. Say them as in --zorder country,day, or leave it away."
        )
    opened = Lakehouse()
    declared, handle, said = _own(opened, key)
    policy = said or Policy()
    columns = laid_by(declared, handle, asked)
    if dry_run:
        planned = would_do(declared, handle, policy, columns)
        out.print(f"{declared.key}, version {handle.version}: {planned}", soft_wrap=True)
        return
    with watched(told, f"Rewriting {declared.key}"):
        done = optimized(declared, handle, policy, columns)
    if not done.rewritten:
        what = f"nothing to lay by {', '.join(columns)}" if columns else "nothing to join"
        out.print(f"{declared.key}, version {done.handle.version}: {what}: {_files(done.before)}", soft_wrap=True)
        return
    _tell(opened, declared, facts_of_files(done))
    out.print(
        f"{declared.key}, version {handle.version} to {done.handle.version}: {_files(done.before)} before, "
        f"{_files(done.after)} now",
        soft_wrap=True,
    )
    if done.left:
        said = f"{number(done.left, 'file')} left, which others wrote meanwhile. Next: lakehouse table optimize {key}"
        out.print(said, style="yellow", soft_wrap=True)
    out.print(f"The files before stay until vacuum: lakehouse table vacuum {declared.key} --dry-run", style="dim")


@tables.command()
def vacuum(
    key: Key,
    *,
    dry_run: DryRun = False,
    retain_hours: Annotated[
        int | None,
        typer.Option(
            "--retain-hours", min=0, max=MOST_HOURS, help="Keep so much, 100 years at most. Default: what it promises."
        ),
    ] = None,
    override_retention: Annotated[
        bool, typer.Option("--override-retention", help="Keep less than is promised: nobody is there who could break.")
    ] = False,
) -> None:
    """Take away files that no version within the retention refers to, and the log that is older than that.

    With a table what is as old of its quarantine and its ledger.
    """
    from lakehouse.engine.declare.table import Declaration
    from lakehouse.engine.delta import store
    from lakehouse.engine.delta.delivery import tidy
    from lakehouse.engine.delta.retention import LEAST_HOURS, USUAL_HOURS, agreed, hours_of, promise
    from lakehouse.engine.delta.vacuum import refuse_short, sweep
    from lakehouse.engine.orchestrate.upkeep import facts_of_sweep, plan_beside, plan_sweep, readers_of

    opened = Lakehouse()
    declared, handle, policy = _own(opened, key)
    everyone = [each.declaration for each in opened.tables]
    hours, said = max(hours_of(handle) or USUAL_HOURS, LEAST_HOURS), ""
    if retain_hours is not None or policy is None:
        hours = hours if retain_hours is None else retain_hours
        if not override_retention:
            refuse_short(handle, hours, readers_of(declared, handle, everyone, opened.place))
    else:
        kept, hours = hours_of(handle) or 0, policy.retention_hours
        if not override_retention:
            hours, said = agreed(declared.key, handle, hours)
        handle = handle if dry_run else promise(handle, hours, policy.retention_hours)
        hours = hours if override_retention else max(hours, kept)  # as by night: what is lowered counts the next time
    if said:
        out.print(f"{declared.key}: its retention is {said}", style="yellow", soft_wrap=True, markup=False)
    if not dry_run and isinstance(declared, Declaration):
        tidy(handle, opened.place.quarantine(declared))
    planned = plan_sweep(declared, handle, hours, tables=everyone, place=opened.place)
    beside = plan_beside(declared, planned, opened.place)
    if not dry_run:
        for each in (*beside.values(), planned):
            sweep(each)
        after = sum(store.sizes(handle.address).values())
        _tell(opened, declared, facts_of_sweep(planned, beside, planned.bytes_before, after))
    _say(declared, planned, beside, "would go" if dry_run else "removed")
    if dry_run and any(each.bytes for each in (planned, *beside.values())):
        out.print(f"Next: lakehouse table vacuum {declared.key}", style="yellow")


@tables.command()
def profile(key: Key, *, as_json: Annotated[bool, typer.Option("--json", help="A list of objects.")] = False) -> None:
    """What the values of a table are like, column by column. Of personal columns no value is shown."""
    from lakehouse.cli_progress import watched
    from lakehouse.engine.delta.advice import merge_advice
    from lakehouse.engine.quality.profile import profile as profiled

    declared, handle = Lakehouse().standing(key)
    with watched(told, f"Reading {key}"):
        rows, found = profiled(handle.scan(), declared.personal if declared else ())
    if as_json:
        sys.stdout.write(json.dumps(found.to_dicts(), indent=1) + "\n")
        return
    draw_rows(found.columns, found.rows())
    said = f"{number(rows, 'row')} of {key}, version {handle.version}; distinct is an estimate"
    out.print(said, style="dim")
    if declared and (said := merge_advice(handle, declared.readers)):
        out.print(f"Merges: {said}", markup=False, soft_wrap=True)


def _own(opened: Lakehouse, key: str) -> tuple[AnyTable, Handle, Policy | None]:
    from lakehouse.engine.declare.errors import Refused
    from lakehouse.engine.orchestrate.upkeep import own_table
    from resources.environment import policies

    declared = opened.named(key)
    handle = own_table(declared, opened.place)
    if handle is None:
        raise Refused(f"{declared.key} was not written yet by a run of it. Next: {declared.made_by}")
    return declared, handle, policies(opened.environment).policy(declared.key)


def _tell(opened: Lakehouse, declared: AnyTable, facts: Mapping[str, object]) -> None:
    """In the table's observations, as a job would."""
    from lakehouse.engine.orchestrate.upkeep import observed

    opened.instance.report_runless_asset_event(observed(declared, facts))


def _say(declared: AnyTable, planned: Sweep, beside: Mapping[str, Sweep], what: str) -> None:
    from lakehouse.engine.orchestrate.upkeep import lets_go

    def line(each: Sweep, whose: str = "") -> None:
        size, log = sum(each.files.values()), sum(each.log.values())
        out.print(
            f"{declared.key}, {whose}version {each.handle.version}: {number(len(each.files), 'file')} {what}, "
            f"{size:,} bytes; of the log {number(len(each.log), 'file')}, {log:,} bytes",
            soft_wrap=True,
        )

    line(planned)
    kept = f"Kept: versions {planned.oldest} to {planned.handle.version}, all of the last {planned.hours:,} hours"
    young = f"; {number(planned.young, 'file')} of no version, too young to go" if planned.young else ""
    out.print(kept + young, style="dim", soft_wrap=True)
    for reader, held in planned.held.items():
        said = f"Kept for {reader}, which has yet to read it, {held.told}. Next: {lets_go(reader)}"
        out.print(said, style="yellow", soft_wrap=True, markup=False)
    for name, swept in beside.items():
        line(swept, f"its {name}, ")


def _files(layout: Layout) -> str:
    return f"{number(layout.files, 'file')}, {layout.bytes:,} bytes, {layout.small_ratio:.0%} small"
