"""Orders and credit notes as the ERP sends them: one JSON object an invoice, some late, some twice.

The invoices are real. Made up is only the delivery, and it follows from the invoice's number alone.
"""

from __future__ import annotations

import gzip
import hashlib
import io
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date
from math import inf
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from lakehouse.example.landed import LandedFile
from lakehouse.example.packed import DAY, Invoice

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["LATEST", "Documents", "orders", "returns"]

AGAIN_BELOW = 0.003
LATEST = 15 * DAY  # the longest after its day that an invoice lands: a credit note 14 days late, and then again


class Late(NamedTuple):
    """Of the numbers whose lag is `below` a part of all: `days` late, and up to `more` by a lot of its own."""

    below: float
    days: int = 0
    more: int = 0
    lot: str = ""


ORDERS_LATE = (Late(0.995), Late(inf, days=1, more=3, lot="l4"))
RETURNS_LATE = (Late(0.70), Late(0.85, days=1), Late(0.95, days=2, more=4, lot="l2"), Late(inf, 6, more=9, lot="l3"))


class Landing(NamedTuple):
    """One invoice as it lands in one file."""

    invoice: Invoice
    is_late: bool
    is_again: bool


@dataclass
class Documents:
    """The documents of one kind; `lateness` says how many days after its day a document lands."""

    source: str
    is_ours: Callable[[str], bool]
    lateness: Sequence[Late]
    landings: defaultdict[date, list[Landing]] = field(default_factory=lambda: defaultdict[date, list[Landing]](list))

    @property
    def pattern(self) -> str:
        return f"{self.source}/dt=*/{self.source.rpartition('/')[2]}.jsonl.gz"

    def needed_from(self, first: date, last: date) -> date:  # noqa: ARG002 # on every day something may land
        """The first day whose invoices can land on `first`."""
        return first - LATEST

    def take(self, day: date, invoices: Sequence[Invoice]) -> None:
        """Put the invoices of a day to the days on which they land."""
        for invoice in invoices:
            if self.is_ours(invoice.number):
                days_late = _days_late(invoice.number, self.lateness)
                lands_on = day + days_late * DAY
                self.landings[lands_on].append(Landing(invoice, days_late > 0, is_again=False))
                if _chance("dup", invoice.number) < AGAIN_BELOW:
                    self.landings[lands_on + DAY].append(Landing(invoice, is_late=False, is_again=True))

    def file(self, day: date) -> LandedFile | None:
        """What lands on `day`, the last that was taken; None where nothing does. By (time, number), as taken."""
        landings = self.landings.pop(day, [])
        if not landings:
            return None
        return LandedFile(
            source=self.source,
            name=self.pattern.replace("*", str(day)),
            content=_packed(b"".join(_line(landing.invoice) for landing in landings)),
            records=len(landings),
            noun="document",
            day=day,
            late=sum(landing.is_late for landing in landings),
            again=sum(landing.is_again for landing in landings),
        )


def orders() -> Documents:
    """Orders and bad-debt entries: 0.5 % land one to three days late."""
    return Documents("erp/orders", lambda number: not number.startswith("C"), ORDERS_LATE)


def returns() -> Documents:
    """Credit notes: 30 % land one to fourteen days late."""
    return Documents("erp/returns", lambda number: number.startswith("C"), RETURNS_LATE)


def _days_late(number: str, lateness: Sequence[Late]) -> int:
    lag = _chance("lag", number)
    late = next(each for each in lateness if lag < each.below)
    return late.days + (int(late.more * _chance(late.lot, number)) if late.more else 0)


def _chance(what: str, number: str) -> float:
    """A number from 0 to 1 that looks drawn and is not: it depends on its two arguments alone."""
    digest = hashlib.sha1(f"{what}|{number}".encode(), usedforsecurity=False).hexdigest()
    return int(digest[:8], 16) / 0xFFFFFFFF


def _line(invoice: Invoice) -> bytes:
    """The invoice as one line of JSON, with its line feed."""
    value = {
        "order_no": invoice.number,
        "order_ts": invoice.at.replace(" ", "T"),
        "customer_id": invoice.customer_id,
        "country": invoice.country,
        "currency": "GBP",
        "lines": [
            {
                "line_no": line_no,
                "sku": row.sku,
                "description": row.description or None,
                "qty": int(row.qty),
                # a float only to be printed again: each of the packed prices prints as it was written (`18.0`, `0.001`)
                "unit_price": float(row.unit_price),
                "line_ts": row.at.replace(" ", "T"),
            }
            for line_no, row in enumerate(invoice.rows, start=1)
        ],
    }
    return msgspec.json.encode(value) + b"\n"


def _packed(content: bytes) -> bytes:
    packed = io.BytesIO()
    # GzipFile and not gzip.compress: the latter's header names the operating system in some versions of Python
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, compresslevel=6, mtime=0) as file:
        file.write(content)
    return packed.getvalue()
