"""How a table takes what its transform returns, and which way of reading goes with which way of writing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum


@dataclass(frozen=True)
class Append:
    """Add the rows that came out. Every row read once comes out once. It looks at no row that stands: it has no key."""


@dataclass(frozen=True)
class Overwrite:
    """Replace the whole table by what came out."""


@dataclass(frozen=True)
class Merge:
    """Replace the standing row of the same key, insert the rest; the later arrival wins (SCD1).

    `replaces` names a column: an incoming group replaces all standing rows of that group, so that a line that a
    correction no longer holds is gone. `newest_by` names a column whose greater value wins instead of the later
    arrival; of equal ones the later arrival does, and null is older than any. `deletes` names a further column of the
    transform's, a Boolean that the contract does not hold: where it is true, the row takes the standing one of its key
    away and is not written; only its key is asked whether it is right. Nothing else takes a row away: one of a key that
    the upstream no longer has stays until a rebuild.
    """

    replaces: str | None = None
    newest_by: str | None = None
    deletes: str | None = field(default=None, repr=False)  # who does not say it means what it meant before


VALID_TO = "valid_to"


class Vanished(Enum):
    """What becomes of a key that a later snapshot no longer holds."""

    KEPT_OPEN = "kept open"
    CLOSED = "closed"


@dataclass(frozen=True)
class History:
    """Keep every version of a key (SCD2): a new one begins where a tracked column differs from the time before.

    The transform returns what was seen, and when: `valid_at` names that column, which is part of the contract's key.
    Beside it the contract has `valid_to` of the same type and nullable, which the transform does not return: the table
    fills it, and it is null while a version holds. `tracks` are the columns that make a new version, all but the key
    where none is named; of the others a version has what was seen last. It holds from `valid_at` to before `valid_to`;
    those of one key never overlap, and leave no gap unless what vanished is closed, or deleted: `deletes` names a
    further column of the transform's, as for `Merge`, and where it is true the version ends that holds at its time.

    A row that comes for an earlier time, or again for the last one, changes the versions of its key as if it had come
    in time: by what the versions say, or, where that is not enough, by all that the upstream has of this key. Where
    what vanished is closed, it makes the table work out all versions anew, since a snapshot is of every key.
    """

    valid_at: str
    tracks: Sequence[str] = ()
    vanished: Vanished = Vanished.KEPT_OPEN
    deletes: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class ReplacePartition:
    """Replace every slice in scope by the rows that came out for it; by none, where none came out.

    `by` names the column, or columns, whose value says which slice a row is of. A row outside the scope is refused.
    """

    by: str | tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.by,) if isinstance(self.by, str) else tuple(self.by)


type Write = Append | Overwrite | Merge | History | ReplacePartition


@dataclass(frozen=True)
class Quarantine:
    """Rows that break a rule are set aside with every reason, and the rest is written."""


class Reading(Enum):
    """How a parameter of a transform reads its upstream."""

    FRAME = "Frame"
    NEW = "New"
    AFFECTED = "Affected"


_WOULD_LOSE: Mapping[tuple[type, Reading], str] = {
    (Append, Reading.FRAME): (
        "Append() of a Frame would write every row again on every run. "
        "Read New[{upstream}], or write Overwrite() or Merge()."
    ),
    (Overwrite, Reading.NEW): (
        "Overwrite() of New rows would leave only the last batch, and nothing after an idle run. "
        "Read Frame[{upstream}], or write Append() or Merge()."
    ),
    (Append, Reading.AFFECTED): (
        "Append() of Affected slices would write again every row of a slice in which one changed. "
        'Read New[{upstream}], or write ReplacePartition("<column>") or Merge().'
    ),
    (Overwrite, Reading.AFFECTED): (
        "Overwrite() of Affected slices would leave only the slices that changed last. "
        'Read Frame[{upstream}], or write ReplacePartition("<column>") or Merge().'
    ),
    (History, Reading.AFFECTED): (
        "History() of Affected slices would take the state of a slice for something seen now, at a time that its rows "
        "do not say. Read New[{upstream}] of a table that is written with Append()."
    ),
    (ReplacePartition, Reading.NEW): (
        "ReplacePartition() of New rows would leave of a slice only the rows that came last: a late row would take "
        "the place of its day. Read Affected[{upstream}] or Frame[{upstream}], or write Append() or Merge()."
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
