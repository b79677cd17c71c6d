"""`lakehouse table …`: what a table was, version by version."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from lakehouse.drawn import draw, draw_rows
from lakehouse.engine.declare.number import number
from lakehouse.opened import Lakehouse, out, told

if TYPE_CHECKING:
    from lakehouse.engine.delta.handle import Handle

tables = typer.Typer(help="What a table was, version by version.", no_args_is_help=True)

Key = Annotated[str, typer.Argument(metavar="TABLE", help="A table, silver/orders.")]

AsOf = Annotated[
    str | None, typer.Option("--as-of", metavar="TIME", help="The version that stood then: 2026-01-31T12:00:00Z.")
]


@tables.command()
def history(
    key: Key,
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, help="So many versions, the newest ones.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="A list of objects.")] = False,
) -> None:
    """The versions of a table, newest first: when each was committed, by what, and what came and went."""
    from lakehouse.engine.delta.travel import history as travelled
    from lakehouse.engine.delta.travel import told_from

    _, handle = Lakehouse().standing(key)
    versions = travelled(handle, limit)
    if as_json:
        sys.stdout.write(versions.write_json() + "\n")
        return
    draw_rows(versions.columns, versions.rows())
    first = told_from(handle)
    if left := handle.version + 1 - first - versions.height:
        out.print(f"{number(left, 'older version')} not shown: --limit {versions.height + left}", style="dim")
    if first:
        out.print(f"Of {number(first, 'older version')} the log was cleaned away.", style="dim")


@tables.command()
def show(
    key: Key,
    *,
    version: Annotated[int | None, typer.Option("--version", help="Of `lakehouse table history`.")] = None,
    as_of: AsOf = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="So many rows.")] = 10,
) -> None:
    """Rows of a table as it stands, or as it stood at a version or a time."""
    from lakehouse.engine.declare.errors import WrongUsage
    from lakehouse.engine.delta.travel import at_time, at_version

    if version is not None and as_of is not None:
        raise WrongUsage("--version and --as-of both name a version: say one of them.")
    _, handle = Lakehouse().standing(key)
    then = handle if version is None else at_version(handle, version)
    then = then if as_of is None else at_time(handle, as_of)
    rows = then.scan().head(limit).collect()
    draw_rows(rows.columns, rows.rows())
    out.print(f"{rows.height:,} of {number(then.rows, 'row')} of {key}, version {then.version}", style="dim")


@tables.command()
def diff(
    key: Key,
    first: Annotated[int, typer.Argument(metavar="V1", help="A version, of `lakehouse table history`.")],
    second: Annotated[int | None, typer.Argument(metavar="V2", help="Another. Default: the newest.")] = None,
) -> None:
    """The rows in which two versions of a table differ: new, gone, and changed from what to what."""
    from lakehouse.engine.delta.travel import at_version
    from lakehouse.engine.orchestrate.versions import between

    declared, handle = Lakehouse().standing(key)
    one = at_version(handle, first)
    other = handle if second is None else at_version(handle, second)
    found = between(declared, one, other)
    said = f"{key}, version {one.version} to {other.version}: {found}"
    out.print(said, markup=False, soft_wrap=True)
    draw(found)


@tables.command()
def restore(
    key: Key,
    *,
    version: Annotated[int | None, typer.Option("--version", help="Of `lakehouse table history`.")] = None,
    as_of: AsOf = None,
    downstream: Annotated[
        bool, typer.Option("--downstream", help="Put back also what has read later versions, as far as needed.")
    ] = False,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Also where files that would have to land again are gone.")
    ] = False,
    accept_rebuild: Annotated[
        bool, typer.Option("--accept-rebuild", help="Also where tables downstream will have to be made anew.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
) -> None:
    """Put a table back to a version or a time, and with it how far it has read. Exit 1: refused, nothing was written.

    It is a new version, so that this can be taken back too. The next `lakehouse run` reads again what came since.
    """
    from lakehouse.engine.declare.errors import Refused
    from lakehouse.engine.orchestrate.restore import Step, carry_out, left_alone, plan_to, restored_event

    opened = Lakehouse()
    declared, everyone = opened.named(key), [each.declaration for each in opened.tables]
    planned = plan_to(declared, everyone, opened.place, version=version, as_of=as_of, downstream=downstream)
    for step in planned.steps:
        out.print(str(step), markup=False, soft_wrap=True)
        for remark in step.remarks:
            out.print(f"  {remark}", style="yellow", markup=False, soft_wrap=True)
    is_done = all(step.is_done for step in planned.steps)
    for said in () if is_done else left_alone(declared, opened.assets):
        out.print(said, style="yellow", markup=False, soft_wrap=True)
    if (refusal := planned.refusal(accept_loss=accept_loss, accept_rebuild=accept_rebuild)) is not None:
        raise Refused(refusal)
    for said in planned.left:
        out.print(said, style="yellow", markup=False, soft_wrap=True)
    if dry_run:
        out.print("Nothing was written: --dry-run.")
        return

    def tell(step: Step, restored: Handle) -> None:
        opened.instance.report_runless_asset_event(restored_event(step, restored))
        said = f"{step.declared.key} is put back, as version {restored.version}. To undo: {step.undo}"
        out.print(said, soft_wrap=True)

    carry_out(planned, opened.place, tell)
    if not is_done:
        out.print(f"To read again what came since: {declared.made_by}")


@tables.command()
def check(key: Key) -> None:
    """Read a table's files and its log, whole, and say which are damaged, and how to mend them. Exit 1: some are.

    The same of its quarantine and its ledger.
    """
    from lakehouse.cli_progress import watched
    from lakehouse.engine.orchestrate.upkeep import examine

    opened = Lakehouse()
    declared, place = opened.named(key), opened.place
    with watched(told, f"Reading {key}") as tell:
        found = examine(declared, place, lambda: opened.standing(key)[1], lambda said: tell(f"{key}: {said}"))
        own, *_ = examined = [*found]
    for each in examined:
        out.print(str(each), soft_wrap=True)
        for name, fault in each.found.faults.items():
            out.print(f"  {name} {fault}", style="red", markup=False, soft_wrap=True)
    for said in own.advice:
        out.print(f"Partitions: {said}", style="yellow", markup=False, soft_wrap=True)
    if own.found.unused:
        unused = f"{number(own.found.unused, 'file')} of no standing version, {own.found.unused_bytes:,} bytes"
        out.print(unused, style="dim")
    if own.broken:
        out.print(f"  {own.out_of_place}", style="red", soft_wrap=True)
    for each in examined:
        if each.next:
            out.print(f"Next: {each.next}", style="yellow", soft_wrap=True)
    if any(each.next for each in examined):
        raise typer.Exit(1)


@tables.command()
def repair(key: Key) -> None:
    """Make the checkpoints of a table's log anew, and those of its quarantine and ledger, also where it does not open.

    From every commit, else from what is left of the log without those that cannot be read. What was there is kept in
    the log's folder. Exit 1: what is left does not tell what they held, and nothing was moved.
    """
    from lakehouse.engine.delta.handle import Handle
    from lakehouse.engine.delta.heal import repair_checkpoints
    from lakehouse.engine.delta.refused import Unreadable
    from lakehouse.engine.orchestrate.versions import parts

    opened = Lakehouse()
    with suppress(Unreadable):
        opened.standing(key)  # refused where it was not written yet
    for part in parts(opened.named(key), opened.place):
        try:
            moved = repair_checkpoints(part.address, part.afresh)
        except FileNotFoundError:  # nothing was set aside yet
            continue
        for each in moved:
            out.print(f"  {each} moved aside", markup=False, soft_wrap=True)
        if (moved or part.name == key) and (again := Handle.open(part.address)) is not None:
            again.checkpoint()
            out.print(f"{part.name}: version {again.version} is summed up anew")
