"""CSV: every record is a row or a reject, as the standard library begins and ends it, and every field is verbatim."""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lakehouse.engine.declare.column import Column
from lakehouse.engine.declare.errors import DeclarationError
from lakehouse.engine.declare.formats import Csv
from lakehouse.engine.ingest import csv_records
from lakehouse.engine.ingest.csv_records import layout, opened, read_csv
from lakehouse.engine.ingest.misfit import Misfit
from lakehouse.engine.ingest.parsed import Parsed

COLUMNS = (Column("id", pl.String()), Column("name", pl.String(), nullable=True))


def read(content: bytes, form: Csv = Csv(), columns: Sequence[Column] = COLUMNS) -> Parsed:  # noqa: B008 # a value
    try:
        return read_csv([opened(content, form, columns)], form, columns)
    except Misfit as why:
        return Parsed(pl.DataFrame(), pl.DataFrame(), {0: str(why)})


def misfit(content: bytes, form: Csv, columns: Sequence[Column]) -> str | None:
    """Why the file does not fit; None where it does."""
    try:
        layout(content, form, columns)
    except Misfit as why:
        return str(why)
    return None


def rows(content: bytes, form: Csv = Csv(), columns: Sequence[Column] = COLUMNS) -> list[tuple[Any, ...]]:  # noqa: B008
    """id, name, source_row of what was accepted; nothing may have been rejected."""
    parsed = read(content, form, columns)
    assert (parsed.rejected.rows(), parsed.unreadable) == ([], {})
    return parsed.accepted.select("id", "name", "source_row").rows()


def exactly(content: bytes, form: Csv, columns: Sequence[Column] = COLUMNS) -> Parsed:
    """By the exact way alone, and a few records at a time; as many as the standard library's parser counts."""
    with (
        patch.object(csv_records, "_even", lambda *_: None),
        patch.object(csv_records, "_plain", lambda *_: None),
        patch.object(csv_records, "RECORDS_AT_ONCE", 2),
    ):
        parsed = read(content, form, columns)
        assert parsed.unreadable or parsed.records == opened(content, form, columns).records
        return parsed


def assert_both_ways_agree(content: bytes, form: Csv, columns: Sequence[Column] = COLUMNS) -> Parsed:
    either, exact = read(content, form, columns), exactly(content, form, columns)
    assert either.accepted.rows() == exact.accepted.rows()
    assert either.rejected.rows() == exact.rejected.rows()
    assert either.unreadable == exact.unreadable
    if not either.unreadable:
        assert either.records == opened(content, form, columns).records
    return either


# ---- shapes that files come in ----


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("last", [True, False])
def test_any_line_end_will_do_and_the_last_line_may_lack_it(end: bytes, last: bool):  # noqa: FBT001
    content = end.join([b"id,name", b"1,a", b"2,b"]) + (end if last else b"")
    assert rows(content) == [("1", "a", 2), ("2", "b", 3)]


def test_a_byte_order_mark_is_no_part_of_the_first_name():
    assert rows(b"\xef\xbb\xbfid,name\n1,a\n") == [("1", "a", 2)]


def test_an_empty_field_is_null_quoted_or_not_and_blanks_are_kept():
    assert rows(b'id,name\n1,\n2,""\n3, x \n') == [("1", None, 2), ("2", None, 3), ("3", " x ", 4)]


def test_quotes_hold_delimiters_line_ends_and_doubled_quotes():
    content = b'id,name\n1,"a,b"\n2,"say ""hi"""\n3,"two\nlines"\n4,z\n'
    wanted = [("1", "a,b", 2), ("2", 'say "hi"', 3), ("3", "two\nlines", 4), ("4", "z", 6)]
    assert rows(content) == wanted
    assert rows(content.replace(b"\n", b"\r\n"))[2:] == [("3", "two\r\nlines", 4), ("4", "z", 6)]


