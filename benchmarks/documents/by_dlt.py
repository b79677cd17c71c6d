"""The same graph by dlt, with what the usual script does between its tables.

Its upsert keeps the lines that an order no longer has: these go by deltalake, as in the usual script.

Usage: python -m benchmarks.documents.by_dlt LANDING LAKE
"""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from benchmarks.documents import usual
from benchmarks.generated import JSON_LINES
from benchmarks.loaded import REPLACE, UPSERT, Rows, load, load_rows
from benchmarks.script import Paths, run


def work(paths: Paths) -> None:
    came: list[pl.DataFrame] = []

    def made(files: list[Path]) -> Iterator[Rows]:
        sent = usual.read(files)
        yield Rows("bronze_sent_orders", sent)
        documents = usual.latest(sent)
        lines = usual.order_lines(documents)
        orders = usual.orders(documents, lines).filter(usual.RIGHT_ORDER)
        yield Rows("quarantine_order_lines", lines.filter(~usual.RIGHT_LINE))
        came.append(lines.filter(usual.RIGHT_LINE))
        yield Rows("silver_order_lines", came[0], UPSERT, ("order_no", "line_no"))
        yield Rows("silver_orders", orders, UPSERT, ("order_no",))

    load(paths, JSON_LINES, made)
    if not paths.is_first:
        usual.forget_lines(paths.table("tables/silver_order_lines"), came[0])
    sales = usual.daily_sales(pl.scan_delta(paths.table("tables/silver_orders")))
    load_rows(paths, Rows("gold_daily_sales", sales, REPLACE))


if __name__ == "__main__":
    run(work, JSON_LINES)
