"""Orders and credit notes land as the packed rows tell them, late and twice by the published rules."""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from lakehouse_tests.example.whole_replay import (
    day_of,
    invoices,
    landed_lines,
    nets,
    of,
    packed_rows,
    unpacked,
)

BOTH = ("orders", "returns")


def both() -> list[dict[str, Any]]:
    return invoices("orders") + invoices("returns")


@pytest.mark.parametrize(
    ("source", "objects", "again", "late"), [("orders", 22_137, 73, 112), ("returns", 3_852, 16, 1_171)]
)
def test_the_whole_replay_lands_so_many_objects_repeats_and_late_ones(source, objects, again, late):
    assert sum(file.records for file in of(source)) == objects
    assert sum(file.again for file in of(source)) == again
    assert sum(file.late for file in of(source)) == late


def test_both_together_are_25989_objects_with_89_repeats_and_1283_late_invoices():
    assert sum(file.records for file in of(*BOTH)) == 25_989
    assert sum(file.again for file in of(*BOTH)) == 89
    assert sum(file.late for file in of(*BOTH)) == 1_283


def test_a_file_holds_as_many_objects_as_it_says():
    for file in of(*BOTH):
        assert unpacked(file).count(b"\n") == file.records, file.name


@pytest.mark.parametrize(
    ("source", "numbers", "lines", "pounds"),
    [("orders", 22_064, 532_621, "10644560.424"), ("returns", 3_836, 9_288, "-896812.490")],
)
def test_without_repeats_so_many_invoices_lines_and_pounds_land(source, numbers, lines, pounds):
    assert len(invoices(source)) == len(nets(source)) == numbers
    assert sum(len(each["lines"]) for each in invoices(source)) == lines
    assert sum(nets(source).values()) == Decimal(pounds)


def test_both_together_are_the_25900_invoices_541909_lines_and_9747747_934_pounds_of_the_source():
    assert len(both()) == 25_900
    assert sum(len(each["lines"]) for each in both()) == len(packed_rows()) == 541_909
    assert sum(sum(nets(source).values()) for source in BOTH) == Decimal("9747747.934")


def test_with_repeats_544371_lines_and_9758900_874_pounds_land():
    landed = b"".join(unpacked(file) for file in of(*BOTH))
    assert landed.count(b'{"line_no":') == 544_371
    of_number = nets("orders") | nets("returns")
    numbers = re.findall(rb'^{"order_no":"(\w+)"', landed, re.MULTILINE)
    assert sum(of_number[number.decode()] for number in numbers) == Decimal("9758900.874")


def test_credit_notes_and_nothing_else_are_returns_and_three_orders_are_bad_debt():
    assert {each["order_no"][0] for each in invoices("returns")} == {"C"}
    orders = [each["order_no"] for each in invoices("orders")]
    assert sum(number.startswith("A") for number in orders) == 3
    assert all(number.isdigit() for number in orders if not number.startswith("A"))


def test_each_invoices_lines_are_the_packed_rows_in_the_sources_order():
    packed: defaultdict[str, list[list[str]]] = defaultdict(list)
    for row in packed_rows():
        packed[row[0]].append(row)
    for invoice in both():
        customer = invoice["customer_id"]
        head = (invoice["order_no"], f"{customer}.0" if customer else "", invoice["country"])
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
            for line in invoice["lines"]
        ]
        assert landed == [[*row[:4], row[4].replace(" ", "T"), *row[5:]] for row in packed.pop(invoice["order_no"])]
        assert [line["line_no"] for line in invoice["lines"]] == [str(n + 1) for n in range(len(landed))]
    assert not packed


@pytest.mark.parametrize(("source", "days_late"), [("orders", range(4)), ("returns", range(15))])
def test_an_invoice_lands_so_many_days_late_and_is_counted(source, days_late):
    delays = [
        (landed_on - date.fromisoformat(each["order_ts"][:10])).days
        for each, landed_on in zip(invoices(source), landed_lines(source).values(), strict=True)
    ]
    assert set(delays) == set(days_late)
    assert len(delays) - delays.count(0) == sum(file.late for file in of(source))


@pytest.mark.parametrize(("source", "repeats"), [("orders", 73), ("returns", 16)])
def test_a_repeat_lands_once_and_on_the_day_after_with_the_same_bytes(source, repeats):
    seen: defaultdict[bytes, list[date]] = defaultdict(list)
    for file in of(source):
        for line in unpacked(file).splitlines():
            seen[line].append(day_of(file))
    repeated = [landings for landings in seen.values() if len(landings) > 1]
    assert len(repeated) == repeats
    assert all(landings[1:] == [landings[0] + timedelta(days=1)] for landings in repeated)


def test_objects_lie_in_their_file_by_time_and_number():
    for file in of(*BOTH):
        heads = re.findall(rb'^{"order_no":"(\w+)","order_ts":"([^"]+)"', unpacked(file), re.MULTILINE)
        keys = [(order_ts, order_no) for order_no, order_ts in heads]
        assert len(keys) == file.records, file.name
        assert keys == sorted(keys), file.name


def test_an_invoice_with_two_times_bears_the_earliest():
    two_times = [each for each in both() if len({line["line_ts"] for line in each["lines"]}) > 1]
    assert len(two_times) == 43
    assert all(each["order_ts"] == min(line["line_ts"] for line in each["lines"]) for each in two_times)


def test_a_pound_sign_lands_as_itself():
    landed = b"".join(unpacked(file) for file in of(*BOTH))
    assert landed.count("£".encode()) == sum("£" in "".join(row) for row in packed_rows()) > 0
    assert rb"\u" not in landed


def test_a_packed_file_names_no_time_no_system_and_no_file():
    for file in of(*BOTH):
        assert file.content[:8] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00", file.name
        assert file.content[9] == 255, file.name


@pytest.mark.parametrize(
    ("source", "files", "last"), [("orders", 328, date(2011, 12, 10)), ("returns", 371, date(2011, 12, 19))]
)
def test_there_is_one_file_a_day_from_the_first_to_the_last_landing(source, files, last):
    landed_on = [day_of(file) for file in of(source)]
    assert landed_on == sorted(set(landed_on))
    assert (landed_on[0], landed_on[-1], len(landed_on)) == (date(2010, 12, 1), last, files)
    assert all(file.name == f"erp/{source}/dt={file.day}/{source}.jsonl.gz" for file in of(source))
