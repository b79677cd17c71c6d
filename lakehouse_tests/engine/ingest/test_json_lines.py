"""JSON lines: every line is a row or a reject, and every value comes back as it was written."""

import json
from typing import Any
from unittest.mock import patch

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lakehouse.engine.declare.formats import Limits
from lakehouse.engine.ingest import json_lines
from lakehouse.engine.ingest.json_lines import json_line, read_json_lines
from lakehouse.engine.ingest.parsed import Parsed

TEXT = pl.String
LINE = pl.Struct({"sku": TEXT, "qty": TEXT})
SCHEMA = pl.Schema(
    {
        "order_no": TEXT,
        "amount": TEXT,
        "lines": pl.List(LINE),
        "ship_to": pl.Struct({"city": TEXT, "tags": pl.List(TEXT)}),
        "tags": pl.List(TEXT),
    }
)
FIELDS: dict[str, Any] = {
    "order_no": None,
    "amount": None,
    "lines": {"sku": None, "qty": None},
    "ship_to": {"city": None, "tags": None},
    "tags": None,
}


def read(*lines: str | bytes) -> Parsed:
    content = b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines)
    return read_json_lines([content], SCHEMA)


def accepted(line: str | bytes) -> dict[str, Any]:
    parsed = read(line)
    assert parsed.rejected.rows() == []
    return parsed.accepted.row(0, named=True)


def reason(line: str | bytes) -> str:
    parsed = read(line)
    assert parsed.accepted.is_empty()
    assert parsed.records == 1
    return parsed.rejected.item(0, "reason")


def exactly(content: bytes, schema: pl.Schema = SCHEMA) -> Parsed:
    with patch.object(json_lines, "_plain", lambda *_: None):
        return read_json_lines([content], schema)


def assert_both_ways_agree(content: bytes) -> Parsed:
    plain, exact = read_json_lines([content], SCHEMA), exactly(content)
    assert plain.accepted.equals(exact.accepted)
    assert plain.rejected.equals(exact.rejected)
    assert plain.records == exact.records == plain.accepted.height + plain.rejected.height
    return plain


# ---- the frames ----


def test_the_columns_are_those_of_the_schema_then_extra_and_source_row():
    parsed = read('{"order_no":"1"}')
    assert parsed.accepted.schema == pl.Schema(
        {**SCHEMA, "extra": TEXT, "source_file": pl.Int64, "source_row": pl.Int64}
    )
    assert parsed.rejected.schema == pl.Schema(
        {"source_file": pl.Int64, "source_row": pl.Int64, "raw": TEXT, "reason": TEXT}
    )


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\r\n", b" \t\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_a_file_without_a_line_has_no_records_but_all_columns(content: bytes):
    parsed = read_json_lines([content], SCHEMA)
    assert parsed.records == 0
    assert parsed.accepted.schema == pl.Schema(
        {**SCHEMA, "extra": TEXT, "source_file": pl.Int64, "source_row": pl.Int64}
    )


def test_source_row_is_the_line_number_counted_with_blank_lines_and_rejects():
    parsed = read("", '{"order_no":"a"}', "  ", "{", '{"order_no":"b"}\r', "\r", '{"order_no":"c"}')
    assert parsed.accepted.select("order_no", "source_row").rows() == [("a", 2), ("b", 5), ("c", 7)]
    assert parsed.rejected["source_row"].to_list() == [4]


def test_files_that_are_read_together_keep_their_place_and_count_their_own_lines():
    files = [b'{"order_no":"a"}\n{', b"", b'\xef\xbb\xbf\n{"order_no":"b"}', b"{", b'{"order_no":{}}\n{"order_no":"c"}']
    parsed = read_json_lines(files, SCHEMA)
    assert parsed.accepted.select("order_no", "source_file", "source_row").rows() == [
        ("a", 0, 1),
        ("b", 2, 2),
        ("c", 4, 2),
    ]
    assert parsed.rejected.select("source_file", "source_row").rows() == [(0, 2), (3, 1), (4, 1)]


