"""The packed data of the example: the invoices of Online Retail by their days, and the exchange rates."""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from datetime import date, timedelta
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DAY", "FIRST_DAY", "LAST_DAY", "Invoice", "Row", "invoices_by_day", "rates"]

MONTHS = files("lakehouse.example") / "online_retail"
RATES = files("lakehouse.example") / "reference" / "fx_monthly.csv.gz"
DAY = timedelta(days=1)
FIRST_DAY, LAST_DAY = date(2010, 12, 1), date(2011, 12, 9)  # of the invoices


class Row(NamedTuple):
    """One row of a packed month, all text, columns in the order of the file."""

    number: str
    sku: str
    description: str
    qty: str
    at: str  # "YYYY-MM-DD HH:MM:SS", London wall clock
    unit_price: str
    customer_id: str  # "17850.0", or empty
    country: str


class Invoice(NamedTuple):
    """An order, a credit note (`C…`) or a bad-debt entry (`A…`): its rows in the source's order, one at least."""

    number: str
    at: str  # the earliest of its rows: 43 invoices carry two times, a minute apart
    rows: list[Row]

    @property
    def day(self) -> str:
        return self.at[:10]

    @property
    def customer_id(self) -> str | None:
        return self.rows[0].customer_id.removesuffix(".0") or None

    @property
    def country(self) -> str:
        return self.rows[0].country


def invoices_by_day(first: date, last: date) -> Iterator[tuple[date, list[Invoice]]]:
    """Every calendar day from `first` to `last` (not before FIRST_DAY), with its invoices by (time, number).

    A month is read when its first day is asked for, and once.
    """
    day = first
    of_month: dict[str, list[Invoice]] = {}
    while day <= last:
        if day.day == 1 or day == first:
            of_month = _month(day, last)
        yield day, of_month.get(str(day), [])
        day += DAY


def _month(first: date, last: date) -> dict[str, list[Invoice]]:
    """The invoices of the month of `first` that lie from `first` to `last`, by day.

    Rows are gathered by number, not by neighbourhood: invoice 542806 is interrupted by two lines of another.
    """
    if first > LAST_DAY:
        return {}
    begins, ends = str(first), f"{last} 24"
    gathered: defaultdict[str, list[Row]] = defaultdict(list)
    with (
        (MONTHS / f"{first:%Y-%m}.csv.gz").open("rb") as packed,
        gzip.open(packed, "rt", encoding="utf-8", newline="") as text,
    ):
        rows = csv.reader(text)
        next(rows)
        for row in rows:
            if begins <= row[4] < ends:
                gathered[row[0]].append(Row._make(row))
    invoices = [Invoice(number, min(row.at for row in its), its) for number, its in gathered.items()]
    by_day: defaultdict[str, list[Invoice]] = defaultdict(list)
    for invoice in sorted(invoices, key=lambda invoice: (invoice.at, invoice.number)):
        by_day[invoice.day].append(invoice)
    return by_day


def rates() -> bytes:
    """The monthly exchange rates, as gzip."""
    return RATES.read_bytes()
