"""`lakehouse …`: a thin front over the rooms' verbs. What is heavy is imported by the command that needs it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as Drawn

if TYPE_CHECKING:
    import dagster as dg
    import polars as pl

    from lakehouse.engine.declare.place import Place
    from lakehouse.engine.orchestrate.run import Ran
    from lakehouse.engine.orchestrate.table import Table

app = typer.Typer(
    help="Land files, run tables, see where they stand, ask them in SQL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# what is not a terminal has no width to fit: rows stay on one line
out = Console(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 200)
told = Console(stderr=True, highlight=False)

DRAINED, REFUSED, WRONG_USAGE = 0, 1, 2


class Lakehouse:
    """The project in the environment that LAKEHOUSE_ENVIRONMENT names, each part opened when it is asked for."""

    @cached_property
    def definitions(self) -> dg.Definitions:
        from lakehouse.definitions import lakehouse

        return lakehouse()

    @cached_property
    def tables(self) -> list[Table]:
        from lakehouse import tables
        from lakehouse.engine.orchestrate.load import tables_in

        return tables_in(tables)

    @cached_property
    def place(self) -> Place:
        from lakehouse.engine.declare.place import Place
        from resources.environment import load_environment, storages

        landing, lake = storages(load_environment())
        return Place(lake=lake, landing=landing)

    @cached_property
    def instance(self) -> dg.DagsterInstance:
        from resources.dagster_home import open_instance

        return open_instance()


@app.command()
def land(
    first: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], metavar="DAY", help="Default: 2010-12-01.")
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], metavar="DAY", help="Default: 2011-12-10.")
    ] = None,
) -> None:
    """Land the example's orders, day by day, as files below the landing. The same days give the same bytes."""
    replay, opened = _replay(), Lakehouse()
    landed = replay(opened.place.landing, first and first.date(), last and last.date())
    if not landed.objects:
        out.print("No orders landed on these days: the example has 2010-12-01 to 2011-12-10.")
        return
    out.print(
        f"{landed.objects:,} order documents of {landed.first} to {landed.last}: {landed.written} files written, "
        f"{landed.already_there} were already there." + (" Next: lakehouse run" if landed.written else "")
    )


def _replay() -> Any:
    """What lands the example's days. The house stands without it."""
    try:
        from lakehouse.example.replay import land as replay
    except ModuleNotFoundError as gone:
        if not (gone.name or "").startswith("lakehouse.example"):
            raise
        told.print(
            "The example is gone: lakehouse/example was deleted, and land and demo with it. Next: lakehouse run",
            soft_wrap=True,
        )
        raise typer.Exit(WRONG_USAGE) from None
    return replay


@app.command()
def run() -> None:
    """Run what is due until nothing is. Exit 0: drained; 1: something was refused, or set aside at landing."""
    raise typer.Exit(_run(Lakehouse()))


def _run(opened: Lakehouse) -> int:
    from lakehouse.engine.orchestrate.run import drain, run_job

    began, wrote, refused, red = time.monotonic(), 0, 0, False
    with told.status("Looking for what is due …") as spinner:

        def run_due(keys: Sequence[str]) -> dg.ExecuteInProcessResult:
            # only now is the instance opened, which takes most of a second
            return run_job(opened.definitions, keys, opened.instance, started=lambda key: spinner.update(f"{key} …"))

        for ran in drain(opened.tables, opened.place, run_due):
            wrote += ran.rows_written is not None
            refused += ran.error is not None
            red |= _tell(ran)
            spinner.update("Looking for what is due …")
    seconds = time.monotonic() - began
    done = f"{wrote} {'table' if wrote == 1 else 'tables'} written" if wrote else "Nothing changed"
    done += f", {refused} refused" if refused else "" if wrote else ": nothing is due"
    out.print(f"{done} in {seconds:.1f} s.")
    return REFUSED if red else DRAINED


def _tell(ran: Ran) -> bool:
    """What a run did to a table, then what is red about it. True where it needs a person."""
    if ran.rows_written is not None:
        superseded, aside = ran.facts.get("rows_superseded", 0), ran.facts.get("rows_quarantined", 0)
        said = f"  [green]✓[/] {ran.key}: {ran.rows_written:,} rows written, version {ran.facts['delta/version']}"
        said += f", {superseded:,} superseded by later arrivals" if superseded else ""
        out.print(said + (f", [yellow]{aside:,} set aside[/]" if aside else ""))
    if ran.error:
        out.print("  [red]✗[/]", end=" ")
        out.print(ran.error if ran.key in ran.error else f"{ran.key}: {ran.error}", markup=False, soft_wrap=True)
    for name in ran.red:
        out.print(f"    [yellow]![/] its check {name} is red")
    landed_badly = ran.key.startswith("bronze/") and bool(ran.red)
    return bool(ran.error) or landed_badly


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="A list of objects.")] = False) -> None:
    """Where every table stands, from the Delta log: version, rows, bytes, what is set aside, whether it is stale."""
    from lakehouse.engine.orchestrate.status import status as look

    opened = Lakehouse()
    found = look(opened.tables, opened.place, opened.instance)
    if as_json:
        sys.stdout.write(json.dumps([asdict(each) for each in found], default=_text, indent=2) + "\n")
        return
    drawn = Drawn("table", box=None, header_style="bold")
    for name in ("version", "rows", "set aside"):
        drawn.add_column(name, justify="right")
    for name in ("written (UTC)", "state"):
        drawn.add_column(name)
    for column in drawn.columns:
        column.no_wrap = True
    for each in found:
        failed = each.last_run and each.last_run.status == "FAILURE"
        drawn.add_row(
            each.key, _count(each.version), _count(each.rows), f"{each.quarantined:,}",
            f"{each.updated_at:%Y-%m-%d %H:%M}" if each.updated_at else "never",
            "[red]last run failed[/]" if failed else "[yellow]logic changed[/]" if each.stale else "",
        )  # fmt: skip
    out.print(drawn)
    if stale := [each.key for each in found if each.stale]:
        out.print(
            f"The logic of {', '.join(stale)} changed since it was last made whole. Next: lakehouse rebuild {stale[0]}+"
        )


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)


