"""What comes late: for any arrivals in any batches the versions are those of a rebuild and of a slow reference."""

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lakehouse.engine.declare.contract import Bronze, Silver, column
from lakehouse.engine.declare.dtypes import Utc
from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.formats import JsonLines
from lakehouse.engine.declare.frames import Frame, New
from lakehouse.engine.declare.readers import Reader
from lakehouse.engine.declare.source import Files
from lakehouse.engine.declare.table import Declaration, declare
from lakehouse.engine.declare.upkeep import Policy
from lakehouse.engine.declare.write import Append, History, Quarantine
from lakehouse.engine.delta.travel import as_it_stood
from lakehouse.engine.orchestrate import things
from lakehouse.engine.orchestrate.restore import carry_out, plan
from lakehouse.engine.orchestrate.upkeep import keep_up
from lakehouse.engine.orchestrate.work import Work
from lakehouse.engine.quality.typed import Typed, typed
from lakehouse_tests.driver import House, files_per_batch, lines


class Told(Bronze):
    """One row per customer and time at which he was told of."""

    region: str = column("Where he is kept")
    number: int = column("Customer")
    at: Utc = column("When")
    country: str = column("Where", nullable=True)
    orders: int = column("So far")


def told() -> Frame[Told]: ...


WHAT = ["region", "customer", "country", "orders", "since"]


class Passed(Silver):
    """One row per row that was told."""

    region: str = column("Where he is kept")
    number: int = column("Customer")
    at: Utc = column("When")
    country: str = column("Where", nullable=True)
    orders: int = column("So far")


def passed(rows: New[Told]) -> Frame[Passed]:
    return rows.select("region", "number", "at", "country", "orders")


class Lived(Silver):
    """One row per version of a customer."""

    region: str = column("Where he is kept", key=True)
    customer: int = column("Customer", key=True, ge=0)
    country: str = column("Where", nullable=True)
    orders: int = column("So far", ge=0)
    since: Utc = column("From then on", key=True)
    valid_to: Utc = column("Then no longer", nullable=True)


def lived(rows: New[Told]) -> Frame[Lived]:
    return rows.rename({"number": "customer", "at": "since"}).select(WHAT)


class Counted(Lived):
    """One row per version of a customer, whose number no column of the upstream is."""


def counted(rows: New[Told]) -> Frame[Counted]:
    return rows.with_columns(customer=pl.col("number") + 0 * pl.col("orders"), since="at").select(WHAT)


class Over(Lived):
    """One row per version of a customer, from what was passed on."""


def over(rows: New[Passed]) -> Frame[Over]:
    return rows.rename({"number": "customer", "at": "since"}).select(WHAT)


TOLD = declare(told, write=Append(), source=Files("told/*.jsonl", formats=JsonLines()))
PASSED = declare(passed, write=Append())
KEPT = History("since", tracks=["country"])
VECTORS = (Reader.DELTA_RS, Reader.DATABRICKS)
LIVED = declare(lived, write=KEPT, conserves="rows", rejects=Quarantine())
COUNTED = declare(counted, write=KEPT, rejects=Quarantine(), readers=VECTORS)
OVER = declare(over, write=KEPT, rejects=Quarantine(), readers=VECTORS)
CHAINS = {"of bronze": [TOLD, LIVED], "computed": [TOLD, COUNTED], "of silver": [TOLD, PASSED, OVER]}

type Row = tuple[int, int, str | None, int | str]
"""Who, minutes after noon, country and orders; orders that are text do not read, and less than none may not be."""
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def land(house: House, name: str, *rows: Row) -> None:
    documents = [
        {"region": "n", "number": who, "at": f"{NOON + timedelta(minutes=at):%Y-%m-%dT%H:%M:%SZ}", "country": country}
        | {"orders": orders, "nonce": house.clock.isoformat()}  # so that no content comes twice
        for who, at, country, orders in rows
    ]
    house.land(f"told/{name}.jsonl", lines(*map(json.dumps, documents)))


