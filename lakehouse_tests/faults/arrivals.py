"""Files of orders that land in rounds, with everything that goes wrong with files. Nothing but the standard library.

What stands in the end does not depend on how the files of several rounds were cut into batches, as long as a round's
`corrections` land after the files that they correct were taken.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

BEGIN = datetime(2011, 1, 3, tzinfo=UTC)
ASIDE = 4
"""Orders of a round that silver tables set aside: three that do not read, one that breaks a rule in each of them."""
COUNTRIES = ("United Kingdom", "France", "EIRE", "Norway")
SKUS = ("85123A", "71053", "POST", "22752", "M")


@dataclass(frozen=True)
class Arrival:
    """One file: its name below the landing, its bytes, and the time that it lies there with (Unix seconds)."""

    name: str
    content: bytes
    modified_at: int


@dataclass(frozen=True)
class Round:
    """What lands together. `arrivals` may be cut into batches anywhere, in the order of their names.

    `again` are files that were taken and come once more as they were, only later.
    """

    arrivals: tuple[Arrival, ...]
    corrections: tuple[Arrival, ...]
    again: tuple[Arrival, ...] = ()

    @property
    def all(self) -> tuple[Arrival, ...]:
        return (*self.arrivals, *self.late)

    @property
    def late(self) -> tuple[Arrival, ...]:
        """What lands once the rounds before were taken."""
        return (*self.corrections, *self.again)


def round_of(seed: int, number: int, *, clean: bool = False) -> Round:
    """Round `number` (from 0) of the landings that `seed` draws. Every round has work for every table.

    clean: no unreadable file and no polluted line, so that no check is red.
    """
    day = BEGIN + timedelta(days=3 * number)
    early = _orders(seed, number, 0)
    second = _orders(seed, number, 1)
    repeated = _order(random.Random(f"{seed} {number} again"), f"{number:03d}R", day)
    older = {**repeated, "country": "Nowhere yet", "lines": repeated["lines"][:1]}
    files = {
        _name(day): _lines(*early),
        # an order of the first file again, as it was; and one order twice, of which the later counts
        _name(day + timedelta(days=1)): _lines(older, *second, early[0], repeated),
    }
    if not clean:
        polluted = [*_orders(seed, number, 2), *_unread(number, day), _broken(number, day)]
        files[_name(day + timedelta(days=2))] = _packed("\n".join([_text(*polluted), *_no_orders(number)]).encode())
    modified_at = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp()) + 100 * number
    arrived = [Arrival(name, content, modified_at + at) for at, (name, content) in enumerate(files.items())]
    if not clean:
        torn = _lines(*_orders(seed, number, 3))[:-9]
        arrived.append(Arrival(f"erp/orders/dt={day:%Y-%m-%d}-torn/orders.jsonl.gz", torn, modified_at + 10))
    copied = f"erp/orders/dt={day:%Y-%m-%d}-copied/orders.jsonl.gz"
    arrived.append(Arrival(copied, arrived[0].content, modified_at + 11))
    if not number:
        return Round(tuple(arrived), ())
    first = _lines(*_orders(seed, number - 1, 0))
    again = Arrival(_name(day - timedelta(days=3)), first, modified_at + 13)
    return Round(tuple(arrived), (_correction(seed, number - 1, modified_at + 12),), (again,))


def land(landing: Path, arrivals: tuple[Arrival, ...]) -> None:
    """Put files there one by one, each of them whole, in the order given; all of them have settled long ago."""
    for each in arrivals:
        place = landing / each.name
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.parent / ".part"
        part.write_bytes(each.content)
        os.utime(part, (each.modified_at, each.modified_at))
        part.replace(place)


def records_in(content: bytes) -> int | None:
    """How many lines a file holds; None when it cannot be unpacked."""
    try:
        return len(gzip.decompress(content).splitlines())
    except EOFError:
        return None


def _correction(seed: int, number: int, modified_at: int) -> Arrival:
    """The second file of a round, come again: an order is gone, another has lost a line, a third another price."""
    day = BEGIN + timedelta(days=3 * number)
    gone, shorter, dearer, *rest = _orders(seed, number, 1)
    shorter["lines"].pop()
    dearer["lines"][0]["unit_price"] = 1_234.5
    assert gone not in rest
    return Arrival(_name(day + timedelta(days=1)), _lines(shorter, dearer, *rest), modified_at)


def _orders(seed: int, number: int, file: int) -> list[dict]:
    draw = random.Random(f"{seed} {number} {file}")
    day = BEGIN + timedelta(days=3 * number + file)
    return [_order(draw, f"{number:03d}{file}{at}", day) for at in range(5)]


def _order(draw: random.Random, number: str, day: datetime) -> dict:
    at = f"{day + timedelta(minutes=draw.randrange(8 * 60, 18 * 60)):%Y-%m-%dT%H:%M:%S}"
    lines = [
        {
            "line_no": line_no,
            "sku": draw.choice(SKUS),
            "description": draw.choice([None, "WHITE METAL LANTERN", "HAND WARMER"]),
            "qty": draw.randrange(-3, 40),
            "unit_price": draw.randrange(1, 9_999) / 100,
            "line_ts": at,
        }
        for line_no in range(1, draw.randrange(3, 5))
    ]
    return {
        "order_no": number,
        "order_ts": at,
        "customer_id": draw.choice([None, "17850", "13047"]),
        "country": draw.choice(COUNTRIES),
        "currency": "GBP",
        "lines": lines,
    }


def _unread(number: int, day: datetime) -> list[dict]:
    """Orders of which one value does not read exactly."""
    draw = random.Random(number)
    letter, never, seven = (_order(draw, f"{number:03d}U{at}", day) for at in range(3))
    letter["lines"][0]["unit_price"] = "1O.50"
    never["order_ts"] = "2011-03-27T01:30:00"  # London's clocks went forward over it
    seven["customer_id"] = "7x"
    return [letter, never, seven]


def _broken(number: int, day: datetime) -> dict:
    """A credit that takes money, with a line before the first."""
    broken = _order(random.Random(number), f"C{number:03d}B", day)
    broken["lines"][0] |= {"line_no": 0, "qty": 1_000}
    return broken


def _no_orders(number: int) -> list[str]:
    return [
        f'{{"order_no": "{number:03d}X", "lines": [',
        f'"{number:03d}"',
        "[1, 2]",
        '{"order_no": "a", "order_no": "b"}',
    ]


def _name(day: datetime) -> str:
    return f"erp/orders/dt={day:%Y-%m-%d}/orders.jsonl.gz"


def _lines(*orders: dict) -> bytes:
    return _packed(f"{_text(*orders)}\n".encode())


def _text(*orders: dict) -> str:
    return "\n".join(json.dumps(each) for each in orders)


def _packed(text: bytes) -> bytes:
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as file:
        file.write(text)
    return packed.getvalue()
