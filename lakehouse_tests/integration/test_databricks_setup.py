"""The set-up notebook, carried out headless against Sail: what it finds and makes, and that once is enough."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from lakehouse_tests.azure_cloud import ACCOUNT_KEY, Cloud, Secret
from lakehouse_tests.house.house import ROOT

NOTEBOOK = ROOT / "docs/databricks_setup.py"
TOKEN = "dapi-a-token-of-the-workspace"
ENVIRONMENT = """
key_vault_name: company-kv
connections:
  landing:
    {type: azure_adls, account: contosoraw, container: lake, auth_mode: direct_key, account_key_variable: RAW_KEY}
  lake: {type: azure_adls, account: contosolake, container: lake, auth_mode: key_vault, secret_name: lake-key}
spark:
  kind: databricks
  host: https://adb-1234567890123456.7.azuredatabricks.net
  volume: /Volumes/main/lakehouse/jobs
  token_variable: WORKSPACE_TOKEN
"""
NOT_HERE = {"certificate of adb-1234567890123456.7.azuredatabricks.net"}
"""The simulated Azure has no workspace, and nobody who tells addresses."""
FINDING = re.compile(r"^([-✓✗]) (.+?)  +(.*)$", re.MULTILINE)


@pytest.fixture
def session(azure_cloud: Cloud, tmp_path: Path) -> Iterator[str]:
    """The address of one session of Spark, that lives as a notebook's does: longer than one process."""
    script = tmp_path / "stay.py"
    script.write_text("import os, threading\nprint(os.environ['SPARK_REMOTE'], flush=True)\nthreading.Event().wait()\n")
    account = {"AZURE_STORAGE_ACCOUNT_NAME": "contosolake", "AZURE_STORAGE_ACCOUNT_KEY": ACCOUNT_KEY}
    server = subprocess.Popen(
        [sys.executable, ROOT / "resources/sail_session.py", script],
        env={**os.environ, **azure_cloud.environment(), **account, "RUST_LOG": "error"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin
    assert server.stdout
    yield f"{server.stdout.readline().strip()}/;session_id={uuid.uuid4()}"
    server.stdin.close()
    server.wait(20)
    server.stdout.close()


@pytest.fixture
def workspace(azure_cloud: Cloud, session: str, tmp_path: Path) -> dict[str, str]:
    """What a process needs to be a notebook of a workspace in the simulated Azure."""
    azure_cloud.vaults["company-kv"] = {"lake-key": Secret(ACCOUNT_KEY)}
    (tmp_path / "environments").mkdir()
    (tmp_path / "environments" / "azure.yaml").write_text(ENVIRONMENT)
    return {
        **azure_cloud.environment(),
        **azure_cloud.identity(),
        "SPARK_REMOTE": session,
        "HOME": str(tmp_path),
        "ENVIRONMENT": "azure",
        "STANDING": str(tmp_path / "standing.json"),
        "SCOPE": json.dumps({"RAW_KEY": ACCOUNT_KEY, "WORKSPACE_TOKEN": TOKEN}),
    }


def carried_out(command: list[str | Path], **variables: str) -> tuple[dict[str, str], str, int]:
    """Each finding of the table at its end, as mark and words; all that was printed; the exit code."""
    began = time.monotonic()
    path = {name: os.environ[name] for name in ("PATH", "LAKEHOUSE_HOME")}
    with subprocess.Popen(
        [sys.executable, *command],
        env={**path, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", "RUST_LOG": "error", **variables},
        stdin=subprocess.PIPE,  # open as long as it runs: Sail ends with it
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout
        said = process.stdout.read()
    assert time.monotonic() - began < 60, "a person waits for it"
    assert ACCOUNT_KEY not in said
    assert TOKEN not in said
    table = said.rpartition("\n\n")[0].rpartition("\n\n")[2]
    return {what: f"{mark} {found}" for mark, what, found in FINDING.findall(table)}, said, process.returncode


def in_a_workspace(**variables: str) -> tuple[dict[str, str], str]:
    found, said, code = carried_out([ROOT / "lakehouse_tests/notebook.py", NOTEBOOK], **variables)
    assert {what for what in NOT_HERE if found[what].startswith("✗")} == NOT_HERE
    assert code == 1, said
    return {what: words for what, words in found.items() if what not in NOT_HERE}, said


def test_it_is_a_notebook_of_databricks():
    first, *cells = NOTEBOOK.read_text().split("\n\n# COMMAND ----------\n\n")
    assert first.startswith("# Databricks notebook source\n# MAGIC %md\n")
    assert len(cells) == 14
    assert all(compile(cell, "cell", "exec") for cell in cells)


def test_a_script_sets_up_folders_with_sail_and_a_second_time_changes_nothing(tmp_path: Path):
    command = [ROOT / "resources/sail_session.py", NOTEBOOK, "--home", tmp_path, "--environment", "local"]
    for _ in range(2):
        found, said, code = carried_out(command)
        assert code == 0, said
        assert {mark for mark, *_ in found.values()} == {"✓", "-"}
        assert found["Spark reads the lake"] == "✓ what deltalake wrote"
        assert found["Polars reads the lake"] == "✓ what deltalake and Spark wrote"
        assert "Nothing was changed: all was there already." in said
    assert [*(tmp_path / "lake").iterdir()] == []


def test_a_workspace_is_set_up_once_and_found_so_the_second_time(workspace: dict[str, str], azure_cloud: Cloud):
    first, said = in_a_workspace(**workspace)
    assert {mark for mark, *_ in first.values()} == {"✓"}, said
    made = ("catalog main", "schema main.lakehouse", "volume main.lakehouse.jobs")
    assert {first[what] for what in made} == {"✓ made"}
    assert first["variable RAW_KEY"] == "✓ for landing", "from the scope of secrets"
    assert first["Spark's way into landing"] == "✓ 2 settings of contosoraw set"
    assert (
        first["Spark's way into lake"] == "✓ there already, by rights that the session has of its own; nothing was set"
    )
    assert first["Polars reads the lake"] == "✓ what deltalake and Spark wrote"
    assert f"Changed: {', '.join(made)}, Spark's way into landing." in said

    second, said = in_a_workspace(**workspace)
    assert {second[what] for what in made} == {"✓ there already"}
    assert second["Spark's way into landing"] == "✓ 2 settings of contosoraw, there already"
    assert second["Polars reads the lake"] == "✓ what deltalake and Spark wrote"
    assert "Nothing was changed: all was there already." in said
    assert {what: words for what, words in second.items() if "there already" not in words} == {
        what: words for what, words in first.items() if what in second and "there already" not in second[what]
    }


def test_what_may_not_be_made_is_told_with_who_can_and_all_else_is_looked_at(workspace: dict[str, str]):
    found, said = in_a_workspace(**workspace, FORBIDDEN="yes")
    assert found["volume main.lakehouse.jobs"].startswith("✗ is not there, and may not be made ([INSUFFICIENT_PERM")
    assert "next: ask who administers it: GRANT CREATE VOLUME ON SCHEMA `main`.`lakehouse` TO `you`" in said
    assert "next: ask who administers it: GRANT CREATE CATALOG ON METASTORE TO `you`" in said
    assert "✗ this session takes no settings of storage ([CONFIG_NOT" in found["Spark's way into landing"]
    assert "next: make an external location of abfss://lake@contosoraw.dfs.core.windows.net" in said
    assert found["Polars reads the lake"] == "✓ what deltalake and Spark wrote"


def test_what_the_session_does_not_know_is_said_and_no_failure(workspace: dict[str, str], tmp_path: Path):
    variables = {name: value for name, value in workspace.items() if name not in ("STANDING", "SCOPE")}
    variables |= {"RAW_KEY": ACCOUNT_KEY, "WORKSPACE_TOKEN": TOKEN}
    command = [NOTEBOOK, "--environment", "azure", "--home", tmp_path]
    for made in ("✓ made", "✓ there already"):
        found, said, _ = carried_out(command, **variables)
        assert found["catalog main"].startswith("- this session knows no such thing")
        assert found["volume main.lakehouse.jobs"].startswith("- this session knows no such thing")
        assert found["schema main.lakehouse"] == made, said


def test_where_something_is_missing_it_ends_with_the_one_next_step(tmp_path: Path):
    command = [ROOT / "resources/sail_session.py", NOTEBOOK, "--home", tmp_path, "--environment", "productoin"]
    _, said, code = carried_out(command)
    assert code == 1
    assert "✗ environment: There is no environment 'productoin' (did you mean production?)" in said
    assert "Traceback" not in said


def test_what_it_tells_to_install_has_no_spark_and_all_that_azure_needs(tmp_path: Path):
    hidden = tmp_path / "deltalake.py"
    hidden.write_text("raise ModuleNotFoundError(name='deltalake')")
    _, said, code = carried_out([NOTEBOOK], PYTHONPATH=str(tmp_path), TMPDIR=str(tmp_path))
    assert code == 1
    assert f"next: %pip install --require-hashes --no-deps -r {tmp_path}/lakehouse.lock, then" in said
    names = {line.partition("==")[0] for line in (tmp_path / "lakehouse.lock").read_text().splitlines()}
    assert {"deltalake", "polars", "dagster", "azure-identity", "azure-keyvault-secrets"} < names
    alone = tmp_path / "docs" / NOTEBOOK.name
    alone.parent.mkdir()
    alone.write_bytes(NOTEBOOK.read_bytes())
    _, said, _ = carried_out([alone], PYTHONPATH=str(tmp_path))
    assert "next: add the repository to the workspace as a Git folder" in said
    assert not names & {"pyspark-client", "pysail", "pandas", "numpy"}
