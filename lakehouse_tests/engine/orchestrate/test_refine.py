"""What a failing row costs, what a run may not lose, and what it refuses: silver and gold, without Dagster."""

import json
import shutil
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from lakehouse.engine.declare.contract import Bronze, Contract, Gold, Silver, check, column
from lakehouse.engine.declare.dtypes import Gbp
from lakehouse.engine.declare.errors import Conflict, Refused
from lakehouse.engine.declare.formats import JsonLines
from lakehouse.engine.declare.frames import Frame, New
from lakehouse.engine.declare.source import Files
from lakehouse.engine.declare.table import Declaration, declare
from lakehouse.engine.declare.write import Append, Merge, Overwrite, Quarantine
from lakehouse.engine.delta.delivery import deliver
from lakehouse.engine.delta.retention import promise
from lakehouse.engine.orchestrate import inputs
from lakehouse.engine.orchestrate.checks import checks_of
from lakehouse.engine.orchestrate.refine import refine
from lakehouse.engine.quality.typed import Typed, typed
from lakehouse.tables.bronze.erp_orders import erp_orders
from lakehouse.tables.gold.daily_sales import daily_sales
from lakehouse.tables.silver.order_lines import order_lines
from lakehouse.tables.silver.orders import orders
from lakehouse_tests.driver import House, finding, lines, order, red

ERP, ORDERS, LINES, DAILY = (each.declaration for each in (erp_orders, orders, order_lines, daily_sales))


class Sent(Bronze):
    """One row per line of an order, as it was sent."""

    order_no: str = column("Order", nullable=True)
    line_no: int = column("Line")
    amount: Gbp = column("Price", nullable=True)
    tags: list[str] = column("Words", nullable=True)


def sent() -> Frame[Sent]: ...


class Kept(Silver):
    """One row per line of an order."""

    order_no: str = column("Order", key=True)
    line_no: int = column("Line", key=True, ge=1)
    amount: Gbp = column("Price", nullable=True)

    @check
    def an_amount_is_not_negative() -> pl.Expr:
        """No price is below nothing."""
        return pl.col("amount") >= 0


def kept(rows: New[Sent]) -> Frame[Kept]:
    return rows.select("order_no", "line_no", "amount")


class Total(Gold):
    """One row per order."""

    order_no: str = column("Order", key=True)
    amount: Gbp = column("Sum of its lines", nullable=True, le=100)


def total(rows: Frame[Kept]) -> Frame[Total]:
    return rows.group_by("order_no").agg(pl.col("amount").sum()).sort("order_no")


class Placed(Silver):
    """One row per line of an order, under a key that is called otherwise upstream."""

    order_no: str = column("Order", key=True)
    place: int = column("Line", key=True)


def placed(rows: New[Sent]) -> Frame[Placed]:
    return rows.select("order_no", place="line_no")


class Grouped(Silver):
    """One row per line number, replaced by an order that is no key and may be absent."""

    line_no: int = column("Line", key=True)
    order_no: str = column("Order", nullable=True)


def grouped(rows: New[Sent]) -> Frame[Grouped]:
    return rows.select("line_no", "order_no")


SENT = declare(sent, write=Append(), source=Files("sent/*", formats=JsonLines()))
KEPT = declare(kept, write=Merge(replaces="order_no"), conserves="rows")
GROUPED = declare(grouped, write=Merge(replaces="order_no"))
PLACED = declare(placed, write=Merge(replaces="order_no"))
TOTAL = declare(total, write=Overwrite())
SET_ASIDE = replace(TOTAL, rejects=Quarantine())


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def sold(*rows: tuple[object, ...]) -> str:
    """Lines (order, line, amount)."""
    return lines(*(json.dumps(dict(zip(("order_no", "line_no", "amount"), row, strict=True))) for row in rows))


def land(house: House, day: int, *documents: str) -> None:
    house.land(f"erp/orders/dt=2024-05-{day:02}/orders.jsonl.gz", lines(*documents))


