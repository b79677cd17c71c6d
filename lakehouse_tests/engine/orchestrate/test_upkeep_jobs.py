"""Tables are checked and put back by jobs too: what the commands say stands in their metadata, or fails them."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.delta import known, quarantine
from lakehouse.jobs import checks, restore
from lakehouse.schedules import checked
from lakehouse_tests import driver
from lakehouse_tests.engine.delta.opening import opened
from lakehouse_tests.engine.orchestrate.test_upkeep import House, lived_in, notes, sums

pytestmark = pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning")


@pytest.fixture
def house(tmp_path: Path) -> House:
    return lived_in(tmp_path, 2)


def failure(done: dg.ExecuteInProcessResult) -> str:
    assert not done.success
    [failed] = [each for each in done.all_events if each.event_type_value == "STEP_FAILURE"]
    why = failed.step_failure_data.user_failure_data
    return (why and why.description) or ""


def put_back(house: House, **asked: Any) -> dg.ExecuteInProcessResult:
    return house.launch("restore", ops={"put_back": {"config": asked}})


def told(done: dg.ExecuteInProcessResult) -> dict[str, Any]:
    [output] = [each for each in done.all_events if each.event_type_value == "STEP_OUTPUT"]
    return {name: each.value for name, each in output.step_output_data.metadata.items()}


def test_a_check_tells_what_it_read_and_what_the_values_are_like(house: House):
    assert house.launch("check_silver").success
    facts = house.observed("silver/sums")
    assert (facts["check/files"], facts["check/rows"], facts["check/summed"], facts["check/faults"]) == (2, 4, 2, {})
    assert house.observed("bronze/notes") == {}, "it is of another layer"
    found = house.instance.fetch_observations(dg.AssetKey(["silver", "sums"]), limit=1).records[0].asset_observation
    assert found is not None
    profile = found.metadata["profile"]
    assert isinstance(profile, dg.TableMetadataValue)
    by = {each.data["column"]: each.data for each in profile.records}
    assert (by["pieces"]["nulls"], by["pieces"]["min"], by["pieces"]["top"]) == (0, "1", "1 (2), 2 (2)")
    assert [each.name for each in profile.schema.columns][:3] == ["column", "type", "nulls"]


def test_a_damaged_file_fails_the_check_with_its_name_and_is_told_beside_the_table(house: House):
    table = opened(house.place.table(sums.declaration))
    culprit = table.files()["path"][1]
    file = Path(table.address.uri, culprit)
    content = bytearray(file.read_bytes())
    content[40] ^= 1
    file.write_bytes(content)
    said = failure(house.launch("check_silver"))
    assert said.startswith(f"silver/sums, version {table.version}: 2 files, 4 rows, 1 damaged: {culprit} is not as it")
    assert said.endswith("Next: lakehouse rebuild silver/sums")
    facts = house.observed("silver/sums")
    assert [*facts["check/faults"]] == [culprit]
    assert "profile" not in facts


def break_in_the_middle(table: Address) -> None:
    """The newest commit would be moved aside."""
    Path(table.uri, "_delta_log", f"{1:020d}.json").write_text("{")
    known.forget(table)


@pytest.mark.parametrize("declared", [notes.declaration, sums.declaration], ids=["bronze", "silver"])
def test_a_table_that_cannot_be_opened_says_what_to_do_and_that_makes_it_anew(house: House, declared: Declaration):
    table = house.place.table(declared)
    before = sorted(opened(table).scan().select("no", "pieces").collect().rows())
    break_in_the_middle(table)
    said = failure(house.launch(f"check_{declared.layer}"))
    assert said.startswith(f"{declared.key} cannot be opened: _delta_log {table} is no Delta table that can be read: ")
    repair = f"lakehouse table repair {declared.key}"
    rebuild = f"lakehouse rebuild {declared.key}{'+' * declared.is_bronze}"
    assert said.endswith(f" Next: {repair}; else move {table} away: {rebuild}")
    assert [*house.observed(declared.key)["check/faults"]] == ["_delta_log"]
    Path(table.uri).rename(house.home / "away")
    driver.House(house.home).run(declared, rebuild=True)
    assert sorted(opened(table).scan().select("no", "pieces").collect().rows()) == before


def test_a_quarantine_that_cannot_be_opened_fails_the_check_and_of_the_table_all_is_told(house: House):
    aside = house.place.quarantine(sums.declaration)
    break_in_the_middle(aside)
    said = failure(house.launch("check_silver"))
    assert said.startswith("silver/sums, its quarantine cannot be opened: _delta_log ")
    assert f"{aside} is no Delta table that can be read" in said
    assert said.endswith(
        f"Next: lakehouse table repair silver/sums; else move {aside} away: lakehouse rebuild silver/sums"
    )
    assert house.observed("silver/sums")["check/faults"] == {}
    Path(aside.uri).rename(house.home / "away")
    driver.House(house.home).run(sums.declaration, rebuild=True)
    assert house.launch("check_silver").success
    assert quarantine.count(opened(house.place.table(sums.declaration)), aside) == 2


def test_what_the_environment_does_not_name_is_not_read(house: House):
    house.said = {"bronze": {}}
    assert house.launch("check_silver").success
    assert house.observed("silver/sums") == {}


def test_a_table_is_put_back_by_a_job_which_says_what_it_did_and_how_to_undo_it(house: House):
    table = opened(house.place.table(sums.declaration))
    before, materialized = house.rows("silver/sums"), house.materialized("silver/sums")
    asked = {"table": "silver/sums", "version": table.version - 1}
    dry = told(put_back(house, **asked, dry_run=True))
    assert (dry["restored"], dry["dry_run"]) == ({}, True)
    assert house.rows("silver/sums") == before
    done = told(put_back(house, **asked))
    assert done["restored"] == {"silver/sums": table.version + 1}
    assert done["plan"] == dry["plan"]
    assert done["plan"].startswith(f"silver/sums: from version {table.version} to what stood at version ")
    assert len(house.rows("silver/sums")) == 2
    assert house.materialized("silver/sums") == materialized + 1, "so that what reads it is run"
    assert told(put_back(house, **asked))["restored"] == {}, "it stands as it did"
    house.run("silver/sums")
    assert sorted(house.rows("silver/sums")) == sorted(before)


def test_a_job_refuses_as_the_command_does_with_the_list_and_puts_all_back_where_it_may(house: House):
    table = opened(house.place.table(notes.declaration))
    asked = {"table": "bronze/notes", "version": table.version - 1}
    said = failure(put_back(house, **asked))
    assert "1 table downstream would keep rows that were made of what goes: silver/sums (version " in said
    assert f"lakehouse table restore bronze/notes --version {table.version - 1} --downstream" in said
    assert opened(table.address).version == table.version
    done = told(put_back(house, **asked, downstream=True))
    assert [*done["restored"]] == ["gold/all_of_them", "silver/sums", "bronze/notes"]
    assert "1 file of its source will count as new again" in done["plan"]
    house.run()
    assert house.rows("gold/all_of_them") == [("pieces", 6)]
    Path(house.home, "landing/notes/n1.jsonl").unlink()
    asked |= {"version": 1, "downstream": True}
    assert "1 file cannot be read again as they were" in failure(put_back(house, **asked))
    assert [*told(put_back(house, **asked, accept_loss=True))["restored"]][-1] == "bronze/notes"


def test_what_cannot_be_asked_fails_the_job_in_the_words_of_the_command(house: House):
    for asked, why in [
        ({"table": "silver/sum", "version": 1}, "'silver/sum' names no table. Known: bronze/notes, silver/sums"),
        ({"table": "silver/sums"}, "Say to which version"),
        ({"table": "silver/sums", "version": 1, "as_of": "2026-01-01T00:00:00Z"}, "Say to which version"),
        ({"table": "silver/sums", "version": 99}, "and no version 99"),
        ({"table": "silver/sums", "as_of": "2001-01-01T00:00:00Z"}, "was not there at 2001-01-01"),
    ]:
        assert why in failure(put_back(house, **asked))


def test_the_business_has_a_weekly_check_for_each_layer_and_a_job_that_puts_back():
    assert [each.name for each in checks] == ["check_bronze", "check_silver", "check_gold"]
    assert [(each.job_name, each.cron_schedule) for each in checked] == [
        ("check_bronze", "0 5 * * 0"), ("check_silver", "20 5 * * 0"), ("check_gold", "40 5 * * 0")
    ]  # fmt: skip
    assert restore.name == "restore"
