"""What `lakehouse status` says to do next."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from deltalake import write_deltalake

from lakehouse import Append, Bronze, Files, Frame, Gold, JsonLines, Merge, New, Overwrite, Silver, column, table
from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.delta import known
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.place import log_file
from lakehouse.engine.orchestrate.remembered import Remembered
from lakehouse.engine.orchestrate.status import Status, hints, left_stale, logic_changed, state, status
from lakehouse_tests.driver import House
from lakehouse_tests.engine.delta.opening import opened
from resources.delta_io_manager import DeltaIOManager


class StatusSent(Bronze):
    """One row per document."""

    n: int = column("A number")


class StatusNumbers(Silver):
    """One row per number."""

    n: int = column("A number", key=True)


class StatusLog(Silver):
    """One row per document."""

    n: int = column("A number")


class StatusWhole(Gold):
    """One row per number."""

    n: int = column("A number", key=True)


@table(source=Files("sent/*.jsonl", formats=JsonLines()), write=Append())
def status_sent() -> Frame[StatusSent]: ...


@table(write=Merge())
def status_numbers(sent: New[StatusSent]) -> Frame[StatusNumbers]:
    return sent.select("n")


@table(write=Append())
def status_log(sent: New[StatusSent]) -> Frame[StatusLog]:
    return sent.select("n")


@table(write=Overwrite())
def status_whole(numbers: Frame[StatusNumbers]) -> Frame[StatusWhole]:
    return numbers.select("n")


TABLES = [status_sent, status_numbers, status_log, status_whole]


def test_without_a_table_the_way_to_the_first_one_is_said(tmp_path: Path):
    assert list(hints([], [], House(tmp_path).place)) == [
        "No table is declared yet: put a file below lakehouse/tables (README: Your first table)."
    ]


def test_each_table_whose_logic_changed_is_made_anew_by_one_command_once():
    assert logic_changed(TABLES, ["silver/status_numbers", "silver/status_log", "gold/status_whole"]) == (
        "The logic of silver/status_numbers, silver/status_log, gold/status_whole changed since it was last made "
        "whole; rows stay as they were made, and new ones follow the new logic. "
        "Next: lakehouse rebuild silver/status_numbers+ && lakehouse rebuild silver/status_log+"
    )


def test_of_a_table_that_is_written_whole_no_rows_of_two_logics_are_told():
    assert logic_changed(TABLES, ["gold/status_whole"]) == (
        "The logic of gold/status_whole changed since it was last made whole. "
        "Next: lakehouse rebuild gold/status_whole+"
    )


def standing(key: str, *, stale: bool = False) -> Status:
    return Status(key, "a layer", "", 1, 1, 1, None, 0, None, stale=stale, last_run=None)


def test_a_table_that_is_made_from_one_of_two_logics_says_from_which():
    numbers, whole = standing("silver/status_numbers", stale=True), standing("gold/status_whole")
    log, plain = standing("silver/status_log"), standing("gold/rates")
    found = [numbers, log, whole, plain]
    assert [state(each, found, TABLES) for each in found] == [
        "logic changed", "", "logic of silver/status_numbers changed", "",
    ]  # fmt: skip


def test_files_that_landed_and_were_not_read_are_counted(tmp_path: Path):
    house = House(tmp_path)
    found = [standing(each.declaration.key) for each in TABLES]
    for name in "ab":
        house.land(f"sent/{name}.jsonl", f'{{"n": {ord(name)}}}')
    said = "Landed, and not read yet: 2 files for bronze/status_sent. Next: lakehouse run"
    assert list(hints(found, TABLES, house.place)) == [said]
    house.drain(status_sent.declaration)
    assert list(hints(found, TABLES, house.place)) == []


def test_tables_of_todays_logic_or_never_written_are_not_stale(tmp_path: Path):
    house = House(tmp_path)
    assert left_stale(TABLES, house.place, Remembered(house.place)) == []
    house.land("sent/1.jsonl", '{"n": 1}')
    house.drain(*(each.declaration for each in TABLES))
    assert left_stale(TABLES, house.place, Remembered(house.place)) == []


def test_rows_of_another_logic_are_told_of_though_the_older_one_is_declared_again(tmp_path: Path):
    house, lasting = House(tmp_path), [status_sent, status_numbers, status_log]
    declared = [each.declaration for each in lasting]
    house.land("sent/1.jsonl", '{"n": 1}')
    house.drain(*declared)
    for at, is_other in enumerate([True, False]):
        with pytest.MonkeyPatch.context() as patched:
            for each in declared if is_other else []:
                patched.setitem(vars(each), "logic", 7)
            house.land(f"sent/{at + 2}.jsonl", f'{{"n": {at + 2}}}')
            house.drain(*declared)
            stale = [each.key for each in declared]
            assert left_stale(lasting, house.place, Remembered(house.place)) == stale
    for each in declared:
        house.run(each, rebuild=True)
    assert left_stale(lasting, house.place, Remembered(house.place)) == []


def test_another_logic_that_wrote_nothing_left_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    house, declared = House(tmp_path), [each.declaration for each in TABLES]
    house.land("sent/1.jsonl", '{"n": 1}')
    house.drain(*declared)
    with monkeypatch.context() as patched:
        patched.setitem(vars(status_log.declaration), "logic", 7)
        house.drain(*declared)
        assert left_stale(TABLES, house.place, Remembered(house.place)) == ["silver/status_log"]
    assert left_stale(TABLES, house.place, Remembered(house.place)) == []


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def test_a_table_of_which_only_a_checkpoint_tells_has_a_status_too(tmp_path: Path, instance: dg.DagsterInstance):
    house = House(tmp_path)
    house.land("sent/1.jsonl", '{"n": 1}')
    house.drain(*(each.declaration for each in TABLES))
    address = house.place.table(status_whole.declaration)
    stands = opened(address)
    before = status(TABLES, house.place, instance)[-1]
    stands.checkpoint()
    Path(log_file(address, stands.version)).unlink()
    known.forget(address)
    after = status(TABLES, house.place, instance)[-1]
    assert (after.version, after.rows) == (before.version, before.rows) == (stands.version, 1)
    assert after.updated_at == before.updated_at, "its file was committed with it"


def test_of_a_table_of_others_it_says_that_it_stands_there_and_what_a_run_says_to_it(
    tmp_path: Path, instance: dg.DagsterInstance
):
    house, whole = House(tmp_path), status_whole.declaration
    house.land("sent/1.jsonl", '{"n": 1}')
    house.drain(status_sent.declaration, status_numbers.declaration)
    write_deltalake(house.place.table(whole).uri, pl.DataFrame({"other": ["x", "y"]}))
    with pytest.raises(Refused) as refused:
        house.run(whole)
    found = status(TABLES, house.place, instance)
    assert [each.key for each in found if each.foreign] == ["gold/status_whole"]
    assert state(found[-1], found, TABLES) == "another table stands there"
    assert found[-1].version is None
    [said] = [each for each in hints(found, TABLES, house.place) if "status_whole" in each]
    assert said == (
        "At the place of gold/status_whole stands a table that no run of it has made (version 0, 2 rows, "
        f"{house.place.table(whole)}). lakehouse run refuses it: {refused.value}"
    )
    house.run(whole, rebuild=True)
    assert not any(each.foreign for each in status(TABLES, house.place, instance))


def test_of_a_table_of_others_with_the_declared_columns_it_says_that_a_run_replaces_its_rows(
    tmp_path: Path, instance: dg.DagsterInstance
):
    house, whole = House(tmp_path), status_whole.declaration
    write_deltalake(house.place.table(whole).uri, pl.DataFrame({"n": [7]}))
    [said] = [each for each in hints(status(TABLES, house.place, instance), TABLES, house.place) if "whole" in each]
    assert said.endswith(
        "Its columns are the declared ones, and so the first run replaces all its rows; to keep it, move it away."
    )
    house.land("sent/1.jsonl", '{"n": 1}')
    house.drain(*(each.declaration for each in TABLES))
    assert house.rows(whole).rows() == [(1,)]


def test_who_reads_a_table_of_others_is_refused_too_and_says_so(tmp_path: Path, instance: dg.DagsterInstance):
    house = House(tmp_path)
    write_deltalake(house.place.table(status_sent.declaration).uri, pl.DataFrame({"other": ["x"]}))
    said = list(hints(status(TABLES, house.place, instance), TABLES, house.place))
    reads = "reads bronze/status_sent, which stands with other columns than its contract declares"
    assert [each.split()[0] for each in said if reads in each] == ["silver/status_numbers", "silver/status_log"]


def test_rows_of_others_in_a_bronze_table_are_refused_since_no_file_explains_them(
    tmp_path: Path, instance: dg.DagsterInstance
):
    house, sent = House(tmp_path), status_sent.declaration
    house.land("sent/1.jsonl", '{"n": 1}')
    house.run(sent)
    rows = house.rows(sent)
    shutil.rmtree(house.place.table(sent).uri)
    write_deltalake(house.place.table(sent).uri, rows)
    with pytest.raises(Refused, match=r"holds 1 row that no run of it has written.*version 0 stands") as refused:
        house.run(sent)
    said = [
        each for each in hints(status(TABLES, house.place, instance), TABLES, house.place) if "no run of it" in each
    ]
    assert any(each.endswith(f"lakehouse run refuses it: {refused.value}") for each in said)
    with pytest.raises(Refused, match="no run of it has written"):
        house.run(sent, rebuild=True)
    assert house.rows(sent).rows() == rows.rows()


def test_the_empty_table_that_a_killed_run_has_left_is_none_of_others(tmp_path: Path, instance: dg.DagsterInstance):
    house = House(tmp_path)
    Handle.create(house.place.table(status_whole.declaration), status_whole.declaration.stored_schema)
    assert not any(each.foreign for each in status(TABLES, house.place, instance))


class StatusOther(Bronze):
    """One row per document."""

    n: int = column("A number")


@table(source=Files("other/*.jsonl", formats=JsonLines()), write=Append())
def status_other() -> Frame[StatusOther]: ...


class StatusOfOther(Silver):
    """One row per number."""

    n: int = column("A number", key=True)


@table(write=Merge(), automation_condition=dg.AutomationCondition.eager())
def status_of_other(other: New[StatusOther]) -> Frame[StatusOfOther]:
    return other.select("n")


class StatusBoth(Gold):
    """One row per number."""

    n: int = column("A number", key=True)


@table(write=Overwrite(), automation_condition=dg.AutomationCondition.eager())
def status_both(numbers: Frame[StatusNumbers], other: Frame[StatusOfOther]) -> Frame[StatusBoth]:
    return pl.concat([numbers, other]).unique()


class StatusByHand(Gold):
    """One row per number."""

    n: int = column("A number", key=True)


@table(write=Overwrite())
def status_by_hand(numbers: Frame[StatusNumbers], other: Frame[StatusOfOther]) -> Frame[StatusByHand]:
    return pl.concat([numbers, other]).unique()


def test_what_eager_holds_back_for_want_of_an_upstream_says_of_which_and_why(
    tmp_path: Path, instance: dg.DagsterInstance
):
    tables = [status_sent, status_other, status_numbers, status_of_other, status_both, status_by_hand]
    house = House(tmp_path)
    said = (
        "gold/status_both is due, and by eager() waits for silver/status_of_other, which was never made: no file lies "
        "at other/*.jsonl yet. lakehouse run makes it of what is there."
    )

    def told() -> list[str]:
        return [each for each in hints(status(tables, house.place, instance), tables, house.place) if "eager" in each]

    assert told() == []
    house.land("sent/1.jsonl", '{"n": 1}')
    house.drain(status_sent.declaration, status_numbers.declaration)
    assert told() == [said]
    house.land("other/1.jsonl", '{"n": 2}')
    assert told() == [said.replace(": no file lies at other/*.jsonl yet", "")]
    house.drain(*(each.declaration for each in tables))
    assert told() == []


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")
def test_eager_holds_a_table_back_until_each_of_its_upstreams_was_made_once(
    tmp_path: Path, instance: dg.DagsterInstance
):
    place = House(tmp_path).place
    resources = {"lake": place.lake, "landing": place.landing, "io_manager": DeltaIOManager(lake=place.lake)}
    defined = dg.Definitions(
        [status_sent, status_numbers, status_other, status_of_other, status_both], resources=resources
    )
    cursor = None

    def tick(made: str) -> list[str]:
        nonlocal cursor
        instance.report_runless_asset_event(dg.AssetMaterialization(made.split("/")))
        asked = dg.evaluate_automation_conditions(defined, instance, cursor=cursor)
        cursor = asked.cursor
        return [each.key.to_user_string() for each in asked.results if each.true_subset.size]

    assert tick("silver/status_numbers") == []
    assert tick("silver/status_of_other") == ["gold/status_both"]
