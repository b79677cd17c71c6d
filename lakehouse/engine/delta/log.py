"""The table's own log: what each version added and removed, read from the JSON of exactly that version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.number import number
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta import store
from lakehouse.engine.delta.checkpoints import Checkpoints
from lakehouse.engine.delta.place import LOG, POINTER, log_name

Action = dict[str, Any]

COMMIT_ID = "lakehouse commit"
UPKEEP = "upkeep"
"""In the note of a commit that changes how the table lies and none of its rows: what was done."""
_KEPT = "!$&'()+,/:;=@~"  # as deltalake has it
RESTORED = "restored"
"""In the note of a version that holds what an earlier one held: which."""
COLUMNS = "columns"
"""In the note of a commit that gives the table other columns: how."""
MERGED = "merged"
"""In the note of a merge: how many rows came, and the way that it took."""
NEVER_NULL = "never_null"
"""In the note of a commit: the columns of which no row that stands then is null."""
NEVER = -(1 << 62)
"""The version of a transaction that no longer is: Delta knows no way to take one away."""
_AT_ONCE = 64
_ONLY_SUMMED_UP = {"stats_parsed", "partitionValues_parsed"}
"""What a checkpoint may say of a file, and a commit must not: it stands there as text."""
_OF_ONE_VERSION = {UPKEEP, RESTORED, COLUMNS}
_DELTAS_OWN = {COMMIT_ID, "operation", "engineInfo", "clientVersion", "isolationLevel", "txnId"}


@dataclass(frozen=True)
class Commit:
    """One version: its actions, in the order they were written."""

    version: int
    actions: tuple[Action, ...]

    def of(self, kind: str) -> Iterator[Action]:
        """The bodies of the actions of one kind: add, remove, txn, commitInfo, metaData, protocol."""
        return (action[kind] for action in self.actions if kind in action)

    @property
    def transactions(self) -> dict[str, int]:
        return {txn["appId"]: txn["version"] for txn in self.of("txn")}

    def transaction(self, app: str) -> int | None:
        return self.transactions.get(app)

    @property
    def restored(self) -> int | None:
        """The version whose rows this one holds, where it put the table back."""
        return int(self.info[RESTORED]) if RESTORED in self.info else None

    @property
    def changes_rows(self) -> bool:
        """Whether it may hold other rows than the version before: not where files were only laid together."""
        return any(changing(self))

    @property
    def info(self) -> Action:
        return next(self.of("commitInfo"), Action())

    @property
    def note(self) -> dict[str, str]:
        """What was noted with it, for people and for the next run."""
        return {name: text for name, text in self.info.items() if isinstance(text, str) and name not in _DELTAS_OWN}

    @property
    def is_a_run(self) -> bool:
        """Not upkeep, nor other columns, nor a restore: these carry on what the last run has noted."""
        return not self.info.keys() & _OF_ONE_VERSION

    @property
    def identity(self) -> object:
        """What another commit of the same version has not: the mark that we give to ours, or all that it holds."""
        return self.info.get(COMMIT_ID) or self.actions


def as_logged(path: str) -> str:
    """How we write a path into the log. Others keep other characters, and a file goes by the name it came with."""
    return quote(path, safe=_KEPT)


def read_commit(address: Address, version: int) -> Commit:
    """One version of the log. Raises FileNotFoundError when nobody has committed it."""
    return read_commits(address, version, version)[0]


def read_commits(address: Address, first: int, last: int) -> list[Commit]:
    """Versions `first` to `last`, both included, in order. Raises FileNotFoundError when one of them is not there."""
    versions = range(first, last + 1)
    files = store.read(address, [log_name(version) for version in versions])
    return [Commit(version, _actions(file)) for version, file in zip(versions, files, strict=True)]


def _actions(lines: bytes) -> tuple[Action, ...]:
    return tuple(msgspec.json.decode(line) for line in lines.splitlines() if line)


def last_note(address: Address, version: int) -> dict[str, str]:
    """What the last run left for the next one, which finds it at the newest version; nothing of this version's own."""
    try:
        note = read_commit(address, version).note
    except FileNotFoundError:
        return {}
    return {name: text for name, text in note.items() if name not in {*_OF_ONE_VERSION, MERGED}}


