"""What one run of one table does, without Dagster: read what is new, transform, judge, count → what to deliver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.delta.delivery import Delivery
from lakehouse.engine.delta.handle import Handle

LOGIC = "logic"
"""The transaction that says which logic made the table whole: first write, Overwrite, rebuild."""


@dataclass(frozen=True)
class Finding:
    """What one check found. A red WARN lets the run go on; a red ERROR of a blocking check stops what is downstream."""

    name: str
    passed: bool
    severity: Literal["ERROR", "WARN"] = "ERROR"
    facts: Mapping[str, object] = field(default_factory=dict[str, object])


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


def position(reader: Declaration, upstream: Handle) -> str:
    """The transaction under which `reader` keeps how far it has read `upstream`: another table has another id."""
    return f"{reader.key}←{upstream.id}"
