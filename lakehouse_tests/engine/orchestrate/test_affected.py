"""Tables that are written slice by slice: what is due, replaced and refused; and that they are as if made whole."""

import shutil
import tempfile
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.engine.declare.contract import Bronze, Gold, Silver, column
from lakehouse.engine.declare.dtypes import Gbp
from lakehouse.engine.declare.errors import Conflict
from lakehouse.engine.declare.formats import JsonLines
from lakehouse.engine.declare.frames import Affected, Frame, New
from lakehouse.engine.declare.source import Files
from lakehouse.engine.declare.table import Declaration, declare
from lakehouse.engine.declare.write import Append, Merge, Quarantine, ReplacePartition
from lakehouse.engine.delta.delivery import deliver
from lakehouse.engine.delta.files import write_files
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.writes import overwrite, prepare_replace_slices
from lakehouse.engine.orchestrate.checks import checks_of
from lakehouse.engine.orchestrate.run import Ran
from lakehouse.engine.orchestrate.work import LOGIC, MIXED, Work
from lakehouse_tests.driver import House, finding, red
from lakehouse_tests.engine.delta.test_slices import of_days
from lakehouse_tests.engine.delta.writing import append, merge

type Row = tuple[str, int | None, str, float]


class Arrived(Bronze):
    """One row per order, as sent."""

    order_no: str = column("Number")


class Sold(Silver):
    """One row per order."""

    order_no: str = column("Number", key=True)
    day: date = column("Day", nullable=True)
    shop: str = column("Shop")
    net: Gbp = column("Net")


class Shops(Silver):
    """One row per shop."""

    shop: str = column("Shop", key=True)
    factor: int = column("What a sale counts there")


class Daily(Gold):
    """One row per day and shop."""

    day: date = column("Day", key=True)
    shop: str = column("Shop", key=True)
    net: Gbp = column("Sum of its orders", ge=0)


class Weighted(Gold):
    """One row per day."""

    day: date = column("Day", key=True)
    net: Gbp = column("Sum of its orders, as its shops count")


class ShopDays(Gold):
    """One row per shop and day."""

    shop: str = column("Shop", key=True)
    day: date = column("Day", key=True)
    orders: int = column("How many")


class PerShop(Gold):
    """One row per shop."""

    shop: str = column("Shop", key=True)
    net: Gbp = column("Sum of its orders")


class Strayed(Gold):
    """One row per order, under a day that the transform makes up."""

    order_no: str = column("Number", key=True)
    day: date = column("Day", key=True)


def arrived() -> Frame[Arrived]: ...  # type: ignore[empty-body]


def sold(rows: New[Arrived]) -> Frame[Sold]:
    schema = {"day": pl.Date(), "shop": pl.String(), "net": pl.Decimal(38, 3)}
    return rows.select("order_no", **{name: pl.lit(None, dtype) for name, dtype in schema.items()})


def shops(rows: New[Arrived]) -> Frame[Shops]:
    return rows.select(shop="order_no", factor=pl.lit(1, pl.Int64()))


def daily(orders: Affected[Sold]) -> Frame[Daily]:
    return orders.group_by("day", "shop").agg(pl.col("net").sum())


def daily_of_one_shop(orders: Affected[Sold]) -> Frame[Daily]:
    return daily(orders).with_columns(shop=pl.lit("Z"))


def daily_of_little(orders: Affected[Sold]) -> Frame[Daily]:
    return daily(orders).filter(pl.col("net") < 8)


def weighted(orders: Affected[Sold], shops: Frame[Shops]) -> Frame[Weighted]:
    each = orders.filter(pl.col("day").is_not_null()).join(shops, on="shop")
    return each.group_by("day").agg((pl.col("net") * pl.col("factor")).sum().cast(pl.Decimal(38, 3)))


def shop_days(orders: Affected[Sold]) -> Frame[ShopDays]:
    there = orders.filter(pl.col("day").is_not_null())
    return there.group_by("shop", "day").agg(orders=pl.len().cast(pl.Int64))


def per_shop(orders: Affected[Sold]) -> Frame[PerShop]:
    return orders.group_by("shop").agg(pl.col("net").sum())


def strayed(orders: Affected[Sold]) -> Frame[Strayed]:
    return orders.select("order_no", day=pl.col("day") + pl.duration(days=pl.col("net").cast(pl.Int64)))


