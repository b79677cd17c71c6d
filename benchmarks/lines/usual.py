"""The usual script: what a good engineer writes in an afternoon with Polars and deltalake.

Usage: python -m benchmarks.lines.usual LANDING LAKE
"""

from pathlib import Path

import polars as pl
from deltalake import DeltaTable, write_deltalake

from benchmarks.generated import CHANNELS, COUNTRIES, CSV
from benchmarks.script import Paths, run

PRICE = pl.Decimal(38, 3)
UTC = pl.Datetime("us", "UTC")
KEY = ["order_no", "line_no"]
TYPES = {"line_no": pl.Int64, "quantity": pl.Int64, "unit_price": PRICE, "customer_id": pl.Int64}
RULES = (
    pl.col("line_no") >= 1,
    pl.col("sku").str.contains("^[0-9]{5}A?$"),
    pl.col("quantity") != 0,
    pl.col("unit_price") >= 0,
    pl.col("country").is_in(COUNTRIES),
    pl.col("currency") == "GBP",
    pl.col("channel").is_in(CHANNELS),
    pl.col("saved_at") >= pl.col("ordered_at"),
)


def read(files: list[Path]) -> pl.DataFrame:
    return pl.scan_csv(files, infer_schema=False, include_file_paths="source_file").collect()


def order_lines(sent: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The last line of each key that keeps the rules, and all that do not."""
    typed = sent.lazy().with_columns(
        *(pl.col(name).cast(dtype, strict=False) for name, dtype in TYPES.items()),
        pl.col("ordered_at", "saved_at").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", strict=False),
    )
    typed = typed.with_columns(pl.col("ordered_at", "saved_at").dt.replace_time_zone("UTC"))
    lines = typed.select(
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
        is_right=pl.all_horizontal(RULES).fill_null(value=False),
    ).collect()
    right = lines.filter("is_right").drop("is_right").unique(KEY, keep="last", maintain_order=True)
    return right, lines.filter(~pl.col("is_right")).drop("is_right")


def daily_sales(lines: pl.LazyFrame) -> pl.DataFrame:
    return (
        lines.group_by("day", "country")
        .agg(
            orders=pl.col("order_no").n_unique().cast(pl.Int64),
            lines=pl.len().cast(pl.Int64),
            net_amount=pl.col("net_amount").sum(),
        )
        .sort("day", "country")
        .collect()
    )


def merge(silver: str, right: pl.DataFrame) -> None:
    merging = DeltaTable(silver).merge(
        right, "t.order_no = s.order_no and t.line_no = s.line_no", source_alias="s", target_alias="t"
    )
    merging.when_matched_update_all().when_not_matched_insert_all().execute()


def work(paths: Paths) -> None:
    sent = read(paths.files)
    write_deltalake(paths.table("bronze/sent_lines"), sent, mode="append")
    right, wrong = order_lines(sent)
    write_deltalake(paths.table("quarantine/order_lines"), wrong, mode="append")
    silver = paths.table("silver/order_lines")
    if paths.is_first:
        write_deltalake(silver, right)
    else:
        merge(silver, right)
    write_deltalake(paths.table("gold/daily_sales"), daily_sales(pl.scan_delta(silver)), mode="overwrite")


if __name__ == "__main__":
    run(work, CSV)
