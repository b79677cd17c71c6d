"""Jobs for a person or a schedule to start."""

import dagster as dg

everything = dg.define_asset_job(
    "everything", selection=dg.AssetSelection.all(), description="Every table, in the order of the graph."
)
