"""The house stands without the example: whoever starts deletes `lakehouse/tables/*` and `lakehouse/example`."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from lakehouse_tests.house.house import child
from lakehouse_tests.house.project import Project

ASKS = """
import json, sys
from pathlib import Path
import dagster as dg
from typer.testing import CliRunner
import lakehouse
from lakehouse.cli import app
from lakehouse.definitions import lakehouse as definitions
loaded = definitions()
dg.Definitions.validate_loadable(loaded)
repository = loaded.get_repository_def()
asked = {each: CliRunner().invoke(app, each.split()) for each in ("land", "demo", "run", "status --json")}
print(json.dumps({
    "from": str(Path(lakehouse.__file__).parent),
    "assets": len(repository.asset_graph.get_all_asset_keys()),
    "sensors": sorted(each.name for each in repository.sensor_defs),
    "said": {each: [result.exit_code, result.output, repr(result.exception)] for each, result in asked.items()},
}))
"""


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project.copied(tmp_path_factory.mktemp("empty"), tables=False)


@pytest.fixture(scope="module")
def said(empty: Project) -> dict[str, Any]:
    """What it says of itself."""
    answer = child("-c", ASKS, at=empty.root, home=empty.home)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout.splitlines()[-1])


def test_its_definitions_load_with_no_table(empty: Project, said: dict[str, Any]):
    assert (said["from"], said["assets"], said["sensors"]) == (str(empty.root / "lakehouse"), 0, ["automation"])


def test_dagster_finds_nothing_wrong_with_it(empty: Project):
    dg = str(Path(sys.executable).with_name("dg"))
    said = child(dg, "check", "defs", at=empty.root, home=empty.home)
    assert "All definitions loaded successfully." in said.stdout + said.stderr
    assert said.returncode == 0


@pytest.mark.parametrize("command", ["land", "demo"])
def test_the_commands_of_the_example_say_that_it_is_gone(said: dict[str, Any], command: str):
    assert said["said"][command][:2] == [
        2,
        "The example is gone: lakehouse/example was deleted, and land and demo with it. Next: lakehouse run\n",
    ]


def test_nothing_is_due_and_nothing_stands(said: dict[str, Any]):
    code, output, error = said["said"]["run"]
    assert (code, "Nothing changed: nothing is due" in output) == (0, True), error
    code, output, error = said["said"]["status --json"]
    assert (code, json.loads(output)) == (0, []), error
