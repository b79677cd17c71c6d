"""The best script: the same tables as the usual one, as fast as we know how to make them by hand.

Streams from file to file; Parquet by Polars and one commit a table; only keys that come twice are sorted out; what is
wrong is collected in a pass of its own. An increment rewrites only the files that hold a row it replaces, and in gold
only the days it touches: it leans on an order's day, which no correction changes.

Usage: python -m benchmarks.lines.best LANDING LAKE
"""

import polars as pl

from benchmarks.delta_files import commit, full, replace, replace_days, sink
from benchmarks.generated import CSV
from benchmarks.lines.usual import KEY, RULES, TYPES, daily_sales
from benchmarks.script import Paths, run


def judged(sent: pl.LazyFrame) -> pl.LazyFrame:
    def utc(name: str) -> pl.Expr:
        read = pl.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", strict=False)
        return read.dt.replace_time_zone("UTC")

    read = [pl.col(name).cast(dtype, strict=False) for name, dtype in TYPES.items()]
    typed = sent.with_columns(*read, utc("ordered_at"), utc("saved_at"))
    return typed.select(
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
    )


def once(right: pl.LazyFrame) -> pl.LazyFrame:
    """The last row of each key: only those that come twice are gathered in memory."""
    twice = right.select(KEY).group_by(KEY).len().filter(pl.col("len") > 1).select(KEY).collect(engine="streaming")
    several = right.join(twice.lazy(), on=KEY, how="semi", maintain_order="left").collect()
    last = several.unique(KEY, keep="last", maintain_order=True)
    return pl.concat([right.join(twice.lazy(), on=KEY, how="anti"), last.lazy()])


def work(paths: Paths) -> None:
    bronze, silver = paths.table("bronze/sent_lines"), paths.table("silver/order_lines")
    sent = pl.scan_csv(paths.files, infer_schema=False, include_file_paths="source_file")
    landed = sink(sent, bronze)
    commit(bronze, sent.collect_schema(), landed)
    lines = judged(pl.scan_parquet(full(bronze, (each.path for each in landed))))
    right = lines.filter("is_right").drop("is_right")
    wrong = lines.filter(~pl.col("is_right")).drop("is_right")
    commit(
        paths.table("quarantine/order_lines"),
        wrong.collect_schema(),
        sink(wrong, paths.table("quarantine/order_lines")),
    )
    (_first if paths.is_first else _more)(paths, silver, right)


def _first(paths: Paths, silver: str, right: pl.LazyFrame) -> None:
    added = sink(once(right), silver, ["day"])
    commit(silver, right.collect_schema(), added)
    gold = paths.table("gold/daily_sales")
    sales = daily_sales(pl.scan_parquet(full(silver, (each.path for each in added))))
    commit(gold, sales.schema, sink(sales.lazy(), gold))


def _more(paths: Paths, silver: str, right: pl.LazyFrame) -> None:
    came = right.collect().unique(KEY, keep="last", maintain_order=True)
    files = replace(silver, came, KEY, "day")
    days = came["day"].unique()
    sales = daily_sales(pl.scan_parquet(files, glob=False).filter(pl.col("day").is_in(days.implode())))
    replace_days(paths.table("gold/daily_sales"), sales, days)


if __name__ == "__main__":
    run(work, CSV)
