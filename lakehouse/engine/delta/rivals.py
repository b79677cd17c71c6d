"""What rivals made of a table since a version of it was opened, told from the commits in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from urllib.parse import unquote

import msgspec

from lakehouse.engine.delta import known
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.log import COMMIT_ID, Action, Commit, read_commit, read_commits
from lakehouse.engine.delta.statistics import DataFile, Landed

_AT_MOST = 64
"""So many commits are read one after the other; of more the table is opened anew."""
_PLAIN = {"commitInfo", "add", "remove", "txn"}


@dataclass(frozen=True)
class Since:
    """The newest version of the table, and what was committed to it after another one."""

    handle: Handle
    commits: tuple[Commit, ...]

    def moved(self, guarded: Mapping[str, int | None]) -> bool:
        """Whether one of these transactions was written, with another number than the one that it may have."""
        written = (each for commit in self.commits for each in commit.transactions.items())
        return any(number != guarded.get(app, number) for app, number in written)

    @cached_property
    def went(self) -> set[str]:
        """Files that a rival took away, or wrote anew under the same name."""
        return {unquote(each["path"]) for commit in self.commits for each in commit.of("remove")}

    @cached_property
    def came(self) -> list[str]:
        """Files that a rival brought and that stand."""
        added = {unquote(each["path"]) for commit in self.commits for each in commit.of("add")}
        return [path for path in self.handle.files()["path"] if path in added]

    @cached_property
    def rearranges(self) -> bool:
        """Whether all that went lies elsewhere now, and nothing else came: no row is another one."""
        return not any(commit.changes_rows for commit in self.commits)


def since(handle: Handle) -> Since | None:
    """None where the table is gone or another one by now, or the log in between is.

    What writers of ours commit is carried on from `handle`, so that nothing is opened; after any other the newest
    version is opened anew.
    """
    try:
        is_told = handle.identity is not None  # else by a checkpoint alone, and which table it is must be looked up
        if is_told and read_commit(handle.address, handle.version).identity != handle.identity:
            return None
        if is_told and (commits := _ours_after(handle)) is not None:
            return Since(_after(handle, commits), tuple(commits))
        known.forget(handle.address)
        opened = Handle.open(handle.address)
        if opened is None or opened.id != handle.id or opened.version < handle.version:
            return None
        return Since(opened, tuple(read_commits(handle.address, handle.version + 1, opened.version)))
    except FileNotFoundError:
        return None


def followed(handle: Handle) -> Handle | None:
    """The newest version, where what came after `handle` tells it; `handle` stands in the log."""
    return None if (commits := _ours_after(handle)) is None else _after(handle, commits)


def _ours_after(handle: Handle) -> list[Commit] | None:
    """Up to the newest. None where others are among them, too many are, or the newest is torn."""
    commits = list[Commit]()
    with suppress(FileNotFoundError):
        while len(commits) < _AT_MOST:
            try:
                commit = read_commit(handle.address, handle.version + 1 + len(commits))
            except ValueError:  # no JSON: whoever opens the table heals it
                return None
            if not _only_moves_files(commit):
                return None
            commits.append(commit)
        return None
    return commits


def _only_moves_files(commit: Commit) -> bool:
    """Whether it is one of ours, and adds and removes whole files."""
    kinds = {kind for action in commit.actions for kind in action}
    is_ours = COMMIT_ID in commit.info and commit.restored is None  # files put back may be another engine's
    return is_ours and kinds <= _PLAIN and not any(map(_has_vector, commit.of("add")))


def _has_vector(added: Action) -> bool:
    return added.get("deletionVector") is not None


def _after(before: Handle, commits: Sequence[Commit]) -> Handle:
    """What these commits made of `before`."""
    if not commits:
        return before
    came, went = dict[str, Landed](), set[str]()
    for commit in commits:
        for gone in (unquote(each["path"]) for each in commit.of("remove")):
            went.add(gone)
            came.pop(gone, None)
        came |= {unquote(each["path"]): _landed(each) for each in commit.of("add")}
    return before.followed_by(commits, came, went | came.keys())


def _landed(added: Action) -> Landed:
    rows = msgspec.json.decode(added["stats"])["numRecords"]
    file = DataFile(unquote(added["path"]), added["size"], rows, added["stats"], added["partitionValues"])
    return file, datetime.fromtimestamp(added["modificationTime"] / 1000, UTC)
