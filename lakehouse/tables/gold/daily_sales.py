from datetime import date

import polars as pl
from dagster import AutomationCondition

from lakehouse import Affected, Frame, Gbp, Gold, ReplacePartition, column, table
from lakehouse.tables.silver.orders import Orders


class DailySales(Gold):
    """One row per day and country.

    Source: silver orders, credits included. A day is a London day; times are stored in UTC.
    """

    day: date = column("London day on which the order was saved", key=True)
    country: str = column("Where it was shipped", key=True)
    orders: int = column("Orders, credits and corrections of bad debt", ge=1)
    lines: int = column("Their lines", ge=1)
    net_amount: Gbp = column("Sum of their lines, what was given back taken off")


@table(
    write=ReplacePartition("day"),
    conserves=(pl.col("net_amount").sum(), pl.col("net_amount").sum()),
    owners=["team:sales"],
    automation_condition=AutomationCondition.eager(),
)
def daily_sales(orders: Affected[Orders]) -> Frame[DailySales]:
    return (
        orders.group_by("day", "country")
        .agg(
            orders=pl.len().cast(pl.Int64),
            lines=pl.col("line_count").sum(),
            net_amount=pl.col("net_amount").sum(),
        )
        .sort("day", "country")
    )
