"""Any table can be put back to any of its versions, and a run makes it what it would be had nothing happened."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from deltalake import DeltaTable, TableFeatures
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.engine.declare.errors import Conflict, Refused
from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.ports import Address, Storage
from lakehouse.engine.declare.readers import Reader
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.declare.upkeep import Policy
from lakehouse.engine.delta import quarantine
from lakehouse.engine.delta.delivery import deliver
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.optimize import Aim, compact
from lakehouse.engine.delta.restore import prepare_restore
from lakehouse.engine.delta.vacuum import plan_vacuum, sweep
from lakehouse.engine.ingest.ledger import SCHEMA
from lakehouse.engine.orchestrate.restore import Step, carry_out, plan
from lakehouse.engine.orchestrate.upkeep import keep_up
from lakehouse_tests.azurite import A_KEY
from lakehouse_tests.driver import House, files_per_batch, lines, order
from lakehouse_tests.engine.orchestrate.test_any_sequence_of_landings import (
    DAILY,
    ERP,
    LINES,
    ORDERS,
    TABLES,
    documents,
)
from lakehouse_tests.faults.standing import EXAMPLE, Standing, standing
from resources.adls import Adls


def land(house: House, day: int, *documents: str) -> None:
    house.land(f"erp/orders/dt=2024-05-{day:02}/orders.jsonl.gz", lines(*documents))


def put_back(house: House, declared: Declaration, version: int, **words: bool) -> list[str]:
    """The keys of the tables that were put back, in that order."""
    done: list[str] = []

    def tell(step: Step, restored: Handle) -> None:
        assert restored.version - step.restore.now.version == (3 if step.restore.now.has_vectors else 1)
        done.append(step.declared.key)

    planned = plan(declared, version, TABLES, house.place, **words)
    assert planned.refusal(accept_loss=False) is None
    carry_out(planned, house.place, tell)
    return done


def version(house: House, declared: Declaration) -> int:
    handle = house.open(declared)
    assert handle is not None
    return handle.version


def seen(house: House) -> Standing:
    return standing(house.root, batches=False, tables=EXAMPLE)


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Three files, each taken by itself; the second, of an earlier day, changes an order of the first."""
    house = House(tmp_path)
    for day, sent in (
        (2, [order("1", (1, 2, "1.50")), order("2", (1, 1, '"1O"'))]),
        (1, [order("1", (1, 3, "1.50")), order("C3", (1, 1, "5"))]),
        (3, [order("4", (1, 1, "2"))]),
    ):
        land(house, day, *sent)
        house.drain(*TABLES)
    return house


def test_bronze_takes_its_files_again_as_they_had_come(house: House):
    before, was = seen(house), version(house, ERP)
    for back in range(was + 1):
        assert put_back(house, ERP, back, downstream=True)[-1:] == (["bronze/erp_orders"] if back < was else [])
        assert [name for name, _ in house.states(ERP)] == [
            "dt=2024-05-02/orders.jsonl.gz", "dt=2024-05-01/orders.jsonl.gz", "dt=2024-05-03/orders.jsonl.gz"
        ][: max(0, back - was + 3)]  # fmt: skip
        house.assert_counts_add_up(ERP)
        house.drain(*TABLES)
        assert seen(house) == before
        put_back(house, ERP, was, downstream=True)


def test_a_bad_file_is_taken_back_and_its_mended_one_taken_instead(house: House):
    land(house, 4, order("1", (1, 999, "99")))
    was = version(house, ERP)
    house.drain(*TABLES)
    assert house.rows(ORDERS).height == 2
    house.file("erp/orders/dt=2024-05-04/orders.jsonl.gz").unlink()
    planned = plan(ERP, was, TABLES, house.place, downstream=True)
    refusal = planned.refusal(accept_loss=False) or ""
    assert "1 file cannot be read again as they were" in refusal
    assert "dt=2024-05-04/orders.jsonl.gz" in refusal
    assert planned.refusal(accept_loss=True) is None
    carry_out(planned, house.place, lambda *_: None)
    land(house, 5, order("1", (1, 9, "9")))
    house.drain(*TABLES)
    assert sorted(house.rows(ORDERS)["net_amount"].cast(float)) == [2.0, 81.0]
    house.assert_counts_add_up(ERP)


