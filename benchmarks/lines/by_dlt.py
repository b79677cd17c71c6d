"""The same graph by dlt, with what the usual script does between its tables.

Usage: python -m benchmarks.lines.by_dlt LANDING LAKE
"""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from benchmarks.generated import CSV
from benchmarks.lines import usual
from benchmarks.loaded import REPLACE, UPSERT, Rows, load, load_rows
from benchmarks.script import Paths, run


def made(files: list[Path]) -> Iterator[Rows]:
    sent = usual.read(files)
    yield Rows("bronze_sent_lines", sent)
    right, wrong = usual.order_lines(sent)
    yield Rows("quarantine_order_lines", wrong)
    yield Rows("silver_order_lines", right, UPSERT, ("order_no", "line_no"))


def work(paths: Paths) -> None:
    load(paths, CSV, made)
    sales = usual.daily_sales(pl.scan_delta(paths.table("tables/silver_order_lines")))
    load_rows(paths, Rows("gold_daily_sales", sales, REPLACE))


if __name__ == "__main__":
    run(work, CSV)
