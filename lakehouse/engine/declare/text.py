"""How a value is written as text: values that a column's `text=` takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TextFormat:
    """Base of the formats below."""
