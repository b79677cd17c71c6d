"""Which type the values of a field read as, and what is said where none but text does."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.engine.declare.column import Column
from lakehouse.engine.quality.text import unread
from lakehouse.propose.reading import Reading, reading


def read(*values: str | None, zone: str | None = None) -> Reading:
    rows = {"value": values, "source_file": ["a.csv"] * len(values), "source_row": range(2, len(values) + 2)}
    schema = {"value": pl.String(), "source_file": pl.String(), "source_row": pl.Int64()}
    return reading(pl.DataFrame(rows, schema=schema), zone)


@pytest.mark.parametrize(
    ("values", "annotation", "text"),
    [
        (["1", "-20", "300"], "int", ""),
        (["9223372036854775807", "1"], "int", ""),
        (["9223372036854775808", "1"], "str", ""),
        (["1.5", "2", "-0.125"], "Decimal3", ""),
        (["1e3", "2.5"], "float", ""),
        (["true", "false"], "bool", ""),
        (["Y", "N", "Y"], "bool", 'true_false("Y", "N")'),
        (["Y", "Y"], "str", ""),
        (["2024-05-01", "1999-12-31"], "date", ""),
        (["20240501", "19991231"], "date", 'date_text("%Y%m%d")'),
        (["20240501", "19991331"], "int", ""),
        (["31/01/2024", "01/02/2024"], "date", 'date_text("%d/%m/%Y")'),
        (["01/31/2024", "02/01/2024"], "date", 'date_text("%m/%d/%Y")'),
        (["01/02/2024", "03/04/2024"], "str", ""),
        (["03/03/2024", "04/04/2024"], "date", 'date_text("%d/%m/%Y")'),
        (["1.234,50", "2,00"], "Decimal2", 'number_text(",", ".")'),
        (["1,234.50", "2.00"], "Decimal2", 'number_text(".", ",")'),
        (["1,234", "5,678"], "str", ""),
        (["£2.55", "-£1.00", "3.10"], "Decimal2", 'number_text(prefix="£")'),
        (["£2.55", "€1.00"], "str", ""),
        (["2024-05-01T09:00:00Z", "2024-05-01T09:00:00.25+02:00"], "Utc", ""),
        (["2024-05-01T09:00:00", "2024-05-01T10:00:00"], "str", ""),
        (["00501", "12345"], "str", ""),
        (["A1", "2"], "str", ""),
        ([" 1", "2"], "str", ""),
        ([None, None], "str", ""),
    ],
)
def test_a_type_is_proposed_only_where_all_values_read_as_it_in_one_way(
    values: list[str | None], annotation: str, text: str
):
    found = read(*values)
    assert (found.annotation, found.text) == (annotation, text)
    assert found.nullable == (None in values)


def test_a_wall_clock_time_is_an_instant_only_in_a_zone_that_was_said():
    wall = ["2010-12-01 08:26:00", "2011-07-01 09:00:00"]
    assert read(*wall).notes[0] == (
        "all read as wall-clock time as %Y-%m-%d %H:%M:%S, which says no zone: write Utc with "
        'text=local_time("…", "%Y-%m-%d %H:%M:%S"), or ask again with --zone'
    )
    found = read(*wall, zone="Europe/London")
    assert (found.annotation, found.text) == ("Utc", 'local_time("Europe/London", "%Y-%m-%d %H:%M:%S")')
    assert "2010-12-01T08:26:00Z … 2011-07-01T08:00:00Z" in found.said


def test_times_that_the_clocks_showed_twice_keep_a_column_text_and_are_named():
    found = read("2010-12-01T08:26:00", "2011-10-30T01:30:00", zone="Europe/London")
    assert found.annotation == "str"
    assert found.notes[0].endswith(
        "the clocks of Europe/London showed 1 of them twice or never, as '2011-10-30T01:30:00' (a.csv, row 3): write "
        'Utc with text=local_time("Europe/London") to set these rows aside'
    )


def test_the_evidence_counts_rows_and_distinct_values_and_shows_the_ends():
    assert read("18287", "12346", None, "12346").said == "3 of 4; integer; 2 distinct; 12346 … 18287"
    assert read("GBP", "GBP").said == "all 2; text; always 'GBP'"


def test_what_nearly_reads_is_named_with_a_value_that_does_not_and_its_place():
    assert read("1", "2", "1O.50", "3").notes == ("3 read as integer, 1 not, as '1O.50' (a.csv, row 4)",)
    assert read("00501", "7").notes == (
        "digits, 1 of them with a leading zero that a number would lose, as '00501' (a.csv, row 2)",
    )
    assert read("01/02/2024", "03/04/2024").notes == (
        "all read as date as %d/%m/%Y and as date as %m/%d/%Y: which one is not known",
    )


NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, places=3).map(str)
VALUES = st.one_of(st.text(max_size=12), NUMBERS, st.integers().map(str), st.dates().map(str), st.datetimes().map(str))


@given(st.lists(st.none() | VALUES, min_size=1, max_size=8), st.sampled_from([None, "Europe/London"]))
def test_whatever_the_values_are_all_of_them_read_as_the_type_that_is_proposed(
    values: list[str | None], zone: str | None
):
    found = read(*values, zone=zone)
    column = Column("value", found.dtype, nullable=found.nullable, text=found.form)
    wrong = pl.DataFrame({"value": values}, schema={"value": pl.String()}).filter(unread(pl.col("value"), column))
    assert wrong.is_empty()
