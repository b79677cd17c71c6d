"""A store that knows the way in and refuses it: deltalake, Polars and obstore tell that by their text alone."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager

from deltalake.exceptions import DeltaError

from lakehouse.engine.declare.errors import Terminal, Transient
from lakehouse.engine.declare.ports import Address

_REFUSED = re.compile(r"(?s)\b(401 Unauthorized|403 Forbidden|404 Not Found(?=.*<Code>ContainerNotFound))")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_CALLS = re.compile(r"\n +0: ")
_CODE = re.compile(r"<Code>(\w+)</Code>")


class Unreachable(Transient):
    """The store did not answer as it should; nothing is known to be wrong with the table."""


class Unreadable(Terminal):
    """The table's log or its protocol is not one that we can read or write."""


def raise_where_refused(address: Address, error: BaseException) -> None:
    """Raise what the address makes of it where the store lets us not in; nothing where the error is another."""
    said = str(error)
    # Polars names the path by which it first came to the container, whichever was refused
    is_elsewhere = "abfss://" in said and "/".join(address.uri.split("/", 3)[:3]) not in said
    if (found := _REFUSED.search(said)) and address.refused and not is_elsewhere:
        code = _CODE.search(said)
        raise address.refused(int(found[1][:3]), code[1] if code else found[1][4:]) from error


def in_words(error: BaseException) -> str:
    """What deltalake says, in one line, without the colours of a terminal and the calls that led there."""
    said = _CALLS.split(_COLOURS.sub("", str(error)))[0]
    lines = (line.strip(" \t↳") for line in said.splitlines())
    return ": ".join(filter(None, lines))


@contextmanager
def told_where_refused(*lakes: Address) -> Generator[None]:
    """Around what reads and writes by Polars: frames are read long after they were opened.

    `lakes` are as they were opened with: what was rotated since is told as that.
    """
    try:
        yield
    except (OSError, DeltaError) as error:
        for lake in lakes:
            raise_where_refused(lake, error)
        raise
