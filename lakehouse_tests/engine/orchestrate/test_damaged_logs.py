"""A damaged log is found by the weekly job and by the command, and what they name mends it."""

from pathlib import Path

import obstore
import pytest

from lakehouse import cli_table
from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.place import Place, only_read
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta import known, store
from lakehouse.engine.delta.place import log_name
from lakehouse.engine.orchestrate.versions import parts
from lakehouse_tests.azurite import A_KEY, Azurite
from lakehouse_tests.engine.delta.opening import opened
from lakehouse_tests.engine.delta.writing import append
from lakehouse_tests.engine.orchestrate.test_plain_upkeep import Beside
from lakehouse_tests.engine.orchestrate.test_upkeep import sums
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