def test_a_type_that_is_not_stored_as_text_is_refused_at_once():
    with pytest.raises(TypeError, match="Int64"):
        read_json_lines([b""], pl.Schema({"qty": pl.Int64}))


def test_a_field_name_that_is_no_python_name_is_read():
    schema = pl.Schema({"order-no": TEXT, "class": TEXT, "Größe": TEXT, "f0": TEXT})
    row = '{"f0":"x","Größe":1,"class":2,"order-no":3}'.encode()
    for parsed in (read_json_lines([row], schema), exactly(row, schema)):
        assert parsed.accepted.row(0)[:4] == ("3", "2", "1", "x")


def test_a_field_comes_under_the_name_it_had_before():
    was = {"number": "order_no"}
    content = b'{"number":1}\n{"order_no":2}\n{"number":3,"order_no":4}\n{"tags":[],"number":null}'
    parsed = read_json_lines([content], SCHEMA, was=was)
    assert parsed.accepted["order_no"].to_list() == ["1", "2", None]
    assert parsed.accepted["extra"].to_list() == [None, None, None]
    assert parsed.rejected.select("source_row", "reason").rows() == [
        (3, "both 'number' and 'order_no' stand in it, the old name and the new one")
    ]


# ---- values ----

NUMBERS = [
    *("0", "-0", "1.10", "1E2", "1e-07", "-0.0", "1E400", "0.1000000000000000055", "17850.0"),
    *("12345678901234567890123", "18446744073709551616", "9" * 4300, "9" * 5000),
]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_is_kept_as_it_was_written(number: str):
    row = accepted(f'{{"amount": {number}, "lines": [{{"qty":{number}}}], "tags":[{number}], "new":{number}}}')
    assert (row["amount"], row["lines"], row["tags"]) == (number, [{"sku": None, "qty": number}], [number])
    assert row["extra"] == f'{{"/new":{number}}}'
    assert accepted(f'{{"amount":{number}}}')["amount"] == number


def test_booleans_are_words_and_null_and_absent_are_null():
    row = accepted('{"order_no":true,"amount":false,"tags":[true,null],"lines":null}')
    assert list(row.values()) == ["true", "false", None, None, ["true", None], None, 0, 1]


def test_null_and_empty_lists_and_structs_stay_apart():
    rows = read(
        '{"lines":[],"tags":[],"ship_to":{}}',
        '{"lines":null,"tags":null,"ship_to":null}',
        "{}",
        '{"lines":[{}],"ship_to":{"tags":[]}}',
    ).accepted.select("lines", "tags", "ship_to")
    assert rows.rows() == [
        ([], [], {"city": None, "tags": None}),
        (None, None, None),
        (None, None, None),
        ([{"sku": None, "qty": None}], None, {"city": None, "tags": []}),
    ]


def test_strings_are_decoded_and_never_split_a_line():
    text = 'a\u2028b\u2029c\x85d\x7f£😀"\\/'
    raw = json.dumps(text, ensure_ascii=False)
    assert accepted(f'{{"order_no":{raw}}}')["order_no"] == text
    assert accepted(f'{{"order_no":{json.dumps(text)}}}')["order_no"] == text
    assert accepted(r'{"order_no":"\u000b\u0000\r\n\/"}')["order_no"] == "\x0b\0\r\n/"


def test_a_string_that_looks_like_a_number_and_a_number_are_the_same_text_but_differ_in_extra():
    row = accepted('{"amount":"1.10","x":"1.10","y":1.10}')
    assert (row["amount"], row["extra"]) == ("1.10", '{"/x":"1.10","/y":1.10}')


def test_a_byte_order_mark_is_passed_over_at_the_start_only():
    parsed = read(b'\xef\xbb\xbf{"order_no":"a"}', b'\xef\xbb\xbf{"order_no":"b"}')
    assert parsed.accepted["order_no"].to_list() == ["a"]
    assert parsed.rejected["source_row"].to_list() == [2]


