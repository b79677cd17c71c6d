"""The engines that read a table beside ours. What each of them can read is told by `delta/protocol.py`."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from lakehouse.engine.declare.errors import DeclarationError


class Reader(StrEnum):
    """Who reads a table beside the lakehouse itself: nothing is ever written that one of them could not read."""

    DELTA_RS = "delta-rs"
    """deltalake, and Polars, which opens tables by it."""
    DATABRICKS = "databricks"
    """Databricks, and Spark with Delta 4."""
    SYNAPSE = "synapse"
    """Synapse serverless SQL."""
    FABRIC = "fabric"
    """Microsoft Fabric: the SQL analytics endpoint and Direct Lake."""


EVERY_READER = tuple(Reader)


def checked_readers(table: str, readers: Iterable[Reader]) -> tuple[Reader, ...]:
    """Each once, in their own order. Raises DeclarationError for what is none, and where there is none."""
    named = [readers] if isinstance(readers, str) else list(readers)
    for each in named:
        if each not in EVERY_READER:
            known = ", ".join(f"Reader.{reader.name}" for reader in EVERY_READER)
            raise DeclarationError(f"{table}: readers={each!r} is no reader; there are {known}.")
    if not named:
        raise DeclarationError(
            f"{table}: readers=[] names none, and a table that nobody reads need not be written. Leave the word out "
            "where every reader is meant."
        )
    return tuple(reader for reader in EVERY_READER if reader in named)
