"""Tables are kept by jobs, one for each layer, and by commands that call the same."""

import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake
from typer.testing import CliRunner

from lakehouse import (
    Append,
    Bronze,
    Files,
    Frame,
    Gold,
    JsonLines,
    Merge,
    New,
    Overwrite,
    Quarantine,
    Reader,
    Silver,
    cli_upkeep,
    column,
    table,
)
from lakehouse import tables as business
from lakehouse.cli import app
from lakehouse.definitions import lakehouse
from lakehouse.engine.declare.errors import Conflict, Refused
from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.ports import Storage
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.declare.upkeep import Policies, Policy
from lakehouse.engine.delta import known, store
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.place import log_name
from lakehouse.engine.delta.protocol import for_readers
from lakehouse.engine.delta.restore import prepare_restore, restore
from lakehouse.engine.delta.retention import hours_of
from lakehouse.engine.delta.travel import at_version, history
from lakehouse.engine.delta.vacuum import Sweep, sweep
from lakehouse.engine.delta.writes import prepare_merge
from lakehouse.engine.ingest import ledger
from lakehouse.engine.ingest.rewind import prepare_rewind
from lakehouse.engine.orchestrate import upkeep, upkeep_jobs
from lakehouse.engine.orchestrate.catalog import definition_metadata
from lakehouse.engine.orchestrate.load import tables_in
from lakehouse.engine.orchestrate.stand import stuck
from lakehouse.engine.orchestrate.upkeep import keep_up, optimize, own_table, readers_of
from lakehouse.jobs import upkeep as jobs_of_the_business
from lakehouse.schedules import kept as schedules
from lakehouse_tests import driver
from lakehouse_tests.engine.delta.opening import opened
from resources.delta_io_manager import DeltaIOManager
from resources.local_disk import LocalDisk
from resources.upkeep_policies import UpkeepPolicies

pytestmark = pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning")

SILENT = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
DAYS_20 = 20 * 86_400


class Notes(Bronze):
    """One row per note. Source: this test."""

    no: str = column("Number of the note")
    pieces: int = column("Pieces")


class Sums(Silver):
    """One row per note. Source: this test."""

    no: str = column("Number of the note", key=True)
    pieces: int = column("Pieces", ge=0)


class All(Gold):
    """One row. Source: this test."""

    name: str = column("What is counted", key=True)
    pieces: int = column("All pieces")


@table(source=Files("notes/*.jsonl", formats=JsonLines(), settle=timedelta(0)), write=Append())
def notes() -> Frame[Notes]: ...


@table(write=Merge(), rejects=Quarantine())
def sums(sent: New[Notes]) -> Frame[Sums]:
    return sent.select("no", "pieces")


@table(write=Overwrite())
def all_of_them(counted: Frame[Sums]) -> Frame[All]:
    return counted.select(name=pl.lit("pieces"), pieces=pl.col("pieces").sum())


TABLES = [notes, sums, all_of_them]
DECLARED = [each.declaration for each in TABLES]