# ---- unknown fields ----


def test_unknown_fields_go_to_extra_by_pointer_in_the_order_of_the_document():
    row = accepted(
        '{"foo": {"b": 1.0, "a": [1E2, null]}, "lines": [{"sku":"x"}, {"bar":true}],'
        ' "a/b~c":"£", "":0, "ship_to":{"zip":"1"}}'
    )
    assert row["extra"] == (
        '{"/foo":{"b":1.0,"a":[1E2,null]},"/lines/1/bar":true,"/a~1b~0c":"£","/":0,"/ship_to/zip":"1"}'
    )


def test_fields_named_like_our_own_columns_are_unknown_fields():
    assert accepted('{"extra":1,"source_row":2}')["extra"] == '{"/extra":1,"/source_row":2}'


# ---- what Polars' reader does wrong (FACTS: one polluted file for each) ----


def test_a_field_first_seen_after_row_100_is_not_dropped():
    parsed = read(*['{"order_no":"x"}'] * 150, '{"order_no":"y","amount":7,"late":8}')
    assert parsed.accepted.row(150, named=True)["amount"] == "7"
    assert parsed.accepted.row(150, named=True)["extra"] == '{"/late":8}'


def test_one_bad_line_costs_that_line_only():
    parsed = read(*['{"order_no":"x"}'] * 1500, "{bad}", *['{"order_no":"y"}'] * 1500)
    assert (parsed.accepted.height, parsed.rejected.rows()[0][1:3], parsed.records) == (3000, (1501, "{bad}"), 3001)


def test_a_value_of_the_wrong_shape_is_rejected_and_not_nulled_and_costs_no_other_row():
    parsed = read('{"amount":1}', '{"amount":{"gbp":1}}', '{"amount":"1O.50"}')
    assert parsed.accepted["amount"].to_list() == ["1", "1O.50"]
    assert parsed.rejected.rows() == [(0, 2, '{"amount":{"gbp":1}}', "amount: expected a scalar, got an object")]


def test_values_of_mixed_kinds_in_one_field_are_all_kept():
    parsed = read(*(f'{{"amount":{value}}}' for value in ("1.5", "1", '"1,5"', "true", "null", "1e3")))
    assert parsed.accepted["amount"].to_list() == ["1.5", "1", "1,5", "true", None, "1e3"]


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('{"order_no":"1","order_no":"1"}', "order_no"),
        (r'{"order_no":"1","\u006frder_no":"2"}', "order_no"),
        ('{"lines":[{"sku":"a"},{"sku":"a","sku":"b"}]}', "sku"),
        ('{"lines":[],"lines":[{"sku":"a"}]}', "lines"),
        ('{"new":{"x":1,"y":2,"x":1}}', "x"),
        ('{"amount":1e1,  "amount":1}', "amount"),
    ],
)
def test_a_repeated_key_rejects_the_line_and_is_named(line: str, key: str):
    assert reason(line) == f"the key '{key}' stands 2 times in one object"


