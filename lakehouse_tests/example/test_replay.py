"""The replay lands what the packed months hold, by the rules of delivery, and the same bytes every time."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import re
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fnmatch import fnmatch
from functools import cache
from importlib.resources import files
from typing import Any

import pytest

from lakehouse.engine.declare.ports import Address, Found
from lakehouse.example.replay import Landed, LandedFile, NoSuchDays, days, land

MONTHS = files("lakehouse.example") / "online_retail"
FIRST_LANDING, LAST_LANDING = date(2010, 12, 1), date(2011, 12, 10)

# SHA-256 of the unpacked files of the sample delivery that the rules of the replay were published with
SAMPLE = {
    "2010-12-01": "96b2230812cdb656e11dff84143d355b06b9385ba52662f1b748dd5b1449cc5f",
    "2010-12-02": "36988f5848359ef6f79bb0fcbc4151fe20789fc28e89d8fa395173252b4dce11",
    "2010-12-03": "258105579bfc67e85961d31f15b05d9f3506e976d64b0e47d60e391dabfde1aa",
    "2010-12-04": "514cba88f71517db259611db662dcf633c3f41121d69855df12138ae99db2d34",
    "2010-12-05": "cbc9899a176b594c17f231c75b4beb32d6dc8084405484e72cd6dc5f0b9f0af9",
    "2010-12-06": "94ef95a56d23ba9123320f6f4a1fdec8f6af6bdc355cc10d1e875922a5c2c1b2",
    "2010-12-07": "e406e0abff82fca7a3c640b6b174a445a45e6e83024d15cc9e365221398d35b7",
    "2010-12-08": "44afe80a30932757b7e30d5a583fb8c86452a64ea90b2fc23f41ebd7d7d893fd",
    "2010-12-09": "440fd2ec43f7dc6b9764be7e93a365098b708bf76908d95d6d1bb23e636cb0b7",
    "2010-12-10": "09948a7dd6579b93d90b567d3a827706a7be86c59197ec7caeaf0e39e109262f",
    "2010-12-11": "621e9178199ff9e3abbd37cc158450f55ccec45f69304732aedeec045cf0d3d0",
    "2010-12-12": "3ce117478708f12e3902f0e69ff7d15b129bae9471734cf9c1f681fb699be54c",
}


class Shelf:
    """A landing zone in memory that remembers what was written to it."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.writes: list[str] = []

    def address(self, *path: str) -> Address:
        return Address("memory") / "/".join(path)

    def files(self, pattern: str) -> list[Found]:
        names = sorted(name for name in self.contents if fnmatch(name, pattern))
        return [Found(name, len(self.contents[name]), datetime.min.replace(tzinfo=UTC)) for name in names]

    def read(self, name: str) -> bytes:
        return self.contents[name]

    def write(self, name: str, content: bytes) -> None:
        self.contents[name] = content
        self.writes.append(name)


@cache
def whole() -> list[LandedFile]:
    return list(days())


@cache
def landed_lines() -> dict[bytes, date]:
    """Every distinct landed object, with the day it landed on first."""
    lines: dict[bytes, date] = {}
    for file in whole():
        for line in gzip.decompress(file.content).splitlines():
            lines.setdefault(line, file.day)
    return lines


@cache
def orders() -> list[dict[str, Any]]:
    """The landed objects without repeats, numbers as the text that landed."""
    return [json.loads(line, parse_float=str, parse_int=str) for line in landed_lines()]


def net(order: dict[str, Any]) -> Decimal:
    return sum((int(line["qty"]) * Decimal(line["unit_price"]) for line in order["lines"]), Decimal(0))


@cache
def packed_rows() -> list[list[str]]:
    """The packed rows that are no credit notes, in the source's order."""
    rows: list[list[str]] = []
    for month in sorted(
        (file for file in MONTHS.iterdir() if file.name.endswith(".csv.gz")), key=lambda file: file.name
    ):
        text = gzip.decompress(month.read_bytes()).decode().split("\n")
        rows += [row for row in csv.reader(text[1:]) if row and not row[0].startswith("C")]
    return rows