def numbers(house: House, declared: Declaration, *names: str) -> list[tuple[object, ...]]:
    return sorted(house.rows(declared).select(names).rows(), key=repr)


def aside(house: House, declared: Declaration, *names: str) -> list[tuple[object, ...]]:
    return house.set_aside(declared).select(names).rows()


# ---- rows that do not read exactly ----


def test_a_row_that_does_not_read_is_set_aside_by_each_reader_with_its_text_file_row_and_reason(house: House):
    land(house, 1, order("1", (1, 2, "2.50")), order("2", (1, 2, '"1O.50"')), order("3", (1, 1, "10.5055")))
    done = house.drain(ERP, ORDERS, LINES)
    assert red(done[ERP.key][0]) == {}
    for reader in (ORDERS, LINES):
        assert red(done[reader.key][0]) == {"reads_exactly": "WARN"}
        said = str(finding(done[reader.key][0], "reads_exactly").facts["examples"])
        assert "erp/orders/dt=2024-05-01/orders.jsonl.gz, line 2: lines[0].unit_price: '1O.50' is not an exact" in said
        assert "line 3: lines[0].unit_price: '10.5055' is not an exact" in said
        assert done[reader.key][0].refusal is None
        assert numbers(house, reader, "order_no") == [("1",)]
        where = aside(house, reader, "kind", "upstream", "source_name", "source_file", "source_row", "batch")
        name = "erp/orders/dt=2024-05-01/orders.jsonl.gz"
        assert where == [("unread", ERP.key, "erp_orders", name, row, 1) for row in (2, 3)]
        reasons = house.set_aside(reader)["reasons"].to_list()
        assert ["1O.50" in reasons[0][0], "10.5055" in reasons[1][0]] == [True, True]
        raw = json.loads(house.set_aside(reader)["row"][0])
        assert raw["lines"][0]["unit_price"] == "1O.50"
        assert raw["file_sha256"] == house.ledger(ERP)["sha256"][0]


def test_a_field_that_the_reader_does_not_use_is_read_as_well(house: House):
    land(house, 1, order("1", (1, 1, "1"), currency=None))
    house.drain(ERP)
    work = house.run(ORDERS)
    assert red(work) == {"reads_exactly": "ERROR"}
    assert "currency" in house.set_aside(ORDERS)["reasons"][0][0]


# ---- rows that break a rule ----


def test_a_row_that_breaks_a_rule_is_set_aside_as_it_came_out_with_where_it_came_from(house: House):
    house.land("sent/a", sold(("1", 1, "5"), ("1", 0, "-1.001"), ("2", 1, "7")))
    house.drain(SENT)
    work = house.run(KEPT)
    assert red(work) == {"line_no__ge": "WARN", "an_amount_is_not_negative": "WARN"}
    facts = finding(work, "an_amount_is_not_negative").facts
    assert facts == {"failed": 1, "of": 3, "examples": ["order_no = 1, line_no = 0, amount = -1.001"]}
    assert work.refusal is None
    assert numbers(house, KEPT, "order_no", "line_no") == [("1", 1), ("2", 1)]
    stored = house.set_aside(KEPT).row(0, named=True)
    assert stored["reasons"] == ["line_no__ge", "an_amount_is_not_negative"]
    assert (stored["kind"], stored["upstream"], stored["source_file"]) == ("broke", SENT.key, "sent/a")
    assert (stored["source_row"], stored["batch"], stored["source_name"]) == (2, 1, "sent")
    assert json.loads(stored["row"]) == {"order_no": "1", "line_no": 0, "amount": "-1.001"}
    assert work.facts["rows_came_out"] == 3
    assert (work.facts["rows_accepted"], work.facts["rows_quarantined"]) == (2, 1)


def test_of_two_versions_of_a_key_the_broken_one_is_set_aside_with_its_own_file(house: House):
    land(house, 1, order("C1", (1, 1, "9")))
    land(house, 2, order("C1", (1, -1, "9")))
    house.drain(ERP)
    house.run(ORDERS)
    assert numbers(house, ORDERS, "order_no", "net_amount") == [("C1", Decimal("-9.000"))]
    assert aside(house, ORDERS, "source_file", "source_row") == [("erp/orders/dt=2024-05-01/orders.jsonl.gz", 1)]


