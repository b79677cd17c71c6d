"""What runs by the clock. Files wake their tables themselves; this is for days on which nobody looks."""

from collections.abc import Sequence

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


def _by_layer(jobs: Sequence[dg.JobDefinition], when: str, why: str, description: str) -> list[dg.ScheduleDefinition]:
    """One for each layer's job, twenty minutes apart, running; when: Cron's words without the minute."""
    return [
        dg.ScheduleDefinition(
            name=job.name,
            job=job,
            cron_schedule=f"{20 * place} {when}",
            execution_timezone="Europe/London",
            default_status=dg.DefaultScheduleStatus.RUNNING,
            tags={WHY: why},
            description=description,
        )
        for place, job in enumerate(jobs)
    ]


kept = _by_layer(
    upkeep,
    "2 * * *",
    "It is two in the morning, when tables are kept.",
    "Keeps a layer's tables once a night, as `upkeep:` of the environment file says; where it says nothing of them, "
    "nothing is done.",
)

checked = _by_layer(
    checks,
    "5 * * 0",
    "It is five on a Sunday morning, when every file is read.",
    "Reads a layer's tables once a week, those that `upkeep:` of the environment file names. It reads every byte of "
    "them: stop it here where that costs too much.",
)
