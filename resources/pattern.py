"""Names in a storage: which ones a pattern means, and which are never listed."""

from __future__ import annotations

import re
from functools import cache

from lakehouse.engine.declare.errors import DeclarationError, Terminal

HIDDEN_BEGINNINGS = (".", "_")
UNFINISHED_ENDINGS = (".tmp", ".part")


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this bare name is never listed: half-written, or somebody's bookkeeping."""
    return name.startswith(HIDDEN_BEGINNINGS) or name.endswith(UNFINISHED_ENDINGS)


def segments(pattern: str) -> list[str]:
    """The folders of the pattern and, last, its file. Only `*` is special; brackets and `?` stand for themselves."""
    parts = pattern.split("/")
    if "" in parts or "." in parts or ".." in parts:
        raise DeclarationError(f"The pattern {pattern!r} is no path below the storage's root: name/name/*.csv is one.")
    if any("**" in part for part in parts):
        raise DeclarationError(
            f"The pattern {pattern!r}: `*` stays within a folder and `**` is not known; name the folders."
        )
    return parts


def fits(segment: str, name: str) -> bool:
    """Whether a bare name is meant by one segment of a pattern. A hidden folder must be spelled out."""
    return _expression(segment).fullmatch(name) is not None and not ("*" in segment and is_hidden(name))


@cache
def _expression(segment: str) -> re.Pattern[str]:
    """Made once for all the names of a listing."""
    return re.compile(".*".join(re.escape(piece) for piece in segment.split("*")), re.DOTALL)


def literal_head(pattern: str) -> str:
    """The longest beginning that every name of the pattern has."""
    return pattern.partition("*")[0]


def matches(pattern: str, name: str) -> bool:
    """Whether a listing by `pattern` holds the file `name` (both relative to the root)."""
    wanted, parts = segments(pattern), name.split("/")
    return (
        len(wanted) == len(parts)
        and not is_hidden(parts[-1])
        and all(fits(segment, part) for segment, part in zip(wanted, parts, strict=True))
    )


def checked(name: str) -> str:
    """`name`, if it stays below the storage's root. Raises Terminal."""
    if not name or name.startswith("/") or "\0" in name or {"", ".", ".."} & set(name.split("/")):
        raise Terminal(f"{name!r} is no name below a storage's root.")
    return name