class House:
    """A lake and a landing on a disk, and a Dagster instance in memory."""

    assets: Sequence[dg.AssetsDefinition] = TABLES

    def __init__(self, home: Path, **said: dict[str, Any]) -> None:
        self.home, self.said = home, said or {"bronze": {}, "silver": {}, "gold": {}}
        self.instance = dg.DagsterInstance.ephemeral()
        self.lake: Storage = LocalDisk(path=str(home / "lake"))
        self.landing = LocalDisk(path=str(home / "landing"))
        self.place = Place(self.lake, self.landing)

    def definitions(self) -> dg.Definitions:
        resources = {
            "lake": self.lake, "landing": self.landing, "io_manager": DeltaIOManager(lake=self.lake),
            "upkeep": UpkeepPolicies(said=self.said),
        }  # fmt: skip
        kept, checked = upkeep_jobs.upkeep_jobs(self.assets), upkeep_jobs.check_jobs(self.assets)
        jobs = [*kept, *checked, upkeep_jobs.restore_job(self.assets)]
        return dg.Definitions(self.assets, jobs=jobs, resources=resources, executor=dg.in_process_executor)

    def run(self, *keys: str, partition: str | None = None) -> None:
        for key in keys or ("bronze/notes", "silver/sums", "gold/all_of_them"):
            job, chosen = self.definitions().resolve_implicit_global_asset_job_def(), [dg.AssetKey(key.split("/"))]
            done = job.execute_in_process(
                SILENT, asset_selection=chosen, instance=self.instance, partition_key=partition
            )
            assert done.success

    def land(self, name: str, *pieces: int) -> None:
        file = self.home / "landing/notes" / f"{name}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f'{{"no": "{name}-{i}", "pieces": {each}}}\n' for i, each in enumerate(pieces)))

    def keep(self, layer: str) -> dg.ExecuteInProcessResult:
        return self.launch(f"upkeep_{layer}")

    def launch(self, job: str, **config: Any) -> dg.ExecuteInProcessResult:
        """As the UI does, with what is said in its launchpad."""
        found = self.definitions().resolve_job_def(job)
        return found.execute_in_process(SILENT | config, instance=self.instance, raise_on_error=False)

    def observed(self, key: str) -> dict[str, Any]:
        found = self.instance.fetch_observations(dg.AssetKey(key.split("/")), limit=1).records
        observation = found[0].asset_observation if found else None
        return {name: each.value for name, each in observation.metadata.items()} if observation else {}

    def materialized(self, key: str) -> int:
        return len(self.instance.fetch_materializations(dg.AssetKey(key.split("/")), limit=100).records)

    def rows(self, key: str) -> list[tuple[object, ...]]:
        return opened(self.lake.address(*key.split("/"))).scan().collect().rows()


def lived_in(home: Path, runs: int) -> House:
    house = House(home)
    for number in range(runs):
        house.land(f"n{number}", 1, 2, -1)
        house.run()
    return house


@pytest.fixture
def house(tmp_path: Path) -> House:
    return lived_in(tmp_path, 3)


def test_a_job_keeps_the_tables_of_its_layer_and_tells_it_as_an_observation(house: House):
    before = house.rows("bronze/notes")
    materialized = house.materialized("bronze/notes")
    assert house.keep("bronze").success
    told = house.observed("bronze/notes")
    assert (told["files_before"], told["files_after"], told["files_rewritten"]) == (3, 1, 3)
    assert told["bytes_before"] > told["bytes_after"] > 0
    assert told["folder/bytes_after"] > told["folder/bytes_before"], "the files before stay for as long as was promised"
    assert (told["small_file_ratio_before"], told["small_file_ratio_after"]) == (1.0, 0.0)
    assert (told["retention_hours"], told["files_removed"]) == (720, 0)
    assert house.rows("bronze/notes") == before
    assert house.materialized("bronze/notes") == materialized, "what made its rows stays the newest materialization"
    assert house.observed("silver/sums") == {}


def test_who_reads_a_table_that_was_only_kept_has_nothing_to_do(house: House):
    versions = {each.key: opened(house.place.table(each)).version for each in DECLARED}
    for layer in ("bronze", "silver", "gold"):
        assert house.keep(layer).success
    kept = {each.key: opened(house.place.table(each)).version for each in DECLARED}
    assert all(kept[key] > versions[key] for key in kept)
    house.run()
    assert {each.key: opened(house.place.table(each)).version for each in DECLARED} == kept
    house.land("late", 5)
    house.run()
    assert house.rows("gold/all_of_them") == [("pieces", 14)]


def test_what_the_last_run_has_noted_for_the_next_one_is_kept_too(house: House):
    made = opened(house.place.table(sums.declaration))
    assert house.keep("silver").success
    kept = opened(made.address)
    assert kept.version == made.version + 2  # its promise, and its files
    noted = [each.commit_of(each.version).info["bronze/notes"] for each in (made, kept)]
    assert noted == [noted[0]] * 2
    shutil.rmtree(house.place.table(notes.declaration).uri)
    assert "bronze/notes is gone; it stood at version" in (stuck(sums.declaration, house.place) or "")


