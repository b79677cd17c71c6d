from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from lakehouse.engine.declare.errors import Terminal
from lakehouse.engine.declare.place import only_read
from lakehouse.engine.delta import store
from lakehouse.engine.delta.files import write_files
from lakehouse.engine.delta.handle import Handle
from resources.local_disk import LocalDisk

ROWS = pl.DataFrame({"a": ["1"]})


def test_another_environments_lake_takes_no_table_no_file_and_no_commit(tmp_path: Path):
    lake = LocalDisk(path=str(tmp_path))
    Handle.create(lake.address("silver", "orders"), ROWS.schema)
    before = {each: each.stat().st_mtime_ns for each in tmp_path.rglob("*")}
    address = only_read(lake, "silver", "orders")
    handle = Handle.open(address)
    assert handle is not None
    for write in (
        lambda: Handle.create(only_read(lake, "silver", "other"), ROWS.schema),
        lambda: write_files(handle, ROWS),
        lambda: store.create(address, "_delta_log/00000000000000000001.json", b"{}"),
        lambda: handle.commit([], [], {}, {}),
    ):
        with pytest.raises(Terminal, match="another environment's, which is only read"):
            write()
    assert {each: each.stat().st_mtime_ns for each in tmp_path.rglob("*")} == before
