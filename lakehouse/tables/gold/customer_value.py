import polars as pl
from dagster import AutomationCondition

from lakehouse import Frame, Gbp, Gold, Overwrite, Utc, check, column, table
from lakehouse.tables.silver.customers import Customers
from lakehouse.tables.silver.orders import IS_CREDIT, Orders

OF_AN_ACCOUNT = pl.col("net_amount").filter(pl.col("customer_id").is_not_null()).sum()


class CustomerValue(Gold):
    """One row per customer who has bought or given back.

    Source: silver orders with an account; countries from silver customers.
    """

    customer_id: int = column("Number of the account", key=True, personal=False)
    country: str = column("Where he is now; empty until the first weekly snapshot with him", nullable=True)
    orders: int = column("Orders", ge=0)
    credits: int = column("Credit notes", ge=0)
    net_amount: Gbp = column("What he has paid, less what he was given back")
    first_order_at: Utc = column("When the first of these was saved")
    last_order_at: Utc = column("When the last of these was saved")

    @check
    def he_has_bought_or_given_back() -> pl.Expr:
        """Nobody is here for nothing."""
        return pl.col("orders") + pl.col("credits") >= 1


@table(
    write=Overwrite(),
    conserves=(OF_AN_ACCOUNT, pl.col("net_amount").sum()),
    owners=["team:sales"],
    automation_condition=AutomationCondition.eager(),
)
def customer_value(orders: Frame[Orders], customers: Frame[Customers]) -> Frame[CustomerValue]:
    return (
        orders.filter(pl.col("customer_id").is_not_null())
        .group_by("customer_id")
        .agg(
            orders=(~IS_CREDIT).sum().cast(pl.Int64),
            credits=IS_CREDIT.sum().cast(pl.Int64),
            net_amount=pl.col("net_amount").sum(),
            first_order_at=pl.col("ordered_at").min(),
            last_order_at=pl.col("ordered_at").max(),
        )
        .join(customers.select("customer_id", "country"), on="customer_id", how="left")
        .select(
            "customer_id",
            "country",
            "orders",
            "credits",
            "net_amount",
            "first_order_at",
            "last_order_at",
        )
        .sort("customer_id")
    )