def versions(house: House, declared: Declaration = LIVED) -> list[tuple[object, ...]]:
    """(who, country, orders, since, until), in order; the times as minutes after noon."""
    times = [((pl.col(name) - NOON).dt.total_minutes()) for name in ("since", "valid_to")]
    rows = house.rows(declared).sort("customer", "since")
    return rows.select("customer", "country", "orders", *times).rows()


def last(done: dict[str, list[Work]], declared: Declaration = LIVED) -> Work:
    return done[declared.key][0]


# ---- what is read and written ----


@contextmanager
def text_read() -> Iterator[list[int]]:
    """How many rows of bronze text were read again, each time."""
    heights: list[int] = []

    def spy(contract: type[Bronze], stored: pl.LazyFrame) -> Typed:
        found = typed(contract, stored)
        heights.append(found.rows.height)
        return found

    with patch.object(things, "typed", spy):
        yield heights


def test_a_late_row_reads_and_writes_again_only_what_is_of_its_thing(house: House):
    land(house, "a", *((who, 10 * day, "FR", day) for who in range(50) for day in range(4)))
    house.drain(TOLD, LIVED)
    land(house, "b", (7, 15, "ES", 9))
    with text_read() as heights:
        work = last(house.drain(TOLD, LIVED))
    assert heights == [5]
    assert work.delivery is not None
    assert (work.delivery.whole, work.delivery.accepted.height) == (False, 3)
    assert [each[1:] for each in versions(house) if each[0] == 7] == [
        ("FR", 1, 0, 15), ("ES", 9, 15, 20), ("FR", 3, 20, None)
    ]  # fmt: skip
    assert work.facts["things_seen_anew"] == 1
    assert (work.facts["versions_begun"], work.facts["versions_ended"]) == (2, 2)
    assert house.rows(LIVED).height == 52


@pytest.mark.parametrize(
    ("late", "then"),
    [
        ((1, 15, "FR", 1), [("FR", 1, 10, 20), ("ES", 2, 20, None)]),
        ((1, 20, "ES", 2), [("FR", 1, 10, 20), ("ES", 2, 20, None)]),
        ((1, 5, "FR", 0), [("FR", 1, 5, 20), ("ES", 2, 20, None)]),
        ((1, 5, None, 0), [(None, 0, 5, 10), ("FR", 1, 10, 20), ("ES", 2, 20, None)]),
    ],
    ids=["says the same again", "at the same time", "the first, earlier", "before the first"],
)
def test_where_the_versions_tell_enough_nothing_is_read_again(house: House, late: Row, then: Sequence[object]):
    land(house, "a", (1, 10, "FR", 1), (1, 20, "ES", 2), (2, 30, "FR", 1))
    house.drain(TOLD, LIVED)
    land(house, "b", late, (3, 1, "UK", 1))
    with text_read() as heights:
        work = last(house.drain(TOLD, LIVED))
    assert (heights, work.facts["things_seen_anew"]) == ([], 0)
    assert [each[1:] for each in versions(house) if each[0] == 1] == then
    assert [each[1:] for each in versions(house) if each[0] == 3] == [("UK", 1, 1, None)]


@pytest.mark.parametrize(
    ("late", "then"),
    [
        ((1, 15, "FR", 5), [("FR", 5, 10, 20), ("ES", 2, 20, None)]),
        ((1, 12, "FR", 5), [("FR", 1, 10, 20), ("ES", 2, 20, None)]),
        ((1, 10, "UK", 5), [("UK", 5, 10, 14), ("FR", 1, 14, 20), ("ES", 2, 20, None)]),
        ((1, 15, None, 5), [("FR", 1, 10, 15), (None, 5, 15, 20), ("ES", 2, 20, None)]),
        ((1, 25, "FR", 1), [("FR", 1, 10, 20), ("ES", 2, 20, 25), ("FR", 1, 25, None)]),
    ],
    ids=["of other columns, last", "of other columns, not last", "instead of the first", "in between", "as one before"],
)
def test_where_the_versions_do_not_tell_enough_what_was_seen_is_read_again(
    house: House, late: Row, then: Sequence[object]
):
    land(house, "a", (1, 10, "FR", 0), (1, 14, "FR", 1), (1, 20, "ES", 2), (2, 30, "FR", 1))
    house.drain(TOLD, LIVED)
    land(house, "b", late)
    work = last(house.drain(TOLD, LIVED))
    assert work.delivery is not None
    assert not work.delivery.whole
    assert work.facts["things_seen_anew"] == 1
    assert [each[1:] for each in versions(house) if each[0] == 1] == then


