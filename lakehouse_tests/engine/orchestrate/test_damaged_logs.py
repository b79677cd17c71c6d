"""A damaged log is found by the weekly job and by the command, and what they name mends it."""

from collections.abc import Callable
from pathlib import Path

import obstore
import pytest

from lakehouse import cli_table
from lakehouse.engine.declare.errors import Conflict, Refused
from lakehouse.engine.declare.place import Place, only_read
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta import known, store
from lakehouse.engine.delta.place import log_name
from lakehouse.engine.delta.refused import Unreadable
from lakehouse.engine.orchestrate.versions import parts
from lakehouse_tests import driver
from lakehouse_tests.azurite import A_KEY, Azurite
from lakehouse_tests.engine.delta.opening import opened
from lakehouse_tests.engine.delta.writing import append
from lakehouse_tests.engine.orchestrate.test_plain_upkeep import Beside
from lakehouse_tests.engine.orchestrate.test_upkeep import notes, sums
from lakehouse_tests.engine.orchestrate.test_upkeep_jobs import failure
from resources.adls import Adls
from resources.local_disk import LocalDisk

pytestmark = pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning")


@pytest.fixture
def house(tmp_path: Path) -> Beside:
    return Beside(tmp_path)


def checkpoint(version: int) -> str:
    return log_name(version).replace("json", "checkpoint.parquet")


def clean_up_and_damage(table: Address) -> int:
    """A log that begins at a checkpoint, and of which the next one is damaged; the version of that."""
    first = opened(table)
    first.checkpoint()
    damaged = append(first, first.scan().clear(), {}, {}).handle
    damaged.checkpoint()
    append(damaged, first.scan().clear(), {}, {})
    store.remove(table, [log_name(version) for version in range(first.version)])
    [content] = store.read(table, [checkpoint(damaged.version)])
    obstore.put(store.store_of(table), checkpoint(damaged.version), content[: len(content) // 2])
    known.forget(table)
    return damaged.version


@pytest.fixture
def in_an_account(house: Beside, azurite: Azurite, new_container, monkeypatch: pytest.MonkeyPatch) -> Beside:
    """The same house, its lake in a storage account. Ask for it before `says`."""
    monkeypatch.setenv("A_KEY", azurite.key)
    house.lake = Adls(account=azurite.account, container=new_container(), auth=A_KEY, endpoint=azurite.endpoint)
    house.place = Place(house.lake, house.landing)
    return house


@pytest.mark.azurite
def test_in_a_storage_account_the_command_and_the_job_find_it_and_a_repair_opens_the_table(in_an_account, says):
    house, key = in_an_account, "silver/sums"
    house.land("n", 1, 2, -1)
    house.run("bronze/notes", key)
    table, aside = (where(sums.declaration) for where in (house.place.table, house.place.quarantine))
    before = sorted(house.rows(key))
    parts = [(each, clean_up_and_damage(at), at) for each, at in ((key, table), (f"{key}, its quarantine", aside))]
    said = failure(house.launch("check_silver"))
    by_command = says(cli_table.check, key, exits=1)
    for name, _, at in parts:
        found = f"{name} cannot be opened"
        mended = f"Next: lakehouse table repair {key}; else move {at} away: lakehouse rebuild {key}"
        assert f"{found}: _delta_log {at} is no Delta table that can be read: " in said
        assert f"{found}\n  _delta_log {at} is no Delta table that can be read: " in by_command
        assert mended in said
        assert mended in by_command
    said = says(cli_table.repair, key)
    for name, damaged, _ in parts:
        assert f"  {checkpoint(damaged)} moved aside" in said
        assert f"{name}: version {damaged + 1} is summed up anew" in said
    assert says(cli_table.check, key).count(", all as written") == len(parts)
    assert house.launch("check_silver").success
    assert (sorted(house.rows(key)), opened(aside).rows) == (before, 1)


def tear_newest(table: Address, torn: bytes = b"") -> None:
    Path(table.uri, log_name(opened(table).version)).write_bytes(torn)
    known.forget(table)


@pytest.mark.parametrize("torn", [b"", b'{"add":{"pa'], ids=["empty", "cut"])
def test_what_a_torn_commit_of_a_quarantine_held_is_missed_by_a_check_and_a_rebuild_brings_it(
    house: Beside, says: Callable[..., str], caplog: pytest.LogCaptureFixture, torn: bytes
):
    for name in "ab":
        house.land(name, 1, -1)
        house.run("bronze/notes", "silver/sums")
    aside, key = house.place.quarantine(sums.declaration), "silver/sums"
    tear_newest(aside, torn)
    assert opened(aside).rows == 1
    assert "a table's quarantine or ledger does not: lakehouse table check silver/sums names" in caplog.text
    said = says(cli_table.check, key, exits=1)
    assert f"{key}, its quarantine, version 1: 1 file, 1 row, 1 damaged" in said
    assert "holds 1 row set aside of version 2 of the table, and its log does not name it" in said
    assert f"Next: lakehouse rebuild {key}" in said
    assert failure(house.launch("check_silver")).endswith(f"Next: lakehouse rebuild {key}")
    driver.House(house.home).run(sums.declaration, rebuild=True)
    assert says(cli_table.check, key).count(", all as written") == len(parts(sums.declaration, house.place))
    assert opened(aside).rows == 2


def test_after_a_torn_commit_of_a_ledger_a_check_names_the_restore_after_which_runs_go_on(
    house: Beside, says: Callable[..., str]
):
    for name in "abc":
        house.land(name, 1)
        house.run("bronze/notes", "silver/sums")
    before, key, sent = house.rows("silver/sums"), "bronze/notes", house.home / "landing/notes/c.jsonl"
    tear_newest(house.place.ledger(notes.declaration))
    slow = driver.House(house.home)
    for rebuild in (False, True):
        with pytest.raises(Conflict, match=rf"has lost batches: lakehouse table check {key} names what mends it\."):
            slow.run(notes.declaration, rebuild=rebuild)
    said = says(cli_table.check, key, exits=1)
    assert "batches 3 to 3 are in the table, and its ledger does not know them" in said
    assert f"Next: lakehouse table restore {key} --version 2 --downstream, and lakehouse run" in said
    sent.rename(house.home / "away")
    with pytest.raises(Refused, match=r"their rows would be lost: notes/c\.jsonl\. Nothing was written"):
        says(cli_table.restore, key, version=2, downstream=True)
    (house.home / "away").rename(sent)
    says(cli_table.restore, key, version=2, downstream=True)
    house.run("bronze/notes", "silver/sums")
    assert sorted(house.rows("silver/sums")) == sorted(before)
    assert says(cli_table.check, key).count(", all as written") == 2


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_damaged_file_of_a_ledger_is_said_in_a_sentence_that_names_the_check(house: Beside, *, is_cut: bool):
    house.land("a", 1)
    house.run("bronze/notes")
    ledger = house.place.ledger(notes.declaration)
    [file] = Path(ledger.uri).glob("*.parquet")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2 * is_cut])
    if not is_cut:
        file.unlink()
    known.forget(ledger)
    mends = "What mends it: lakehouse table check bronze/notes"
    said = rf"^bronze/notes: its ledger \({ledger}\) cannot be read: [^\n]*\. Nothing was taken\. {mends}$"
    for asked in (driver.House(house.home).run, driver.House(house.home).ledger):
        with pytest.raises(Unreadable, match=said):
            asked(notes.declaration)


