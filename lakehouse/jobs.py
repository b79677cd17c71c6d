"""Jobs for a person or a schedule to start."""

import dagster as dg

from lakehouse import tables
from lakehouse.engine.orchestrate.load import assets_in, unpartitioned_in
from lakehouse.engine.orchestrate.upkeep_jobs import check_jobs, restore_job, upkeep_jobs

everything = dg.define_asset_job(
    "everything",
    selection=unpartitioned_in(tables),
    description="Every table without partitions, in the order of the graph. Partitions are made by `lakehouse run`, "
    "by automation conditions, or by a backfill in the UI.",
)

upkeep = upkeep_jobs(assets_in(tables))
checks = check_jobs(assets_in(tables))
restore = restore_job(assets_in(tables))
