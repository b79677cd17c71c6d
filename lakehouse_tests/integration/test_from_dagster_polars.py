"""docs/from-dagster-polars.md does what it says: it is carried out from top to bottom, in a project of its own."""

from __future__ import annotations

import os
import re
import shlex
import sys
from io import StringIO
from pathlib import Path
from time import time

import polars as pl
import pytest

from lakehouse_tests.house.house import ROOT, child
from lakehouse_tests.house.project import Project

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
OLD = {
    "silver/payments": [pl.col("paid_at").str.to_datetime(time_zone="UTC"), pl.col("amount").str.to_decimal(scale=2)],
    "gold/takings": [pl.col("day").str.to_date(), pl.col("amount").str.to_decimal(scale=2)],
}


def said(text: str) -> list[str]:
    """Its lines, but for the time that it took and blanks at the ends of drawn rows."""
    return [line.rstrip() for line in re.sub(r"\(\d+\.\d s\)", "(… s)", text).splitlines()]


def left_by_dagster_polars(project: Project, key: str, drawn: str) -> None:
    """The table that is drawn, as PolarsDeltaIOManager writes one: `DataFrame.write_delta`."""
    cells = [[cell.strip() for cell in line.split("|")] for line in drawn.splitlines() if "-+-" not in line]
    text = pl.read_csv(StringIO("\n".join(map(",".join, cells))), infer_schema=False)
    partition = {"partition_by": "day"} if key == "gold/takings" else {}
    text.with_columns(OLD[key]).write_delta(str(project.home / "lake" / key), delta_write_options=partition)


def carried_out(project: Project, commands: str) -> None:
    """Type each command of a block, and hold what a `lakehouse …` says against what stands below it."""
    for typed in re.split(r"^\$ ", commands, flags=re.MULTILINE)[1:]:
        command, _, answer = typed.partition("\n")
        program, *words = shlex.split(command)
        if program == "lakehouse":
            done = child("-m", "lakehouse.cli", *words, at=project.root, home=project.home)
            assert said(done.stdout + done.stderr) == said(answer), command
        else:
            done = child(str(Path(sys.executable).with_name(program)), *words, at=project.root, home=project.home)
            assert done.returncode == 0, done.stdout + done.stderr


def test_the_guide_is_true_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))
    project = Project.copied(tmp_path, tables=False)
    child("-m", "resources.dagster_home", at=project.root, home=project.home)
    done: list[str] = []
    for language, text in BLOCK.findall((ROOT / "docs/from-dagster-polars.md").read_text("utf-8")):
        named, _, content = text.partition("\n")
        name = named.removeprefix("# ")
        if language == "console":
            carried_out(project, text)
            done.append("console")
        elif name.startswith("lakehouse/"):
            written(project.root / name, content)
        elif name.startswith("inbox/"):
            written(project.home / "landing" / "payments" / Path(name).name, content)
        elif name.endswith(".delta"):
            left_by_dagster_polars(project, name.removeprefix("lake/").removesuffix(".delta"), content)
    assert len(done) == 5


def written(file: Path, content: str) -> None:
    """Some time ago, so that a file that lands has stood still for long enough."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    ago = time() - 60
    os.utime(file, (ago, ago))