CAME = declare(arrived, write=Append(), source=Files("arrived/*", formats=JsonLines()))
SOLD = declare(sold, write=Merge())
SHOPS = declare(shops, write=Merge())
BY_DAY = ReplacePartition("day")
NET = pl.col("net").sum()
DAILY = declare(daily, write=BY_DAY, rejects=Quarantine(), conserves=(NET, NET))
STRICT = replace(DAILY, rejects=None)
WEIGHTED = declare(weighted, write=BY_DAY)
SHOP_DAYS = declare(shop_days, write=ReplacePartition(("shop", "day")))
PER_SHOP = declare(per_shop, write=Merge())
STRAYED = declare(strayed, write=BY_DAY, rejects=Quarantine())


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def orders(*rows: Row) -> pl.DataFrame:
    made = [(no, day and date(2024, 5, day), shop, Decimal(str(net))) for no, day, shop, net in rows]
    return pl.DataFrame(made, schema=SOLD.schema, orient="row")


def standing(house: House, declared: Declaration) -> Handle:
    handle = house.open(declared)
    return handle or Handle.create(house.place.table(declared), declared.schema)


def change(house: House, *rows: Row) -> None:
    """A merge of the upstream, as its own run would write it."""
    merge(standing(house, SOLD), orders(*rows).lazy(), ["order_no"], {}, {})


def become(house: House, *rows: Row) -> None:
    overwrite(standing(house, SOLD), orders(*rows).lazy(), {}, {})


def count(house: House, **factors: int) -> None:
    rows = pl.DataFrame({"shop": list(factors), "factor": list(factors.values())}, schema=SHOPS.schema)
    overwrite(standing(house, SHOPS), rows.lazy(), {}, {})


def held(house: House, declared: Declaration) -> list[tuple[object, ...]]:
    """The table's rows, sorted; a day as its number, money as a float."""
    plain = [pl.col(pl.Date).dt.day().cast(pl.Int64), pl.col(pl.Decimal).cast(pl.Float64)]
    return sorted(house.rows(declared).with_columns(plain).rows(), key=repr)


def version(house: House, declared: Declaration) -> int:
    handle = house.open(declared)
    assert handle is not None
    return handle.version


THREE: list[Row] = [("1", 1, "A", 5.0), ("2", 2, "A", 7.0), ("3", 3, "B", 9.0)]


def test_only_the_slices_that_changed_are_read_and_replaced(house: House):
    become(house, *THREE)
    first = house.run(DAILY)
    assert (first.facts["rows_read"], first.delivery and first.delivery.whole) == (3, True)
    change(house, ("2", 2, "A", 8.0))
    work = house.run(DAILY)
    assert (work.facts["rows_read"], work.facts["slices"]) == (1, "1 slice (day = 2024-05-02)")
    assert work.delivery is not None
    assert work.delivery.accepted.height == 1
    assert held(house, DAILY) == [(1, "A", 5.0), (2, "A", 8.0), (3, "B", 9.0)]


def test_an_order_that_moves_to_another_day_touches_both_and_a_day_without_rows_goes(house: House):
    become(house, *THREE)
    house.run(DAILY)
    change(house, ("2", 3, "B", 7.0))
    work = house.run(DAILY)
    assert work.facts["slices"] == "2 slices (day = 2024-05-02 | day = 2024-05-03)"
    assert held(house, DAILY) == [(1, "A", 5.0), (3, "B", 16.0)]
    become(house)
    house.run(DAILY)
    assert held(house, DAILY) == []


def test_a_run_with_nothing_to_do_writes_nothing_and_reports_every_check(house: House):
    assert house.run(DAILY).delivery is None  # no upstream yet
    become(house, *THREE)
    house.run(DAILY)
    idle = house.run(DAILY)
    assert (idle.delivery, red(idle)) == (None, {})
    assert [each.name for each in idle.findings] == [each.name for each in checks_of(DAILY)]


def test_a_rewrite_that_changes_no_row_moves_the_position_and_nothing_else(house: House):
    become(house, *THREE)
    house.run(DAILY)
    files = standing(house, DAILY).files()["path"].to_list()
    sales = standing(house, SOLD)
    sales.commit(write_files(sales, sales.scan()), sales.files()["path"], {}, {}, rearranges=True)
    become(house, *THREE)
    work = house.run(DAILY)
    assert (work.facts["rows_read"], work.facts["slices"]) == (0, "0 slices")
    assert standing(house, DAILY).files()["path"].to_list() == files
    assert house.run(DAILY).delivery is None


def test_an_edited_transform_stays_stale_until_a_rebuild(house: House):
    become(house, *THREE)
    house.run(DAILY)
    edited = replace(DAILY, transform=daily_of_one_shop)
    assert house.run(edited).delivery is None
    change(house, ("2", 2, "A", 8.0))
    house.run(edited)
    assert held(house, DAILY) == [(1, "A", 5.0), (2, "Z", 8.0), (3, "B", 9.0)]
    assert standing(house, DAILY).transaction(LOGIC) == MIXED
    house.run(edited, rebuild=True)
    assert [shop for _, shop, _ in held(house, DAILY)] == ["Z", "Z", "Z"]