@app.command()
def rebuild(
    selection: Annotated[str, typer.Argument(help="A table, silver/orders; with + also all that is downstream.")],
    compare: Annotated[bool, typer.Option("--compare", help="Show the exact difference first, and ask.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Make tables anew from all that their upstreams hold: rows, quarantine, positions and logic."""
    from lakehouse.engine.orchestrate.rebuild import compare as differ
    from lakehouse.engine.orchestrate.rebuild import rebuild as make_anew
    from lakehouse.engine.orchestrate.rebuild import selected

    opened = Lakehouse()
    for table in selected(opened.definitions, opened.tables, selection):
        if compare:
            difference, columns = differ(table.declaration, opened.place)
            out.print(f"{table.declaration.key}: {difference}" + (f"; columns change: {columns}" if columns else ""))
            _draw(difference)
            if not yes and not typer.confirm(f"Write {table.declaration.key}?"):
                out.print(f"Left as it stands: {table.declaration.key} and what is downstream of it.")
                raise typer.Exit(DRAINED)
        if _tell(make_anew(opened.definitions, table, opened.instance)):
            raise typer.Exit(REFUSED)


def _draw(difference: Any) -> None:
    for word in ("gone", "new", "changed"):
        rows = getattr(difference, word)
        if rows.is_empty():
            continue
        if word == "changed":
            rows = _what_changed(rows)
        drawn = Drawn(title=f"{word} ({min(rows.height, 10)} of {rows.height:,})", title_justify="left", box=None)
        for name in rows.columns:
            drawn.add_column(name)
        for row in rows.head(10).rows():
            drawn.add_row(*("" if value is None else str(value) for value in row))
        out.print(drawn)


def _what_changed(rows: pl.DataFrame) -> pl.DataFrame:
    """Without the columns of which `<name>` is `<name>__was` in every row."""
    pairs = [name for name in rows.columns if f"{name}__was" in rows.columns]
    same = [name for name in pairs if rows[name].equals(rows[f"{name}__was"])]
    return rows.drop([*same, *(f"{name}__was" for name in same)])


@app.command()
def sql(statement: Annotated[str, typer.Argument(help='As in: "select * from gold.daily_sales limit 5"')]) -> None:
    """Ask the lake in SQL (DuckDB): bronze.…, silver.…, gold.… and quarantine.<layer>_<table>."""
    from lakehouse.engine.serve.local_sql import connect, query

    opened = Lakehouse()
    names, rows = query(connect([each.declaration for each in opened.tables], opened.place), statement)
    drawn = Drawn(*names, box=None, header_style="bold")
    for row in rows:
        drawn.add_row(*("" if value is None else str(value) for value in row))
    out.print(drawn)
    out.print(f"{len(rows):,} rows", style="dim")


@app.command()
def demo() -> None:
    """Three months of real orders: land them, run everything, show what came of it. A second time changes nothing."""
    from lakehouse.engine.orchestrate.status import status as look

    began = time.monotonic()
    replay, opened = _replay(), Lakehouse()
    with told.status("Landing three months of orders …"):
        landed = replay(opened.place.landing, date(2010, 12, 1), date(2011, 2, 28))
    out.print(
        f"Landed {landed.objects:,} order documents in {landed.written + landed.already_there} files "
        f"({landed.written} new) below {opened.place.landing.address()}"
    )
    code = _run(opened)
    drawn = Drawn("table", box=None, header_style="bold")
    drawn.add_column("rows", justify="right")
    drawn.add_column("set aside", justify="right")
    for each in look(opened.tables, opened.place, opened.instance):
        drawn.add_row(each.key, _count(each.rows), f"{each.quarantined:,}")
    out.print(drawn)
    out.print(f"Each is plain Delta at <layer>/<table> below {opened.place.lake.address()}", soft_wrap=True)
    out.print(f"Done in {time.monotonic() - began:.0f} s. Next, to see the graph in a browser:  make dev")
    out.print(
        'Or ask the tables:  .venv/bin/lakehouse sql "select * from gold.daily_sales order by day, country limit 5"'
    )
    raise typer.Exit(code)


@contextmanager
def _errors_as_sentences() -> Iterator[None]:
    """The one boundary where our errors become a line on the terminal and an exit code."""
    try:
        yield
    except Exception as error:
        from lakehouse.engine.declare.errors import LakehouseError, WrongUsage

        if not isinstance(error, LakehouseError):
            raise
        told.print(str(error), style="red", markup=False, soft_wrap=True)
        raise SystemExit(WRONG_USAGE if isinstance(error, WrongUsage) else REFUSED) from None


def main() -> None:
    """The console script."""
    with _errors_as_sentences():
        app()


if __name__ == "__main__":
    main()
