"""What the engine needs of the outside world. `resources/` meets these; the engine never imports `resources/`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Found:
    """One file of a listing, as the store describes it.

    `name` is relative to the storage's root, with `/`; `modified_at` is UTC; `etag` is empty where a store has none.
    """

    name: str
    size: int
    modified_at: datetime
    etag: str = ""


@dataclass(frozen=True)
class Address:
    """Where a Delta table lies: what deltalake and Polars open it with. `options` hold secrets and are never shown."""

    uri: str
    options: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    def __truediv__(self, name: str) -> Address:
        return Address(f"{self.uri.rstrip('/')}/{name}", self.options)

    def __str__(self) -> str:
        return self.uri

    @property
    def is_local(self) -> bool:
        return "://" not in self.uri


@runtime_checkable
class Storage(Protocol):
    """A folder or a container: the landing zone or the lake."""

    def address(self, *path: str) -> Address:
        """The Delta table at `path` below the root."""
        ...

    def files(self, pattern: str) -> list[Found]:
        """One listing of the files whose name matches the glob `pattern` (`*` stays within a folder), by name."""
        ...

    def read(self, name: str) -> bytes:
        """The bytes as they lie. Raises FileGone."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Put a file there whole: nobody ever lists half of it."""
        ...