# ---- other pollution ----


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"amount":[1]}', "amount: expected a scalar, got a list"),
        ('{"lines":{}}', "lines: expected a list, got an object"),
        ('{"lines":"none"}', "lines: expected a list, got a string"),
        ('{"lines":[{},{},{},null]}', "lines[3]: expected an object, got null"),
        ('{"lines":[7]}', "lines[0]: expected an object, got a number"),
        ('{"lines":[{"qty":[]}]}', "lines[0].qty: expected a scalar, got a list"),
        ('{"tags":["a",{}]}', "tags[1]: expected a scalar, got an object"),
        ('{"ship_to":[]}', "ship_to: expected an object, got a list"),
        ('{"ship_to":{"tags":true}}', "ship_to.tags: expected a list, got a boolean"),
        ("[]", "the line: expected an object, got a list"),
        ("null", "the line: expected an object, got null"),
        ('"x"', "the line: expected an object, got a string"),
        ('{"amount":NaN}', "NaN is no JSON number"),
        ('{"new":[-Infinity]}', "-Infinity is no JSON number"),
        ('{"order_no":"1"', "not one JSON object: Expecting ',' delimiter at character 16"),
        ('{"order_no":"1"}{"order_no":"2"}', "not one JSON object: Extra data at character 17"),
        ('{"order_no":"1"}\r{"order_no":"2"}', "not one JSON object: Extra data at character 18"),
        ('{"order_no":"1",}', "not one JSON object: "),
        ('{"amount":01}', "not one JSON object: "),
        ('{"amount":1.}', "not one JSON object: "),
        ('{"order_no":"a\tb"}', "not one JSON object: Invalid control character"),
        (r'{"order_no":"\ud800"}', "holds half of a surrogate pair, which no text can hold"),
        (r'{"\udC00":1}', "holds half of a surrogate pair, which no text can hold"),
        (b'{"order_no":"caf\xe9"}', "not UTF-8: byte 0xe9 at byte 17"),
        (b'{"new":"\xed\xa0\x80"}', "not UTF-8: byte 0xed at byte 9"),
        ("[" * 200_000, "nested too deep to read"),
        ('{"new":' + "[" * 101 + "]" * 101 + "}", "an unknown field is nested deeper than 100 levels"),
        ('{"amount":' + "[" * 300 + "]" * 300 + "}", "amount: expected a scalar, got a list"),
    ],
)
def test_what_cannot_be_stored_exactly_is_rejected_with_its_reason(line: str | bytes, said: str):
    assert reason(line).startswith(said)


def test_an_unknown_value_may_be_nested_a_hundred_levels():
    value = "[" * 100 + "]" * 100
    assert accepted(f'{{"new":{value}}}')["extra"] == f'{{"/new":{value}}}'


def test_a_proper_surrogate_pair_is_one_character():
    assert accepted(r'{"order_no":"\ud83d\ude00"}')["order_no"] == "😀"


def test_a_rejected_line_is_kept_as_it_came_with_strange_bytes_escaped():
    parsed = read('{"order_no": "£"', b"\xff\xfe{}\r")
    assert parsed.rejected["raw"].to_list() == ['{"order_no": "£"', r"\xff\xfe{}"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_another_unicode_encoding_is_rejected_and_nothing_of_it_is_lost(encoding: str):
    content = '{"order_no":"1"}\n{"order_no":"2"}\n'.encode(encoding)
    parsed = read_json_lines([content], SCHEMA)
    assert parsed.accepted.is_empty()
    assert parsed.records == parsed.rejected.height == sum(1 for line in content.split(b"\n") if line.strip(b" \r\t"))


def test_zero_bytes_make_the_reason_ask_for_utf_16():
    assert "is it UTF-16?" in reason('{"order_no":"1"}'.encode("utf-16-le"))


def test_a_line_over_the_limit_is_rejected_and_one_at_the_limit_is_not():
    content = b'{"order_no":"1234"}\n{"order_no":"12345"}\n{"order_no":"1"}\n{"new_name":"1234"}'
    parsed = read_json_lines([content], SCHEMA, Limits(line_bytes=19))
    assert parsed.accepted["source_row"].to_list() == [1, 3, 4]
    assert parsed.rejected.rows() == [
        (0, 2, '{"order_no":"12345"}', "the line has 20 bytes, more than the limit of 19 (Limits.line_bytes)")
    ]


def test_an_object_with_very_many_keys_and_one_repeated_is_rejected_in_time():
    keys = ",".join(f'"k{number}":1' for number in range(200_000))
    assert reason(f'{{{keys},"k199999":2}}') == "the key 'k199999' stands 2 times in one object"


def test_accepted_and_rejected_are_the_lines_that_the_standard_library_counts_and_reads():
    lines = [
        b'{"order_no":"1"}',
        b"{",
        b"",
        b'{"order_no":"2","new":1}\r',
        b'{"order_no":"\xff"}',
        b" ",
        b'"x"',
        b'{"lines":[{"sku":"1"}],"tags":[]}',
        b'{"lines":[{"sku":"1"',
    ] * 300
    parsed = read_json_lines([b"\n".join(lines)], SCHEMA)
    good = [number for number, line in enumerate(lines, start=1) if is_object(line)]
    assert parsed.accepted["source_row"].to_list() == good
    assert parsed.records == sum(1 for line in lines if line.strip())
    assert set(parsed.rejected["source_row"]).isdisjoint(good)


def is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line.decode()), dict)
    except ValueError:
        return False


