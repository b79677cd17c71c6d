"""The usual script: what a good engineer writes in an afternoon with Polars and deltalake.

Usage: python -m benchmarks.documents.usual LANDING LAKE
"""

import gzip
from pathlib import Path

import polars as pl
from deltalake import DeltaTable, write_deltalake

from benchmarks.generated import JSON_LINES
from benchmarks.script import Paths, run

PRICE = pl.Decimal(38, 3)
LINE = pl.Struct(
    {
        "line_no": pl.Int64,
        "sku": pl.String,
        "description": pl.String,
        "qty": pl.Int64,
        "unit_price": pl.Float64,
        "line_ts": pl.String,
    }
)
SENT = {
    "order_no": pl.String,
    "order_ts": pl.String,
    "customer_id": pl.String,
    "country": pl.String,
    "currency": pl.String,
    "lines": pl.List(LINE),
}
RIGHT_LINE = (pl.col("line_no") >= 1) & (pl.col("quantity") != 0)
RIGHT_ORDER = (pl.col("line_count") >= 1) & (~pl.col("order_no").str.starts_with("C") | (pl.col("net_amount") <= 0))


def read(files: list[Path]) -> pl.DataFrame:
    return pl.read_ndjson(b"".join(gzip.decompress(file.read_bytes()) for file in files), schema=SENT)


def latest(sent: pl.DataFrame) -> pl.DataFrame:
    return sent.unique("order_no", keep="last", maintain_order=True)


def utc(column: str) -> pl.Expr:
    wall = pl.col(column).str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us")
    return wall.dt.replace_time_zone("Europe/London").dt.convert_time_zone("UTC")


def order_lines(documents: pl.DataFrame) -> pl.DataFrame:
    """One row per line, right or wrong."""
    return (
        documents.lazy()
        .explode("lines", empty_as_null=False)
        .unnest("lines")
        .with_columns(pl.col("unit_price").round(3).cast(PRICE))
        .select(
            "order_no",
            "line_no",
            "sku",
            "description",
            quantity="qty",
            unit_price="unit_price",
            net_amount=pl.col("qty") * pl.col("unit_price"),
            country="country",
            ordered_at=utc("order_ts"),
            saved_at=utc("line_ts"),
        )
        .collect()
    )


def orders(documents: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """One row per order with the sums of its lines, right or wrong."""
    sums = lines.group_by("order_no").agg(line_count=pl.len().cast(pl.Int64), net_amount=pl.col("net_amount").sum())
    return documents.join(sums, on="order_no", maintain_order="left").select(
        "order_no",
        pl.col("customer_id").cast(pl.Int64),
        "country",
        ordered_at=utc("order_ts"),
        line_count="line_count",
        net_amount="net_amount",
    )


def daily_sales(orders: pl.LazyFrame) -> pl.DataFrame:
    day = pl.col("ordered_at").dt.convert_time_zone("Europe/London").dt.date()
    return (
        orders.group_by(day.alias("day"), "country")
        .agg(orders=pl.len().cast(pl.Int64), lines=pl.col("line_count").sum(), net_amount=pl.col("net_amount").sum())
        .sort("day", "country")
        .collect()
    )


def work(paths: Paths) -> None:
    sent = read(paths.files)
    write_deltalake(paths.table("bronze/sent_orders"), sent, mode="append")
    documents = latest(sent)
    lines = order_lines(documents)
    made = orders(documents, lines).filter(RIGHT_ORDER)
    write_deltalake(paths.table("quarantine/order_lines"), lines.filter(~RIGHT_LINE), mode="append")
    lines = lines.filter(RIGHT_LINE)
    if paths.is_first:
        write_deltalake(paths.table("silver/order_lines"), lines)
        write_deltalake(paths.table("silver/orders"), made)
    else:
        merge(paths.table("silver/order_lines"), lines, "line_no")
        forget_lines(paths.table("silver/order_lines"), lines)
        merge(paths.table("silver/orders"), made)
    sales = daily_sales(pl.scan_delta(paths.table("silver/orders")))
    write_deltalake(paths.table("gold/daily_sales"), sales, mode="overwrite")


def merge(table: str, rows: pl.DataFrame, *key: str) -> None:
    same = " and ".join(f"t.{name} = s.{name}" for name in ("order_no", *key))
    merging = DeltaTable(table).merge(rows, same, source_alias="s", target_alias="t")
    merging.when_matched_update_all().when_not_matched_insert_all().execute()


def forget_lines(table: str, came: pl.DataFrame) -> None:
    """The lines of an order that comes again take the place of all it had."""
    standing, key = DeltaTable(table), ["order_no", "line_no"]
    held = pl.scan_delta(standing).join(came.lazy(), on="order_no", how="semi").select(key).collect()
    gone = held.join(came, on=key, how="anti")
    if gone.height:
        sql = " or ".join(f"(order_no = '{order}' and line_no = {line})" for order, line in gone.iter_rows())
        standing.delete(sql)


if __name__ == "__main__":
    run(work, JSON_LINES)
