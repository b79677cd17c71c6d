"""One batch of change events applied, in a process of its own: `python -m benchmarks.changes WAY TABLE BATCH`.

An event has an `op` (c, u or d), its place in the stream (`lsn`) and the row; of one that deletes only the key. A key
may have several: each way first looks for its last one. What it cost and what stands then comes out as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

if any(each.startswith("ours") for each in sys.argv):
    import lakehouse  # noqa: F401 # before Polars, as wherever it runs: it says how Polars allocates

import polars as pl
from deltalake import DeltaTable

from benchmarks.upserts import KEY, SUMMED, cost_of, rewrite, same_key

OF_EVENT = ["op", "lsn"]
TOLD = {
    "rows": pl.len(),
    SUMMED: pl.col(SUMMED).sum(),
    "hash": pl.struct(pl.all()).hash().sum(),
}
"""What is told of all rows; sums beyond 64 bits begin anew."""

type Apply = Callable[[str, pl.DataFrame], object]
"""By the table's folder, and the events."""


def main(way: str, table: str, batch: str) -> None:
    events, apply = pl.read_parquet(batch), WAYS[way]()
    pl.scan_delta(table).head(0).collect()  # everything is loaded, of Polars too
    cost = cost_of(lambda: apply(table, events))
    began = time.perf_counter()
    found = pl.scan_delta(table).select(**TOLD).collect(engine="streaming")
    cost["read"] = time.perf_counter() - began
    print("told", json.dumps({**cost, **found.row(0, named=True)}))


def last(events: pl.DataFrame) -> pl.DataFrame:
    """The last event of each key."""
    return events.sort("lsn").unique(KEY, keep="last", maintain_order=True)


def _rows(events: pl.DataFrame) -> pl.DataFrame:
    return events.filter(pl.col("op") != "d").drop(OF_EVENT)


def _by_hand() -> Apply:
    def apply(table: str, events: pl.DataFrame) -> None:
        came = last(events)
        rewrite(table, came.select(KEY), _rows(came))

    return apply


def _of_deltalake(*, is_tuned: bool) -> Apply:
    def apply(table: str, events: pl.DataFrame) -> None:
        came = last(events)
        merging = DeltaTable(table).merge(came, same_key(came, is_tuned=is_tuned), "s", "t", streamed_exec=not is_tuned)
        (
            merging.when_matched_delete("s.op = 'd'")
            .when_matched_update_all(except_cols=OF_EVENT)
            .when_not_matched_insert_all("s.op != 'd'", except_cols=OF_EVENT)
            .execute()
        )

    return apply


def _ours(*, by_vectors: bool) -> Apply:
    """The last event of each key by its number, then as `Merge(deletes="is_deleted")` does."""
    from lakehouse.engine.declare.ports import Address
    from lakehouse.engine.declare.readers import Reader
    from lakehouse.engine.delta.handle import Handle
    from lakehouse.engine.delta.protocol import for_readers
    from lakehouse.engine.delta.writes import prepare_merge

    def apply(table: str, events: pl.DataFrame) -> None:
        handle, came = Handle.open(Address(table)), last(events)
        assert handle is not None
        able = for_readers(handle, (Reader.DELTA_RS, Reader.DATABRICKS)) if by_vectors else handle
        deleted = came.filter(pl.col("op") == "d").select(KEY)
        prepare_merge(able, _rows(came), KEY, deleted=deleted).commit({}, {})

    return apply


WAYS: dict[str, Callable[[], Apply]] = {
    "plain rewrite": _by_hand,
    "ours, copy-on-write": lambda: _ours(by_vectors=False),
    "ours, deletion vectors": lambda: _ours(by_vectors=True),
    "deltalake, as it comes": lambda: _of_deltalake(is_tuned=False),
    "deltalake, tuned": lambda: _of_deltalake(is_tuned=True),
}

if __name__ == "__main__":
    main(*sys.argv[1:])
