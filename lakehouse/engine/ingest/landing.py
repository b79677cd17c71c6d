"""Files that landed → batches: one listing, one read per file, everything read is counted."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from itertools import accumulate
from pathlib import PurePosixPath

import polars as pl

from lakehouse.engine.declare.errors import FileGone, LeadsOut, Refused
from lakehouse.engine.declare.number import number
from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.ports import Found, Progress, Storage, silent
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.delta.ahead import Ahead
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.ingest.kept import Kept
from lakehouse.engine.ingest.ledger import LISTED, LOST, READ, REVISED, SCHEMA, UNREADABLE, Ledger, Plan, entries_of
from lakehouse.engine.ingest.reader import Batch, Reader, sha256_of
from lakehouse.engine.ingest.unpack import refuse_large

FILES_PER_BATCH = 1_000
BYTES_PER_BATCH = 512 << 20
FILES_AHEAD = 8
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


def arrivals(
    declared: Declaration, storage: Storage, ledger: Ledger, listed: Sequence[Found] | None = None
) -> Arrivals:
    """One listing, held against the ledger. A file is fresh where its size, time or etag is not the ledger's."""
    assert declared.source is not None  # noqa: S101 # what is asked for arrivals is a bronze table
    listed = storage.files(declared.source.pattern) if listed is None else listed
    taken = ledger.done().filter(pl.col("state") != LOST).unique("name", keep="last")
    others = _frame(listed).with_row_index().join(taken, on=LISTED, how="anti", maintain_order="left")["index"]
    fresh: list[Found] = []
    settling: list[Found] = []
    now = datetime.now(UTC)
    for each in map(listed.__getitem__, others):
        (fresh if _is_settled(each, now, declared.source.settle) else settling).append(each)
    return Arrivals(tuple(fresh), tuple(settling), known=len(listed) - len(others))


def look(declared: Declaration, place: Place) -> tuple[Arrivals, int | None]:
    """What one listing shows beside the ledger, and the identity of a plan that a crash left unapplied."""
    return look_beside(declared, place, Handle.open(place.table(declared)))


def look_beside(
    declared: Declaration, place: Place, own: Handle | None, listed: Sequence[Found] | None = None
) -> tuple[Arrivals, int | None]:
    """The same, of a bronze table that is open, and of files that are `listed`."""
    ledger = Ledger.open(declared, place.ledger(declared), own)
    pending = ledger.pending()
    return arrivals(declared, place.landing_of(declared), ledger, listed), pending.identity if pending else None


def _frame(listed: Sequence[Found]) -> pl.DataFrame:
    columns = {name: [getattr(each, name) for each in listed] for name in LISTED}
    return pl.DataFrame(columns, {name: SCHEMA[name] for name in LISTED})


def _is_settled(found: Found, now: datetime, settle: timedelta) -> bool:
    """A time far ahead of ours is a wrong clock's, and would settle never."""
    return found.modified_at <= now - settle or found.modified_at > now + WRONG_CLOCK


def next_batch(
    declared: Declaration, storage: Storage, ledger: Ledger, *, progress: Progress = silent, ahead: Ahead | None = None
) -> Batch | None:
    """The batch to apply now, its plan committed: the one that waits since a crash, else the fresh files; else None.

    ahead: writes the first of its rows meanwhile. Raises Conflict when another process planned first.
    """
    reader = partial(Reader.after, ledger, declared, storage, progress=progress, ahead=ahead)
    pending = ledger.pending()
    batch = _resume(reader(), ledger, pending) if pending else None
    return batch or _plan(reader(), ledger)


def _at_most(size: int, files: Sequence[Found]) -> Sequence[Found]:
    """The first of them that hold no more bytes than `size` together, and one in any case."""
    together = list(accumulate(each.size for each in files))
    return files[: max(1, bisect_right(together, size))]


def _read_ahead(reader: Reader, reads: Sequence[Callable[[], bytes]]) -> Generator[Callable[[], bytes]]:
    """The same calls, each of which gives the bytes of a file or raises; the next few are read meanwhile.

    Tells before each how far the `reader` is.

    A store far away answers each read after milliseconds, in which nothing else would be done.
    """
    with ThreadPoolExecutor(FILES_AHEAD) as pool:
        coming = deque(pool.submit(read) for read in reads[:FILES_AHEAD])
        for place in range(len(reads)):
            reader.progress(place, len(reads), reader.records)
            yield coming.popleft().result
            if place + FILES_AHEAD < len(reads):
                coming.append(pool.submit(reads[place + FILES_AHEAD]))


def _reads(declared: Declaration, storage: Storage, files: Iterable[Found]) -> list[Callable[[], bytes]]:
    """For each file a call that gives its bytes; one that is too large raises OverLimit, and is not read."""
    assert declared.source is not None  # noqa: S101 # what has files is a bronze table
    limits = declared.source.limits

    def read(found: Found) -> bytes:
        refuse_large(found.size, limits)
        return storage.read(found.name)

    return [partial(read, each) for each in files]


def _plan(reader: Reader, ledger: Ledger) -> Batch | None:
    fresh = ledger.as_they_came(arrivals(reader.declared, reader.storage, ledger).fresh)
    looked_at = 0
    chosen = _at_most(BYTES_PER_BATCH, fresh[:FILES_PER_BATCH])
    with closing(_read_ahead(reader, _reads(reader.declared, reader.storage, chosen))) as reads:
        for each, read in zip(chosen, reads, strict=True):
            if reader.unpacked > BYTES_PER_BATCH:  # packed files say only now how much they hold
                break
            looked_at += 1
            reader.take(each, ledger.applied + 1, read)
    if not (entries := reader.entered()):
        return None
    waiting = len(fresh) - looked_at
    _, plan = ledger.commit(entries, is_last=not waiting)
    return reader.batch(plan, waiting=waiting)


