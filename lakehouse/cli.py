"""`lakehouse …`: a thin front over the rooms' verbs. What is heavy is imported by the command that needs it."""

from __future__ import annotations

import atexit
import gc
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date, datetime
from itertools import chain
from pathlib import Path
from threading import Timer, get_ident
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table as Drawn
from rich.text import Text

from lakehouse.cli_config import config, doctor, env
from lakehouse.cli_new import new
from lakehouse.cli_plan import plan
from lakehouse.cli_progress import watched
from lakehouse.cli_upkeep import tables
from lakehouse.drawn import draw, draw_rows
from lakehouse.engine.declare.number import number
from lakehouse.opened import Lakehouse, out, told

if TYPE_CHECKING:
    import dagster as dg

    from lakehouse.engine.orchestrate.run import Ran
    from lakehouse.engine.orchestrate.table import Table

app = typer.Typer(
    help="Land files, run tables, see where they stand, ask them in SQL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for name, below in (("new", new), ("config", config), ("env", env), ("doctor", doctor), ("table", tables)):
    app.add_typer(below, name=name)
app.command()(plan)

DRAINED, REFUSED, WRONG_USAGE = 0, 1, 2
SHOWN = 5
NO_EXAMPLE = not Path(__file__).with_name("example").joinpath("replay.py").is_file()


@app.command(hidden=NO_EXAMPLE)
def land(
    first: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], metavar="DAY", help="Default: 2010-12-01.")
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], metavar="DAY", help="Default: 2011-12-19.")
    ] = None,
) -> None:
    """Land what the example's ERP sends, day by day, as files below the landing. The same days give the same bytes."""
    replay, opened = _replay(), Lakehouse()
    with watched(told, "Landing") as tell:
        landed = replay.land(opened.place.landing, first and first.date(), last and last.date(), tell=tell)
    if not landed:
        out.print("Nothing landed on these days: the example has 2010-12-01 to 2011-12-19.")
        return
    out.print(replay.drawn(landed))
    out.print(replay.told(landed) + (" Next: lakehouse run" if any(each.written for each in landed) else ""))


def _replay() -> Any:
    """What lands the example's days. The house stands without it."""
    try:
        from lakehouse.example import replay
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


@contextmanager
def _told_when_stopped() -> Iterator[None]:
    with _interrupted_again_where_none_heard():
        try:
            yield
        except KeyboardInterrupt:
            told.print("Stopped. What was written stands whole; the rest is still due: lakehouse run")
            raise


@contextmanager
def _interrupted_again_where_none_heard() -> Iterator[None]:
    """An interrupt that comes while Python clears away an object is ignored, by its rules: it is sent once more."""
    before, thread = sys.unraisablehook, get_ident()

    def hear(ignored: sys.UnraisableHookArgs) -> None:
        if issubclass(ignored.exc_type, Exception):
            before(ignored)
        else:  # later, or it would be raised in here, and be ignored again
            Timer(0.05, signal.pthread_kill, (thread, signal.SIGINT)).start()

    sys.unraisablehook = hear
    try:
        yield
    finally:
        sys.unraisablehook = before


def _run(opened: Lakehouse) -> int:
    from lakehouse.engine.orchestrate.run import drain, run_job
    from lakehouse.engine.orchestrate.status import left_stale, logic_changed

    began, red = time.monotonic(), False
    wrote, refused = set[str](), set[str]()
    with _told_when_stopped(), watched(told, "Looking for what is due") as tell:

        def run_due(keys: Sequence[str], **words: Any) -> dg.ExecuteInProcessResult:
            # only now is the instance opened, which takes most of a second
            return run_job(opened.definitions, keys, opened.instance, why="lakehouse run", **words)

        for ran in chain(
            drain(opened.made_here, opened.place, run_due, opened.remembered),
            drain(opened.in_shadow, opened.place.shadow, run_due),
        ):
            if ran.rows_written is not None:
                wrote.add(ran.key)
            if ran.error:
                refused.add(ran.key)
            red |= _tell(ran)
            tell("Looking for what is due")
        stale = left_stale(opened.tables, opened.place, opened.remembered)
    done = f"{number(len(wrote), 'table')} written" if wrote else "Nothing changed"
    done += f", {len(refused)} refused" if refused else "" if wrote else ": nothing is due"
    out.print(f"{done} ({time.monotonic() - began:.1f} s).")
    _tell_left_out(opened, opened.tables)
    if stale:
        out.print(logic_changed(opened.tables, stale), style="yellow", soft_wrap=True)
    return REFUSED if red else DRAINED