def test_a_file_that_was_overwritten_since_is_told_as_gone(house: House):
    was = version(house, ERP)
    land(house, 3, order("4", (1, 7, "2")))
    house.drain(*TABLES)
    assert plan(ERP, was, TABLES, house.place, downstream=True).gone == ()
    assert plan(ERP, was - 1, TABLES, house.place, downstream=True).gone == (
        "erp/orders/dt=2024-05-03/orders.jsonl.gz",
    )


def test_what_is_downstream_is_listed_with_the_version_it_would_go_to(house: House):
    was = version(house, ERP)
    stood = [version(house, each) for each in TABLES]
    refusal = plan(ERP, was - 1, TABLES, house.place).refusal(accept_loss=False) or ""
    assert "2 tables downstream would keep rows" in refusal
    for each in (ORDERS, LINES):
        at = version(house, each)
        assert f"{each.key} (version {at}; {at - 1} is its last that has none of them)" in refusal
    assert refusal.endswith(f"lakehouse table restore bronze/erp_orders --version {was - 1} --downstream")
    assert [version(house, each) for each in TABLES] == stood


@pytest.fixture
def sound(tmp_path: Path) -> House:
    """Three files, each taken by itself, of which nothing is set aside: the log of that would be kept."""
    house = House(tmp_path)
    for day in (1, 2, 3):
        land(house, day, order(str(day), (1, day, "1.50")), order("1", (1, day + 1, "2")))
        house.drain(*TABLES)
    return house


def keep_nothing_old(house: House, declared: Declaration) -> None:
    """As a night long after the last run does, and nobody of whom it knows has to read on from before."""
    kept = keep_up(declared, house.place, Policy(retention_hours=0), [])
    assert kept is not None
    assert kept.swept.oldest == kept.done.handle.version
    with pytest.raises(FileNotFoundError):
        kept.done.handle.commit_of(kept.swept.oldest - 1)


def lost(house: House, declared: Declaration, was: int) -> str:
    """What is said of a table that was kept so, and has read more of bronze than what stood at version `was`."""
    named = f"{declared.key} (version {version(house, declared)}; none without them can be read any more)"
    again = f"lakehouse table restore bronze/erp_orders --version {was} --downstream --accept-rebuild"
    for words in ({}, {"downstream": True}):
        refusal = plan(ERP, was, TABLES, house.place, **words).refusal(accept_loss=False) or ""
        assert named in refusal
        assert refusal.endswith(f"To put back what can be, and make the others anew next: {again}")
    return f"{declared.key} cannot be put back, and stands as it is. Next: lakehouse rebuild {declared.key}+"


def test_a_table_downstream_that_keeps_no_version_but_its_newest_stays_so_where_it_has_not_read_what_goes(sound: House):
    was, stood = version(sound, ERP), [version(sound, each) for each in (ORDERS, DAILY)]
    keep_nothing_old(sound, LINES)
    land(sound, 4, order("5", (1, 1, "5")))
    sound.run(ERP)
    assert put_back(sound, ERP, was) == ["bronze/erp_orders"]
    assert [version(sound, each) for each in (ORDERS, DAILY)] == stood
    sound.drain(*TABLES)
    assert sound.rows(LINES)["order_no"].sort().to_list() == ["1", "2", "3", "5"]


def test_a_version_of_which_only_a_checkpoint_tells_how_far_it_had_read_is_one_to_go_back_to(sound: House):
    was = version(sound, ERP)
    keep_nothing_old(sound, LINES)
    kept = version(sound, LINES)
    land(sound, 4, order("5", (1, 1, "5")))
    sound.drain(*TABLES)
    before = seen(sound)
    [later] = [each for each in plan(ERP, was, TABLES, sound.place).later if each.declared is LINES]
    assert str(later) == f"silver/order_lines (version {kept + 1}; {kept} is its last that has none of them)"
    assert "silver/order_lines" in put_back(sound, ERP, was, downstream=True)
    sound.drain(*TABLES)
    assert seen(sound) == before