def test_a_corrected_file_costs_what_it_held_and_holds(house: House):
    land(house, "a", *((who, 10, "FR", 1) for who in range(50)))
    land(house, "b", (1, 20, "ES", 2), (2, 20, "ES", 2))
    house.drain(TOLD, LIVED)
    land(house, "b", (2, 20, "UK", 2), (3, 20, "UK", 2))
    with text_read() as heights:
        work = last(house.drain(TOLD, LIVED))
    assert work.delivery is not None
    assert (work.delivery.whole, heights) == (False, [7])
    assert [each for each in versions(house) if each[0] in (0, 1, 2, 3)] == [
        (0, "FR", 1, 10, None), (1, "FR", 1, 10, None),
        (2, "FR", 1, 10, 20), (2, "UK", 2, 20, None), (3, "FR", 1, 10, 20), (3, "UK", 2, 20, None),
    ]  # fmt: skip


def test_what_was_set_aside_is_not_seen_when_a_thing_is_seen_anew(house: House):
    land(house, "a", (1, 10, "FR", 1), (1, 14, "UK", -5), (1, 15, "UK", "1O"), (1, 20, "FR", 1))
    house.drain(TOLD, LIVED)
    land(house, "b", (1, 12, "ES", 1))
    assert last(house.drain(TOLD, LIVED)).facts["things_seen_anew"] == 1
    assert versions(house) == [(1, "FR", 1, 10, 12), (1, "ES", 1, 12, 20), (1, "FR", 1, 20, None)]
    assert house.set_aside(LIVED).height == 2


def test_after_what_came_late_the_table_has_seen_what_it_had_before(house: House):
    land(house, "a", (1, 10, "FR", 1), (1, 30, "ES", 1))
    house.drain(TOLD, LIVED)
    for name, row in (("b", (1, 12, "FR", 1)), ("c", (1, 20, "UK", 1))):
        land(house, name, row)
        house.drain(TOLD, LIVED)
    assert versions(house) == [(1, "FR", 1, 10, 20), (1, "UK", 1, 20, 30), (1, "ES", 1, 30, None)]


def test_of_what_a_correction_takes_back_nothing_stays(house: House):
    land(house, "a", (1, 10, "FR", 1))
    land(house, "b", (1, 20, "ES", 2), (2, 10, "FR", 1))
    house.drain(TOLD, LIVED)
    land(house, "b", (1, 30, "ES", 2))
    work = last(house.drain(TOLD, LIVED))
    assert work.delivery is not None
    assert not work.delivery.whole
    assert versions(house) == [(1, "FR", 1, 10, 30), (1, "ES", 2, 30, None)]


def test_where_a_correction_takes_back_what_was_set_aside_all_is_made_anew(house: House):
    land(house, "a", (1, 10, "FR", 1))
    land(house, "b", (1, 20, "FR", "1O"))
    house.drain(TOLD, LIVED)
    assert house.set_aside(LIVED).height == 1
    land(house, "b", (1, 20, "FR", 1))
    work = last(house.drain(TOLD, LIVED))
    assert work.delivery is not None
    assert work.delivery.whole
    assert house.set_aside(LIVED).height == 0


# ---- which column of an upstream names a thing ----

