"""For each trap of each format one polluted file: nothing is lost, and what is not taken says why."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import fastavro
import polars as pl
import pytest
import python_calamine
import zstandard

from lakehouse.engine.declare.contract import Bronze, column, columns_of
from lakehouse.engine.declare.dtypes import Gbp
from lakehouse.engine.declare.formats import Avro, Csv, Excel, Format, Json, JsonLines, Limits, Parquet
from lakehouse.engine.declare.frames import Frame
from lakehouse.engine.declare.source import Files
from lakehouse.engine.declare.table import Declaration, declare
from lakehouse.engine.declare.write import Append
from lakehouse.engine.ingest.avro_records import read_avro
from lakehouse_tests.driver import House, finding, red
from lakehouse_tests.making import (
    added,
    avro,
    json_document,
    link,
    locked,
    logical,
    nullable,
    parquet,
    rewritten,
    workbook,
    zipped,
)


class Sold(Bronze):
    """One row per sale."""

    id: int = column("Number of the sale")
    amount: Gbp = column("What was paid", nullable=True)
    note: str = column("What the clerk wrote", nullable=True)


@dataclass(frozen=True)
class Trap:
    """A file, what of it is accepted (its ids, as text) and what is not: by row its reason, or the whole file's."""

    form: Format
    content: bytes
    accepted: list[str | None]
    rejected: dict[int, str] | None = None
    whole: str = ""
    name: str = ""


def sold() -> Frame[Sold]: ...


def table(form: Format) -> Declaration:
    return declare(sold, write=Append(), source=Files("in/*", formats=form))


def records(form: Format, content: bytes) -> int:
    """What a reader of others counts: the standard library's, DuckDB's, fastavro's, calamine's."""
    match form:
        case JsonLines():
            return sum(1 for line in content.split(b"\n") if line.strip(b" \t\r"))
        case Json():
            found = json.loads(content.decode("utf-8-sig", "replace"), parse_int=str)
            return len(found[form.records[1:]] if form.records else found)
        case Csv():
            text = io.StringIO(content.decode(form.encoding, "replace").removeprefix("\ufeff"), newline="")
            return sum(1 for row in csv.reader(text, delimiter=form.delimiter) if row) - 1
        case Avro():
            return sum(1 for _ in fastavro.reader(io.BytesIO(content)))
        case Excel():
            book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(content))
            sheet = book.get_sheet_by_name(form.sheet or book.sheet_names[0])
            rows = sheet.to_python(skip_empty_area=False)[form.preamble + 1 :]
            return sum(1 for row in rows if any(cell != "" for cell in row))
        case _:
            read = pl.read_parquet(io.BytesIO(content)).drop(pl.selectors.binary())
            assert read.height == duckdb.sql("select count(*) from read").fetchall()[0][0]
            return read.height


GOOD = {"id": 1, "amount": 1.5, "note": "x"}
ONE, TWO = '{"id":1,"amount":1.10,"note":"a"}', '{"id":2,"amount":2,"note":null}'

