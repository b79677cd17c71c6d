"""A table that certainly stands, opened."""

from __future__ import annotations

from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta.handle import Handle


def opened(address: Address, version: int | None = None) -> Handle:
    handle = Handle.open(address, version)
    assert handle is not None
    return handle