SCHEMA = pl.Schema({"c": pl.Int64(), "d": pl.Date(), "s": pl.String(), "l": pl.List(pl.Struct({"a": pl.Int64()}))})
NAMED: dict[str, Callable[[pl.LazyFrame], pl.LazyFrame]] = {
    "renamed": lambda rows: rows.select(k="c"),
    "filtered": lambda rows: rows.filter(pl.col("s") != "", pl.col("d").is_not_null()).select(k="c"),
    "exploded": lambda rows: rows.explode("l").unnest("l").select("a", k="c"),
    "by itself in a window": lambda rows: rows.select("d", k="c", n=pl.col("d").rank().over("c")),
    "joined": lambda rows: rows.join(pl.LazyFrame({"s": ["a"], "z": [1]}), on="s", how="left").select("z", k="c"),
    "twice": lambda rows: pl.concat([rows.select(k="c"), rows.filter(pl.col("s") == "x").select(k="c")]),
    "swapped": lambda rows: rows.with_columns(c="s", s="c").select(k="s"),
}
UNNAMED: dict[str, Callable[[pl.LazyFrame], pl.LazyFrame]] = {
    "computed": lambda rows: rows.select(k=pl.col("c") + 1),
    "filled": lambda rows: rows.with_columns(pl.col("c").fill_null(0)).select(k="c"),
    "of another type": lambda rows: rows.select(k=pl.col("c").cast(pl.Int32)),
    "counted over all": lambda rows: rows.with_columns(n=pl.int_range(pl.len())).select("n", k="c"),
    "the last of each day": lambda rows: rows.unique("d", keep="last", maintain_order=True).select(k="c"),
    "the first few": lambda rows: rows.head(3).select(k="c"),
    "one way of two": lambda rows: pl.concat([rows.select(k="c"), rows.select(k=-pl.col("c"))]),
    "collected": lambda rows: rows.collect().lazy().select(k="c"),
    "of equal value here only": lambda rows: rows.filter(pl.col("c") == 7).select(
        k=pl.col("d").dt.day().cast(pl.Int64)
    ),
    "in Python": lambda rows: rows.map_batches(lambda frame: frame).select(k="c"),
    "in Python that wants rows": lambda rows: rows.map_batches(lambda frame: frame[[0]]).select(k="c"),
}


@pytest.mark.parametrize("how", NAMED)
def test_a_column_that_names_the_thing_is_found_by_what_polars_asks_of_it(how: str):
    assert things.named_by(NAMED[how], [SCHEMA], ["k"]) == [{"c": "k"}]


@pytest.mark.parametrize("how", UNNAMED)
def test_what_is_not_certainly_the_same_column_names_nothing(how: str):
    assert things.named_by(UNNAMED[how], [SCHEMA], ["k"]) == [{}]


def test_of_several_upstreams_each_is_asked():
    def both(one: pl.LazyFrame, two: pl.LazyFrame) -> pl.LazyFrame:
        return one.select("d", k="c").join(two.select("s", k="c"), on="k", how="inner")

    assert things.named_by(both, [SCHEMA, SCHEMA], ["k", "d"]) == [{"c": "k", "d": "d"}, {"c": "k"}]


# ---- for any arrivals ----


@dataclass(frozen=True)
class Step:
    """A file is put; then perhaps everything is run in batches of so many files, or a table is put back before that.

    back: None, or which table (0: bronze with all downstream, else the last), and how many versions back.
    """

    name: str
    rows: tuple[Row, ...]
    batch: int | None
    back: tuple[int, int] | None


a_row = st.tuples(
    st.sampled_from([1, 2, 2, 3, -1]), st.integers(0, 6), st.sampled_from([None, "FR", "ES"]),
    st.sampled_from([1, 1, 2, 3, "1O", -5]),
)  # fmt: skip
steps = st.lists(
    st.builds(
        Step,
        name=st.sampled_from("abcd"),
        rows=st.lists(a_row, min_size=1, max_size=4).map(tuple),
        batch=st.none() | st.integers(1, 3) | st.just(1),
        back=st.none() | st.none() | st.tuples(st.integers(0, 1), st.integers(1, 4)),
    ),
    min_size=1,
    max_size=7,
)


