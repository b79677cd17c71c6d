from datetime import date
from pathlib import Path

import polars as pl
import pytest

from lakehouse.engine.quality.typed import Typed, typed
from lakehouse.tables.bronze.erp_products import ErpProducts, erp_products
from lakehouse_tests.driver import House, red

OLD = b"sku,description,list_price,first_seen\n"
RENAMED = b"sku,product_name,price_gbp,price_min,price_max,first_seen\n"
WINDOWS = b"sku;product_name;price_gbp;price_min;price_max;first_seen\n"


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def landed(house: House, **contents: bytes) -> Typed:
    """What is read of these files, each of the day that names it."""
    for day, content in contents.items():
        house.land(f"erp/products/dt={day.strip('_').replace('_', '-')}/products.csv", content)
    assert red(house.run(erp_products.declaration)) == {}
    return typed(ErpProducts, house.rows(erp_products.declaration).lazy())


def test_the_three_ways_in_which_the_catalogue_was_sent_read_as_one(house: House):
    parted = landed(
        house,
        _2011_05_30=OLD + b'22041,"RECORD FRAME 7"" SINGLE SIZE",4.96,2010-12-01\n',
        _2011_06_06=RENAMED + b'22041,"RECORD FRAME 7"" SINGLE SIZE",4.96,2.1,4.96,2010-12-01\n',
        _2011_09_05=WINDOWS + b'22041;"RECORD FRAME 7"" SINGLE SIZE";\xa32.55;\xa32.1;\xa35.79;2010-12-01\n',
    )
    assert parted.unread.height == 0
    read = parted.read.with_columns(pl.col("price_gbp", "price_min", "price_max").cast(pl.String))
    frame = ("22041", 'RECORD FRAME 7" SINGLE SIZE')
    assert read.select("dt", "sku", "product_name", "price_gbp", "price_min", "price_max", "first_seen").rows() == [
        (date(2011, 5, 30), *frame, "4.960", None, None, date(2010, 12, 1)),
        (date(2011, 6, 6), *frame, "4.960", "2.100", "4.960", date(2010, 12, 1)),
        (date(2011, 9, 5), *frame, "2.550", "2.100", "5.790", date(2010, 12, 1)),
    ]


def test_a_code_without_name_and_price_has_none(house: House):
    read = landed(
        house, _2010_12_06=OLD + b"20950,,,2010-12-01\n", _2011_09_05=WINDOWS + b"16053;;;;;2011-05-23\n"
    ).read
    assert read.select("product_name", "price_gbp", "price_min", "price_max").rows() == [(None,) * 4] * 2


def test_a_price_of_another_currency_is_not_read_as_pounds(house: House):
    dollars = RENAMED + b"22041,RECORD FRAME,$4.96,2.1,4.96,2010-12-01\n"
    assert landed(house, _2011_06_06=dollars).unread.height == 1
