"""What stands in a lake, as its readers see it, comparable with what stands in another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.readers import Reader
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.delta import quarantine
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.place import LOG
from lakehouse.engine.ingest.ledger import Ledger
from lakehouse.engine.serve.local_sql import connect, query
from lakehouse.tables.bronze.erp_orders import erp_orders
from lakehouse.tables.gold.daily_sales import daily_sales
from lakehouse.tables.silver.order_lines import order_lines
from lakehouse.tables.silver.orders import orders
from lakehouse_tests.faults.arrivals import records_in
from lakehouse_tests.faults.tills import tills
from resources.local_disk import LocalDisk

MARKED = replace(order_lines.declaration, readers=(Reader.DELTA_RS, Reader.DATABRICKS))
"""All who read it know deletion vectors: rows of its files go by them."""
EXAMPLE = [erp_orders.declaration, MARKED, orders.declaration, daily_sales.declaration]
DECLARED = [*EXAMPLE, tills.declaration]
BRONZE = DECLARED[0]

Rows = list[tuple[object, ...]]


@dataclass(frozen=True)
class Standing:
    """Rows of every table, of every quarantine and of the ledger, sorted, without times, attempts and versions."""

    tables: dict[str, Rows]
    aside: dict[str, Rows]
    ledger: Rows


def place_of(home: Path) -> Place:
    return Place(lake=LocalDisk(path=str(home / "lake")), landing=LocalDisk(path=str(home / "landing")))


def standing(home: Path | Place, *, batches: bool = True, tables: Sequence[Declaration] = DECLARED) -> Standing:
    """batches: with the numbers of batches, which are the same only where the same files were taken together."""
    place = place_of(home) if isinstance(home, Path) else home
    return Standing(
        {each.key: _sorted(_open(place, each).scan().collect(), batches=batches) for each in tables},
        {each.key: _sorted(_aside(place, each), batches=batches) for each in tables},
        _sorted(_ledger(place).done().drop("plan", "planned_at"), batches=batches),
    )


def assert_counted_once(home: Path) -> None:
    """Every file and every record of the landing is accounted for once, and so is every row of bronze."""
    place = place_of(home)
    done = _ledger(place).done()
    assert _ledger(place).pending() is None
    taken = done.filter(pl.col("state") != "duplicate")
    assert taken.filter(pl.struct("name", "sha256").is_duplicated()).is_empty()
    assert (done["records"] == done["accepted"] + done["quarantined"]).all()
    unreadable = done.filter(pl.col("state") == "unreadable").height
    assert _aside(place, BRONZE).height == done["quarantined"].sum() + unreadable
    bronze = _open(place, BRONZE).scan().collect()
    assert bronze.height == done["accepted"].sum()
    assert bronze.filter(pl.struct("source_file", "file_sha256", "source_row").is_duplicated()).is_empty()
    landed = {str(path.relative_to(home / "landing")): path.read_bytes() for path in _files(home / "landing")}
    newest = done.unique("name", keep="last", maintain_order=True)
    assert set(newest["name"]) == landed.keys()
    for name, state, records in newest.select("name", "state", "records").iter_rows():
        held = records_in(landed[name])
        assert state == ("unreadable" if held is None else state)
        assert records == (0 if state in {"unreadable", "duplicate"} else held)


def assert_nothing_is_left_over(home: Path) -> None:
    """What lies in a table's folder belongs to its newest version: upkeep took away what else a killed run left."""
    for address in (at(each) for each in DECLARED for at in (place_of(home).table, place_of(home).quarantine)):
        if (handle := Handle.open(address)) is None:
            continue
        used = {*handle.files()["path"], *(vector.file for vector in handle.vectors.values())}
        below = {str(path.relative_to(address.uri)) for path in Path(address.uri).rglob("*.*") if path.is_file()}
        assert {name for name in below if not name.startswith(LOG)} == used, address


def assert_duckdb_reads_the_same(home: Path, tables: Sequence[Declaration] = DECLARED) -> None:
    """Another engine counts the rows of every table and of every quarantine."""
    place = place_of(home)
    connection = connect(tables, place)
    for each in tables:
        handle = _open(place, each)
        assert _count(connection, f"{each.layer}.{each.name}") == handle.scan().select(pl.len()).collect().item()
        if Handle.open(place.quarantine(each)) is not None:
            counted = _count(connection, f"quarantine.{each.layer}_{each.name}")
            assert counted == quarantine.count(handle, place.quarantine(each)), f"quarantine of {each.key}"
    connection.close()


def _count(connection: object, name: str) -> int:
    _, [(rows,)] = query(connection, f"select count(*) from {name}")  # type: ignore[arg-type] # what connect gives
    return rows


def _open(place: Place, declared: Declaration) -> Handle:
    handle = Handle.open(place.table(declared))
    assert handle is not None, declared.key
    return handle


def _ledger(place: Place) -> Ledger:
    return Ledger.open(BRONZE, place.ledger(BRONZE), _open(place, BRONZE))


def _aside(place: Place, declared: Declaration) -> pl.DataFrame:
    rows = quarantine.read(_open(place, declared), place.quarantine(declared)).collect()
    return rows.drop("version", "attempt", "quarantined_at")


def _files(landing: Path) -> list[Path]:
    return [path for path in landing.rglob("*") if path.is_file()]


def _sorted(frame: pl.DataFrame, *, batches: bool) -> Rows:
    if not batches:
        frame = frame.drop("batch", "reason", strict=False)
        if "row" in frame.columns:
            frame = frame.with_columns(pl.col("row").map_elements(_without_batch, pl.String))
    return sorted(frame.rows(), key=repr)


def _without_batch(row: str) -> str:
    try:
        held = json.loads(row)
    except ValueError:
        return row
    return (
        json.dumps({name: value for name, value in held.items() if name != "batch"}) if isinstance(held, dict) else row
    )
