"""Landed files → the source of a new table's files, whatever the files hold."""

from __future__ import annotations

import ast
import csv
import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakehouse.engine.declare.errors import Refused, WrongUsage
from lakehouse.engine.declare.formats import Csv, Excel, Json, JsonLines, Parquet
from lakehouse.propose.files import Asked, NewTable, new_table, refuse_standing, source_name, write
from lakehouse.propose.loaded import loaded
from resources.local_disk import LocalDisk


def proposed(files: dict[str, bytes | str], pattern: str = "s/*", *, whole: bool = False) -> NewTable:
    with TemporaryDirectory() as folder:
        for name, content in files.items():
            place = Path(folder, name)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content.encode() if isinstance(content, str) else content)
        return new_table(LocalDisk(path=folder), Asked(pattern, "sent_rows", "good_rows", whole=whole))


def columns(made: NewTable) -> dict[str, str]:
    return {each.name: made.tables.annotation(each) for each in made.proposed.columns}


def bronze(made: NewTable) -> str:
    return made.files["lakehouse/tables/bronze/sent_rows.py"]


# ---- formats ----


def test_a_delimiter_an_encoding_and_a_header_are_told_from_the_bytes():
    assert proposed({"s/a.csv": "a;b\n1;ä\n2;ö\n".encode("cp1252")}).proposed.formats == (
        Csv(delimiter=";", encoding="cp1252"),
    )
    assert proposed({"s/a.tsv": "a\tb\n1\tx\n2\ty\n"}).proposed.formats == (Csv(delimiter="\t"),)
    assert proposed({"s/a.csv": "a,b\n1,ä\n2,ö\n".encode("utf-16")}).proposed.formats == (Csv(encoding="utf-16"),)
    made = proposed({"s/a.csv": "1,x\n2,y\n"})
    assert (made.proposed.formats, columns(made)) == ((Csv(header=False),), {"column_1": "int", "column_2": "str"})
    made = proposed({"s/a.csv": "a,a\n1,x\n2,y\n"})
    assert (made.proposed.formats, columns(made)) == (
        (Csv(header=False, preamble=1),),
        {"a_1": "int", "a_2": "str"},
    )


def test_a_quote_that_nobody_closes_is_a_letter():
    made = proposed({"s/a.csv": 'a,b\n1,5" disc\n2,"x\n'})
    assert made.proposed.formats == (Csv(quote=None),)
    assert not made.trouble


def test_files_of_ascii_alone_take_the_encoding_of_the_others():
    made = proposed({"s/a.csv": "a;b\n1;x\n", "s/b.csv": "a;b\n2;£\n".encode("cp1252")})
    assert made.proposed.formats == (Csv(delimiter=";", encoding="cp1252"),)


def test_several_dialects_are_named_in_an_order_in_which_each_takes_its_own_files():
    made = proposed({"s/1.csv": "a;b\n1;£\n".encode("cp1252"), "s/2.csv": "a,b\n2,x\n", "s/3.jsonl": '{"a":3}\n'})
    assert made.proposed.formats == (Csv(), Csv(delimiter=";", encoding="cp1252"), JsonLines())
    assert (made.records, made.trouble) == (3, [])


def test_a_document_is_told_from_lines_and_its_records_are_found():
    rows = [{"a": 1}, {"a": 2}]
    assert proposed({"s/a.json": json.dumps(rows)}).proposed.formats == (Json(),)
    made = proposed({"s/a.json": json.dumps({"done": True, "data": {"items": rows}})})
    assert (made.proposed.formats, made.records) == ((Json(records="/data/items"),), 2)
    assert proposed({"s/a.jsonl": json.dumps({"data": rows})}).proposed.formats == (JsonLines(),)


def test_parquet_and_excel_are_read_by_their_own_readers(tmp_path: Path):
    import polars as pl

    frame = pl.DataFrame({"Order No": ["A1", "A2"], "price": [1.5, 2.25], "raw": [b"\0", b"\1"]})
    parquet, excel = io.BytesIO(), io.BytesIO()
    frame.write_parquet(parquet)
    frame.drop("raw").write_excel(excel)
    made = proposed({"s/a.parquet": parquet.getvalue()})
    assert made.proposed.formats == (Parquet(),)
    assert columns(made) == {"order_no": "str", "price": "Decimal2"}
    assert made.proposed.left_out[0].startswith("'raw' is not declared: column 'c2' is Binary")
    assert not made.trouble
    made = proposed({"s/a.xlsx": excel.getvalue()})
    assert (made.proposed.formats, columns(made)) == ((Excel(),), {"order_no": "str", "price": "Decimal2"})


# ---- columns ----


def test_names_become_identifiers_and_say_what_the_files_call_them():
    made = proposed({"s/a.csv": "Order No,CustomerID,order no,from,date,Δ,class,batch\n1,2,3,4,2024-05-01,6,7,8\n"})
    assert list(columns(made)) == [
        "order_no", "customer_id", "order_no_2", "from_value", "date", "column_6", "class_value", "batch_value",
    ]  # fmt: skip
    assert 'customer_id: int = column("Customer id", was="CustomerID")' in bronze(made)
    assert 'column("Column 6", was="\\u0394")' in bronze(made)
    assert "import datetime as dt" in bronze(made)
    assert not made.trouble


