"""The tables of plain assets are kept, checked and put back as ours are, by the same jobs and the same commands."""

import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from lakehouse import cli_plan, cli_table, cli_upkeep
from lakehouse.engine.declare.errors import Refused, WrongUsage
from lakehouse.engine.delta.retention import hours_of
from lakehouse.engine.delta.writes import prepare_overwrite
from lakehouse.engine.orchestrate.rebuild import NoSuchTable, read_as_of
from lakehouse_tests import driver
from lakehouse_tests.engine.delta.opening import opened
from lakehouse_tests.engine.orchestrate.test_upkeep import DAYS_20, TABLES, House, sums
from lakehouse_tests.engine.orchestrate.test_upkeep_jobs import failure, put_back, told

pytestmark = pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning")

HOURS = dg.HourlyPartitionsDefinition("2024-05-01-00:00", end_date="2024-05-02-00:00")


@dg.asset(key=["gold", "rates"], deps=[["silver", "sums"]])
def rates(context: dg.AssetExecutionContext) -> pl.DataFrame:
    return pl.DataFrame({"run": [len(context.instance.get_run_records())], "dollars": [1.6]})


@dg.asset(key=["gold", "doubled"])
def doubled(rates: pl.DataFrame) -> pl.DataFrame:
    return rates * 2


@dg.asset(key=["gold", "hourly-rates"], partitions_def=HOURS, metadata={"partition_by": "at"})
def hourly(context: dg.AssetExecutionContext) -> pl.DataFrame:
    at = pl.lit(context.partition_key).str.to_datetime("%Y-%m-%d-%H:%M", time_unit="us", time_zone="UTC")
    return pl.select(at=at, dollars=pl.int_range(2, 0, -1))


@dg.asset(key=["gold", "hourly-rates", "notes"])
def within() -> pl.DataFrame:
    return pl.DataFrame({"note": ["of a table in another one's folder"]})


@dg.asset(key=["gold", "elsewhere"])
def elsewhere() -> None:
    """Its rows are written by another engine."""


@dg.asset(key=["of_no_layer"])
def of_no_layer() -> pl.DataFrame:
    return pl.DataFrame({"n": [1]})


class Beside(House):
    """With plain assets beside the tables."""

    assets = (*TABLES, rates, doubled, hourly, within, elsewhere, of_no_layer)

    def hourly(self, *hours: int) -> None:
        for hour in hours:
            self.run("gold/hourly-rates", partition=f"2024-05-01-{hour:02}:00")

    def grow_old(self, key: str) -> None:
        for file in Path(self.lake.address(*key.split("/")).uri).rglob("*.parquet"):
            then = file.stat().st_mtime - 2 * DAYS_20
            os.utime(file, (then, then))

    def version(self, key: str) -> int:
        return opened(self.lake.address(*key.split("/"))).version


@pytest.fixture
def house(tmp_path: Path) -> Beside:
    return Beside(tmp_path)


def test_a_night_joins_their_files_in_order_and_a_run_goes_on_from_there(house: Beside):
    house.hourly(3, 1, 2)
    before, materialized = house.rows("gold/hourly-rates"), house.materialized("gold/hourly-rates")
    assert house.keep("gold").success
    facts = house.observed("gold/hourly-rates")
    assert (facts["files_before"], facts["files_after"], facts["retention_hours"]) == (3, 1, 720)
    kept = opened(house.lake.address("gold", "hourly-rates"))
    assert (house.rows("gold/hourly-rates"), hours_of(kept)) == (before, 720)
    assert kept.commit_of(kept.version).info["asset"] == "gold/hourly-rates"
    assert house.materialized("gold/hourly-rates") == materialized
    house.hourly(2)
    assert sorted(house.rows("gold/hourly-rates")) == sorted(before)
    assert house.observed("gold/rates") == {}, "it was not written yet"


def test_a_plain_asset_belongs_to_the_layer_that_its_key_begins_with(house: Beside):
    jobs = {name: house.definitions().resolve_job_def(name).nodes for name in ("upkeep_gold", "check_silver")}
    assert {name: sorted(each.name for each in nodes) for name, nodes in jobs.items()} == {
        "upkeep_gold": [
            "keep__gold__all_of_them",
            "keep__gold__doubled",
            "keep__gold__elsewhere",
            "keep__gold__hourly_rates",
            "keep__gold__hourly_rates__notes",
            "keep__gold__rates",
        ],
        "check_silver": ["check__silver__sums"],
    }