def test_a_table_that_is_read_whole_beside_makes_every_slice_anew_when_it_moves(house: House):
    become(house, *THREE)
    count(house, A=1, B=1)
    house.run(WEIGHTED)
    change(house, ("2", 2, "A", 8.0))
    assert house.run(WEIGHTED).facts["rows_read"] == 1 + 2
    count(house, A=2, B=1)
    work = house.run(WEIGHTED)
    assert work.delivery is not None
    assert (work.facts["rows_read"], work.delivery.whole) == (3 + 2, True)
    assert held(house, WEIGHTED) == [(1, 10.0), (2, 16.0), (3, 9.0)]


def test_slices_of_two_columns(house: House):
    become(house, *THREE, ("4", 1, "B", 1.0))
    house.run(SHOP_DAYS)
    change(house, ("4", 1, "A", 1.0))
    assert house.run(SHOP_DAYS).facts["rows_read"] == 2
    assert held(house, SHOP_DAYS) == [("A", 1, 2), ("A", 2, 1), ("B", 3, 1)]


def test_a_merge_takes_the_groups_of_its_key_whole_and_says_what_it_keeps_that_has_no_rows_any_more(house: House):
    become(house, *THREE)
    house.run(PER_SHOP)
    change(house, ("4", 3, "B", 1.0))
    assert "rows_left_of_nothing" not in house.run(PER_SHOP).facts
    become(house, *THREE[:2], ("3", 3, "A", 9.0))
    work = house.run(PER_SHOP)
    assert work.facts["slices"] == "2 slices (shop = A | shop = B)"
    assert held(house, PER_SHOP) == [("A", 21.0), ("B", 10.0)]
    assert work.facts["rows_left_of_nothing"] == 1
    assert Ran(PER_SHOP.key, work.facts).remarks == [
        "1 left of slices of which nothing came out, which a rebuild drops"
    ]
    house.run(PER_SHOP, rebuild=True)
    assert held(house, PER_SHOP) == [("A", 21.0)]


# ---- rows that fail ----


def test_rows_without_a_slice_break_a_rule_and_are_set_aside_once(house: House):
    become(house, *THREE, ("4", None, "A", 1.0))
    house.run(DAILY)
    change(house, ("5", None, "A", 2.0), ("2", 2, "A", 8.0))
    work = house.run(DAILY)
    assert work.facts["slices"] == "2 slices (day = None | day = 2024-05-02)"
    assert red(work) == {"day__not_null": "WARN"}
    assert held(house, DAILY) == [(1, "A", 5.0), (2, "A", 8.0), (3, "B", 9.0)]
    without = '{"day":null,"shop":"A","net":"'
    assert [row.startswith(without) for row in house.set_aside(DAILY)["row"]] == [True, True]
    become(house, *THREE, ("4", None, "A", 1.0))
    house.run(DAILY)
    assert house.set_aside(DAILY).height == 2


def test_without_a_quarantine_one_bad_row_leaves_the_table_and_the_position(house: House):
    become(house, *THREE)
    house.run(STRICT)
    change(house, ("2", 2, "A", -8.0), ("3", 3, "B", 10.0))
    work = house.run(STRICT)
    assert (work.delivery, work.refusal is not None) == (None, True)
    assert held(house, STRICT) == [(1, "A", 5.0), (2, "A", 7.0), (3, "B", 9.0)]
    change(house, ("2", 2, "A", 8.0))
    assert house.run(STRICT).facts["slices"] == "2 slices (day = 2024-05-02 | day = 2024-05-03)"
    assert held(house, STRICT) == [(1, "A", 5.0), (2, "A", 8.0), (3, "B", 10.0)]


def test_a_slice_of_which_no_row_survives_stands_as_it_was_and_is_due_again(house: House):
    become(house, *THREE)
    house.run(DAILY)
    change(house, ("2", 2, "A", -8.0))
    for _ in range(2):  # what is set aside is so once
        work = house.run(DAILY)
        assert work.refusal is not None
        assert "None is left to write" in work.refusal
        assert held(house, DAILY) == [(1, "A", 5.0), (2, "A", 7.0), (3, "B", 9.0)]
        assert house.set_aside(DAILY).height == 1


def test_what_is_conserved_is_counted_in_the_slices(house: House):
    become(house, *THREE)
    house.run(DAILY)
    change(house, ("2", 2, "A", 8.0))
    assert finding(house.work(DAILY), "conserves").facts["read"] == "8.000"
    lossy = replace(DAILY, transform=daily_of_little)
    work = house.run(lossy)
    assert work.refusal is not None
    assert work.refusal.startswith("gold/daily refused: 8.000 read, 0 came out, and 8.000 are not explained.")
    assert (work.delivery, held(house, DAILY)) == (None, [(1, "A", 5.0), (2, "A", 7.0), (3, "B", 9.0)])


