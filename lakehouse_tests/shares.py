"""A small business with a table that runs on Spark. What its script does, the variable SHARES tells it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from lakehouse import Append, Bronze, Files, Frame, Gold, JsonLines, Merge, New, Overwrite, Silver, Spark, column, table
from lakehouse.engine.declare.ports import Storage
from lakehouse.engine.delta.handle import Handle
from resources.delta_io_manager import DeltaIOManager
from resources.local_disk import LocalDisk

AT_ONCE = Files("slips/*.jsonl", formats=JsonLines(), settle=timedelta(0))


class Slips(Bronze):
    """One row per slip. Source: the tests."""

    no: str = column("Number of the slip")
    pieces: int = column("Pieces")


class Counts(Silver):
    """One row per slip. Source: the tests."""

    no: str = column("Number of the slip", key=True)
    pieces: int = column("Pieces")


class Shares(Gold):
    """One row per slip. Source: the tests."""

    no: str = column("Number of the slip", key=True)
    share: float = column("Its share of all pieces", ge=0, le=1)


@table(source=AT_ONCE, write=Append())
def slips() -> Frame[Slips]: ...


@table(write=Merge())
def counts(sent: New[Slips]) -> Frame[Counts]:
    return sent.select("no", "pieces")


@table(write=Overwrite(), runs_on=Spark("shares.spark.py"))
def shares(counted: Frame[Counts]) -> Frame[Shares]: ...


TABLES = [slips, counts, shares]


@dataclass
class House:
    """A landing and a lake on a disk, Dagster's instance in memory, and what carries out scripts."""

    home: Path
    cluster: Any
    lake: Any = None
    instance: dg.DagsterInstance = field(default_factory=dg.DagsterInstance.ephemeral)

    def __post_init__(self) -> None:
        self.lake = self.lake or LocalDisk(path=str(self.home / "lake"))

    def land(self, name: str, **pieces: int) -> None:
        file = self.home / "landing/slips" / f"{name}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps({"no": no, "pieces": count}) + "\n" for no, count in pieces.items()))

    def definitions(self) -> dg.Definitions:
        resources = {
            "landing": LocalDisk(path=str(self.home / "landing")),
            "lake": self.lake,
            "io_manager": DeltaIOManager(lake=self.lake),
            "spark": self.cluster,
        }
        return dg.Definitions(TABLES, resources=resources, executor=dg.in_process_executor)

    def run(self) -> dg.ExecuteInProcessResult:
        """All three tables, in one run."""
        job = self.definitions().resolve_implicit_global_asset_job_def()
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        return job.execute_in_process(instance=self.instance, raise_on_error=False, run_config=quiet)

    def shares(self) -> dict[str, float]:
        return stored(self.lake, "gold", "shares")

    def version(self) -> int | None:
        handle = Handle.open(self.lake.address("gold", "shares"))
        return handle and handle.version

    def said(self, result: dg.ExecuteInProcessResult) -> str:
        """All that stands in the log of a run."""
        return "\n".join(each.user_message for each in self.instance.all_logs(result.run_id))


def failure(result: dg.ExecuteInProcessResult) -> str:
    """Why the step of `shares` failed."""
    events = result.filter_events(lambda each: each.is_step_failure and each.step_key == "gold__shares")
    [data] = [each.step_failure_data for each in events]
    return (data.user_failure_data and data.user_failure_data.description) or str(data.error)


def stored(lake: Storage, *path: str) -> dict[str, float]:
    handle = Handle.open(lake.address(*path))
    rows = handle.scan().collect() if handle else pl.DataFrame({"no": [], "share": []})
    return dict(rows.rows())
