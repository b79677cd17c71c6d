"""A value of a personal column stands in its tables and quarantines, and nowhere else that a run leaves behind."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from lakehouse import (
    Affected,
    Append,
    Bronze,
    Csv,
    Files,
    Frame,
    Gold,
    JsonLines,
    Merge,
    New,
    Overwrite,
    Quarantine,
    ReplacePartition,
    Silver,
    Struct,
    column,
    table,
)
from lakehouse.engine.declare.errors import DeclarationError
from lakehouse.engine.declare.place import Place
from lakehouse.engine.delta import quarantine
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.orchestrate.rebuild import compare
from lakehouse.engine.orchestrate.run import outcomes
from lakehouse.engine.orchestrate.table import Table
from lakehouse_tests import driver
from resources.delta_io_manager import DeltaIOManager
from resources.local_disk import LocalDisk

pytestmark = pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning")

AT_ONCE = timedelta(0)
CANARIES = ("Zebedee", "zebedee", "1907-03-04", "07777123456")


class Address(Struct):
    """Where somebody lives."""

    street: str = column("Street and number", personal=True)
    floors: int = column("Floors", nullable=True)


class Sent(Bronze):
    """One row per visitor."""

    email: str = column("Of the visitor", personal=True)
    name: str = column("Of the visitor", personal=True, nullable=True)
    born: date = column("Of the visitor", personal=True, nullable=True)
    phone: int = column("Of the visitor", personal=True, nullable=True)
    home: Address = column("Of the visitor", nullable=True)
    visits: int = column("How often", nullable=True)


@table(source=Files("people/*.jsonl", formats=JsonLines(), settle=AT_ONCE), write=Append())
def sent() -> Frame[Sent]: ...


class Listed(Bronze):
    """One row per visitor, of a list."""

    email: str = column("Of the visitor", personal=True)
    visits: int = column("How often")


@table(source=Files("lists/*.csv", formats=Csv(), settle=AT_ONCE), write=Append())
def listed() -> Frame[Listed]: ...


class People(Silver):
    """One row per visitor."""

    email: str = column("Of the visitor", key=True, personal=True, str_matches=".+@.+")
    name: str = column("Of the visitor", personal=True, nullable=True)
    born: date = column("Of the visitor", personal=True, nullable=True, ge=date(1908, 1, 1))
    phone: int = column("Of the visitor", personal=True, nullable=True)
    visits: int = column("How often", nullable=True, ge=0)


@table(write=Merge(), rejects=Quarantine())
def people(rows: New[Sent]) -> Frame[People]:
    return rows.select("email", "name", "born", "phone", "visits")


class Loyal(Gold):
    """One row per visitor who came."""

    email: str = column("Of the visitor", key=True, personal=True)
    visits: int = column("How often", nullable=True, ge=1)


@table(write=Overwrite())
def loyal(rows: Frame[People]) -> Frame[Loyal]:
    return rows.select("email", "visits")


class Dialled(Gold):
    """One row per visitor with a number."""

    email: str = column("Of the visitor", key=True, personal=True)
    dialled: int = column("The name as a number", nullable=True)


@table(write=Overwrite())
def dialled(rows: Frame[People]) -> Frame[Dialled]:
    return rows.select("email", dialled=pl.col("name").cast(pl.Int64))


@dataclass
class House:
    """A lake, a landing, and a Dagster home whose files are really written."""

    root: Path
    instance: dg.DagsterInstance

    @property
    def place(self) -> Place:
        return Place(LocalDisk(path=str(self.root / "lake")), LocalDisk(path=str(self.root / "landing")))

    def land(self, name: str, *lines: dict[str, Any] | str) -> None:
        file = self.root / "landing" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{each if isinstance(each, str) else json.dumps(each)}\n" for each in lines))
        os.utime(file, (now := 1_700_000_000 + file.stat().st_size, now))

    def run(self, *tables: Table) -> dg.ExecuteInProcessResult:
        lake = self.place.lake
        resources = {"lake": lake, "landing": self.place.landing, "io_manager": DeltaIOManager(lake=lake)}
        there = {each.key: each for each in (sent, listed, people, loyal, dialled, *tables)}
        made = dg.Definitions([*there.values()], resources=resources, executor=dg.in_process_executor)
        return made.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance, raise_on_error=False, asset_selection=[each.key for each in tables]
        )

    def leaked(self) -> set[tuple[str, str]]:
        """Every canary with each file of Dagster's home and of the logs of Delta that has it."""
        files = [*(self.root / "home").rglob("*"), *(self.root / "lake").rglob("_delta_log/*")]
        contents = {file: file.read_bytes() for file in files if file.is_file()}
        assert len(contents) > 10
        return {(each, file.name) for file, held in contents.items() for each in CANARIES if each.encode() in held}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    home = tmp_path / "home"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home), {"telemetry": {"enabled": False}}) as instance:
        yield House(tmp_path, instance)