def test_a_reader_that_is_behind_reads_right_after_all_was_kept_and_cleaned(house: House):
    house.land("waits", 7)
    house.run("bronze/notes")
    table = house.place.table(notes.declaration)
    old = time.time() - DAYS_20
    assert house.keep("bronze").success
    for file in Path(table.uri).rglob("*.parquet"):
        os.utime(file, (old, old))
    handle = opened(table)
    assert readers_of(notes.declaration, handle, DECLARED, house.place) == {"silver/sums": handle.version - 3}
    swept = upkeep.plan_sweep(notes.declaration, handle, 0, tables=DECLARED, place=house.place)
    assert {name: each.position for name, each in swept.held.items()} == {"silver/sums": handle.version - 3}
    assert upkeep.facts_of_sweep(swept, {}, 0, 0)["held_for"] == {"silver/sums": swept.held["silver/sums"].told}
    assert len(swept.files) == 3, "of the four that were joined one is not read yet"
    upkeep.sweep(swept)
    house.run()
    assert ("waits-0", 7) in house.rows("silver/sums")
    behind = readers_of(notes.declaration, handle, DECLARED, house.place)
    assert behind == {"silver/sums": handle.version}


def test_a_table_promises_what_its_policy_says_and_a_table_s_own_words_go_first(tmp_path: Path):
    house = House(
        tmp_path, bronze={"retention_hours": 200, "small_ratio": 1.0}, **{"bronze/notes": {"retention_hours": 999}}
    )
    policies = UpkeepPolicies(said=house.said)
    assert isinstance(policies, Policies)
    assert policies.policy("bronze/notes") == Policy(retention_hours=999, small_ratio=1.0)
    assert policies.policy("bronze/others") == Policy(retention_hours=200, small_ratio=1.0)
    assert policies.policy("silver/sums") is None
    house.land("one", 1)
    house.run()
    assert house.keep("bronze").success
    assert hours_of(opened(house.place.table(notes.declaration))) == 999
    assert house.keep("silver").success
    assert (house.observed("silver/sums"), hours_of(opened(house.place.table(sums.declaration)))) == ({}, None)


def test_a_retention_that_is_lowered_is_said_a_night_before_anything_goes_by_it(house: House):
    house.said = {"silver": {"retention_hours": 720}}
    assert house.keep("silver").success
    house.said = {"silver": {"retention_hours": 300}}
    table = house.place.table(sums.declaration)
    old = time.time() - DAYS_20
    for file in Path(table.uri).rglob("*.parquet"):
        os.utime(file, (old, old))
    done = house.keep("silver")
    assert done.success
    facts = house.observed("silver/sums")
    assert facts["retention"] == "lowered from 720 to 300 hours, as `upkeep:` says now"
    assert (facts["retention_hours"], hours_of(opened(table))) == (720, 300)
    said = [each.message for each in house.instance.all_logs(done.run_id) if each.level == logging.WARNING]
    assert "silver/sums: its retention is lowered from 720 to 300 hours, as `upkeep:` says now" in said
    assert house.keep("silver").success
    facts = house.observed("silver/sums")
    assert (facts["retention_hours"], "retention" in facts) == (300, False)


def test_nor_does_it_go_by_that_where_the_night_is_tried_again(house: House, monkeypatch: pytest.MonkeyPatch):
    assert house.keep("silver").success
    house.said = {"silver": {"retention_hours": 300}}
    real, calls = upkeep.plan_beside, list[str]()

    def rivalled(*arguments: Any) -> Any:
        calls.append("")
        if len(calls) == 1:
            raise Conflict("another was first")
        return real(*arguments)

    monkeypatch.setattr(upkeep, "plan_beside", rivalled)
    done = house.keep("silver")
    assert (done.success, len(calls)) == (True, 2)
    facts = house.observed("silver/sums")
    assert facts["retention"] == "lowered from 720 to 300 hours, as `upkeep:` says now"
    assert (facts["retention_hours"], hours_of(opened(house.place.table(sums.declaration)))) == (720, 300)


