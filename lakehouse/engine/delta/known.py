"""The newest version of each table that this process has seen.

Whether it still is the newest is told by one listing of its log, and by its newest commit, read meanwhile: it must be
the very one that was seen, since a table that was removed and made anew, or put back, has another. Where writers of
ours have gone on since, their commits tell the rest. To open it anew takes five answers of the store, one after the
other.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from deltalake.exceptions import DeltaError

from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta.log import read_commit

if TYPE_CHECKING:
    from lakehouse.engine.delta.handle import Handle

MOST = 256

_seen: dict[str, Handle] = {}


def keep(handle: Handle) -> None:
    """What was just opened or committed; of so many tables, the ones seen last."""
    forget(handle.address)
    if handle.identity is not None:
        _seen[handle.address.uri] = handle
    if len(_seen) > MOST:
        with suppress(StopIteration, KeyError):  # another thread was at it too
            del _seen[next(iter(_seen))]


def knows(address: Address) -> bool:
    """Whether this process has seen the table."""
    return address.uri in _seen


def forget(address: Address) -> None:
    """The next who opens the table reads it."""
    _seen.pop(address.uri, None)


def still_newest(address: Address) -> Handle | None:
    """The handle of the table that stands there, where this process has one."""
    known = _seen.get(address.uri)
    if known is None or known.address != address:
        return None
    # what cannot be read is told by whoever opens the table anew
    with suppress(DeltaError, OSError, ValueError), ThreadPoolExecutor(1) as pool:
        newest = pool.submit(known.newest_version)
        tip = read_commit(address, known.version)
        if newest.result() < known.version or tip.identity != known.identity:
            return None
        known.tip = tip
        return known if newest.result() == known.version else _carried_on(known)
    return None


def _carried_on(known: Handle) -> Handle | None:
    """What writers of ours have made of it, told from their commits; None where another engine's are among them."""
    from lakehouse.engine.delta.rivals import followed

    newest = followed(known)
    if newest is not None:
        keep(newest)
    return newest
