"""Jobs for a person or a schedule to start."""

import dagster as dg

from lakehouse import tables
from lakehouse.engine.orchestrate.load import unpartitioned_in

everything = dg.define_asset_job(
    "everything",
    selection=unpartitioned_in(tables),
    description="Every table without partitions, in the order of the graph. Partitions are made by `lakehouse run`, "
    "by automation conditions, or by a backfill in the UI.",
)