def test_a_rule_is_not_broken_by_a_null_that_may_stand(house: House):
    house.land("sent/a", sold(("1", 1, None)))
    house.drain(SENT)
    assert red(house.run(KEPT)) == {}
    assert numbers(house, KEPT, "amount") == [(None,)]


def test_a_row_without_its_key_is_set_aside_with_its_file_and_row(house: House):
    house.land("sent/a", sold(("1", 1, "1"), (None, 1, "2"), (None, 2, "3")))
    house.land("sent/b", sold((None, 1, "4")))
    house.drain(SENT)
    work = house.run(KEPT)
    assert red(work) == {"order_no__not_null": "WARN"}
    assert numbers(house, KEPT, "order_no") == [("1",)]
    assert aside(house, KEPT, "source_file", "source_row", "reasons") == [
        ("sent/a", 2, ["order_no__not_null"]),
        ("sent/a", 3, ["order_no__not_null"]),
        ("sent/b", 1, ["order_no__not_null"]),
    ]


def test_a_row_that_says_no_group_is_set_aside_although_the_contract_lets_it(house: House):
    house.land("sent/a", sold(("1", 1, "1"), (None, 2, "2")))
    house.drain(SENT)
    assert red(house.run(GROUPED)) == {"order_no__not_null": "WARN"}
    assert numbers(house, GROUPED, "line_no") == [(1,)]
    assert aside(house, GROUPED, "source_row") == [(2,)]


# ---- nothing survives ----


def test_when_no_new_row_survives_the_position_moves_on_and_the_run_fails(house: House):
    house.land("sent/a", sold(("1", 1, "5")))
    house.drain(SENT, KEPT)
    house.land("sent/b", sold(("1", 0, "5"), ("2", 0, "5")))
    house.drain(SENT)
    work = house.run(KEPT)
    assert red(work) == {"line_no__ge": "ERROR"}
    assert work.refusal is not None
    assert "refused 2 of 2 rows: 2 line_no__ge" in work.refusal
    assert numbers(house, KEPT, "order_no", "line_no") == [("1", 1)]
    assert house.set_aside(KEPT).height == 2
    assert house.run(KEPT).delivery is None


def test_when_no_row_of_a_first_batch_survives_the_table_is_empty_and_the_rows_are_set_aside(house: House):
    house.land("sent/a", sold(("1", 0, "5")))
    house.drain(SENT)
    assert house.run(KEPT).refusal is not None
    assert house.rows(KEPT).is_empty()
    assert house.set_aside(KEPT).height == 1
    assert house.run(KEPT).delivery is None


def test_when_no_row_that_is_read_whole_survives_the_last_good_stands_and_all_rows_are_set_aside_once(house: House):
    house.land("sent/a", sold(("1", 1, "5")))
    house.drain(SENT, KEPT, SET_ASIDE)
    house.land("sent/b", sold(("1", 1, "500")))
    house.drain(SENT, KEPT)
    for _ in range(2):
        work = house.run(SET_ASIDE)
        assert red(work) == {"amount__le": "ERROR"}
        assert work.refusal is not None
        assert numbers(house, SET_ASIDE, "order_no", "amount") == [("1", Decimal("5.000"))]
        assert [json.loads(row) for row in house.set_aside(SET_ASIDE)["row"]] == [
            {"order_no": "1", "amount": "500.000"}
        ]
    house.land("sent/c", sold(("1", 1, "6")))
    house.drain(SENT, KEPT, SET_ASIDE)
    assert numbers(house, SET_ASIDE, "amount") == [(Decimal("6.000"),)]
    assert house.set_aside(SET_ASIDE).is_empty()


# ---- refusals: nothing is written ----