def test_nested_objects_become_structs_and_what_no_type_holds_is_left_to_extra():
    rows = [
        {"id": 1, "lines": [{"qty": 1, "unitPrice": 2.5}], "mixed": 1, "none": [], "odd": {"a b": 1, "c": None}},
        {"id": 2, "lines": [], "mixed": [1], "none": [], "odd": {"c": "x"}},
    ]
    made = proposed({"s/a.jsonl": "".join(json.dumps(each) + "\n" for each in rows)})
    assert columns(made) == {"id": "int", "lines": "list[Line]", "odd": "Odd"}
    assert 'unitPrice: Decimal1 = column("Unitprice")  # noqa: N815 # as its source spells it' in bronze(made)
    assert [each.partition(";")[0] for each in made.proposed.left_out] == [
        "'mixed' is not declared: it is one value 1 times, a list 1 times",
        "'none' is not declared: its lists hold nothing",
        "'odd.a b' is not declared: a Struct cannot name it so",
    ]
    assert not made.trouble


def test_a_column_that_took_the_place_of_another_is_named_as_a_candidate_and_not_decided():
    made = proposed({"s/1.csv": "sku,price\nA,1\nB,2\nC,3\n", "s/2.csv": "sku,list_price\nA,1\nB,2\nC,3\n"})
    assert columns(made) == {"sku": "str", "price": "int", "list_price": "int"}
    assert made.proposed.columns[2].notes[0] == (
        "'price' came until s/1.csv, this one since s/2.csv, at the same place, 100% of the values the same: "
        "if it is its new name, say was= and leave 'price' out"
    )
    assert not made.trouble


def test_a_record_that_does_not_read_is_counted_and_named():
    made = proposed({"s/a.csv": "a,b\n1,x\n2\n3,y\n", "s/b.csv": b"", "s/c.csv.gz": b"no gzip"})
    assert made.records == 2
    said = "\n".join(made.trouble)
    assert "s/a.csv, row 3 would be set aside: 1 field, expected 2" in said
    assert "s/b.csv does not read: it is empty" in said
    assert "s/c.csv.gz cannot be read: gzip data is corrupt" in said


def test_nothing_is_proposed_of_no_file_and_of_none_that_reads():
    with pytest.raises(WrongUsage, match=r"No file below .* is called 't/\*'"):
        proposed({"s/a.csv": "a\n1\n"}, pattern="t/*")
    with pytest.raises(Refused, match=r"None of the 1 file of 's/\*' that were read could be"):
        proposed({"s/a.csv.gz": b"no gzip"})


def test_a_pattern_or_a_zone_that_no_table_can_declare_is_refused_before_a_file_is_read(tmp_path: Path):
    nowhere = LocalDisk(path=str(tmp_path))
    for pattern in ("../s/*", "s/**", "/s/*"):
        with pytest.raises(WrongUsage, match="a pattern is relative to the landing"):
            new_table(nowhere, Asked(pattern, "sent_rows"))
    with pytest.raises(WrongUsage, match="no such time zone; did you mean Europe/London"):
        new_table(nowhere, Asked("s/*", "sent_rows", zone="Europe/Londn"))


def test_a_sample_says_how_much_of_the_landing_it_is():
    made = proposed({f"s/{number:03}.csv": f"a,b\n{number},x\n" for number in range(120)})
    assert str(made.proposed.sample) == "read 50 of 120 files, 0.5 kB"
    assert (made.proposed.sample.files[0].name, made.proposed.sample.files[-1].name) == ("s/000.csv", "s/119.csv")
    assert "Proposed from what was there: read 50 of 120 files, 0.5 kB, 50 records." in bronze(made)
    whole = proposed({f"s/{number:03}.csv": f"a,b\n{number},x\n" for number in range(120)}, whole=True)
    assert whole.records == 120


# ---- what files say stays data ----

HOSTILE = st.one_of(
    st.text(min_size=1, max_size=30),
    st.sampled_from(
        ['"""', "'''", '"', "'", "\\", '\\"', "\n", "\r", "x\n    import os", '")\nraise SystemExit(9)\n#', "{x}",
         "# x", "a | b", "-", "''", "import", "None", "__class__", "True", "a" * 300, "\u202ex", "\0", "Line",
         "Decimal2", "Frame", "str", "column", "date", "dt", "datetime", "table", "schema", "to_schema", "extra"]
    ),
)  # fmt: skip
SCALARS = HOSTILE | st.integers() | st.booleans() | st.none() | st.dates().map(str) | st.just(2.5)
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(HOSTILE, inner, max_size=3), max_leaves=6
)