# ---- properties ----

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)
unknown = st.dictionaries(texts.filter(lambda name: name not in {"sku", "qty", "city", *SCHEMA}), anything, max_size=1)


def known(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={name: st.none() | values for name, values in fields.items()})


def mixed(fields: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """An object of these fields and sometimes unknown ones, in any order."""
    both = st.tuples(fields, st.just({}) | unknown).map(lambda pair: [*pair[0].items(), *pair[1].items()])
    return both.flatmap(st.permutations).map(dict)


documents = mixed(
    known(
        order_no=scalars,
        amount=scalars,
        lines=st.lists(mixed(known(sku=scalars, qty=scalars)), max_size=3),
        ship_to=mixed(known(city=scalars, tags=st.lists(scalars, max_size=2))),
        tags=st.lists(scalars, max_size=3),
    )
)
styles = st.fixed_dictionaries(
    {"ensure_ascii": st.booleans(), "separators": st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", "  :")])}
)


def as_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def stored(value: Any, fields: Any) -> Any:
    """What the column holds for a value; `fields` are those of the struct, None for scalars."""
    if isinstance(value, list):
        return [stored(item, fields) for item in value]
    if fields is None or value is None:
        return as_text(value)
    return {name: stored(value.get(name), inner) for name, inner in fields.items()}


def unknown_of(value: Any, fields: Any, at: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    if isinstance(value, list):
        for place, item in enumerate(value):
            found |= unknown_of(item, fields, f"{at}/{place}")
    elif isinstance(value, dict):
        for name, inner in value.items():
            pointer = at + "/" + name.replace("~", "~0").replace("/", "~1")
            found |= unknown_of(inner, fields[name], pointer) if name in fields else {pointer: inner}
    return found


@settings(max_examples=300, deadline=None)
@given(st.lists(documents, max_size=4), styles)
def test_any_documents_come_back_exactly(written: list[dict[str, Any]], style: dict[str, Any]):
    content = "".join(json.dumps(document, **style) + "\n" for document in written).encode()
    parsed = assert_both_ways_agree(content)
    assert parsed.rejected.is_empty()
    assert parsed.accepted.select(SCHEMA.names()).to_dicts() == [stored(document, FIELDS) for document in written]
    for document, extra in zip(written, parsed.accepted["extra"], strict=True):
        rest = unknown_of(document, FIELDS)
        assert extra == (json.dumps(rest, ensure_ascii=False, separators=(",", ":")) if rest else None)


WIDER = pl.Schema({**SCHEMA, "more": pl.List(pl.String)})


@given(st.lists(documents, max_size=4), styles, st.lists(scalars, max_size=2), st.none() | anything)
def test_what_is_stored_of_a_line_reads_as_the_line_did_by_the_same_schema_and_by_a_wider_one(
    written: list[dict[str, Any]], style: dict[str, Any], more: list[Any], unknown: Any
):
    full = [{**each, "more": more, "un/kn~own": {"deep": unknown}} for each in written]
    content = "\n".join(json.dumps(each, **style) for each in full).encode()
    came = read_json_lines([content], SCHEMA).accepted
    again = "\n".join(
        json_line(row, extra) for row, extra in zip(came.select(*SCHEMA).to_dicts(), came["extra"], strict=True)
    ).encode()
    for schema in (SCHEMA, WIDER):
        assert (
            read_json_lines([again], schema)
            .accepted.drop("extra")
            .equals(read_json_lines([content], schema).accepted.drop("extra"))
        )
        extras = [
            [
                json.loads(each or "{}", parse_float=str, parse_int=str)
                for each in read_json_lines([text], schema).accepted["extra"]
            ]
            for text in (again, content)
        ]
        assert extras[0] == extras[1]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
@example(b"\xff\n{}\r\n\r\n\x0b\n\xef\xbb\xbf")
def test_random_bytes_never_crash_and_every_line_is_counted(content: bytes):
    parsed = assert_both_ways_agree(content)
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    assert parsed.records == sum(1 for line in lines if line.strip(b" \t\r"))


shards = st.sampled_from(
    [
        *(b"{", b"}", b"[", b"]", b":", b",", b" ", b"\n", b"\r", b"\t", b'"', b"\\", b"\xff", b"\xc2\xa3", b"\0"),
        *(b'"order_no"', b'"lines"', b'"sku"', b'"ship_to"', b'"city"', b'"tags"', b'"new"', b'"\\u0073ku"'),
        *(b"1", b"-0", b"1.10", b"1E2", b"01", b"-", b"1e", b"99999999999999999999", b"NaN", b"null", b"true", b"tru"),
        *(b"\\ud83d", b"\\ude00", b"\\u00e9", b"\\/", b'{"sku":1}', b'"sku":"a"', b'"order_no":"b",', b"\xef\xbb\xbf"),
    ]
)


@settings(max_examples=1000, deadline=None)
@given(documents, styles, st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3), shards), max_size=4))
def test_the_plain_way_gives_what_the_exact_way_gives_for_damaged_documents(
    document: dict[str, Any], style: dict[str, Any], damages: list[tuple[int, int, bytes]]
):
    content = json.dumps(document, **style).encode()
    for place, cut, shard in damages:
        at = place % (len(content) + 1)
        content = content[:at] + shard + content[at + cut :]
    assert_both_ways_agree(content)
    assert_both_ways_agree(b"\n".join([b'{"order_no":"1"}', content, b'{"amount": 2, "tags": ["a"]}']))