def test_neither_a_night_nor_a_command_takes_what_another_has_written_where_an_asset_says_none(
    house: Beside, says: Callable[..., str]
):
    table = house.lake.address("gold", "elsewhere")
    for _ in range(3):
        pl.DataFrame({"n": [1]}).write_delta(table.uri, mode="append")
    assert house.keep("gold").success
    assert (house.observed("gold/elsewhere"), house.version("gold/elsewhere")) == ({}, 2)
    for command in (cli_upkeep.optimize, cli_upkeep.vacuum):
        with pytest.raises(Refused, match=r"gold/elsewhere was not written yet by a run of it\. Next: dg launch --ass"):
            says(command, "gold/elsewhere")


def test_who_misspells_one_is_told_its_name_beside_those_of_the_tables(house: Beside, says: Callable[..., str]):
    known = "'gold/rate' names no table. Known: bronze/notes, silver/sums, gold/all_of_them, gold/rates, "
    for command in (cli_upkeep.optimize, cli_table.history):
        with pytest.raises(NoSuchTable, match=known):
            says(command, "gold/rate")
    assert known in failure(put_back(house, table="gold/rate", version=1))


def test_a_weekly_check_reads_them_and_names_what_makes_a_damaged_one_anew(house: Beside):
    house.run("gold/rates")
    assert house.launch("check_gold").success
    facts = house.observed("gold/rates")
    assert (facts["check/files"], facts["check/rows"], "profile" in facts) == (1, 1, True)
    [data] = Path(house.lake.address("gold", "rates").uri).glob("*.parquet")
    data.write_bytes(data.read_bytes()[:-1] + b"?")
    said = failure(house.launch("check_gold"))
    assert "gold/rates, version 1: 1 file, 1 row, 1 damaged: " in said
    assert said.endswith("Next: dg launch --assets gold/rates")


def test_by_hand_they_are_laid_by_columns_and_lose_what_is_not_promised_but_no_file_of_a_table_in_their_folder(
    house: Beside, says: Callable[..., str]
):
    key = "gold/hourly-rates"
    house.hourly(3, 1, 2)
    house.run("gold/hourly-rates/notes")
    assert f"{key}, version 3: 3 files, of which 3 small (100%): 3 would become 1" in says(
        cli_upkeep.optimize, key, dry_run=True
    )
    for asked in (",", "", " ", "dollars,,at", "dollars,"):
        with pytest.raises(
            WrongUsage, match=rf"--zorder '{asked}' leaves out a column\. Say them as in --zorder count"
        ):
            says(cli_upkeep.optimize, key, zorder=asked)
    assert f"{key}, version 3 to 4: 3 files" in says(cli_upkeep.optimize, key, zorder="dollars,at")
    house.grow_old(key)
    assert f"{key}, version 4: 0 files removed" in says(cli_upkeep.vacuum, key), "each is of a version that is young"
    with pytest.raises(Refused, match="1 hours is less than 168"):
        says(cli_upkeep.vacuum, key, retain_hours=1)
    forced = {"retain_hours": 0, "override_retention": True}
    assert f"{key}, version 4: 3 files would go" in says(cli_upkeep.vacuum, key, **forced, dry_run=True)
    assert f"{key}, version 4: 3 files removed" in says(cli_upkeep.vacuum, key, **forced)
    assert len(house.rows("gold/hourly-rates/notes")) == 1
    assert (len(house.rows(key)), house.observed(key)["files_removed"]) == (6, 3)


def test_they_are_put_back_in_one_commit_and_those_downstream_are_named(house: Beside, says: Callable[..., str]):
    house.run("gold/rates", "gold/doubled", "gold/rates")
    first, second = 1, 3
    materialized = house.materialized("gold/rates")
    left = "gold/doubled is a plain Dagster asset and stands as it is. Next: dg launch --assets gold/doubled"
    planned = (
        "gold/rates: from version 2 to what stood at version 1: 1 row in 1 file come back, 1 row in 1 file go\n" + left
    )
    assert says(cli_table.restore, "gold/rates", version=1, dry_run=True) == (
        f"{planned}\nNothing was written: --dry-run."
    )
    assert (house.version("gold/rates"), house.rows("gold/rates")) == (2, [(second, 1.6)])
    assert says(cli_table.restore, "gold/rates", version=1) == (
        f"{planned}\ngold/rates is put back, as version 3. To undo: lakehouse table restore gold/rates --version 2\n"
        "To read again what came since: dg launch --assets gold/rates"
    )
    assert house.rows("gold/rates") == [(first, 1.6)]
    assert house.materialized("gold/rates") == materialized + 1, "so that what reads it is run"
    table = opened(house.lake.address("gold", "rates"))
    assert [*table.transactions()] == ["replaced"], "nothing is ever set aside of it"
    assert says(cli_table.restore, "gold/rates", version=1) == "gold/rates: stands as it did at version 1"
    done = told(put_back(house, table="gold/rates", version=2))
    assert (done["restored"], done["plan"].endswith(left)) == ({"gold/rates": 4}, True)
    assert house.rows("gold/rates") == [(second, 1.6)]
    house.run("gold/rates")
    assert len(house.rows("gold/rates")) == 1


