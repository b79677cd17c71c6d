"""The Dagster code location. Loads offline, in every environment."""

import dagster as dg

from lakehouse import jobs, schedules, sensors, tables
from lakehouse.engine.orchestrate.load import assets_in, connections_of, tables_in
from lakehouse.engine.orchestrate.unpickled import unpickled
from resources.delta_io_manager import DeltaIOManager
from resources.environment import cluster, lake_behind, load_environment, policies, storages


@dg.definitions
@unpickled
def lakehouse() -> dg.Definitions:
    environment = load_environment()
    connections = storages(environment, connections_of(tables_in(tables)))
    return dg.Definitions(
        assets=assets_in(tables),
        sensors=[*sensors.arrivals, sensors.automation],
        jobs=[jobs.everything, *jobs.upkeep, *jobs.checks, jobs.restore],
        schedules=[schedules.nightly, *schedules.kept, *schedules.checked],
        resources={
            **connections,
            "io_manager": DeltaIOManager(
                lake=connections["lake"],
                behind=lake_behind(environment),
                merge_memory_mb=environment.merge_memory_mb,
            ),
            "spark": cluster(environment),
            "upkeep": policies(environment),
        },
        executor=dg.in_process_executor if environment.executor == "in_process" else dg.multiprocess_executor,
    )
