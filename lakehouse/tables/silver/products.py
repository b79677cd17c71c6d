from datetime import date

import polars as pl
from dagster import AutomationCondition

from lakehouse import Frame, Gbp, Merge, New, Quarantine, Silver, column, table
from lakehouse.tables.bronze.erp_products import ErpProducts

PRODUCT = r"^\d{5}[A-Za-z]{0,2}$"  # all else is postage, a discount, a voucher, a clerk's adjustment …


class Products(Silver):
    """One row per code of the catalogue, as the newest weekly snapshot has it.

    Source: ERP, weekly snapshots. Some codes differ by case alone: both are kept, under one `product_code`.
    """

    sku: str = column("Product or service code, as sent", key=True)
    product_code: str = column("The code in capitals")
    is_service: bool = column("Whether it is no product: postage, discounts, vouchers, adjustments")
    name: str = column("The name it is sold under; empty where none is known", nullable=True)
    price: Gbp = column("Price at which it sells most; empty where none is known", nullable=True, ge=0)
    price_min: Gbp = column("Lowest price of the last four weeks; empty before June 2011", nullable=True, ge=0)
    price_max: Gbp = column("Highest price of the last four weeks; empty before June 2011", nullable=True, ge=0)
    first_sold_on: date = column("Day on which it first stood on an order")
    seen_on: date = column("Monday of the snapshot")


@table(
    write=Merge(newest_by="seen_on"),
    rejects=Quarantine(),
    conserves="rows",
    owners=["team:sales"],
    automation_condition=AutomationCondition.eager(),
)
def products(shown: New[ErpProducts]) -> Frame[Products]:
    return shown.select(
        "sku",
        product_code=pl.col("sku").str.to_uppercase(),
        is_service=~pl.col("sku").str.contains(PRODUCT),
        name="product_name",
        price="price_gbp",
        price_min="price_min",
        price_max="price_max",
        first_sold_on="first_seen",
        seen_on="dt",
    )
