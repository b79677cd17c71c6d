"""What both graphs by dlt share; run in the peers' own environment.

dlt's own way with files: its filesystem source lists them and remembers the newest time of change; rows go through as
Arrow, which it does not take apart; its filesystem destination makes Delta tables, with an upsert for a merge.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.script import Paths

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"  # before it is imported

import dlt  # pyright: ignore[reportMissingImports] # in its own environment only
from dlt.sources.filesystem import filesystem  # pyright: ignore[reportMissingImports]

APPEND, REPLACE, UPSERT = "append", "replace", {"disposition": "merge", "strategy": "upsert"}


@dataclass(frozen=True)
class Rows:
    """What is loaded into a table, and how."""

    table: str
    rows: pl.DataFrame
    disposition: Any = APPEND
    key: tuple[str, ...] = ()

    def marked(self) -> Any:
        hints = dlt.mark.make_hints(
            self.table, table_format="delta", write_disposition=self.disposition, primary_key=list(self.key)
        )
        return dlt.mark.with_hints(self.rows.to_arrow(), hints, create_table_variant=True)


def pipeline(paths: Paths) -> Any:
    return dlt.pipeline(
        "benchmark",
        pipelines_dir=str(paths.lake / "dlt"),
        destination=dlt.destinations.filesystem(str(paths.lake)),
        dataset_name="tables",
    )


def load(paths: Paths, pattern: str, made: Callable[[list[Path]], Iterator[Rows]]) -> None:
    """What is `made` of the new files, all of them at once."""
    found = filesystem(
        str(paths.landing),
        file_glob=pattern.format(day="*"),
        files_per_page=1_000_000,
        incremental=dlt.sources.incremental("modification_date"),
    )

    @dlt.transformer(data_from=found)
    def tables(items: list[Any]) -> Iterator[Any]:
        for each in made(sorted(paths.landing / item["relative_path"] for item in items)):
            yield each.marked()

    pipeline(paths).run(tables)


def load_rows(paths: Paths, rows: Rows) -> None:
    pipeline(paths).run(dlt.resource([rows.marked()], name=rows.table))