def appended(address: Address, position: int, version: int, tip: Commit | None = None) -> list[str]:
    """The paths of the files that the versions (position, version] appended, in commit order, then file order.

    tip: that version's commit, where it was read before. Refused when a version of that range took rows away, or its
    log is gone: the reader must be rebuilt. Where the table was put back in between, what counts is what it grew from.
    """
    try:
        last = [tip] if tip and position < version else []
        commits = [*read_commits(address, position + 1, version - len(last)), *last]
        if any(commit.restored is not None for commit in commits):
            commits = Past(address, commits).since(position, version)
    except FileNotFoundError as gone:
        raise Refused(
            f"{address}: the log of a version after {position} is gone ({gone}), so what was appended since then "
            "cannot be told. Nothing was read."
        ) from gone
    paths: list[str] = []
    for commit in commits:
        removed = sum(1 for remove in commit.of("remove") if remove.get("dataChange", True))
        if removed:
            raise Refused(
                f"{address}: version {commit.version} took {number(removed, 'file')} away, so the rows since version "
                f"{position} are not only appended ones. Nothing was read."
            )
        for add in commit.of("add"):
            if add.get("deletionVector"):
                raise Refused(
                    f"{address}: version {commit.version} carries a deletion vector, written by another engine. "
                    "Nothing was read."
                )
            if add.get("dataChange", True):
                paths.append(unquote(add["path"]))
    return paths


def only_upkeep(address: Address, since: int, version: int) -> bool:
    """Whether the versions (since, version] are all upkeep, so that each holds the same rows. False if unknown."""
    try:
        commits = read_commits(address, since + 1, version)
    except FileNotFoundError:
        return False
    return since <= version and all(commit.info.get(UPKEEP) and not any(changing(commit)) for commit in commits)


def rows_in(added: Action) -> int | None:
    """How many rows a file holds, also those that a deletion vector takes away; None where its add does not say."""
    return msgspec.json.decode(added.get("stats") or "{}").get("numRecords")


def changing(commit: Commit) -> Iterator[Action]:
    """The actions by which rows come or go: all but those that only carry them into other files."""
    return (body for kind in ("add", "remove") for body in commit.of(kind) if body.get("dataChange", True))


class Past:
    """The log of a table that may have been put back: what each version grew from. Read backwards, as far as asked."""

    def __init__(self, address: Address, known: Sequence[Commit] = ()) -> None:
        self.address = address
        self._known = {each.version: each for each in known}

    def commit(self, version: int) -> Commit:
        """Raises FileNotFoundError where the log of that version is gone."""
        if version not in self._known:
            first = max(0, version - _AT_ONCE + 1)
            try:
                found = read_commits(self.address, first, version)
            except FileNotFoundError:
                found = [read_commit(self.address, version)]
            self._known |= {each.version: each for each in found}
        return self._known[version]

    def origin(self, version: int) -> int:
        """The first version that held the rows of this one, as far as the log tells."""
        with suppress(FileNotFoundError):
            while version > 0:
                commit = self.commit(version)
                if commit.restored is None and commit.changes_rows:
                    break
                version = version - 1 if commit.restored is None else commit.restored
        return version

    def back(self, version: int) -> Iterator[int]:
        """A version and all that it grew from, newest first."""
        while version >= 0:
            yield version
            restored = self.commit(version).restored
            version = version - 1 if restored is None else restored

    def line(self, version: int) -> Iterator[int]:
        """Of these the ones that changed rows."""
        while version >= 0:
            version = self.origin(version)
            yield version
            version -= 1

    def grew_from(self, version: int, position: int) -> bool:
        """Whether all that a reader has seen at `position` still counts at `version`."""
        sought = self.origin(position)
        return next((each for each in self.line(version) if each <= sought), None) == sought

    def since(self, position: int, version: int) -> list[Commit]:
        """The versions that lead from what stood at `position` to `version`, in order. Refused where none do."""
        if not self.grew_from(version, position):
            raise Refused(
                f"{self.address} was put back to what stood before version {position}, up to which it was read: rows "
                "that were read are taken away. Nothing was read."
            )
        sought = self.origin(position)
        return [self.commit(each) for each in takewhile(lambda each: each > sought, self.line(version))][::-1]

    def transaction(self, app: str, version: int) -> int | None:
        """The version that `app` had last committed with at `version`, None when it never had.

        Of what the log no longer tells a checkpoint does; FileNotFoundError where none reaches so far back.
        """
        for each in range(version, -1, -1):
            try:
                found = self.commit(each).transaction(app)
            except FileNotFoundError:
                return transactions_at(self.address, version).get(app)
            if found is not None:
                return None if found == NEVER else found
        return None


