"""Files that landed → batches: one listing, one read per file, everything read is counted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import polars as pl

from lakehouse.engine.declare.errors import FileGone, Refused
from lakehouse.engine.declare.ports import Found, Storage
from lakehouse.engine.declare.table import STORED_BESIDE, Declaration
from lakehouse.engine.delta.quarantine import ROWS as SET_ASIDE
from lakehouse.engine.ingest.json_lines import read_json_lines
from lakehouse.engine.ingest.ledger import ACCEPTED, DUPLICATE, LOST, READ, REVISED, UNREADABLE, Entry, Ledger, Plan
from lakehouse.engine.ingest.unpack import Unreadable, unpack

FILES_PER_BATCH = 1_000
BYTES_PER_BATCH = 1 << 30


@dataclass(frozen=True)
class Arrivals:
    """What one listing showed, beside the ledger: files to take, files that still settle, files known already."""

    fresh: tuple[Found, ...]
    settling: tuple[Found, ...]
    known: int

    def __str__(self) -> str:
        said = f"{len(self.fresh)} new or changed, {self.known} known"
        return f"{said}, {len(self.settling)} still settling" if self.settling else said


@dataclass(frozen=True)
class Batch:
    """A planned batch with its rows in hand: what goes to the bronze table and what to its quarantine."""

    plan: Plan
    accepted: pl.DataFrame
    rejected: pl.DataFrame
    waiting: int = 0

    def count(self, *states: str) -> int:
        """Files in one of `states`."""
        return sum(each.state in states for each in self.plan.entries)

    @property
    def records(self) -> int:
        return sum(each.records for each in self.plan.entries)


@dataclass
class _Reader:
    """Reads files once and keeps what they held; `known` maps content to where it was first seen."""

    declared: Declaration
    storage: Storage
    known: dict[str, str] = field(default_factory=dict[str, str])
    revised: set[str] = field(default_factory=set[str])
    accepted: list[pl.DataFrame] = field(default_factory=list[pl.DataFrame])
    rejected: list[pl.DataFrame] = field(default_factory=list[pl.DataFrame])
    unpacked: int = 0

    def take(self, found: Found, batch: int) -> Entry:
        """Read one file and say what becomes of it."""
        try:
            content = self.storage.read(found.name)
        except FileGone:
            return Entry(LOST, found, reason="listed, and gone before it could be read")
        sha256 = hashlib.sha256(content).hexdigest()
        if sha256 in self.known:
            return Entry(DUPLICATE, found, sha256, reason=f"same content as {self.known[sha256]}")
        entry = self.parse(found, content, sha256, batch)
        self.known[sha256] = f"{found.name} (batch {batch})"
        if entry.state in READ:
            self.revised.add(found.name)
        return entry

    def parse(self, found: Found, content: bytes, sha256: str, batch: int) -> Entry:
        state = REVISED if found.name in self.revised else ACCEPTED
        try:
            text = unpack(found.name, content)
        except Unreadable as why:
            self.rejected.append(_whole_file(self.declared, found, batch, str(why)))
            return Entry(UNREADABLE, found, sha256, reason=str(why))
        self.unpacked += len(text)
        parsed = read_json_lines(text, pl.Schema(_declared_text(self.declared)))
        beside = {
            "source_name": pl.lit(self.declared.name),
            "source_file": pl.lit(found.name),
            "file_sha256": pl.lit(sha256),
            "batch": pl.lit(batch, dtype=pl.Int64),
        }
        self.accepted.append(parsed.accepted.with_columns(**beside).select(self.declared.stored_schema.names()))
        self.rejected.append(_lines(self.declared, parsed.rejected, found, batch))
        return Entry(state, found, sha256, parsed.records, parsed.accepted.height, parsed.rejected.height)

    def batch(self, plan: Plan, waiting: int = 0) -> Batch:
        accepted = pl.concat([self.declared.stored_schema.to_frame(), *self.accepted])
        return Batch(plan, accepted, pl.concat([SET_ASIDE.to_frame(), *self.rejected]), waiting)


def arrivals(declared: Declaration, storage: Storage, ledger: Ledger) -> Arrivals:
    """One listing, held against the ledger. A file is fresh where its size, time or etag is not the ledger's."""
    assert declared.source is not None
    rows = ledger.done().filter(pl.col("state") != LOST).unique("name", keep="last", maintain_order=True)
    taken = dict(zip(rows["name"], rows.select("size", "modified_at", "etag").iter_rows(), strict=True))
    fresh: list[Found] = []
    settling: list[Found] = []
    known = 0
    settled_before = datetime.now(UTC) - declared.source.settle
    for each in storage.files(declared.source.pattern):
        if taken.get(each.name) == (each.size, each.modified_at, each.etag):
            known += 1
        else:
            (fresh if each.modified_at <= settled_before else settling).append(each)
    return Arrivals(tuple(fresh), tuple(settling), known)


def next_batch(declared: Declaration, storage: Storage, ledger: Ledger) -> Batch | None:
    """The batch to apply now, its plan committed: the one that waits since a crash, else the fresh files; else None."""
    pending = ledger.pending()
    if pending is not None:
        return _resume(declared, storage, ledger, pending)
    fresh = arrivals(declared, storage, ledger).fresh
    return _plan(declared, storage, ledger, fresh) if fresh else None


