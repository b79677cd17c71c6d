"""A copy of the project that a test may write into, as a person's own would be."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lakehouse_tests.forked import lakehouse
from lakehouse_tests.house.house import ROOT, tracked
from lakehouse_tests.without_spark import local_without_spark

_COPIED = ("lakehouse/", "resources/", "lakehouse_tests/drawing.py", "pyproject.toml", "workspace.yaml")


@dataclass(frozen=True)
class Project:
    """A copy of the project without the example's files, and its home inside it."""

    root: Path

    @classmethod
    def copied(cls, root: Path, *, tables: bool) -> Project:
        """tables: with those of the example; else it stands without business."""
        left_out = ("lakehouse/example/",) if tables else ("lakehouse/example/", "lakehouse/tables/")
        for name in tracked():
            is_left_out = name.startswith(left_out) and name != "lakehouse/tables/__init__.py"
            if name.startswith(_COPIED) and not is_left_out:
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, root / name)
        return cls(root)

    @property
    def home(self) -> Path:
        return self.root / "home"

    def __call__(self, *arguments: str, exits: int = 0) -> str:
        """What `lakehouse …` says, on both streams."""
        done = lakehouse(*arguments, at=self.root, environment=self._environment(self.root))
        assert done.returncode == exits, done.stdout + done.stderr
        return done.stdout + done.stderr

    def asks(self, *command: str) -> str:
        """What another program says, started in the project."""
        seen = self._environment(self.root)
        done = subprocess.run(command, cwd=self.root, env=seen, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def land_example(self, first: str, last: str) -> None:
        """Land days of the example, by the command of the project that has it."""
        landed = lakehouse("land", "--from", first, "--to", last, at=ROOT, environment=self._environment(ROOT))
        assert landed.returncode == 0, landed.stderr

    def leave_spark_out(self) -> None:
        """Name none in its environment `local`: what runs on one is left out, which saves seconds in every run."""
        (self.root / "resources/environments/local.yaml").write_text(local_without_spark())

    def edit(self, name: str, old: str, new: str) -> None:
        """Change the text of a file below `lakehouse/`."""
        file = self.root / "lakehouse" / name
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def _environment(self, at: Path) -> dict[str, str]:
        """With the code that lies at `at`, and this project's home."""
        return {**os.environ, "PYTHONPATH": str(at), "LAKEHOUSE_HOME": str(self.home)}
