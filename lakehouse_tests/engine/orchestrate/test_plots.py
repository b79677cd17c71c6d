"""What a person sees of one run's rows: of which days they are, and why some were set aside."""

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from lakehouse.engine.declare.contract import Bronze, Silver, column
from lakehouse.engine.declare.dtypes import Utc
from lakehouse.engine.declare.formats import JsonLines
from lakehouse.engine.declare.frames import Frame, New
from lakehouse.engine.declare.source import Files
from lakehouse.engine.declare.table import Declaration, declare
from lakehouse.engine.declare.text import date_text, local_time
from lakehouse.engine.declare.write import Append, Merge, Quarantine
from lakehouse.engine.orchestrate.plots import plots, rejects_by_reason, rows_by_time
from lakehouse.tables.bronze.erp_orders import erp_orders
from lakehouse.tables.silver.orders import orders
from lakehouse_tests.driver import House, lines, order

ERP, ORDERS = erp_orders.declaration, orders.declaration


class Sent(Bronze):
    """One row per parcel."""

    no: str = column("Number")
    sent_on: date = column("Day", text=date_text("%d.%m.%Y"), nullable=True)
    booked_at: Utc = column("When", text=local_time("Europe/London"), nullable=True)


def sent() -> Frame[Sent]: ...


class Clocked(Bronze):
    """One row per punch of the clock."""

    at: Utc = column("When", text=local_time("Europe/London", "%H:%M %d.%m.%Y"))


def clocked() -> Frame[Clocked]: ...


class Parcels(Silver):
    """One row per parcel."""

    no: str = column("Number", key=True, str_matches="^[0-9]+$")
    booked_at: Utc = column("When", nullable=True)
    sent_on: date = column("Day", nullable=True)


def parcels(rows: New[Sent]) -> Frame[Parcels]:
    return rows.select("no", "booked_at", "sent_on")


SENT = declare(sent, write=Append(), source=Files("sent/*", formats=JsonLines()))
CLOCKED = declare(clocked, write=Append(), source=Files("clock/*", formats=JsonLines()))
PARCELS = declare(parcels, write=Merge(), rejects=Quarantine())


def drawn(declared: Declaration, rows: pl.DataFrame) -> tuple[str, str, list[list[str]]]:
    """The name of the one plot, what stands above its bars, and these: label and count."""
    [(name, plot)] = rows_by_time(declared, rows).items()
    return name, (plot.value or "").split("\n")[0], bars_of(plot.value or "")


def bars_of(plot: str) -> list[list[str]]:
    found = [re.fullmatch(r"(.*?) [█▏▎▍▌▋▊▉ ]*([0-9,]+)", line) for line in plot.split("\n")[3:-1]]
    return [[label, count.replace(",", "")] for label, count in (each.groups() for each in found if each)]


def booked(*days: int) -> pl.DataFrame:
    """A parcel for each of these days after 2024-01-30, late in the evening."""
    late = datetime(2024, 1, 30, 23, 59, tzinfo=UTC)
    times = [late + timedelta(days=day) for day in days]
    return pl.DataFrame({"booked_at": times}, schema={"booked_at": PARCELS.schema["booked_at"]})


def test_rows_are_counted_by_the_day_of_the_first_column_that_has_one_and_drawn_to_scale():
    [(name, plot)] = rows_by_time(PARCELS, booked(0, 0, 0, 0, 1, 3, 3)).items()
    assert name == "rows per day"
    assert plot.value == (
        "by booked_at (UTC)\n\n```\n"
        f"2024-01-30 {'█' * 30} 4\n"
        f"2024-01-31 {'█' * 7}▌{' ' * 22} 1\n"
        f"2024-02-02 {'█' * 15}{' ' * 15} 2\n"
        "```"
    )


@pytest.mark.parametrize(
    ("days", "name", "first", "bars"),
    [
        (31, "rows per day", ["2024-01-30", "1"], 31),
        (34, "rows per month", ["2024-01", "2"], 3),
        (1_000, "rows per year", ["2024", "337"], 3),
        (20_000, "rows per year", ["until 2047", "8737"], 32),
    ],
)
def test_more_days_than_a_person_looks_at_are_drawn_by_month_then_by_year_and_the_first_years_as_one(
    days: int, name: str, first: list[str], bars: int
):
    found, _, told = drawn(PARCELS, booked(*range(days)))
    assert (found, len(told)) == (name, bars)
    assert sum(int(count) for _, count in told) == days
    assert told[0] == first


