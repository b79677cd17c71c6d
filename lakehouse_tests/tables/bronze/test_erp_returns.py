from datetime import UTC, datetime
from decimal import Decimal

import polars as pl

from lakehouse.engine.quality.typed import typed
from lakehouse.tables.bronze.erp_orders import ErpOrders
from lakehouse.tables.bronze.erp_returns import ErpReturns, erp_returns


def stored(**fields: object) -> pl.LazyFrame:
    line = {
        "line_no": "1",
        "sku": "D",
        "description": "Discount",
        "qty": "-1",
        "unit_price": "27.5",
        "line_ts": "2010-12-01T09:41:00",
    }
    row = {
        "order_no": "C536379", "order_ts": "2010-12-01T09:41:00", "customer_id": "14527", "country": "United Kingdom",
        "currency": "GBP", "lines": [line],
    }  # fmt: skip
    return pl.LazyFrame([row | fields], schema=erp_returns.declaration.stored_schema)


def test_a_credit_note_reads_as_it_was_sent():
    read = typed(ErpReturns, stored()).read.row(0, named=True)
    assert read["order_no"] == "C536379"
    assert read["order_ts"] == datetime(2010, 12, 1, 9, 41, tzinfo=UTC)
    assert (read["lines"][0]["qty"], read["lines"][0]["unit_price"]) == (-1, Decimal("27.500"))


def test_a_credit_note_of_a_sale_without_an_account_has_no_customer():
    assert typed(ErpReturns, stored(customer_id=None)).read["customer_id"].to_list() == [None]


def test_returns_and_orders_promise_the_same_columns_so_that_they_can_be_read_together():
    assert ErpReturns.to_schema().dtypes == ErpOrders.to_schema().dtypes
