"""What a merge may take of memory is said in the environment's file, and what it did in the materialization."""

from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.write import Merge
from lakehouse.engine.delta import quarantine
from lakehouse.engine.delta.delivery import Delivery
from lakehouse.engine.delta.files import write_files
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.orchestrate.run import Ran
from resources.delta_io_manager import DeltaIOManager
from resources.environment import SettingsError, load_environment
from resources.local_disk import LocalDisk

SCHEMA = pl.Schema({"id": pl.Int64(), "qty": pl.Int64()})
FOLDERS = "".join(f"  {name}: {{type: local_disk, path: {name}}}\n" for name in ("landing", "lake"))


def merged(home: Path, merge_memory_mb: int | None, came: int, standing: int = 4) -> dict[str, Any]:
    """The metadata of a merge of so many rows into a table of two files."""
    rows = pl.DataFrame({"id": range(standing), "qty": [0] * standing})
    handle = Handle.create(Address(str(home / "t")), SCHEMA)
    handle = handle.commit(write_files(handle, rows, rows_per_file=standing // 2), [], {}, {})
    delivery = Delivery(
        table=handle.address, quarantine=Address(str(home / "aside")), schema=SCHEMA, description="", handle=handle,
        write=Merge(), key=("id",), whole=False, rejected=pl.DataFrame(schema=quarantine.ROWS), transactions={},
        accepted=pl.DataFrame({"id": range(1, came + 1), "qty": [1] * came}),
    )  # fmt: skip
    manager = DeltaIOManager(lake=LocalDisk(path=str(home)), merge_memory_mb=merge_memory_mb)
    with dg.build_output_context(asset_key="t") as context:
        manager.handle_output(context, delivery)
        return {name: each.value for name, each in context.get_logged_metadata().items()}


def test_a_materialization_tells_the_way_of_a_merge_its_reason_and_its_memory(tmp_path):
    told = merged(tmp_path, 64, 2)
    assert {name: told[f"merge/{name}"] for name in ("way", "files", "files_that_hold_a_key", "passes")} == {
        "way": "files anew",
        "files": 2,
        "files_that_hold_a_key": 2,
        "passes": 1,
    }
    assert told["merge/why"] == "synapse, which may read it, cannot read deletion vectors"
    assert told["merge/memory_budget"] == 64 << 20
    assert told["merge/memory"] < 64 << 20


def test_a_merge_above_the_memory_of_its_environment_is_refused_and_fails_for_good(tmp_path):
    with pytest.raises(dg.Failure, match="refused 2 rows to merge: to hold them at once with") as refused:
        merged(tmp_path, 64, 2, standing=3_000_000)
    assert not refused.value.allow_retries
    assert Handle.open(Address(str(tmp_path / "t"))).version == 1  # type: ignore[union-attr] # it stands


def test_a_batch_above_the_memory_of_its_environment_is_merged_part_by_part_in_one_commit(tmp_path):
    told = merged(tmp_path, 64, 200_000)
    assert (told["merge/slices"], told["rows_written"], told["dagster/row_count"]) == (4, 200_000, 200_001)
    assert told["delta/version"] == 2
    assert told["merge/memory"] <= 64 << 20


def test_the_environments_file_says_how_much_a_merge_may_take(tmp_path, monkeypatch):
    file = tmp_path / "environments" / "mine.yaml"
    file.parent.mkdir()
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    monkeypatch.setenv("LAKEHOUSE_ENVIRONMENT", "mine")
    file.write_text(f"connections:\n{FOLDERS}merge_memory_mb: 512\n")
    from lakehouse.definitions import lakehouse

    manager = lakehouse().resources["io_manager"]  # type: ignore[index] # it has some
    assert manager.merge_memory_mb == 512
    file.write_text(f"connections:\n{FOLDERS}merge_memory_mb: 63\n")
    with pytest.raises(SettingsError, match="merge_memory_mb"):
        load_environment("mine")


def test_a_run_says_in_how_many_passes_a_merge_was_made_where_there_was_more_than_one():
    assert Ran("silver/orders", {"merge/passes": 3}).remarks == ["merged in 3 passes over its files"]
    assert Ran("silver/orders", {"merge/passes": 1}).remarks == []