@pytest.mark.parametrize(
    ("table", "between"),
    [(LINES, TABLES), (ORDERS, [])],
    ids=["that nobody reads, and a run comes in between", "that others read, made anew at once"],
)
def test_what_can_no_longer_be_put_back_is_left_by_consent_and_made_anew_afterwards(
    sound: House, table: Declaration, between: list[Declaration]
):
    was = version(sound, ERP)
    land(sound, 4, order("1", (1, 9, "9")), order("5", (1, 1, "5")))
    sound.drain(*TABLES)
    before = seen(sound)
    keep_nothing_old(sound, table)
    said, stood = lost(sound, table, was), version(sound, table)
    planned = plan(ERP, was, TABLES, sound.place, downstream=True)
    assert planned.refusal(accept_loss=False, accept_rebuild=True) is None
    assert planned.left == [said]
    carry_out(planned, sound.place, lambda *_: None)
    assert version(sound, table) == stood
    for each in between:
        if each is table:
            with pytest.raises(Refused, match=rf"lakehouse rebuild {table.key}\+"):
                sound.run(table)
        else:
            sound.drain(each)
    assert version(sound, table) == stood
    for each in [table] if table is LINES else [table, DAILY]:
        sound.run(each, rebuild=True)
    sound.drain(*TABLES)
    assert seen(sound) == before
    sound.assert_counts_add_up(ERP)
    assert put_back(sound, ERP, version(sound, ERP), downstream=True) == []


def test_a_table_goes_back_further_where_files_of_its_last_clean_version_are_gone(house: House):
    before = seen(house)
    handle = house.open(LINES)
    assert handle is not None
    first = prepare_restore(handle, 1).added
    assert first
    (house.root / "lake/silver/order_lines" / first[0].path).unlink()
    [step] = [each for each in plan(ERP, 1, TABLES, house.place, downstream=True).steps if each.declared is LINES]
    assert step.restore.then.version == 0
    put_back(house, ERP, 1, downstream=True)
    house.drain(*TABLES)
    assert seen(house) == before


def test_a_table_goes_back_further_where_what_its_last_clean_version_had_set_aside_is_gone(tmp_path: Path):
    house = House(tmp_path)
    for day in (1, 2):
        land(house, day, order(str(day), (0, 1, "1"), (1, day, "1")))
        house.drain(ERP, LINES)
    house.run(LINES, rebuild=True)
    clean = [later.back for later in plan(ERP, 1, [ERP, LINES], house.place).later]
    sweep(plan_vacuum(opened(house.place.quarantine(LINES)), 0, {}))
    clean += [later.back for later in plan(ERP, 1, [ERP, LINES], house.place).later]
    assert [back.then.version for back in clean if back] == [1, 0]


def test_what_is_made_anew_by_each_run_is_no_reason_to_refuse(house: House):
    before = seen(house)
    assert put_back(house, ORDERS, version(house, ORDERS) - 1) == ["silver/orders"]
    assert house.rows(ORDERS).height == 1
    house.drain(DAILY)
    assert house.rows(DAILY)["net_amount"].sum() == house.rows(ORDERS)["net_amount"].sum()
    house.drain(*TABLES)
    assert seen(house) == before


def test_tables_downstream_go_first(house: House):
    assert put_back(house, ERP, 1, downstream=True) == [
        "gold/daily_sales", "silver/order_lines", "silver/orders", "bronze/erp_orders"
    ]  # fmt: skip


def test_what_stands_is_left_alone(house: House):
    put_back(house, ERP, 2, downstream=True)
    stood = [version(house, each) for each in TABLES]
    assert put_back(house, ERP, 2, downstream=True) == []
    assert [version(house, each) for each in TABLES] == stood


def test_a_reader_of_new_rows_that_was_not_put_back_is_refused_and_told_the_way_out(house: House):
    planned = plan(ERP, version(house, ERP) - 1, TABLES, house.place)
    carry_out(planned, house.place, lambda *_: None)  # though it is to be refused
    house.run(ERP)
    with pytest.raises(Refused, match=r"put back to what stood before version .*lakehouse rebuild silver/orders\+"):
        house.run(ORDERS)
    house.run(ORDERS, rebuild=True)
    house.drain(ORDERS)


def test_until_a_restore_that_was_cut_short_is_finished_no_file_is_taken(house: House):
    before, was = seen(house), version(house, ERP)
    with patch.object(quarantine, "write", side_effect=KeyboardInterrupt), suppress(KeyboardInterrupt):
        carry_out(plan(ERP, 2, TABLES, house.place), house.place, lambda *_: None)
    with pytest.raises(
        Conflict, match=r"a restore was cut short.*lakehouse table restore bronze/erp_orders --version 2"
    ):
        house.run(ERP)
    planned = plan(ERP, 2, TABLES, house.place, downstream=True)
    assert planned.root.rewind is not None
    assert len(planned.root.rewind.lands) == 1
    assert put_back(house, ERP, 2, downstream=True)[-1] == "bronze/erp_orders"
    assert version(house, ERP) == was + 1
    house.drain(*TABLES)
    assert seen(house) == before