def _resume(reader: Reader, ledger: Ledger, pending: Plan) -> Batch | None:
    """Apply exactly what was planned; where a file is not what it was, plan the batch anew. None: nothing is left."""
    reader.forget(pending.entries)
    listing = cache(lambda: {each.name: each for each in arrivals(reader.declared, reader.storage, ledger).fresh})
    files = [each.found for each in pending.entries if each.state != LOST]
    with closing(_read_ahead(reader, _reads(reader.declared, reader.storage, files))) as reads:
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


def read_again(
    declared: Declaration, storage: Storage, ledger: Ledger, files: str, *, progress: Progress = silent
) -> Batch:
    """A batch, its plan committed, of files that were read or could not be: each counts as corrected by itself.

    `files` is a glob of the ends of their names, as in 'dt=2011-09-05/*'. Refused where it fits no such file, or more
    than a batch holds.
    """
    assert declared.source is not None  # noqa: S101 # what has files is a bronze table
    if ledger.pending() is not None:
        raise Refused(
            f"{declared.key} has a batch that is planned and not applied. Nothing was read. First: lakehouse run"
        )
    before = set(ledger.done().filter(pl.col("state").is_in([*READ, UNREADABLE]))["name"])
    listed = [each for each in storage.files(declared.source.pattern) if each.name in before]
    chosen = [each for each in listed if PurePosixPath(each.name).match(files)]
    if not chosen:
        raise Refused(
            f"{declared.key}: {files!r} fits none of {number(len(listed), 'file')} that were read and still lie there"
            + (f", such as {listed[-1].name}." if listed else ".")
            + " Nothing was read."
        )
    if len(_at_most(BYTES_PER_BATCH, chosen[:FILES_PER_BATCH])) < len(chosen):
        raise Refused(
            f"{declared.key}: {files!r} fits {number(len(chosen), 'file')}, and a batch holds {FILES_PER_BATCH:,} of "
            f"{BYTES_PER_BATCH >> 20:,} MB together. Nothing was read. Name fewer, one batch after the other."
        )
    reader = Reader.after(ledger, declared, storage, progress=progress, ahead=None)
    reader.known.clear()
    with closing(_read_ahead(reader, _reads(declared, storage, chosen))) as reads:
        for each, read in zip(chosen, reads, strict=True):
            reader.take(each, ledger.applied + 1, read)
    _, plan = ledger.commit(reader.entered())
    return reader.batch(plan)


def reread(
    declared: Declaration, storage: Storage, ledger: Ledger, kept: Kept | None, *, progress: Progress = silent
) -> Batch:
    """Every file that the ledger says was read, in its batch, for a rebuild.

    A file that is gone, or was corrected in place, is read from what the table has `kept` of it. Refused with the list
    of those of which it has not.
    """
    planned = entries_of(ledger.done().filter(pl.col("state").is_in([*READ, UNREADABLE])))
    reader = Reader(declared, storage, progress=progress)
    gone: list[str] = []
    taken = [partial(storage.read, each.found.name) for _, each in planned if each.state in READ]
    with closing(_read_ahead(reader, taken)) as reads:
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
        why = (
            f"{declared.key} cannot be made anew: of {len(planned)} files, {len(gone)} are not what was read, and no "
            f"table keeps what they held: {'; '.join(gone[:10])}. "
        )
        raise Refused(why + _ways_out(declared.key, kept.damaged if kept else ()))
    return reader.batch(Plan(ledger.applied, ledger.applied_plan or 0, tuple(reader.entered())))


def _ways_out(key: str, damaged: Sequence[str]) -> str:
    if not damaged:
        return "Nothing was written. Put back the files or the table."
    return (
        f"What the table held of files is not read from what is damaged: {'; '.join(damaged[:10])}. Nothing was "
        "written. Put back those files of the landing, or these of the table; else go back to a version without the "
        f"damage (lakehouse table history {key}): lakehouse table restore {key} --version … --downstream --accept-loss"
    )


def _as_it_was(read: Callable[[], bytes], sha256: str) -> tuple[bytes | None, str]:
    """The content with this hash, or None and why there is none."""
    try:
        content = read()
    except (FileGone, LeadsOut):
        return None, "no longer there"
    return (content, "") if sha256_of(content) == sha256 else (None, "holds other content now")


_LOST = "where it is lost, take away the table too: `lakehouse run` reads anew all files that lie there."


def current_contents(ledger: Ledger) -> pl.DataFrame:
    """Of every file that was read, where its newest content is: source_file, batch, and whether it is a revision.

    Refused where the ledger does not know all that the table holds: what it does not know would pass for outdated.
    """
    if ledger.planned < ledger.applied:
        raise Refused(
            f"{ledger.table} stands at batch {ledger.applied}, and its ledger ({ledger.address}) ends with batch "
            f"{ledger.planned}: which content of a file is the newest cannot be told. Nothing was read. Put the ledger "
            "back" + ("." if ledger.address.only_read else f"; {_LOST}")
        )
    read = ledger.done().filter(pl.col("state").is_in(READ)).unique("name", keep="last", maintain_order=True)
    return read.select(source_file="name", batch="batch", revised=pl.col("state") == REVISED)
