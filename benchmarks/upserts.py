"""One merge, in a process of its own: `python -m benchmarks.upserts WAY TABLE BATCH`; what it cost comes out as JSON.

BATCH is a Parquet file that is read before, and nothing that is imported counts. What the process has at most is taken
before the table is read again, whole, as anyone may read it.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable

if any(each.startswith("ours") for each in sys.argv):
    import lakehouse  # noqa: F401 # before Polars, as wherever it runs: it says how Polars allocates

import polars as pl
from deltalake import DeltaTable

KEY = ["order_no", "line_no"]
SUMMED = "qty"

type Merge = Callable[[str, pl.DataFrame], object]


def main(way: str, table: str, batch: str) -> None:
    came, merge = pl.read_parquet(batch), WAYS[way]()
    pl.scan_delta(table).head(0).collect()  # everything is loaded, of Polars too
    cost = cost_of(lambda: merge(table, came))
    began = time.perf_counter()
    all_read = pl.scan_delta(table).select(
        pl.len().alias("rows"), pl.col(SUMMED).sum(), pl.all().max().name.prefix("<")
    )
    found = all_read.collect(engine="streaming")
    cost["read"] = time.perf_counter() - began
    print("told", json.dumps({**cost, "rows": found["rows"].item(), "sum": found[SUMMED].item()}))


def cost_of(work: Callable[[], object]) -> dict[str, float]:
    """Seconds, CPU seconds, and the MB that the process had at most until it ended."""
    began, used = time.perf_counter(), time.process_time()
    work()
    cost = {"wall": time.perf_counter() - began, "cpu": time.process_time() - used}
    return {**cost, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _anew() -> Merge:
    from lakehouse.engine.declare.ports import Address
    from lakehouse.engine.delta.handle import Handle
    from lakehouse.engine.delta.writes import prepare_merge

    def merge(table: str, came: pl.DataFrame) -> None:
        handle = Handle.open(Address(table))
        assert handle is not None
        prepare_merge(handle, came, KEY).commit({}, {})

    return merge


def _by_vectors() -> Merge:
    from lakehouse.engine.declare.ports import Address
    from lakehouse.engine.declare.readers import Reader
    from lakehouse.engine.delta.handle import Handle
    from lakehouse.engine.delta.protocol import for_readers
    from lakehouse.engine.delta.writes import prepare_merge

    def merge(table: str, came: pl.DataFrame) -> None:
        handle = Handle.open(Address(table))
        assert handle is not None
        able = for_readers(handle, (Reader.DELTA_RS, Reader.DATABRICKS))
        prepare_merge(able, came, KEY).commit({}, {})

    return merge


def _by_hand() -> Merge:
    return lambda table, came: rewrite(table, came.select(KEY), came)


def rewrite(table: str, gone: pl.DataFrame, came: pl.DataFrame) -> None:
    """Every file whose range meets that of `gone` is written anew; whether it holds such a row is not asked."""
    from benchmarks.delta_files import commit, full, sink

    within = KEY[0]
    files = pl.DataFrame(DeltaTable(table).get_add_actions(flatten=True))
    meets = (pl.col(f"min.{within}") <= gone[within].max()) & (pl.col(f"max.{within}") >= gone[within].min())
    near = files.filter(meets)["path"].sort()
    stay = pl.scan_parquet(full(table, near), glob=False).join(gone.lazy(), on=KEY, how="anti")
    commit(table, came.schema, sink(pl.concat([stay, came.lazy()]), table, [within]), near)


def same_key(came: pl.DataFrame, *, is_tuned: bool) -> str:
    """What deltalake merges by; tuned, what a script knows of its batch stands there in literals, which prune files."""
    same = " AND ".join(f"t.{name} = s.{name}" for name in KEY)
    if not is_tuned:
        return same
    low, high, day = came[KEY[0]].min(), came[KEY[0]].max(), came["day"].min()
    return f"{same} AND t.{KEY[0]} >= '{low}' AND t.{KEY[0]} <= '{high}' AND t.day >= DATE '{day}'"


def _of_deltalake(*, is_tuned: bool) -> Merge:
    def merge(table: str, came: pl.DataFrame) -> None:
        merging = DeltaTable(table).merge(came, same_key(came, is_tuned=is_tuned), "s", "t", streamed_exec=not is_tuned)
        merging.when_matched_update_all().when_not_matched_insert_all().execute()

    return merge


WAYS: dict[str, Callable[[], Merge]] = {
    "plain rewrite": _by_hand,
    "ours, copy-on-write": _anew,
    "ours, deletion vectors": _by_vectors,
    "deltalake, as it comes": lambda: _of_deltalake(is_tuned=False),
    "deltalake, tuned": lambda: _of_deltalake(is_tuned=True),
}

if __name__ == "__main__":
    main(*sys.argv[1:])