JSON = {
    "a field first seen after row 100": Trap(
        Json(), json_document([*([GOOD] * 150), {**GOOD, "late": 1}]), ["1"] * 151
    ),
    "a repeated key in a record": Trap(
        Json(), f'[{ONE},{{"id":2,"id":3}}]'.encode(), ["1"], {2: "the key 'id' stands 2 times"}
    ),
    "a repeated key around the records": Trap(
        Json(records="/value"), b'{"value":[{"id":1}],"value":[{"id":2}]}', [], whole="the key 'value' stands 2 times"
    ),
    "NaN": Trap(Json(), b'[{"id":1,"amount":NaN},{"id":2}]', ["2"], {1: "NaN is no JSON number"}),
    "numbers larger than any": Trap(
        Json(), f'[{{"id":{"9" * 5000},"amount":1e400}},{ONE}]'.encode(), ["9" * 5000, "1"]
    ),
    "cut off": Trap(Json(), f"[{ONE},{TWO}"[:-9].encode(), [], whole="not one JSON document: Unterminated string"),
    "something behind the end": Trap(
        Json(), f"[{ONE}] x".encode(), [], whole="not one JSON document: Extra data at character"
    ),
    "JSON lines": Trap(Json(), f"{ONE}\n{TWO}\n".encode(), [], whole="not one JSON document: Extra data at character"),
    "a byte order mark": Trap(Json(), b"\xef\xbb\xbf" + f"[{ONE}]".encode(), ["1"]),
    "UTF-16": Trap(Json(), f"[{ONE}]".encode("utf-16"), [], whole="it holds zero bytes, is it UTF-16?"),
    "bytes that are no UTF-8": Trap(
        Json(), f"[{ONE},".encode() + b'{"id":"\xa3"}]', ["1"], {2: "not UTF-8: byte 0xa3 at byte 8"}
    ),
    "zero bytes at the end": Trap(
        Json(), f"[{ONE}]".encode() + bytes(9), [], whole="not one JSON document: Extra data at character"
    ),
    "half a surrogate pair": Trap(Json(), rb'[{"id":"\ud800"},{"id":2}]', ["2"], {1: "half of a surrogate pair"}),
    "an empty file": Trap(Json(), b" \n", [], whole="it is empty"),
    "an empty array": Trap(Json(), b" [ ] ", []),
    "what is no object": Trap(
        Json(),
        f'[{ONE},1,null,["x"],"y",{{}}]'.encode(),
        ["1", None],
        {2: "expected an object, got a number", 3: "got null", 4: "got a list", 5: "got a string"},
    ),
    "an object around the array": Trap(
        Json(),
        f'{{"count":1,"value":[{ONE}]}}'.encode(),
        [],
        whole=r"it is an object, and no array; one object a line is JsonLines\(\), or Json\(records='/value'\)",
    ),
    "an array elsewhere": Trap(
        Json(records="/data/rows"),
        b'{"data":{"items":[]}}',
        [],
        whole="nothing stands at '/data/rows'; there are 'items'",
    ),
    "an array that is none": Trap(
        Json(records="/data"), b'{"data":7}', [], whole="what stands at '/data' is a number, and no array"
    ),
    "the array within an object": Trap(
        Json(records="/value"), f'{{"n":[],"value":[{ONE},{TWO}]}}'.encode(), ["1", "2"]
    ),
    "deep nesting": Trap(
        Json(), f'[{ONE},{{"id":2,"x":{"[" * 300}{"]" * 300}}}]'.encode(), ["1"], {2: "nested deeper than 100 levels"}
    ),
    "nesting without end": Trap(
        Json(), f"[{'[' * 90_000}{']' * 90_000}]".encode(), [], whole="nested too deep to read"
    ),
    "a nested value where one is declared": Trap(
        Json(), b'[{"id":1,"note":{"a":1}}]', [], {1: "note: expected a scalar, got an object"}
    ),
}

LINES = {
    "a line over the limit": Trap(
        JsonLines(),
        f'{ONE}\n{{"id":2,"note":"{"x" * 70_000_000}"}}\n'.encode(),
        ["1"],
        {2: r"70,000,018 bytes, more than the limit of 67,108,864 \(Limits.line_bytes"},
    ),
    "more fields than columns may be": Trap(
        JsonLines(),
        f"{ONE}\n{json.dumps({f'f{n}': n for n in range(2001)})}\n".encode(),
        ["1"],
        {2: r"2,001 fields, more than the limit of 2,000 columns \(Limits.columns\)"},
    ),
}

