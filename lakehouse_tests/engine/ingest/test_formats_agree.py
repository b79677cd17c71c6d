"""Every format says the same: the same values, and the same ends for columns that are not as declared."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lakehouse.engine.declare.contract import Bronze, Silver, Struct, column
from lakehouse.engine.declare.dtypes import Gbp, Utc
from lakehouse.engine.declare.errors import DeclarationError
from lakehouse.engine.declare.formats import Avro, Csv, Excel, Format, Json, JsonLines, Parquet
from lakehouse.engine.declare.frames import Frame
from lakehouse.engine.declare.source import Files
from lakehouse.engine.declare.table import Declaration, declare
from lakehouse.engine.declare.text import local_time
from lakehouse.engine.declare.write import Append, Overwrite, Quarantine
from lakehouse_tests.driver import House, red
from lakehouse_tests.making import PACKINGS, avro, file_of, logical, midnight, nullable, parquet, workbook

FORMATS: list[Format] = [JsonLines(), Json(), Csv(), Parquet(), Avro(), Excel()]
WITH_HEADERS: list[Format] = [Csv(), Parquet(), Avro(), Excel()]
NESTED: list[Format] = [JsonLines(), Json(), Parquet(), Avro()]


class Sale(Bronze):
    """One row per sale."""

    id: int = column("Number of the sale")
    price: Gbp = column("What was paid")
    weight: float = column("In kilograms")
    day: dt.date = column("When it was sold")
    seen: Utc = column("When it was written down", text=local_time("Europe/London"))
    gift: bool = column("Whether it is a gift", nullable=True)
    note: str = column("What the clerk wrote", nullable=True)


def sale() -> Frame[Sale]: ...


class Sold(Silver):
    """One row per sale."""

    id: int = column("Number of the sale")
    price: Gbp = column("What was paid")
    weight: float = column("In kilograms")
    day: dt.date = column("When it was sold")
    seen: Utc = column("When it was written down")
    gift: bool = column("Whether it is a gift", nullable=True)
    note: str = column("What the clerk wrote", nullable=True)


def sold(rows: Frame[Sale]) -> Frame[Sold]:
    return rows.select(list(Sold.to_schema().columns))


def bronze(form: Format | list[Format]) -> Declaration:
    return declare(sale, write=Append(), source=Files("in/*", formats=form))


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


SALES = [
    {
        "id": 1,
        "price": Decimal("1.10"),
        "weight": 0.1,
        "day": at("2024-05-01").date(),
        "seen": at("2024-07-01T09:30:15"),
        "gift": True,
        "note": '£ 5, "new"',
    },
    {
        "id": -2,
        "price": Decimal("1000.00"),
        "weight": 1e-7,
        "day": at("1999-12-31").date(),
        "seen": midnight("2024-01-01"),
        "gift": None,
        "note": "two\nlines",
    },
    {
        "id": 17850,
        "price": Decimal("-0.05"),
        "weight": 12.0,
        "day": at("2024-02-29").date(),
        "seen": at("2024-12-31T23:59:59"),
        "gift": False,
        "note": None,
    },
]
READ = [
    {**each, "seen": each["seen"].replace(tzinfo=dt.UTC) - dt.timedelta(hours=each["seen"].month == 7)}
    for each in SALES
]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_the_same_sales_read_the_same_from_every_format_and_packing(house: House, form: Format, packing: str):
    arrives = bronze(form)
    house.land(f"in/sales{packing}", PACKINGS[packing](file_of(form, *SALES)))
    typed = declare(sold, write=Overwrite(), rejects=Quarantine())
    assert red(house.run(arrives)) == {}
    house.run(typed)
    assert house.set_aside(typed).is_empty()
    assert house.rows(typed).sort("seen").to_dicts() == sorted(READ, key=lambda each: each["seen"])
    house.assert_counts_add_up(arrives)


def test_a_source_may_send_every_format_and_each_is_known_by_what_it_holds(house: House):
    arrives = bronze([Excel(), Parquet(), Avro(), Csv(), Json(), JsonLines()])
    for form in FORMATS:
        house.land(f"in/{form}", file_of(form, *SALES))
    assert red(house.run(arrives)) == {}
    files = house.ledger(arrives)
    assert files["reason"].to_list() == [f"read as {name.removeprefix('in/')}" for name in files["name"]]
    assert house.rows(arrives).height == 3 * len(FORMATS)
    house.assert_counts_add_up(arrives)


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_a_table_whose_file_is_gone_is_made_anew_from_what_it_kept(house: House, form: Format):
    arrives = bronze(form)
    house.land("in/sales", file_of(form, *({**each, "colour": "red"} for each in SALES)))
    house.run(arrives)
    before = house.rows(arrives)
    house.file("in/sales").unlink()
    house.run(arrives, rebuild=True)
    assert house.rows(arrives).equals(before)


# ---- columns that are not as declared ----


class Named(Bronze):
    """One row per product."""

    id: int = column("Its number")
    name: str = column("What it is called", was="title")
    size: str = column("How large it is", nullable=True)


def named() -> Frame[Named]: ...


class Names(Silver):
    """One row per product."""

    id: int = column("Its number")
    name: str = column("What it is called")


def names(rows: Frame[Named]) -> Frame[Names]:
    return rows.select("id", "name")


def landed(house: House, form: Format, **fields: Any) -> tuple[pl.DataFrame, str]:
    """The rows of a file of one record with these fields, and why it was not taken."""
    declared = declare(named, write=Append(), source=Files("in/*", formats=form))
    house.land("in/a", file_of(form, fields))
    house.run(declared)
    house.assert_counts_add_up(declared)
    return house.rows(declared), house.ledger(declared)["reason"][0]


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_an_unknown_column_is_kept_in_extra_and_the_order_is_of_no_matter(house: House, form: Format):
    rows, _ = landed(house, form, colour="red", name="Mug", size="XL", id=1)
    assert rows.select("id", "name", "size", "extra").rows() == [("1", "Mug", "XL", '{"/colour":"red"}')]


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_a_renamed_column_comes_under_its_new_name(house: House, form: Format):
    rows, _ = landed(house, form, id=1, title="Mug", size="XL")
    assert rows.select("id", "name", "size", "extra").rows() == [("1", "Mug", "XL", None)]


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_a_missing_column_is_null_where_it_may_be(house: House, form: Format):
    rows, _ = landed(house, form, id=1, name="Mug")
    assert rows.select("id", "name", "size").rows() == [("1", "Mug", None)]


@pytest.mark.parametrize("form", WITH_HEADERS, ids=str)
def test_of_a_file_with_a_header_a_missing_column_is_refused_with_a_proposal(house: House, form: Format):
    rows, why = landed(house, form, id=1, designation="Mug", size="XL")
    assert rows.is_empty()
    assert "column 'name' is missing, and 'designation' came (if that is it: was='designation')" in why


@pytest.mark.parametrize("form", WITH_HEADERS, ids=str)
def test_of_a_file_with_a_header_the_old_name_beside_the_new_one_is_refused(house: House, form: Format):
    rows, why = landed(house, form, id=1, name="Mug", title="Cup", size="XL")
    assert rows.is_empty()
    assert "its header names one column more than once: 'name', 'title'" in why


@pytest.mark.parametrize("form", [JsonLines(), Json()], ids=str)
def test_of_json_a_missing_field_is_null_and_rejects_its_row_at_the_reader(house: House, form: Format):
    rows, _ = landed(house, form, id=1, designation="Mug", size="XL")
    assert rows.select("name", "extra").rows() == [(None, '{"/designation":"Mug"}')]
    read = declare(names, write=Overwrite(), rejects=Quarantine())
    assert red(house.run(read)) == {"reads_exactly": "ERROR"}


# ---- nested values ----


class Item(Struct):
    sku: str = column("Product code")
    qty: int = column("Pieces")


class Order(Bronze):
    """One row per order."""

    id: int = column("Its number")
    items: list[Item] = column("What was ordered")
    ship_to: Item = column("One more", nullable=True)


def order() -> Frame[Order]: ...


@pytest.mark.parametrize("form", NESTED, ids=str)
def test_declared_nested_values_keep_their_shape_and_undeclared_ones_go_to_extra(house: House, form: Format):
    declared = declare(order, write=Append(), source=Files("in/*", formats=form))
    items = [{"qty": 2, "sku": "a", "vat": "low"}, {"qty": 3, "sku": "b", "vat": "full"}]
    house.land("in/a", file_of(form, {"id": 1, "items": items, "ship_to": {"sku": "c"}, "tags": ["x", "y"]}))
    assert red(house.run(declared)) == {}
    (row,) = house.rows(declared).select("id", "items", "ship_to", "extra").rows(named=True)
    assert row["items"] == [{"sku": "a", "qty": "2"}, {"sku": "b", "qty": "3"}]
    assert row["ship_to"] == {"sku": "c", "qty": None}
    assert sorted(row["extra"][1:-1].replace('],"', ']|"').replace('","', '"|"').split("|")) == sorted(
        ['"/items/0/vat":"low"', '"/items/1/vat":"full"', '"/tags":["x"', '"y"]']
    )


@pytest.mark.parametrize("form", [Csv(), Excel()], ids=str)
def test_a_list_in_a_flat_format_is_refused_at_load(form: Format):
    with pytest.raises(DeclarationError, match=r"bronze/order: column 'items' is .* is one text; declare it `str`"):
        declare(order, write=Append(), source=Files("in/*", formats=form))


# ---- what a format alone has ----


class Odd(Bronze):
    """One row each."""

    id: str = column("As it came")


def odd() -> Frame[Odd]: ...


UTC, WALL = at("2024-05-01T09:00:00+00:00"), at("2024-05-01T09:00:00")


@pytest.mark.parametrize(
    ("form", "content", "said"),
    [
        (Parquet(), parquet({"id": [UTC]}), "2024-05-01T09:00:00Z"),
        (Parquet(), parquet({"id": pl.Series([UTC]).dt.convert_time_zone("Asia/Tokyo")}), "2024-05-01T09:00:00Z"),
        (Parquet(), parquet({"id": pl.Series([1]).cast(pl.Datetime("ns"))}), "1970-01-01T00:00:00.000000001"),
        (Parquet(), parquet({"id": [dt.time(9, 30)]}), "09:30:00"),
        (Parquet(), parquet({"id": pl.Series([0.1], dtype=pl.Float32)}), "0.1"),
        (Avro(), avro({"id": logical("long", "timestamp-millis")}, [{"id": UTC}]), "2024-05-01T09:00:00Z"),
        (Avro(), avro({"id": logical("long", "timestamp-nanos")}, [{"id": 17145540001234567}]), "17145540001234567"),
        (Avro(), avro({"id": nullable("float")}, [{"id": 0.1}]), "0.1"),
        (Avro(), avro({"id": {"type": "enum", "name": "E", "symbols": ["A"]}}, [{"id": "A"}]), "A"),
        (Excel(), workbook(["id"], [dt.time(9, 30)]), "09:30:00"),
        (Excel(), workbook(["id"], [dt.timedelta(hours=36)], default_date_format="[h]:mm"), "36:00:00"),
        (Excel(), workbook(["id"], [WALL], default_date_format="d.m.yy h:mm"), "2024-05-01T09:00:00"),
        (Excel(), workbook(["id"], [WALL], date_1904=True), "2024-05-01T09:00:00"),
        (Excel(), workbook(["id"], [12345678901234567890]), "1.234567890123457e+19"),
        (Excel(), workbook([2024], ["x"]), None),
    ],
)  # fmt: skip
def test_a_value_that_one_format_alone_has_becomes_this_text(
    house: House, *, form: Format, content: bytes, said: str | None
):
    declared = declare(odd, write=Append(), source=Files("in/*", formats=form))
    house.land("in/a", content)
    house.run(declared)
    assert house.rows(declared)["id"].to_list() == ([said] if said else [])
    if not said:
        assert "column 'id' is missing, and '2024' came" in house.ledger(declared)["reason"][0]


def test_bytes_in_an_undeclared_column_are_kept_as_base64(house: House):
    for name, form, content in (
        ("in/p", Parquet(), parquet({"id": ["1"], "blob": [b"\xff\x00"]})),
        ("in/a", Avro(), avro({"id": "string", "blob": "bytes"}, [{"id": "1", "blob": b"\xff\x00"}])),
    ):
        house.land(name, content)
        house.run(declare(odd, write=Append(), source=Files(name, formats=form)))
    assert (
        house.rows(declare(odd, write=Append(), source=Files("in/*", formats=Avro())))["extra"].to_list()
        == ['{"/blob":"/wA="}'] * 2
    )
