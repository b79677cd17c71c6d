"""Order documents (gzip JSON lines) → orders and their lines → sales by day, as one declares them here."""

from datetime import date

import polars as pl

from benchmarks.generated import JSON_LINES
from lakehouse import (
    Append,
    Bronze,
    Files,
    Frame,
    Gbp,
    Gold,
    JsonLines,
    Merge,
    New,
    Overwrite,
    Quarantine,
    Silver,
    Struct,
    Utc,
    check,
    column,
    local_time,
    table,
)


class Line(Struct):
    line_no: int = column("Position in the order, from 1")
    sku: str = column("Product or service code, as sent")
    description: str = column("Product name, or a clerk's note", nullable=True)
    qty: int = column("Pieces; negative for corrections")
    unit_price: Gbp = column("Price of a piece")
    line_ts: Utc = column("When the clerk saved the line", text=local_time("Europe/London"))


class SentOrders(Bronze):
    """One row per order document, as the ERP sent it."""

    order_no: str = column("Order number; A… is a correction of bad debt")
    order_ts: Utc = column("When the clerk saved it", text=local_time("Europe/London"))
    customer_id: int = column("Who bought; empty for sales without an account", nullable=True)
    country: str = column("Where it was shipped")
    currency: str = column("ISO 4217 code of the prices")
    lines: list[Line] = column("The order's lines")


@table(source=Files(JSON_LINES.format(day="*"), formats=JsonLines()), write=Append())
def sent_orders() -> Frame[SentOrders]: ...


class OrderLines(Silver):
    """One row per line of an order, as the ERP last knew it."""

    order_no: str = column("Order number", key=True)
    line_no: int = column("Position in the order, from 1", key=True, ge=1)
    sku: str = column("Product or service code, as sent")
    description: str = column("Product name, or a clerk's note", nullable=True)
    quantity: int = column("Pieces; negative for corrections", ne=0)
    unit_price: Gbp = column("Price of a piece")
    net_amount: Gbp = column("Quantity times price")
    country: str = column("Where it was shipped")
    ordered_at: Utc = column("When the clerk saved the order")
    saved_at: Utc = column("When the clerk saved the line")


@table(write=Merge(replaces="order_no"), rejects=Quarantine(), conserves=(pl.col("lines").list.len().sum(), pl.len()))
def order_lines(sent: New[SentOrders]) -> Frame[OrderLines]:
    line = pl.col("lines").struct
    return sent.explode("lines", empty_as_null=False).select(
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


class Orders(Silver):
    """One row per order or correction of bad debt, as the ERP last knew it."""

    order_no: str = column("Order number; C… is a credit, A… a correction of bad debt", key=True)
    customer_id: int = column("Who bought; empty for sales without an account", nullable=True)
    country: str = column("Where it was shipped")
    ordered_at: Utc = column("When the clerk saved it")
    line_count: int = column("Lines on the order", ge=1)
    net_amount: Gbp = column("Sum of its lines; negative for credits")

    @check
    def a_credit_gives_money_back() -> pl.Expr:
        """A credit note never charges."""
        return ~pl.col("order_no").str.starts_with("C") | (pl.col("net_amount") <= 0)


@table(write=Merge(), rejects=Quarantine(), conserves="rows")
def orders(sent: New[SentOrders]) -> Frame[Orders]:
    line = pl.element().struct
    return sent.select(
        "order_no",
        "customer_id",
        "country",
        ordered_at="order_ts",
        line_count=pl.col("lines").list.len().cast(pl.Int64),
        net_amount=pl.col("lines").list.eval(line.field("qty") * line.field("unit_price")).list.sum(),
    )


class DailySales(Gold):
    """One row per London day and country."""

    day: date = column("London day on which the order was saved", key=True)
    country: str = column("Where it was shipped", key=True)
    orders: int = column("Orders and corrections of bad debt", ge=1)
    lines: int = column("Their lines", ge=1)
    net_amount: Gbp = column("Sum of their lines")


@table(write=Overwrite(), conserves=(pl.col("net_amount").sum(), pl.col("net_amount").sum()))
def daily_sales(orders: Frame[Orders]) -> Frame[DailySales]:
    day = pl.col("ordered_at").dt.convert_time_zone("Europe/London").dt.date()
    return (
        orders.group_by(day.alias("day"), "country")
        .agg(
            orders=pl.len().cast(pl.Int64),
            lines=pl.col("line_count").sum(),
            net_amount=pl.col("net_amount").sum(),
        )
        .sort("day", "country")
    )