def test_a_file_that_quotes_everything_is_read_the_plain_way():
    with patch.object(csv_records, "_exact", side_effect=AssertionError("the exact way was asked")):
        assert rows(b'"id","name"\n"1","a"\n') == [("1", "a", 2)]
        assert rows(b'id,name\n1,"a,b"\n2,\n') == [("1", "a,b", 2), ("2", None, 3)]
        assert rows("id;name\r\n1;£2.55\r\n".encode("cp1252"), Csv(delimiter=";", encoding="cp1252")) == [
            ("1", "£2.55", 2)
        ]


def test_leading_zeros_and_long_numbers_stay_as_they_are():
    assert rows(b"id,name\n00501,1.10\n123456789012345678901234567890,1E5\n") == [
        ("00501", "1.10", 2),
        ("123456789012345678901234567890", "1E5", 3),
    ]


def test_columns_are_found_by_name_in_any_order():
    assert rows(b"name,id\na,1\n") == [("1", "a", 2)]


def test_without_a_header_they_stand_as_declared():
    form = Csv(header=False)
    assert rows(b"1,a\n2,b\n", form) == [("1", "a", 1), ("2", "b", 2)]
    assert misfit(b"1,a,b\n", form, COLUMNS) == "its first record has 3 fields, and 2 columns are declared"


def test_preamble_and_comments_are_passed_over_and_counted_as_lines():
    form = Csv(preamble=2, comment="#")
    content = b'"Report, unclosed\nof today\nid,name\n# no row\n1,a\n\n2,"x\n# text"\n'
    assert rows(content, form) == [("1", "a", 5), ("2", "x\n# text", 7)]
    assert opened(content, form, COLUMNS).records == 2


def test_without_a_quote_quotes_are_letters():
    assert rows(b'id,name\n1,"a\n', Csv(quote=None)) == [("1", '"a', 2)]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-le", "latin-1", "utf-8"])
def test_every_encoding_that_python_knows(encoding: str):
    assert rows("id,name\n1,£\n".encode(encoding), Csv(encoding=encoding)) == [("1", "£", 2)]


# ---- columns that are not as declared ----


def test_unknown_columns_go_to_extra():
    parsed = read(b'id,name,a/b\n1,x,"q""q"\n2,y,\n')
    assert parsed.accepted["extra"].to_list() == [r'{"/a~1b":"q\"q"}', '{"/a~1b":null}']


def test_a_column_that_may_be_null_may_be_missing():
    assert rows(b"id\n1\n") == [("1", None, 2)]
    assert misfit(b"name\na\n", Csv(), COLUMNS) == "column 'id' is missing"


def test_a_column_that_seems_renamed_is_not_taken_for_null():
    why = misfit(b"id,Name\n1,a\n", Csv(), COLUMNS)
    assert why == "column 'name' is missing, and 'Name' came (if that is it: was='Name')"


def test_a_column_comes_under_the_name_it_had_before():
    columns = (COLUMNS[0], replace(COLUMNS[1], was="title"))
    assert rows(b"title,id\na,1\n", columns=columns) == rows(b"name,id\na,1\n", columns=columns) == [("1", "a", 2)]
    why = misfit(b"id,name,title\n1,a,b\n", Csv(), columns)
    assert why == "its header names one column more than once: 'name', 'title'"


def test_a_file_of_one_column_is_found_by_its_former_name_though_the_new_one_stands_in_it():
    columns = [Column("sku", pl.String(), was="old_sku")]
    assert misfit(b"old_sku\na\n", Csv(), columns) is None


def test_a_name_that_comes_twice_fits_nothing():
    assert misfit(b"id,name,id\n1,a,2\n", Csv(), COLUMNS) == "its header names one column more than once: 'id'"


def test_a_file_of_another_delimiter_does_not_fit():
    assert (
        misfit(b"id;name\n1;a\n", Csv(), COLUMNS)
        == "its header is one field, 'id;name' (is the delimiter another one?)"
    )


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_an_empty_file_holds_no_header(content: bytes):
    assert read(content).unreadable == {0: "it holds no header"}


def test_a_header_alone_is_a_file_without_records():
    assert rows(b"id,name\n") == []
    assert opened(b"id,name\n", Csv(), COLUMNS).records == 0


