"""`lakehouse config …`, `lakehouse env …` and `lakehouse doctor …`: what is set, and whether the world is so."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table as Drawn
from rich.text import Text

from lakehouse.opened import out

if TYPE_CHECKING:
    from resources.diagnosis import Finding
    from resources.environment import Environment

AsJson = Annotated[bool, typer.Option("--json", help="A list of objects.")]

config = typer.Typer(help="What the environment is set to.", no_args_is_help=True)
env = typer.Typer(help="Whether the environment has what it needs.", no_args_is_help=True)
doctor = typer.Typer(help="Look for what is wrong, step by step.", no_args_is_help=True)


@config.command()
def show(*, as_json: AsJson = False) -> None:
    """Every setting, and where it comes from: file and line, variable, or default. No secret is shown."""
    from resources.config import shown

    found = shown()
    if as_json:
        sys.stdout.write(json.dumps([asdict(each) for each in found], indent=2) + "\n")
        return
    drawn = Drawn("setting", "value", "from", box=None, header_style="bold")
    for each in found:
        drawn.add_row(Text(each.name), Text(each.value), Text(each.origin, style="dim"))
    out.print(drawn)


@config.command()
def schema() -> None:
    """JSON Schema of an environment file: name it in the file's first line, and the editor completes what may stand."""
    from resources.config import schema as made

    sys.stdout.write(made())


@env.command()
def check(*, as_json: AsJson = False) -> None:
    """Variables, secrets, containers, certificates and the address that others see. Exit 1: something is not well."""
    from resources.diagnosis import check as look

    _tell(look, as_json=as_json)


@doctor.command()
def storage(*, as_json: AsJson = False) -> None:
    """The way to each container: certificate, login, listing, and for the lake writing."""
    from resources.diagnosis import storage as look

    _tell(look, as_json=as_json)


@doctor.command()
def vault(*, as_json: AsJson = False) -> None:
    """The way to each key vault: certificate, login, and each secret in it."""
    from resources.diagnosis import vault as look

    _tell(look, as_json=as_json)


def _tell(look: Callable[[Environment], Iterator[Finding]], *, as_json: bool) -> None:
    from resources.environment import load_environment

    environment = load_environment()
    found: list[Finding] = []
    for each in look(environment):
        found.append(each)
        if not as_json:
            mark = Text("✓ ", style="green") if each.is_well else Text("✗ ", style="red")
            out.print(mark + Text(each.what, style="bold") + Text(f"  {each.said}"), soft_wrap=True)
    if as_json:
        sys.stdout.write(json.dumps([asdict(each) for each in found], indent=2) + "\n")
    elif not found:
        out.print(f"{environment.name} needs nothing of this kind.")
    raise typer.Exit(0 if all(each.is_well for each in found) else 1)
