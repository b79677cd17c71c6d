"""Thirteen plain assets that pass one value on, in one run: what Dagster's own steps cost."""

import dagster as dg

from benchmarks.dagster_alone import COPIES


@dg.asset
def sent() -> int:
    return 1


def copy(number: int) -> dg.AssetsDefinition:
    @dg.asset(name=f"copy_{number}")
    def one(sent: int) -> int:
        return sent

    return one


if __name__ == "__main__":
    dg.materialize(
        [sent, *map(copy, range(COPIES))],
        resources={"io_manager": dg.mem_io_manager},
        instance=dg.DagsterInstance.get(),
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )
