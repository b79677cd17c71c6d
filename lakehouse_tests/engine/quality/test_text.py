"""Exact reading of text: what reads, what rejects, what is said about it. Drawn: text | value, `-` where it rejects."""

from __future__ import annotations

import polars as pl
import pytest

from lakehouse.engine.declare.column import Column
from lakehouse.engine.declare.errors import DeclarationError
from lakehouse.engine.declare.text import TextFormat, date_text, local_time, number_text, true_false, utc_time
from lakehouse.engine.quality.text import read_text, unread
from lakehouse.engine.quality.why import why_unread

UTC = pl.Datetime("us", "UTC")
LONDON = local_time("Europe/London")


def assert_reads(dtype: pl.DataType, drawn: str, text: TextFormat | None = None) -> None:
    """Each drawn line reads as drawn; `\\n` and the like are written as in Python, an empty left side is ''."""
    lines = [line.split("|") for line in drawn.strip().splitlines()]
    texts = [left.strip().strip('"').encode().decode("unicode_escape") for left, _ in lines]
    wanted = [None if right.strip() == "-" else right.strip() for _, right in lines]
    column = Column("value", dtype, text=text)
    frame = pl.DataFrame({"value": texts})
    read = frame.lazy().select(read_text(pl.col("value"), column)).collect()
    assert read.schema == {"value": dtype}
    typed = read["value"]
    printed = typed.dt.strftime("%Y-%m-%dT%H:%M:%S%.fZ") if dtype == UTC else typed.cast(pl.String)
    assert dict(zip(texts, printed.to_list(), strict=True)) == dict(zip(texts, wanted, strict=True))
    assert frame.select(unread(pl.col("value"), column)).to_series().to_list() == [each is None for each in wanted]


def test_an_integer_reads_only_as_it_would_print():
    assert_reads(
        pl.Int8(),
        r"""
        127   | 127
        -128  | -128
        128   | -
        0     | 0
        -0    | 0
        007   | -
        +7    | -
        " 7"  | -
        7x    | -
        7\n   | -
        1_0   | -
        2.0   | -
        1e2   | -
        \u0663 | -
        ""    | -
        """,
    )


def test_every_width_of_integer_reads_its_own_range():
    for dtype in (pl.Int8(), pl.Int16(), pl.Int32(), pl.Int64(), pl.UInt8(), pl.UInt16(), pl.UInt32(), pl.UInt64()):
        least, greatest = (int(pl.select(bound).item()) for bound in (dtype.min(), dtype.max()))
        ends = f"{least} | {least}\n{greatest} | {greatest}\n{least - 1} | -\n{greatest + 1} | -"
        assert_reads(dtype, ends)


def test_a_decimal_never_loses_a_digit():
    assert_reads(
        pl.Decimal(5, 2),
        r"""
        10.5       | 10.50
        999.99     | 999.99
        -999.99    | -999.99
        1000       | -
        10.505     | -
        10.500000  | 10.50
        0.001      | -
        1O.50      | -
        1,50       | -
        .5         | -
        5.         | -
        05.00      | -
        +5         | -
        1_0        | -
        10.50\n    | -
        nan        | -
        -0.00      | 0.00
        """,
    )


def test_a_decimal_with_an_exponent_reads_when_it_is_exact():
    assert_reads(
        pl.Decimal(5, 2),
        """
        1e2       | 100.00
        2.5E-1    | 0.25
        99999e-2  | 999.99
        1E+0      | 1.00
        1e3       | -
        1e-3      | -
        1.005e0   | -
        0e9999    | 0.00
        1e        | -
        """,
    )


def test_a_decimal_holds_all_its_38_digits():
    nines = "9" * 38
    assert_reads(pl.Decimal(38, 0), f"{nines} | {nines}\n1{'0' * 38} | -\n1e38 | -\n{nines}.0 | {nines}")
    assert_reads(pl.Decimal(38, 38), f"0.{nines} | 0.{nines}\n-0.{nines}0 | -0.{nines}\n0.{nines}1 | -\n1 | -")


def test_a_float_reads_when_it_prints_the_same_number():
    assert_reads(
        pl.Float64(),
        r"""
        0.1                 | 0.1
        3                   | 3.0
        10.50               | 10.5
        1e22                | 1e+22
        2.5E-1              | 0.25
        0.30000000000000004 | 0.30000000000000004
        0.30000000000000001 | -
        9007199254740992    | 9007199254740992.0
        9007199254740993    | -
        1.7976931348623157e308 | 1.7976931348623157e+308
        5e-324              | 5e-324
        1e400               | -
        1e-400              | -
        0e-400              | 0.0
        -0.0                | -0.0
        nan                 | -
        inf                 | -
        .5                  | -
        1.5\n               | -
        """,
    )


