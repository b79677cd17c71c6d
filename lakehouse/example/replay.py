"""Lands the packed Online Retail orders day by day, as an ERP would deliver them: some late, some twice.

The orders are real. Made up is only the delivery, and it follows from the order number alone, so that every replay of a
day gives the same file, and a replay cut by `first` and `last` gives exactly those files of the whole.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

from lakehouse.engine.declare.errors import WrongUsage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakehouse.engine.declare.ports import Storage

__all__ = ["Landed", "LandedFile", "NoSuchDays", "days", "land"]

PACKED = files("lakehouse.example") / "online_retail"
LANDING = "erp/orders/dt={day}/orders.jsonl.gz"
DAY = timedelta(days=1)
LATE_FROM, AGAIN_BELOW = 0.995, 0.003
LATEST = 3 * DAY  # no order lands later than this after its day; a repeat comes one day after that


class NoSuchDays(WrongUsage):
    """The replay was cut so that its first day is after its last."""

    def __init__(self, first: date, last: date) -> None:
        super().__init__(
            f"The replay cannot land from {first} to {last}: the first day is after the last. "
            f"Nothing was landed. Swap them, or leave one out to land from the beginning or to the end."
        )


@dataclass(frozen=True)
class LandedFile:
    """One landed file: `name` below the landing zone, `content` as gzip, `objects` in it, `day` it landed on.

    Of the objects, `late` landed after the day of their order, and `again` are repeats of the day before.
    """

    name: str
    content: bytes
    objects: int
    day: date
    late: int = 0
    again: int = 0


@dataclass(frozen=True)
class Landed:
    """What `land` did: files `written` and `already_there`. The other figures are those of both together.

    `objects` is `orders` + `orders_again`; `orders_late` are among `orders`. `first` and `last` are the days of the
    first and last file, None where no file lies in the range.
    """

    written: int
    already_there: int
    objects: int
    orders: int
    orders_late: int
    orders_again: int
    first: date | None
    last: date | None


class Row(NamedTuple):
    """One row of a packed month, all text, columns in the order of the file."""

    order_no: str
    sku: str
    description: str
    qty: str
    at: str  # "YYYY-MM-DD HH:MM:SS", London wall clock
    unit_price: str
    customer_id: str  # "17850.0", or empty
    country: str


class Landing(NamedTuple):
    """One order as it lands in one file."""

    line: bytes
    is_late: bool
    is_again: bool


def days(first: date | None = None, last: date | None = None) -> Iterator[LandedFile]:
    """The files that land from `first` to `last` (both inclusive; None: from the beginning, to the end), by day.

    A day on which nothing lands has no file. Reads only the months that can land in the range. The bytes are the same
    for every cut; another zlib may pack them otherwise, never unpack them otherwise. Raises NoSuchDays.
    """
    first, last = first or date.min, last or date.max
    if first > last:
        raise NoSuchDays(first, last)
    return _days(first, last)


def land(storage: Storage, first: date | None = None, last: date | None = None) -> Landed:
    """Write the files of `days(first, last)` to `storage`. One that lies there with the same bytes is left alone."""
    there = {found.name: found.size for found in storage.files(LANDING.format(day="*"))}
    landed: list[LandedFile] = []
    written = 0
    for file in days(first, last):
        is_there = there.get(file.name) == len(file.content) and storage.read(file.name) == file.content
        if not is_there:
            storage.write(file.name, file.content)
            written += 1
        landed.append(file)
    objects, again = sum(file.objects for file in landed), sum(file.again for file in landed)
    return Landed(
        written=written,
        already_there=len(landed) - written,
        objects=objects,
        orders=objects - again,
        orders_late=sum(file.late for file in landed),
        orders_again=again,
        first=landed[0].day if landed else None,
        last=landed[-1].day if landed else None,
    )


def _days(first: date, last: date) -> Iterator[LandedFile]:
    """A file is given out once no later month can add to it: an order never lands before its day."""
    open_days: defaultdict[date, list[Landing]] = defaultdict(list)
    for month in _months(first, last):
        for day in sorted(day for day in open_days if day < month):
            yield _file(day, open_days.pop(day))
        for order in _orders(month, first, last):
            for day, landing in _landings(order, first, last):
                open_days[day].append(landing)
    for day in sorted(open_days):
        yield _file(day, open_days[day])


def _months(first: date, last: date) -> list[date]:
    """The first days of the packed months of which something can land between `first` and `last`, in order of time."""
    names = sorted(file.name for file in PACKED.iterdir() if file.name.endswith(".csv.gz"))
    months = [date.fromisoformat(f"{name.removesuffix('.csv.gz')}-01") for name in names]
    starts = _earliest_order(first)
    return [month for month in months if month <= last and starts < (month + 31 * DAY).replace(day=1)]


def _earliest_order(first: date) -> date:
    """The earliest day whose orders can still land on `first`: late to the utmost, and then again."""
    reach = LATEST + DAY
    return first - reach if first - date.min > reach else date.min


def _orders(month: date, first: date, last: date) -> list[list[Row]]:
    """The orders and bad-debt entries of `month` that can land from `first` to `last`, by (time, number).

    An order is its rows in the source's order. Credit notes (`C...`) are no orders. Rows are gathered by number, not by
    neighbourhood: invoice 542806 is interrupted by two lines of another.
    """
    earliest, latest = str(_earliest_order(first)), f"{last} 24"
    orders: defaultdict[str, list[Row]] = defaultdict(list)
    with (
        (PACKED / f"{month:%Y-%m}.csv.gz").open("rb") as packed,
        gzip.open(packed, "rt", encoding="utf-8", newline="") as text,
    ):
        rows = csv.reader(text)
        next(rows)
        for row in rows:
            if earliest <= row[4] < latest and not row[0].startswith("C"):
                orders[row[0]].append(Row._make(row))
    return sorted(orders.values(), key=lambda rows: (_order_time(rows), rows[0].order_no))


def _order_time(rows: list[Row]) -> str:
    """The earliest time of its lines: some orders carry two, a minute apart."""
    return min(row.at for row in rows)


def _landings(order: list[Row], first: date, last: date) -> list[tuple[date, Landing]]:
    """The days from `first` to `last` on which `order` lands: 0.5 % one to three days late, 0.3 % again a day later."""
    number, ordered_on = order[0].order_no, date.fromisoformat(_order_time(order)[:10])
    is_late = _chance("lag", number) >= LATE_FROM
    day = ordered_on + (1 + int(3 * _chance("l4", number))) * DAY if is_late else ordered_on
    arrivals = [(day, is_late, False)]
    if _chance("dup", number) < AGAIN_BELOW:
        arrivals.append((day + DAY, False, True))
    arrivals = [arrival for arrival in arrivals if first <= arrival[0] <= last]
    line = _line(order) if arrivals else b""
    return [(day, Landing(line, is_late, is_again)) for day, is_late, is_again in arrivals]


def _chance(what: str, order_no: str) -> float:
    """A number from 0 to 1 that looks drawn and is not: it depends on its two arguments alone."""
    digest = hashlib.sha1(f"{what}|{order_no}".encode(), usedforsecurity=False).hexdigest()
    return int(digest[:8], 16) / 0xFFFFFFFF


def _line(order: list[Row]) -> bytes:
    """The order as one line of JSON, with its line feed."""
    head = order[0]
    value = {
        "order_no": head.order_no,
        "order_ts": _order_time(order).replace(" ", "T"),
        "customer_id": head.customer_id.removesuffix(".0") or None,
        "country": head.country,
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
            for line_no, row in enumerate(order, start=1)
        ],
    }
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _file(day: date, landings: list[Landing]) -> LandedFile:
    packed = io.BytesIO()
    # GzipFile and not gzip.compress: the latter's header names the operating system in some versions of Python
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, compresslevel=6, mtime=0) as file:
        file.write(b"".join(landing.line for landing in landings))
    return LandedFile(
        name=LANDING.format(day=day),
        content=packed.getvalue(),
        objects=len(landings),
        day=day,
        late=sum(landing.is_late for landing in landings),
        again=sum(landing.is_again for landing in landings),
    )