def _tell_left_out(opened: Lakehouse, tables: Sequence[Table]) -> None:
    for each in tables:
        if why := opened.left_out.get(each.declaration.key):
            out.print(why, style="bold yellow", markup=False, soft_wrap=True)
    if elsewhere := opened.read_elsewhere:
        said = f"{number(len(elsewhere), 'table')} not made here and read from {opened.environment.reads_from}."
        out.print(f"{said} To make one here: lakehouse rebuild {elsewhere[-1]}", style="yellow", soft_wrap=True)


def _tell(ran: Ran) -> bool:
    """What a run did to a table, then what is red about it. True where it needs a person."""
    from lakehouse.engine.orchestrate.status import show_aside

    facts, aside, advice = ran.facts, ran.facts.get("rows_quarantined", 0), ran.facts.get("partition_advice")
    if ran.rows_written is not None:
        said = f"  [green]✓[/] {ran.key}: {number(ran.rows_written, 'row')} written, version {facts['delta/version']}"
        words = [*ran.remarks, f"{ran.checks - len(ran.red)} of {ran.checks} checks green"]
        words += [f"[yellow]{aside:,} set aside[/]"] if aside else []
        out.print(", ".join([said, *words]) + (f"\n    [yellow]![/] {advice}" if advice else ""))
    if ran.error:
        out.print("  [red]✗[/]", end=" ")
        out.print(ran.error if ran.key in ran.error else f"{ran.key}: {ran.error}", markup=False, soft_wrap=True)
    for name, culprits in ran.red.items():
        out.print(f"    [yellow]![/] its check {name} is red" + (":" if culprits else ""))
        for each in culprits[:SHOWN]:
            out.print("        " + each.replace("\n", "\\n"), markup=False, soft_wrap=True)
        if len(culprits) > SHOWN:
            out.print("        …")
    if aside:
        out.print(f"    What was set aside, and why: {show_aside(ran.key)}", markup=False, soft_wrap=True)
    landed_badly = ran.key.startswith("bronze/") and bool(ran.red)
    return bool(ran.error) or landed_badly


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="A list of objects.")] = False) -> None:
    """Where every table stands, from the Delta log: version, rows, what is set aside, whether it is stale."""
    from lakehouse.engine.orchestrate.status import hints, state
    from lakehouse.engine.orchestrate.status import status as look

    opened = Lakehouse()
    found = look(opened.tables, opened.place, opened.instance, [*opened.plain])
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
        drawn.add_row(
            each.key, _count(each.version), _count(each.rows), f"{each.quarantined:,}",
            f"{each.updated_at:%Y-%m-%d %H:%M}" if each.updated_at else "" if each.unreadable else "never",
            Text(opened.apart.get(each.key) or state(each, found, opened.tables), "red" if each.failed else "yellow"),
        )  # fmt: skip
    if found:
        out.print(drawn)
    for line in hints(
        found, [each for each in opened.tables if each.declaration.key not in opened.apart], opened.place
    ):
        out.print(line, markup=False, soft_wrap=True)
    _tell_left_out(opened, opened.tables)


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)


