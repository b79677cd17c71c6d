"""The code location of a table of many files, as `dagster-daemon run -m` loads it."""

from datetime import timedelta

import dagster as dg

from benchmarks.many_files import tables
from lakehouse.engine.orchestrate.load import tables_in
from lakehouse.engine.orchestrate.sensor import arrivals_sensor
from resources.delta_io_manager import DeltaIOManager
from resources.environment import load_environment, storages

EVERY = timedelta(minutes=1)  # so that no tick falls into the run that the last one asked for

found = tables_in(tables)
connections = storages(load_environment())
landing, lake = connections["landing"], connections["lake"]
definitions = dg.Definitions(
    assets=found,
    sensors=[arrivals_sensor(each, every=EVERY) for each in found],
    resources={"landing": landing, "lake": lake, "io_manager": DeltaIOManager(lake=lake)},
)