# ---- what is wrong costs its record, and no other ----


def rejects(content: bytes, form: Csv = Csv()) -> list[tuple[int, str, str]]:  # noqa: B008 # a value
    return assert_both_ways_agree(content, form).rejected.select("source_row", "raw", "reason").rows()


def test_too_few_and_too_many_fields():
    assert rejects(b"id,name\n1,a\n2\n3,c,d\n4,d\n") == [
        (3, "2\n", "1 field, expected 2"),
        (4, "3,c,d\n", "3 fields, expected 2"),
    ]


def test_a_stray_quote_costs_its_record():
    assert rejects(b'id,name\n1,"a"b\n2,c\n') == [
        (2, '1,"a"b\n', "not well-formed CSV: ',' expected after '\"'"),
    ]


def test_no_line_of_a_malformed_record_becomes_a_row():
    content = b'id,name\n1,"a"x,"note\n2,b\n"\n3,c\n'
    parsed = assert_both_ways_agree(content, Csv())
    assert parsed.accepted["id"].to_list() == ["3"]
    assert parsed.rejected["raw"].to_list() == ['1,"a"x,"note\n2,b\n"\n']


def test_a_quote_that_stays_open_costs_the_rest_and_says_so():
    assert rejects(b'id,name\n1,a\n2,"b\n3,c\n') == [
        (3, '2,"b\n3,c\n', "not well-formed CSV: unexpected end of data"),
    ]


def test_a_quote_that_stays_open_for_very_long_makes_the_file_unreadable():
    parsed = assert_both_ways_agree(b'id,name\n1,a\n2,"b\n' + b"3,c\n" * 300_000, Csv())
    assert parsed.unreadable == {0: "a field is longer than 1,048,576 characters: is a quote not closed?"}
    assert parsed.accepted.is_empty()


def test_bytes_of_another_encoding_cost_their_record_and_are_kept():
    assert rejects(b"id,name\n1,\xa3\n2,b\n") == [(2, "1,\\xa3\n", "holds bytes that are not utf-8")]
    assert rejects(b"id,name\n1,\x81\n2,b\n", Csv(encoding="cp1252")) == [
        (2, "1,\\x81\n", "holds bytes that are not cp1252")
    ]


def test_a_file_that_is_no_utf_16_is_unreadable():
    assert "utf-16" in read("id,name\n1,a\n".encode("utf-16") + b"\n", Csv(encoding="utf-16")).unreadable[0]


def test_a_line_of_one_column_that_is_empty_is_no_record():
    assert assert_both_ways_agree(b"id\n1\n\n2\n", Csv(), COLUMNS[:1]).accepted["source_row"].to_list() == [2, 4]


def together(*files: bytes, form: Csv = Csv()) -> Parsed:  # noqa: B008 # a value
    return read_csv([opened(each, form, COLUMNS) for each in files], form, COLUMNS)


def test_files_that_are_read_together_keep_their_place():
    parsed = together(b"id,name\n1,a\n", b'id,name\n"0', b"name,id,x\nb,2,z\n9\n", b"id,name\n")
    assert parsed.accepted.select("id", "extra", "source_file").rows() == [("1", None, 0), ("2", '{"/x":"z"}', 2)]
    assert parsed.rejected.select("source_file", "source_row").rows() == [(1, 2), (2, 3)]


def test_files_in_which_nothing_is_quoted_are_parsed_as_one_and_each_row_knows_its_file_and_line():
    files = [b"id,name\n1,a\n2,\n", b"id,name\r\n", b"\xef\xbb\xbfid,name\r\n3, b", b"id,name\n4,\xc2\xa3\n"]
    with patch.object(csv_records, "_plain", lambda *_: pytest.fail("read alone")):
        parsed = together(*files)
    assert parsed.accepted.select("id", "name", "source_file", "source_row").rows() == [
        ("1", "a", 0, 2),
        ("2", None, 0, 3),
        ("3", " b", 2, 2),
        ("4", "£", 3, 2),
    ]


