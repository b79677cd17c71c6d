"""A table put back to what it was: a new version that holds the files of an old one, and the positions of then.

Delta's own restore leaves the transactions as they are, so that what was read since would never be read again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import msgspec

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.readers import Reader
from lakehouse.engine.delta import quarantine
from lakehouse.engine.delta.commit import SHA256
from lakehouse.engine.delta.delivery import freed, tidy
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.log import NEVER, RESTORED, Action, Past, last_note, transactions_at
from lakehouse.engine.delta.optimize import folded
from lakehouse.engine.delta.protocol import DELETION_VECTORS, can_read
from lakehouse.engine.delta.statistics import DataFile
from lakehouse.engine.delta.travel import at_version
from lakehouse.engine.delta.vectors import Vector


@dataclass(frozen=True)
class Restore:
    """What is to be done to `now` so that it holds what `then`, an earlier version of it, held.

    added, removed: the files that come back and those that go. transactions: those that stand otherwise now.
    """

    now: Handle
    then: Handle
    added: tuple[DataFile, ...]
    removed: tuple[str, ...]
    transactions: Mapping[str, int]

    @property
    def is_done(self) -> bool:
        """Whether nothing differs."""
        is_in_shape = (self.then.schema, self.then.partition_by) == (self.now.schema, self.now.partition_by)
        return is_in_shape and not (self.added or self.removed or self.transactions)

    @property
    def rows_back(self) -> int:
        return self.then.rows_of([each.path for each in self.added]) if self.added else 0

    @property
    def rows_gone(self) -> int:
        return self.now.rows_of(self.removed) if self.removed else 0

    def commit(self, transactions: Mapping[str, int], note: Mapping[str, str] | None = None) -> Handle:
        """The next version of `now`, else Conflict. It notes what `then` had noted, so that readers find it."""
        said = {**last_note(self.then.address, self.then.version), **(note or {}), RESTORED: str(self.then.version)}
        return self.now.commit(
            self.added,
            self.removed,
            {**self.transactions, **transactions},
            said,
            schema=self.then._table.schema(),  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] # with its notes
            by=self.then.partition_by,
            moves=len(self.removed) < self.now.files().height,
        )


def prepare_restore(now: Handle, version: int, aside: Address | None = None) -> Restore:
    """Look up what restoring needs; nothing is written. Refused where that version never was, or lost its files.

    aside: where rows are set aside; refused, too, where those of then have lost theirs.
    """
    then = at_version(now, version)
    if then is now:
        return Restore(now, then, (), (), {})
    standing, wanted = ({path: each.vectors.get(path) for path in each.files()["path"]} for each in (now, then))
    back = [path for path in wanted if path not in standing or standing[path] != wanted[path]]
    removed = tuple(sorted(path for path in standing if path not in wanted or standing[path] != wanted[path]))
    past = Past(now.address)
    is_folded = not now.has_vectors and any(map(wanted.get, back)) and now.schema == then.schema
    if is_folded and past.origin(now.version) == past.origin(version):
        back, removed = [], ()  # the same rows stand here without vectors
    try:
        files = [_data_file(path, then.standing.adds[path]) for path in back]
        positions = _rewound(now, then)
    except FileNotFoundError as gone:
        raise Refused(
            f"{now.address} cannot be put back to version {version}: the log of that time is gone ({gone}). Nothing "
            "was written."
        ) from gone
    prepared = Restore(now, then, tuple(files), removed, positions)
    if aside is not None and not prepared.is_done:
        quarantine.read_then(then, aside)
    return prepared


def readable(prepared: Restore, readers: tuple[Reader, ...]) -> Restore:
    """The same for a table that these read: no deletion vector comes back that one of them does not know.

    Such a file is written anew, and comes with the restore itself. Where the table as it stands has vectors, they are
    folded in beforehand, by commits of their own. Raises Conflict as `restore` does.
    """
    now = freed(prepared.now, readers)
    if now.version > prepared.now.version:
        prepared = prepare_restore(now, prepared.then.version)
    marked = [] if can_read(readers, DELETION_VECTORS) else [each.path for each in prepared.added if each.vector]
    anew = folded(prepared.then.leaving_out(now.unmeasured), marked)
    return replace(prepared, now=now, added=(*(each for each in prepared.added if each.path not in marked), *anew))


def restore(prepared: Restore, aside: Address | None, first: Callable[[], None] | None = None) -> Handle:
    """Put a table back, and what it had set aside `aside` with it: a copy, that counts from this version on.

    aside: None where nothing is ever set aside. first: what is to be committed before it, once all that comes back was
    seen to lie there still. Refused where it does not; Conflict when the table has moved since: nothing of it landed.
    """
    # of a version that nothing promises a vacuum may have taken files since; only one at work right now does so still
    at_version(prepared.now, prepared.then.version)
    rows = None if aside is None else quarantine.read_then(prepared.then, aside).collect()
    if first is not None:
        first()
    if aside is None or rows is None:
        return prepared.commit({})
    attempt = quarantine.write(prepared.now, aside, rows, whole=True)
    restored = prepared.commit(attempt.transactions)
    tidy(restored, aside)
    return restored


def _data_file(path: str, add: Action) -> DataFile:
    """A file as the log told of it when it came last."""
    statistics = add.get("stats") or "{}"
    rows = msgspec.json.decode(statistics).get("numRecords", 0)
    tags: Mapping[str, str] = add.get("tags") or {}
    return DataFile(path, add["size"], rows, statistics, add["partitionValues"], tags.get(SHA256, ""), Vector.of(add))


def _rewound(now: Handle, then: Handle) -> dict[str, int]:
    """The transactions that stood otherwise then, but for those of the quarantine, which is carried on."""
    stand, stood = now.transactions(), transactions_at(then.address, then.version)
    return {
        app: stood.get(app, NEVER)
        for app in stand.keys() | stood.keys()
        if stand.get(app) != stood.get(app) and not quarantine.is_its_own(app)
    }