def test_a_narrow_float_is_asked_for_its_own_digits():
    assert_reads(pl.Float32(), "0.1 | 0.1\n16777216 | 16777216.0\n16777217 | -\n1e39 | -\n0.333333343 | -")


def test_a_boolean_is_true_or_false_unless_a_format_says_otherwise():
    assert_reads(pl.Boolean(), 'true | true\nfalse | false\nTrue | -\n1 | -\n"" | -\ntrue\\n | -')
    assert_reads(pl.Boolean(), "Y | true\nN | false\ny | -\ntrue | -", true_false())
    assert_reads(pl.Boolean(), 'X | true\n"" | false\n-x | -', true_false("X", ""))


def test_a_string_stays_as_it_is():
    assert_reads(pl.String(), "007 | 007\n1e2 | 1e2")


def test_a_date_stands_in_the_calendar():
    assert_reads(
        pl.Date(),
        r"""
        2024-02-29          | 2024-02-29
        2023-02-29          | -
        2024-2-29           | -
        2024-13-01          | -
        2024-02-29T00:00:00 | -
        20240229            | -
        02024-02-29         | -
        0000-01-01          | -
        0001-01-01          | 0001-01-01
        9999-12-31          | 9999-12-31
        10000-01-01         | -
        -2024-02-29         | -
        2024-02-29\n        | -
        """,
    )


def test_a_date_reads_in_the_format_of_its_column():
    assert_reads(pl.Date(), "29.02.2024 | 2024-02-29\n2024-02-29 | -\n9.02.2024 | -", date_text("%d.%m.%Y"))
    months = "29-Feb-2024 | 2024-02-29\n29-FEB-2024 | 2024-02-29\n30-feb-2024 | -\n01-Mai-2024 | -"
    assert_reads(pl.Date(), months, date_text("%d-%b-%Y"))
    assert_reads(pl.Date(), "100% 20240229 | 2024-02-29\n100%20240229 | -", date_text("100%% %Y%m%d"))


def test_an_instant_says_its_offset():
    assert_reads(
        UTC,
        r"""
        2024-05-01T09:00:00Z             | 2024-05-01T09:00:00Z
        2024-05-01T09:00:00+01:30        | 2024-05-01T07:30:00Z
        2024-05-01T09:00:00-05:00        | 2024-05-01T14:00:00Z
        2024-05-01T09:00:00.25Z          | 2024-05-01T09:00:00.250Z
        2024-05-01T09:00:00.123456+00:00 | 2024-05-01T09:00:00.123456Z
        2024-05-01T09:00:00.1234560Z     | 2024-05-01T09:00:00.123456Z
        2024-05-01T09:00:00.1234561Z     | -
        2024-05-01T09:00:00.Z            | -
        2024-05-01T09:00:00              | -
        2024-05-01 09:00:00Z             | -
        2024-05-01T09:00:00z             | -
        2024-05-01T9:00:00Z              | -
        2024-05-01T24:00:00Z             | -
        2024-06-30T23:59:60Z             | -
        2024-02-30T09:00:00Z             | -
        2024-05-01T09:00:00+24:00        | -
        2024-05-01T09:00:00+0100         | -
        2024-05-01T09:00:00Z\n           | -
        9999-12-31T23:59:59.999999Z      | 9999-12-31T23:59:59.999999Z
        9999-12-31T23:59:59-00:01        | -
        0001-01-01T00:00:00+00:01        | -
        """,
    )


def test_an_instant_reads_in_the_format_of_its_column():
    spaced = "2024-05-01 09:00:00+01:00 | 2024-05-01T08:00:00Z\n2024-05-01 09:00:00 | -"
    assert_reads(UTC, spaced, utc_time("%Y-%m-%d %H:%M:%S%z"))
    assert_reads(UTC, "01/05/2024 09:30 | 2024-05-01T09:30:00Z", utc_time("%d/%m/%Y %H:%M"))
    excel = "2024-05-01 09:30:00,5 h | 2024-05-01T09:30:00.500Z\n2024-05-01 09:30:00 h | 2024-05-01T09:30:00Z"
    assert_reads(UTC, excel, utc_time("%Y-%m-%d %H:%M:%S,%f h"))


