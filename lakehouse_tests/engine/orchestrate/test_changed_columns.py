"""A contract that gets other columns while its table stands: what a run does by itself, and what it refuses."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from lakehouse.engine.declare.contract import Bronze, Gold, Silver, column
from lakehouse.engine.declare.dtypes import Gbp, Int32
from lakehouse.engine.declare.errors import Conflict, Refused
from lakehouse.engine.declare.formats import JsonLines
from lakehouse.engine.declare.frames import Affected, Frame, New
from lakehouse.engine.declare.source import Files, Snapshots
from lakehouse.engine.declare.table import Declaration, declare
from lakehouse.engine.declare.write import Append, History, Merge, Overwrite, ReplacePartition
from lakehouse.engine.delta.compatibility import Answer
from lakehouse.engine.delta.delivery import deliver
from lakehouse.engine.delta.evolution import nulls
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.orchestrate.planned import planned
from lakehouse.engine.orchestrate.restore import carry_out, plan
from lakehouse.engine.orchestrate.stand import is_stale, stuck
from lakehouse_tests.driver import House, lines


class Sent(Bronze):
    """One row per sale, as sent."""

    sale: str = column("Number")
    day: date = column("Day")
    qty: int = column("Pieces")


class SentOnce(Sent):
    """One row per sale, as sent since there are shops."""

    shop: str = column("Shop", nullable=True, was="Shop No.")


class Sold(Silver):
    """One row per sale."""

    sale: str = column("Number", key=True)
    day: date = column("Day")
    qty: Int32 = column("Pieces")


class SoldByShop(Silver):
    """One row per sale, with its shop."""

    sale: str = column("Number", key=True)
    shop: str = column("Shop", nullable=True)
    day: date = column("Day")
    qty: int = column("Pieces")


class SoldInShops(Silver):
    """One row per sale, each in a shop."""

    sale: str = column("Number", key=True)
    shop: str = column("Shop")
    day: date = column("Day")
    qty: int = column("Pieces")


class SoldSomewhere(Sold):
    """One row per sale, of which none is without a shop."""

    shop: str = column("Shop")


class Daily(Gold):
    """One row per day."""

    day: date = column("Day", key=True)
    qty: int = column("Pieces")


class AllDays(Daily):
    """One row per day, all of them made at once."""


class DailyShops(Daily):
    """One row per day, with how many shops sold."""

    shops: int = column("Shops")


def sent() -> Frame[Sent]: ...


def sent_once() -> Frame[SentOnce]: ...


def sold(rows: New[Sent]) -> Frame[Sold]:
    return rows.select("sale", "day", pl.col("qty").cast(pl.Int32))


def sold_by_shop(rows: New[SentOnce]) -> Frame[SoldByShop]:
    return rows.select("sale", "shop", "day", "qty")


def sold_in_shops(rows: New[SentOnce]) -> Frame[SoldInShops]:
    return rows.select("sale", "shop", "day", "qty")


def sold_somewhere(rows: New[SentOnce]) -> Frame[SoldSomewhere]:
    return rows.select("sale", "day", pl.col("qty").cast(pl.Int32), "shop")


def daily(rows: Affected[Sold]) -> Frame[Daily]:
    return rows.group_by("day").agg(pl.col("qty").sum().cast(pl.Int64))


def daily_by_shop(rows: Affected[SoldByShop]) -> Frame[Daily]:
    return rows.group_by("day").agg(pl.col("qty").sum())


def all_days(rows: Frame[Sold]) -> Frame[AllDays]:
    return rows.group_by("day").agg(pl.col("qty").sum().cast(pl.Int64)).sort("day")


def all_days_with_shops(rows: Frame[Sold]) -> Frame[DailyShops]:
    return all_days(rows).with_columns(shops=pl.lit(1, pl.Int64))


sent_once.__name__ = "sent"
sold_by_shop.__name__ = sold_in_shops.__name__ = sold_somewhere.__name__ = "sold"
daily_by_shop.__name__, all_days_with_shops.__name__ = "daily", "all_days"
SENT = declare(sent, write=Append(), source=Files("sent/*", formats=JsonLines()))
SENT_ONCE = declare(sent_once, write=Append(), source=Files("sent/*", formats=JsonLines()))
SOLD = declare(sold, write=Merge())
SOLD_BY_SHOP = declare(sold_by_shop, write=Merge())
SOLD_IN_SHOPS = declare(sold_in_shops, write=Merge())
SOLD_SOMEWHERE = declare(sold_somewhere, write=Merge())
DAILY = declare(daily, write=ReplacePartition("day"))
DAILY_BY_SHOP = declare(daily_by_shop, write=ReplacePartition("day"))
ALL_DAYS = declare(all_days, write=Overwrite())
WITH_SHOPS = declare(all_days_with_shops, write=Overwrite())


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Two sales, of the old contract, are in all tables."""
    house = House(tmp_path)
    land(house, ("1", 1, 5), ("2", 2, 7))
    house.drain(SENT, SOLD, DAILY)
    return house