def commanded(
    house: House, declared: Declaration, monkeypatch: pytest.MonkeyPatch, policy: Callable[[], Policy | None]
) -> list[str]:
    """What the commands for this table say from here on."""
    said, stands = list[str](), SimpleNamespace(tables=TABLES, place=house.place, instance=house.instance)
    monkeypatch.setattr(cli_upkeep, "Lakehouse", lambda: stands)
    monkeypatch.setattr(cli_upkeep, "_own", lambda *_: (declared, own_table(declared, house.place), policy()))
    monkeypatch.setattr(cli_upkeep.out, "print", lambda text, **_: said.append(text))
    return said


def test_nor_does_a_vacuum_by_hand_unless_it_is_told_to(house: House, monkeypatch: pytest.MonkeyPatch):
    assert house.keep("silver").success
    policy = Policy(retention_hours=300)
    said = commanded(house, sums.declaration, monkeypatch, lambda: policy)
    cli_upkeep.vacuum("silver/sums")
    assert said[0] == "silver/sums: its retention is lowered from 720 to 300 hours, as `upkeep:` says now"
    assert house.observed("silver/sums")["retention_hours"] == 720
    cli_upkeep.vacuum("silver/sums")
    assert house.observed("silver/sums")["retention_hours"] == 300
    policy = Policy(retention_hours=200)
    cli_upkeep.vacuum("silver/sums", override_retention=True)
    assert house.observed("silver/sums")["retention_hours"] == 200