@pytest.mark.parametrize("first", [None, "2011-01-01T08:00:00Z", "not a time"])
@pytest.mark.parametrize("rows", [0, 1, 5, 40])
def test_a_text_that_comes_row_after_row_reads_as_it_does_alone(first, rows):
    column = Column("at", pl.Datetime("us", "UTC"), "When", nullable=True)
    runs = [first, "2011-01-01T08:00:00Z", None, "2011-01-01T08:00:60Z", "2011-01-01T09:00:00Z", first]
    texts = pl.Series([text for text in runs for _ in range(rows)], dtype=pl.String)
    alone = [pl.select(read_text(pl.lit(text, pl.String), column)).item() for text in texts]
    assert texts.to_frame("text").select(read_text(pl.col("text"), column)).to_series().to_list() == alone


def test_a_wall_clock_time_that_stands_twice_or_never_rejects():
    assert_reads(
        UTC,
        """
        2024-01-15T12:00:00  | 2024-01-15T12:00:00Z
        2024-07-15T12:00:00  | 2024-07-15T11:00:00Z
        2024-03-31T00:59:59  | 2024-03-31T00:59:59Z
        2024-03-31T01:00:00  | -
        2024-03-31T01:59:59  | -
        2024-03-31T02:00:00  | 2024-03-31T01:00:00Z
        2024-10-27T00:59:59  | 2024-10-26T23:59:59Z
        2024-10-27T01:00:00  | -
        2024-10-27T01:59:59  | -
        2024-10-27T02:00:00  | 2024-10-27T02:00:00Z
        2024-07-15T12:00:00Z | -
        """,
        LONDON,
    )


@pytest.mark.parametrize(("which", "instant"), [("earliest", "00:30:00Z"), ("latest", "01:30:00Z")])
def test_ambiguous_says_which_of_two_times_is_meant_but_makes_none_that_never_was(which, instant):
    drawn = f"2024-10-27T01:30:00 | 2024-10-27T{instant}\n2024-03-31T01:30:00 | -"
    assert_reads(UTC, drawn, local_time("Europe/London", ambiguous=which))


def test_far_wall_clock_times_read_where_rule_and_table_agree():
    far = "2150-01-15T12:00:00 | 2150-01-15T12:00:00Z\n2150-07-15T12:00:00 | -\n"
    assert_reads(UTC, far + "9999-12-31T23:59:59 | 9999-12-31T23:59:59Z", LONDON)
    assert_reads(UTC, "9999-12-31T23:59:59 | -\n9999-12-31T18:59:59 | 9999-12-31T23:59:59Z", local_time("Etc/GMT+5"))


def test_a_number_reads_in_the_format_of_its_column():
    german = "1.234,50 | 1234.50\n1234,5 | 1234.50\n-1.234.567 | -1234567.00\n12.34,50 | -\n1.234.5 | -\n0.123 | -"
    assert_reads(pl.Decimal(10, 2), german + "\n1.234,505 | -\n1e2 | -\n1,2,3 | -", number_text(",", "."))
    assert_reads(pl.Int32(), "1 234 | 1234\n12 34 | -\n1 234.0 | -", number_text(group=" "))
    assert_reads(pl.Float64(), "0,5 | 0.5\n0.5 | -", number_text(","))


def test_a_price_reads_with_and_without_the_prefix_of_its_column_and_with_no_other():
    drawn = r"""
        \xa32.55    | 2.550
        2.55        | 2.550
        -\xa32.1    | -2.100
        \xa30       | 0.000
        \xa338970.0 | 38970.000
        \xa3\xa32   | -
        \xa3-2.55   | -
        \xa3 2.55   | -
        " \xa32.55" | -
        2.55\xa3    | -
        \xa3        | -
        \xa3.55     | -
        \xa32.5551  | -
        \xa31e2     | -
        $2.55       | -
        \u20ac2.55  | -
        """
    assert_reads(pl.Decimal(38, 3), drawn, number_text(prefix="£"))


def test_a_prefix_goes_with_groups_and_marks_and_is_no_pattern():
    german = "EUR1.234,50 | 1234.50\n1.234,50 | 1234.50\n-EUR1 | -1.00\nEUR1,2,3 | -\nEU1 | -"
    assert_reads(pl.Decimal(10, 2), german, number_text(",", ".", prefix="EUR"))
    assert_reads(pl.Int32(), "#2 | 2\n#2.0 | -", number_text(prefix="#"))
    assert_reads(pl.Float64(), "$0.5 | 0.5\nS0.5 | -", number_text(prefix="$"))


