"""Customers and products as the ERP sends them: once a week, all that are known so far, as CSV.

They are made of all invoices to the day of the snapshot; nothing but the weekday is made up.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, NamedTuple, Protocol

from lakehouse.example.landed import LandedFile
from lakehouse.example.packed import DAY, FIRST_DAY, LAST_DAY, Invoice

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["SNAPSHOTS_END", "Snapshots", "customers", "products"]

MONDAY, SATURDAY = 0, 5
SNAPSHOTS_END = LAST_DAY + 7 * DAY
WINDOW_IN_WEEKS = 4
RENAMED_FROM, WINDOWS_FROM = date(2011, 6, 6), date(2011, 9, 5)  # when the ERP's catalogue changed
_CAPITAL, _FOUR_SMALL = re.compile("[A-Z]"), re.compile("[a-z]{4}")


class Known(Protocol):
    """What the invoices to a day tell of customers, or of products."""

    def take(self, day: date, invoices: Sequence[Invoice]) -> None:
        """Learn from the next day."""
        ...

    def rows(self) -> Iterator[Sequence[object]]:
        """A row for each that was seen, by its number."""
        ...

    def written(self, day: date, rows: Iterable[Sequence[object]]) -> bytes:
        """The rows as the ERP writes them on `day`."""
        ...


@dataclass
class Snapshots:
    """A file each week, on `weekday`, until a week after the last invoice."""

    source: str
    weekday: int
    known: Known

    @property
    def pattern(self) -> str:
        return f"{self.source}/dt=*/{self.source.rpartition('/')[2]}.csv"

    def needed_from(self, first: date, last: date) -> date | None:
        """The first day of all, which every snapshot tells of; None without a snapshot from `first` to `last`."""
        upcoming = first + (self.weekday - first.weekday()) % 7 * DAY
        return FIRST_DAY if upcoming <= min(last, SNAPSHOTS_END) else None

    def take(self, day: date, invoices: Sequence[Invoice]) -> None:
        self.known.take(day, invoices)

    def file(self, day: date) -> LandedFile | None:
        """The snapshot of `day`, the last that was taken; None on other weekdays and after the end."""
        if day.weekday() != self.weekday or day > SNAPSHOTS_END:
            return None
        rows = list(self.known.rows())
        content = self.known.written(day, rows)
        return LandedFile(self.source, self.pattern.replace("*", str(day)), content, len(rows), "row", day)


def customers() -> Snapshots:
    return Snapshots("erp/customers", SATURDAY, Customers())


def products() -> Snapshots:
    return Snapshots("erp/products", MONDAY, Products())


@dataclass
class Customer:
    country: str  # of the latest invoice
    first_at: str
    last_at: str
    orders: int = 0
    credits: int = 0


@dataclass
class Customers:
    seen: dict[str, Customer] = field(default_factory=dict[str, Customer])

    def take(self, day: date, invoices: Sequence[Invoice]) -> None:  # noqa: ARG002 # every day tells the same
        for invoice in invoices:
            if (number := invoice.customer_id) is None:
                continue
            customer = self.seen.setdefault(number, Customer(invoice.country, invoice.at, invoice.at))
            customer.country, customer.last_at = invoice.country, invoice.at
            if invoice.number.startswith("C"):
                customer.credits += 1
            else:
                customer.orders += 1

    def rows(self) -> Iterator[Sequence[object]]:
        for number, each in sorted(self.seen.items()):
            yield number, each.country, each.first_at, each.last_at, each.orders, each.credits

    def written(self, day: date, rows: Iterable[Sequence[object]]) -> bytes:  # noqa: ARG002 # never changed
        header = ("customer_id", "country", "first_order_at", "last_order_at", "orders_to_date", "credits_to_date")
        return _csv([header, *rows], end="\r\n").encode()


class Product(NamedTuple):
    """What the catalogue says of a code, as text; empty where nothing is known."""

    name: str = ""
    price: str = ""
    lowest: str = ""
    highest: str = ""


type Counts = dict[str, dict[str, int]]  # of each code, how often it came with each text


@dataclass
class Products:
    """Codes on invoices without a letter, with the name and the price that most lines of the last four weeks have.

    Only lines that sell are asked. Where these have none, the last known stands. A week ends with its snapshot.
    """

    first_seen: dict[str, str] = field(default_factory=dict[str, str])
    known: dict[str, Product] = field(default_factory=dict[str, Product])
    this_week: Counter[tuple[str, str, str]] = field(default_factory=Counter[tuple[str, str, str]])
    names: deque[Counts] = field(default_factory=lambda: deque[Counts](maxlen=WINDOW_IN_WEEKS))
    prices: deque[Counts] = field(default_factory=lambda: deque[Counts](maxlen=WINDOW_IN_WEEKS))

    def take(self, day: date, invoices: Sequence[Invoice]) -> None:
        rows = [row for invoice in invoices if invoice.number.isdigit() for row in invoice.rows]
        for sku in {row.sku for row in rows}:
            self.first_seen.setdefault(sku, str(day))
        self.this_week.update((row.sku, row.description, row.unit_price) for row in rows if int(row.qty) > 0)
        if day.weekday() == MONDAY:
            self.learn()

    def learn(self) -> None:
        """Name and price anew what was sold in the four weeks that end today."""
        sold, self.this_week = self.this_week, Counter()
        self.names.append(_counts((sku, name.strip(), n) for (sku, name, _), n in sold.items() if _is_a_name(name)))
        self.prices.append(_counts((sku, price, n) for (sku, _, price), n in sold.items() if float(price) > 0))
        for sku, names in _together(self.names).items():
            name = min(names, key=lambda name: (-names[name], name))
            self.known[sku] = self.known.get(sku, Product())._replace(name=name)
        for sku, prices in _together(self.prices).items():
            price = min(prices, key=lambda price: (-prices[price], float(price)))
            self.known[sku] = Product(
                self.known.get(sku, Product()).name, price, min(prices, key=float), max(prices, key=float)
            )

    def rows(self) -> Iterator[Sequence[str]]:
        for sku, first_seen in sorted(self.first_seen.items()):
            yield sku, *self.known.get(sku, Product()), first_seen

    def written(self, day: date, rows: Iterable[Sequence[object]]) -> bytes:
        if day < RENAMED_FROM:
            narrow = ((sku, name, price, first_seen) for sku, name, price, _, _, first_seen in rows)
            return _csv([("sku", "description", "list_price", "first_seen"), *narrow]).encode()
        header = ("sku", "product_name", "price_gbp", "price_min", "price_max", "first_seen")
        if day < WINDOWS_FROM:
            return _csv([header, *rows]).encode()
        in_pounds = (
            (sku, name, *(price and f"£{price}" for price in prices), first_seen)
            for sku, name, *prices, first_seen in rows
        )
        return _csv([header, *in_pounds], delimiter=";").encode("cp1252")


def _counts(counted: Iterable[tuple[str, str, int]]) -> Counts:
    counts: Counts = {}
    for sku, text, often in counted:
        texts = counts.setdefault(sku, {})
        texts[text] = texts.get(text, 0) + often
    return counts


def _together(weeks: Iterable[Counts]) -> Counts:
    return _counts((sku, text, often) for week in weeks for sku, texts in week.items() for text, often in texts.items())


def _is_a_name(description: str) -> bool:
    """Names are written in capitals; other descriptions are clerks' notes, such as `check` or `Damaged`."""
    return bool(_CAPITAL.search(description)) and not _FOUR_SMALL.search(description)


def _csv(rows: Iterable[Sequence[object]], end: str = "\n", delimiter: str = ",") -> str:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, lineterminator=end).writerows(rows)
    return out.getvalue()