def test_of_one_with_partitions_an_observation_says_that_it_was_put_back(house: Beside, says: Callable[..., str]):
    house.hourly(1, 2)
    materialized = house.materialized("gold/hourly-rates")
    said = says(cli_table.restore, "gold/hourly-rates", as_of=f"{datetime.now().astimezone().isoformat()}")
    assert said == "gold/hourly-rates: stands as it did at version 2"
    said = says(cli_table.restore, "gold/hourly-rates", version=1)
    assert said.endswith("To read again what came since: dg launch --assets gold/hourly-rates --partition <key>")
    assert house.observed("gold/hourly-rates")["restored_to_version"] == 1
    assert house.materialized("gold/hourly-rates") == materialized
    assert len(house.rows("gold/hourly-rates")) == 2
    house.hourly(2)
    assert len(house.rows("gold/hourly-rates")) == 4
    with pytest.raises(Refused, match=r"gold/rates was not written here yet: .* Next: dg launch --assets gold/rates"):
        says(cli_table.restore, "gold/rates", version=1)


def test_where_a_time_is_asked_for_no_version_is_taken(house: Beside, says: Callable[..., str]):
    house.run("gold/rates")
    for command in (cli_table.show, cli_table.restore):
        with pytest.raises(
            WrongUsage,
            match=r"as of 1: not a time of the years 1 to 9999\. .* its --version \(table show, table restore\)",
        ):
            says(command, "gold/rates", as_of="1")
    assert "as of 1: not a time of" in failure(put_back(house, table="gold/rates", as_of="1"))
    with pytest.raises(WrongUsage, match=r"as of 1: not a time of the years 1 to 9999\."):
        read_as_of(sums.declaration, "1", [sums])


def test_one_that_reads_a_table_of_ours_is_named_where_that_is_put_back(house: Beside, says: Callable[..., str]):
    house.land("n", 1)
    house.run("bronze/notes", "silver/sums")
    said = says(cli_table.restore, "silver/sums", version=0, dry_run=True)
    assert [line.partition(" is ")[0] for line in said.splitlines()[1:-1]] == ["gold/rates", "gold/doubled"]


def test_a_table_of_ours_that_was_optimized_and_vacuumed_does_not_hold_up_the_one_that_it_reads(
    house: Beside, says: Callable[..., str]
):
    for name in ("n1", "n2"):
        house.land(name, 1)
        house.run("bronze/notes", "silver/sums")
    says(cli_upkeep.optimize, "silver/sums")
    says(cli_upkeep.vacuum, "silver/sums", retain_hours=0, override_retention=True)
    back = house.version("bronze/notes") - 1
    with pytest.raises(Refused, match=f"restore bronze/notes --version {back} --downstream --accept-rebuild$"):
        says(cli_table.restore, "bronze/notes", version=back)
    asked = {"version": back, "downstream": True}
    assert "none without them can be read any more" in failure(put_back(house, table="bronze/notes", **asked))
    asked["accept_rebuild"] = True
    left = "silver/sums cannot be put back, and stands as it is. Next: lakehouse rebuild silver/sums+"
    dry = told(put_back(house, table="bronze/notes", **asked, dry_run=True))
    assert left in dry["plan"].splitlines()
    said = says(cli_table.restore, "bronze/notes", **asked).splitlines()
    assert said[-1] == "To read again what came since: lakehouse run"
    assert left in said
    driver.House(house.home).run(sums.declaration, rebuild=True)
    assert house.rows("silver/sums") == [("n1-0", 1)]
    house.run("bronze/notes", "silver/sums")
    assert house.rows("silver/sums") == [("n1-0", 1), ("n2-0", 1)]


def test_one_that_reads_a_table_of_ours_is_named_where_that_is_refused_for_its_columns(
    house: Beside, says: Callable[..., str], capsys: pytest.CaptureFixture[str]
):
    house.land("n", 1)
    house.run("bronze/notes", "silver/sums")
    handle = opened(house.lake.address("silver", "sums"))
    dropped = handle.scan().with_columns(colour=pl.lit("red"))
    prepare_overwrite(handle, dropped, dropped.collect_schema()).commit({}, {})
    said = says(cli_plan.plan, "silver/sums", exits=1).splitlines()
    assert "colour (String) is dropped or renamed" in said[1]
    assert said[2:4] == [
        f"    gold/{name} is a plain Dagster asset and stands as it is. Next: dg launch --assets gold/{name}"
        for name in ("rates", "doubled")
    ]
    says(cli_plan.plan, "silver/sums", exits=1, as_json=True)
    [told] = json.loads(capsys.readouterr().out)
    assert (told["readers"], told["plain_readers"]) == (["gold/all_of_them"], ["gold/rates", "gold/doubled"])