@pytest.mark.parametrize("text", [None, number_text(), number_text(prefix="$")])
def test_a_price_in_pounds_does_not_read_where_its_column_declares_none(text):
    assert_reads(pl.Decimal(38, 3), "\\xa32.55 | -\n2.55 | 2.550", text)


# --- nested ---------------------------------------------------------------------------------------------------------

LINE = (
    Column("qty", pl.Int64()),
    Column("price", pl.Decimal(10, 2), nullable=True),
    Column("saved_at", UTC, nullable=True, text=LONDON),
)
LINE_TYPE = pl.Struct({field.name: field.dtype for field in LINE})
LINE_TEXT = pl.Struct({field.name: pl.String() for field in LINE})
LINES = Column("lines", pl.List(LINE_TYPE), fields=LINE)


def line(qty: str | None = "1", price: str | None = None, saved_at: str | None = None) -> dict[str, str | None]:
    return {"qty": qty, "price": price, "saved_at": saved_at}


def assert_verdict(values: list[object], stored: pl.DataType, column: Column, wrong: list[bool]) -> pl.Series:
    frame = pl.DataFrame({column.name: values}, schema={column.name: stored})
    text = pl.col(column.name)
    read = frame.lazy().select(read_text(text, column), wrong=unread(text, column)).collect()
    assert read.schema[column.name] == column.dtype
    assert read["wrong"].to_list() == wrong
    reasons = why_unread(frame, [column])
    assert [bool(each) for each in reasons.to_list()] == wrong
    return read[column.name]


def test_one_wrong_leaf_in_a_list_of_structs_rejects_its_row():
    values = [[line("1", "2.50")], [line("1"), line("7x")], [], None, [None], [line(None)], [line("1", "10.505")]]
    typed = assert_verdict(
        values, pl.List(LINE_TEXT), LINES, wrong=[False, True, False, True, True, True, True]
    ).to_list()
    assert [(each["qty"], str(each["price"])) for each in typed[0]] == [(1, "2.50")]
    assert [each["qty"] for each in typed[1]] == [1, None]
    assert typed[2:5] == [[], None, [None]]


def test_a_list_that_may_be_null_still_has_no_null_elements():
    column = Column("lines", LINES.dtype, nullable=True, fields=LINE)
    assert_verdict([None, [], [None]], pl.List(LINE_TEXT), column, wrong=[False, False, True])


def test_a_struct_that_may_be_null_asks_nothing_of_its_fields():
    may = Column("line", LINE_TYPE, nullable=True, fields=LINE)
    must = Column("line", LINE_TYPE, fields=LINE)
    assert_verdict([None, line(None), line("1")], LINE_TEXT, may, wrong=[False, True, False])
    assert_verdict([None, line(None), line("1")], LINE_TEXT, must, wrong=[True, True, False])


def test_lists_of_scalars_and_of_lists_read_their_leaves():
    days = Column("days", pl.List(pl.Date()), text=date_text("%d.%m.%Y"))
    values = [["01.05.2024"], ["01.05.2024", "1.5.2024"], [None], []]
    typed = assert_verdict(values, pl.List(pl.String()), days, wrong=[False, True, True, False])
    assert str(typed[0][0]) == "2024-05-01"
    deep = Column("deep", pl.List(pl.List(LINE_TYPE)), fields=LINE)
    assert_verdict([[[line()], []], [[line("x")]], [None]], pl.List(pl.List(LINE_TEXT)), deep, [False, True, True])
    batch = Column("batch", pl.Struct({"lines": LINES.dtype}), fields=(LINES,))
    stored = pl.Struct({"lines": pl.List(LINE_TEXT)})
    assert_verdict([{"lines": [line()]}, {"lines": [line("x")]}], stored, batch, wrong=[False, True])


def test_only_the_columns_that_are_used_are_loaded(tmp_path):
    pl.DataFrame({"a": ["1"], "b": ["2"]}).write_parquet(tmp_path / "stored.parquet")
    typed = pl.scan_parquet(tmp_path / "stored.parquet").select(
        read_text(pl.col(name), Column(name, pl.Float64())) for name in ("a", "b")
    )
    assert "PROJECT 1/2 COLUMNS" in typed.select("a").explain()


# --- what is said ---------------------------------------------------------------------------------------------------


