"""What runs by the clock. Files wake their tables themselves; this is for days on which nobody looks."""

import dagster as dg

from lakehouse.engine.orchestrate.sensor import WHY
from lakehouse.jobs import checks, everything, upkeep

nightly = dg.ScheduleDefinition(
    name="nightly",
    job=everything,
    cron_schedule="0 4 * * *",
    execution_timezone="Europe/London",
    tags={WHY: "It is four in the morning, when every table is run once."},
    description="Every table once a night. Stopped until someone starts it.",
)

kept = [
    dg.ScheduleDefinition(
        name=job.name,
        job=job,
        cron_schedule=f"{20 * place} 2 * * *",
        execution_timezone="Europe/London",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        tags={WHY: "It is two in the morning, when tables are kept."},
        description="Keeps a layer's tables once a night, as `upkeep:` of the environment file says; where it says "
        "nothing of them, nothing is done.",
    )
    for place, job in enumerate(upkeep)
]

checked = [
    dg.ScheduleDefinition(
        name=job.name,
        job=job,
        cron_schedule=f"{20 * place} 5 * * 0",
        execution_timezone="Europe/London",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        tags={WHY: "It is five on a Sunday morning, when every file is read."},
        description="Reads a layer's tables once a week, those that `upkeep:` of the environment file names. It reads "
        "every byte of them: stop it here where that costs too much.",
    )
    for place, job in enumerate(checks)
]
