"""How a table takes what its transform returns, and which way of reading goes with which way of writing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class Append:
    """Add the rows that came out. Every row read once comes out once."""


@dataclass(frozen=True)
class Overwrite:
    """Replace the whole table by what came out."""


@dataclass(frozen=True)
class Merge:
    """Replace the standing row of the same key, insert the rest; the later arrival wins (SCD1).

    `replaces` names a column: an incoming group replaces all standing rows of that group, so that a line that a
    correction no longer holds is gone.
    """

    replaces: str | None = None


type Write = Append | Overwrite | Merge


@dataclass(frozen=True)
class Quarantine:
    """Rows that break a rule are set aside with every reason, and the rest is written."""


class Reading(Enum):
    """How a parameter of a transform reads its upstream."""

    FRAME = "Frame"
    NEW = "New"


_WOULD_LOSE: Mapping[tuple[type, Reading], str] = {
    (Append, Reading.FRAME): (
        "Append() of a Frame would write every row again on every run. "
        "Read New[{upstream}], or write Overwrite() or Merge()."
    ),
    (Overwrite, Reading.NEW): (
        "Overwrite() of New rows would leave only the last batch, and nothing after an idle run. "
        "Read Frame[{upstream}], or write Append() or Merge()."
    ),
}


def why_not(write: Write, reading: Reading, upstream: str, upstream_write: Write) -> str:
    """Why writing and reading so would lose or double rows, and what to write instead; empty where it would not.

    `upstream` is the name of the contract that is read, `upstream_write` how its table is written.
    """
    if sentence := _WOULD_LOSE.get((type(write), reading)):
        return sentence.format(upstream=upstream)
    if reading is Reading.NEW and not isinstance(upstream_write, Append):
        return (
            f"New[{upstream}] reads appended rows, but {upstream}'s table is written by "
            f"{type(upstream_write).__name__}(), which replaces rows. Read Frame[{upstream}]."
        )
    return ""
