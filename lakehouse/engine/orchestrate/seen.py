"""What the listing of a landing has shown so far: where there is much, it goes over several ticks of a sensor."""

from __future__ import annotations

import hashlib
import time
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from pydantic import TypeAdapter, ValidationError

from lakehouse.engine.declare.ports import Found, Storage
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.ingest.landing import arrivals
from lakehouse.engine.ingest.ledger import Ledger

A_TICK_LISTS = timedelta(seconds=5)
"""After this a tick leaves off at the next page: Dagster ends one that takes a minute, and the next would too."""

LASTS = timedelta(hours=1)
"""A listing that was left for longer begins anew: a store need not know any more where it was."""


@dataclass(frozen=True)
class Seen:
    """The files of one listing, counted beside a ledger; the cursor of a sensor while the listing goes on.

    `after` is what its next part comes after, empty where it is whole. `batch` is the ledger's last applied one.
    `first`, `last` and `since` (the oldest time) are of the fresh files; `digest` is the same for the same fresh files,
    in whatever parts they were listed.
    """

    pattern: str
    batch: int
    began: datetime
    after: str = ""
    known: int = 0
    fresh: int = 0
    settling: int = 0
    first: str = ""
    last: str = ""
    since: datetime | None = None
    digest: int = 0

    @classmethod
    def before(cls, cursor: str | None, pattern: str, ledger: Ledger) -> Seen:
        """What the last tick left off with. Nothing, where it came to the end or a batch was applied since."""
        now = datetime.now(UTC)
        nothing = cls(pattern, ledger.applied, now)
        try:
            left = _CURSORS.validate_json(cursor or "")
        except ValidationError:  # there is none, or it is of another version of this class
            return nothing
        is_of_this = (left.pattern, left.batch) == (pattern, ledger.applied) and now - left.began < LASTS
        return left if is_of_this else nothing

    @property
    def cursor(self) -> str:
        return _CURSORS.dump_json(self).decode() if self.after else ""

    def and_more(self, declared: Declaration, storage: Storage, ledger: Ledger) -> Seen:
        """The listing gone on with, to its end or until it has taken long enough."""
        until = time.monotonic() + A_TICK_LISTS.total_seconds()
        listed: list[Found] = []
        after = ""
        with closing(storage.pages(self.pattern, self.after)) as pages:
            for page, after in pages:  # noqa: B007 # the last one is where to go on
                listed += page
                if time.monotonic() > until:
                    break
        more = arrivals(declared, storage, ledger, listed)
        fresh = [each.name for each in more.fresh]
        times = [each.modified_at for each in more.fresh]
        return replace(
            self,
            after=after,
            known=self.known + more.known,
            fresh=self.fresh + len(fresh),
            settling=self.settling + len(more.settling),
            first=min(filter(None, [self.first, *fresh]), default=""),
            last=max([self.last, *fresh]),
            since=min(filter(None, [self.since, *times]), default=None),
            digest=(self.digest + sum(map(_digest, more.fresh))) % _DIGESTS,
        )


_CURSORS = TypeAdapter(Seen)
_DIGESTS = 1 << 96


def _digest(file: Found) -> int:
    told = repr((file.name, file.size, file.modified_at, file.etag))
    return int.from_bytes(hashlib.sha256(told.encode()).digest()[:12])
