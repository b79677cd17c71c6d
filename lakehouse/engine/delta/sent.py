"""Data files on their way to a storage account, hashed as they go, so that none of their bytes is read again."""

from __future__ import annotations

import hashlib

import obstore
from obstore.exceptions import BaseError

from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta import store
from lakehouse.engine.delta.footers import AT_FIRST

_PART_BYTES, _PARTS_AT_ONCE = 8 << 20, 4
"""Of a file that is longer, as much as this is held in memory, so many times."""


class Sent:
    """One file, as Polars writes to it; it is there, whole, once it was flushed. Raises OSError."""

    def __init__(self, address: Address, path: str) -> None:
        self._address, self._path = address, path
        self.size, self._end, self._sum = 0, b"", hashlib.sha256()
        self._writer = obstore.open_writer(
            store.store_of(address), path, buffer_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE
        )

    def sha256(self) -> str:
        return self._sum.hexdigest()

    def last(self, most: int) -> bytes:
        """So many bytes from its end: what a footer takes is held still."""
        if min(most, self.size) > len(self._end):
            return store.end_of(self._address, self._path, self.size, most)
        return self._end[-most:]

    def write(self, part: bytes) -> int:
        self._sum.update(part)
        self.size, self._end = self.size + len(part), (self._end + part)[-AT_FIRST:]
        try:
            return self._writer.write(part)
        except BaseError as error:
            raise OSError(store.in_words(error)) from error

    def flush(self) -> None:
        """Polars asks for it when all is written, three times over."""
        try:
            if not self._writer.closed():
                self._writer.close()
        except BaseError as error:
            raise OSError(store.in_words(error)) from error