@dataclass
class Tale:
    """What lies in the landing, and what bronze has taken, in order; and what it had at each of its versions.

    planned: what it had taken before it was put back, and takes first.
    """

    lying: dict[str, tuple[int, tuple[Row, ...]]] = field(default_factory=dict)
    taken: list[tuple[str, int, tuple[Row, ...]]] = field(default_factory=list)
    then: dict[int, list[tuple[str, int, tuple[Row, ...]]]] = field(default_factory=dict)
    planned: list[str] = field(default_factory=list)

    def take(self, version: int) -> None:
        known = {(name, number) for name, number, _ in self.taken}
        first = {name: place for place, name in enumerate(self.planned)}
        lying = sorted(self.lying.items(), key=lambda each: (first.get(each[0], len(first)), each[0]))
        self.taken = self.taken + [
            (name, number, rows) for name, (number, rows) in lying if (name, number) not in known
        ]
        self.planned = []
        self.then[version] = self.taken

    def versions(self, *, corrects: bool) -> list[tuple[object, ...]]:
        """Worked out row by row: of each time the last that came, one time after the other."""
        newest = {name: number for name, number, _ in self.taken}
        seen: dict[int, dict[int, tuple[str | None, int]]] = {}
        for name, number, rows in self.taken:
            for who, at, country, orders in rows:
                if who >= 0 and isinstance(orders, int) and orders >= 0 and (number == newest[name] or not corrects):
                    seen.setdefault(who, {})[at] = (country, orders)
        found: list[list[object]] = []
        for who in sorted(seen):
            for at, (country, orders) in sorted(seen[who].items()):
                if found and found[-1][0] == who and found[-1][1] == country:
                    found[-1][2] = orders
                    continue
                if found and found[-1][0] == who:
                    found[-1][4] = at
                found.append([who, country, orders, at, None])
        return [tuple(each) for each in found]


def put_back(house: House, tale: Tale, tables: Sequence[Declaration], back: tuple[int, int]) -> None:
    declared = tables[0 if back[0] == 0 else -1]
    handle = house.open(declared)
    known = [] if handle is None else sorted(each for each in tale.then if each <= handle.version)
    if handle is None or (declared is TOLD and not known):
        return
    version = known[-min(back[1], len(known))] if declared is TOLD else max(0, handle.version - back[1])
    taken_back = tale.taken[len(tale.then[version]) :] if declared is TOLD else []
    if any(tale.lying[name] != (number, rows) for name, number, rows in taken_back):  # corrected since: planned anew
        return
    planned = plan(declared, version, tables, house.place, downstream=True)
    if any(step.remarks for step in planned.steps):  # it had read what was taken back since
        return
    carry_out(planned, house.place, lambda *_: None)
    if declared is TOLD:
        tale.planned = [name for name, _, _ in taken_back]
        tale.taken = tale.then[version]


def set_aside(house: House, declared: Declaration) -> list[tuple[object, ...]]:
    return sorted(
        house.set_aside(declared).select("kind", "source_file", "source_row", "batch", "row").rows(), key=repr
    )


