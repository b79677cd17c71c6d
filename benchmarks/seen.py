"""What was seen comes to a table of versions, in a process of its own: `python -m benchmarks.seen WAY TABLE BATCH`.

BATCH is a Parquet file that is read before, and nothing that is imported counts. What the process has at most is taken
before the table is read again, whole; what it cost, and what stands then, comes out as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from datetime import date
from functools import partial

if any(each.startswith("ours") for each in sys.argv):
    import lakehouse  # noqa: F401 # before Polars, as wherever it runs: it says how Polars allocates

import polars as pl
from deltalake import DeltaTable

FIRST, DAY = date(2024, 1, 1), date(2025, 6, 1)
SCHEMA = pl.Schema(
    {
        "customer_id": pl.Int64(),
        "name": pl.String(),
        "country": pl.String(),
        "channel": pl.String(),
        "orders": pl.Int64(),
        "amount": pl.Decimal(38, 3),
        "since": pl.Date(),
        "valid_to": pl.Date(),
    }
)
TOLD = {
    "rows": pl.len(),
    "orders": pl.col("orders").sum(),
    "open": pl.col("valid_to").is_null().sum(),
    "begins": pl.col("since").to_physical().cast(pl.Int64).sum(),
    "ends": pl.col("valid_to").to_physical().cast(pl.Int64).sum(),
}

type Write = Callable[[str, pl.DataFrame], object]


def main(way: str, table: str, batch: str) -> None:
    came, write = pl.read_parquet(batch), WAYS[way]()
    pl.scan_delta(table).head(0).collect()  # everything is loaded, of Polars too
    began, used = time.perf_counter(), time.process_time()
    write(table, came)
    cost = {"wall": time.perf_counter() - began, "cpu": time.process_time() - used}
    cost["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began = time.perf_counter()
    all_read = pl.scan_delta(table).select(**TOLD, **{f"<{name}": pl.col(name).max() for name in SCHEMA})
    found = all_read.collect(engine="streaming")
    cost["read"] = time.perf_counter() - began
    print("told", json.dumps({**cost, **found.select(*TOLD).row(0, named=True)}))


def _of_ours(*, by_vectors: bool) -> Write:
    from benchmarks.told import KEPT, WITH_VECTORS, WITHOUT
    from lakehouse.engine.declare.place import Place
    from lakehouse.engine.declare.ports import Address
    from lakehouse.engine.delta.delivery import Delivery, deliver
    from lakehouse.engine.delta.handle import Handle
    from lakehouse.engine.delta.quarantine import ROWS
    from lakehouse.engine.orchestrate.history import Seen
    from resources.local_disk import LocalDisk

    declared = WITH_VECTORS if by_vectors else WITHOUT

    def write(table: str, came: pl.DataFrame) -> None:
        handle, here = Handle.open(Address(table)), LocalDisk(path=table)
        assert handle is not None
        seen = Seen(declared, KEPT, handle, came, came.clear(), ())
        assert not seen.is_late(takes_back=False)
        made = seen.versions(Place(here, here), ())
        assert made.broken.is_empty()
        delivery = Delivery(
            table=Address(table),
            quarantine=Address(f"{table}.quarantine"),
            schema=SCHEMA,
            description="",
            handle=handle,
            write=KEPT,
            key=("customer_id", "since"),
            whole=False,
            accepted=came,
            rejected=ROWS.to_frame(),
            transactions={},
            readers=declared.readers,
        )
        deliver(made.delivered(delivery))

    return write


def _of_deltalake(*, is_tuned: bool) -> Write:
    """As its guide has it: what changes comes twice, once with a key that ends the open version, and once without."""

    def write(table: str, came: pl.DataFrame) -> None:
        is_open = pl.scan_delta(table).filter(pl.col("valid_to").is_null()).select("customer_id", was="country")
        beside = came.lazy().join(is_open, on="customer_id", how="inner").filter(pl.col("country") != pl.col("was"))
        again = beside.select(*SCHEMA, mine=pl.lit(None, pl.Int64)).collect()
        source = pl.concat([came.with_columns(mine="customer_id"), again])
        same = "t.customer_id = s.mine AND t.valid_to IS NULL"
        if is_tuned:  # what a script knows of its batch, said in literals: files are pruned by them
            low, high = came["customer_id"].min(), came["customer_id"].max()
            same += f" AND t.customer_id >= {low} AND t.customer_id <= {high}"
        merging = DeltaTable(table).merge(source, same, "s", "t", streamed_exec=not is_tuned)
        merging = merging.when_matched_update({"valid_to": "s.since"}, "t.country <> s.country")
        others = {name: f"s.{name}" for name in ("name", "channel", "orders", "amount")}
        merging = merging.when_matched_update(others, "t.country = s.country")
        merging.when_not_matched_insert({name: f"s.{name}" for name in SCHEMA}).execute()

    return write


WAYS: dict[str, Callable[[], Write]] = {
    "ours, copy-on-write": partial(_of_ours, by_vectors=False),
    "ours, deletion vectors": partial(_of_ours, by_vectors=True),
    "deltalake, as it comes": partial(_of_deltalake, is_tuned=False),
    "deltalake, tuned": partial(_of_deltalake, is_tuned=True),
}

if __name__ == "__main__":
    main(*sys.argv[1:])