def test_without_a_quarantine_one_bad_row_refuses_all_and_nothing_is_written(house: House):
    house.land("sent/a", sold(("1", 1, "5")))
    house.drain(SENT, KEPT, TOTAL)
    house.land("sent/b", sold(("1", 1, "6"), ("2", 1, "500")))
    house.drain(SENT, KEPT)
    work = house.run(TOTAL)
    assert work.delivery is None
    assert red(work) == {"amount__le": "ERROR"}
    assert work.refusal == (
        "gold/total refused 1 of 2 rows: 1 amount__le (amount <= 100; as in order_no = 2, amount = 500.000). Nothing "
        "was written; version 1 stands. Mend them upstream and rebuild, mend the rule, or consent to partial data with "
        "rejects=Quarantine()."
    )
    assert numbers(house, TOTAL, "order_no", "amount") == [("1", Decimal("5.000"))]


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        (lambda rows: rows.select("order_no", "line_no"), "'amount' is missing"),
        (lambda rows: rows.select("order_no", "line_no", pl.col("amount").cast(pl.Float64)), "'amount' is Float64"),
        (lambda rows: rows.select("line_no", "order_no", "amount"), "the order is line_no, order_no, amount"),
    ],
)
def test_wrong_columns_write_nothing_and_every_check_is_red(house: House, transform: object, said: str):
    house.land("sent/a", sold(("1", 1, "5")))
    house.drain(SENT)
    wrong = replace(KEPT, transform=transform)
    work = house.run(wrong)
    assert work.delivery is None
    assert work.refusal is not None
    assert said in work.refusal
    assert [each.name for each in work.findings] == [each.name for each in checks_of(wrong)]
    assert red(work)["shape"] == "ERROR"
    assert house.open(KEPT) is None


def test_a_transform_that_loses_rows_fails_the_run_and_nothing_is_written(house: House):
    house.land("sent/a", sold(("1", 1, "5"), ("1", 2, "6")))
    house.drain(SENT)
    work = house.run(replace(KEPT, transform=lambda rows: kept(rows).filter(pl.col("line_no") > 1)))
    assert red(work) == {"conserves": "ERROR"}
    assert work.refusal is not None
    assert "2 read, 1 came out, and 1 are not explained" in work.refusal
    assert work.delivery is None
    assert house.open(KEPT) is None


def test_lines_that_an_explode_loses_fail_the_run(house: House):
    land(house, 1, order("1", (1, 1, "1"), (2, 1, "1")))
    house.drain(ERP)
    work = house.run(replace(LINES, transform=lambda *rows: LINES.transform(*rows).head(1)))
    assert red(work) == {"conserves": "ERROR"}
    assert work.delivery is None


def test_a_net_amount_that_an_aggregate_loses_fails_the_run(house: House):
    land(house, 1, order("1", (1, 3, "0.001")), order("2", (1, 1, "1"), country="EIRE"))
    house.drain(ERP, ORDERS)
    work = house.run(replace(DAILY, transform=lambda rows: DAILY.transform(rows).filter(country="EIRE")))
    assert red(work) == {"conserves": "ERROR"}
    assert finding(work, "conserves").facts["difference"] == "0.003"
    assert house.open(DAILY) is None


DROPS = {"tests": pl.col("order_no").str.starts_with("T"), "free": pl.col("amount") == 0}


def kept_but_tests(sent: pl.LazyFrame) -> pl.LazyFrame:
    return kept(sent).filter(~DROPS["tests"])


def test_what_is_dropped_on_purpose_is_said_and_counted_once(house: House):
    house.land("sent/a", sold(("1", 1, "5"), ("T1", 2, "6"), ("T2", 1, "0"), ("2", 1, None)))
    house.drain(SENT)
    work = house.run(replace(KEPT, drops=DROPS, transform=kept_but_tests))
    assert red(work) == {}
    facts = finding(work, "conserves").facts
    assert (facts["read"], facts["dropped_tests"], facts["dropped_free"], facts["came_out"]) == ("4", "2", "0", "2")


# ---- nothing to do ----


