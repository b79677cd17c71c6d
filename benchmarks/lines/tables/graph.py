"""Flat order lines (CSV) → silver with eight rules and a quarantine → gold, as one declares them here."""

from datetime import date

import polars as pl

from benchmarks.generated import CHANNELS, COUNTRIES, CSV
from lakehouse import (
    Affected,
    Append,
    Bronze,
    Csv,
    Files,
    Frame,
    Gbp,
    Gold,
    Merge,
    New,
    Quarantine,
    ReplacePartition,
    Silver,
    Utc,
    check,
    column,
    table,
)


class SentLines(Bronze):
    """One row per order line, as the ERP sent it."""

    order_no: str = column("Order number; C… is a credit")
    line_no: int = column("Position in the order, from 1")
    sku: str = column("Product code")
    description: str = column("Product name", nullable=True)
    quantity: int = column("Pieces; negative for credits")
    unit_price: Gbp = column("Price of a piece")
    customer_id: int = column("Who bought", nullable=True)
    country: str = column("Where it was shipped")
    currency: str = column("ISO 4217 code of the price")
    channel: str = column("Where it was ordered")
    ordered_at: Utc = column("When the clerk saved the order")
    saved_at: Utc = column("When the clerk saved the line")


@table(source=Files(CSV.format(day="*"), formats=Csv()), write=Append())
def sent_lines() -> Frame[SentLines]: ...


class OrderLines(Silver):
    """One row per order line, as the ERP last knew it."""

    order_no: str = column("Order number; C… is a credit", key=True)
    line_no: int = column("Position in the order, from 1", key=True, ge=1)
    day: date = column("Day of the order, in UTC")
    sku: str = column("Product code", str_matches="^[0-9]{5}A?$")
    description: str = column("Product name", nullable=True)
    quantity: int = column("Pieces; negative for credits", ne=0)
    unit_price: Gbp = column("Price of a piece", ge=0)
    net_amount: Gbp = column("Quantity times price")
    customer_id: int = column("Who bought", nullable=True)
    country: str = column("Where it was shipped", isin=COUNTRIES)
    currency: str = column("ISO 4217 code of the price", isin=["GBP"])
    channel: str = column("Where it was ordered", isin=CHANNELS)
    ordered_at: Utc = column("When the clerk saved the order")
    saved_at: Utc = column("When the clerk saved the line")

    @check
    def a_line_is_saved_after_its_order() -> pl.Expr:
        """No line is older than its order."""
        return pl.col("saved_at") >= pl.col("ordered_at")


@table(write=Merge(), rejects=Quarantine(), conserves="rows")
def order_lines(sent: New[SentLines]) -> Frame[OrderLines]:
    return sent.select(
        "order_no",
        "line_no",
        pl.col("ordered_at").dt.date().alias("day"),
        "sku",
        "description",
        "quantity",
        "unit_price",
        (pl.col("quantity") * pl.col("unit_price")).alias("net_amount"),
        "customer_id",
        "country",
        "currency",
        "channel",
        "ordered_at",
        "saved_at",
    )


class DailySales(Gold):
    """One row per day and country."""

    day: date = column("Day of the order, in UTC", key=True)
    country: str = column("Where it was shipped", key=True)
    orders: int = column("Orders", ge=1)
    lines: int = column("Their lines", ge=1)
    net_amount: Gbp = column("Sum of their lines")


@table(write=ReplacePartition("day"), conserves=(pl.col("net_amount").sum(), pl.col("net_amount").sum()))
def daily_sales(lines: Affected[OrderLines]) -> Frame[DailySales]:
    return (
        lines.group_by("day", "country")
        .agg(
            orders=pl.col("order_no").n_unique().cast(pl.Int64),
            lines=pl.len().cast(pl.Int64),
            net_amount=pl.col("net_amount").sum(),
        )
        .sort("day", "country")
    )
