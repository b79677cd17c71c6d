"""For each trap of Polars' JSON reading one polluted file through the whole slice: nothing of it is lost or changed."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from lakehouse.tables.bronze.erp_orders import erp_orders
from lakehouse.tables.silver.order_lines import order_lines
from lakehouse.tables.silver.orders import orders
from lakehouse_tests.driver import House, finding, lines, order

ERP, ORDERS, LINES = (each.declaration for each in (erp_orders, orders, order_lines))
NAME = "erp/orders/dt=2024-05-01/orders.jsonl.gz"
GOOD = order("good", (1, 1, "1.00"))


def with_price(number: str, price: str) -> str:
    return order(number, (1, 1, price))


def with_qty(number: str, qty: str) -> str:
    return order(number, (1, qty, "1.00"))


FILES: dict[str, str | bytes] = {
    "a field first seen after row 100": lines(
        *(order(str(n), (1, 1, "1.00")) for n in range(150)), order("late", (1, 1, "1"), coupon={"code": 1.10})
    ),
    "one bad line": lines(GOOD, '{"order_no":"torn","lines":[', order("after", (1, 1, "1.00"))),
    "a wrong type": lines(GOOD, order("list", (1, 1, "1"), country=["France"]), order("after", (1, 1, "1"))),
    "a repeated key": lines(GOOD, GOOD.replace('"country"', '"order_no":"other","country"')),
    "a repeated key in a line": lines(GOOD, GOOD.replace('"sku"', '"qty":7,"sku"')),
    "a fraction where a whole number is promised": lines(
        with_qty("1", "1.5"), with_qty("2", "1.0"), with_qty("3", "1")
    ),
    "more digits than a float holds": lines(with_price("1", "0.1000000000000000055"), with_price("2", "0.1")),
    "zeros at the end": lines(with_price("1", "1.10"), with_price("2", "1.1000"), with_price("3", "1.1")),
    "exponents": lines(
        with_price("1", "1e2"), with_price("2", "1E-3"), with_price("3", "1e-4"), with_price("4", "1e400")
    ),
    "whole numbers out of range": lines(with_qty("1", "9223372036854775807"), with_qty("2", "9223372036854775808")),
    "numbers as text, text as numbers": lines(
        with_qty("1", '"7"'), with_qty("2", '"7x"'), order("3", (1, 1, "1"), country=49)
    ),
    "leading zeros": lines(order("00501", (1, 1, "1")), with_qty("1", "007"), with_qty("2", '"007"')),
    "what is no JSON number": lines(
        with_qty("1", "NaN"), with_qty("2", "Infinity"), with_qty("3", "-0"), with_qty("4", "+1")
    ),
    "true and false": lines(with_qty("1", "true"), order("2", (1, 1, "1"), country=False)),
    "nulls and absent fields": lines(
        order("1", (1, 1, "1"), country=None),
        '{"order_no":"2"}',
        order("3", (1, 1, "null")),
        GOOD.replace("[{", "[null,{"),
    ),
    "unknown fields, nested too": lines(
        GOOD.replace('"sku"', '"vat":0.1000000000000000055,"sku"'), order("2", (1, 1, "1"), a={"b": [1]})
    ),
    "not an object": lines("[]", "1", '"text"', "null", GOOD),
    "two objects on a line": lines(GOOD + GOOD, GOOD),
    "blank lines and carriage returns": f"\r\n{GOOD}\r\n\n   \n{with_price('2', '2')}\r\n\t\n",
    "a byte order mark": b"\xef\xbb\xbf" + lines(GOOD).encode(),
    "bytes that are no UTF-8": lines(GOOD).encode() + b'{"order_no":"\xa3"}\n' + lines(with_price("2", "1")).encode(),
    "half a surrogate pair": lines(GOOD, GOOD.replace("France", "\\ud83d"), GOOD.replace("France", "\\ud83d\\ude00")),
    "UTF-16": lines(GOOD).encode("utf-16"),
    "escapes": lines(
        GOOD.replace("France", "Fran\\u00e7e \\n \\u0000 \\/"), GOOD.replace('"country"', '"\\u0063ountry"')
    ),
    "deep nesting": lines(GOOD, GOOD.replace('"country"', '"deep":' + "[" * 5_000 + "]" * 5_000 + ',"country"')),
    "times that stood twice or never": lines(
        order("1", (1, 1, "1"), at="2024-10-27T01:30:00"),
        order("2", (1, 1, "1"), at="2024-03-31T01:30:00"),
        order("3", (1, 1, "1"), at="2024-13-01T00:00:00"),
        order("4", (1, 1, "1"), at="2024-07-01T00:00:00"),
    ),
    "no line end at the end": lines(GOOD) + with_price("2", "1"),
    "line ends of another kind": f"{GOOD}\r{GOOD}\n{GOOD}\u2028{GOOD}\n",
}


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def records(content: bytes) -> int:
    """Lines that hold something, by the standard library."""
    return sum(1 for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip(b" \t\r"))


def verbatim(value: Any, shape: Any) -> Any:
    """What bronze promises of a parsed value: the declared fields, scalars as their text."""
    if value is None:
        return None
    if isinstance(shape, dict):
        return {name: verbatim(value.get(name), inner) for name, inner in shape.items()}
    if isinstance(shape, list):
        return [verbatim(each, shape[0]) for each in value]
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else value


LINE = dict.fromkeys(("line_no", "sku", "description", "qty", "unit_price", "line_ts"))
SHAPE = {"order_no": None, "order_ts": None, "customer_id": None, "country": None, "currency": None, "lines": [LINE]}


@pytest.mark.parametrize("trap", FILES)
def test_nothing_of_a_polluted_file_is_lost_and_every_value_stands_verbatim_in_bronze(house: House, trap: str):
    content = FILES[trap]
    raw = content.encode() if isinstance(content, str) else content
    house.land(NAME, gzip.compress(raw, mtime=0))
    done = house.drain(ERP, ORDERS, LINES)

    assert finding(done[ERP.key][0], "counts_add_up").passed
    bronze, aside = house.rows(ERP), house.set_aside(ERP)
    assert bronze.height + aside.height == records(raw)
    house.assert_counts_add_up(ERP)
    by_number = dict(enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1))
    for row in bronze.rows(named=True):
        sent = json.loads(by_number[row["source_row"]], parse_int=str, parse_float=str)
        assert {name: row[name] for name in SHAPE} == verbatim(sent, SHAPE)
        assert set(json.loads(row["extra"] or "{}")) >= {f"/{name}" for name in set(sent) - set(SHAPE)}
    for row in aside.rows(named=True):
        assert row["row"] == by_number[row["source_row"]].removesuffix(b"\r").decode("utf-8", "backslashreplace")
        assert row["reasons"]

    for reader in (ORDERS, LINES):
        work = done[reader.key][0]
        unread = house.set_aside(reader).filter(kind="unread")
        assert work.facts["rows_read"] == bronze.height
        where = set(unread["source_row"].to_list())
        stands = {number for number, at in bronze.select("order_no", "source_row").rows() if at not in where}
        assert set(house.rows(reader)["order_no"].to_list()) <= stands
        assert stands <= set(house.rows(reader)["order_no"].to_list()) | {None}
        assert len(where) == unread.height


@pytest.mark.parametrize(
    ("trap", "stands", "set_aside"),
    [
        ("a fraction where a whole number is promised", {"3"}, {1, 2}),
        ("more digits than a float holds", {"2"}, {1}),
        ("exponents", {"1", "2"}, {3, 4}),
        ("whole numbers out of range", {"1"}, {2}),
        ("numbers as text, text as numbers", {"1", "3"}, {2}),
        ("times that stood twice or never", {"4"}, {1, 2, 3}),
        ("zeros at the end", {"1", "2", "3"}, set()),
    ],
)
def test_what_does_not_read_exactly_is_set_aside_by_its_row(
    house: House, trap: str, stands: set[str], set_aside: set[int]
):
    content = FILES[trap]
    assert isinstance(content, str)
    house.land(NAME, content)
    house.drain(ERP, ORDERS)
    assert set(house.rows(ORDERS)["order_no"].to_list()) == stands
    assert set(house.set_aside(ORDERS)["source_row"].to_list()) == set_aside
