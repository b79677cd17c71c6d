"""A history in the lake that is disturbed: which customer each till of a country had, and from when to when."""

import polars as pl

from lakehouse import Frame, History, New, Quarantine, Silver, Utc, column, table
from lakehouse.tables.bronze.erp_orders import ErpOrders


class Tills(Silver):
    """One row per till and customer that it had for a time (SCD2); a till is told by the end of an order's number.

    Source: made up.
    """

    country: str = column("Where it stands", key=True)
    till: str = column("The last figure of its orders' numbers", key=True)
    customer_id: int = column("Who bought; empty for sales without an account", nullable=True, personal=True)
    valid_from: Utc = column("When this customer came", key=True)
    valid_to: Utc = column("When another came; empty while none did", nullable=True)


@table(
    write=History("valid_from", tracks=["customer_id"]),
    rejects=Quarantine(),
    conserves="rows",
    owners=["team:sales"],
)
def tills(sold: New[ErpOrders]) -> Frame[Tills]:
    till = pl.col("order_no").str.tail(1).alias("till")
    return sold.select("country", till, "customer_id", valid_from="order_ts")
