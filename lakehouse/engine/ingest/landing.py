"""Files that landed → batches: one listing, one read per file, everything read is counted."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from itertools import accumulate

import polars as pl

from lakehouse.engine.declare.errors import FileGone, Refused
from lakehouse.engine.declare.ports import Found, Storage
from lakehouse.engine.declare.source import Format, JsonLines
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.delta.quarantine import ROWS as SET_ASIDE
from lakehouse.engine.ingest.formats import count_records, fitting, parse
from lakehouse.engine.ingest.kept import Kept
from lakehouse.engine.ingest.ledger import (
    ACCEPTED,
    DUPLICATE,
    LOST,
    READ,
    REVISED,
    UNREADABLE,
    Entry,
    Ledger,
    Plan,
    entries_of,
)
from lakehouse.engine.ingest.unpack import Unreadable, unpack

FILES_PER_BATCH = 1_000
BYTES_PER_BATCH = 1 << 30
FILES_AHEAD = 8
BYTES_AT_ONCE = 8 << 20  # small files are parsed together: a frame for each costs more than its rows
WRONG_CLOCK = timedelta(days=1)


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
    """A planned batch with its rows in hand: what goes to the bronze table and what to its quarantine.

    waiting: fresh files left to the next batch; kept: the files of a rebuild that only their table still held.
    """

    plan: Plan
    accepted: pl.DataFrame
    rejected: pl.DataFrame
    waiting: int = 0
    kept: tuple[str, ...] = ()

    def count(self, *states: str) -> int:
        """Files in one of `states`."""
        return sum(each.state in states for each in self.plan.entries)

    @property
    def records(self) -> int:
        return sum(each.records for each in self.plan.entries)


@dataclass(frozen=True)
class _Text:
    """An unpacked file that waits to be parsed, and the place of its entry; `aside`: records set aside before."""

    entry: int
    batch: int
    content: bytes
    form: Format
    note: str = ""
    aside: int = 0


@dataclass
class _Reader:
    """Reads files once and keeps what they held; `known` maps content to where it was first seen."""

    declared: Declaration
    storage: Storage
    known: dict[str, str] = field(default_factory=dict[str, str])
    revised: set[str] = field(default_factory=set[str])
    entries: list[Entry] = field(default_factory=list[Entry])
    texts: list[_Text] = field(default_factory=list[_Text])
    accepted: list[pl.DataFrame] = field(default_factory=list[pl.DataFrame])
    rejected: list[pl.DataFrame] = field(default_factory=list[pl.DataFrame])
    kept: list[str] = field(default_factory=list[str])
    unpacked: int = 0
    parsed: int = 0

    def take(self, found: Found, batch: int, read: Callable[[], bytes]) -> None:
        """Read one file and enter what becomes of it; nothing when it has grown or shrunk since it was listed."""
        try:
            content = read()
        except FileGone:
            self.entries.append(Entry(LOST, found, reason="listed, and gone before it could be read"))
            return
        if len(content) == found.size:
            self.enter(found, content, batch)

    def take_again(
        self, planned: Entry, batch: int, read: Callable[[], bytes], listed: Callable[[str], Found | None]
    ) -> None:
        """Read a file as it was planned. Other bytes are taken as what is listed now, if they have settled."""
        try:
            content = read()
        except FileGone:
            why = "planned, and gone before it could be applied"
            self.entries.append(Entry(LOST, planned.found, planned.sha256, reason=why))
            return
        if _sha256(content) == planned.sha256:
            self.enter(planned.found, content, batch)
        elif (now := listed(planned.found.name)) is not None:
            self.take(now, batch, partial(self.storage.read, now.name))

    def enter(self, found: Found, content: bytes, batch: int) -> None:
        sha256 = _sha256(content)
        if sha256 in self.known:
            self.entries.append(Entry(DUPLICATE, found, sha256, reason=f"same content as {self.known[sha256]}"))
            return
        self.known[sha256] = f"{found.name} (batch {batch})"
        self.unpack(found, content, sha256, batch)

    def unpack(self, found: Found, content: bytes, sha256: str, batch: int) -> None:
        try:
            text = unpack(found.name, content)
        except Unreadable as why:
            self.refuse(Entry(UNREADABLE, found, sha256, reason=str(why)), batch)
            return
        form, why = fitting(self.declared, text)
        if form is None:
            why = str(Unreadable(found.name, why))
            self.refuse(Entry(UNREADABLE, found, sha256, reason=why), batch)
            return
        self.take_text(found, sha256, _Text(len(self.entries), batch, text, form))

    def refuse(self, entry: Entry, batch: int) -> None:
        self.rejected.append(_whole_file(self.declared, entry, batch))
        self.entries.append(entry)

    def take_kept(self, was: Entry, text: bytes, aside: pl.DataFrame, batch: int) -> None:
        """A file that only its table still holds; what was set aside of it stays so, as it came."""
        note = " (the line is written anew from what the table kept, its file is gone)"
        self.rejected.append(aside)
        self.kept.append(was.found.name)
        self.take_text(was.found, was.sha256, _Text(len(self.entries), batch, text, JsonLines(), note, aside.height))

    def take_text(self, found: Found, sha256: str, text: _Text) -> None:
        if self.texts and self.texts[0].form != text.form:
            self.parse()
        state = REVISED if found.name in self.revised else ACCEPTED
        records = count_records(text.content, text.form) + text.aside
        reason = f"read as {text.form}" if self.declared.source and len(self.declared.source.dialects) > 1 else ""
        self.entries.append(Entry(state, found, sha256, records=records, reason=reason))
        self.revised.add(found.name)
        self.unpacked += len(text.content)
        self.texts.append(text)
        if self.unpacked - self.parsed >= BYTES_AT_ONCE:
            self.parse()

    def entered(self) -> list[Entry]:
        """An entry for each file that was taken, its records counted."""
        if self.texts:
            self.parse()
        return self.entries

    def parse(self) -> None:
        """Parse the texts at hand together, and enter for each file what came of it."""
        texts, self.texts, self.parsed = self.texts, [], self.unpacked
        parsed = parse(self.declared, [each.content for each in texts], texts[0].form)
        accepted, rejected = (
            dict(frame["source_file"].value_counts().iter_rows()) for frame in (parsed.accepted, parsed.rejected)
        )
        for place, text in enumerate(texts):
            counts = {"accepted": accepted.get(place, 0), "quarantined": rejected.get(place, 0) + text.aside}
            self.entries[text.entry] = replace(self.entries[text.entry], **counts)
        for place, why in parsed.unreadable.items():
            self.take_back(texts[place], why)
        entries = [self.entries[each.entry] for each in texts]
        beside = pl.DataFrame(
            {
                "source_file": [each.found.name for each in entries],
                "file_sha256": [each.sha256 for each in entries],
                "batch": pl.Series([each.batch for each in texts], dtype=pl.Int64),
                "note": [each.note for each in texts],
            },
        )
        self.accepted.append(_from_files(parsed.accepted, beside.drop("note")))
        self.rejected.append(_lines(_from_files(parsed.rejected, beside), self.declared))

    def take_back(self, text: _Text, why: str) -> None:
        """Only while it was parsed did the file turn out unreadable."""
        found, sha256 = self.entries[text.entry].found, self.entries[text.entry].sha256
        entry = Entry(UNREADABLE, found, sha256, reason=str(Unreadable(found.name, why)))
        self.rejected.append(_whole_file(self.declared, entry, text.batch))
        self.entries[text.entry] = entry

    def batch(self, plan: Plan, waiting: int = 0) -> Batch:
        schema = self.declared.stored_schema
        rows = [
            each.with_columns(source_name=pl.lit(self.declared.name)).select(schema.names()) for each in self.accepted
        ]
        accepted = pl.concat([schema.to_frame(), *rows])
        return Batch(plan, accepted, pl.concat([SET_ASIDE.to_frame(), *self.rejected]), waiting, tuple(self.kept))


def _from_files(rows: pl.DataFrame, files: pl.DataFrame) -> pl.DataFrame:
    """The rows with the columns of `files`, of which `source_file` is the place."""
    return rows.with_columns(*files[rows["source_file"]])


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def arrivals(declared: Declaration, storage: Storage, ledger: Ledger) -> Arrivals:
    """One listing, held against the ledger. A file is fresh where its size, time or etag is not the ledger's."""
    assert declared.source is not None  # noqa: S101 # what is asked for arrivals is a bronze table
    rows = ledger.done().filter(pl.col("state") != LOST).unique("name", keep="last", maintain_order=True)
    taken = dict(zip(rows["name"], rows.select("size", "modified_at", "etag").iter_rows(), strict=True))
    fresh: list[Found] = []
    settling: list[Found] = []
    known = 0
    now = datetime.now(UTC)
    for each in storage.files(declared.source.pattern):
        if taken.get(each.name) == (each.size, each.modified_at, each.etag):
            known += 1
        else:
            (fresh if _is_settled(each, now, declared.source.settle) else settling).append(each)
    return Arrivals(tuple(fresh), tuple(settling), known)