def test_a_reason_names_the_place_the_text_and_the_type():
    columns = [Column("order_no", pl.Int64()), LINES]
    rows = pl.DataFrame(
        {
            "order_no": [None, "007"],
            "lines": [[line(), line("7x", None, "2024-10-27T01:30:00")], [line("1", "1.005", "2024-03-31T01:30:00")]],
        },
        schema={"order_no": pl.String, "lines": pl.List(LINE_TEXT)},
    )
    twice = "stood twice on the clocks of Europe/London; ambiguous= can say which is meant"
    assert why_unread(rows, columns).to_list() == [
        [
            "order_no: null, but the column is not nullable",
            "lines[1].qty: '7x' is not an exact Int64",
            f"lines[1].saved_at: '2024-10-27T01:30:00' {twice}",
        ],
        [
            "order_no: '007' is not an exact Int64",
            "lines[0].price: '1.005' is not an exact Decimal(10, 2)",
            "lines[0].saved_at: '2024-03-31T01:30:00' never stood on the clocks of Europe/London",
        ],
    ]


def test_a_row_says_its_first_reasons_and_how_many_more():
    rows = pl.DataFrame({"lines": [[line("x" * 99)] * 7]}, schema={"lines": pl.List(LINE_TEXT)})
    said = why_unread(rows, [LINES], most=2).to_list()[0]
    assert said[1:] == [f"lines[1].qty: '{'x' * 40}…' is not an exact Int64", "and 5 more"]


def test_a_reason_says_the_format_that_was_asked_for():
    rows = pl.DataFrame({"paid": ["true"]})
    column = Column("paid", pl.Boolean(), text=true_false())
    assert why_unread(rows, [column]).to_list() == [["paid: 'true' is not an exact Boolean ('Y' or 'N')"]]


# --- what is refused at load ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declare", "named"),
    [
        (lambda: local_time("Europe/Lodnon"), "did you mean Europe/London"),
        (lambda: local_time("Europe/London", ambiguous="first"), "earliest"),  # type: ignore[arg-type]
        (lambda: local_time("Europe/London", "%Y-%m-%d"), "%H %M is missing"),
        (lambda: local_time("Europe/London", "%Y-%m-%dT%H:%M:%S%z"), "%z cannot be read"),
        (lambda: local_time("Europe/London", "%Y-%m-%d %I:%M %p"), "%I %p cannot be read"),
        (lambda: utc_time("%z%Y-%m-%dT%H:%M"), "%z stands at the end"),
        (lambda: utc_time("%Y-%m-%dT%H:%M:%S%f"), "%S.%f"),
        (lambda: utc_time("%Y-%m-%dT%H:%M.%f"), "%S.%f"),
        (lambda: date_text("%d.%m.%y"), "%y cannot be read"),
        (lambda: date_text("%-d.%m.%Y"), "%-d cannot be read"),
        (lambda: date_text("%d.%m.%Y %d"), "%d stands twice"),
        (lambda: date_text("%b %m %d %Y"), "%m stands twice"),
        (lambda: date_text("%d.%m.%Y%"), "% cannot be read"),
        (lambda: number_text(";"), "take '.' or ','"),
        (lambda: number_text(".", "."), "not the decimal mark"),
        (lambda: number_text(".", "0"), "no digit"),
        (lambda: number_text(prefix="-"), "no sign"),
        (lambda: number_text(prefix="1"), "no digit"),
        (lambda: number_text(prefix="Fr."), "no mark of the number"),
        (lambda: number_text(",", ".", prefix="Fr."), "no mark of the number"),
        (lambda: number_text(prefix="£ "), "no blank at its ends"),
        (lambda: true_false("1", "1"), "the same"),
    ],
)
def test_a_format_that_cannot_be_read_exactly_is_refused_with_a_way_out(declare, named):
    with pytest.raises(DeclarationError) as refusal:
        declare()
    assert named in str(refusal.value)


@pytest.mark.parametrize(
    ("dtype", "text"),
    [
        (pl.Int64(), LONDON),
        (pl.Date(), LONDON),
        (pl.String(), number_text()),
        (UTC, date_text("%Y-%m-%d")),
        (pl.Date(), true_false()),
        (pl.Boolean(), utc_time()),
        (pl.Binary(), None),
        (pl.Datetime("us"), None),
        (pl.Datetime("ms", "UTC"), LONDON),
    ],
)
def test_a_type_that_its_format_does_not_write_is_refused(dtype, text):
    with pytest.raises(DeclarationError, match="value: "):
        read_text(pl.col("value"), Column("value", dtype, text=text))
