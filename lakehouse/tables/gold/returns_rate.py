from datetime import date

import polars as pl
from dagster import AutomationCondition

from lakehouse import Frame, Gbp, Gold, Overwrite, column, table
from lakehouse.tables.silver.orders import IS_CREDIT, Orders

IS_BAD_DEBT = pl.col("order_no").str.starts_with("A")
NET = pl.col("net_amount")


class ReturnsRate(Gold):
    """One row per month and country.

    Source: silver orders. A credit counts in the month in which it was given, since it names no order.
    """

    month: date = column("First day of the month, of London days", key=True)
    country: str = column("Where it was shipped", key=True)
    orders: int = column("Orders, without corrections of bad debt", ge=0)
    credits: int = column("Credit notes", ge=0)
    sold: Gbp = column("Sum of the orders")
    given_back: Gbp = column("Sum of the credits, as a positive amount", ge=0)
    returns_rate: float = column("Given back for a pound sold; empty where nothing was sold", nullable=True, ge=0)


@table(
    write=Overwrite(),
    conserves=(NET.filter(~IS_BAD_DEBT).sum(), pl.col("sold").sum() - pl.col("given_back").sum()),
    owners=["team:sales"],
    automation_condition=AutomationCondition.eager(),
)
def returns_rate(orders: Frame[Orders]) -> Frame[ReturnsRate]:
    sold, given_back = pl.col("sold").cast(pl.Float64), pl.col("given_back").cast(pl.Float64)
    return (
        orders.filter(~IS_BAD_DEBT)
        .group_by(month=pl.col("day").dt.month_start(), country="country")
        .agg(
            orders=(~IS_CREDIT).sum().cast(pl.Int64),
            credits=IS_CREDIT.sum().cast(pl.Int64),
            sold=NET.filter(~IS_CREDIT).sum(),
            given_back=-NET.filter(IS_CREDIT).sum(),
        )
        .with_columns(returns_rate=pl.when(sold > 0).then(given_back / sold))
        .sort("month", "country")
    )
