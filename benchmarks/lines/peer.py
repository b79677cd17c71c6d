"""The same graph as Dagster assets with dagster-polars' Delta IO manager, run in the peers' own environment.

It appends and overwrites and has no merge: an increment makes silver anew from all of bronze.

Usage: python -m benchmarks.lines.peer LANDING LAKE
"""

import dagster as dg
import polars as pl
from dagster_polars import PolarsDeltaIOManager  # pyright: ignore[reportMissingImports] # in its own environment only

from benchmarks.generated import CSV
from benchmarks.lines import usual
from benchmarks.script import Paths, run


def work(paths: Paths) -> None:
    @dg.asset(key=["bronze", "sent_lines"], metadata={"mode": "append"})
    def sent_lines() -> pl.DataFrame:
        return usual.read(paths.files)

    @dg.multi_asset(
        ins={"sent": dg.AssetIn(["bronze", "sent_lines"])},
        outs={
            "right": dg.AssetOut(key=["silver", "order_lines"], metadata={"mode": "overwrite"}),
            "wrong": dg.AssetOut(key=["quarantine", "order_lines"], metadata={"mode": "overwrite"}),
        },
    )
    def order_lines(sent: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        return usual.order_lines(sent.sort("source_file", maintain_order=True))  # Delta's files come in no order

    @dg.asset(
        key=["gold", "daily_sales"],
        ins={"lines": dg.AssetIn(["silver", "order_lines"])},
        metadata={"mode": "overwrite"},
    )
    def daily_sales(lines: pl.LazyFrame) -> pl.DataFrame:
        return usual.daily_sales(lines)

    dg.materialize(
        [sent_lines, order_lines, daily_sales],
        resources={"io_manager": PolarsDeltaIOManager(base_dir=str(paths.lake))},
        instance=dg.DagsterInstance.get(),
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )


if __name__ == "__main__":
    run(work, CSV)