HEAD = b"id,amount,note\n"
CSV = {
    "CR only": Trap(Csv(), b"id,amount,note\r1,1,a\r2,2,b", ["1", "2"]),
    "a short row and a long one": Trap(
        Csv(), HEAD + b"1,1,a\n2,2\n3,3,b,c\n", ["1"], {3: "2 fields, expected 3", 4: "4 fields, expected 3"}
    ),
    "leading zeros": Trap(Csv(), HEAD + b"00501,1.10,x\n", ["00501"]),
    "a stray quote within a field": Trap(Csv(), HEAD + b'1,1,3" nails\n2,2,b\n', ["1", "2"]),
    "text behind a quote": Trap(Csv(), HEAD + b'1,1,"a"b\n2,2,b\n', ["2"], {2: "',' expected after '\"'"}),
    "a quote that nobody closes": Trap(
        Csv(),
        HEAD + b'1,1,"a\n' + b"2,2,b\n" * 200_000,
        [],
        whole="longer than 1,048,576 characters: is a quote not closed",
    ),
    "a last line that is torn": Trap(Csv(), HEAD + b"1,1,a\n2,2", ["1"], {3: "2 fields, expected 3"}),
    "a quote that is torn": Trap(Csv(), HEAD + b'1,1,a\n2,2,"b', ["1"], {3: "unexpected end of data"}),
    "a name twice": Trap(Csv(), b"id,amount,note,id\n1,1,a,2\n", [], whole="names one column more than once: 'id'"),
    "zero bytes": Trap(Csv(), HEAD + b"1,1,a\0b\n2,2,b\n", ["1", "2"]),
    "another encoding": Trap(Csv(), HEAD + b"1,1,\xa3\n2,2,b\n", ["2"], {2: "holds bytes that are not utf-8"}),
    "UTF-16": Trap(Csv(), "id,amount,note\n1,1,a\n".encode("utf-16"), [], whole="first record does not read"),
    "a byte order mark": Trap(Csv(), b"\xef\xbb\xbf" + HEAD + b"1,1,a\n", ["1"]),
    "a header only": Trap(Csv(), HEAD, []),
    "an empty file": Trap(Csv(), b"", [], whole="it holds no header"),
    "blank lines": Trap(Csv(), HEAD + b"\n1,1,a\n\n\n2,2,b\n\n", ["1", "2"]),
    "more columns than may be": Trap(
        Csv(),
        (",".join(f"c{n}" for n in range(2001)) + "\n").encode(),
        [],
        whole="has 2,001 columns, more than the limit of 2,000",
    ),
    "a name that is a glob": Trap(Csv(), HEAD + b"1,1,a\n", ["1"], name="[x].csv"),
}