def _plan(declared: Declaration, storage: Storage, ledger: Ledger, fresh: tuple[Found, ...]) -> Batch:
    reader = _reader(declared, storage, ledger)
    entries: list[Entry] = []
    size = 0
    for each in fresh[:FILES_PER_BATCH]:
        size += each.size
        if entries and max(size, reader.unpacked) > BYTES_PER_BATCH:
            break
        entries.append(reader.take(each, ledger.applied + 1))
    _, plan = ledger.commit(entries)
    return reader.batch(plan, waiting=len(fresh) - len(entries))


def _resume(declared: Declaration, storage: Storage, ledger: Ledger, pending: Plan) -> Batch:
    """Apply exactly what was planned; where a file is not what it was, plan the batch anew."""
    reader = _reader(declared, storage, ledger)
    entries = [_as_planned(reader, each, pending.number) for each in pending.entries]
    if tuple(entries) == pending.entries:
        return reader.batch(pending)
    _, plan = ledger.commit(entries)
    return reader.batch(plan)


def _as_planned(reader: _Reader, planned: Entry, batch: int) -> Entry:
    if planned.state == LOST:
        return planned
    again = reader.take(planned.found, batch)
    if again.state == LOST:
        return Entry(LOST, planned.found, planned.sha256, reason="planned, and gone before it could be applied")
    if again.sha256 == planned.sha256:
        return again
    # what lies there now has another size or time than the listing said: it is listed again, and taken as what it is
    return again


def reread(declared: Declaration, storage: Storage, ledger: Ledger) -> Batch:
    """Every file that the ledger says was read, in its batch, for a rebuild. Refused with the list of those gone."""
    done = ledger.done().filter(pl.col("state").is_in([*READ, UNREADABLE]))
    reader = _Reader(declared, storage)
    gone: list[str] = []
    for name, sha256, batch, state, reason in done.select("name", "sha256", "batch", "state", "reason").iter_rows():
        found = Found(name, 0, datetime.now(UTC))
        if state == UNREADABLE:
            reader.rejected.append(_whole_file(declared, found, batch, reason))
            continue
        try:
            content = storage.read(name)
        except FileGone:
            gone.append(f"{name} (batch {batch}): no longer there")
            continue
        if hashlib.sha256(content).hexdigest() != sha256:
            gone.append(f"{name} (batch {batch}): holds other content now")
            continue
        reader.parse(found, content, sha256, batch)
    if gone:
        raise Refused(
            f"{declared.key} cannot be made anew: {len(gone)} of {done.height} files are not what was read: "
            f"{'; '.join(gone[:10])}. Nothing was written; the table stands. Put the files back, or keep the table."
        )
    return reader.batch(Plan(ledger.applied, ledger.applied_plan or 0, ()))


def revised_files(ledger: Ledger, batches: Iterable[int]) -> Iterator[tuple[str, int]]:
    """(name, batch) of the files that came again with other content in one of `batches`."""
    rows = ledger.done().filter((pl.col("state") == REVISED) & pl.col("batch").is_in(list(batches)))
    yield from rows.select("name", "batch").iter_rows()


def _reader(declared: Declaration, storage: Storage, ledger: Ledger) -> _Reader:
    done = ledger.done().filter(pl.col("sha256") != "", pl.col("state") != DUPLICATE, pl.col("state") != LOST)
    known = {sha: f"{name} (batch {batch})" for sha, name, batch in done.select("sha256", "name", "batch").iter_rows()}
    return _Reader(declared, storage, known, set(done.filter(pl.col("state").is_in(READ))["name"]))


def _declared_text(declared: Declaration) -> dict[str, pl.DataType]:
    return {name: dtype for name, dtype in declared.stored_schema.items() if name not in STORED_BESIDE}


def _lines(declared: Declaration, rejected: pl.DataFrame, found: Found, batch: int) -> pl.DataFrame:
    return _set_aside(
        rejected.select(
            "source_row", kind=pl.lit("unread"), reasons=pl.concat_list("reason"), row=pl.col("raw")
        ),
        declared, found, batch,
    )  # fmt: skip


def _whole_file(declared: Declaration, found: Found, batch: int, why: str) -> pl.DataFrame:
    rows = pl.DataFrame({"kind": ["file"], "reasons": [[why]]}).with_columns(
        source_row=pl.lit(None, pl.Int64), row=pl.lit(None, pl.String)
    )
    return _set_aside(rows, declared, found, batch)


def _set_aside(rows: pl.DataFrame, declared: Declaration, found: Found, batch: int) -> pl.DataFrame:
    return rows.with_columns(
        upstream=pl.lit(None, pl.String),
        source_name=pl.lit(declared.name),
        source_file=pl.lit(found.name),
        batch=pl.lit(batch, pl.Int64),
        quarantined_at=pl.lit(datetime.now(UTC), pl.Datetime("us", "UTC")),
    ).select(SET_ASIDE.names())
