from datetime import date

import polars as pl
from dagster import AutomationCondition

from lakehouse import Frame, Gbp, Merge, New, Quarantine, Silver, Utc, check, column, table
from lakehouse.tables.bronze.erp_orders import ErpOrders
from lakehouse.tables.bronze.erp_returns import ErpReturns

IS_CREDIT = pl.col("order_no").str.starts_with("C")


class Orders(Silver):
    """One row per order, credit or correction of bad debt, as the ERP last knew it.

    Source: ERP.
    """

    order_no: str = column("Order number; C… is a credit, A… a correction of bad debt", key=True)
    customer_id: int = column("Who bought; empty for sales without an account", nullable=True, personal=True)
    country: str = column("Where it was shipped")
    ordered_at: Utc = column("When the clerk saved it")
    day: date = column("London day on which the clerk saved it")
    line_count: int = column("Lines on the order", ge=1)
    net_amount: Gbp = column("Sum of its lines; negative for credits")

    @check
    def a_credit_gives_money_back() -> pl.Expr:
        """A credit note never charges."""
        return ~IS_CREDIT | (pl.col("net_amount") <= 0)


@table(
    write=Merge(),
    rejects=Quarantine(),
    conserves="rows",
    owners=["team:sales"],
    automation_condition=AutomationCondition.eager(),
)
def orders(sold: New[ErpOrders], returned: New[ErpReturns]) -> Frame[Orders]:
    line = pl.element().struct
    return pl.concat([sold, returned]).select(
        "order_no",
        "customer_id",
        "country",
        ordered_at="order_ts",
        day=pl.col("order_ts").dt.convert_time_zone("Europe/London").dt.date(),
        line_count=pl.col("lines").list.len().cast(pl.Int64),
        net_amount=pl.col("lines").list.eval(line.field("qty") * line.field("unit_price")).list.sum(),
    )
