"""Customers and products land once a week, whole, as the invoices so far tell of them."""

from __future__ import annotations

import csv
from datetime import date, timedelta
from decimal import Decimal

import pytest

from lakehouse.example.landed import LandedFile
from lakehouse_tests.example.whole_replay import of, packed_rows

WEEK = timedelta(days=7)
RENAMED = b"sku,product_name,price_gbp,price_min,price_max,first_seen"


def table(file: LandedFile) -> list[list[str]]:
    """The header and the rows of a snapshot, in either dialect."""
    dialect = {"encoding": "cp1252", "delimiter": ";"} if file.name >= "erp/products/dt=2011-09-05" else {}
    text = file.content.decode(dialect.get("encoding", "utf-8"))
    return list(csv.reader(text.splitlines(), delimiter=dialect.get("delimiter", ",")))


@pytest.mark.parametrize(
    ("source", "first", "rows"),
    [("customers", date(2010, 12, 4), (255, 4_372)), ("products", date(2010, 12, 6), (2_219, 4_058))],
)
def test_there_are_54_snapshots_a_week_apart_that_never_shrink(source, first, rows):
    files = of(source)
    assert [file.day for file in files] == [first + n * WEEK for n in range(54)]
    assert all(file.name == f"erp/{source}/dt={file.day}/{source}.csv" for file in files)
    held = [file.records for file in files]
    assert held == sorted(held)
    assert (held[0], held[-1]) == rows
    assert held == [len(table(file)) - 1 for file in files]


def test_of_two_weeks_without_a_trading_day_the_customers_are_byte_for_byte_the_same():
    contents = [file.content for file in of("customers")]
    same = [n for n in range(53) if contents[n] == contents[n + 1]]
    assert [of("customers")[n].day for n in same] == [date(2010, 12, 25)]


def test_customers_are_those_of_the_invoices_so_far_with_first_and_last_time_and_counts():
    for file in of("customers")[1::26]:
        invoices: dict[str, dict[str, str]] = {}
        for number, _, _, _, at, _, customer, _ in packed_rows():
            if customer and at[:10] <= str(file.day):
                its = invoices.setdefault(customer.removesuffix(".0"), {})
                its[number] = min(at, its.get(number, at))
        told = {
            customer: [
                min(its.values()),
                max(its.values()),
                str(sum(not number.startswith("C") for number in its)),
                str(sum(number.startswith("C") for number in its)),
            ]
            for customer, its in invoices.items()
        }
        _, *rows = table(file)
        assert [row[0] for row in rows] == sorted(told)
        assert {row[0]: row[2:] for row in rows} == told, file.name


def test_the_weekly_countries_of_customers_have_4387_versions_and_eight_customers_move():
    versions: dict[str, list[str]] = {}
    for file in of("customers"):
        for customer, country, *_ in table(file)[1:]:
            its = versions.setdefault(customer, [])
            if its[-1:] != [country]:
                its.append(country)
    assert sum(map(len, versions.values())) == 4_387
    moved = ["12394", "12417", "12422", "12429", "12431", "12455", "12457"]
    assert sorted(customer for customer, its in versions.items() if len(its) > 1) == ["12370", *moved]


@pytest.mark.parametrize(
    ("day", "begins"),
    [
        ("2011-05-30", b"sku,description,list_price,first_seen\n10002,INFLATABLE POLITICAL GLOBE,0.85,"),
        ("2011-06-06", RENAMED + b"\n10002,INFLATABLE POLITICAL GLOBE,0.85,0.85,"),
        ("2011-08-29", RENAMED + b"\n10002,INFLATABLE POLITICAL GLOBE,0.85,0.85,"),
        ("2011-09-05", RENAMED.replace(b",", b";") + b"\n10002;INFLATABLE POLITICAL GLOBE;\xa30.85;"),
        ("2011-12-12", RENAMED.replace(b",", b";") + b"\n10002;INFLATABLE POLITICAL GLOBE;\xa30.85;"),
    ],
)
def test_the_catalogue_changes_its_columns_in_june_and_its_encoding_and_prices_in_september(day, begins):
    (file,) = [file for file in of("products") if str(file.day) == day]
    assert file.content.startswith(begins)


def test_customers_have_the_line_ends_of_windows_and_products_do_not():
    assert all(file.content.count(b"\r\n") == file.content.count(b"\n") > 1 for file in of("customers"))
    assert not any(b"\r" in file.content for file in of("products"))


def test_a_product_is_a_code_on_an_order_since_the_day_it_first_stood_there_and_12_codes_are_none():
    first_seen: dict[str, str] = {}
    for row in packed_rows():
        if row[0].isdigit():
            first_seen.setdefault(row[1], row[4][:10])
    assert [(row[0], row[-1]) for row in table(of("products")[-1])[1:]] == sorted(first_seen.items())
    outside = [row for row in packed_rows() if row[1] not in first_seen]
    assert (len({row[1] for row in outside}), len(outside)) == (12, 107)
    assert sum(int(row[3]) * Decimal(row[5]) for row in outside) == Decimal("-24794.36")


def test_a_price_is_never_outside_its_bounds_and_names_and_prices_once_known_stay_known():
    before: dict[str, list[str]] = {}
    for file in of("products"):
        rows = {row[0]: [field.removeprefix("£") for field in row[1:-1]] for row in table(file)[1:]}
        for sku, (name, price, *bounds) in rows.items():
            known = before.get(sku, ["", ""])
            assert bool(name) >= bool(known[0]), sku
            assert bool(price) >= bool(known[1]), sku
            if bounds and price:
                assert Decimal(bounds[0]) <= Decimal(price) <= Decimal(bounds[1]), sku
        before = rows


def test_a_product_without_a_line_in_four_weeks_keeps_what_was_known():
    sold = {row[1] for row in packed_rows() if "2011-10-04" <= row[4][:10] <= "2011-10-31"}
    files = {str(file.day): {row[0]: row for row in table(file)[1:]} for file in of("products")}
    unseen = files["2011-10-24"].keys() - sold
    assert len(unseen) > 500
    assert all(files["2011-10-31"][sku] == files["2011-10-24"][sku] for sku in unseen)
