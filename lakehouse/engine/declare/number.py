"""Numbers of things, as a person reads them."""

from __future__ import annotations


def number(count: int, noun: str) -> str:
    """`1 file`, `1,034 files`; of a noun that takes an s."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
