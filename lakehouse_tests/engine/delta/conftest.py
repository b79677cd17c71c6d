"""What the tests of this room share: a place for a table, and its rows as another engine reads them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import duckdb_extension_delta
import pytest

from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta.handle import Handle


@pytest.fixture
def address(tmp_path: Path) -> Address:
    return Address(str(tmp_path / "lake" / "orders"))


@pytest.fixture
def aside(tmp_path: Path) -> Address:
    return Address(str(tmp_path / "lake" / "quarantine" / "orders"))


@pytest.fixture(scope="session")
def duck() -> Iterator[duckdb.DuckDBPyConnection]:
    extension = next(Path(duckdb_extension_delta.__file__).parent.rglob("delta.duckdb_extension"))
    with duckdb.connect() as connection:
        connection.execute(f"LOAD '{extension}'")
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


@pytest.fixture
def duckdb_rows(duck: duckdb.DuckDBPyConnection) -> Callable[[Handle], list[tuple[object, ...]]]:
    """The table's rows by another engine than Polars and deltalake, sorted."""

    def read(handle: Handle) -> list[tuple[object, ...]]:
        columns = ", ".join(f'"{name}"' for name in handle.schema)
        cursor = duck.execute(f"SELECT {columns} FROM delta_scan(?)", [handle.address.uri])
        return sorted(cursor.fetchall(), key=repr)

    return read
