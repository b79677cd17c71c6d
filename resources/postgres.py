"""PostgreSQL as the place of Dagster's history: what is wrong with it in a sentence, that never holds the password."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lakehouse.engine.declare.errors import Transient
from resources.environment import SettingsError

if TYPE_CHECKING:
    import dagster as dg

POSTGRES_URL = "DAGSTER_POSTGRES_URL"
"""As the shipped dagster.postgres.yaml names it."""
_SECONDS_TO_CONNECT = "10"  # libpq waits for minutes for a host that swallows packets
_NO_HISTORY = "Nothing was run"


class HistoryOutOfReach(Transient):
    """PostgreSQL does not answer, or lets us not in."""


def keeps_in_postgres(settings: str) -> bool:
    """Whether a dagster.yaml says so, in one of the ways that Dagster knows."""
    return any("postgres" in line.partition("#")[0] for line in settings.splitlines())


@contextmanager
def opening(settings: Path) -> Iterator[Callable[[dg.DagsterInstance], dg.DagsterInstance]]:
    """Around the opening of Dagster's instance, which is then to be prepared by what this gives.

    Where the history is in PostgreSQL: raises SettingsError or HistoryOutOfReach, and keeps connections open.
    """
    said = settings.read_text(encoding="utf-8") if settings.is_file() else ""
    if not keeps_in_postgres(said):
        yield lambda instance: instance
        return
    variable = _variable(said)
    where = _where(os.environ.get(variable, ""), variable, settings) if variable else "PostgreSQL"
    try:
        from dagster_postgres.utils import DagsterPostgresException
        from sqlalchemy.exc import SQLAlchemyError
    except ModuleNotFoundError as missing:
        raise SettingsError(
            f"{settings} keeps Dagster's history in PostgreSQL, and {missing.name} is not installed. "
            "Install the extra: .venv/bin/pip install -e '.[postgres]'."
        ) from None
    os.environ.setdefault("PGCONNECT_TIMEOUT", _SECONDS_TO_CONNECT)
    logging.disable(logging.WARNING)  # Dagster tries six times, and would print the same lines each time
    try:
        yield _kept_open
    except (DagsterPostgresException, SQLAlchemyError) as error:
        # from None: what SQLAlchemy raises may hold the statement and its values
        raise HistoryOutOfReach(
            f"{where} keeps Dagster's history and cannot be used: {_why(error)}. {_NO_HISTORY}. "
            f"Start it, or mend what {variable or settings} says."
        ) from None
    finally:
        logging.disable(logging.NOTSET)


def _variable(settings: str) -> str | None:
    """The variable that holds the URL, where it is said in that way."""
    try:
        said: Any = yaml.safe_load(settings)
    except yaml.YAMLError:
        return None  # Dagster says where
    for key in ("storage", "postgres", "postgres_url", "env"):
        said = said.get(key) if isinstance(said, Mapping) else None
    return said if isinstance(said, str) else None


def _where(url: str, variable: str, settings: Path) -> str:
    """The server and the database of a URL. Of one that cannot be used nothing is repeated: it holds a password."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    example = "postgresql://user:password@host:5432/database"
    if not url:
        raise SettingsError(
            f"{variable} is not set. {settings} names it as the variable that holds the URL of the PostgreSQL in which "
            f"Dagster keeps its runs and events. {_NO_HISTORY}. Set it: {variable}={example}"
        )
    try:
        read = make_url(url)
    except (ArgumentError, ValueError):
        read = None
    # SQLAlchemy ends a password at its first @, and what follows would be printed as the host
    if read is None or read.drivername.partition("+")[0] != "postgresql" or "@" in (read.host or ""):
        raise SettingsError(
            f"{variable} holds no URL of a PostgreSQL. {_NO_HISTORY}. It reads {example}, and in user and password "
            "what is neither letter nor digit is percent-encoded: @ is %40, / is %2F, : is %3A."
        )
    host = read.host or read.query.get("host", "localhost")
    return f"PostgreSQL at {host}:{read.port or 5432}, database {read.database},"


def _why(error: BaseException) -> str:
    """The server's or the driver's own words, their first line."""
    while error.__cause__ is not None:
        error = error.__cause__
    said = str(getattr(error, "orig", None) or error).strip()
    return said.splitlines()[0].removesuffix(".") if said else type(error).__name__


def _kept_open(instance: dg.DagsterInstance) -> dg.DagsterInstance:
    """Dagster connects anew for every event: a run of nine tables took 7.0 s by that, and 2.5 s with this."""
    _ask_before_use()
    instance.optimize_for_webserver(statement_timeout=60_000, pool_recycle=300, max_overflow=20)  # ms, s, connections
    return instance


@cache
def _ask_before_use() -> None:
    """A connection that the server or a firewall has closed meanwhile is replaced, and not found out by an event."""
    import psycopg2
    from sqlalchemy import Pool, event
    from sqlalchemy.exc import DisconnectionError

    @event.listens_for(Pool, "checkout")
    def ask(connection: Any, _record: object, _proxy: object) -> None:
        if isinstance(connection, psycopg2.extensions.connection):
            try:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1")
            except psycopg2.Error as gone:
                raise DisconnectionError from gone