def test_a_ledger_that_is_gone_is_missed_by_a_check(house: Beside, says: Callable[..., str]):
    house.land("a", 1)
    house.run("bronze/notes")
    ledger = house.place.ledger(notes.declaration)
    Path(ledger.uri).rename(house.home / "away")
    said = says(cli_table.check, "bronze/notes", exits=1)
    assert "batches 1 to 1 are in the table, and its ledger does not know them" in said
    assert f"Next: put {ledger} back as it was, or move it and " in said


def test_of_a_plain_asset_the_way_out_is_to_materialize_it_and_that_makes_it_anew(house, says):
    key = "gold/rates"
    for _ in range(3):
        house.run(key)
    table = house.lake.address("gold", "rates")
    Path(table.uri, log_name(1)).write_text("{")
    known.forget(table)
    anew = f"move {table} away: dg launch --assets {key}"
    said = says(cli_table.check, key, exits=1).splitlines()
    assert (said[0], said[-1]) == (f"{key} cannot be opened", f"Next: lakehouse table repair {key}; else {anew}")
    with pytest.raises(Refused, match=rf"{log_name(1)} is missing or damaged, .* back as it was; else {anew}$"):
        says(cli_table.repair, key)
    assert failure(house.launch("check_gold")).endswith(f"else {anew}")
    Path(table.uri).rename(house.home / "away")
    house.run(key)
    assert ", all as written" in says(cli_table.check, key)


def test_a_table_that_was_not_written_yet_is_not_repaired_and_says_what_writes_it(house, says):
    for key, writes in (("silver/sums", "lakehouse run"), ("gold/rates", "dg launch --assets gold/rates")):
        with pytest.raises(Refused, match=rf"^{key} was not written yet\. Next: {writes}$"):
            says(cli_table.repair, key)


def test_a_table_that_does_not_open_is_told_where_it_lies_here_or_in_the_lake_behind(house):
    house.land("n", 1)
    house.run("bronze/notes", "silver/sums")
    other = LocalDisk(path=str(house.home / "other"))
    place = Place(house.lake, house.landing, behind=other)
    own, behind = place.table(sums.declaration), only_read(other, "silver", "sums")
    Path(own.uri, log_name(0)).write_text("{")
    known.forget(own)
    assert parts(sums.declaration, place)[0].address == own
    Path(behind.uri).parent.mkdir(parents=True)
    Path(own.uri).rename(behind.uri)
    assert parts(sums.declaration, place)[0].address == behind
    assert parts(sums.declaration, place)[1].address == only_read(other, "quarantine", "silver", "sums")
