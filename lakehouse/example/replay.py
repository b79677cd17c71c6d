"""Lands the packed invoices day by day, as an ERP would deliver them: some late, some twice, and weekly what it knows.

What lands on a day follows from the packed data alone: every replay of a day gives the same files, and a replay cut by
`first` and `last` gives exactly those files of the whole.
"""

from __future__ import annotations

import gzip
from datetime import date
from typing import TYPE_CHECKING, Protocol

from lakehouse.engine.declare.errors import WrongUsage
from lakehouse.example import documents, snapshots
from lakehouse.example.landed import Landed, LandedFile, drawn, told
from lakehouse.example.packed import FIRST_DAY, LAST_DAY, Invoice, invoices_by_day, rates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lakehouse.engine.declare.ports import Storage

__all__ = ["NoSuchDays", "days", "drawn", "land", "told"]

RATES = "reference/fx_monthly"
LAST_LANDING = max(LAST_DAY + documents.LATEST, snapshots.SNAPSHOTS_END)


class NoSuchDays(WrongUsage):
    """The replay was cut so that its first day is after its last."""

    def __init__(self, first: date, last: date) -> None:
        super().__init__(
            f"The replay cannot land from {first} to {last}: the first day is after the last. "
            f"Nothing was landed. Swap them, or leave one out to land from the beginning or to the end."
        )


class Source(Protocol):
    """One kind of file that the ERP sends. It is told the invoices of every day, in order."""

    @property
    def pattern(self) -> str:
        """The names of its files, `*` for the day."""
        ...

    def needed_from(self, first: date, last: date) -> date | None:
        """The first day it must be told of, to land from `first` to `last`; None where nothing of it can land."""
        ...

    def take(self, day: date, invoices: Sequence[Invoice]) -> None: ...

    def file(self, day: date) -> LandedFile | None:
        """What lands on `day`, the last it was told of."""
        ...


def sources() -> list[Source]:
    """By name, which is the order in which they land on a day."""
    return [snapshots.customers(), documents.orders(), snapshots.products(), documents.returns()]


def days(first: date | None = None, last: date | None = None) -> Iterator[LandedFile]:
    """The files that land from `first` to `last` (both inclusive; None: from the beginning, to the end), by day.

    The exchange rates lie there before the first day: they come first, whatever the cut, if anything lands in it. Reads
    only the months that something in the range is made of; for a snapshot these are all before it. The bytes are the
    same for every cut; another zlib may pack them otherwise, never unpack them otherwise. Raises NoSuchDays.
    """
    first, last = first or date.min, last or date.max
    if first > last:
        raise NoSuchDays(first, last)
    return _with_rates(_days(max(first, FIRST_DAY), min(last, LAST_LANDING)))


def _nobody(_: str) -> None:
    """Hears what is done, and says nothing."""


def land(
    storage: Storage, first: date | None = None, last: date | None = None, *, tell: Callable[[str], None] = _nobody
) -> list[Landed]:
    """Write the files of `days(first, last)` to `storage`, and tell of each source what landed, by its name.

    A file that lies there with the same bytes is left alone. `tell` hears of each file, while it is being done.
    """
    patterns = [f"{RATES}.csv.gz", *(source.pattern for source in sources())]
    there = {found.name: found.size for pattern in patterns for found in storage.files(pattern)}
    landed: dict[str, Landed] = {}
    for file in days(first, last):
        tell(f"Landing {file.name}")
        is_there = there.get(file.name) == len(file.content) and storage.read(file.name) == file.content
        if not is_there:
            storage.write(file.name, file.content)
        so_far = landed.get(file.source) or Landed(file.source, file.noun)
        landed[file.source] = so_far.and_(file, written=not is_there)
    return [landed[source] for source in sorted(landed)]


def _days(first: date, last: date) -> Iterator[LandedFile]:
    needed = [(source, source.needed_from(first, last)) for source in sources()]
    told = [(source, max(start, FIRST_DAY)) for source, start in needed if start is not None]
    for day, invoices in invoices_by_day(min(start for _, start in told), last):
        for source, start in told:
            if start <= day:
                source.take(day, invoices)
            if first <= day and (file := source.file(day)):
                yield file


def _with_rates(landing: Iterator[LandedFile]) -> Iterator[LandedFile]:
    for file in landing:
        content = rates()
        records = gzip.decompress(content).count(b"\n") - 1  # without the header
        yield LandedFile(RATES, f"{RATES}.csv.gz", content, records, "row")
        yield file
        yield from landing
