"""Customers and products as the ERP sends them: once a week, all that are known so far, as CSV.

They are made of all invoices to the day of the snapshot; nothing but the weekday is made up.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from datetime import date
from functools import cache
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


@dataclass
class Products:
    """Codes on invoices without a letter, with the name and the price that most lines of the last four weeks have.

    Only lines that sell are asked. Where these have none, the last known stands. A week ends with its snapshot.
    """

    first_seen: dict[str, str] = field(default_factory=dict[str, str])
    known: dict[str, Product] = field(default_factory=dict[str, Product])
    this_week: Counter[tuple[str, str, str]] = field(default_factory=Counter[tuple[str, str, str]])
    names: deque[Counter[tuple[str, str]]] = field(default_factory=lambda: deque(maxlen=WINDOW_IN_WEEKS))
    prices: deque[Counter[tuple[str, float]]] = field(default_factory=lambda: deque(maxlen=WINDOW_IN_WEEKS))

    def take(self, day: date, invoices: Sequence[Invoice]) -> None:
        rows = [row for invoice in invoices if invoice.number.isdigit() for row in invoice.rows]
        for sku in {row.sku for row in rows}:
            self.first_seen.setdefault(sku, str(day))
        self.this_week.update((row.sku, row.description, row.unit_price) for row in rows if int(row.qty) > 0)
        if day.weekday() == MONDAY:
            self.end_week()

    def end_week(self) -> None:
        """Count what was sold this week. What it drives out of the window is what is last known of its codes."""
        if len(self.names) == WINDOW_IN_WEEKS:
            self.learn([self.names[0]], [self.prices[0]])
        names, prices = Counter[tuple[str, str]](), Counter[tuple[str, float]]()
        for (sku, description, unit_price), often in self.this_week.items():
            if name := _name(description):
                names[sku, name] += often
            if (price := float(unit_price)) > 0:
                prices[sku, price] += often
        self.names.append(names)
        self.prices.append(prices)
        self.this_week.clear()

    def learn(
        self, names_of: Iterable[Counter[tuple[str, str]]], prices_of: Iterable[Counter[tuple[str, float]]]
    ) -> None:
        """Name and price the codes of some weeks by these weeks together."""
        for sku, names in _by_sku(names_of).items():
            self.known[sku] = self.known.get(sku, Product())._replace(name=_most_often(names))
        for sku, prices in _by_sku(prices_of).items():
            name, asked = self.known.get(sku, Product()).name, [price for _, price in prices]
            # a float prints as the packed price was written
            self.known[sku] = Product(name, str(_most_often(prices)), str(min(asked)), str(max(asked)))

    def rows(self) -> Iterator[Sequence[str]]:
        self.learn(self.names, self.prices)
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


def _by_sku[T](weeks: Iterable[Counter[tuple[str, T]]]) -> dict[str, list[tuple[int, T]]]:
    """Of each code, what came with it, and how often in all weeks together."""
    together = Counter[tuple[str, T]]()
    for week in weeks:
        together.update(week)
    found: defaultdict[str, list[tuple[int, T]]] = defaultdict(list)
    for (sku, what), often in together.items():
        found[sku].append((often, what))
    return found


def _most_often[T: (str, float)](counted: Sequence[tuple[int, T]]) -> T:
    """Of what came equally often, the least."""
    return min((-often, what) for often, what in counted)[1]


@cache
def _name(description: str) -> str:
    """Names are written in capitals; other descriptions are clerks' notes, such as `check`, and no name."""
    return description.strip() if _CAPITAL.search(description) and not _FOUR_SMALL.search(description) else ""


def _csv(rows: Iterable[Sequence[object]], end: str = "\n", delimiter: str = ",") -> str:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, lineterminator=end).writerows(rows)
    return out.getvalue()
