"""Where the house stands, and what its tests ask of it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def tracked() -> tuple[str, ...]:
    """The files of the project, by name below its root: what git holds, or will."""
    asked = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    said = subprocess.run(asked, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return tuple(name for name in said.split("\0") if name and (ROOT / name).is_file())


def python_files(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    for name in tracked():
        if name.endswith(".py") and name.startswith(folders):
            yield name, ast.parse((ROOT / name).read_text())


def child(*arguments: str, at: Path = ROOT, home: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A Python that sees only the project that lies at `at`."""
    environment = {**os.environ, "PYTHONPATH": str(at), **({"LAKEHOUSE_HOME": str(home)} if home else {})}
    return subprocess.run(
        [sys.executable, *arguments], cwd=at, env=environment, check=False, capture_output=True, text=True
    )
