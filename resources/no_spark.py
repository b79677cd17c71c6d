"""An environment that names no Spark: tables that run on one are left out, and say so when they are asked for."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from lakehouse.engine.declare.errors import Terminal
from lakehouse.engine.declare.ports import SparkJob


class NoSpark(dg.ConfigurableResource):
    """Carries out no script. `declared_in` is the file that could name what does."""

    declared_in: str

    def why_not(self) -> str:
        return f"{self.declared_in} names none. Put `spark: {{kind: sail}}` there, or kind: databricks"

    def run(self, job: SparkJob, context: Any) -> Mapping[str, object]:  # noqa: ARG002 # the port's
        raise Terminal(f"{job.table} runs on Spark, and {self.why_not()}.")
