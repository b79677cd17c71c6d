"""What rivals made of a table since a version of it was opened, told from the commits in between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from urllib.parse import unquote

import msgspec

from lakehouse.engine.delta import known
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.log import COMMIT_ID, Action, Commit, read_commit, read_commits
from lakehouse.engine.delta.statistics import DataFile, added_files

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
        moved = (each for commit in self.commits for kind in ("add", "remove") for each in commit.of(kind))
        return not any(each.get("dataChange", True) for each in moved)


def since(handle: Handle) -> Since | None:
    """None where the table is gone or another one by now, or the log in between is.

    What writers of ours commit is carried on from `handle`, so that nothing is opened; after any other the newest
    version is opened anew.
    """
    newest, commits = handle, list[Commit]()
    try:
        if handle.identity is not None and read_commit(handle.address, handle.version).identity != handle.identity:
            return None
        while len(commits) < _AT_MOST:
            try:
                commit = read_commit(handle.address, newest.version + 1)
            except FileNotFoundError:
                return Since(newest, tuple(commits))
            if (after := _after(newest, commit)) is None:
                break
            newest, commits = after, [*commits, commit]
        known.forget(handle.address)
        opened = Handle.open(handle.address)
        if opened is None or opened.id != handle.id or opened.version < newest.version:
            return None
        return Since(opened, tuple(read_commits(handle.address, handle.version + 1, opened.version)))
    except FileNotFoundError:
        return None


def _after(before: Handle, commit: Commit) -> Handle | None:
    """What this commit made of `before`; None where it is not one of ours, or changes more than files."""
    added = list(commit.of("add"))
    times = {each["modificationTime"] for each in added}
    is_plain = {kind for action in commit.actions for kind in action} <= _PLAIN and len(times) <= 1
    if COMMIT_ID not in commit.info or not is_plain or any(each.get("deletionVector") for each in added):
        return None
    at = datetime.fromtimestamp(max(times, default=0) / 1000, UTC)
    went = {unquote(each["path"]) for each in commit.of("remove")}
    return before.followed_by(commit, added_files([_file(each) for each in added], at, before.schema), went)


def _file(added: Action) -> DataFile:
    rows = msgspec.json.decode(added["stats"])["numRecords"]
    return DataFile(unquote(added["path"]), added["size"], rows, added["stats"], added["partitionValues"])
