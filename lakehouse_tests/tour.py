"""Goes every way into storage in every manner in which it is used, and shows all that is said where it fails.

`main(*connections)` is for a process in a cloud of its own, whose home and environment its variables name.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from lakehouse import Append, Bronze, Csv, Files, Frame, column, table
from lakehouse.engine.declare.ports import Address
from resources import environment, key_vault
from resources.adls import Adls
from resources.delta_io_manager import DeltaIOManager
from resources.local_disk import LocalDisk

SLOW_WHERE_FAR = {"handle", "handle is made", "obstore", "obstore writes", "DuckDB", "fsspec", "tables are in it"}
"""They ask a store that does not answer for minutes."""

ONCE = dg.RetryPolicy(max_retries=0)


class Sales(Bronze):
    """One row per sale. Source: the shop."""

    day: str = column("When")


@table(source=Files("shop/*.csv", formats=Csv(), settle=timedelta(0)), write=Append(), retry_policy=ONCE)
def sales() -> Frame[Sales]: ...


def main() -> None:
    """Show what all connections, or those that are named, say, and what Dagster knows of them."""
    home = Path(os.environ["LAKEHOUSE_HOME"])
    if os.environ.get("LOUD"):
        logging.basicConfig(level=logging.DEBUG, filename=home / "debug.log")
    key_vault.DEADLINE_SECONDS = 1.5
    _ask_once()
    (home / "landing/shop").mkdir(parents=True, exist_ok=True)
    (home / "landing/shop/1.csv").write_text("day\n2011-01-04\n")
    for name, each in _connections(home).items():
        if isinstance(each, Adls) and (name in sys.argv[1:] or not sys.argv[1:]):
            for manner, go in {**_manners(each), **_runs(each, home)}.items():
                if manner in SLOW_WHERE_FAR and name in os.environ["FAR"].split():
                    continue
                began = time.monotonic()
                _shown(go)
                print(f"==== {name}: {manner} {time.monotonic() - began:.2f}", flush=True)  # noqa: T201 # what it is for


def _connections(home: Path) -> dict[str, Any]:
    """Those of the environment, and those whose key stands in a file: that is for `local` only."""
    asked = environment.load_environment()
    print(asked, environment.storages(asked))  # noqa: T201
    shipped, environment.SHIPPED = environment.SHIPPED, home / "shipped"
    literal = environment.load_environment("local")
    environment.SHIPPED = shipped
    return {**environment.storages(asked), **{f"literal_{k}": v for k, v in environment.storages(literal).items()}}


def _ask_once() -> None:
    """Azure's clients ask again, which takes minutes; what they say is the same."""
    from azure.core.pipeline.policies import AsyncRetryPolicy, RetryPolicy
    from azure.storage.blob._shared import policies, policies_async

    async def awaited(*_: object) -> None: ...

    for each in (policies.StorageRetryPolicy, RetryPolicy):
        each.sleep = lambda *_: None  # pyright: ignore[reportAttributeAccessIssue] # what it is given does not matter
    for each in (policies_async.AsyncStorageRetryPolicy, AsyncRetryPolicy):
        each.sleep = awaited  # pyright: ignore[reportAttributeAccessIssue] # what it is given does not matter


def _shown(go: Callable[[], object]) -> None:
    try:
        print(go())  # noqa: T201
    except BaseException as error:  # noqa: BLE001 # each is to be seen
        traceback.print_exception(error)
        seen = list[BaseException]()
        while error and error not in seen:  # a chain may be a ring
            seen.append(error)
            print(repr(error), error, vars(error), file=sys.stderr)  # noqa: T201
            error = error.__cause__ or error.__context__


def _manners(adls: Adls) -> dict[str, Callable[[], object]]:
    import deltalake
    import duckdb
    import fsspec
    import polars as pl

    from lakehouse.engine.delta import store
    from lakehouse.engine.delta.handle import Handle
    from lakehouse.engine.serve import local_sql
    from resources.engines import fsspec_options

    def address() -> Address:
        return adls.address("silver", "sales")

    def asked_by_duckdb() -> object:
        connection = duckdb.connect()
        local_sql._load(connection, "delta")
        where = local_sql._logged_in(connection, adls.address("silver", "sales"))
        print(connection.execute("from duckdb_secrets()").fetchall())  # noqa: T201
        return connection.execute(f"select * from delta_scan('{where}')").fetchall()

    def with_options(go: Callable[..., object], name: str = "", retries: Any = 0) -> object:
        return go(address().uri + name, storage_options={**address().options, "max_retries": retries})

    rows = pl.DataFrame({"day": ["2011-01-04"]})
    return {
        "resource": lambda: (repr(adls), adls.model_dump_json(), adls.way_said()),
        "list": lambda: adls.files("shop/*"),
        "read": lambda: adls.read("shop/none.csv"),
        "write": lambda: adls.write("files/new.csv", b"day"),
        "deltalake writes": lambda: with_options(
            lambda uri, **way: deltalake.write_deltalake(uri, rows, **way), retries="0"
        ),
        "deltalake reads": lambda: with_options(deltalake.DeltaTable, retries="0"),
        "Polars writes": lambda: with_options(rows.write_parquet, "/new.parquet"),
        "Polars reads": lambda: with_options(lambda uri, **way: pl.scan_parquet(uri, **way).collect(), "/none.parquet"),
        "Polars scans Delta": lambda: with_options(lambda uri, **way: pl.scan_delta(uri, **way).collect(), retries="0"),
        "handle": lambda: (address(), Handle.open(address())),
        "handle is made": lambda: Handle.create(address() / "made", rows.schema),
        "obstore": lambda: (store.store_of(address()), store.read(address(), ["none.json"])),
        "obstore writes": lambda: store.create(address(), "new.json", b"{}"),
        "DuckDB": asked_by_duckdb,
        "fsspec": lambda: fsspec.filesystem("abfs", **fsspec_options(adls)).cat(f"{adls.container}/none.csv"),
    }


def _runs(adls: Adls, home: Path) -> Mapping[str, Callable[[], object]]:
    def run(**storages: Any) -> Iterator[object]:
        resources = {**storages, "io_manager": DeltaIOManager(lake=storages["lake"])}
        definitions = dg.Definitions([sales], resources=resources, executor=dg.in_process_executor)
        repository = definitions.get_repository_def()
        yield repr(resources)
        yield dg.serialize_value(_told_to_the_ui(repository))
        job = definitions.resolve_implicit_global_asset_job_def()
        with dg.DagsterInstance.get() as instance:
            result = job.execute_in_process(instance=instance, raise_on_error=False, tags={"tour": adls.connection})
            for each in result.all_events:
                yield each
                yield each.event_specific_data

    local = LocalDisk(path=str(home / "landing"))
    lake = LocalDisk(path=str(home / "lake" / adls.connection))
    return {
        "files land from it": lambda: [*map(str, run(landing=adls, lake=lake))],
        "tables are in it": lambda: [*map(str, run(landing=local, lake=adls))],
    }


def _told_to_the_ui(repository: dg.RepositoryDefinition) -> Any:
    """Of what GraphQL answers are made."""
    from dagster._core.remote_representation.external_data import RepositorySnap

    return RepositorySnap.from_def(repository)
