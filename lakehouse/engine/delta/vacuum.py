"""Taking away files that no version within a table's retention refers to, and the log that is older than that.

By a listing of the table's own folder: what lies elsewhere, as a clone's files do, is not touched. Stay does what is
not known to be a data file, what is younger than the retention (a writer may be about to commit it), and what a reader
that the table has still has to read, however old.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import unquote

import polars as pl

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.number import number
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.upkeep import MOST_HOURS
from lakehouse.engine.delta import store
from lakehouse.engine.delta.checkpoints import Checkpoints
from lakehouse.engine.delta.halves import halves, without_halves
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.log import Action, Commit, changing, read_commits, summed_up
from lakehouse.engine.delta.place import LOG, root, tables_within
from lakehouse.engine.delta.retention import LEAST_HOURS, hours_of, refuse_unclear
from lakehouse.engine.delta.travel import committed_at, version_at
from lakehouse.engine.delta.vectors import Vector

_OURS = re.compile(r"\.(parquet|bin)$")
_HIDDEN = re.compile(r"(^|/)(\.|_(?![^/]*=))")
"""As Delta has it: what begins so is nobody's data, unless it is the folder of a partition."""
_OF_THE_LOG = re.compile(rf"^{LOG}/(\d{{20}})\.(json|crc|checkpoint\.(?:[^/]+\.)?(?:parquet|json))$")

type Listing = Mapping[str, tuple[int, datetime]]
type Asks = Callable[[int], int]
"""Of the oldest version that stays readable: a version."""


class Held(NamedTuple):
    """What is kept for a reader alone: it has read up to `position`, and what came next was committed at `since`."""

    position: int
    since: datetime | None
    files: int
    bytes: int

    @property
    def told(self) -> str:
        since = f" ({self.since:%Y-%m-%d %H:%M} UTC)" if self.since else ""
        return f"from version {self.position + 1}{since} on: {number(self.files, 'file')}, {self.bytes:,} bytes"


@dataclass(frozen=True)
class Sweep:
    """What vacuum would take away, by name with its bytes; nothing is gone yet.

    `oldest`: the oldest version that can be read afterwards. `held`: the readers for which more is kept than for the
    retention. `young`: files of no version that are too young to go.
    """

    handle: Handle
    hours: int
    oldest: int
    files: Mapping[str, int]
    log: Mapping[str, int]
    held: Mapping[str, Held]
    young: int
    bytes_before: int

    @property
    def bytes(self) -> int:
        return sum(self.files.values()) + sum(self.log.values())


def plan_vacuum(handle: Handle, hours: int, readers: Mapping[str, int], *, log_from: Asks | None = None) -> Sweep:
    """What may go, if all of the last `hours` stays. `readers`: how far each has read this table.

    log_from: from which version on others need the log. Refused where the table is not whole.
    """
    there, until = store.listed(handle.address), datetime.now(UTC) - timedelta(hours=min(hours, MOST_HOURS))
    log = _Log(handle, there)
    oldest = log.standing_at(until)
    readers = {name: position for name, position in readers.items() if log.reaches_back_to(position)}
    used, kept = log.used(oldest, readers)
    _refuse_unless_whole(handle, there, used)
    others = tables_within(there)
    own = {name: told for name, told in there.items() if _is_data(name) and not name.startswith(others)}
    unused = {name: told for name, told in own.items() if name not in used}
    unused |= halves(handle.address)
    spare = {name: size for name, (size, at) in unused.items() if at < until}
    needed = set[str]().union(*kept.values())
    held = {name: _held(handle, at, spare, kept[name]) for name, at in readers.items() if kept[name] and at < oldest}
    first = min([oldest if log_from is None else log_from(oldest), *readers.values()])
    return Sweep(
        handle=handle,
        hours=hours,
        oldest=oldest,
        files={name: size for name, size in spare.items() if name not in needed},
        log=log.expired(first),
        held=held,
        young=len(unused) - len(spare),
        bytes_before=sum(size for size, _ in there.values()),
    )


def _held(handle: Handle, position: int, spare: Mapping[str, int], kept: set[str]) -> Held:
    files = kept & spare.keys()
    since = committed_at(handle.commit_of(position + 1))
    return Held(position, since, len(files), sum(spare[each] for each in files))


def sweep(planned: Sweep) -> None:
    """Carry it out: data files first, then the log, the oldest first, so that what is left always hangs together."""
    store.remove(planned.handle.address, without_halves(planned.handle.address, planned.files))
    store.remove_in_order(planned.handle.address, sorted(planned.log))


def refuse_short(handle: Handle, hours: int, readers: Mapping[str, int]) -> None:
    """Refuse to keep less than a week, or than the table promises, and say who could break.

    Raises as `refuse_unclear`.
    """
    refuse_unclear(handle)
    promised = hours_of(handle) or LEAST_HOURS
    if hours >= max(promised, LEAST_HOURS):
        return
    oldest = _Log(handle, store.listed(handle.address)).standing_at(datetime.now(UTC) - timedelta(hours=hours))
    less = (
        f"{promised} that the table promises" if hours >= LEAST_HOURS else f"{LEAST_HOURS}, so that what runs may break"
    )
    behind = [
        f"{name} stands at version {at} of {handle.version}" for name, at in readers.items() if at < handle.version
    ]
    told = f" ({'; '.join(behind)}: what it has yet to read is kept)" if behind else " (of the tables here none is)"
    raise Refused(
        f"{handle.address}: {hours} hours is less than {less}. Nothing was removed. Who could break: queries and runs "
        "under way that read an older version; writers under way, whose files are not committed yet; whoever reads or "
        f"restores a version before {max(oldest, 1)}; who reads the table's new rows and is behind{told}; other "
        "engines, of whose readers nothing is known here. Where none of these is left: --override-retention"
    )