def test_a_table_that_has_read_everything_is_idle_and_every_check_passes(house: House):
    house.land("sent/a", sold(("1", 1, "5")))
    house.drain(SENT, KEPT, TOTAL)
    for table in (KEPT, TOTAL):
        version = house.open(table)
        work = house.run(table)
        assert work.delivery is None
        assert [(each.name, each.passed, each.facts) for each in work.findings] == [
            (each.name, True, {"rows": 0}) for each in checks_of(table)
        ]
        assert repr(house.open(table)) == repr(version)


def test_a_table_whose_upstream_was_never_written_is_idle(house: House):
    assert house.run(KEPT).delivery is None
    assert house.open(KEPT) is None


# ---- groups that replace ----


def test_a_line_that_a_correction_no_longer_holds_is_gone(house: House):
    land(house, 1, order("1", (1, 1, "1"), (2, 2, "2")), order("2", (1, 5, "1")))
    house.drain(ERP, LINES)
    land(house, 1, order("1", (1, 1, "1.5")), order("2", (1, 5, "1")))
    house.drain(ERP, LINES)
    assert numbers(house, LINES, "order_no", "line_no", "unit_price") == [
        ("1", 1, Decimal("1.500")),
        ("2", 1, Decimal("1.000")),
    ]


def test_of_two_documents_of_an_order_in_one_file_the_later_counts_alone(house: House):
    land(house, 1, order("1", (1, 1, "1"), (2, 2, "2")), order("1", (1, 9, "1")))
    house.drain(ERP)
    work = house.run(LINES)
    assert red(work) == {}
    assert numbers(house, LINES, "order_no", "line_no", "quantity") == [("1", 1, 9)]
    facts = finding(work, "conserves").facts
    assert (facts["read"], facts["superseded_on_arrival"], facts["came_out"]) == ("3", "2", "1")


def test_rows_of_one_file_arrive_together_and_a_later_file_replaces_them(house: House):
    house.land("sent/a", sold(("1", 1, "1"), ("2", 1, "1"), ("1", 2, "1")))
    house.land("sent/b", sold(("1", 2, "9")))
    house.drain(SENT)
    house.run(KEPT)
    assert numbers(house, KEPT, "order_no", "line_no", "amount") == [
        ("1", 2, Decimal("9.000")),
        ("2", 1, Decimal("1.000")),
    ]


def test_rows_that_hold_a_list_of_words_are_no_documents(house: House):
    house.land("sent/a", lines(*(json.dumps({"order_no": "1", "line_no": n, "tags": ["a"]}) for n in (1, 2))))
    house.drain(SENT)
    for table in (KEPT, PLACED):
        house.run(table)
        assert numbers(house, table, table.key_columns[1]) == [(1,), (2,)]


@pytest.mark.parametrize("in_one_batch", [True, False])
def test_a_group_of_whose_last_arrival_nothing_stands_keeps_the_last_that_does(house: House, in_one_batch: bool):  # noqa: FBT001 # a drawn case
    arrivals = [
        sold(("1", 1, "1"), ("1", 2, "1")),
        sold(("1", 1, "7")),
        sold(("1", 0, "8")),
        sold(("1", 0, "9"), ("1", -1, "9")),
    ]
    for name, arrived in zip("abcd", arrivals, strict=True):
        house.land(f"sent/{name}", arrived)
        if not in_one_batch:
            house.drain(SENT, KEPT)
    house.drain(SENT, KEPT)
    assert numbers(house, KEPT, "line_no", "amount") == [(1, Decimal("7.000"))]
    assert sorted(aside(house, KEPT, "source_file", "source_row")) == [("sent/c", 1), ("sent/d", 1), ("sent/d", 2)]


# ---- corrections ----