def land(house: House, *sales: tuple[object, ...]) -> None:
    names = ("sale", "day", "qty", "Shop No.")
    rows = [dict(zip(names, (sale, f"2024-05-{day:02}", *rest), strict=False)) for sale, day, *rest in sales]
    house.land(f"sent/{sales[0][0]}", lines(*map(json.dumps, rows)))


def content(house: House, declared: Declaration) -> list[tuple[object, ...]]:
    return sorted(house.rows(declared).rows(), key=repr)


def test_columns_that_are_added_or_widened_come_with_the_next_rows_and_readers_go_on(house: House):
    land(house, ("3", 2, 2**40, "Leeds"))
    done = house.drain(SENT_ONCE, SOLD_BY_SHOP, DAILY_BY_SHOP)
    assert house.rows(SENT_ONCE)["shop"].to_list() == [None, None, "Leeds"]
    assert content(house, SOLD_BY_SHOP) == [
        ("1", None, date(2024, 5, 1), 5), ("2", None, date(2024, 5, 2), 7), ("3", "Leeds", date(2024, 5, 2), 2**40),
    ]  # fmt: skip
    assert content(house, DAILY_BY_SHOP) == [(date(2024, 5, 1), 5), (date(2024, 5, 2), 2**40 + 7)]
    assert done[SENT.key][0].facts["columns_changed"] == "shop (String) is added; null in rows that stand"
    told = str(done[SOLD.key][0].facts["columns_changed"])
    assert told.startswith("qty is widened from Int32 to Int64; shop (String) is added")
    assert done[SOLD.key][0].facts["rows_read"] == 1
    assert str(done[DAILY.key][0].facts["slices"]) == "1 slice (day = 2024-05-02)"
    land(house, ("4", 4, 1, "York"))
    again = house.drain(SENT_ONCE, SOLD_BY_SHOP, DAILY_BY_SHOP)
    assert [each for runs in again.values() for each in runs if "columns_changed" in each.facts] == []


def test_a_table_whose_contract_changed_stays_stale_until_it_is_made_anew(house: House):
    land(house, ("3", 2, 1, "Leeds"))
    house.drain(SENT_ONCE, SOLD_BY_SHOP)
    assert is_stale(SOLD_BY_SHOP, house.open(SOLD_BY_SHOP))
    house.run(SOLD_BY_SHOP, rebuild=True)
    assert not is_stale(SOLD_BY_SHOP, house.open(SOLD_BY_SHOP))


def test_a_version_of_before_that_a_run_goes_on_from_is_put_back_without_a_remark(house: House):
    land(house, ("3", 2, 1, "Leeds"))
    house.drain(SENT_ONCE, SOLD_BY_SHOP)
    back = plan(SOLD_BY_SHOP, 1, [SENT_ONCE, SOLD_BY_SHOP], house.place)
    assert back.root.remarks == ()
    [remark] = plan(SOLD_SOMEWHERE, 1, [SENT_ONCE, SOLD_SOMEWHERE], house.place).root.remarks
    assert "shop (String) is new and may not be null" in remark
    before = content(house, SOLD_BY_SHOP)
    carry_out(back, house.place, lambda *_: None)
    house.drain(SENT_ONCE, SOLD_BY_SHOP)
    assert content(house, SOLD_BY_SHOP) == before