def _is_settled(found: Found, now: datetime, settle: timedelta) -> bool:
    """A time far ahead of ours is a wrong clock's, and would settle never."""
    return found.modified_at <= now - settle or found.modified_at > now + WRONG_CLOCK


def next_batch(declared: Declaration, storage: Storage, ledger: Ledger) -> Batch | None:
    """The batch to apply now, its plan committed: the one that waits since a crash, else the fresh files; else None.

    Raises Conflict when another process planned first.
    """
    pending = ledger.pending()
    batch = _resume(declared, storage, ledger, pending) if pending else None
    return batch or _plan(declared, storage, ledger)


def _at_most(size: int, files: Sequence[Found]) -> Sequence[Found]:
    """The first of them that hold no more bytes than `size` together, and one in any case."""
    together = list(accumulate(each.size for each in files))
    return files[: max(1, bisect_right(together, size))]


def _read_ahead(storage: Storage, names: Sequence[str]) -> Generator[Callable[[], bytes]]:
    """For each file a call that gives its bytes, or raises as `storage.read` does; the next few are read meanwhile.

    A store far away answers each read after milliseconds, in which nothing else would be done.
    """
    with ThreadPoolExecutor(FILES_AHEAD) as pool:
        coming = deque(pool.submit(storage.read, name) for name in names[:FILES_AHEAD])
        for place in range(len(names)):
            yield coming.popleft().result
            if place + FILES_AHEAD < len(names):
                coming.append(pool.submit(storage.read, names[place + FILES_AHEAD]))


