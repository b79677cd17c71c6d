"""Files that are taken: each read once, told from what came before, and parsed together with its neighbours."""

from __future__ import annotations

import glob
import hashlib
import shlex
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

import polars as pl

from lakehouse.engine.declare.errors import FileGone, LeadsOut
from lakehouse.engine.declare.formats import Limits
from lakehouse.engine.declare.ports import Found, Progress, Storage, silent
from lakehouse.engine.declare.source import Snapshots
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.delta.ahead import Ahead
from lakehouse.engine.delta.quarantine import ROWS as SET_ASIDE
from lakehouse.engine.ingest.formats import Fitted, fit, fit_lines, parse
from lakehouse.engine.ingest.ledger import ACCEPTED, DUPLICATE, LOST, READ, REVISED, UNREADABLE, Entry, Ledger, Plan
from lakehouse.engine.ingest.misfit import Misfit, OverLimit
from lakehouse.engine.ingest.parsed import Parsed
from lakehouse.engine.ingest.unpack import Unreadable, unpack

BYTES_AT_ONCE = 8 << 20  # small files are parsed together: a frame for each costs more than its rows


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
    file: Fitted
    size: int
    note: str = ""
    aside: int = 0


@dataclass
class Reader:
    """Reads files once and keeps what they held; `known` maps content to the file and batch where it was seen last.

    ahead: writes the rows that are read first while the next are.
    """

    declared: Declaration
    storage: Storage
    known: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    revised: set[str] = field(default_factory=set[str])
    entries: list[Entry] = field(default_factory=list[Entry])
    texts: list[_Text] = field(default_factory=list[_Text])
    accepted: list[pl.DataFrame] = field(default_factory=list[pl.DataFrame])
    rejected: list[pl.DataFrame] = field(default_factory=list[pl.DataFrame])
    kept: list[str] = field(default_factory=list[str])
    unpacked: int = 0
    parsed: int = 0
    records: int = 0
    progress: Progress = silent
    ahead: Ahead | None = None
    _parser: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    _parsing: tuple[list[_Text], Future[Parsed]] | None = None

    @classmethod
    def after(
        cls, ledger: Ledger, declared: Declaration, storage: Storage, *, progress: Progress, ahead: Ahead | None
    ) -> Reader:
        """A reader that knows what the ledger says was read before."""
        read = ledger.done().filter(pl.col("state").is_in(READ))
        names, batches = read["name"].to_list(), read["batch"].to_list()
        identities = map(partial(_identity, declared), names, read["sha256"])
        known = dict(zip(identities, zip(names, batches, strict=True), strict=True))
        return cls(declared, storage, known, set(names), progress=progress, ahead=ahead)

    def forget(self, entries: Sequence[Entry]) -> None:
        """Take these files whatever was read before: they were planned so."""
        for each in entries:
            if each.state != DUPLICATE:
                self.known.pop(_identity(self.declared, each.found.name, each.sha256), None)

    def take(self, found: Found, batch: int, read: Callable[[], bytes]) -> None:
        """Read one file and enter what becomes of it; nothing when it has grown or shrunk since it was listed."""
        try:
            content = read()
        except FileGone:
            self.entries.append(Entry(LOST, found, reason="listed, and gone before it could be read"))
            return
        except (OverLimit, LeadsOut) as unfit:
            self.refuse(Entry(UNREADABLE, found, reason=self.why(found, unfit)), batch)
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
        except (OverLimit, LeadsOut) as unfit:
            self.refuse(Entry(UNREADABLE, planned.found, reason=self.why(planned.found, unfit)), batch)
            return
        if sha256_of(content) == planned.sha256:
            self.enter(planned.found, content, batch)
        elif (now := listed(planned.found.name)) is not None:
            self.take(now, batch, partial(self.storage.read, now.name))

    def enter(self, found: Found, content: bytes, batch: int) -> None:
        sha256 = sha256_of(content)
        identity = _identity(self.declared, found.name, sha256)
        if seen := self.known.get(identity):
            name, where = seen
            reason = f"same content as {name} (batch {where})"
            self.entries.append(Entry(DUPLICATE, found, sha256, reason=reason))
            return
        self.unpack(found, content, sha256, batch)

    def unpack(self, found: Found, content: bytes, sha256: str, batch: int) -> None:
        try:
            text = unpack(found.name, content, self.limits)
            fitted = fit(self.declared, text)
        except (Unreadable, Misfit) as why:
            self.refuse(Entry(UNREADABLE, found, sha256, reason=self.why(found, why)), batch)
            return
        self.take_text(found, sha256, _Text(len(self.entries), batch, fitted, len(text)))

    @property
    def limits(self) -> Limits:
        assert self.declared.source is not None  # noqa: S101 # what has files is a bronze table
        return self.declared.source.limits

    def why(self, found: Found, why: Exception | str) -> str:
        """Why nothing of a file was taken, and every way out."""
        if isinstance(why, Unreadable | LeadsOut):
            return str(why)
        way = "have its source send it as declared, or mend formats="
        if isinstance(why, OverLimit):
            way = f"where it is meant, Files(…, limits=Limits({why.limit}=…))"
        return (
            f"{found.name} cannot be read: {why}. Nothing of it was taken; {way}, then: "
            f"lakehouse reingest {self.declared.key} --files {shlex.quote(glob.escape(found.name))}"
        )

    def refuse(self, entry: Entry, batch: int) -> None:
        self.rejected.append(_whole_file(self.declared, entry, batch))
        self.entries.append(entry)

    def take_kept(self, was: Entry, text: bytes, aside: pl.DataFrame, batch: int) -> None:
        """A file that only its table still holds; what was set aside of it stays so, as it came."""
        note = " (the line is written anew from what the table kept, its file is gone)"
        self.rejected.append(aside)
        self.kept.append(was.found.name)
        file = fit_lines(text)
        self.take_text(was.found, was.sha256, _Text(len(self.entries), batch, file, len(text), note, aside.height))

    def take_text(self, found: Found, sha256: str, text: _Text) -> None:
        if self.texts and self.texts[0].file.form != text.file.form:
            self.parse()
        state = REVISED if found.name in self.revised else ACCEPTED
        records = text.file.records + text.aside
        reason = f"read as {text.file.form}" if self.declared.source and len(self.declared.source.dialects) > 1 else ""
        self.entries.append(Entry(state, found, sha256, records=records, reason=reason))
        self.revised.add(found.name)
        self.known[_identity(self.declared, found.name, sha256)] = (found.name, text.batch)
        self.unpacked += text.size
        self.records += records
        self.texts.append(text)
        if self.unpacked - self.parsed >= BYTES_AT_ONCE:
            self.parse()

    def entered(self) -> list[Entry]:
        """An entry for each file that was taken, its records counted."""
        if self.texts:
            self.parse()
        self.enter_parsed()
        self._parser.shutdown()
        return self.entries

    def parse(self) -> None:
        """Parse the texts at hand together. It goes on while the next files are read, unpacked and told apart."""
        texts, self.texts, self.parsed = self.texts, [], self.unpacked
        self.enter_parsed()
        self._parsing = texts, self._parser.submit(parse, self.declared, [each.file for each in texts])

    def enter_parsed(self) -> None:
        """Enter for each file that was parsed what came of it."""
        if self._parsing is None:
            return
        (texts, parsing), self._parsing = self._parsing, None
        parsed = parsing.result()
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
        source = self.declared.source
        if isinstance(source, Snapshots):
            times = [source.time_of(each.found.name) for each in entries]
            beside = beside.with_columns(pl.Series(source.valid_at, times))
        rows = _from_files(parsed.accepted, beside.drop("note")).with_columns(source_name=pl.lit(self.declared.name))
        self.accepted.append(rows.select(self.declared.stored_schema.names()))
        if self.ahead:
            self.ahead.add(self.accepted[-1], sum(each.size for each in texts))
        self.rejected.append(_lines(_from_files(parsed.rejected, beside), self.declared))

    def take_back(self, text: _Text, why: str) -> None:
        """Only while it was parsed did the file turn out unreadable."""
        found, sha256 = self.entries[text.entry].found, self.entries[text.entry].sha256
        del self.known[_identity(self.declared, found.name, sha256)]
        entry = Entry(UNREADABLE, found, sha256, reason=self.why(found, why))
        self.rejected.append(_whole_file(self.declared, entry, text.batch))
        self.entries[text.entry] = entry

    def batch(self, plan: Plan, waiting: int = 0) -> Batch:
        accepted = pl.concat([self.declared.stored_schema.to_frame(), *self.accepted])
        return Batch(plan, accepted, pl.concat([SET_ASIDE.to_frame(), *self.rejected]), waiting, tuple(self.kept))


def _from_files(rows: pl.DataFrame, files: pl.DataFrame) -> pl.DataFrame:
    """The rows with the columns of `files`, of which `source_file` is the place."""
    return rows.with_columns(*files[rows["source_file"]])


def _identity(declared: Declaration, name: str, sha256: str) -> str:
    """What must be the same for two files to be one: the content; of a snapshot its time as well."""
    source = declared.source
    return f"{source.time_of(name)} {sha256}" if isinstance(source, Snapshots) else sha256


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


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
