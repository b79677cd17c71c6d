"""Dagster's own folder: runs, events, schedules. It moves with LAKEHOUSE_HOME."""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakehouse.engine.declare.errors import LakehouseError
from resources.environment import SettingsError, lakehouse_home, load_environment
from resources.postgres import keeps_in_postgres, opening

if TYPE_CHECKING:
    import sqlite3

    import dagster as dg

FILES_OPEN = 8
UNSIGNED = "805b7b5a76ebeac6"
"""How the digest begins of the dagster.yaml that was put there before they were signed."""


def dagster_home(home: Path | None = None) -> Path:
    """Make `<home>/dagster` ready for the environment, and return it. An edited dagster.yaml is left alone.

    Raises SettingsError where an edited one keeps the history elsewhere than the environment says, or SQLite cannot.
    """
    environment = load_environment()
    in_postgres = environment.dagster_storage == "postgres"
    folder = (home or lakehouse_home()) / "dagster"
    if "?" in str(folder) and not in_postgres:
        raise SettingsError(f"{folder}: to SQLite this ends at the ?. Let LAKEHOUSE_HOME name a folder without one.")
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "dagster.yaml"
    stands = settings.read_text(encoding="utf-8") if settings.exists() else ""
    shipped = Path(__file__).with_name("dagster.yaml").read_text(encoding="utf-8")
    added = Path(__file__).with_name("dagster.postgres.yaml").read_text(encoding="utf-8")
    text = _signed(shipped + added if in_postgres else shipped)
    if stands != text and (not stands or _as_put(stands)):
        written = folder / f".dagster.yaml.{os.getpid()}"
        written.write_text(text, encoding="utf-8")
        written.replace(settings)
    elif in_postgres and not keeps_in_postgres(stands):
        raise SettingsError(
            f"{environment.file} says dagster_storage: postgres, and {settings}, which was edited, does not. "
            f"Add to it:\n{added.strip()}\nor remove it, and it is put there anew."
        )
    return folder


def _signed(text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"# As lakehouse put it here ({digest}). Edit it, and it is yours: then it is left alone.\n{text}"


def _as_put(stands: str) -> bool:
    """Whether nobody has edited it since it was put here, by whatever version."""
    head, _, text = stands.partition("\n")
    return _signed(text).startswith(head + "\n") or hashlib.sha256(stands.encode()).hexdigest().startswith(UNSIGNED)


def not_due() -> Path:
    """Where this machine remembers what was found with nothing due, beside Dagster's history of what was run."""
    return Path(os.environ.get("DAGSTER_HOME") or dagster_home()) / "not_due.json"


def open_instance() -> dg.DagsterInstance:
    """Dagster's instance, in DAGSTER_HOME or else in ours, for a process that does the work itself."""
    import dagster as dg
    from filelock import FileLock

    home = os.environ["DAGSTER_HOME"] = os.environ.get("DAGSTER_HOME") or str(dagster_home())
    _sync_at_checkpoints(home)
    # two that make its tables at once: one fails with "already exists"
    with FileLock(f"{home}/.opening.lock"), opening(Path(home) / "dagster.yaml") as prepared:
        return prepared(dg.DagsterInstance.get())


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


def main() -> None:
    """Say where Dagster's home is, or with --export the line for a shell; before `make dev`, whether it can be used."""
    try:
        ready = dagster_home()
        if "--export" in sys.argv and keeps_in_postgres((ready / "dagster.yaml").read_text(encoding="utf-8")):
            os.environ["DAGSTER_HOME"] = str(ready)
            open_instance()
    except LakehouseError as why:
        sys.exit(str(why))
    sys.stdout.write(f"export DAGSTER_HOME={shlex.quote(str(ready))}\n" if "--export" in sys.argv else f"{ready}\n")


if __name__ == "__main__":
    main()
