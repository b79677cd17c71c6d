"""Dagster's own folder: runs, events, schedules. It moves with LAKEHOUSE_HOME."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.environment import lakehouse_home

if TYPE_CHECKING:
    import sqlite3

    import dagster as dg

FILES_OPEN = 8


def dagster_home(home: Path | None = None) -> Path:
    """Make `<home>/dagster` ready and return it. What lies there, also an edited dagster.yaml, is left alone."""
    folder = (home or lakehouse_home()) / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "dagster.yaml"
    if not settings.exists():
        shutil.copyfile(Path(__file__).with_name("dagster.yaml"), settings)
    return folder


def not_due() -> Path:
    """Where this machine remembers what was found with nothing due, beside Dagster's history of what was run."""
    return Path(os.environ.get("DAGSTER_HOME") or dagster_home()) / "not_due.json"


def open_instance() -> dg.DagsterInstance:
    """Dagster's instance, in DAGSTER_HOME or else in ours, for a process that does the work itself."""
    import dagster as dg
    from filelock import FileLock

    home = os.environ.setdefault("DAGSTER_HOME", str(dagster_home()))
    _sync_at_checkpoints(home)
    with FileLock(f"{home}/.opening.lock"):  # two that make its tables at once: one fails with "already exists"
        return dg.DagsterInstance.get()


@cache
def _sync_at_checkpoints(home: str) -> None:
    """Let SQLite sync the write-ahead logs of Dagster's files when they are written back, and not after every event.

    Dagster opens each file anew for each event, and the last to close it writes the log back: 1,705 disk syncs were
    counted for one run of four tables. So one connection stays open to each of the files that were last in use. A
    power cut may cost the last lines of Dagster's history, never its integrity, and nothing of a table: those are
    Delta's commits.
    """
    import sqlite3

    from sqlalchemy import Engine, event

    stays_open: OrderedDict[str, sqlite3.Connection] = OrderedDict()

    @event.listens_for(Engine, "connect")
    def once(connection: Any, _record: object) -> None:
        if not isinstance(connection, sqlite3.Connection):
            return
        file = connection.execute("PRAGMA database_list").fetchone()[2]
        has_log = connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        if not has_log or not Path(file).is_relative_to(home):
            return
        connection.execute("PRAGMA synchronous = NORMAL")
        if file not in stays_open:
            stays_open[file] = sqlite3.connect(file, check_same_thread=False)
            stays_open[file].execute("SELECT count(*) FROM sqlite_master").fetchone()  # takes its part in the log
        stays_open.move_to_end(file)
        if len(stays_open) > FILES_OPEN:  # each run has one of its own
            stays_open.popitem(last=False)[1].close()


if __name__ == "__main__":
    ready = str(dagster_home())
    sys.stdout.write(f"export DAGSTER_HOME={shlex.quote(ready)}\n" if "--export" in sys.argv else f"{ready}\n")