@pytest.mark.parametrize("chain", CHAINS)
@example([Step("b", ((1, 0, None, 1),), 1, None), Step("a", ((1, 0, None, 2),), 1, (0, 2))])
@given(steps)
@settings(max_examples=max(6, settings().max_examples // 40))
def test_the_versions_are_those_of_a_rebuild_however_rows_came_and_whatever_was_put_back(chain: str, made: list[Step]):
    tables = CHAINS[chain]
    own = tables[-1]
    with tempfile.TemporaryDirectory() as folder:
        house, tale = House(Path(folder)), Tale()
        # the first one, so that a rebuild never finds that nothing reads; the last one, since all is run at the end
        for number, step in enumerate([Step("0", ((9, 3, "UK", 1),), 1, None), *made, Step("z", (), 1_000, None)]):
            land(house, step.name, *step.rows)
            tale.lying[step.name] = (number, step.rows)  # another content, though the rows be the same
            if step.batch is None:
                continue
            if step.back is not None:
                put_back(house, tale, tables, step.back)
            with files_per_batch(step.batch):
                house.drain(*tables)
            bronze = house.open(TOLD)
            assert bronze is not None
            tale.take(bronze.version)
            assert versions(house, own) == tale.versions(corrects=own is not OVER)
        aside = set_aside(house, own)
        house.run(own, rebuild=True)
        assert versions(house, own) == tale.versions(corrects=own is not OVER)
        assert set_aside(house, own) == aside


@pytest.mark.parametrize("first", [0, -1], ids=["bronze and all downstream", "the history alone"])
@given(st.lists(st.lists(a_row, min_size=1, max_size=3), min_size=2, max_size=3), st.data())
@settings(max_examples=max(4, settings().max_examples // 40))
def test_what_is_restated_from_any_time_on_is_what_a_rebuild_makes(
    first: int, came: list[list[Row]], data: st.DataObject
):
    tables = CHAINS["of bronze"]
    with tempfile.TemporaryDirectory() as folder:
        house, times = House(Path(folder)), list[datetime]()
        for number, rows in enumerate([[(9, 3, "UK", 1)], *came]):
            land(house, str(number), *rows)
            house.drain(*tables)
            times.append(datetime.now(UTC))
        before = versions(house)
        time = data.draw(st.sampled_from(times))
        handle = house.open(tables[first])
        assert handle is not None
        then = as_it_stood(handle, time.isoformat())
        assert then.updated_at <= time
        planned = plan(tables[first], then.version, tables, house.place, downstream=True)
        carry_out(planned, house.place, lambda *_: None)
        assert (versions(house) == before) or time is not times[-1]
        house.drain(*tables)
        assert versions(house) == before
        house.run(LIVED, rebuild=True)
        assert versions(house) == before


@pytest.mark.parametrize("chain", ["of bronze", "of silver"])
def test_what_was_made_of_a_file_that_is_taken_back_is_gone_when_what_kept_no_old_version_is_made_anew(
    house: House, chain: str
):
    tables = CHAINS[chain]
    for name, row in (("a", (1, 0, "FR", 1)), ("bad", (1, 5, "XX", 9))):
        land(house, name, row)
        house.drain(*tables)
    for each in tables[1:]:
        keep_up(each, house.place, Policy(retention_hours=0), [])
    told = house.open(TOLD)
    assert told is not None
    planned = plan(TOLD, told.version - 1, tables, house.place, downstream=True)
    assert [step.declared for step in planned.steps] == [TOLD]
    key = tables[1].key
    assert planned.left == [f"{key} cannot be put back, and stands as it is. Next: lakehouse rebuild {key}+"]
    if chain == "of silver":
        assert f"none without them can be read any more of {key})" in (planned.refusal(accept_loss=False) or "")
    carry_out(planned, house.place, lambda *_: None)
    house.file("told/bad.jsonl").unlink()
    land(house, "mended", (1, 7, "ES", 2))
    house.drain(TOLD)
    for each in tables[1:]:
        with pytest.raises(Refused, match=rf"lakehouse rebuild {each.key}\+"):
            house.run(each)
    assert versions(house, tables[-1]) == [(1, "FR", 1, 0, 5), (1, "XX", 9, 5, None)], "until then"
    for each in tables[1:]:
        house.run(each, rebuild=True)
    house.drain(*tables)
    assert versions(house, tables[-1]) == [(1, "FR", 1, 0, 7), (1, "ES", 2, 7, None)]


# ---- times ----


def test_versions_follow_each_other_in_utc_whatever_the_offset_that_their_text_has(house: House):
    rows = [
        ("01:30:00+01:00", "FR"),
        ("01:15:00+00:00", "ES"),
        ("03:00:00+02:00", None),
    ]
    told = [
        json.dumps({"region": "n", "number": 1, "at": f"2024-10-27T{at}", "country": country, "orders": 1})
        for at, country in rows
    ]
    house.land("told/a.jsonl", lines(*told))
    house.drain(TOLD, LIVED)
    found = house.rows(LIVED).sort("since").select("country", pl.col("since", "valid_to").dt.strftime("%H:%M"))
    assert found.rows() == [("FR", "00:30", "01:00"), (None, "01:00", "01:15"), ("ES", "01:15", None)]
    assert house.rows(LIVED).schema["valid_to"] == pl.Datetime("us", "UTC")
