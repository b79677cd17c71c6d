"""What tests of this room share: the commands as a person calls them, of the `house` that a test lives in."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import typer

from lakehouse import cli_plan, cli_table, cli_upkeep
from lakehouse.opened import Lakehouse
from lakehouse_tests.engine.orchestrate.test_upkeep import House


@pytest.fixture
def says(house: House, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What a command says, of this house."""
    stands = Lakehouse()
    parts = {"assets": [*house.assets], "place": house.place, "instance": house.instance}
    vars(stands).update(parts, environment=SimpleNamespace(upkeep={}))
    said = list[str]()
    for cli in (cli_upkeep, cli_table, cli_plan):
        monkeypatch.setattr(cli, "Lakehouse", lambda: stands)
        monkeypatch.setattr(cli.out, "print", lambda text, **_: said.append(text))

    def called(command: Callable[..., None], key: str, *, exits: int = 0, **words: object) -> str:
        said.clear()
        ended = 0
        try:
            command(key, **words)
        except typer.Exit as end:
            ended = end.exit_code
        assert ended == exits
        return "\n".join(said)

    return called
