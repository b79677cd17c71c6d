from datetime import UTC, datetime

import polars as pl

from lakehouse.engine.quality.typed import typed
from lakehouse.tables.bronze.erp_orders import ErpOrders, erp_orders


def stored(**fields: object) -> pl.LazyFrame:
    line = {
        "line_no": "1",
        "sku": "85123A",
        "description": None,
        "qty": "6",
        "unit_price": "2.55",
        "line_ts": "2010-12-01T08:26:00",
    }
    row = {
        "order_no": "536365", "order_ts": "2010-12-01T08:26:00", "customer_id": "17850", "country": "United Kingdom",
        "currency": "GBP", "lines": [line],
    }  # fmt: skip
    return pl.LazyFrame([row | fields], schema=erp_orders.declaration.stored_schema)


def test_an_order_reads_as_it_was_sent():
    read = typed(ErpOrders, stored()).read.row(0, named=True)
    assert read["order_ts"] == datetime(2010, 12, 1, 8, 26, tzinfo=UTC)
    assert read["customer_id"] == 17850
    assert str(read["lines"][0]["unit_price"]) == "2.550"


def test_a_summer_order_was_saved_an_hour_earlier_in_utc():
    read = typed(ErpOrders, stored(order_ts="2011-07-01T08:26:00")).read
    assert read["order_ts"].to_list() == [datetime(2011, 7, 1, 7, 26, tzinfo=UTC)]


def test_a_sale_without_an_account_has_no_customer():
    assert typed(ErpOrders, stored(customer_id=None)).read["customer_id"].to_list() == [None]


def test_an_order_without_a_country_is_set_aside():
    parted = typed(ErpOrders, stored(country=None))
    assert (parted.read.height, parted.unread.height) == (0, 1)
