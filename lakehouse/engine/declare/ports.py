"""What the engine needs of the outside world. `resources/` meets these; the engine never imports `resources/`."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from lakehouse.engine.declare.errors import LakehouseError, Terminal

type Switch = Literal["on", "shadow", "off"]
"""Whether a table takes what lands; in shadow it does so in a place of its own, and nothing reads that."""

type Progress = Callable[[int, int, int], None]
"""Told before each file of a batch: how many were read, of how many, and the records that they held."""


def silent(files: int, of: int, records: int) -> None:
    """The Progress of which nobody asks."""


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
    """Where a Delta table lies, and what deltalake and Polars open it with: secrets, which are never shown.

    `token`, where a store is opened by one beside what is `fixed`, gives one that is good for five minutes at least, as
    often as it is asked. `refused` says what it means where the store refuses all this, by HTTP's status and its
    own code.
    """

    uri: str
    fixed: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    only_read: bool = False
    token: Callable[[], str] | None = field(default=None, repr=False)
    refused: Callable[[int, str], LakehouseError] | None = field(default=None, repr=False, compare=False)

    def __truediv__(self, name: str) -> Address:
        return replace(self, uri=f"{self.uri.rstrip('/')}/{name}")

    @property
    def options(self) -> dict[str, str]:
        """As of now: a token in them ends some day."""
        return {**self.fixed, **({"bearer_token": self.token()} if self.token else {})}

    def refuse_a_write(self) -> None:
        """To be asked before anything is put there. Raises Terminal where another environment's lake is only read."""
        if self.only_read:
            raise Terminal(f"{self} is another environment's, which is only read (reads_from). Nothing was written.")

    def __str__(self) -> str:
        return self.uri

    @property
    def key(self) -> str:
        """By the layout of a lake: `silver/orders`, of the table that lies there or whose ledger or quarantine does."""
        return "/".join(self.uri.rstrip("/").split("/")[-2:])

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

    def pages(self, pattern: str, after: str = "") -> Generator[tuple[list[Found], str]]:
        """The same listing part by part, each with what the next one comes `after`: empty at the end.

        So a listing that takes long may be left and gone on with later, within the hour. Other files may lie there by
        then; each that lay there all the time is told once.
        """
        ...

    def read(self, name: str) -> bytes:
        """The bytes as they lie. Raises FileGone."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Put a file there whole: nobody ever lists half of it."""
        ...

    def folders(self, *path: str) -> list[str]:
        """The bare names of the folders at `path`, also of hidden ones; none where there is nothing."""
        ...

    def remove(self, *path: str) -> None:
        """Take away the folder at `path` with all that it holds; nothing where it is not there."""
        ...

    def switch(self, table: str) -> Switch:
        """How the table of this key stands to what lands here."""
        ...


@dataclass(frozen=True)
class SparkJob:
    """A script for Spark and what it is told: Delta tables at their versions, by name, and where to make one.

    `table` is the key of the table that it works for. `token` is the attempt's own: sent twice, it starts one job.
    """

    table: str
    token: str
    script: Path
    reads: Mapping[str, tuple[Address, int]]
    writes: Address


@runtime_checkable
class Cluster(Protocol):
    """What carries out scripts for Spark: this machine, or Databricks."""

    def why_not(self) -> str:
        """Why it carries out none, with the way out; empty where it does."""
        ...

    def run(self, job: SparkJob, context: Any) -> Mapping[str, object]:
        """Carry a script out to its end, within a step of Dagster; gives the facts that it reported.

        Raises Terminal with the script's last lines where it fails. However this ends, the job does not go on.
        """
        ...
