"""What wakes the graph: a sensor for each table that reads files, and the one that follows automation conditions."""

import dagster as dg

from lakehouse import tables
from lakehouse.engine.orchestrate.load import tables_in
from lakehouse.engine.orchestrate.sensor import WHY, arrivals_sensor

arrivals = [arrivals_sensor(each) for each in tables_in(tables) if each.declaration.source]

automation = dg.AutomationConditionSensorDefinition(
    "automation",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=15,
    run_tags={WHY: "Something that these tables read was written, and their automation conditions ask for a run."},
    description="Runs what is downstream of something new, by the tables' automation conditions.",
)