def _is_data(name: str) -> bool:
    return bool(_OURS.search(name)) and not _HIDDEN.search(name)


class _Log:
    """A table's log, as it is listed."""

    def __init__(self, handle: Handle, there: Listing) -> None:
        self._handle, self._there = handle, there
        self._checkpoints = Checkpoints(handle.address, there)
        self._versions = dict[int, list[tuple[str, str]]]()
        for name in there:
            if found := _OF_THE_LOG.match(name):
                self._versions.setdefault(int(found[1]), []).append((found[2], name))

    def standing_at(self, at: datetime) -> int:
        """The version that stood then; the oldest that can be read where the log does not reach so far.

        What lies before a gap, or before the oldest checkpoint, is what a vacuum that was cut off has left.
        """
        gap = next(version for version in range(self._handle.version, -2, -1) if not self._has(version))
        whole = (each for each in self._checkpoints if each >= gap)
        readable = 0 if gap < 0 else min(whole, default=self._handle.version)
        with suppress(Refused):
            return max(version_at(self._handle, at), readable)
        return readable

    def reaches_back_to(self, position: int) -> bool:
        """Whether what was committed since can be told. Who stands before that must be made anew in any case."""
        return all(self._has(version) for version in range(position + 1, self._handle.version + 1))

    def used(self, oldest: int, readers: Mapping[str, int]) -> tuple[set[str], dict[str, set[str]]]:
        """The files that some version since `oldest` refers to, and those that each reader has yet to read."""
        base = self._checkpoints.up_to(oldest)
        commits = self._commits(min([-1 if base is None else base, *readers.values()]) + 1, oldest)
        standing = {_names(self._handle.address, add): None for add in self._summed_up(base)}
        used = set[str]()
        for commit in commits:
            adds = [_names(self._handle.address, add) for add in commit.of("add")]
            if commit.version > oldest:
                used.update(name for names in adds for name in names)
            elif base is None or commit.version > base:
                for gone in commit.of("remove"):
                    standing.pop(_names(self._handle.address, gone), None)
                standing |= dict.fromkeys(adds)
        used.update(name for names in standing for name in names)
        kept = {
            reader: {
                name
                for commit in commits
                if commit.version > position
                for body in changing(commit)
                for name in _names(self._handle.address, body)
            }
            for reader, position in readers.items()
        }
        return used, kept

    def expired(self, first: int) -> dict[str, int]:
        """The files of the log that nobody needs who reads versions from `first` on: a checkpoint stands for them.

        None where there is no checkpoint that can be read, or the pointer to the newest does not reach it.
        """
        base = self._checkpoints.up_to(min(first, summed_up(self._handle.address)))
        if base is None or not self._checkpoints.can_be_read(base):
            return {}
        return {
            name: self._there[name][0]
            for version, files in self._versions.items()
            if version < base
            for _, name in files
        }

    def _commits(self, first: int, oldest: int) -> Sequence[Commit]:
        try:
            return read_commits(self._handle.address, first, self._handle.version)
        except FileNotFoundError as gone:
            raise Refused(
                f"{self._handle.address}: its log does not reach back to version {oldest} ({gone}), so which files are "
                "needed cannot be told. Nothing was removed."
            ) from gone

    def _has(self, version: int) -> bool:
        return any(kind == "json" for kind, _ in self._versions.get(version, []))

    def _summed_up(self, base: int | None) -> Iterator[Action]:
        try:
            yield from () if base is None else self._checkpoints.actions(base, "add")
        except (FileNotFoundError, ValueError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise Refused(
                f"{self._handle.address}: {', '.join(self._checkpoints.parts(base or 0))} cannot be read "
                f"({str(error).partition(chr(10))[0]}), so which files are needed cannot be told. Nothing was removed. "
                f"Next: lakehouse table check {self._handle.address.key}"
            ) from error


def _refuse_unless_whole(handle: Handle, there: Listing, used: Iterable[str]) -> None:
    """Before anything goes: what the newest version holds must be seen, by the very names by which it is spared."""
    spared = set(used)
    own = {name for path in handle.files()["path"] if (name := _below(handle.address, path)) is not None}
    if missing := sorted(name for name in own if name not in there or name not in spared):
        raise Refused(
            f"{handle.address}: {number(len(missing), 'file')} of version {handle.version} "
            f"{'is' if len(missing) == 1 else 'are'} not where the log says ({missing[0]}). Nothing was removed. "
            f"Next: lakehouse table check {handle.address.key}"
        )


def _names(address: Address, body: Action) -> tuple[str, ...]:
    """The files below the table's folder that an add or a remove refers to: data, and the deletion vector beside it."""
    paths = [unquote(body["path"])]
    if (vector := Vector.of(body)) and vector.file:
        paths.append(vector.file)
    below = (_below(address, path) for path in paths)
    return tuple(name for name in below if name is not None)


def _below(address: Address, path: str) -> str | None:
    """A path of the log as the listing names it; None where it lies outside of the table's folder."""
    local = path.removeprefix("file://")
    if "://" not in local and not local.startswith("/"):
        return local
    base = f"{root(address)}/"
    return local.removeprefix(base) if local.startswith(base) else None
