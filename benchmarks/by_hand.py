"""The same slice as a good engineer writes it by hand in an afternoon: Polars and deltalake, no promises kept.

Usage: python -m benchmarks.by_hand LANDING LAKE. Equal tables to ours on the same landed files, and that is checked.
"""

import gzip
import sys
from pathlib import Path

import polars as pl
from deltalake import write_deltalake

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


def utc(column: str) -> pl.Expr:
    read = pl.col(column).str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us")
    return read.dt.replace_time_zone("Europe/London").dt.convert_time_zone("UTC")


def main(landing: Path, lake: Path) -> None:
    files = sorted(landing.glob("erp/orders/dt=*/orders.jsonl.gz"))
    text = b"".join(gzip.decompress(file.read_bytes()) for file in files)
    sent = pl.read_ndjson(text, schema=SENT)
    write_deltalake(lake / "bronze" / "erp_orders", sent)

    latest = sent.unique("order_no", keep="last", maintain_order=True)
    lines = (
        latest.lazy()
        .explode("lines")
        .unnest("lines")
        .with_columns(unit_price=pl.col("unit_price").round(3).cast(PRICE))
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
    write_deltalake(lake / "silver" / "order_lines", lines)

    sums = lines.group_by("order_no").agg(line_count=pl.len().cast(pl.Int64), net_amount=pl.col("net_amount").sum())
    orders = latest.join(sums, on="order_no", maintain_order="left").select(
        "order_no",
        pl.col("customer_id").cast(pl.Int64),
        "country",
        ordered_at=utc("order_ts"),
        line_count="line_count",
        net_amount="net_amount",
    )
    write_deltalake(lake / "silver" / "orders", orders)

    day = pl.col("ordered_at").dt.convert_time_zone("Europe/London").dt.date()
    sales = (
        orders.group_by(day.alias("day"), "country")
        .agg(
            orders=pl.len().cast(pl.Int64),
            lines=pl.col("line_count").sum(),
            net_amount=pl.col("net_amount").sum(),
        )
        .sort("day", "country")
    )
    write_deltalake(lake / "gold" / "daily_sales", sales)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