def check(made: NewTable) -> None:
    """All files compile; the tables declare exactly what is proposed; the docstrings are the only strings of a line."""
    for source in made.files.values():
        ast.parse(source)
    modules = {path[:-3].replace("/", "."): made.files[path] for path in made.files if path.startswith("lakehouse/")}
    with loaded(modules) as (sent, good):
        names = [each.name for each in made.proposed.columns]
        at = [made.proposed.valid_at] if made.proposed.valid_at else []
        assert [*sent.schema] == [*at, *names]
        assert [*good.schema] == [*at, *names]
    for path in made.files.keys() - {path for path in made.files if path.startswith("lakehouse/")}:
        tree = ast.parse(made.files[path])
        assert {type(each).__name__ for each in tree.body} == {"ImportFrom", "FunctionDef"}
        calls = {ast.unparse(each.func) for each in ast.walk(tree) if isinstance(each, ast.Call)}
        assert calls <= {"rows", "rows_sent", "typed", "assert_rows", "good_rows"}
    for source in modules.values():
        body = [type(each).__name__ for each in ast.parse(source).body]
        assert set(body) <= {"Import", "ImportFrom", "TypeAlias", "ClassDef", "FunctionDef"}
        assert body.count("FunctionDef") == 1


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.dictionaries(HOSTILE, DOCUMENTS, min_size=1, max_size=4), min_size=1, max_size=3))
def test_whatever_json_says_the_files_compile_and_declare_what_is_proposed_or_it_is_refused(records: list[object]):
    try:
        text = "".join(json.dumps(each) + "\n" for each in records)
        made = proposed({"s/a.jsonl": text.encode("utf-8", "surrogatepass")})
    except Refused:
        return
    check(made)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(HOSTILE, min_size=width, max_size=width), min_size=2)))
def test_whatever_csv_says_the_files_compile_and_declare_what_is_proposed_or_it_is_refused(rows: list[list[str]]):
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    try:
        made = proposed({"s/a.csv": out.getvalue().encode("utf-8", "replace")})
    except Refused:
        return
    check(made)


@pytest.mark.parametrize(
    "name", ["it's", '"""', "\\", 'x"""\nraise SystemExit(9)\n#', "\x1b[2J", "\u202ex", "]]>%", "{x}"]
)
def test_whatever_files_and_folders_are_called_the_files_compile_and_declare_what_is_proposed(name: str):
    one, other = (f"a,b\n1,x\n{number},{name!a}\n" for number in (2, 3))
    made = proposed({f"s/dt={name}/{name}.csv": one, f"s/dt={name}2/{name}.csv": other}, "s/dt=*/*.csv")
    check(made)
    made = proposed({f"s/{name}.csv": one, f"s/{name}.gz": "no gzip"})
    check(made)
    assert len(made.proposed.sample.left_out) == 1


def test_a_link_that_leads_out_of_the_landing_is_left_out_of_a_sample(tmp_path: Path):
    (tmp_path / "landing/s").mkdir(parents=True)
    (tmp_path / "secret").write_text("a,b\n7,x\n")
    (tmp_path / "landing/s/a.csv").write_text("a,b\n1,x\n")
    (tmp_path / "landing/s/b.csv").symlink_to(tmp_path / "secret")
    made = new_table(LocalDisk(path=str(tmp_path / "landing")), Asked("s/*.csv", "sent_rows"))
    assert (made.records, len(made.proposed.sample.left_out)) == (1, 1)
    assert made.proposed.sample.left_out[0].startswith("s/b.csv cannot be read: a link leads from it to ")


# ---- names and places ----


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("erp/returns/dt=*/*.gz", "erp_returns"),
        ("erp/orders/dt=*/orders.jsonl.gz", "erp_orders"),
        ("reference/fx_monthly.csv.gz", "reference_fx_monthly"),
        ("cdc/public.orders/dt=*/*.gz", "cdc_public_orders"),
        ("*.csv", ""),
    ],
)
def test_a_bronze_table_is_named_after_its_source(pattern: str, name: str):
    assert source_name(pattern) == name


def test_nothing_that_stands_is_overwritten(tmp_path: Path):
    asked = Asked("s/*", "sent_rows", "good_rows")
    write(tmp_path, {"lakehouse_tests/tables/silver/test_good_rows.py": "mine\n"})
    with pytest.raises(WrongUsage, match=r"lakehouse_tests/tables/silver/test_good_rows\.py is there already"):
        refuse_standing(tmp_path, asked, {})
    with pytest.raises(WrongUsage, match=r"silver/good_rows is there already, in lakehouse/tables/silver/mine\.py"):
        refuse_standing(tmp_path / "empty", asked, {"silver/good_rows": "lakehouse.tables.silver.mine"})
    with pytest.raises(FileExistsError):
        write(tmp_path, {"lakehouse_tests/tables/silver/test_good_rows.py": "theirs\n"})
    assert (tmp_path / "lakehouse_tests/tables/silver/test_good_rows.py").read_text() == "mine\n"


@pytest.mark.parametrize(
    "name", ["Returns", "1st", "class", "date", "frame", "column", "a-b", "../x", "sent", "print", "none"]
)
def test_a_name_that_no_table_can_have_is_refused(name: str, tmp_path: Path):
    with pytest.raises(WrongUsage, match="cannot be a table's name"):
        refuse_standing(tmp_path, Asked("s/*", "sent_rows", name), {})