def test_the_log_says_what_the_source_calls_a_column(house: House):
    land(house, ("3", 2, 1, "Leeds"))
    house.run(SENT_ONCE)
    handle = house.open(SENT_ONCE)
    assert handle is not None
    schema = next(
        action for version in range(handle.version, 0, -1) for action in handle.commit_of(version).of("metaData")
    )
    told = {each["name"]: each["metadata"] for each in json.loads(schema["schemaString"])["fields"]}
    assert told["shop"] == {"comment": "Shop", "lakehouse.source_name": "Shop No."}
    assert told["sale"] == {"comment": "Number"}


def test_with_nothing_new_a_table_stays_as_it_is_and_its_readers_go_on(house: House):
    assert house.run(SENT_ONCE).delivery is None
    assert house.run(SOLD_BY_SHOP).delivery is None
    assert [stuck(each, house.place) for each in (SENT_ONCE, SOLD_BY_SHOP, DAILY_BY_SHOP)] == [None] * 3
    land(house, ("3", 2, 1))
    house.run(SENT)  # by the old contract; its reader has the new one already
    house.run(SOLD_BY_SHOP)
    assert content(house, SOLD_BY_SHOP)[2] == ("3", None, date(2024, 5, 2), 1)
    house.run(DAILY_BY_SHOP)
    assert content(house, DAILY_BY_SHOP)[1] == (date(2024, 5, 2), 8)