@app.command()
def rebuild(
    selection: Annotated[str, typer.Argument(help="A table, silver/orders; with + also all that is downstream.")],
    compare: Annotated[bool, typer.Option("--compare", help="Show first what it changes, exactly, and ask.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --compare: show, and write without asking.")] = False,
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="TIME", help="From what stood upstream then: 2026-01-31T12:00:00Z.")
    ] = None,
) -> None:
    """Make silver/orders anew, or silver/orders+ with all that is downstream: from all that their upstreams hold."""
    from lakehouse.engine.orchestrate.rebuild import compare as differ
    from lakehouse.engine.orchestrate.rebuild import left_behind, read_as_of, selected
    from lakehouse.engine.orchestrate.rebuild import rebuild as make_anew

    opened = Lakehouse()
    chosen, plain = selected(opened.assets, selection)
    tables = [each for each in chosen if each.declaration.key not in opened.left_out] or chosen
    if behind := left_behind(opened.tables, tables):
        out.print(f"{_keys(behind)} will have to be made anew after it; {selection}+ does both.", style="yellow")
    then = [read_as_of(each.declaration, as_of, tables) for each in tables]
    for place, table in enumerate(tables):
        if compare:
            with watched(told, f"Working out what {table.declaration.key} would be"):
                difference = differ(table.declaration, opened.place, then[place])
            out.print(f"{table.declaration.key}: {difference}", markup=False, soft_wrap=True)
            draw(difference)
            if difference.is_none:
                out.print("It would mark the rows as of today's logic, and fill the quarantine anew.", soft_wrap=True)
            if not yes and not typer.confirm(f"Write {table.declaration.key}?"):
                out.print(f"Left as they stand: {_keys(tables[place:])}.", soft_wrap=True)
                _tell_due(opened, left_behind(opened.tables, tables[:place]))
                raise typer.Exit(DRAINED)
        with watched(told, table.declaration.key):
            ran = make_anew(opened.definitions, table, opened.instance, then[place])
        _tell(ran)
        if ran.error:
            if rest := tables[place + 1 :]:
                out.print(f"Left as they stand: {_keys(rest)}.", soft_wrap=True)
            raise typer.Exit(REFUSED)
    for each in plain:
        out.print(each.left_alone, style="yellow", soft_wrap=True)
    _tell_due(opened, behind)
    _tell_left_out(opened, chosen)


def _tell_due(opened: Lakehouse, behind: Sequence[Table] = ()) -> None:
    from lakehouse.engine.orchestrate.stand import is_due

    for each in behind:
        out.print(f"Next: lakehouse rebuild {each.declaration.key}+", style="yellow")
    if due := [each for each in opened.made_here if each not in behind and is_due(each.declaration, opened.place)]:
        out.print(f"There is more to do for {_keys(due)}. Next: lakehouse run", style="yellow", soft_wrap=True)


@app.command()
def reingest(
    table: Annotated[str, typer.Argument(help="A bronze table, bronze/erp_orders.")],
    files: Annotated[str, typer.Option("--files", help="Which files, by the ends of their names: 'dt=2011-09-05/*'.")],
) -> None:
    """Read files again that were read before, or could not be: as after a wrong encoding in the table's formats."""
    from lakehouse.engine.orchestrate.rebuild import named
    from lakehouse.engine.orchestrate.rebuild import reingest as read_again

    opened = Lakehouse()
    with watched(told, table):
        ran = read_again(opened.definitions, named(opened.tables, table), opened.instance, files)
    red = _tell(ran)
    _tell_due(opened)
    raise typer.Exit(REFUSED if red else DRAINED)


@app.command()
def why(
    table: Annotated[str, typer.Argument(help="A table, silver/orders.")],
    key: Annotated[list[str], typer.Argument(help="The values of its key, or of the first columns of it.")],
) -> None:
    """What is known of a row: how it stands, the files it came with, what was set aside, what was made of it."""
    from lakehouse.engine.orchestrate.rebuild import named
    from lakehouse.engine.orchestrate.story import story

    opened = Lakehouse()
    known = story(
        named(opened.tables, table).declaration, [each.declaration for each in opened.tables], opened.place, key
    )
    for title, rows in known.chapters():
        out.print(title + ("" if rows.height else ": nothing"), style="bold", soft_wrap=True, markup=False)
        if rows.height:
            draw_rows(rows.columns, rows.rows())


