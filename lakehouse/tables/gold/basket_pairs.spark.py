"""Pairs of products that are bought together: the rows of gold/basket_pairs, for any Spark.

Told through Dagster Pipes: `reads.lines`, the Delta table of order lines, as uri and version; `writes`, the uri of the
Delta table that is to be made.
"""

# pyright: standard
# (the types of pyspark and of dagster_pipes are partial)

from dagster_pipes import (
    PipesCliArgsParamsLoader,
    PipesContext,
    PipesUnityCatalogVolumesMessageWriter,
    open_dagster_pipes,
)
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 # as everybody calls it

MIN_ORDERS = 25
"""A pair is kept that this many orders hold, which asks both products for as many: that cuts before pairs are made."""


def pairs(lines: DataFrame) -> DataFrame:
    """One row per pair of products that at least MIN_ORDERS orders hold, each product counted once an order."""
    bought = lines.where(F.col("quantity") > 0).select("order_no", "sku").distinct()
    all_orders = bought.select("order_no").distinct().count()
    held = bought.groupBy("sku").agg(F.count("*").alias("orders")).where(F.col("orders") >= MIN_ORDERS)
    often = bought.join(held.select("sku"), "sku")
    one = often.select("order_no", F.col("sku").alias("sku_a"))
    other = often.select("order_no", F.col("sku").alias("sku_b"))
    together = (
        one.join(other, "order_no")
        .where(F.col("sku_a") < F.col("sku_b"))
        .groupBy("sku_a", "sku_b")
        .agg(F.count("*").alias("orders"))
        .where(F.col("orders") >= MIN_ORDERS)
    )
    return (
        together.join(held.select(F.col("sku").alias("sku_a"), F.col("orders").alias("orders_a")), "sku_a")
        .join(held.select(F.col("sku").alias("sku_b"), F.col("orders").alias("orders_b")), "sku_b")
        .select(
            "sku_a",
            "sku_b",
            "orders",
            "orders_a",
            "orders_b",
            (F.col("orders") / F.lit(all_orders)).alias("support"),
            (F.col("orders") / F.col("orders_a")).alias("confidence_ab"),
            (F.col("orders") / F.col("orders_b")).alias("confidence_ba"),
            (F.col("orders") * F.lit(all_orders) / (F.col("orders_a") * F.col("orders_b"))).alias("lift"),
        )
        .orderBy("sku_a", "sku_b")
    )


def main(pipes: PipesContext) -> None:
    """Read what is told, at the version that is told, and leave the pairs where it is told."""
    spark = SparkSession.builder.getOrCreate()
    told = pipes.get_extra("reads")["lines"]
    pipes.log.info("Pairing the lines of %s, version %s", told["uri"], told["version"])
    lines = spark.read.format("delta").option("versionAsOf", told["version"]).load(told["uri"])
    pairs(lines).write.format("delta").save(pipes.get_extra("writes"))
    pipes.report_asset_materialization(metadata={"spark": spark.version})


if __name__ == "__main__":
    with open_dagster_pipes(
        params_loader=PipesCliArgsParamsLoader(),
        message_writer=PipesUnityCatalogVolumesMessageWriter(interval=1),  # any folder will do
    ) as opened:
        main(opened)