def test_an_order_that_a_correction_no_longer_holds_stays_and_is_named(house: House):
    land(house, 1, order("1", (1, 1, "1")), order("2", (1, 1, "1")), order("3", (1, 1, "1")))
    land(house, 2, order("3", (1, 1, "1")))
    done = house.drain(ERP, ORDERS, LINES)
    assert all(red(work) == {} for works in done.values() for work in works)
    land(house, 1, order("2", (1, 4, "1")))
    done = house.drain(ERP, ORDERS, LINES)
    for reader in (ORDERS, LINES):
        first, second = done[reader.key]
        assert red(first) == {"corrections_hold_what_they_held": "WARN"}
        assert finding(first, "corrections_hold_what_they_held").facts == {"failed": 1, "still_standing": ["1"]}
        assert red(second) == {}
        assert numbers(house, reader, "order_no") == [("1",), ("2",), ("3",)]


def test_orders_of_a_file_that_was_corrected_to_nothing_are_named(house: House):
    land(house, 1, order("1", (1, 1, "1")))
    house.drain(ERP, ORDERS)
    land(house, 1)
    house.drain(ERP)
    assert finding(house.run(ORDERS), "corrections_hold_what_they_held").facts["still_standing"] == ["1"]
    assert numbers(house, ORDERS, "order_no") == [("1",)]
    rebuilt = house.run(ORDERS, rebuild=True)
    assert finding(rebuilt, "corrections_hold_what_they_held").facts["still_standing"] == ["1"]


def test_two_corrections_that_are_read_at_once_name_what_the_last_no_longer_holds(house: House):
    land(house, 1, order("1", (1, 1, "1")))
    house.drain(ERP, ORDERS)
    for held in ("2", "3"):
        land(house, 1, order(held, (1, 1, "1")))
        house.drain(ERP)
    assert finding(house.run(ORDERS), "corrections_hold_what_they_held").facts["still_standing"] == ["1", "2"]


# ---- reading ----


def test_text_is_read_once_for_all_tables_that_read_the_same_rows(house: House, monkeypatch: pytest.MonkeyPatch):
    read: list[int] = []

    def counting(contract: type[Contract], stored: pl.LazyFrame) -> Typed:
        read.append(stored.select(pl.len()).collect().item())
        return typed(contract, stored)

    monkeypatch.setattr(inputs, "typed", counting)
    house.land("sent/a", sold(("1", 1, "5")))
    house.drain(SENT, KEPT, PLACED)
    house.land("sent/b", sold(("2", 1, "5"), ("3", 1, "5")))
    house.drain(SENT, KEPT, PLACED)
    assert read == [1, 2]
    house.run(KEPT, rebuild=True)
    assert read == [1, 2, 3]
    assert numbers(house, KEPT, "order_no") == numbers(house, PLACED, "order_no") == [("1",), ("2",), ("3",)]


