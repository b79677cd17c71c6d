"""The best script: the same tables as the usual one, as fast as we know how to make them by hand.

Files are unpacked side by side; each time is read once however often it comes; Parquet by Polars and one commit a
table. An increment rewrites only the files that hold an order it replaces, and in gold only the days it touches.

Usage: python -m benchmarks.documents.best LANDING LAKE
"""

import gzip
from concurrent.futures import ThreadPoolExecutor

import polars as pl

from benchmarks.delta_files import commit, replace, replace_days, sink
from benchmarks.documents.usual import PRICE, RIGHT_LINE, RIGHT_ORDER, SENT, daily_sales
from benchmarks.generated import JSON_LINES
from benchmarks.script import Paths, run


def read(paths: Paths) -> pl.LazyFrame:
    with ThreadPoolExecutor(2) as pool:
        texts = pool.map(lambda file: gzip.decompress(file.read_bytes()), paths.files)
        return pl.read_ndjson(b"".join(texts), schema=SENT).lazy()


def utc(text: pl.Expr) -> pl.Expr:
    def read(texts: pl.Series) -> pl.Series:
        distinct = texts.unique()
        wall = distinct.str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us").dt.replace_time_zone("Europe/London")
        return texts.replace_strict(distinct, wall.dt.convert_time_zone("UTC"))

    return text.map_batches(read, return_dtype=pl.Datetime("us", "UTC"), is_elementwise=True)


def order_lines(documents: pl.LazyFrame) -> pl.LazyFrame:
    line = pl.col("lines").struct
    price = line.field("unit_price").round(3).cast(PRICE)
    return (
        documents.with_columns(utc(pl.col("order_ts")))
        .explode("lines", empty_as_null=False)
        .select(
            "order_no",
            line.field("line_no"),
            line.field("sku"),
            line.field("description"),
            quantity=line.field("qty"),
            unit_price=price,
            net_amount=line.field("qty") * price,
            country="country",
            ordered_at="order_ts",
            saved_at=utc(line.field("line_ts")),
        )
    )


def orders(documents: pl.LazyFrame, lines: pl.LazyFrame) -> pl.LazyFrame:
    sums = lines.group_by("order_no").agg(line_count=pl.len().cast(pl.Int64), net_amount=pl.col("net_amount").sum())
    return (
        documents.select("order_no", "customer_id", "country", "order_ts")
        .join(sums, on="order_no")
        .select(
            "order_no",
            pl.col("customer_id").cast(pl.Int64),
            "country",
            ordered_at=utc(pl.col("order_ts")),
            line_count="line_count",
            net_amount="net_amount",
        )
    )


def work(paths: Paths) -> None:
    sent = read(paths)
    bronze, aside = paths.table("bronze/sent_orders"), paths.table("quarantine/order_lines")
    commit(bronze, sent.collect_schema(), sink(sent, bronze))
    documents = sent.filter(pl.col("order_no").is_last_distinct())
    lines = order_lines(documents).collect()
    wrong = lines.lazy().filter(~RIGHT_LINE)
    commit(aside, lines.schema, sink(wrong, aside))
    made = orders(documents, lines.lazy()).filter(RIGHT_ORDER).collect()
    (_first if paths.is_first else _more)(paths, made, lines.filter(RIGHT_LINE))


def _first(paths: Paths, made: pl.DataFrame, lines: pl.DataFrame) -> None:
    for name, rows in (
        ("silver/order_lines", lines),
        ("silver/orders", made),
        ("gold/daily_sales", daily_sales(made.lazy())),
    ):
        table, measured = paths.table(name), ["ordered_at"] if "ordered_at" in rows.columns else []
        commit(table, rows.schema, sink(rows.lazy(), table, measured))


def _more(paths: Paths, made: pl.DataFrame, lines: pl.DataFrame) -> None:
    replace(paths.table("silver/order_lines"), lines, ["order_no"], "ordered_at")
    files = replace(paths.table("silver/orders"), made, ["order_no"], "ordered_at")
    day = pl.col("ordered_at").dt.convert_time_zone("Europe/London").dt.date()
    days = made.select(day.unique().alias("day"))["day"]
    sales = daily_sales(pl.scan_parquet(files, glob=False).filter(day.is_in(days.implode())))
    replace_days(paths.table("gold/daily_sales"), sales, days)


if __name__ == "__main__":
    run(work, JSON_LINES)
