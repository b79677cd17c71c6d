import polars as pl

from lakehouse import Frame, Gold, Overwrite, Spark, check, column, table
from lakehouse.tables.silver.order_lines import OrderLines


class BasketPairs(Gold):
    """One row per pair of products that at least 25 orders hold together.

    Source: silver order_lines, those with more than zero pieces. A product counts once an order, however often it
    stands in it.
    """

    sku_a: str = column("The product of the two that sorts first", key=True)
    sku_b: str = column("The other one", key=True)
    orders: int = column("Orders that hold both", ge=25)
    orders_a: int = column("Orders that hold the first", ge=25)
    orders_b: int = column("Orders that hold the other", ge=25)
    support: float = column("Share of all orders that hold both", gt=0, le=1)
    confidence_ab: float = column("Share of the orders with the first that hold the other", gt=0, le=1)
    confidence_ba: float = column("Share of the orders with the other that hold the first", gt=0, le=1)
    lift: float = column("How many times as often together as if neither cared for the other", gt=0)

    @check
    def a_pair_stands_once() -> pl.Expr:
        """The first of the two sorts before the other, so that no pair comes twice or with itself."""
        return pl.col("sku_a") < pl.col("sku_b")

    @check
    def both_are_held_by_no_more_orders_than_each() -> pl.Expr:
        """Orders that hold both hold each."""
        return pl.col("orders") <= pl.min_horizontal("orders_a", "orders_b")


@table(write=Overwrite(), runs_on=Spark("basket_pairs.spark.py"), owners=["team:sales"])
def basket_pairs(lines: Frame[OrderLines]) -> Frame[BasketPairs]: ...
