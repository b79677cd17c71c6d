"""A table that certainly stands, opened from what lies there and not from what this process remembers of it."""

from __future__ import annotations

from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta import known
from lakehouse.engine.delta.handle import Handle


def opened(address: Address, version: int | None = None) -> Handle:
    known.forget(address)
    handle = Handle.open(address, version)
    assert handle is not None
    return handle
