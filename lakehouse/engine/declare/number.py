"""Numbers of things, as a person reads them."""

from __future__ import annotations


def number(count: int, noun: str) -> str:
    """`1 file`, `1,034 files`; of a noun that takes an s."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def mb(size: int) -> str:
    """Bytes, as `2.5 MB` or `1,034 MB`."""
    return f"{size / 1_000_000:,.1f} MB" if size < 100_000_000 else f"{size / 1_000_000:,.0f} MB"  # noqa: PLR2004
