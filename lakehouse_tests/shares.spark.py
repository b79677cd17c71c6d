"""The rows of gold/shares, made well or otherwise: SHARES names how. No Spark is asked: it would take longer."""

import os
import time
from pathlib import Path

import polars as pl
from dagster_pipes import (
    PipesCliArgsParamsLoader,
    PipesContext,
    PipesUnityCatalogVolumesMessageWriter,
    open_dagster_pipes,
)

A_MEGABYTE = "m" * 1_000_000


def main(pipes: PipesContext, how: str) -> None:
    """Do it in the way that is asked for."""
    told = pipes.get_extra("reads")["counted"]
    counts = pl.scan_delta(told["uri"], version=told["version"]).collect()
    rows = counts.select("no", share=pl.col("pieces") / pl.col("pieces").sum())
    pipes.log.info("sharing %d slips", rows.height)
    print("printed by the script", flush=True)  # noqa: T201 # what a script prints must not vanish
    match how:
        case "fails":
            raise ValueError("the third column is missing")
        case "breaks a rule":
            rows = rows.with_columns(share=pl.col("share") * 2)
        case "other columns":
            rows = rows.rename({"share": "part"})
        case "talks much":
            for number in range(3):
                pipes.log.info("%d %s", number, A_MEGABYTE)
        case "reports a check":
            pipes.report_asset_check("share__le", passed=True)
        case "hangs":
            Path(os.environ["SHARES_PID"]).write_text(str(os.getpid()))
            time.sleep(600)
    if how != "leaves nothing":
        rows.write_delta(pipes.get_extra("writes"))
    if how == "dies":
        os._exit(0)
    pipes.report_asset_materialization(metadata={"slips": rows.height, "made by": "the script"})


if __name__ == "__main__":
    with open_dagster_pipes(
        params_loader=PipesCliArgsParamsLoader(),
        message_writer=PipesUnityCatalogVolumesMessageWriter(interval=0),
    ) as opened:
        if os.environ.get("SHARES") == "tells all":
            print(dict(os.environ), flush=True)  # noqa: T201
            raise ValueError(str(dict(os.environ)))
        main(opened, os.environ.get("SHARES", "well"))