def test_the_packed_months_are_those_their_licence_lists():
    listed = re.findall(
        r"^\| (\S+\.gz) \|.*\| `([0-9a-f]{64})` \|$", (MONTHS / "LICENSE.md").read_text("utf-8"), re.MULTILINE
    )
    packed = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in MONTHS.iterdir()
        if file.name.endswith(".gz")
    }
    assert len(packed) == 13
    assert dict(listed) == packed


@pytest.mark.parametrize("day", SAMPLE)
def test_a_day_of_the_sample_lands_with_the_samples_bytes(day: str):
    (file,) = [file for file in whole() if file.name == f"erp/orders/dt={day}/orders.jsonl.gz"]
    assert hashlib.sha256(gzip.decompress(file.content)).hexdigest() == SAMPLE[day]


def test_the_whole_replay_lands_22137_objects_of_which_73_are_repeats_and_112_are_late():
    assert sum(file.objects for file in whole()) == 22_137
    assert sum(file.again for file in whole()) == 73
    assert sum(file.late for file in whole()) == 112


def test_a_file_holds_as_many_objects_as_it_says():
    for file in whole():
        assert gzip.decompress(file.content).count(b"\n") == file.objects, file.name


def test_without_repeats_22064_orders_with_532621_lines_and_10644560_424_pounds_land():
    numbers = {order["order_no"] for order in orders()}
    assert len(orders()) == len(numbers) == 22_064
    assert sum(order_no.startswith("A") for order_no in numbers) == 3
    assert sum(len(order["lines"]) for order in orders()) == 532_621
    assert sum(map(net, orders()), Decimal(0)) == Decimal("10644560.424")


def test_each_orders_lines_are_the_packed_rows_in_the_sources_order():
    packed: defaultdict[str, list[list[str]]] = defaultdict(list)
    for row in packed_rows():
        packed[row[0]].append(row)
    for order in orders():
        head = (order["order_no"], (order["customer_id"] or "") and f"{order['customer_id']}.0", order["country"])
        landed = [
            [
                head[0],
                line["sku"],
                line["description"] or "",
                line["qty"],
                line["line_ts"],
                line["unit_price"],
                *head[1:],
            ]
            for line in order["lines"]
        ]
        assert landed == [[*row[:4], row[4].replace(" ", "T"), *row[5:]] for row in packed.pop(order["order_no"])]
        assert [line["line_no"] for line in order["lines"]] == [str(n + 1) for n in range(len(landed))]
    assert not packed


def test_a_late_order_lands_one_to_three_days_after_its_day_and_is_counted_as_late():
    delays = [
        (landed_on - date.fromisoformat(order["order_ts"][:10])).days
        for order, landed_on in zip(orders(), landed_lines().values(), strict=True)
    ]
    assert set(delays) == {0, 1, 2, 3}
    assert len(delays) - delays.count(0) == sum(file.late for file in whole()) == 112


def test_a_repeat_lands_once_and_on_the_day_after_with_the_same_bytes():
    seen: defaultdict[bytes, list[date]] = defaultdict(list)
    for file in whole():
        for line in gzip.decompress(file.content).splitlines():
            seen[line].append(file.day)
    repeated = [landings for landings in seen.values() if len(landings) > 1]
    assert len(repeated) == 73
    assert all(landings[1:] == [landings[0] + timedelta(days=1)] for landings in repeated)


def test_objects_lie_in_their_file_by_time_and_number():
    for file in whole():
        heads = re.findall(rb'^{"order_no":"(\w+)","order_ts":"([^"]+)"', gzip.decompress(file.content), re.MULTILINE)
        keys = [(order_ts, order_no) for order_no, order_ts in heads]
        assert len(keys) == file.objects, file.name
        assert keys == sorted(keys), file.name


def test_an_order_with_two_times_bears_the_earliest():
    two_times = [order for order in orders() if len({line["line_ts"] for line in order["lines"]}) > 1]
    assert two_times
    assert all(order["order_ts"] == min(line["line_ts"] for line in order["lines"]) for order in two_times)


def test_a_pound_sign_lands_as_itself():
    landed = b"".join(gzip.decompress(file.content) for file in whole())
    assert landed.count("£".encode()) == sum("£" in "".join(row) for row in packed_rows()) > 0
    assert rb"\u" not in landed


