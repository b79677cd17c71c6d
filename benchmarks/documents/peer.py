"""The same graph as Dagster assets with dagster-polars' Delta IO manager, run in the peers' own environment.

It appends and overwrites and has no merge: an increment makes silver anew from all of bronze.

Usage: python -m benchmarks.documents.peer LANDING LAKE
"""

import dagster as dg
import polars as pl
from dagster_polars import PolarsDeltaIOManager  # pyright: ignore[reportMissingImports] # in its own environment only

from benchmarks.documents import usual
from benchmarks.generated import JSON_LINES
from benchmarks.script import Paths, run

ANEW = {"mode": "overwrite"}


def work(paths: Paths) -> None:
    @dg.asset(key=["bronze", "sent_orders"], metadata={"mode": "append"})
    def sent_orders() -> pl.DataFrame:
        return usual.read(paths.files).with_columns(first_file=pl.lit(str(paths.files[0])))

    @dg.multi_asset(
        ins={"sent": dg.AssetIn(["bronze", "sent_orders"])},
        outs={
            "lines": dg.AssetOut(key=["silver", "order_lines"], metadata=ANEW),
            "made": dg.AssetOut(key=["silver", "orders"], metadata=ANEW),
            "wrong": dg.AssetOut(key=["quarantine", "order_lines"], metadata=ANEW),
        },
    )
    def orders_and_lines(sent: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        documents = usual.latest(sent.sort("first_file", maintain_order=True))  # Delta's files come in no order
        lines = usual.order_lines(documents)
        made = usual.orders(documents, lines).filter(usual.RIGHT_ORDER)
        return lines.filter(usual.RIGHT_LINE), made, lines.filter(~usual.RIGHT_LINE)

    @dg.asset(key=["gold", "daily_sales"], ins={"made": dg.AssetIn(["silver", "orders"])}, metadata=ANEW)
    def daily_sales(made: pl.LazyFrame) -> pl.DataFrame:
        return usual.daily_sales(made)

    dg.materialize(
        [sent_orders, orders_and_lines, daily_sales],
        resources={"io_manager": PolarsDeltaIOManager(base_dir=str(paths.lake))},
        instance=dg.DagsterInstance.get(),
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )


if __name__ == "__main__":
    run(work, JSON_LINES)