def _plan(declared: Declaration, storage: Storage, ledger: Ledger) -> Batch | None:
    fresh = arrivals(declared, storage, ledger).fresh
    reader = _reader(declared, storage, ledger)
    looked_at = 0
    chosen = _at_most(BYTES_PER_BATCH, fresh[:FILES_PER_BATCH])
    with closing(_read_ahead(storage, [each.name for each in chosen])) as reads:
        for each, read in zip(chosen, reads, strict=True):
            if reader.unpacked > BYTES_PER_BATCH:  # packed files say only now how much they hold
                break
            looked_at += 1
            reader.take(each, ledger.applied + 1, read)
    if not (entries := reader.entered()):
        return None
    _, plan = ledger.commit(entries)
    return reader.batch(plan, waiting=len(fresh) - looked_at)


def _resume(declared: Declaration, storage: Storage, ledger: Ledger, pending: Plan) -> Batch | None:
    """Apply exactly what was planned; where a file is not what it was, plan the batch anew. None: nothing is left."""
    reader = _reader(declared, storage, ledger)
    listing = cache(lambda: {each.name: each for each in arrivals(declared, storage, ledger).fresh})
    with closing(_read_ahead(storage, [each.found.name for each in pending.entries if each.state != LOST])) as reads:
        for each in pending.entries:
            if each.state == LOST:
                reader.entries.append(each)
            else:
                reader.take_again(each, pending.number, next(reads), lambda name: listing().get(name))
    if (entries := reader.entered()) == list(pending.entries):
        return reader.batch(pending)
    if not entries:
        return None
    _, plan = ledger.commit(entries)
    return reader.batch(plan)