def test_nothing_goes_by_hand_of_a_table_that_promises_what_is_not_understood(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    told = {"configuration": {"delta.logRetentionDuration": "interval 1 year"}}
    table = opened(house.place.table(sums.declaration))
    table.commit([], [], {}, {}, rearranges=True, asks=lambda stands, _: (None, stands.metadata | told))
    commanded(house, sums.declaration, monkeypatch, lambda: None)
    with pytest.raises(Refused, match="promises to keep 'interval 1 year'"):
        cli_upkeep.vacuum("silver/sums")
    cli_upkeep.vacuum("silver/sums", override_retention=True)
    assert house.observed("silver/sums")["retention_hours"] == 720


def test_nothing_is_kept_by_hand_for_more_than_a_hundred_years():
    ended = CliRunner().invoke(app, ["table", "vacuum", "silver/sums", "--retain-hours", "876001"])
    assert (ended.exit_code, "0<=x<=876000" in ended.output) == (2, True)


def test_a_retention_that_somebody_else_has_set_is_kept_and_said_night_by_night(house: House):
    table = house.place.table(sums.declaration)
    DeltaTable(table.uri).alter.set_table_properties({"delta.deletedFileRetentionDuration": "interval 90 days"})
    for _ in range(2):
        assert house.keep("silver").success
        facts = house.observed("silver/sums")
        assert facts["retention"].startswith("kept at 2160 hours, which were not set by `upkeep:`; it says 720.")
        assert (facts["retention_hours"], hours_of(opened(table))) == (2160, 2160)


def test_one_table_that_is_refused_stops_no_other_and_is_told(house: House, monkeypatch: pytest.MonkeyPatch):
    """Two ops of one job: the one that fails makes the run fail, the other is done all the same."""
    real = upkeep_jobs.keep_up

    def refusing(declared: Any, *arguments: Any) -> Any:
        if declared.key == "bronze/notes":
            raise Refused("bronze/notes: a file of it is not there. Nothing was removed.")
        return real(declared, *arguments)

    monkeypatch.setattr(upkeep_jobs, "keep_up", refusing)
    together = dg.GraphDefinition(
        name="together", node_defs=[upkeep_jobs._op("upkeep", each, DECLARED, upkeep_jobs._kept) for each in DECLARED]
    ).to_job(resource_defs={"lake": house.lake, "upkeep": UpkeepPolicies(said=house.said)})
    done = together.execute_in_process(SILENT, instance=house.instance, raise_on_error=False)
    assert not done.success
    failed = [each for each in done.all_events if each.event_type_value == "STEP_FAILURE"]
    assert [each.step_key for each in failed] == ["keep__bronze__notes"]
    assert "Nothing was removed" in str(failed[0].event_specific_data)
    assert house.observed("silver/sums")["files_after"] == 1
    assert house.observed("gold/all_of_them")["files_after"] == 1


def test_a_conflict_is_tried_again(house: House, monkeypatch: pytest.MonkeyPatch):
    real, calls = upkeep_jobs.keep_up, list[str]()

    def rivalled(*arguments: Any) -> Any:
        calls.append("")
        if len(calls) == 1:
            raise Conflict("another was first")
        return real(*arguments)

    monkeypatch.setattr(upkeep_jobs, "keep_up", rivalled)
    assert house.keep("bronze").success
    assert len(calls) == 2


def test_rows_of_which_the_later_one_counts_are_not_laid_by_columns(house: House):
    handle = own_table(notes.declaration, house.place)
    assert handle is not None
    with pytest.raises(Refused, match="bronze/notes is written by Append, and a reader takes the later of two rows"):
        optimize(notes.declaration, handle, Policy(), ["no"])
    standing = own_table(sums.declaration, house.place)
    assert standing is not None
    done = optimize(sums.declaration, standing, Policy(), ["no"])
    assert (done.before.files, done.after.files) == (3, 1)


class Places(Silver):
    """One row per note. Source: this test."""

    no: str = column("Number of the note", key=True)
    pieces: int = column("Pieces", ge=0)


@table(write=Merge(), rejects=Quarantine(), zorder=["pieces", "no"])
def places(sent: New[Notes]) -> Frame[Places]:
    return sent.select("no", "pieces")


def test_a_table_is_laid_by_the_columns_that_its_file_says_each_night_only_what_came(house: House):
    tables = [each.declaration for each in (*TABLES, places)]
    driver.House(house.home).run(places.declaration)
    handle = own_table(places.declaration, house.place)
    assert handle is not None
    many = pl.LazyFrame({"no": [f"m{i:05}" for i in range(3_000)], "pieces": range(3_000)})
    for part in range(3):
        handle = prepare_merge(handle, many.slice(part * 1_000, 1_000), ["no"]).commit({}, {}).handle
    kept = keep_up(places.declaration, house.place, Policy(), tables)
    assert kept is not None
    assert kept.done.rewritten == handle.files().height
    assert all("-z" in path for path in kept.done.handle.files()["path"])
    assert "laid by pieces, no: " in history(kept.done.handle, 1)["note"][0]
    again = keep_up(places.declaration, house.place, Policy(), tables)
    assert again is not None
    assert (again.done.rewritten, again.done.handle.version) == (0, kept.done.handle.version)
    assert upkeep.would_do(places.declaration, again.done.handle, Policy()).endswith(": nothing to lay by pieces, no")
    assert definition_metadata(places.declaration)["laid_by"] == "pieces, no"


def test_a_table_that_is_yet_to_get_a_column_to_be_laid_by_is_kept_as_others_are(house: House):
    driver.House(house.home).run(places.declaration)
    declared = replace(places.declaration, zorder=("pieces", "of next week"))
    kept = keep_up(declared, house.place, Policy(), [*DECLARED, declared])
    assert kept is not None
    assert upkeep.would_do(declared, kept.done.handle, Policy()).endswith(": nothing to join")
    with pytest.raises(Refused, match="it has no column of next week"):
        optimize(declared, kept.done.handle, Policy(), declared.zorder)


def test_a_kept_table_is_summed_up_so_that_its_log_may_go(house: House):
    done = keep_up(sums.declaration, house.place, Policy(), DECLARED)
    assert done is not None
    pointer = Path(house.place.table(sums.declaration).uri, "_delta_log/_last_checkpoint").read_text()
    assert f'"version":{done.done.handle.version}' in pointer
    assert keep_up(sums.declaration, replace(house.place, within=("nowhere",)), Policy(), DECLARED) is None
    assert DeltaTable(house.place.table(sums.declaration).uri).metadata().configuration[
        "delta.deletedFileRetentionDuration"
    ] == "interval 720 hours"  # fmt: skip


def test_the_quarantine_of_a_kept_table_still_tells_what_was_set_aside(house: House):
    from lakehouse.engine.delta import quarantine

    aside = house.place.quarantine(sums.declaration)
    before = quarantine.count(opened(house.place.table(sums.declaration)), aside)
    assert before == 3
    assert house.keep("silver").success
    assert quarantine.count(opened(house.place.table(sums.declaration)), aside) == before


def test_a_table_that_somebody_else_wrote_at_a_declared_place_is_not_kept_but_refused(house: House):
    place = house.place.table(sums.declaration)
    shutil.rmtree(place.uri)
    known.forget(place)
    write_deltalake(place.uri, pl.DataFrame({"no": ["1"], "pieces": [1]}))
    before = {each: each.read_bytes() for each in Path(place.uri).rglob("*") if each.is_file()}
    done = house.keep("silver")
    assert not done.success
    [failed] = [each for each in done.all_events if each.event_type_value == "STEP_FAILURE"]
    assert "silver/sums: no run of it has written the table that stands at" in str(failed.event_specific_data)
    assert {each: each.read_bytes() for each in Path(place.uri).rglob("*") if each.is_file()} == before
    shutil.rmtree(place.uri)
    known.forget(place)
    Handle.create(place, sums.declaration.stored_schema)  # as a run leaves it that is killed before it writes
    assert own_table(sums.declaration, house.place) is not None


def test_a_table_whose_readers_do_not_know_its_deletion_vectors_is_freed_of_them(tmp_path: Path):
    house = House(tmp_path)
    house.land("n", *range(9))
    house.run("bronze/notes", "silver/sums")
    handle = for_readers(opened(house.place.table(sums.declaration)), [Reader.DELTA_RS])
    changed = pl.LazyFrame({"no": ["n-3"], "pieces": [30]})
    assert prepare_merge(handle, changed, ["no"]).commit({}, {}).handle.gone
    before = house.rows("silver/sums")
    would = upkeep.would_do(sums.declaration, opened(handle.address), Policy())
    assert would.endswith(
        "; 1 file written anew without 1 row that deletion vectors took away; the table would ask for them no more"
    )
    knowing = replace(sums.declaration, readers=(Reader.DELTA_RS,))
    few_gone = upkeep.would_do(knowing, opened(handle.address), Policy(small_ratio=1.0))
    assert few_gone.endswith("1 file written anew without 1 row that deletion vectors took away")
    assert house.keep("silver").success
    kept = opened(handle.address)
    assert (kept.protocol, kept.has_vectors, house.rows("silver/sums")) == ((1, 7), False, before)


class TestALedger:
    """Of a bronze table that has taken a file in each of 14 batches."""

    @pytest.fixture
    def house(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
        monkeypatch.setattr(ledger, "SMALL_FILES", 5)
        without_dagster = driver.House(tmp_path)
        for number in range(14):
            without_dagster.land(f"notes/n{number:02}.jsonl", f'{{"no": "{number}", "pieces": {number}}}\n')
            without_dagster.run(notes.declaration)
        return House(tmp_path)

    def listed(self, house: House) -> set[str]:
        return set(store.sizes(house.place.ledger(notes.declaration)))

    def sweep(self, house: House, swept: Sweep) -> None:
        for each in upkeep.plan_beside(notes.declaration, swept, house.place).values():
            sweep(each)

    def test_is_vacuumed_with_its_table(self, house: House):
        before = self.listed(house)
        kept = keep_up(notes.declaration, house.place, Policy(retention_hours=0), DECLARED)
        assert kept is not None
        handle = opened(house.place.ledger(notes.declaration))
        left = self.listed(house)
        assert {name for name in left if name.endswith(".parquet") and "_delta_log" not in name} == set(
            handle.files()["path"]
        )
        assert log_name(0) in before - left
        assert kept.facts["beside/bytes_removed"] == kept.beside["ledger"].bytes > 0
        house.land("late", 99)
        house.run("bronze/notes")
        assert sorted(str(row[1]) for row in house.rows("bronze/notes")) == sorted(map(str, [*range(14), 99]))
        assert opened(house.place.table(notes.declaration)).rows == 15

    def test_is_said_to_go_before_a_vacuum_by_hand_takes_and_records_it(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ):
        address, before = house.place.table(notes.declaration), self.listed(house)
        said = commanded(house, notes.declaration, monkeypatch, lambda: None)
        for dry_run in (True, False):
            folder = sum(store.sizes(address).values())
            cli_upkeep.vacuum("bronze/notes", dry_run=dry_run, retain_hours=0, override_retention=True)
        [planned] = (line for line in said if "files would go" in line and "its ledger" in line)
        [done] = (line for line in said if "files removed" in line and "its ledger" in line)
        assert (planned.replace("would go", "removed"), len(before) > len(self.listed(house))) == (done, True)
        gone, log = (int(text.replace(",", "")) for text in re.findall(r"([\d,]+) bytes", done))
        told = house.observed("bronze/notes")
        assert told["beside/bytes_removed"] == gone + log > 0
        assert (told["folder/bytes_before"], told["folder/bytes_after"]) == (
            folder,
            sum(store.sizes(address).values()),
        )
        assert "Next: lakehouse table vacuum bronze/notes" in said

    def test_still_tells_of_every_version_to_which_its_table_can_be_put_back(self, house: House):
        table = opened(house.place.table(notes.declaration))
        taken = "notes/n12.jsonl", "notes/n13.jsonl"
        back = at_version(table, table.version - len(taken))
        swept = upkeep.plan_sweep(notes.declaration, table, 0, tables=DECLARED, place=house.place)
        opened(house.place.ledger(notes.declaration)).checkpoint()
        before = self.listed(house)
        self.sweep(house, replace(swept, oldest=back.version))
        assert self.listed(house) < before
        rewind = prepare_rewind(notes.declaration, house.place, table, back)
        assert rewind is not None
        assert (rewind.lands, rewind.gone) == (taken, ())
        with pytest.raises(Refused, match="does not tell of batch 3 as the table had applied it"):
            prepare_rewind(notes.declaration, house.place, table, at_version(table, 3))

    def test_that_was_put_back_goes_on_where_what_it_held_was_cleaned_away(self, house: House):
        table = opened(house.place.table(notes.declaration))
        rewind = prepare_rewind(notes.declaration, house.place, table, at_version(table, table.version - 2))
        assert rewind is not None
        rewind.commit()
        restored = restore(prepare_restore(table, table.version - 2), house.place.quarantine(notes.declaration))
        swept = upkeep.plan_sweep(notes.declaration, restored, 0, tables=DECLARED, place=house.place)
        self.sweep(house, swept)
        house.run("bronze/notes")
        assert opened(house.place.table(notes.declaration)).rows == 14


def test_every_layer_of_the_business_is_kept_by_night_and_by_no_io_manager_that_pickles():
    names = [each.name for each in jobs_of_the_business]
    assert names == ["upkeep_bronze", "upkeep_silver", "upkeep_gold"]
    assert [each.job_name for each in schedules] == names
    assert {each.default_status for each in schedules} == {dg.DefaultScheduleStatus.RUNNING}
    ops = {op.name for job in jobs_of_the_business for op in job.nodes}
    assert len(ops) == len(tables_in(business))
    loaded = lakehouse()
    assert {each.name for each in loaded.schedules or ()} >= set(names)
    assert Handle.open(LocalDisk(path="/nowhere").address("a", "b")) is None
