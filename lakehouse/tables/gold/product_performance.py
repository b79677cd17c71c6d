import polars as pl
from dagster import AutomationCondition

from lakehouse import Frame, Gbp, Gold, Overwrite, column, table
from lakehouse.tables.silver.order_lines import OrderLines
from lakehouse.tables.silver.products import PRODUCT, Products


class ProductPerformance(Gold):
    """One row per product or service code, in capitals.

    Source: silver order lines, all of them; names from silver products.
    """

    product_code: str = column("The code in capitals", key=True)
    name: str = column("The name it is sold under; empty where the catalogue has none", nullable=True)
    is_service: bool = column("Whether it is no product: postage, discounts, vouchers, adjustments")
    is_in_catalogue: bool = column("Whether a weekly snapshot ever had it")
    orders: int = column("Orders and credits that it stands on", ge=1)
    lines: int = column("Their lines of it", ge=1)
    quantity: int = column("Pieces, less those that came back")
    net_amount: Gbp = column("Sum of the lines")


@table(
    write=Overwrite(),
    conserves=(pl.col("net_amount").sum(), pl.col("net_amount").sum()),
    owners=["team:sales"],
    automation_condition=AutomationCondition.eager(),
)
def product_performance(lines: Frame[OrderLines], products: Frame[Products]) -> Frame[ProductPerformance]:
    code = pl.col("sku").str.to_uppercase().alias("product_code")
    catalogue = (
        products.sort("sku")
        .group_by("product_code")
        .agg(name=pl.col("name").drop_nulls().first(), is_in_catalogue=True)
    )
    return (
        lines.group_by(code)
        .agg(
            orders=pl.col("order_no").n_unique().cast(pl.Int64),
            lines=pl.len().cast(pl.Int64),
            quantity=pl.col("quantity").sum(),
            net_amount=pl.col("net_amount").sum(),
        )
        .join(catalogue, on="product_code", how="left")
        .select(
            "product_code",
            "name",
            is_service=~pl.col("product_code").str.contains(PRODUCT),
            is_in_catalogue=pl.col("is_in_catalogue").fill_null(value=False),
            orders="orders",
            lines="lines",
            quantity="quantity",
            net_amount="net_amount",
        )
        .sort("product_code")
    )
