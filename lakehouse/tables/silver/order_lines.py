import polars as pl
from dagster import AutomationCondition

from lakehouse import Frame, Gbp, Merge, New, Quarantine, Silver, Utc, column, table
from lakehouse.tables.bronze.erp_orders import ErpOrders
from lakehouse.tables.bronze.erp_returns import ErpReturns


class OrderLines(Silver):
    """One row per line of an order or credit, as the ERP last knew it.

    Source: ERP. Equal lines of one order are kept: they differ by their position.
    """

    order_no: str = column("Order number", key=True)
    line_no: int = column("Position in the order, from 1", key=True, ge=1)
    sku: str = column("Product or service code, as sent")
    description: str = column("Product name, or a clerk's note", nullable=True)
    quantity: int = column("Pieces; negative for what comes back and for corrections")
    unit_price: Gbp = column("Price of a piece")
    net_amount: Gbp = column("Quantity times price")
    country: str = column("Where it was shipped")
    ordered_at: Utc = column("When the clerk saved the order")
    saved_at: Utc = column("When the clerk saved the line; a minute after the order now and then")


@table(
    write=Merge(replaces="order_no"),
    rejects=Quarantine(),
    conserves=(pl.col("lines").list.len().sum(), pl.len()),
    owners=["team:sales"],
    automation_condition=AutomationCondition.eager(),
)
def order_lines(sold: New[ErpOrders], returned: New[ErpReturns]) -> Frame[OrderLines]:
    line = pl.col("lines").struct
    return (
        pl.concat([sold, returned])
        .explode("lines", empty_as_null=False)
        .select(
            "order_no",
            line.field("line_no"),
            line.field("sku"),
            line.field("description"),
            quantity=line.field("qty"),
            unit_price=line.field("unit_price"),
            net_amount=line.field("qty") * line.field("unit_price"),
            country="country",
            ordered_at="order_ts",
            saved_at=line.field("line_ts"),
        )
    )
