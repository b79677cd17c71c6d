"""Why a file is not taken: it is not of a format, or it is over a limit."""

from __future__ import annotations

import errno
from collections.abc import Generator
from contextlib import contextmanager

from polars.exceptions import PanicException

__all__ = ["Misfit", "OverLimit", "foreign"]


_OF_THE_MACHINE = {errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.EIO}


class Misfit(Exception):  # noqa: N818 # names an outcome: it never leaves this room
    """The file is not of this format, or has not the declared columns; the message says which."""


class OverLimit(Misfit):
    """The file would cost more than its source allows; `limit` is the field of `Limits`, `found` what was seen."""

    def __init__(self, found: str, limit: str, allowed: int) -> None:
        self.limit = limit
        super().__init__(f"{found} the limit of {allowed:,} (Limits.{limit})")


@contextmanager
def foreign(what: str) -> Generator[None]:
    """Whatever a library raises at the bytes of a file says of it that it is not `what`; not what the machine lacks.

    The one place of this room that catches all: no library names every error that broken bytes can lead to, and Polars
    panics at some.
    """
    try:
        yield
    except (Misfit, MemoryError):
        raise
    except (Exception, PanicException) as broken:
        if isinstance(broken, OSError) and broken.errno in _OF_THE_MACHINE:
            raise
        said = " ".join(str(broken).split("\n", 1)[0].split()) or type(broken).__name__
        raise Misfit(f"it is not {what}, or is cut off or corrupt: {said[:300]}") from broken