def took_back(address: Address, position: int, version: int) -> bool:
    """Whether the table was put back in between to what stood before `position`. A log that is gone does not tell."""
    try:
        commits = read_commits(address, position + 1, version) if position < version else []
        is_back = any(each.restored is not None for each in commits)
        return is_back and not Past(address, commits).grew_from(version, position)
    except FileNotFoundError:
        return False


def summed_up(address: Address) -> int:
    """The version of the last checkpoint, as the pointer to it says; -1 where there is none that can be read."""
    try:
        return int(msgspec.json.decode(store.read(address, [f"{LOG}/{POINTER}"])[0])["version"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return -1


def transactions_at(address: Address, version: int) -> dict[str, int]:
    """The last version of every application, from the last checkpoint and the log after it."""
    actions, commits = _from_checkpoint(address, version, "txn")
    found: dict[str, int] = {txn["appId"]: txn["version"] for action in actions for txn in action.values()}
    for commit in commits:
        found |= commit.transactions
    return {app: number for app, number in found.items() if number != NEVER}


@dataclass(frozen=True)
class Standing:
    """What the log of one version amounts to. `adds`: by path, each file of the table as its add says it."""

    adds: Mapping[str, Action]
    protocol: Action
    metadata: Action


def standing_at(address: Address, version: int) -> Standing:
    """From the last checkpoint and the log after it."""
    adds, shape = dict[str, Action](), {"protocol": Action(), "metaData": Action()}
    actions, commits = _from_checkpoint(address, version, "add", "protocol", "metaData")
    # a file that is given another deletion vector is removed and added by one commit, in no order that is promised
    each_commit = [actions, *(sorted(commit.actions, key=lambda action: "remove" not in action) for commit in commits)]
    for kind, body in (told for some in each_commit for action in some for told in action.items()):
        if kind == "remove":
            adds.pop(unquote(body["path"]), None)
        elif kind in ("add", *shape):  # of what a commit leaves out a checkpoint says null
            said = {name: value for name, value in body.items() if value is not None and name not in _ONLY_SUMMED_UP}
            adds |= {unquote(body["path"]): said} if kind == "add" else {}
            shape |= {kind: said} if kind in shape else {}
    return Standing(adds, shape["protocol"], shape["metaData"])


def _from_checkpoint(address: Address, version: int, *kinds: str) -> tuple[list[Action], list[Commit]]:
    """What a checkpoint up to this version holds of these kinds, and the commits after it.

    The one that is pointed to; where there is another file, or the log does not reach back to it, a listing tells.
    """
    pointed = summed_up(address)
    names = [log_name(pointed).replace(".json", ".checkpoint.parquet")] if 0 <= pointed <= version else []
    try:
        return _after(address, version, Checkpoints(address, names), kinds)
    except FileNotFoundError:
        return _after(address, version, Checkpoints(address), kinds)


def _after(
    address: Address, version: int, checkpoints: Checkpoints, kinds: Sequence[str]
) -> tuple[list[Action], list[Commit]]:
    base = checkpoints.up_to(version)
    found = [{kind: each} for kind in kinds if base is not None for each in checkpoints.actions(base, kind)]
    return found, read_commits(address, 0 if base is None else base + 1, version)