def test_a_row_without_a_day_is_counted_too_and_a_table_without_one_has_no_plot():
    rows = pl.DataFrame({"booked_at": [None, None]}, schema={"booked_at": PARCELS.schema["booked_at"]})
    assert drawn(PARCELS, pl.concat([booked(0), rows]))[2] == [["2024-01-30", "1"], ["no date", "2"]]
    assert rows_by_time(PARCELS, rows.clear()) == {}


def test_a_bronze_row_counts_for_the_day_that_its_text_says_as_it_is_written():
    texts = pl.DataFrame({"sent_on": ["01.02.2024", "31.01.2024", "31.01.2024", "31.02.2024", None]})
    name, head, told = drawn(SENT, texts)
    assert (name, head) == ("rows per day", "by sent_on (as it is written)")
    assert told == [["2024-01-31", "2"], ["2024-02-01", "1"], ["no date", "2"]]
    times = pl.DataFrame({"order_ts": ["2024-07-01T00:30:00"]})  # the day before in UTC
    assert drawn(ERP, times)[2] == [["2024-07-01", "1"]]


def test_bronze_text_that_does_not_begin_with_its_day_has_no_plot():
    assert rows_by_time(CLOCKED, pl.DataFrame({"at": ["09:00 01.02.2024"]})) == {}


# ---- rejects ----


def test_reasons_are_counted_without_their_values_places_and_files_the_most_frequent_first(tmp_path: Path):
    house = House(tmp_path)
    house.land(
        "sent/a",
        lines(
            '{"no":"1","booked_at":"2024-01-01T10:00:00"}',
            '{"no":"x"}',
            '{"no":"2","sent_on":"1.1.24"}',
            '{"no":"3","sent_on":"yesterday: is not an exact day","booked_at":"2024-03-31T01:30:00"}',
            '{"no":"4","sent_on":"31.02.2024"}',
            "{",
            '{"no":',
        ),
    )
    house.land("sent/b.gz", b"\x1f\x8b cut")
    landed = house.drain(SENT)[SENT.key][0].delivery
    assert landed is not None
    assert reasons(landed.rejected) == [
        ["gzip data is cut off after … bytes", "1"],
        ["not one JSON object: Expecting property name enclosed in double quotes at chara…", "1"],
        ["not one JSON object: Expecting value at character …", "1"],
    ]
    read = house.drain(PARCELS)[PARCELS.key][0].delivery
    assert read is not None
    assert reasons(read.rejected) == [
        ["sent_on is not an exact Date (date as %d.%m.%Y)", "3"],
        ["booked_at never stood on the clocks of Europe/London", "1"],
        ["no__str_matches", "1"],
    ]


def reasons(rejected: pl.DataFrame) -> list[list[str]]:
    plot = rejects_by_reason(rejected)["rejects by reason"].value or ""
    assert plot.startswith("a row may have several\n\n```\n")
    return bars_of(plot)


def test_of_more_than_ten_reasons_the_rest_are_one_bar():
    of = [[f"rule_{place:02}"] for place in range(13) for _ in range(20 - place)]
    rejected = pl.DataFrame({"kind": "broke", "upstream": "a/b", "source_file": None, "reasons": of})
    told = reasons(rejected)
    assert told[0] == ["rule_00", "20"]
    assert told[9:] == [["rule_09", "11"], ["3 more reasons", "27"]]


def test_a_row_with_two_broken_rules_counts_for_both_and_with_one_broken_in_two_places_once():
    rejected = pl.DataFrame(
        {
            "kind": ["broke", "unread"],
            "upstream": "a/b",
            "source_file": None,
            "reasons": [["one", "two"], ["l[0].q: 'x' is not an exact Int64", "l[7].q: 'y' is not an exact Int64"]],
        }
    )
    assert reasons(rejected) == [["l[…].q is not an exact Int64", "1"], ["one", "1"], ["two", "1"]]


def test_a_run_of_which_nothing_was_set_aside_draws_no_rejects(tmp_path: Path):
    house = House(tmp_path)
    house.land("erp/orders/dt=2024-05-01/orders.jsonl.gz", lines(order("1", (1, 2, "2.50"))))
    for declared in (ERP, ORDERS):
        delivery = house.run(declared).delivery
        assert delivery is not None
        assert list(plots(declared, delivery)) == ["rows per day"]
