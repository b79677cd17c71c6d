from datetime import date
from decimal import Decimal
from typing import Annotated

import polars as pl
from dagster import AutomationCondition

from lakehouse import Frame, Gbp, Gold, Measure, Overwrite, column, table
from lakehouse.tables.bronze.fx_monthly import PerDollar
from lakehouse.tables.gold.daily_sales import DailySales
from lakehouse.tables.silver.exchange_rates import ExchangeRates

type Usd = Annotated[Decimal, Measure(pl.Decimal(38, 4), "USD")]


class MonthlyRevenueUsd(Gold):
    """One row per month.

    Source: gold daily sales, and the month's mean rate from silver exchange rates.
    """

    month: date = column("First day of the month, of London days", key=True)
    net_gbp: Gbp = column("Sum of the orders, less credits and bad debt")
    pounds_per_dollar: PerDollar = column("Mean rate of the month")
    net_usd: Usd = column("Pounds divided by the rate, rounded to a hundredth of a cent")


@table(
    write=Overwrite(),
    conserves=(pl.col("net_amount").sum(), pl.col("net_gbp").sum()),
    owners=["team:finance"],
    automation_condition=AutomationCondition.eager(),
)
def monthly_revenue_usd(days: Frame[DailySales], rates: Frame[ExchangeRates]) -> Frame[MonthlyRevenueUsd]:
    pounds = rates.filter(pl.col("country") == "United Kingdom").select("month", pounds_per_dollar="per_dollar")
    return (
        days.group_by(month=pl.col("day").dt.month_start())
        .agg(net_gbp=pl.col("net_amount").sum())
        .join(pounds, on="month", how="left")
        .select(
            "month",
            "net_gbp",
            "pounds_per_dollar",
            net_usd=pl.col("net_gbp") / pl.col("pounds_per_dollar"),
        )
        .sort("month")
    )
