"""What one run of one table does, without Dagster: read what is new, transform, judge, count → what to deliver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from zlib import crc32

from lakehouse.engine.declare.table import REPLACED, AnyTable, Declaration, Plain, differences
from lakehouse.engine.declare.write import Append, History
from lakehouse.engine.delta.delivery import Delivery
from lakehouse.engine.delta.handle import Handle

LOGIC = "logic"
"""The transaction that says which logic made all that stands: set where it is made whole, MIXED by what others add."""

MIXED = -1
"""No logic is it: once rows of two stand beside each other, neither made the table, though it be declared again."""

WAY = "way of writing"
"""The transaction that stands beside LOGIC, with what `way_of` said then."""

SEEN = "seen until"
"""The transaction that says up to which time a history has seen: microseconds from 1970 on, of days as well."""

SEEN_BEFORE = "seen at"
"""What tables have instead that were written before there was SEEN: of days it counts days."""

A_DAY = 86_400_000_000
"""In microseconds."""

EXAMPLES = 10
"""Culprits that a red check names, at most."""

type Severity = Literal["ERROR", "WARN"]


@dataclass(frozen=True)
class Finding:
    """What one check found. A red WARN lets the run go on; a red ERROR of a blocking check stops what is downstream."""

    name: str
    passed: bool
    severity: Severity = "ERROR"
    facts: Mapping[str, object] = field(default_factory=dict[str, object])

    @classmethod
    def counted(
        cls, name: str, failed: int, of: int, *, examples: Sequence[str], severity: Severity = "ERROR"
    ) -> Finding:
        """Of a check that is asked of each of some things: how many failed, and the first of those in words."""
        facts: dict[str, object] = {"failed": failed, "of": of}
        if failed:
            facts["examples"] = list(examples[:EXAMPLES])
        return cls(name, not failed, severity, facts)


@dataclass(frozen=True)
class Work:
    """What came of a run before anything is written.

    `delivery` is None where there is nothing to write: nothing new arrived, or (`refusal`) the rows were refused.
    """

    findings: tuple[Finding, ...]
    facts: Mapping[str, object]
    delivery: Delivery | None = None
    refusal: str | None = None


@dataclass(frozen=True)
class CheckSpec:
    """A check that every run of the table reports, whatever happens."""

    name: str
    description: str
    blocking: bool


def way_of(declared: Declaration) -> int:
    """How a table is written and what it has one row of each, as a number."""
    write = declared.write
    one_of = [] if isinstance(write, Append) else sorted(declared.key_columns)
    return crc32(repr((type(write).__name__, one_of, getattr(write, "valid_at", None))).encode())


def made_by(declared: Declaration, own: Handle | None, *, whole: bool) -> dict[str, int]:
    """LOGIC, and with it WAY, where a run that makes the table `whole`, or adds to it, is to set them."""
    if whole:
        return {LOGIC: declared.logic, WAY: way_of(declared)}
    return {} if own is None or own.transaction(LOGIC) in (None, declared.logic, MIXED) else {LOGIC: MIXED}


def is_made_otherwise(declared: Declaration, own: Handle) -> bool:
    """Whether its rows are not what `write=` and the key say, so that a run could not go on from them."""
    if own.transaction(LOGIC) in (None, declared.logic):
        return False
    if (way := own.transaction(WAY)) is not None:
        return way != way_of(declared)
    return isinstance(declared.write, History) and seen_until(own) is None and own.rows > 0


def seen_until(own: Handle) -> int | None:
    """Up to which time a history has seen, as SEEN counts; or later, where that cannot be told: as right, but slower.

    Under the old name small numbers are days, be they of a column that was widened since: as microseconds they would
    lie within an hour of the beginning of 1970.
    """
    if (seen := own.transaction(SEEN)) is None and (days := own.transaction(SEEN_BEFORE)) is not None:
        return max(days, days * A_DAY) if abs(days) < 1 << 31 else days
    return seen


def is_foreign(declared: AnyTable, stands: Handle) -> bool:
    """Whether no run of `declared` has written what stands at its place: not the empty table of one that was killed."""
    if isinstance(declared, Plain):
        return not any(app.partition(" ")[0] == REPLACED for app in stands.transactions())
    if stands.transaction(LOGIC) is not None:
        return False
    return bool(differences(stands.schema, declared.stored_schema)) or stands.rows > 0


def partition_position(reader: Declaration, upstream: Handle, key: str) -> str:
    """The same for one partition of `reader`, which is made by itself."""
    return f"{reader.key}[{key}]←{upstream.id}"


def position(reader: Declaration, upstream: Handle) -> str:
    """The transaction under which `reader` keeps how far it has read `upstream`: another table has another id."""
    return f"{reader.key}←{upstream.id}"
