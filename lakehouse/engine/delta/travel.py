"""What a table was: its versions, which of them stood at a time, and what lies in one and not in another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import unquote

import polars as pl
from pyroaring import BitMap

from lakehouse.engine.declare.errors import Refused, WrongUsage
from lakehouse.engine.declare.number import number
from lakehouse.engine.delta import store
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.log import UPKEEP, Action, Commit, changing, read_commits, rows_in, standing_at
from lakehouse.engine.delta.place import LOG, log_name
from lakehouse.engine.delta.refused import Unreadable
from lakehouse.engine.delta.retention import hours_of
from lakehouse.engine.delta.vectors import Vector, all_but

HISTORY = pl.Schema(
    {
        "version": pl.Int64,
        "committed_at": pl.Datetime("us", "UTC"),
        "operation": pl.String,
        "rows_added": pl.Int64,
        "rows_removed": pl.Int64,
        "files_added": pl.Int64,
        "bytes_added": pl.Int64,
        "files_removed": pl.Int64,
        "note": pl.String,
    }
)
_AT_ONCE = 64


def history(handle: Handle, most: int | None = None) -> pl.DataFrame:
    """The newest `most` versions that the log still tells of, newest first. Shape (n, 9): HISTORY.

    Rows of a file that is written anew come and go; where it only has another deletion vector, those of the vector do,
    and no file. Files that only rearrange rows count as files. Rows are null where the log does not tell them.
    """
    commits = [commit for commit, _ in zip(_commits(handle), range(most or handle.version + 1), strict=False)]
    held = dict[str, int | None]()
    if any(True for commit in commits for _ in commit.of("remove")):
        with suppress(FileNotFoundError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
            before = standing_at(handle.address, commits[-1].version - 1)
            held |= {path: _rows(add) for path, add in before.adds.items()}
    return pl.DataFrame([_row(commit, held) for commit in reversed(commits)], schema=HISTORY, orient="row").reverse()


def _rows(add: Action) -> int | None:
    held, vector = rows_in(add), Vector.of(add)
    return held if held is None or vector is None else held - vector.rows


def told_from(handle: Handle) -> int:
    """The first version since which the log tells of every one. Costs a listing."""
    there = store.sizes(handle.address, LOG)
    return next((each + 1 for each in range(handle.version, -1, -1) if log_name(each) not in there), 0)


def version_at(handle: Handle, at: datetime) -> int:
    """The version that stood then: the newest that was committed by `at`. Refused where the log tells of none."""
    oldest = None
    for commit in _commits(handle):
        oldest = commit
        if (then := committed_at(commit)) is not None and then <= at:
            return commit.version
    since = f": version {oldest.version} is of {committed_at(oldest)}" if oldest else ""
    raise Refused(f"{handle.address} was not there at {at.astimezone(UTC):%F %T} UTC, as far as its log tells{since}.")


def at_version(handle: Handle, version: int) -> Handle:
    """The same table as it stood at `version`. Refused where it has no such version, or no longer all of its files."""
    if version == handle.version:
        return handle
    if not 0 <= version < handle.version:
        raise Refused(f"{handle.address} has versions 0 to {handle.version}, and no version {version}.")
    found, standing = _opened(handle, version), _needed(handle)
    elsewhere = [name for name in _needed(found) if name not in standing]
    there = store.sizes(handle.address) if elsewhere else {}
    missing = [name for name in elsewhere if name not in there and not name.startswith("/") and "://" not in name]
    if missing:
        raise Refused(_gone(handle, version, f"{number(len(missing), 'file')} of it missing, {missing[0]} among them"))
    return found


def _needed(handle: Handle) -> dict[str, None]:
    """The files that hold its rows, and those that say which of these are gone."""
    return dict.fromkeys([*handle.files()["path"], *(each.file for each in handle.vectors.values() if each.file)])


def as_it_stood(handle: Handle, said: str) -> Handle:
    """The table at a version, `12`, or at a time, `2026-01-31T12:00:00Z`. Refused where there is no such."""
    return at_version(handle, int(said)) if said.removeprefix("-").isdecimal() else at_time(handle, said)


def at_time(handle: Handle, said: str) -> Handle:
    """The table as it stood at a time. Raises WrongUsage for what is none; Refused where the table was not there."""
    return at_version(handle, version_at(handle, time_of(said)))


def _opened(handle: Handle, version: int) -> Handle:
    try:
        found = Handle.open(handle.address, version)
    except Unreadable:
        with suppress(FileNotFoundError):
            handle.commit_of(version)
            raise  # the log is there, and something is wrong with it
        found = None
    if found is None:
        raise Refused(_gone(handle, version, "its log was cleaned away"))
    return found


def _gone(handle: Handle, version: int, why: str) -> str:
    hours = hours_of(handle)
    kept = f"the table keeps the versions of the last {hours:,} hours" if hours else "the table promises no time"
    return f"{handle.address}: version {version} can no longer be read: {why}; {kept}. Nothing was read or written."


def apart(one: Handle, other: Handle) -> tuple[pl.LazyFrame, pl.LazyFrame, int]:
    """The rows of the files that only `one` holds, those that only `other` holds, and the number of rows in both's.

    What two versions share is not read: the cost is that of what was changed between them.
    """
    ours, theirs = (dict(each.files().select("path", "rows").iter_rows()) for each in (one, other))
    shared = ours.keys() & theirs.keys()
    was = {path: one.gone.get(path, BitMap()) for path in ours if path not in shared}
    now = {path: other.gone.get(path, BitMap()) for path in theirs if path not in shared}
    both = [path for path in ours if path in shared]
    for path in [path for path in both if one.gone.get(path) != other.gone.get(path)]:
        gone, then = one.gone.get(path, BitMap()), other.gone.get(path, BitMap())
        held = one.rows_of([path]) + len(gone)
        was[path], now[path] = all_but(then - gone, held), all_but(gone - then, held)
    sides = ((one, was), (other, now))
    frames = [
        each.scan_paths([path for path in each.files()["path"] if path in some], gone=some) for each, some in sides
    ]
    lost = sum(len(other.gone.get(path, BitMap()) - one.gone.get(path, BitMap())) for path in both)
    return frames[0], frames[1], (one.rows_of(both) if both else 0) - lost


def time_of(text: str) -> datetime:
    """What a person said, in UTC. Raises WrongUsage for what is no time, or one of no zone."""
    try:
        time = datetime.fromisoformat(text)
        in_utc = time.astimezone(UTC)
    except (ValueError, OverflowError):
        way = "; a version of a table is its --version (table show, table restore)" if text.isdecimal() else ""
        why = f"not a time of the years 1 to 9999. Say it as in 2026-01-31T12:00:00Z{way}."
        raise WrongUsage(f"as of {text}: {why}") from None
    if time.tzinfo is None:
        said = time.isoformat()
        raise WrongUsage(f"as of {text}: of which zone? Say {said}Z for UTC, or an offset such as {said}+01:00.")
    return in_utc


def _commits(handle: Handle) -> Iterator[Commit]:
    """The newest first, until the first one or the first that is no longer in the log."""
    for last in range(handle.version, -1, -_AT_ONCE):
        try:
            yield from reversed(read_commits(handle.address, max(0, last - _AT_ONCE + 1), last))
        except FileNotFoundError:
            with suppress(FileNotFoundError):
                for version in range(last, -1, -1):
                    yield handle.commit_of(version)
            return


def committed_at(commit: Commit) -> datetime | None:
    at = commit.info.get("inCommitTimestamp", commit.info.get("timestamp"))
    return datetime.fromtimestamp(at / 1000, UTC) if isinstance(at, int) else None


def _row(commit: Commit, held: dict[str, int | None]) -> tuple[object, ...]:
    """held: the rows of each file as it stood before. It is brought up to this version."""
    added, removed = ({unquote(each["path"]): each for each in commit.of(kind)} for kind in ("add", "remove"))
    was = {path: held.pop(path, None) for path in removed}
    for path in (marked := added.keys() & removed):
        was[path] = _rows({**added[path], "deletionVector": removed[path].get("deletionVector")})
    held |= {path: _rows(add) for path, add in added.items()}
    moved = {unquote(each["path"]) for each in changing(commit)}
    sides = [(was.get(path, 0), held.get(path, 0)) for path in moved]
    note = commit.note
    note = {UPKEEP: note[UPKEEP]} if UPKEEP in note else note  # what a run left before it is told there
    return (
        commit.version,
        committed_at(commit),
        commit.info.get("operation"),
        _more((now, then) for then, now in sides),
        _more(sides),
        len(added.keys() - marked),
        sum(add["size"] for path, add in added.items() if path not in marked),
        len(removed.keys() - marked),
        ", ".join(f"{name} {text}" for name, text in note.items() if name != "table"),
    )


def _more(sides: Iterable[tuple[int | None, int | None]]) -> int | None:
    """By how much the first of each two is more than the second, summed up."""
    counts = [0 if one == 0 else None if one is None or other is None else max(one - other, 0) for one, other in sides]
    return None if None in counts else sum(each for each in counts if each is not None)
