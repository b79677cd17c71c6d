"""What one run of one table does, without Dagster: read what is new, transform, judge, count → what to deliver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from lakehouse.engine.declare.table import REPLACED, AnyTable, Declaration, Plain, differences
from lakehouse.engine.delta.delivery import Delivery
from lakehouse.engine.delta.handle import Handle

LOGIC = "logic"
"""The transaction that says which logic made the table whole: first write, Overwrite, rebuild."""

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
