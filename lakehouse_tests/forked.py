"""`lakehouse …` in a process of its own that finds Dagster and Polars loaded, which saves most of a command's time.

It is forked from a process that has loaded it, and nothing of the project, but for the engine where a command is to run
with the project's own: whose code runs is what lies at `at`. That a Python started anew does the same is shown by those
that start one: the whole slice, the pairs, two runs at once.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

ROOT = Path(__file__).parents[1]


def lakehouse(*arguments: str, at: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """What the command said and how it ended, started in the folder `at`; it is told nothing on its standard input."""
    parent = _parent(*["engine"] * (at == ROOT))
    with TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        job = {"arguments": arguments, "at": str(at), "environment": {**environment}, "files": [str(out), str(err)]}
        _open(parent.stdin).write(json.dumps(job) + "\n")
        _open(parent.stdin).flush()
        ended = _open(parent.stdout).readline()
        assert ended, "the process that forks has gone"
        return subprocess.CompletedProcess(arguments, int(ended), out.read_text(), err.read_text())


@cache
def _parent(*loaded: str) -> subprocess.Popen[str]:
    """One for all tests of this process, or two; it ends when its standard input does."""
    started = subprocess.Popen(
        [sys.executable, __file__, *loaded],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    atexit.register(started.communicate)
    return started


def _open(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def main() -> None:
    """Fork a child for each line of standard input, and answer with how it ended."""
    sys.path[0] = str(ROOT)
    from lakehouse_tests.preloaded import load, settle

    del sys.modules["lakehouse_tests.preloaded"], sys.modules["lakehouse_tests"]
    load()
    import dagster._daemon.controller
    import rich.progress
    import typer

    assert all((dagster, rich, typer))
    assert not {"lakehouse", "lakehouse_tests", "resources"} & sys.modules.keys()
    if sys.argv[1:]:
        import lakehouse.engine.orchestrate.run
        import lakehouse.engine.orchestrate.status
        import lakehouse.engine.orchestrate.upkeep_jobs
        import resources.dagster_home

        assert all((lakehouse, resources))
    settle()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            return _become(**json.loads(line))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
    return None


def _become(arguments: list[str], at: str, environment: dict[str, str], files: list[str]) -> None:
    """Be `python -m lakehouse.cli …`, whose end is that of this process."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for into, file in enumerate(files, start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), into)
    os.chdir(at)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0] = at
    sys.argv = ["lakehouse", *arguments]
    runpy.run_module("lakehouse.cli", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
