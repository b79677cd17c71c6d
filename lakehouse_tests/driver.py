"""The slice without Dagster: files are landed on a disk, and tables are run until nothing is due."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl

from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.delta import quarantine
from lakehouse.engine.delta.delivery import deliver
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.ingest import landing
from lakehouse.engine.ingest.ledger import READ, Ledger
from lakehouse.engine.orchestrate.bronze import land
from lakehouse.engine.orchestrate.refine import refine
from lakehouse.engine.orchestrate.work import Finding, Work
from resources.local_disk import LocalDisk

NEVER_THIS_MANY = 30
LONG_AGO = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass
class House:
    """A lake and a landing below one folder. Every landed file is settled, and has a time of its own."""

    root: Path
    clock: datetime = field(default=LONG_AGO)

    @property
    def place(self) -> Place:
        return Place(LocalDisk(path=str(self.root / "lake")), LocalDisk(path=str(self.root / "landing")))

    def file(self, name: str) -> Path:
        return self.root / "landing" / name

    def land(self, name: str, content: bytes | str, *, modified_at: datetime | None = None) -> None:
        """Write a file as a careless source does: in place. `.gz` is packed unless bytes are given."""
        if isinstance(content, str):
            content = gzip.compress(content.encode(), mtime=0) if name.endswith(".gz") else content.encode()
        path = self.file(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.clock += timedelta(seconds=1)
        at = (modified_at or self.clock).timestamp()
        os.utime(path, (at, at))

    def work(self, declared: Declaration, *, rebuild: bool = False, reingest: str = "") -> Work:
        """What one run works out, nothing delivered."""
        if declared.is_bronze:
            return land(declared, self.place, rebuild=rebuild, reingest=reingest)
        upstreams = {read.upstream.key: self.open(read.upstream) for read in declared.reads}
        return refine(declared, self.place, upstreams, rebuild=rebuild)

    def work_of(self, declared: Declaration, keys: list[str]) -> Work:
        """The same of some partitions."""
        upstreams = {read.upstream.key: self.open(read.upstream) for read in declared.reads}
        return refine(declared, self.place, upstreams, keys=keys)

    def run(self, declared: Declaration, *, rebuild: bool = False, reingest: str = "") -> Work:
        """One run of one table."""
        work = self.work(declared, rebuild=rebuild, reingest=reingest)
        if work.delivery is not None:
            deliver(work.delivery)
        return work

    def drain(self, *tables: Declaration) -> dict[str, list[Work]]:
        """Run each table, upstreams first, until it has nothing to write. By key, what each run did."""
        done: dict[str, list[Work]] = {}
        for each in tables:
            done[each.key] = [self.run(each)]
            while done[each.key][-1].delivery is not None:
                assert len(done[each.key]) < NEVER_THIS_MANY, f"{each.key} finds something to write for ever"
                done[each.key].append(self.run(each))
        return done

    def open(self, declared: Declaration) -> Handle | None:
        return Handle.open(self.place.table(declared))

    def rows(self, declared: Declaration) -> pl.DataFrame:
        """The table as it stands; no rows where there is none."""
        handle = self.open(declared)
        return handle.scan().collect() if handle else declared.stored_schema.to_frame()

    def set_aside(self, declared: Declaration) -> pl.DataFrame:
        handle = self.open(declared)
        assert handle is not None
        return quarantine.read(handle, self.place.quarantine(declared)).collect()

    def ledger(self, declared: Declaration) -> pl.DataFrame:
        """The files of every applied batch."""
        return Ledger.open(declared, self.place.ledger(declared), self.open(declared)).done()

    def states(self, declared: Declaration) -> list[tuple[str, str]]:
        """(last parts of the name, state) of every file taken, in order."""
        return [
            (name.removeprefix("erp/orders/"), state)
            for name, state in self.ledger(declared).select("name", "state").rows()
        ]

    def assert_counts_add_up(self, declared: Declaration) -> None:
        """Records read = accepted + quarantined, and every file has one end in each batch; from what is stored."""
        files, bronze, aside = self.ledger(declared), self.rows(declared), self.set_aside(declared)
        lines = aside.filter(pl.col("kind") != "file")
        assert int(files["records"].sum()) == bronze.height + lines.height
        for batch, name, records in files.filter(pl.col("state").is_in(READ)).select("batch", "name", "records").rows():
            here = (pl.col("batch") == batch) & (pl.col("source_file") == name)
            assert records == bronze.filter(here).height + lines.filter(here).height
        ends = files["state"].value_counts()
        assert set(ends["state"]) <= {"accepted", "revised", "duplicate", "unreadable", "lost"}
        assert files.filter(pl.col("state") == "unreadable").height == aside.filter(pl.col("kind") == "file").height
        assert files.select(pl.struct("batch", "name").is_duplicated().any()).item() is False


def finding(work: Work, name: str) -> Finding:
    return next(each for each in work.findings if each.name == name)


def red(work: Work) -> dict[str, str]:
    """The checks that did not pass, with their severity."""
    return {each.name: each.severity for each in work.findings if not each.passed}


def order(number: str, *lines: tuple[Any, ...], at: str = "2024-05-01T09:00:00", **fields: Any) -> str:
    """One order document as JSON. A line is (line_no, qty, unit_price): numbers, or JSON text taken verbatim."""
    document = {"order_no": number, "order_ts": at, "customer_id": "17850", "country": "France", "currency": "GBP"}
    document |= fields
    body = ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in document.items())
    inner = ",".join(
        f'{{"line_no":{no},"sku":"A1","description":null,"qty":{qty},"unit_price":{price},"line_ts":{json.dumps(at)}}}'
        for no, qty, price in lines
    )
    return f'{{{body},"lines":[{inner}]}}'


def lines(*documents: str) -> str:
    return "".join(f"{each}\n" for each in documents)


@contextmanager
def files_per_batch(number: int) -> Iterator[None]:
    with patch.object(landing, "FILES_PER_BATCH", number):
        yield
