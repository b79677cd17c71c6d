"""`lakehouse new …`: files that a person would otherwise write from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table as Drawn
from rich.text import Text

from lakehouse.engine.declare.number import number
from lakehouse.opened import Lakehouse, out

if TYPE_CHECKING:
    from lakehouse.propose.files import NewTable

new = typer.Typer(help="Propose the files of a new table.", no_args_is_help=True)

SHOWN = 10


@new.callback()
def _several() -> None:
    """`new` has commands, also while it has one."""


@new.command("table")
def new_table(  # noqa: PLR0913 # what a person may say
    layer: Annotated[str, typer.Argument(help="silver: a bronze table and a silver one that reads it; or bronze.")],
    name: Annotated[str, typer.Argument(help="The table's name, returns.")],
    *,
    pattern: Annotated[
        str, typer.Option("--from", metavar="PATTERN", help="Files of the landing: 'erp/returns/dt=*/*.gz'.")
    ],
    connection: Annotated[
        str, typer.Option("--connection", metavar="NAME", help="Where the files lie, of the environment's connections.")
    ] = "landing",
    bronze: Annotated[
        str | None, typer.Option("--bronze", help="Name of the bronze table. Default: of the pattern, erp_returns.")
    ] = None,
    zone: Annotated[
        str | None, typer.Option("--zone", help="Whose clocks times without a zone are of: Europe/London.")
    ] = None,
    whole: Annotated[bool, typer.Option("--all", help="Read all files. Default: 50 at most, spread evenly.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the files, write nothing.")] = False,
) -> None:
    """Write a table's file and its test, with columns and types proposed from landed files, each with its evidence."""
    from lakehouse.engine.declare.errors import WrongUsage
    from lakehouse.propose.files import Asked, refuse_standing, source_name, write
    from lakehouse.propose.files import new_table as propose
    from resources.environment import refuse_unknown

    if layer not in ("bronze", "silver"):
        raise WrongUsage(
            f"{layer!r} is made of no files: say silver, or bronze. A gold table reads others. Nothing was written."
        )
    of_bronze = name if layer == "bronze" else bronze or source_name(pattern) or f"{name}_sent"
    asked = Asked(pattern, of_bronze, name if layer == "silver" else None, zone, whole, connection)
    opened, root = Lakehouse(), Path(__file__).parents[1]
    instead = "say another --connection. Nothing was written"
    refuse_unknown(opened.environment, connection, f"bronze/{of_bronze}", instead)
    refuse_standing(
        root, asked, {each.declaration.key: each.declaration.transform.__module__ for each in opened.tables}
    )
    made = propose(opened.place.beside[connection], asked)
    _tell(made)
    if dry_run:
        for path, source in made.files.items():
            out.print(f"\n# {path}\n{source}", markup=False, soft_wrap=True)
        return
    write(root, made.files)
    for path in made.files:
        out.print(f"  [green]✓[/] {path}")
    out.print("The tests hold values of the files; where these are personal, make others up.", soft_wrap=True)
    out.print("Next: read them, name units and keys, then: pytest lakehouse_tests/tables && lakehouse run")


def _tell(made: NewTable) -> None:
    """What was read, what is proposed and why, what would be set aside."""
    found = made.proposed
    out.print(f"{_begun(str(found.sample))}: {number(made.records, 'record')}.", markup=False, soft_wrap=True)
    out.print(f"As {' or '.join(map(str, found.formats))}.", markup=False, soft_wrap=True)
    drawn = Drawn("column", "type", box=None, header_style="bold")
    drawn.add_column("evidence", overflow="fold")
    for each in found.columns:
        for depth, inner in made.tables.below(each):
            nullable = ", nullable" if inner.reading.nullable else ""
            name = "  " * depth + inner.name + (f" (was {inner.sent!a})" if inner.sent != inner.name else "")
            drawn.add_row(Text(name), Text(made.tables.annotation(inner) + nullable), Text("; ".join(inner.said)))
    out.print(drawn)
    for said in (f"Key: {found.key.said}.", found.valid_at_said and f"Snapshots: {found.valid_at_said}."):
        if said:
            out.print(said, markup=False, soft_wrap=True)
    for each in [*found.left_out, *made.trouble[:SHOWN]]:
        out.print(Text(f"  ! {each}", style="yellow"), soft_wrap=True)
    if (more := len(made.trouble) - SHOWN) > 0:
        out.print(f"  ! … and {more:,} more that would be set aside", style="yellow")


def _begun(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