def reread(declared: Declaration, storage: Storage, ledger: Ledger, kept: Kept | None) -> Batch:
    """Every file that the ledger says was read, in its batch, for a rebuild.

    A file that is gone, or was corrected in place, is read from what the table has `kept` of it. Refused with the list
    of those of which it has not.
    """
    planned = entries_of(ledger.done().filter(pl.col("state").is_in([*READ, UNREADABLE])))
    reader = _Reader(declared, storage)
    gone: list[str] = []
    with closing(_read_ahead(storage, [each.found.name for _, each in planned if each.state in READ])) as reads:
        for batch, each in planned:
            if each.state == UNREADABLE:
                reader.refuse(each, batch)
                continue
            content, why = _as_it_was(next(reads), each.sha256)
            if content is not None:
                reader.unpack(each.found, content, each.sha256, batch)
            elif kept and (file := kept.file(each.found.name, batch, each.records)) is not None:
                reader.take_kept(each, *file, batch)
            else:
                gone.append(f"{each.found.name} (batch {batch}): {why}")
    if gone:
        raise Refused(
            f"{declared.key} cannot be made anew: of {len(planned)} files, {len(gone)} are not what was read, and no "
            f"table keeps what they held: {'; '.join(gone[:10])}. Nothing was written. Put back the files or the table."
        )
    return reader.batch(Plan(ledger.applied, ledger.applied_plan or 0, tuple(reader.entered())))


def _as_it_was(read: Callable[[], bytes], sha256: str) -> tuple[bytes | None, str]:
    """The content with this hash, or None and why there is none."""
    try:
        content = read()
    except FileGone:
        return None, "no longer there"
    return (content, "") if _sha256(content) == sha256 else (None, "holds other content now")


def current_contents(ledger: Ledger) -> pl.DataFrame:
    """Of every file that was read, where its newest content is: source_file, batch, and whether it is a revision."""
    read = ledger.done().filter(pl.col("state").is_in(READ)).unique("name", keep="last", maintain_order=True)
    return read.select(source_file="name", batch="batch", revised=pl.col("state") == REVISED)


def _reader(declared: Declaration, storage: Storage, ledger: Ledger) -> _Reader:
    done = ledger.done().filter(pl.col("sha256") != "", pl.col("state") != DUPLICATE, pl.col("state") != LOST)
    known = {sha: f"{name} (batch {batch})" for sha, name, batch in done.select("sha256", "name", "batch").iter_rows()}
    return _Reader(declared, storage, known, set(done.filter(pl.col("state").is_in(READ))["name"]))


def _lines(rejected: pl.DataFrame, declared: Declaration) -> pl.DataFrame:
    reasons = pl.concat_list(pl.col("reason") + pl.col("note"))
    return _set_aside(rejected.with_columns(kind=pl.lit("unread"), reasons=reasons, row=pl.col("raw")), declared)


def _whole_file(declared: Declaration, entry: Entry, batch: int) -> pl.DataFrame:
    rows = pl.DataFrame({"kind": ["file"], "reasons": [[entry.reason]], "source_file": [entry.found.name]})
    return _set_aside(
        rows.with_columns(
            source_row=pl.lit(None, pl.Int64), row=pl.lit(None, pl.String), batch=pl.lit(batch, pl.Int64)
        ),
        declared,
    )


def _set_aside(rows: pl.DataFrame, declared: Declaration) -> pl.DataFrame:
    return rows.with_columns(
        upstream=pl.lit(None, pl.String),
        source_name=pl.lit(declared.name),
        quarantined_at=pl.lit(datetime.now(UTC), pl.Datetime("us", "UTC")),
    ).select(SET_ASIDE.names())
