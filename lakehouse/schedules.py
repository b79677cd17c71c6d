"""What runs by the clock. Files wake their tables themselves; this is for days on which nobody looks."""

import dagster as dg

from lakehouse.engine.orchestrate.sensor import WHY
from lakehouse.jobs import everything

nightly = dg.ScheduleDefinition(
    name="nightly",
    job=everything,
    cron_schedule="0 4 * * *",
    execution_timezone="Europe/London",
    tags={WHY: "It is four in the morning, when every table is run once."},
    description="Every table once a night. Stopped until someone starts it.",
)