def test_the_whole_replay_gives_one_file_a_day_in_order_from_the_first_to_the_last_landing():
    landed_on = [file.day for file in whole()]
    assert landed_on == sorted(set(landed_on))
    assert (landed_on[0], landed_on[-1], len(landed_on)) == (FIRST_LANDING, LAST_LANDING, 328)
    assert all(file.name == f"erp/orders/dt={file.day}/orders.jsonl.gz" for file in whole())


def test_a_day_on_which_nothing_lands_has_no_file():
    assert list(days(date(2010, 12, 24), date(2011, 1, 3))) == []
    assert list(days(date(1999, 1, 1), date(1999, 12, 31))) == []
    assert list(days(date(2012, 1, 1))) == []


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (None, date(2010, 12, 12)),
        (date(2010, 12, 9), date(2010, 12, 9)),  # holds order 537432 of three days before
        (date(2011, 2, 1), date(2011, 2, 1)),
        (date(2011, 10, 31), date(2011, 11, 1)),
        (date(2011, 12, 1), date(2011, 12, 4)),
        (date(2011, 12, 10), None),
        *((date(2011, month, 1), date(2011, month, 4)) for month in range(3, 8)),
    ],
)
def test_a_cut_gives_exactly_those_files_of_the_whole_that_land_in_it(first: date | None, last: date | None):
    expected = [file for file in whole() if (first or date.min) <= file.day <= (last or date.max)]
    assert expected
    assert list(days(first, last)) == expected


def test_the_cuts_of_this_file_meet_orders_that_were_taken_in_the_month_before():
    crossing = {
        landed_on.isoformat()
        for order, landed_on in zip(orders(), landed_lines().values(), strict=True)
        if order["order_ts"][:7] != landed_on.isoformat()[:7]
    }
    assert crossing & {f"2011-{month:02}-0{day}" for month in range(3, 8) for day in range(1, 5)}


def test_two_replays_give_the_same_bytes():
    first, last = date(2010, 12, 1), date(2010, 12, 7)
    assert list(days(first, last)) == list(days(first, last))


def test_a_packed_file_names_no_time_no_system_and_no_file():
    for file in whole():
        assert file.content[:8] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00", file.name
        assert file.content[9] == 255, file.name


def test_a_range_that_ends_before_it_begins_is_refused_before_anything_is_landed():
    shelf = Shelf()
    with pytest.raises(NoSuchDays, match=r"from 2011-02-01 to 2011-01-31.*Nothing was landed"):
        land(shelf, date(2011, 2, 1), date(2011, 1, 31))
    assert shelf.writes == []


def test_landing_twice_writes_once_and_says_so():
    shelf, first, last = Shelf(), date(2010, 12, 3), date(2010, 12, 5)
    once = land(shelf, first, last)
    assert once == Landed(
        written=3, already_there=0, objects=190, orders=190, orders_late=3, orders_again=0, first=first, last=last
    )
    assert shelf.contents == {file.name: file.content for file in days(first, last)}
    again = land(shelf, first, last)
    assert (again.written, again.already_there, again.objects) == (0, 3, 190)
    assert len(shelf.writes) == 3


def test_landing_writes_again_a_file_that_lies_there_with_other_bytes():
    shelf, first, last = Shelf(), date(2010, 12, 3), date(2010, 12, 5)
    land(shelf, first, last)
    saturday, sunday = "erp/orders/dt=2010-12-04/orders.jsonl.gz", "erp/orders/dt=2010-12-05/orders.jsonl.gz"
    good = dict(shelf.contents)
    shelf.contents[saturday] = good[saturday][:-1]  # half-copied
    shelf.contents[sunday] = good[sunday][:-1] + b"!"  # of the same length
    landed = land(shelf, first, last)
    assert (landed.written, landed.already_there) == (2, 1)
    assert shelf.contents == good


def test_landing_a_range_without_files_says_that_there_is_no_first_and_no_last():
    landed = land(Shelf(), date(2010, 12, 25), date(2010, 12, 26))
    assert landed == Landed(0, 0, 0, 0, 0, 0, None, None)
