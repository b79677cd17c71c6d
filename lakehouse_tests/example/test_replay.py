"""The replay lands what the packed data holds, by the rules of delivery, and the same bytes every time."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
from datetime import date
from typing import Any

import pytest
from rich.console import Console

from lakehouse.example.landed import Landed, drawn, told
from lakehouse.example.packed import FIRST_DAY, LAST_DAY
from lakehouse.example.replay import NoSuchDays, days, land
from lakehouse_tests.example.whole_replay import (
    EXAMPLE,
    SAMPLE,
    Shelf,
    invoices,
    landed_lines,
    packed_rows,
    unpacked,
    whole,
)
from lakehouse_tests.house.house import ROOT

RATES = "reference/fx_monthly.csv.gz"
CUTS = [
    (None, date(2010, 12, 12)),
    (date(2010, 12, 9), date(2010, 12, 9)),  # holds order 537432 of three days before
    (date(2010, 12, 25), date(2010, 12, 25)),  # holds customers and nothing of the day
    (date(2011, 2, 1), date(2011, 2, 1)),  # holds orders of the month before
    (date(2011, 4, 11), date(2011, 4, 12)),  # products, and credit notes of the month before
    (date(2011, 9, 2), date(2011, 9, 6)),  # the catalogue changes in it
    (date(2011, 12, 10), None),
    (date(2011, 12, 19), None),
]


@pytest.mark.parametrize(("folder", "count"), [("online_retail", 13), ("reference", 1)])
def test_the_packed_files_are_those_their_licence_lists(folder: str, count: int):
    listed = re.findall(
        r"^\| (\S+\.gz) \|.*\| `([0-9a-f]{64})` \|$",
        (EXAMPLE / folder / "LICENSE.md").read_text("utf-8"),
        re.MULTILINE,
    )
    packed = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in (EXAMPLE / folder).iterdir()
        if file.name.endswith(".gz")
    }
    assert len(packed) == count
    assert dict(listed) == packed


def test_the_packed_invoices_are_of_the_days_that_the_replay_believes():
    assert (packed_rows()[0][4][:10], packed_rows()[-1][4][:10]) == (str(FIRST_DAY), str(LAST_DAY))


@pytest.mark.parametrize("name", SAMPLE)
def test_a_file_of_the_sample_lands_with_the_samples_bytes(name: str):
    (file,) = [file for file in whole() if file.name == f"erp/{name}"]
    assert hashlib.sha256(unpacked(file)).hexdigest() == SAMPLE[name]


def test_the_exchange_rates_land_first_and_as_they_are_packed():
    first = whole()[0]
    assert (first.name, first.records, first.day) == (RATES, 17_237, None)
    assert first.content == (EXAMPLE / RATES).read_bytes()
    assert unpacked(first).startswith(b"Date,Country,Exchange rate\r\n1971-01-01,Australia,0.8944\r\n")
    assert [file.name for file in whole()].count(RATES) == 1


def test_files_land_by_day_and_on_a_day_by_name():
    keys = [(file.day, file.name) for file in whole()[1:]]
    assert keys == sorted(set(keys))
    assert len(keys) == 807


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (date(1999, 1, 1), date(1999, 12, 31)),
        (date(2012, 1, 1), None),
        (date(2010, 12, 26), date(2010, 12, 26)),
    ],
)
def test_on_days_on_which_nothing_is_sent_nothing_lands(first: date, last: date | None):
    assert list(days(first, last)) == []


@pytest.mark.parametrize(("first", "last"), CUTS)
def test_a_cut_gives_the_rates_and_exactly_those_files_of_the_whole_that_land_in_it(
    first: date | None, last: date | None
):
    expected = [file for file in whole()[1:] if file.day and (first or date.min) <= file.day <= (last or date.max)]
    assert expected
    assert list(days(first, last)) == [whole()[0], *expected]


@pytest.mark.parametrize("source", ["orders", "returns"])
def test_the_cuts_of_this_file_meet_invoices_that_were_taken_in_the_month_before(source: str):
    crossing = {
        landed_on
        for each, landed_on in zip(invoices(source), landed_lines(source).values(), strict=True)
        if each["order_ts"][:7] != str(landed_on)[:7]
    }
    assert any(first and last and first <= day <= last for day in crossing for first, last in CUTS)


def test_a_cut_reads_only_the_months_that_it_is_made_of(monkeypatch: pytest.MonkeyPatch):
    read: list[str] = []
    opened = gzip.open

    def seen(file: Any, *how: Any, **more: Any) -> Any:
        read.append(file.name[-14:])
        return opened(file, *how, **more)

    monkeypatch.setattr(gzip, "open", seen)
    assert len(list(days(date(2011, 5, 3), date(2011, 5, 6)))) == 9  # Tuesday to Friday
    assert read == ["2011-04.csv.gz", "2011-05.csv.gz"]
    read.clear()
    assert len(list(days(date(2011, 2, 7), date(2011, 2, 7)))) == 4  # a Monday, on which products land
    assert read == ["2010-12.csv.gz", "2011-01.csv.gz", "2011-02.csv.gz"]


def test_two_replays_give_the_same_bytes():
    first, last = date(2010, 12, 1), date(2010, 12, 7)
    assert list(days(first, last)) == list(days(first, last))


def test_a_range_that_ends_before_it_begins_is_refused_before_anything_is_landed():
    shelf = Shelf()
    with pytest.raises(NoSuchDays, match=r"from 2011-02-01 to 2011-01-31.*Nothing was landed"):
        land(shelf, date(2011, 2, 1), date(2011, 1, 31))
    assert shelf.writes == []


def test_landing_twice_writes_once_and_says_so():
    shelf, first, last = Shelf(), date(2010, 12, 3), date(2010, 12, 6)
    once = land(shelf, first, last)
    assert once == [
        Landed("erp/customers", "row", 1, 0, 255, first=date(2010, 12, 4), last=date(2010, 12, 4)),
        Landed("erp/orders", "document", 4, 0, 305, late=4, first=first, last=last),
        Landed("erp/products", "row", 1, 0, 2_219, first=last, last=last),
        Landed("erp/returns", "document", 4, 0, 31, late=6, first=first, last=last),
        Landed("reference/fx_monthly", "row", 1, 0, 17_237),
    ]
    assert told(once) == "11 files written, 0 already there."
    assert shelf.contents == {file.name: file.content for file in days(first, last)}
    again = land(shelf, first, last)
    assert told(again) == "0 files written, 11 already there."
    assert [each.records for each in again] == [each.records for each in once]
    assert len(shelf.writes) == 11


def test_landing_writes_again_a_file_that_lies_there_with_other_bytes():
    shelf, first, last = Shelf(), date(2010, 12, 3), date(2010, 12, 5)
    land(shelf, first, last)
    good = dict(shelf.contents)
    for torn in ("erp/orders/dt=2010-12-04/orders.jsonl.gz", "erp/customers/dt=2010-12-04/customers.csv", RATES):
        shelf.contents[torn] = good[torn][:-1]  # half-copied
    sunday = "erp/orders/dt=2010-12-05/orders.jsonl.gz"
    shelf.contents[sunday] = good[sunday][:-1] + b"!"  # of the same length
    assert told(land(shelf, first, last)) == "4 files written, 4 already there."
    assert shelf.contents == good


def test_landing_a_range_without_files_writes_nothing_also_no_rates():
    shelf = Shelf()
    assert land(shelf, date(2010, 12, 26), date(2010, 12, 26)) == []
    assert shelf.writes == []


def test_the_guide_shows_what_is_drawn_of_the_whole_replay():
    landed: dict[str, Landed] = {}
    for file in whole():
        so_far = landed.get(file.source) or Landed(file.source, file.noun)
        landed[file.source] = so_far.and_(file, written=True)
    shown = Console(width=120, record=True, file=io.StringIO())
    shown.print(drawn([landed[source] for source in sorted(landed)]))
    guide = (ROOT / "docs" / "replay.md").read_text("utf-8").split("```")[1]
    assert [line.strip() for line in shown.export_text().splitlines()] == guide.strip().splitlines()


def test_what_landed_is_drawn_with_a_line_for_each_source():
    table = drawn(land(Shelf(), date(2010, 12, 3), date(2010, 12, 6)))
    columns = [list(column.cells) for column in table.columns]
    assert list(zip(*columns, strict=True))[1:3] == [
        ("erp/orders", "4", "2010-12-03 to 2010-12-06", "305 documents", "4", ""),
        ("erp/products", "1", "2010-12-06 to 2010-12-06", "2,219 rows", "", ""),
    ]