@pytest.fixture
def bronze(tmp_path: Path) -> House:
    """Three files, each taken by itself, the first with a line that is set aside; put back to the second, and run."""
    house = House(tmp_path)
    for day in (1, 2, 3):
        land(house, day, order(str(day), (1, day, "1.50")), *(["{"] if day == 1 else []))
        house.drain(ERP)
    put_back(house, ERP, 2)
    house.drain(ERP)
    return house


def opened(address: Address) -> Handle:
    handle = Handle.open(address)
    assert handle is not None
    return handle


def test_a_version_whose_quarantine_is_gone_is_refused_before_anything_is_put_back(bronze: House):
    before, was = standing(bronze.root, tables=[ERP]), version(bronze, ERP)
    sweep(plan_vacuum(opened(bronze.place.quarantine(ERP)), 0, {}))
    for back in (1, 2):
        said = (
            rf"erp_orders cannot be put back to version {back}: of .* in .*/quarantine/bronze/erp_orders, .*parquet is"
        )
        with pytest.raises(Refused, match=said):
            plan(ERP, back, [ERP], bronze.place)
    assert (standing(bronze.root, tables=[ERP]), version(bronze, ERP)) == (before, was)
    assert put_back(bronze, ERP, was - 1) == ["bronze/erp_orders"], "of which the quarantine's file lies there"
    assert put_back(bronze, ERP, 0) == ["bronze/erp_orders"], "at which none was set aside"


def test_a_restore_that_was_cut_short_and_can_be_finished_no_more_is_taken_back(bronze: House):
    before, was = standing(bronze.root, tables=[ERP]), version(bronze, ERP)
    with patch.object(quarantine, "write", side_effect=KeyboardInterrupt), suppress(KeyboardInterrupt):
        carry_out(plan(ERP, 2, [ERP], bronze.place), bronze.place, lambda *_: None)
    sweep(plan_vacuum(opened(bronze.place.quarantine(ERP)), 0, {}))
    with pytest.raises(Refused, match="set aside"):
        plan(ERP, 2, [ERP], bronze.place)
    with pytest.raises(Conflict) as said:
        bronze.run(ERP)
    assert str(said.value).endswith(f"as it stands: lakehouse table restore bronze/erp_orders --version {was}")
    put_back(bronze, ERP, was)
    bronze.drain(ERP)
    assert standing(bronze.root, tables=[ERP]) == before


@pytest.mark.parametrize("part", [Place.table, Place.ledger, Place.quarantine])
def test_what_a_vacuum_takes_after_the_plan_is_missed_before_the_ledger_is_put_back(
    bronze: House, part: Callable[[Place, Declaration], Address]
):
    for laid in (Place.table, Place.ledger):
        compact(opened(laid(bronze.place, ERP)), Aim())
    before, planned = standing(bronze.root, tables=[ERP]), plan(ERP, 2, [ERP], bronze.place)
    sweep(plan_vacuum(opened(part(bronze.place, ERP)), 0, {}))
    with pytest.raises(Refused, match=r"version \d.*\.parquet (is gone|among them)"):
        carry_out(planned, bronze.place, lambda *_: None)
    bronze.drain(ERP)
    assert standing(bronze.root, tables=[ERP]) == before


def test_of_two_at_once_one_is_told_that_the_other_was_first(house: House):
    before = seen(house)
    one, other = (plan(ERP, 1, TABLES, house.place, downstream=True) for _ in range(2))
    carry_out(one, house.place, lambda *_: None)
    with pytest.raises(Conflict):
        carry_out(other, house.place, lambda *_: None)
    house.drain(*TABLES)
    assert seen(house) == before


def test_a_run_that_was_on_its_way_meanwhile_writes_nothing(house: House):
    before = seen(house)
    land(house, 4, order("5", (1, 1, "5")))
    work = house.work(ERP)  # its plan stands in the ledger, and it is not applied
    put_back(house, ERP, 2, downstream=True)
    assert work.delivery is not None
    with pytest.raises(Conflict):
        deliver(work.delivery)
    house.drain(*TABLES)
    assert len(seen(house).ledger) == len(before.ledger) + 1
    house.assert_counts_add_up(ERP)