def test_the_plain_way_takes_plain_documents():
    content = b'{"order_no":"1","amount":1.10,"lines":[{"sku":"a","qty":-3},{}],"customer":null}\n'
    plain = content.replace(b',"customer":null', b"")
    with patch.object(json_lines, "_exact", side_effect=AssertionError("the exact way was asked")):
        spaced = plain.replace(b":", b": ").replace(b",", b", ")
        assert read_json_lines([plain + spaced], SCHEMA).accepted.height == 2
        with patch.object(json_lines, "_plain", wraps=json_lines._plain) as asked:
            assert read_json_lines([plain + spaced, spaced], SCHEMA).accepted["source_row"].to_list() == [1, 2, 1]
        asked.assert_called_once()  # of all lines together
        with pytest.raises(AssertionError, match="exact way"):
            read_json_lines([content], SCHEMA)


def test_no_character_is_written_longer_than_it_was_read_which_the_plain_way_leans_on():
    codes = {*range(0x20, 0x110000)} - {*range(0xD800, 0xE000), *b'"\\'}
    every = "".join(map(chr, codes))
    assert len(json_lines.msgspec.json.encode(every)) == len(every.encode()) + 2
    for short in ("b", "f", "n", "r", "t", '"', "\\", "/"):
        assert len(json_lines.msgspec.json.encode(json.loads(f'"\\{short}"'))) <= 4
    assert max(len(json_lines.msgspec.json.encode(chr(code))) for code in range(0x20)) <= 8