ZEBEDEE = {"email": "zebedee@x.org", "name": "Zebedee", "born": "1950-03-04", "phone": "07777123456", "visits": "3"}
JO = {"email": "jo@x.org", "visits": "1"}


def failures(result: dg.ExecuteInProcessResult) -> list[str]:
    failed: list[Any] = [each.step_failure_data.user_failure_data for each in result.all_events if each.is_step_failure]
    return [each.description or "" for each in failed if each]


def found(result: dg.ExecuteInProcessResult, check: str, fact: str) -> Any:
    """A fact that a check tells."""
    told = next(each for each in result.get_asset_check_evaluations() if each.check_name == check)
    return told.metadata[fact].value


def made(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    """By table that was written, what its materialization tells."""
    events: list[Any] = [each for each in result.all_events if each.is_step_materialization]
    written = [each.step_materialization_data.materialization for each in events]
    return {each.asset_key.to_user_string(): {name: of.value for name, of in each.metadata.items()} for each in written}


def test_no_run_that_accepts_rejects_refuses_or_fails_leaves_a_personal_value_in_events_or_logs(
    house: House, capfd: pytest.CaptureFixture[str]
):
    home = {"street": "Zebedee Lane 1", "floors": "2"}
    house.land("people/a.jsonl", {**ZEBEDEE, "phone": "7777123456", "home": home, "nick": "Zebedee"}, JO)
    house.land("lists/a.csv", "zebedee@x.org,3", "zebedee@y.org,4")
    accepted = house.run(sent, people, listed)
    assert not failures(accepted)
    assert house.place.lake.address("silver", "people")
    house.land(
        "people/b.jsonl",
        {**ZEBEDEE, "born": "Zebedee's birthday"},
        {**ZEBEDEE, "email": "zebedee", "phone": "7777123456", "born": "1907-03-04"},
        {**ZEBEDEE, "phone": "07777123456"},
        {**JO, "home": {"street": None, "floors": "two"}},
        '{"email": "zebedee@x.org", "name": Zebedee}',
        {**JO, "visits": "0"},
    )
    rejected = house.run(sent, people)
    assert not failures(rejected)
    refused = house.run(loyal)
    assert "refused 1 of 2 rows: 1 visits__ge (visits >= 1; as in email = •••, visits = 0)" in failures(refused)[0]
    failed = house.run(dialled)
    assert (
        "InvalidOperationError. What Polars says of it may hold personal values and is left out" in failures(failed)[0]
    )
    house.land("people/a.jsonl", JO)
    corrected = house.run(sent, people)
    assert found(corrected, "corrections_hold_what_they_held", "still_standing") == ["•••"]
    assert house.leaked() == set()
    said = "".join(capfd.readouterr())
    assert "RUN_FAILURE" in said
    assert not [each for each in CANARIES if each in said]
    told = [*outcomes(rejected, ["bronze/sent", "silver/people"]), *outcomes(refused, ["gold/loyal"])]
    assert not [each for each in CANARIES if each in repr(told)]


def test_a_canary_that_is_not_marked_is_found_so_the_search_looks_where_values_would_be(house: House):
    class Open(Bronze):
        """One row per visitor, of whom nothing is personal."""

        name: str = column("Of the visitor")

    @table(source=Files("open/*.jsonl", formats=JsonLines(), settle=AT_ONCE), write=Append())
    def open_names() -> Frame[Open]: ...

    house.land("open/a.jsonl", {"name": "Zebedee"})
    assert house.run(open_names).success
    files = {file for _, file in house.leaked()}
    assert any(file.endswith(".db") for file in files)
    assert "00000000000000000001.json" in files


def test_the_table_and_its_quarantine_hold_the_values_as_they_came(house: House):
    house.land("people/a.jsonl", {**ZEBEDEE, "phone": "7777123456"}, {**ZEBEDEE, "phone": "07777123456"})
    house.run(sent, people)
    own = Handle.open(house.place.table(people.declaration))
    assert own is not None
    assert own.scan().select("email", "phone").collect().rows() == [("zebedee@x.org", 7777123456)]
    aside = quarantine.read(own, house.place.quarantine(people.declaration)).collect()
    assert json.loads(aside["row"].item())["phone"] == "07777123456"
    assert aside["reasons"].item().to_list() == ["phone: ••• is not an exact Int64"]


def test_previews_check_examples_and_columns_say_that_there_is_a_value_and_not_which(house: House):
    house.land("people/a.jsonl", {**ZEBEDEE, "phone": "7777123456"}, {**ZEBEDEE, "email": "zebedee", "phone": None})
    result = house.run(sent, people)
    told = made(result)["silver/people"]
    assert told["preview"].split("\n")[2] == "| ••• | ••• | ••• | ••• | 3 |"
    assert "rows per day" not in told
    assert found(result, "email__str_matches", "examples") == ["email = •••"]
    columns = {each.name: each for each in next(iter(sent.specs)).metadata["dagster/column_schema"].columns}
    assert columns["email"].tags == {"personal": "true"} == columns["home"].tags
    assert columns["email"].description == "Of the visitor (personal)"
    assert "street (String): Street and number (personal)" in columns["home"].description
    assert not columns["visits"].tags


def test_a_merge_by_a_personal_key_replaces_its_row_though_the_log_knows_no_range_of_it(house: House):
    house.land("people/a.jsonl", {**ZEBEDEE, "phone": "1"}, JO)
    house.run(sent, people)
    house.land("people/b.jsonl", {**ZEBEDEE, "phone": "2"})
    house.run(sent, people)
    own = Handle.open(house.place.table(people.declaration))
    assert own is not None
    assert sorted(own.scan().select("email", "phone").collect().rows()) == [("jo@x.org", None), ("zebedee@x.org", 2)]
    files = own.files()
    known = [name for name in files.columns if name.startswith(("min.", "max.")) and files[name].is_not_null().any()]
    assert sorted(known) == ["max.visits", "min.visits"]


def test_what_a_run_says_of_the_slices_that_changed_masks_a_personal_key(tmp_path: Path):
    class Counted(Gold):
        """One row per visitor and number of visits."""

        email: str = column("Of the visitor", key=True, personal=True)
        visits: int = column("How often", key=True)

    @table(write=Merge())
    def counted(rows: Affected[People]) -> Frame[Counted]:
        return rows.select("email", pl.col("visits").fill_null(0))

    house = driver.House(tmp_path)
    house.land("people/a.jsonl", json.dumps({**ZEBEDEE, "phone": "1"}))
    house.drain(*(each.declaration for each in (sent, people, counted)))
    house.land("people/b.jsonl", json.dumps({**ZEBEDEE, "phone": "1", "visits": "4"}))
    house.drain(sent.declaration, people.declaration)
    told = house.run(counted.declaration).facts["slices"]
    assert told == "2 slices (email = •••; visits = 3 | email = •••; visits = 4)"


def test_a_difference_says_which_rows_change_and_masks_what_is_personal(house: House):
    house.land("people/a.jsonl", {**ZEBEDEE, "phone": "7777123456"}, JO)
    house.run(sent, people)

    def shouted(rows: pl.LazyFrame) -> pl.LazyFrame:
        return people(rows).with_columns(pl.col("name") + "!")

    differs = compare(replace(people.declaration, transform=shouted), house.place)
    assert differs.changed.height == 1
    [(word, rows)] = differs.parts()
    assert (word, rows.rows()) == ("changed", [("•••", "•••", "•••")])


def test_a_reader_of_a_personal_column_says_whether_it_is_personal_there_too():
    class Forgotten(Silver):
        """One row per visitor."""

        email: str = column("Of the visitor", key=True)

    class Shown(Silver):
        """One row per visitor."""

        email: str = column("Of the visitor", key=True, personal=False)

    with pytest.raises(DeclarationError, match=r"'email' is personal in bronze/sent: say column\(…, personal=True\)"):

        @table(write=Merge())
        def forgotten(rows: New[Sent]) -> Frame[Forgotten]:
            return rows.select("email")

    @table(write=Merge())
    def shown(rows: New[Sent]) -> Frame[Shown]:
        return rows.select("email")


def test_no_table_is_stored_or_replaced_by_a_personal_column():
    with pytest.raises(DeclarationError, match="column 'email' is personal, and the values of what a table is stored"):

        @table(write=Overwrite(), partition_by="email")
        def in_folders(rows: Frame[People]) -> Frame[Loyal]:
            return rows.select("email", "visits")

    with pytest.raises(DeclarationError, match="column 'email' is personal"):

        @table(write=ReplacePartition("email"))
        def in_slices(rows: Frame[People]) -> Frame[Loyal]:
            return rows.select("email", "visits")