def test_rows_too_many_to_be_held_are_read_again(house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(inputs, "_KEPT_BYTES", 0)
    house.land("sent/a", sold(("1", 1, "5")))
    house.drain(SENT, KEPT)
    assert inputs._typed.cache_info().currsize == 0


# ---- positions ----


def test_an_upstream_that_was_made_anew_is_refused_and_a_rebuild_is_the_way_out(house: House):
    house.land("sent/a", sold(("1", 1, "5")))
    house.drain(SENT, KEPT)
    shutil.rmtree(house.place.table(SENT).uri)
    house.run(SENT, rebuild=True)
    with pytest.raises(
        Refused, match=r"never read this bronze/sent.*version 1 .*stands.*lakehouse rebuild silver/kept\+"
    ):
        house.run(KEPT)
    house.run(KEPT, rebuild=True)
    assert numbers(house, KEPT, "order_no") == [("1",)]
    assert house.run(KEPT).delivery is None


def test_a_rebuilt_upstream_is_refused_and_a_rebuild_is_the_way_out(house: House):
    house.land("sent/a", sold(("1", 1, "5")))
    house.drain(SENT, KEPT)
    house.run(SENT, rebuild=True)
    with pytest.raises(Refused, match=r"^silver/kept: .*lakehouse rebuild silver/kept\+$"):
        house.run(KEPT)
    house.run(KEPT, rebuild=True)
    assert house.run(KEPT).delivery is None


class Wider(Bronze):
    """The lines as they are sent since there are shops."""

    order_no: str = column("Order", nullable=True)
    line_no: int = column("Line")
    shop: str = column("Where it was bought", nullable=True)


def wider() -> Frame[Wider]: ...


def by_shop(rows: New[Wider]) -> Frame[Kept]:
    return rows.select("order_no", "line_no", amount=pl.lit(None, KEPT.schema["amount"]))


def test_a_contract_that_changed_is_refused_before_anything_is_planned_and_a_rebuild_is_the_way_out(house: House):
    wider.__name__, by_shop.__name__ = "sent", "kept"
    changed = declare(wider, write=Append(), source=Files("sent/*", formats=JsonLines()))
    reader = declare(by_shop, write=Merge(replaces="order_no"))
    house.land("sent/a", lines('{"order_no": "1", "line_no": 1}'))
    house.drain(SENT, KEPT)
    house.land("sent/b", lines('{"order_no": "2", "line_no": 1, "shop": "Leeds"}'))
    said = r"bronze/sent.* other columns .*amount \(String\) is dropped.* version 1 stands.* lakehouse rebuild bronze"
    with pytest.raises(Refused, match=said):
        house.run(changed)
    assert house.run(reader).delivery is None  # it finds all that it needs, and nothing new
    for each in (changed, reader):
        house.run(each, rebuild=True)
    assert house.rows(changed).select("order_no", "shop").rows() == [("1", None)]
    house.drain(changed, reader)
    assert house.rows(changed).select("order_no", "shop").rows() == [("1", None), ("2", "Leeds")]
    assert house.rows(reader).height == 2


def test_a_table_whose_own_contract_changed_is_refused_until_it_is_rebuilt(house: House):
    house.land("sent/a", sold(("1", 1, "5")))
    house.drain(SENT, KEPT)
    by_order = replace(KEPT, contract=Placed, transform=placed)
    house.land("sent/b", sold(("2", 1, "5")))
    house.run(SENT)
    with pytest.raises(
        Refused, match=r"^silver/kept stands with .*place \(Int64\) is new and may not be null.*rebuild silver/kept\+"
    ):
        house.run(by_order)
    house.run(by_order, rebuild=True)
    assert house.rows(by_order).sort("order_no").rows() == [("1", 1), ("2", 1)]


def test_a_rebuild_leaves_a_batch_that_is_planned_to_the_next_run(house: House):
    house.land("sent/a", sold(("1", 1, "5")))
    house.run(SENT)
    house.land("sent/b", sold(("2", 1, "5")))
    house.work(SENT)  # a crash between plan and apply
    house.run(SENT, rebuild=True)
    assert numbers(house, SENT, "order_no") == [("1",)]
    house.drain(SENT)
    assert numbers(house, SENT, "order_no") == [("1",), ("2",)]


@pytest.mark.parametrize("reader", [KEPT, TOTAL], ids=["New", "Frame"])
def test_an_upstream_that_is_gone_is_refused_and_the_table_stands(house: House, reader: Declaration):
    house.land("sent/a", sold(("1", 1, "5")))
    house.drain(SENT, KEPT, TOTAL)
    upstream = reader.reads[0].upstream
    shutil.rmtree(house.place.table(upstream).uri)
    with pytest.raises(Refused, match=f"{upstream.key} is gone; it stood at version 1"):
        house.run(reader)
    assert house.rows(reader).height == 1


def test_an_upstream_that_is_gone_is_refused_also_where_its_reader_was_kept_up_meanwhile(house: House):
    house.land("sent/a", sold(("1", 1, "5")))
    house.drain(SENT, KEPT)
    own = house.open(KEPT)
    assert own is not None
    promise(own, 720)
    shutil.rmtree(house.place.table(SENT).uri)
    with pytest.raises(Refused, match=f"{SENT.key} is gone; it stood at version 1"):
        house.run(KEPT)


@pytest.mark.parametrize("reader", [KEPT, TOTAL], ids=["New", "Frame"])
def test_a_run_that_pinned_its_upstream_before_another_read_further_writes_nothing(house: House, reader: Declaration):
    house.land("sent/a", sold(("1", 1, "5")))
    house.drain(SENT, KEPT, TOTAL)
    upstream = reader.reads[0].upstream
    pinned = {upstream.key: house.open(upstream)}
    house.land("sent/b", sold(("2", 1, "6")))
    house.drain(SENT, KEPT, TOTAL)
    before = house.rows(reader)
    with pytest.raises(Conflict, match="another run has read"):
        refine(reader, house.place, pinned)
    assert house.rows(reader).equals(before)


def test_of_two_runs_that_read_the_same_rows_one_is_told_so(house: House):
    house.land("sent/a", sold(("1", 1, "5")))
    house.drain(SENT)
    for _ in range(2):
        first, second = house.work(KEPT), house.work(KEPT)
        assert first.delivery is not None
        assert second.delivery is not None
        deliver(first.delivery)
        with pytest.raises(Conflict):
            deliver(second.delivery)
        house.land("sent/b", sold(("2", 1, "6")))
        house.drain(SENT)


SEEN: list[pl.DataFrame] = []


def kept_and_seen(sent: pl.LazyFrame) -> pl.LazyFrame:
    if (frame := sent.collect()).height:
        SEEN.append(frame)
    return kept(sent)


def test_rows_come_in_the_order_of_batch_file_and_row(house: House):
    house.land("sent/b", sold(("1", 1, "1"), ("2", 1, "1")))
    house.drain(SENT)
    house.land("sent/c", sold(("3", 1, "1"), ("2", 1, "2")))
    house.land("sent/a", sold(("4", 1, "1")))
    house.drain(SENT)
    SEEN.clear()
    house.run(replace(KEPT, write=Merge(), transform=kept_and_seen))
    where = SEEN[0].select("batch", "source_file", "source_row").rows()
    assert where == [(1, "sent/b", 1), (1, "sent/b", 2), (2, "sent/a", 1), (2, "sent/c", 1), (2, "sent/c", 2)]
    assert numbers(house, KEPT, "order_no", "amount")[1] == ("2", Decimal("2.000"))


# ---- two upstreams ----


class MoreSent(Bronze):
    """One row per line of an order, as another shop sent it."""

    order_no: str = column("Order")
    line_no: int = column("Line")
    amount: Gbp = column("Price")


def more_sent() -> Frame[MoreSent]: ...


class Both(Silver):
    """One row per line of an order of both shops."""

    order_no: str = column("Order", key=True)
    line_no: int = column("Line", key=True)
    amount: Gbp = column("Price", nullable=True)


def both(here: New[Sent], there: New[MoreSent]) -> Frame[Both]:
    return pl.concat([each.select("order_no", "line_no", "amount") for each in (here, there)])


MORE = declare(more_sent, write=Append(), source=Files("more/*", formats=JsonLines()))
BOTH = declare(both, write=Merge(), conserves="rows")


def test_an_upstream_that_was_not_there_at_first_is_read_from_its_beginning(house: House):
    house.land("sent/a", sold(("1", 1, "5")))
    house.drain(SENT, MORE, BOTH)
    house.land("more/a", sold(("2", 1, "6")))
    work = house.drain(SENT, MORE, BOTH)[BOTH.key][0]
    assert red(work) == {}
    assert numbers(house, BOTH, "order_no") == [("1",), ("2",)]


def test_unread_and_broken_rows_of_two_upstreams_name_the_one_they_are_from(house: House):
    house.land("sent/a", sold(("1", 1, "x"), (None, 1, "5"), ("2", 1, "5")))
    house.land("more/a", sold(("3", "y", "6")))
    house.drain(SENT, MORE)
    house.run(BOTH)
    assert aside(house, BOTH, "kind", "upstream", "source_file", "source_row") == [
        ("unread", SENT.key, "sent/a", 1),
        ("unread", MORE.key, "more/a", 1),
        ("broke", f"{SENT.key}, {MORE.key}", "sent/a", 2),
    ]
    assert numbers(house, BOTH, "order_no") == [("2",)]
