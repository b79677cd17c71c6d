"""A store that knows the way in and refuses it: deltalake, Polars and obstore tell that by their text alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from contextlib import contextmanager

from deltalake.exceptions import DeltaError

from lakehouse.engine.declare.ports import Address

_REFUSED = re.compile(r"(?s)\b(401 Unauthorized|403 Forbidden|404 Not Found(?=.*<Code>ContainerNotFound))")
_CODE = re.compile(r"<Code>(\w+)</Code>")


def raise_where_refused(address: Address, error: Exception) -> None:
    """Raise what the address makes of it where the store lets us not in; nothing where the error is another."""
    said = str(error)
    is_elsewhere = "abfss://" in said and address.uri not in said
    if (found := _REFUSED.search(said)) and address.refused and not is_elsewhere:
        code = _CODE.search(said)
        raise address.refused(int(found[1][:3]), code[1] if code else found[1][4:]) from error


@contextmanager
def told_where_refused(address: Callable[[], Address]) -> Generator[None]:
    """Around what reads and writes by Polars: frames are read long after they were opened."""
    try:
        yield
    except (OSError, DeltaError) as error:
        raise_where_refused(address(), error)
        raise