def test_rows_of_other_slices_are_refused_and_the_table_stands(house: House):
    become(house, ("1", 1, "A", 0.0), ("2", 2, "A", 0.0))
    house.run(STRAYED)
    change(house, ("2", 2, "A", 1.0))
    work = house.run(STRAYED)
    assert work.refusal == (
        "gold/strayed refused 1 of 1 row that came out: they are of 1 slice (day = 2024-05-03), and the run replaces "
        "1 slice (day = 2024-05-02). Nothing was written; version 1 stands. Let the transform keep day as it is "
        "handed over, or read Frame[…] and write Overwrite()."
    )
    assert (work.delivery, red(work)) == (None, {"stays_within_its_slices": "ERROR"})
    assert held(house, STRAYED) == [("1", 1), ("2", 2)]


# ---- upstreams that were made anew, and rivals ----


def test_an_upstream_that_was_made_anew_at_its_place_is_read_whole(house: House):
    become(house, *THREE)
    house.run(DAILY)
    shutil.rmtree(house.place.table(SOLD).uri)
    become(house, ("1", 1, "A", 6.0))
    work = house.run(DAILY)
    assert work.delivery is not None
    assert (work.delivery.whole, held(house, DAILY)) == (True, [(1, "A", 6.0)])


def test_an_upstream_whose_log_is_gone_is_read_whole(house: House):
    become(house, *THREE)
    house.run(DAILY)
    change(house, ("2", 2, "A", 8.0))
    change(house, ("3", 3, "B", 8.0))
    sales = standing(house, SOLD)
    sales.checkpoint()
    Path(house.place.table(SOLD).uri, "_delta_log", f"{sales.version - 1:020d}.json").unlink()
    assert house.run(DAILY).facts["rows_read"] == 3
    assert held(house, DAILY) == [(1, "A", 5.0), (2, "A", 8.0), (3, "B", 8.0)]


def test_who_is_late_conflicts_and_starts_again(house: House):
    become(house, *THREE)
    house.run(DAILY)
    change(house, ("2", 2, "A", 8.0))
    late = house.work(DAILY)
    change(house, ("3", 3, "B", 10.0))
    house.run(DAILY)
    before = version(house, DAILY)
    assert late.delivery is not None
    with pytest.raises(Conflict):
        deliver(late.delivery)
    assert version(house, DAILY) == before
    assert house.run(DAILY).delivery is None
    assert held(house, DAILY) == [(1, "A", 5.0), (2, "A", 8.0), (3, "B", 10.0)]


# ---- the same as made whole ----

numbers, days, names = st.sampled_from("123456"), st.none() | st.integers(1, 4), st.sampled_from("AB")
rows = st.lists(st.tuples(numbers, days, names, st.integers(-1, 3)), max_size=4, unique_by=lambda row: row[0])
steps = st.lists(
    st.tuples(st.sampled_from(["merge", "overwrite", "append", "slices", "shops"]), rows, st.booleans()),
    min_size=1,
    max_size=7,
)


def step(house: House, way: str, rows: list[Row]) -> None:
    """One write of the upstream, in any of the ways there are."""
    sales = standing(house, SOLD)
    match way:
        case "merge":
            change(house, *rows)
        case "overwrite":
            become(house, *rows)
        case "append":
            known = set(sales.scan().collect()["order_no"])
            append(sales, orders(*(row for row in rows if row[0] not in known)).lazy(), {}, {})
        case "slices":
            elsewhere = sales.scan().filter(~of_days(1, 2).holds.fill_null(value=False)).collect()["order_no"].to_list()
            there = [row for row in rows if row[1] in (1, 2) and row[0] not in elsewhere]
            prepare_replace_slices(sales, orders(*there).lazy(), of_days(1, 2)).commit({}, {})
        case _:
            count(house, A=len(rows), B=1)


def drained(house: House, declared: Declaration) -> Work:
    """Run it until nothing is due, or it refuses; it says twice what it refuses."""
    while (work := house.run(declared)).delivery is not None and work.refusal is None:
        pass
    return work


@given(steps)
@settings(max_examples=max(12, settings().max_examples // 20))
def test_slice_by_slice_gives_what_one_rebuild_gives(steps: list[tuple[str, list[Row], bool]]):
    tables = [replace(DAILY, conserves=None), WEIGHTED, SHOP_DAYS]
    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder))
        become(house)
        count(house, A=1, B=1)
        for way, rows, runs in steps:
            step(house, way, rows)
            for each in tables if runs else ():
                drained(house, each)
        for each in tables:
            if drained(house, each).refusal is None:  # who refuses keeps what stood
                by_slices = held(house, each)
                house.run(each, rebuild=True)
                assert by_slices == held(house, each)