FRAME = pl.DataFrame({"id": [1, 2], "amount": pl.Series([Decimal("1.10"), None]), "note": ["a", None]})
PLAIN = parquet(FRAME)
FOOTER = len(PLAIN) - 8 - int.from_bytes(PLAIN[-8:-4], "little")
ABORTS = bytearray(
    parquet(
        {"id": range(50), "amount": [n if n % 7 else None for n in range(50)], "note": ["a"] * 50},
        compression="uncompressed",
    )
)
ABORTS[427] = 0x7F  # a length in the page of `id`: Polars asks for so much memory that the process is aborted
MANY = pl.repeat(1, 50_000_000, dtype=pl.Int8, eager=True)
PARQUET = {
    "nothing wrong": Trap(Parquet(), PLAIN, ["1", "2"]),
    "cut off": Trap(Parquet(), PLAIN[:-20], [], whole="it is not a Parquet file, or is cut off or corrupt"),
    "without its end": Trap(Parquet(), PLAIN[: len(PLAIN) // 2], [], whole="not a Parquet file"),
    "a footer of other bytes": Trap(
        Parquet(), PLAIN[:FOOTER] + bytes(40) + PLAIN[FOOTER + 40 :], [], whole="not a Parquet file"
    ),
    "a page that ends the process that reads it": Trap(
        Parquet(), bytes(ABORTS), [], whole="to read it ended a process"
    ),
    "a page of other bytes": Trap(
        Parquet(), PLAIN[:40] + b"\xff" * 40 + PLAIN[80:], [], whole="not a Parquet file, or is cut off or corrupt"
    ),
    "an empty file": Trap(Parquet(), b"", [], whole="not a Parquet file"),
    "CSV": Trap(Parquet(), HEAD, [], whole="not a Parquet file"),
    "no rows": Trap(Parquet(), parquet(FRAME.clear()), []),
    "NaN and infinities": Trap(
        Parquet(), parquet({"id": [1, 2], "amount": [float("nan"), float("inf")], "note": ["a", "b"]}), ["1", "2"]
    ),
    "whole numbers as floats": Trap(
        Parquet(),
        parquet({"id": [17850.0, 0.5, -0.0], "amount": [0.1, 1.0, None], "note": ["a", "b", "c"]}),
        ["17850", "0.5", "-0"],
    ),
    "bytes": Trap(
        Parquet(),
        parquet({"id": [1], "amount": [1], "note": [b"\xff"]}),
        [],
        whole="column 'note' is Binary, and bytes are no text",
    ),
    "a list where one value is declared": Trap(
        Parquet(),
        parquet({"id": [1], "amount": [1], "note": [["a"]]}),
        [],
        whole=r"'note' is List\(String\), declared as one value",
    ),
    "a column of nulls": Trap(Parquet(), parquet({"id": [1], "amount": [None], "note": [None]}), ["1"]),
    "unsigned, narrow and categories": Trap(
        Parquet(),
        parquet(
            pl.DataFrame(
                {
                    "id": pl.Series([2**64 - 1], dtype=pl.UInt64),
                    "amount": pl.Series([1], dtype=pl.Int8),
                    "note": pl.Series(["a"], dtype=pl.Categorical),
                }
            )
        ),
        [str(2**64 - 1)],
    ),
    "more rows than memory": Trap(
        Parquet(),
        parquet({"id": MANY, "amount": MANY, "note": MANY}),
        [],
        whole="it says that it holds 50,000,000 rows of 3 columns, at 8 bytes a value more than the limit",
    ),
}


def repacked(content: bytes, pack: Callable[[bytes], bytes]) -> bytes:
    """An Avro file of one block, of whose packed bytes others are made."""
    mark = content[-16:]
    start = content.index(mark) + 16
    tape = io.BytesIO(content[start:])
    records, size = (fastavro.schemaless_reader(tape, "long", None) for _ in range(2))
    assert isinstance(size, int)
    packed = pack(tape.read(size))
    block = io.BytesIO()
    for each in (records, len(packed)):
        fastavro.schemaless_writer(block, "long", each)
    return content[:start] + block.getvalue() + packed + mark


def in_codec(codec: str) -> bytes:
    """SALES in one block; fastavro writes no Zstandard by the library that is here."""
    if codec != "zstandard":
        return avro(SALE, SALES, codec=codec)
    return repacked(avro(SALE, SALES).replace(b"\x08null", b"\x12zstandard"), zstandard.ZstdCompressor().compress)


def otherwise(content: bytes, place: int) -> bytes:
    """With another byte at this place."""
    changed = bytearray(content)
    changed[place] ^= 1
    return bytes(changed)


SALE = {
    "id": "long",
    "amount": nullable(logical("bytes", "decimal", precision=10, scale=2)),
    "note": nullable("string"),
}
SALES = [{"id": n, "amount": Decimal("1.10"), "note": "a"} for n in range(300)]
PACKED = avro(SALE, SALES, codec="deflate", sync_interval=500)
UNPACKED = avro(SALE, SALES[:9])
MARK = UNPACKED[-16:]
BLOCK = UNPACKED.index(MARK) + 16  # where the first block begins
NO_RECORD = io.BytesIO()
fastavro.writer(NO_RECORD, "long", [1, 2])
CODECS = ("deflate", "snappy", "bzip2", "xz")  # that fastavro reads as well, by which we count
AVRO = {
    "nothing wrong": Trap(Avro(), PACKED, [str(n) for n in range(300)]),
    "a broken mark": Trap(Avro(), PACKED[:-1] + b"\0", [], whole="its block .* does not end in the file's mark"),
    "cut off within a block": Trap(Avro(), PACKED[:-30], [], whole="its block .* is cut off"),
    "cut off within a count": Trap(Avro(), PACKED + b"\x80", [], whole="its block .*not an Avro file|its block"),
    "cut off within the header": Trap(Avro(), PACKED[:60], [], whole="not an Avro file, or is cut off or corrupt"),
    "something behind the end": Trap(Avro(), PACKED + b"junk", [], whole="its block"),
    "a block of other bytes": Trap(
        Avro(), PACKED[: len(PACKED) - 60] + bytes(20) + PACKED[len(PACKED) - 40 :], [], whole="its block"
    ),
    "a block that says less than it holds": Trap(
        Avro(),
        UNPACKED[:BLOCK] + bytes([16]) + UNPACKED[BLOCK + 1 :],
        [],
        whole="holds more than the 8 records that it says",
    ),
    "a block that says more than it holds": Trap(
        Avro(), UNPACKED[:BLOCK] + bytes([20]) + UNPACKED[BLOCK + 1 :], [], whole=r"not an Avro file \(its block 1\)"
    ),
    "a block that says less than nothing": Trap(
        Avro(), UNPACKED[:BLOCK] + bytes([1]) + UNPACKED[BLOCK + 1 :], [], whole="says that it holds -1 records"
    ),
    "a codec that no library reads": Trap(
        Avro(),
        PACKED.replace(b"deflate", b"snappyy"),
        [],
        whole="packed by 'snappyy'; null, deflate, snappy, zstandard, bzip2, xz are read",
    ),
    **{codec: Trap(Avro(), in_codec(codec), [str(n) for n in range(300)]) for codec in CODECS},
    **{
        f"{codec}, cut off within": Trap(Avro(), repacked(in_codec(codec), lambda it: it[:-8]), [], whole="its block 1")
        for codec in CODECS
    },
    "snappy with another checksum": Trap(
        Avro(), otherwise(in_codec("snappy"), -17), [], whole="not the checksum that it says"
    ),
    "an empty file": Trap(Avro(), b"", [], whole="it is no Avro file"),
    "JSON": Trap(Avro(), ONE.encode(), [], whole="it is no Avro file"),
    "a header only": Trap(Avro(), avro(SALE, []), []),
    "bytes": Trap(
        Avro(),
        avro(
            {"id": "long", "amount": "int", "note": ["null", "bytes", "string"]},
            [{**GOOD, "amount": 1, "note": b"\xff"}, {**GOOD, "amount": 1}],
        ),
        ["1"],
        {1: "note: expected a scalar, got bytes, which no text says"},
    ),
    "a list where one value is declared": Trap(
        Avro(),
        avro(
            {"id": "long", "amount": "int", "note": {"type": "array", "items": "string"}},
            [{"id": 1, "amount": 1, "note": ["a"]}],
        ),
        [],
        {1: "note: expected a scalar, got a list"},
    ),
    "NaN": Trap(
        Avro(), avro({"id": "long", "amount": "double", "note": "string"}, [{**GOOD, "amount": float("nan")}]), ["1"]
    ),
    "a schema that is no record": Trap(Avro(), NO_RECORD.getvalue(), [], whole="its schema is no record"),
    "more records than memory": Trap(
        Avro(),
        UNPACKED[:BLOCK] + b"\x80\x80\x80\x80\x80\x01" + b"\0" + MARK,
        [],
        whole="it says that it holds [0-9,]+ values, at 8 bytes each more than",
    ),
}

TITLES = ["id", "amount", "note"]


def formulas(book: Any, sheet: Any) -> None:
    sheet.write_formula(1, 1, "=1/0", None, "#DIV/0!")
    sheet.write_formula(2, 1, "=NA()", None, "#N/A")
    sheet.write_formula(3, 1, "=1+1", None, 2)
    sheet.write_formula(3, 2, '="c"', None, "c")


EXCEL = {
    "numbers as Excel keeps them": Trap(
        Excel(),
        workbook(TITLES, [17850, 0.1, "x"], [1e15, 0.1 + 0.2, "y"], ["007", True, "z"]),
        ["17850", "1000000000000000", "007"],
    ),
    "cells with errors": Trap(
        Excel(),
        workbook(TITLES, [1, 0, "a"], [2, 0, "b"], [3, 0, "c"], write=formulas),
        ["3"],
        {2: "B2 holds the error #DIV/0!", 3: "B3 holds the error #N/A"},
    ),
    "text that looks like an error": Trap(Excel(), workbook(TITLES, [1, 1, "#N/A"]), ["1"]),
    "a formula that was never worked out": Trap(
        Excel(),
        rewritten(
            workbook(TITLES, [1, 1, "a"], [2, 2, "b"], write=lambda _, sheet: sheet.write_formula(1, 1, "=1+1")),
            "</f><v>0</v>",
            "</f>",
        ),
        ["2"],
        {2: "B2 holds a formula that was never worked out"},
    ),
    "a formula that comes to no letter": Trap(
        Excel(),
        rewritten(
            workbook(TITLES, [1, 1, "a"], write=lambda _, sheet: sheet.write_formula(1, 2, '=""', None, "x")),
            "<v>x</v>",
            "<v></v>",
        ),
        ["1"],
    ),
    "merged cells in the header": Trap(
        Excel(),
        workbook(["id", "", "amount"], [1, 2, 3], write=lambda _, sheet: sheet.merge_range("A1:B1", "id")),
        [],
        whole="its header has no name in B1 .merged cells",
    ),
    "merged cells below it": Trap(
        Excel(),
        workbook(TITLES, [1, 1, "a"], [2, 2, ""], write=lambda _, sheet: sheet.merge_range("C2:C3", "a")),
        ["1", "2"],
    ),
    "a cell below no name": Trap(
        Excel(),
        workbook(TITLES, [1, 1, "a", "", 9], [2, 2, "b"]),
        ["2"],
        {2: "E2 holds a value and stands below no name"},
    ),
    "blank rows between": Trap(Excel(), workbook(TITLES, [], [1, 1, "a"], [], [], [2, 2, "b"]), ["1", "2"]),
    "a header only": Trap(Excel(), workbook(TITLES), []),
    "an empty sheet": Trap(Excel(), workbook(), [], whole="row 1 of sheet 'Data' is empty and no header"),
    "a title above the header": Trap(
        Excel(), workbook(["Sales"], [], TITLES, [1, 1, "a"]), [], whole="column 'id' is missing"
    ),
    "a title that is declared": Trap(Excel(preamble=2), workbook(["Sales"], [], TITLES, [1, 1, "a"]), ["1"]),
    "a name twice": Trap(
        Excel(), workbook(["id", "amount", "note", "id"], [1, 1, "a", 2]), [], whole="more than once: 'id'"
    ),
    "several sheets": Trap(
        Excel(),
        workbook(TITLES, [1, 1, "a"], write=lambda book, _: book.add_worksheet("Notes")),
        [],
        whole=r"it has 2 sheets, 'Data', 'Notes'; say which, as in Excel\(sheet='Data'\)",
    ),
    "the sheet that is declared": Trap(
        Excel(sheet="Data"), workbook(TITLES, [1, 1, "a"], write=lambda book, _: book.add_worksheet("Notes")), ["1"]
    ),
    "a sheet that is not there": Trap(
        Excel(sheet="data"), workbook(TITLES), [], whole="it has no sheet 'data'; it has 'Data'"
    ),
    "no workbook": Trap(Excel(), HEAD, [], whole="it is not an Excel workbook"),
    "another zip": Trap(Excel(), zipped(("a.csv", HEAD)), [], whole="not an Excel workbook"),
    "cut off": Trap(
        Excel(), workbook(TITLES, [1, 1, "a"])[:-400], [], whole="it is not an Excel workbook, or is cut off or corrupt"
    ),
    "a sheet twice": Trap(
        Excel(),
        added(workbook(TITLES, [1, 1, "a"]), "xl/worksheets/sheet1.xml", b"<worksheet/>"),
        [],
        whole="two files of one name",
    ),
    "a sheet twice, which calamine takes for one": Trap(
        Excel(),
        added(workbook(TITLES, [1, 1, "a"]), "XL/worksheets/Sheet1.xml", b"<worksheet/>"),
        [],
        whole="two files of one name",
    ),
    "an old .xls, or one with a password": Trap(
        Excel(), b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), [], whole="an old .xls or a workbook with a password"
    ),
    "an empty file": Trap(Excel(), b"", [], whole="it is not an Excel workbook"),
    "a cell far away": Trap(
        Excel(),
        workbook(TITLES, [1, 1, "a"], write=lambda _, sheet: sheet.write(1_000_000, 16_000, 1)),
        [],
        whole="its cells reach to row 1,000,001, column 16,001, at 32 bytes a cell more than the limit",
    ),
    "a date before March 1900": Trap(
        Excel(),
        workbook(
            TITLES,
            [1, 1, "a"],
            write=lambda book, sheet: sheet.write_number(1, 2, 60, book.add_format({"num_format": "yyyy-mm-dd"})),
        ),
        [],
        {2: "C2 holds a date before March 1900"},
    ),
}

ROWS = HEAD + b"1,1.10,a\n2,2.20,b\n"
ZST = zstandard.ZstdCompressor().compress(ROWS)
PACKED_CSV = {
    "a zip with a password": Trap(Csv(), locked(zipped(("a.csv", ROWS))), [], whole="encrypted", name="a.zip"),
    "a zip of two files": Trap(
        Csv(),
        zipped(("a.csv", ROWS), ("b.csv", ROWS)),
        [],
        whole=r"holds 2 files, expected one \('a.csv', 'b.csv'\)",
        name="a.zip",
    ),
    "a zip whose file would lie elsewhere": Trap(
        Csv(), zipped(("../../../etc/passwd", ROWS)), ["1", "2"], name="a.zip"
    ),
    "a zip of a name twice": Trap(
        Csv(), added(zipped(("a.csv", ROWS)), "a.csv", ROWS), [], whole=r"\('a.csv', 'a.csv'\)", name="a.zip"
    ),
    "a zip of a link": Trap(Csv(), link("a.csv", "/etc/passwd"), [], whole="'/etc/passwd'", name="a.zip"),
    "several gzip members": Trap(Csv(), gzip.compress(ROWS[:20]) + gzip.compress(ROWS[20:]), ["1", "2"], name="a.gz"),
    "bytes behind the gzip": Trap(
        Csv(), gzip.compress(ROWS) + b"junk", [], whole="corrupt or followed by other bytes", name="a.gz"
    ),
    "a gzip that is cut off": Trap(Csv(), gzip.compress(ROWS)[:-3], [], whole="gzip data is cut off", name="a.gz"),
    "several zstd frames": Trap(
        Csv(), b"".join(map(zstandard.ZstdCompressor().compress, (ROWS[:20], ROWS[20:]))), ["1", "2"], name="a.zst"
    ),
    "bytes behind the zstd": Trap(
        Csv(), ZST + b"junk", [], whole="zstd data is corrupt or followed by other bytes", name="a.zst"
    ),
    "a zstd that is cut off": Trap(Csv(), ZST[:-3], [], whole="zstd data is cut off", name="a.zst"),
    "an empty zstd": Trap(Csv(), b"", [], whole="not even an empty zstd file", name="a.zst"),
    "plain text that is called zst": Trap(Csv(), ROWS, [], whole="zstd data is corrupt", name="a.zst"),
}
TRAPS = {
    f"{of}: {name}": trap
    for of, traps in {
        "json": JSON,
        "json lines": LINES,
        "csv": CSV,
        "parquet": PARQUET,
        "avro": AVRO,
        "excel": EXCEL,
        "packed": PACKED_CSV,
    }.items()
    for name, trap in traps.items()
}


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.mark.parametrize("trap", TRAPS)
def test_every_record_of_a_polluted_file_is_accepted_or_set_aside_and_says_why(house: House, trap: str):
    each = TRAPS[trap]
    name = f"in/{each.name or 'a'}"
    declared = table(each.form)
    house.land(name, each.content)
    work = house.run(declared)
    assert finding(work, "counts_add_up").passed
    rows, aside = house.rows(declared), house.set_aside(declared)
    assert rows["id"].to_list() == each.accepted
    (entry,) = house.ledger(declared).rows(named=True)
    if each.whole:
        assert red(work) == {"files_are_readable": "ERROR"}
        assert (entry["state"], aside["kind"].to_list()) == ("unreadable", ["file"])
        assert re.search(each.whole, entry["reason"]), entry["reason"]
        assert entry["reason"].startswith(f"{name} cannot be read: ")
        return
    found = dict(aside.select("source_row", pl.col("reasons").list.join("; ")).iter_rows())
    assert found.keys() == (each.rejected or {}).keys(), found
    for row, why in (each.rejected or {}).items():
        assert re.search(why, found[row]), found[row]
    raw = ROWS if each.name.endswith((".zip", ".gz", ".zst")) else each.content
    assert rows.height + aside.height == records(each.form, raw) == entry["records"]
    house.assert_counts_add_up(declared)


@pytest.mark.parametrize("codec", ["null", "zstandard", *CODECS])
def test_a_block_that_unpacks_to_more_than_is_allowed_is_not_unpacked_further(codec: str):
    columns = columns_of(Sold)
    assert read_avro([in_codec(codec)], columns, Limits()).records == 300
    over = read_avro([in_codec(codec)], columns, Limits(unpacked_bytes=1_000)).unreadable[0]
    assert over == "its blocks unpack to more than the limit of 1,000 (Limits.unpacked_bytes)"


def test_blocks_that_are_packed_by_zstandard_hold_what_unpacked_ones_do_and_are_whole_or_refused():
    columns = columns_of(Sold)
    packed, plain = (read_avro([in_codec(codec)], columns, Limits()) for codec in ("zstandard", "null"))
    assert packed.accepted.equals(plain.accepted)
    cut = read_avro([repacked(in_codec("zstandard"), lambda it: it[:-8])], columns, Limits())
    assert cut.unreadable == {0: "its block 1 is cut off"}