def test_a_run_that_died_between_the_columns_and_the_rows_loses_neither(house: House, monkeypatch: pytest.MonkeyPatch):
    land(house, ("3", 2, 1, "Leeds"))
    house.run(SENT_ONCE)
    with monkeypatch.context() as killed:
        killed.setattr("lakehouse.engine.delta.delivery.merge_batch", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            house.run(SOLD_BY_SHOP)
    standing = house.open(SOLD_BY_SHOP)
    assert standing is not None
    assert standing.schema == SOLD_BY_SHOP.schema
    assert [row[0] for row in content(house, SOLD_BY_SHOP)] == ["1", "2"]
    work = house.run(SOLD_BY_SHOP)
    assert (work.facts["rows_read"], "columns_changed" in work.facts) == (1, False)
    assert [row[:2] for row in content(house, SOLD_BY_SHOP)] == [("1", None), ("2", None), ("3", "Leeds")]


def test_a_column_that_may_not_be_null_needs_a_table_made_anew_and_who_reads_it_is_named(house: House):
    land(house, ("3", 2, 1, "Leeds"))
    house.run(SENT_ONCE)
    with pytest.raises(Refused) as refused:
        house.run(SOLD_SOMEWHERE)
    said = str(refused.value)
    assert "shop (String) is new and may not be null, which it is in rows that stand" in said
    assert "Nothing was read or written; version 1 stands" in said
    assert "lakehouse rebuild silver/sold+ (with those that read it: gold/daily" in said
    assert stuck(SOLD_SOMEWHERE, house.place) == said


def test_a_column_that_may_no_longer_be_null_is_refused_where_rows_stand_that_are(house: House):
    land(house, ("3", 2, 1, "Leeds"))
    house.drain(SENT_ONCE, SOLD_BY_SHOP)
    land(house, ("4", 2, 1, "Leeds"))
    house.run(SENT_ONCE)
    for before in (SOLD_BY_SHOP, SOLD_IN_SHOPS):
        with pytest.raises(Refused) as refused:
            house.run(SOLD_IN_SHOPS)
        said = str(refused.value)
        assert said.startswith(
            "silver/sold holds nulls where its contract does not say nullable=True: shop in 2 rows of "
        )
        assert "lakehouse rebuild silver/sold+" in said
        assert stuck(SOLD_IN_SHOPS, house.place) == said
        found = planned(SOLD_IN_SHOPS, house.place)
        assert found is not None
        assert (found.answer, found.said) == (Answer.REFUSE, said)
        house.run(before, rebuild=before is SOLD_IN_SHOPS)
    assert [row[:2] for row in content(house, SOLD_IN_SHOPS)] == [("3", "Leeds"), ("4", "Leeds")]


def test_a_column_that_is_null_nowhere_is_asked_once_when_it_may_no_longer_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    house, asked = House(tmp_path), list[str]()

    def asking(handle: Handle, name: str) -> int:
        asked.append(name)
        return nulls(handle, name)

    monkeypatch.setattr("lakehouse.engine.orchestrate.inputs.nulls", asking)
    for number, declared in enumerate([SOLD_BY_SHOP, SOLD_IN_SHOPS, SOLD_IN_SHOPS, SOLD_BY_SHOP, SOLD_IN_SHOPS]):
        land(house, (str(number), 1, 1, "Leeds"))
        house.drain(SENT_ONCE, declared)
    assert asked == ["shop", "shop"]
    land(house, ("9", 1, 1))
    house.drain(SENT_ONCE, SOLD_BY_SHOP)
    with pytest.raises(Refused, match=r"nullable=True: shop in 1 row of 6\. .* lakehouse rebuild silver/sold\+"):
        house.run(SOLD_IN_SHOPS)
    carry_out(plan(SOLD_BY_SHOP, 5, [SENT_ONCE, SOLD_BY_SHOP], house.place), house.place, lambda *_: None)
    assert stuck(SOLD_IN_SHOPS, house.place) is None


def test_a_table_that_is_written_whole_takes_also_a_column_that_may_not_be_null(house: House):
    house.run(ALL_DAYS)
    land(house, ("3", 2, 1))
    house.drain(SENT, SOLD)
    assert "columns_changed" in house.run(WITH_SHOPS).facts
    assert content(house, WITH_SHOPS) == [(date(2024, 5, 1), 5, 1), (date(2024, 5, 2), 8, 1)]


def test_a_contract_that_was_put_back_after_it_widened_its_table_is_refused(house: House):
    land(house, ("3", 2, 1))
    house.run(SENT)
    late = house.work(SOLD).delivery
    house.run(SOLD_BY_SHOP)
    with pytest.raises(Refused, match="turns from Int64 into Int32"):
        house.run(SOLD)
    assert late is not None
    with pytest.raises(Conflict):  # of before it was widened
        deliver(late)


class Shown(Bronze):
    """One row per customer and day."""

    dt: date = column("Day")
    who: int = column("Customer")
    spent: Gbp = column("So far", nullable=True)


class Lived(Silver):
    """One row per version of a customer."""

    who: Int32 = column("Customer", key=True)
    since: date = column("First day", key=True)
    valid_to: date = column("First day no longer", nullable=True)


class LivedAndSpent(Silver):
    """One row per version of a customer, with what was spent."""

    who: int = column("Customer", key=True)
    spent: Gbp = column("So far", nullable=True)
    since: date = column("First day", key=True)
    valid_to: date = column("First day no longer", nullable=True)


def shown() -> Frame[Shown]: ...


def lived(rows: New[Shown]) -> Frame[Lived]:
    return rows.select(pl.col("who").cast(pl.Int32), since="dt")


def lived_and_spent(rows: New[Shown]) -> Frame[LivedAndSpent]:
    return rows.select("who", "spent", since="dt")


def test_a_history_goes_on_with_what_it_did_not_know_of_its_versions(tmp_path: Path):
    lived_and_spent.__name__ = "lived"
    source = Snapshots("shown/dt=*/*.jsonl", formats=JsonLines(), valid_at="dt")
    bronze = declare(shown, write=Append(), source=source)
    before = declare(lived, write=History("since"))
    after = declare(lived_and_spent, write=History("since"))
    house = House(tmp_path)
    house.land("shown/dt=2024-05-01/a.jsonl", '{"who": 1, "spent": 5}')
    house.drain(bronze, before)
    house.land("shown/dt=2024-05-02/a.jsonl", '{"who": 1, "spent": 7}')
    house.drain(bronze, after)
    assert content(house, after) == [
        (1, Decimal("7.000"), date(2024, 5, 2), None), (1, None, date(2024, 5, 1), date(2024, 5, 2)),
    ]  # fmt: skip
