"""Two of the ways a table is written, prepared and committed at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.prepared import Written
from lakehouse.engine.delta.writes import prepare_append, prepare_merge


def append(handle: Handle, frame: pl.LazyFrame, transactions: Mapping[str, int], note: Mapping[str, str]) -> Written:
    """Add the rows of `frame`; none is a version too, which carries the transactions."""
    return prepare_append(handle, frame).commit(transactions, note)


def merge(  # noqa: PLR0917 # the call is the strategy, spelled out
    handle: Handle,
    frame: pl.LazyFrame,
    key: Sequence[str],
    transactions: Mapping[str, int],
    note: Mapping[str, str],
    *,
    replaces: Sequence[str] | None = None,
) -> Written:
    """Let the rows of `frame` take the place of those with the same key (or group). None is a version too."""
    return prepare_merge(handle, frame, key, replaces=replaces).commit(transactions, note)
