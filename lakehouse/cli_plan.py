"""`lakehouse plan`: what the contracts would do to the tables, before a run does it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from lakehouse.engine.declare.number import mb, number
from lakehouse.opened import Lakehouse, out

if TYPE_CHECKING:
    from lakehouse.engine.orchestrate.planned import Planned


def plan(
    table: Annotated[str | None, typer.Argument(metavar="[TABLE]", help="silver/orders. Default: all.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="A list of objects.")] = False,
) -> None:
    """What the contracts as they are now would do to each table. Writes nothing, and reads no row.

    Exit 0: runs do it by themselves, or there is nothing to do; 1: a table must be made anew first, or is refused.
    """
    from lakehouse.engine.delta.compatibility import Answer
    from lakehouse.engine.orchestrate.load import plain_below
    from lakehouse.engine.orchestrate.planned import planned
    from lakehouse.engine.orchestrate.rebuild import named

    opened = Lakehouse()
    ours = [each for each in opened.tables if each.declaration.key not in opened.read_elsewhere]
    chosen = ours if table is None else [named(opened.tables, table)]
    asked = {each.declaration.key: each.declaration for each in chosen}
    found = [each for each in (planned(one, opened.place.taking(one)) for one in asked.values()) if each]
    refused = [each for each in found if each.answer in (Answer.NEW_VERSION, Answer.REFUSE)]
    plain = {each.key: plain_below(asked[each.key], opened.assets) for each in (found if as_json else refused)}
    if as_json:
        told = [
            {**asdict(each), "answer": each.answer.value, "plain_readers": [one.key for one in plain[each.key]]}
            for each in found
        ]
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
        raise typer.Exit(1 if refused else 0)
    for each in found:
        stands = each.key if each.version is None else f"{each.key}, version {each.version}"
        said = each.said if each.key in each.said else f"{stands}: {each.said}"
        sign = "[red]✗[/]" if each in refused else "[green]+[/]" if each.version is None else "[yellow]~[/]"
        out.print(f"  {sign}", end=" ")
        out.print(
            said if each in refused or each.version is None else f"{said}. {_cost(each)}", markup=False, soft_wrap=True
        )
        for one in plain.get(each.key, ()):
            out.print(f"    {one.left_alone}", style="yellow", markup=False, soft_wrap=True)
    done = f"{number(len(found) - len(refused), 'table')} changed by the next run that writes it"
    done += f", {len(refused)} refused" if refused else ""
    stay = f"{len(asked) - len(found)} as the contract says"
    out.print(f"{done}, {stay}." if found else "Every table is as its contract says.")
    raise typer.Exit(1 if refused else 0)


def _cost(each: Planned) -> str:
    if not each.files:
        return "No file is written anew"
    return f"{number(each.files, 'file')} written anew: {number(each.rows, 'row')}, {mb(each.bytes)}"