@pytest.mark.parametrize(
    "line", [b"", b"9", b"9,x,y", b"9,\xff", b"\r", b"9\rx", b"9,'x\n\n'", b'9,"x', b"\n9", b"9,x,y\n9", b"\n9,x,y"]
)
def test_a_line_that_is_odd_costs_its_neighbours_nothing(line: bytes):
    files = [b"id,name\n1,a\n", b"id,name\n2,b\n" + line + b"\n3,c\n", b"id,name\n4,d\n"]
    whole = together(*files)
    for place, each in enumerate(files):
        alone = exactly(each, Csv())
        assert (
            whole.accepted.filter(source_file=place).drop("source_file").rows()
            == alone.accepted.drop("source_file").rows()
        )
        assert (
            whole.rejected.filter(source_file=place).drop("source_file").rows()
            == alone.rejected.drop("source_file").rows()
        )


# ---- any file ----

fields = st.text(st.sampled_from([*'ab1 ,;"\n\r£\u2028\t#']), max_size=5)
tables = st.lists(st.tuples(fields, fields), max_size=6)


@settings(deadline=None)
@given(tables, st.sampled_from(["\n", "\r\n"]), st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
@example([("", "")], "\n", csv.QUOTE_MINIMAL)
def test_what_the_standard_library_writes_comes_back(table: list[tuple[str, str]], end: str, quoting: Any):
    if quoting == csv.QUOTE_MINIMAL:  # the writer of Python 3.12 leaves a lone CR without quotes
        table = [(one.replace("\r", ""), two.replace("\r", "")) for one, two in table]
    written = io.StringIO()
    csv.writer(written, lineterminator=end, quoting=quoting).writerows([("id", "name"), *table])
    parsed = assert_both_ways_agree(written.getvalue().encode(), Csv())
    assert parsed.rejected.is_empty()
    assert parsed.accepted.select("id", "name").rows() == [(one or None, two or None) for one, two in table]


shards = st.sampled_from([b'"', b",", b"\n", b"\r", b"\r\n", b";", b"\xff", b"\xa3", b'""', b"#", b"x", b" ", b"\0"])


@settings(max_examples=500, deadline=None)
@given(tables, st.lists(st.tuples(st.integers(0, 60), st.integers(0, 2), shards), max_size=4))
def test_a_damaged_file_is_counted_as_the_standard_library_counts_it(
    table: list[tuple[str, str]], damages: list[tuple[int, int, bytes]]
):
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows([("id", "name"), *table])
    content = written.getvalue().encode()
    head, body = content[:8], content[8:]
    for place, cut, shard in damages:
        at = place % (len(body) + 1)
        body = body[:at] + shard + body[at + cut :]
    parsed = assert_both_ways_agree(head + body, Csv())
    text = io.StringIO((head + body).decode("utf-8", "surrogateescape"), newline="")
    assert parsed.records == sum(1 for row in csv.reader(text) if row) - 1
    assert parsed.accepted.schema["source_row"] == pl.Int64


# ---- the word ----


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"delimiter": ""}, "delimiter=''"),
        ({"delimiter": "||"}, "one ASCII letter"),
        ({"quote": "\n"}, "no line end"),
        ({"delimiter": '"'}, "both delimiter and quote"),
        ({"encoding": "klingon"}, "Python knows no such encoding"),
        ({"preamble": -1}, "below zero"),
        ({"comment": ""}, "every line begins with that"),
    ],
)
def test_what_no_csv_file_can_be_is_refused_at_once(said: dict[str, Any], why: str):
    with pytest.raises(DeclarationError, match=why):
        Csv(**said)


def test_a_header_that_is_no_text_is_not_shown_whole():
    why = misfit(b"id" + bytes(1000) + b"name;" * 1000, Csv(), COLUMNS)
    assert why is not None
    assert len(why) < 400
    assert why.endswith("…' (is the delimiter another one?)")
    many = ",".join(f"c{number}" for number in range(100)).encode()
    assert str(misfit(many, Csv(), COLUMNS)).count("'c9', … came") == 2