def test_a_version_of_which_the_upstream_was_put_back_since_is_told_beforehand(house: House):
    before, was = seen(house), version(house, ORDERS)
    put_back(house, ERP, 2, downstream=True)
    house.drain(*TABLES)
    [remark] = plan(ORDERS, was, TABLES, house.place).root.remarks
    assert remark.startswith("silver/orders cannot go on from there: ")
    assert remark.endswith("To run it again: lakehouse rebuild silver/orders+")
    carry_out(plan(ORDERS, was, TABLES, house.place, downstream=True), house.place, lambda *_: None)
    with pytest.raises(Refused, match=r"lakehouse rebuild silver/orders\+"):
        house.run(ORDERS)
    house.run(ORDERS, rebuild=True)
    house.drain(*TABLES)
    assert seen(house) == before


def test_a_file_without_records_changes_nothing_that_could_not_be_gone_on_from(tmp_path: Path):
    house = House(tmp_path)
    land(house, 1)
    house.drain(*TABLES)
    land(house, 2, order("1"))
    house.drain(*TABLES)
    planned = plan(ERP, 0, TABLES, house.place, downstream=True)
    assert [step.remarks for step in planned.steps] == [()] * len(planned.steps)
    carry_out(planned, house.place, lambda *_: None)
    house.drain(*TABLES)
    house.assert_counts_add_up(ERP)


def test_what_its_ledger_does_not_tell_of_is_refused(house: House):
    ledger = house.root / "lake/ledger/bronze/erp_orders"
    shutil.rmtree(ledger)
    Handle.create(house.place.ledger(ERP), SCHEMA)
    with pytest.raises(Refused, match=r"does not tell of batch 2 .*lakehouse rebuild bronze/erp_orders"):
        plan(ERP, 2, TABLES, house.place)


@pytest.mark.parametrize("freed", [True, False], ids=["freed of vectors since", "with vectors still"])
def test_nothing_is_put_back_that_a_reader_who_was_named_since_cannot_read(tmp_path: Path, *, freed: bool):
    house, able = House(tmp_path), replace(ORDERS, readers=(Reader.DELTA_RS, Reader.DATABRICKS))
    land(house, 1, *(order(str(number), (1, 1, "1")) for number in range(20)))
    house.drain(ERP, able)
    land(house, 2, order("7", (1, 2, "7")))
    house.drain(ERP, able)
    marked = house.open(able)
    assert marked is not None
    assert (marked.protocol, len(marked.vectors)) == ((3, 7), 1)
    land(house, 3, order("8", (1, 3, "8")))
    house.drain(ERP, ORDERS if freed else able)
    commits, commit = list[tuple[int, int]](), Handle.commit

    def watched(*given: Any, **words: Any) -> Handle:
        committed = commit(*given, **words)
        if committed.address == marked.address:
            commits.append(committed.protocol)
        return committed

    with patch.object(Handle, "commit", watched):
        assert put_back(house, ORDERS, marked.version) == ["silver/orders"]
    assert commits == ([(1, 7)] if freed else [(3, 7), (1, 7), (1, 7)]), "of what could not be read before, first"
    back = house.open(ORDERS)
    assert back is not None
    assert (back.protocol, back.has_vectors) == ((1, 7), False)
    assert back.scan().collect().equals(marked.scan().collect())
    measured = [add["stats"] for add in back.commit_of(back.version).of("add")]
    assert ['"net_amount"' in measured[-1], '"customer_id"' in measured[-1]] == [True, False], "of what is personal"
    assert put_back(house, ORDERS, marked.version) == []
    house.drain(ERP, ORDERS)
    assert house.rows(ORDERS)["net_amount"].cast(float).sum() == 18 + 14 + 24


def test_a_table_that_asks_for_what_a_reader_does_not_know_is_not_put_back(house: House):
    ours = house.place.table(ORDERS).uri
    DeltaTable(ours).alter.add_feature(TableFeatures.TimestampWithoutTimezone, allow_protocol_versions_increase=True)
    with pytest.raises(Refused, match=r"timestampNtz, which its readers .*synapse.* cannot read\. Nothing was written"):
        plan(ERP, 1, TABLES, house.place, downstream=True)
    assert put_back(house, ORDERS, version(house, ORDERS)) == [], "what stands is asked for nothing"


def rows(house: House) -> list[str]:
    return [str(sorted(house.rows(each).drop("batch", strict=False).rows(), key=repr)) for each in TABLES]


@dataclass
class OnAzure(House):
    """Its lake is a container."""

    lake: Storage | None = None

    @property
    def place(self) -> Place:
        assert self.lake is not None
        return replace(super().place, lake=self.lake)