def _keys(tables: Sequence[Table]) -> str:
    return ", ".join(each.declaration.key for each in tables)


@app.command()
def sql(
    statement: Annotated[str, typer.Argument(help='As in: "select * from gold.daily_sales limit 5"')],
    *,
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="TIME", help="As all stood then: 2026-01-31T12:00:00Z.")
    ] = None,
) -> None:
    """Ask the lake in SQL (DuckDB): bronze.…, silver.…, gold.…, quarantine.<layer>_<table>. All: "show tables"."""
    from lakehouse.engine.declare.place import SHADOW
    from lakehouse.engine.serve.local_sql import connect, query

    opened = Lakehouse()
    shadows = [(*SHADOW, *each.declaration.key.split("/")) for each in opened.in_shadow]
    everyone = [each.declaration for each in opened.tables]
    connection = connect(everyone, opened.place, [*opened.plain, *shadows], as_of=as_of)
    ways = {(each.declaration.layer, each.declaration.name): "lakehouse run" for each in opened.tables}
    names, rows = query(connection, statement, {**ways, **opened.plain}.items())
    draw_rows(names, rows)
    out.print(number(len(rows), "row"), style="dim")


@app.command(hidden=NO_EXAMPLE)
def demo() -> None:
    """Three months of a real ERP: land them, run everything, show what came of it. A second time changes nothing."""
    from lakehouse.engine.orchestrate.status import status as look

    began = time.monotonic()
    replay, opened = _replay(), Lakehouse()
    with watched(told, "Landing") as tell:
        landed = replay.land(opened.place.landing, date(2010, 12, 1), date(2011, 2, 28), tell=tell)
    out.print(replay.drawn(landed))
    out.print(f"{replay.told(landed)} They lie below {opened.place.landing.address()}", soft_wrap=True)
    code = _run(opened)
    drawn = Drawn("table", box=None, header_style="bold")
    drawn.add_column("rows", justify="right")
    drawn.add_column("set aside", justify="right")
    for each in look(opened.tables, opened.place, opened.instance):
        drawn.add_row(each.key, _count(each.rows), f"{each.quarantined:,}")
    out.print(drawn)
    out.print(f"Each is plain Delta at <layer>/<table> below {opened.place.lake.address()}", soft_wrap=True)
    out.print(f"Done in {time.monotonic() - began:.0f} s. Next, to see the graph in a browser:  make dev")
    asked = "select * from gold.daily_sales order by day, country limit 5"
    out.print(f'Or ask the tables:  .venv/bin/lakehouse sql "{asked}"')
    raise typer.Exit(code)


@contextmanager
def _errors_as_sentences() -> Iterator[None]:
    """The one boundary where our errors become a line on the terminal and an exit code."""
    try:
        yield
    except Exception as error:  # a table file may raise anything at its import; what is neither ours nor such goes on
        from lakehouse.engine.declare.errors import WrongUsage
        from lakehouse.engine.orchestrate.broken_file import why_broken

        if (said := why_broken(error)) is None:
            raise
        told.print(said, style="red", markup=False, soft_wrap=True)
        raise SystemExit(WRONG_USAGE if isinstance(error, WrongUsage) else REFUSED) from None


def main() -> None:
    """The console script."""
    logging.getLogger("azure").setLevel(logging.ERROR)  # what it warns of, our errors say
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # to look through all that is installed takes 10 ms
    gc.set_threshold(100_000)  # new objects, not 700: what is imported stays, and a fifth of a start went by on it
    atexit.register(gc.freeze)  # nor is it looked through at the end, which took 0.4 s of every command
    with _errors_as_sentences():
        app()


if __name__ == "__main__":
    main()
