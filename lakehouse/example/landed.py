"""What lands, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING

from lakehouse.engine.declare.number import number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

__all__ = ["Landed", "LandedFile", "drawn", "told"]


@dataclass(frozen=True)
class LandedFile:
    """One file of `source`: `name` below the landing, `content` as it lies there, `day` it landed on.

    It holds `records`, each a `noun`. Of these, `late` landed after the day of their invoice, and `again` are repeats
    of the day before. What is there before the first day has no day.
    """

    source: str
    name: str
    content: bytes
    records: int
    noun: str
    day: date | None = None
    late: int = 0
    again: int = 0


@dataclass(frozen=True)
class Landed:
    """What `land` did for one source: files `written` and `already_there`. The other figures are those of both.

    Repeats count as records, and `late` are among those that are none. `first` and `last` are the days of the first and
    the last file, None where its files have no day.
    """

    source: str
    noun: str
    written: int = 0
    already_there: int = 0
    records: int = 0
    late: int = 0
    again: int = 0
    first: date | None = None
    last: date | None = None

    @property
    def files(self) -> int:
        return self.written + self.already_there

    def and_(self, file: LandedFile, *, written: bool) -> Landed:
        """The same and the next file of the source."""
        return replace(
            self,
            written=self.written + written,
            already_there=self.already_there + (not written),
            records=self.records + file.records,
            late=self.late + file.late,
            again=self.again + file.again,
            first=self.first or file.day,
            last=file.day,
        )


def drawn(landed: Sequence[Landed]) -> Table:
    """A line for each source, for the terminal."""
    from rich.table import Table

    table = Table("source", box=None, header_style="bold")
    table.add_column("files", justify="right")
    table.add_column("days")
    table.add_column("records", justify="right")
    table.add_column("came late", justify="right")
    table.add_column("came again", justify="right")
    for column in table.columns:
        column.no_wrap = True
    for each in landed:
        days = f"{each.first} to {each.last}" if each.first else ""
        late, again = (f"{count:,}" if count else "" for count in (each.late, each.again))
        table.add_row(each.source, f"{each.files:,}", days, number(each.records, each.noun), late, again)
    return table


def told(landed: Sequence[Landed]) -> str:
    """A sentence for all of them."""
    written, already_there = (sum(getattr(each, name) for each in landed) for name in ("written", "already_there"))
    return f"{number(written, 'file')} written, {already_there:,} already there."
