"""A run may be told to read what stood upstream at a version or a time; and what was put back is read on from."""

from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from lakehouse.engine.declare.place import Place
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.travel import history
from lakehouse.engine.orchestrate.restore import carry_out, plan, restored_event
from lakehouse.engine.orchestrate.table import Table
from lakehouse_tests.engine.orchestrate.test_assets import (
    House,
    counts,
    materializations,
    odd,
    refusals,
    slips,
    totals,
)
from resources.local_disk import LocalDisk

pytestmark = pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning")

UP = [slips, counts]


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Two slips, each landed and run by itself."""
    house = House(tmp_path)
    for number in ("1", "2"):
        house.land(number, f'{{"no":"{number}","pieces":"{number}"}}')
        assert house.run(*UP, totals, odd).success
    return house


def place(house: House) -> Place:
    return Place(LocalDisk(path=str(house.home / "lake")), house.landing)


def opened(house: House, of: Table) -> Handle:
    handle = Handle.open(place(house).table(of.declaration))
    assert handle is not None
    return handle


def as_of(table: Table, **then: str) -> dict[str, Any]:
    asked = {key.replace("__", "/"): said for key, said in then.items()}
    return {"ops": {table.key.to_user_string().replace("/", "__"): {"config": {"as_of": asked}}}}


def test_a_table_that_reads_new_rows_is_made_anew_as_of_then_and_goes_on_from_there(house: House):
    ran = house.run(*UP, config=as_of(counts, bronze__slips="1"))
    assert house.rows("silver/counts") == [("1", 1)]
    assert materializations(ran)["silver/counts"].metadata["as_of"].value == "bronze/slips as of 1"
    assert history(opened(house, counts), 1)["note"][0] == "bronze/slips 1, reads bronze/slips as of 1"
    assert house.run(*UP).success
    assert house.rows("silver/counts") == [("1", 1), ("2", 2)]


def test_a_table_that_reads_a_whole_one_is_made_of_what_stood_at_a_time(house: House):
    then = opened(house, counts).commit_of(1).info["timestamp"]
    at = pl.select(pl.from_epoch(pl.lit(then), "ms").dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")).item()
    house.run(*UP, totals, config=as_of(totals, silver__counts=at))
    assert house.rows("gold/totals") == [("pieces", 1)]
    house.run(*UP, totals)
    assert house.rows("gold/totals") == [("pieces", 3)]


def test_what_cannot_be_read_as_of_then_is_refused_and_nothing_is_written(house: House):
    for asked, said in (
        ({"gold__totals": "1"}, "silver/counts does not read gold/totals"),
        ({"bronze__slips": "9"}, "has versions 0 to 2, and no version 9."),
        ({"bronze__slips": "2024-05-01"}, "of which zone?"),
        ({"bronze__slips": "2010-01-01T00:00:00Z"}, "was not there at 2010-01-01 00:00:00 UTC"),
    ):
        assert said in refusals(house.run(*UP, config=as_of(counts, **asked)))["silver__counts"]
    assert opened(house, counts).version == 2


def put_back(house: House, of: Table, version: int) -> None:
    planned = plan(of.declaration, version, [], place(house))
    carry_out(
        planned, place(house), lambda *put_back: house.instance.report_runless_asset_event(restored_event(*put_back))
    )


def test_rows_that_a_merge_made_of_a_whole_table_are_not_passed_over_when_that_is_put_back(house: House):
    put_back(house, counts, 1)
    said = refusals(house.run(*UP, odd))["silver__odd"]
    assert "silver/odd holds rows that it made of silver/counts at version 2, and silver/counts was put back" in said
    assert said.endswith("make it anew: lakehouse rebuild silver/odd+")
    assert house.run(*UP, odd, config={"ops": {"silver__odd": {"config": {"rebuild": True}}}}).success
    assert house.rows("silver/odd") == [("1", 1), ("2", 2)]


def test_dagster_is_told_of_a_restore_with_the_versions(house: House):
    put_back(house, counts, 1)
    event = house.instance.get_latest_materialization_event(dg.AssetKey(["silver", "counts"]))
    assert event is not None
    assert event.asset_materialization is not None
    told = {name: each.value for name, each in event.asset_materialization.metadata.items()}
    assert told | {"delta/version": 3, "restored_to_version": 1, "restored_from_version": 2} == told
    assert told["dagster/row_count"] == 1