@pytest.mark.azurite
def test_tables_go_back_on_a_storage_account_as_on_a_disk(azurite, new_container, tmp_path, monkeypatch):
    monkeypatch.setenv("A_KEY", azurite.key)
    lake = Adls(account=azurite.account, container=new_container(), auth=A_KEY, endpoint=azurite.endpoint)
    house, stood = OnAzure(tmp_path, lake=lake), list[list[str]]()
    for day in (2, 1, 3):
        land(house, day, order("1", (1, day, "1.50")), order("2", (1, day, '"1O"')))
        house.drain(*TABLES)
        stood.append(rows(house))
    assert put_back(house, ERP, 1, downstream=True)[-1] == "bronze/erp_orders"
    assert rows(house) == stood[0]
    assert house.set_aside(LINES).height == 1
    house.drain(*TABLES)
    assert rows(house) == stood[2]
    assert house.set_aside(LINES).height == 3
    house.assert_counts_add_up(ERP)


class Cut(BaseException):
    """Where a crash is put."""


moves = st.lists(
    st.tuples(
        st.lists(documents(), max_size=3),
        st.integers(0, 3),
        st.floats(0, 1, exclude_max=True),
        st.none() | st.integers(0, 6),
    ),
    min_size=1,
    max_size=4,
)


@given(moves)
@settings(max_examples=max(6, settings().max_examples // 40), deadline=None)
def test_after_any_restores_and_crashes_a_run_makes_all_what_it_would_be(moves: Sequence[tuple]):
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        broken, sound = House(Path(one)), House(Path(other))
        for place, (sent, which, share, cut) in enumerate(moves):
            day = (place * 7) % 5 + 1  # not in the order of their names
            for house in (broken, sound):
                land(house, day, *(each.text() for each in sent))
                house.drain(*TABLES)
            declared = TABLES[which]
            back = int(share * (version(broken, declared) + 1))
            cannot_go_on = remarked(broken, declared, back)
            restore_with_a_crash(broken, declared, back, cut)
            assert_as_then(broken, declared, back)
            with files_per_batch(1 + place % 2):
                broken.drain(ERP)
            for each in cannot_go_on:
                with pytest.raises(Refused, match=f"lakehouse rebuild {each.key}"):
                    broken.run(each)
                broken.run(each, rebuild=True)
            broken.drain(*TABLES)
            assert_same(seen(broken), seen(sound))
            broken.assert_counts_add_up(ERP)


def assert_same(broken: Standing, sound: Standing) -> None:
    """But for two things of an order that is sent again, if both are read together: of the earlier one no line is set
    aside where the later has some, and one that is set aside is told to be of the later.
    """
    assert (broken.tables, broken.ledger) == (sound.tables, sound.ledger)
    lines, of_sound = (each.aside.pop(LINES.key) for each in (broken, sound))
    assert {repr(_said(each)) for each in lines} <= {repr(_said(each)) for each in of_sound}
    assert broken.aside == sound.aside


def _said(line: tuple[Any, ...]) -> tuple[Any, ...]:
    upstream, name, _, _, *rest = line
    return upstream, name, *rest


def restore_with_a_crash(house: House, declared: Declaration, back: int, cut: int | None) -> None:
    """Put back; where `cut`, it ends at the so-manieth commit and is begun again."""
    if cut is not None:
        left, commit = iter(range(cut)), Handle.commit

        def cutting(*given: object, **words: object) -> Handle:
            if next(left, None) is None:
                raise Cut
            return commit(*given, **words)  # type: ignore[arg-type] # passed on

        with patch.object(Handle, "commit", cutting), suppress(Cut):
            put_back(house, declared, back, downstream=True)
    put_back(house, declared, back, downstream=True)


def remarked(house: House, declared: Declaration, back: int) -> list[Declaration]:
    """The tables that the plan says will have to be made anew, as what they had read then was taken back since."""
    planned = plan(declared, back, TABLES, house.place, downstream=True)
    cut_off = [step.declared for step in planned.steps for said in step.remarks if "cannot go on from there" in said]
    return [each for each in cut_off if isinstance(each, Declaration)]


def assert_as_then(house: House, declared: Declaration, back: int) -> None:
    now, then = house.open(declared), Handle.open(house.place.table(declared), back)
    assert now is not None
    assert then is not None
    assert now.scan().collect().equals(then.scan().collect())
