"""docs/local-development.md, adls.md and restore.md say what the commands say, and what they let one write is taken."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lakehouse_tests.azure_cloud import ACCOUNT_KEY, Cloud, Secret
from lakehouse_tests.azurite import KEY
from lakehouse_tests.house.house import ROOT
from lakehouse_tests.without_spark import without_spark
from resources import engines
from resources.adls import Adls
from resources.environment import AUTH_MODES, Environment, load_environment, storages

LOCAL, ADLS, RESTORE = ROOT / "docs/local-development.md", ROOT / "docs/adls.md", ROOT / "docs/restore.md"
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
HOME = "/srv/lakehouse"
FOLDERS = "{landing: {type: local_disk, path: landing}, lake: {type: local_disk, path: lake}}"


def blocks(guide: Path, language: str) -> list[str]:
    found = BLOCK.findall(guide.read_text("utf-8"))
    return [textwrap.dedent(text) for _, named, text in found if named == language]


def answers(guide: Path, command: str) -> list[str]:
    """What a guide shows below each call of a command."""
    shown = [part for block in blocks(guide, "console") for part in re.split(r"^\$ ", block, flags=re.MULTILINE)]
    return [answer for part in shown for typed, _, answer in [part.partition("\n")] if typed == command and answer]


def said(text: str, home: Path) -> list[str]:
    """Its words, line by line, but for what another day and another place say otherwise."""
    text = text.replace(str(home), HOME).replace(str(ROOT), "…")
    text = re.sub(r"ends in \d+ days", "ends in … days", re.sub(r"until [-\d]+ [\d:]+ UTC", "until …", text))
    return [" ".join(line.split()) for line in text.splitlines()]


def typed(command: str, home: Path, **variables: str) -> list[str]:
    path = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-m", "lakehouse.cli", *command.split()],
        env={**path, "HOME": str(home), "LAKEHOUSE_HOME": str(home), "COLUMNS": "200", **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return said(done.stdout + done.stderr, home)


def written(home: Path, name: str, text: str) -> Environment:
    file = home / "environments" / f"{name}.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return load_environment(name)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    return tmp_path


def test_every_environment_of_the_guides_is_taken_and_every_way_in_is_among_them(home: Path):
    modes = set[str]()
    for guide in (LOCAL, ADLS):
        for number, text in enumerate(blocks(guide, "yaml")):
            held = yaml.safe_load(text)
            held["connections"] = yaml.safe_load(FOLDERS) | held["connections"]
            environment = written(home, f"{guide.stem}-{number}", yaml.safe_dump(held))
            modes |= {getattr(each, "auth_mode", "") for each in environment.connections.values()}
    assert modes - {""} == set(AUTH_MODES)


def test_the_guide_to_local_development_shows_what_the_commands_say(home: Path):
    [shown] = answers(LOCAL, "lakehouse config show")
    assert typed("config show", home) == said(shown, home)
    [mine] = blocks(LOCAL, "yaml")
    written(home, "mine", mine)
    [unknown] = answers(LOCAL, "LAKEHOUSE_ENVIRONMENT=mien lakehouse run")
    assert typed("run", home, LAKEHOUSE_ENVIRONMENT="mien") == said(unknown, home)
    (home / "environments/mine.yaml").write_text(mine.replace("path: my-lake", "pfad: my-lake"))
    [misspelt] = answers(LOCAL, "lakehouse run")
    assert typed("run", home, LAKEHOUSE_ENVIRONMENT="mine") == said(misspelt, home)


def test_the_guide_to_restoring_shows_what_the_commands_say(home: Path):
    here = without_spark(home)

    def days(first: int, last: int) -> None:
        typed(f"land --from 2010-12-{first:02} --to 2010-12-{last:02}", home, **here)
        typed("run", home, **here)

    def shown(command: str) -> list[str]:
        [answer] = answers(RESTORE, f"lakehouse {command}")
        return without_times(said(answer, home))

    def told(command: str) -> list[str]:
        return without_times(typed(command, home, **here))

    days(1, 2)
    days(3, 3)
    assert told("table history silver/orders") == shown("table history silver/orders")
    assert told("table restore silver/orders --version 1") == shown("table restore silver/orders --version 1")
    typed("run", home, **here)
    refused = "table restore bronze/erp_orders --version 1"
    assert told(refused) == shown(refused)
    assert told(f"{refused} --downstream")[-1] == "To read again what came since: lakehouse run"
    (home / "landing/erp/orders/dt=2010-12-02/orders.jsonl.gz").unlink()
    lossy = "table restore bronze/erp_orders --version 0 --downstream"
    assert told(lossy) == shown(lossy)


def without_times(lines: list[str]) -> list[str]:
    """Without the moments of commits, and the bytes of files, which hang on the version of a library."""
    moments = [re.sub(r"[-\d]+ [:.\d]+\+00:00", "…", line) for line in lines]
    return [re.sub(r"(… WRITE \d+ \d+ \d+) \d+", r"\1 …", line) for line in moments]


@pytest.fixture
def azurite_of_the_guide(home: Path) -> Iterator[dict[str, str]]:
    """By the lines that the guide lets one type."""
    [code] = re.findall(r'^python -c "\n(.*?)"$', LOCAL.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        assert server.stdout
        lines = [server.stdout.readline() for _ in range(2)]
        variables = dict(line.removeprefix("export ").strip().split("=", 1) for line in lines)
        yield variables
        server.send_signal(signal.SIGINT)  # as Ctrl-C; Enter is the easier case
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(variables["AZURITE_PORT"])))


@pytest.mark.azurite
def test_azurite_is_started_and_looked_at_as_the_guide_says(
    azurite: object, azurite_of_the_guide: dict[str, str], home: Path
):
    assert azurite_of_the_guide["AZURITE_KEY"] == KEY
    [shown] = answers(LOCAL, "lakehouse doctor storage")
    assert typed("doctor storage", home, LAKEHOUSE_ENVIRONMENT="test", **azurite_of_the_guide) == said(shown, home)


def test_the_guide_to_adls_shows_what_the_commands_say_in_the_simulated_cloud(azure_cloud: Cloud, home: Path):
    company = blocks(ADLS, "yaml")[0]
    written(home, "company", company)
    cloud = {
        **azure_cloud.environment(),
        **azure_cloud.identity(),
        "LAKEHOUSE_ENVIRONMENT": "company",
        "SHOP_SECRET": azure_cloud.client_secret,
    }
    azure_cloud.vaults["company-kv"] = {"landing-key": Secret(ACCOUNT_KEY)}
    for command in ("env check", "doctor vault", "doctor storage"):
        [shown] = answers(ADLS, f"lakehouse {command}")
        assert typed(command, home, **cloud) == said(shown, home)
    of_the_vault, of_the_variable = answers(ADLS, "lakehouse run")
    assert typed("run", home, **cloud, AZURE_STORAGE_TOKEN="x") == said(of_the_variable, home)

    written(home, "company", company.replace("client_secret_variable: SHOP_SECRET", "secret_name: shop-secret"))
    azure_cloud.vaults["company-kv"] = {"landing-kei": Secret("x"), "shop-secret": Secret("x", "forbidden")}
    assert typed("run", home, **cloud) == said(of_the_vault, home)

    literal = company.replace("auth_mode: managed_identity", "auth_mode: direct_key\n    account_key: SOME-KEY")
    (home / "environments/company.yaml").write_text(literal)
    [refused] = answers(ADLS, "lakehouse config show")
    assert typed("config show", home, **cloud) == said(refused, home)


def test_other_engines_are_told_what_the_guide_shows(home: Path):
    lake = storages(written(home, "company", blocks(ADLS, "yaml")[0]))["lake"]
    assert isinstance(lake, Adls)
    told = [engines.spark_path(lake, "gold", "daily_sales"), *engines.synapse_statements(lake, "lakehouse")]
    assert "\n".join(told) + "\n" in blocks(ADLS, "")
