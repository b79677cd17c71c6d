"""For any landings, cut into any batches, silver and gold equal what plain Python says; again changes nothing."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.tables.bronze.erp_orders import erp_orders
from lakehouse.tables.gold.daily_sales import daily_sales
from lakehouse.tables.silver.order_lines import order_lines
from lakehouse.tables.silver.orders import orders
from lakehouse_tests.driver import House, files_per_batch, lines, order

TABLES = [each.declaration for each in (erp_orders, orders, order_lines, daily_sales)]
ERP, ORDERS, LINES, DAILY = TABLES
UNREAD = '"1O"'

type Line = tuple[int, int, str]


@dataclass(frozen=True)
class Document:
    """One order as it is sent. It may break a rule (a credit that charges, no lines, a line 0) or not read at all."""

    number: str
    lines: tuple[Line, ...]

    @property
    def reads(self) -> bool:
        return all(price != UNREAD for *_, price in self.lines)

    @property
    def net(self) -> Decimal:
        return sum((qty * Decimal(price) for _, qty, price in self.lines), Decimal(0))

    @property
    def is_order(self) -> bool:
        return bool(self.lines) and not (self.number.startswith("C") and self.net > 0)

    def text(self) -> str:
        return order(self.number, *self.lines)


@dataclass(frozen=True)
class Step:
    """A file is put at a name; then perhaps everything is run, in batches of so many files."""

    day: int
    documents: tuple[Document, ...]
    batch: int | None


@st.composite
def documents(draw: st.DrawFn) -> Document:
    count = draw(st.integers(0, 3))
    first = draw(st.sampled_from([1, 1, 1, 0]))
    priced = st.tuples(st.integers(-2, 3), st.sampled_from(["1", "0.001", "2.50", UNREAD]))
    made = tuple((first + place, *draw(priced)) for place in range(count))
    return Document(draw(st.sampled_from(["1", "2", "C3"])), made)


steps = st.lists(
    st.builds(
        Step,
        day=st.integers(1, 3),
        documents=st.lists(documents(), max_size=3).map(tuple),
        batch=st.none() | st.integers(1, 2),
    ),
    min_size=1,
    max_size=5,
)


class Oracle:
    """What the tables must hold: a dictionary each, told what was taken, file by file."""

    def __init__(self) -> None:
        self.landed: dict[int, tuple[Document, ...]] = {}
        self.fresh: set[int] = set()
        self.seen: set[tuple[Document, ...]] = set()
        self.orders: dict[str, tuple[int, Decimal]] = {}
        self.lines: dict[str, dict[int, tuple[int, Decimal]]] = {}
        self.records = 0

    def put(self, day: int, sent: tuple[Document, ...]) -> None:
        self.landed[day] = sent
        self.fresh.add(day)

    def run(self) -> None:
        for day in sorted(self.fresh):
            if self.landed[day] not in self.seen:
                self.seen.add(self.landed[day])
                self.take(self.landed[day])
        self.fresh.clear()

    def take(self, sent: Sequence[Document]) -> None:
        self.records += len(sent)
        for each in sent:
            if not each.reads:
                continue
            if each.is_order:
                self.orders[each.number] = (len(each.lines), each.net)
            good = {no: (qty, Decimal(price)) for no, qty, price in each.lines if no >= 1}
            if good:
                self.lines[each.number] = good


def run(house: House, batch: int) -> None:
    with files_per_batch(batch):
        house.drain(*TABLES)


def assert_equal(house: House, oracle: Oracle) -> None:
    stored = house.rows(ORDERS).select("order_no", "line_count", "net_amount").rows()
    assert {number: (count, net) for number, count, net in stored} == oracle.orders
    assert len(stored) == len(oracle.orders)
    rows = house.rows(LINES).select("order_no", "line_no", "quantity", "unit_price").rows()
    flat = {(number, no): line for number, held in oracle.lines.items() for no, line in held.items()}
    assert {(number, no): (qty, price) for number, no, qty, price in rows} == flat
    assert len(rows) == len(flat)
    assert sum(house.rows(DAILY)["net_amount"].to_list()) == sum(net for _, net in oracle.orders.values())
    if house.open(ERP) is not None:
        house.assert_counts_add_up(ERP)
        assert int(house.ledger(ERP)["records"].sum()) == oracle.records


@given(steps)
@settings(max_examples=max(6, settings().max_examples // 40))
def test_the_tables_are_what_plain_python_says_and_running_again_changes_nothing(steps: list[Step]):
    with tempfile.TemporaryDirectory() as folder:
        house, oracle = House(Path(folder)), Oracle()
        for step in [*steps, Step(1, steps[0].documents, 2)]:
            house.land(
                f"erp/orders/dt=2024-05-{step.day:02}/orders.jsonl.gz", lines(*(each.text() for each in step.documents))
            )
            oracle.put(step.day, step.documents)
            if step.batch:
                run(house, step.batch)
                oracle.run()
                assert_equal(house, oracle)
        before = [repr(house.open(each)) for each in TABLES]
        run(house, 1)
        assert [repr(house.open(each)) for each in TABLES] == before
        for each in TABLES[1:]:
            house.run(each, rebuild=True)
        assert_equal(house, oracle)
