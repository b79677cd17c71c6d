"""A sheet of Excel becomes frames of text: a row is taken whole, or rejected by its number in the sheet.

calamine reads the cells. It gives '' for an empty cell, for one that holds an error (#N/A) and for a formula without a
value alike, so these two are looked for in the sheet's XML, and reject their row. Excel knows no zones, no whole
numbers and no dates before March 1900: a time is wall-clock text, a number is the float it is, such a date rejects.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any
from xml.etree import ElementTree as ET

import polars as pl

from lakehouse.engine.declare.column import Column
from lakehouse.engine.declare.formats import Excel, Limits
from lakehouse.engine.ingest.canonical import of_value
from lakehouse.engine.ingest.header import LINE, Layout, arranged, by_header
from lakehouse.engine.ingest.misfit import Misfit, OverLimit, foreign
from lakehouse.engine.ingest.parsed import REJECTED, Parsed, Reject
from lakehouse.engine.ingest.unpack import PIECE_BYTES, within

__all__ = ["Sheet", "count_records", "opened", "read_excel"]

_BYTES_PER_CELL = 32  # of calamine's, empty ones too: it holds the whole rectangle
_FIRST_DATE = dt.date(1900, 3, 1)  # before it the serial numbers count a day that never was
_CELL = re.compile(rb"""\br\s*=\s*["']([A-Z]{1,3})([0-9]{1,7})["']""")
_SIGNS_OF_ODD_CELLS = re.compile(rb"""<(?:\w+:)?f[\s/>]|\bt\s*=\s*["']e["']""")

type _Odd = Mapping[tuple[int, int], str]  # by row and column from 1


@dataclass(frozen=True)
class Sheet:
    """A sheet as it was read: its rows from the first on, how many are its header, and cells that have no value."""

    rows: list[list[Any]]
    header: int
    stands: Layout
    odd: _Odd

    def records(self) -> Iterator[tuple[int, list[Any], list[str]]]:
        """The rows below the header that hold something: number from 1, cells, and what is odd of these."""
        odd: dict[int, list[str]] = {}
        for (row, column), what in self.odd.items():
            odd.setdefault(row, []).append(f"{_name(row, column)} holds {what}")
        for number, cells in enumerate(self.rows[self.header :], start=self.header + 1):
            if number in odd or any(cell != "" for cell in cells):
                yield number, cells, odd.get(number, [])


def opened(content: bytes, form: Excel, columns: Sequence[Column], limits: Limits) -> Sheet:
    """The declared sheet. Raises Misfit where it is not there or has not the declared columns; OverLimit."""
    import python_calamine

    if content.startswith(b"\xd0\xcf\x11\xe0"):
        raise Misfit("it is an old .xls or a workbook with a password; .xlsx and .xlsm are read, open ones")
    name, xml = _sheet(content, form, limits)
    _refuse_wide(xml, limits)
    with foreign("an Excel workbook"):
        odd = _odd_cells(xml) if _SIGNS_OF_ODD_CELLS.search(xml) else {}
        book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(content))
        rows = book.get_sheet_by_name(name).to_python(skip_empty_area=False)
    header = form.preamble + 1
    if len(rows) < header or not any(cell != "" for cell in rows[form.preamble]):
        raise Misfit(f"row {header} of sheet {name!r} is empty and no header")
    if inside := [f"{_name(*place)} holds {what}" for place, what in odd.items() if place[0] == header]:
        raise Misfit(f"its header does not read: {inside[0]}")
    stands = by_header(_names(rows[form.preamble], header), columns, limits.columns)
    return Sheet(rows, header, stands, {place: what for place, what in odd.items() if place[0] > header})


def _names(row: list[Any], number: int) -> list[str]:
    names = ["" if cell == "" else str(of_value(cell)) for cell in row]
    while not names[-1]:
        names.pop()
    if "" in names:
        cell = _name(number, names.index("") + 1)
        raise Misfit(f"its header has no name in {cell} (merged cells?); each column has a name of its own")
    return names


def count_records(sheet: Sheet) -> int:
    """The rows below the header in which a cell holds something, as calamine and the sheet's XML say."""
    held = {number for number, row in enumerate(sheet.rows, start=1) if set(map(repr, row)) - {"''"}}
    return sum(number > sheet.header for number in held | {row for row, _ in sheet.odd})


def read_excel(files: Sequence[Sheet], columns: Sequence[Column]) -> Parsed:
    """Read sheets; other columns go to `extra`. A row with a cell that has no exact text is rejected."""
    accepted = [arranged(_frame([], 0), Layout(0, dict.fromkeys(each.name for each in columns), {}), 0)]
    rejected: list[Reject] = []
    for file, sheet in enumerate(files):
        times = {sheet.stands.places[each.name] for each in columns if isinstance(each.dtype, pl.Datetime)}
        rows: list[tuple[Any, ...]] = []
        width = sheet.stands.width
        for number, cells, odd in sheet.records():
            texts = [_text(cell, is_time=place in times) for place, cell in enumerate(cells)]
            if why := "; ".join([*odd, *_odd(cells, number, width)]):
                rejected.append((file, number, json.dumps(texts, ensure_ascii=False), why))
            else:
                rows.append((*texts[:width], number))
        accepted.append(arranged(_frame(rows, width), sheet.stands, file))
    return Parsed(pl.concat(accepted), pl.DataFrame(rejected, schema=REJECTED, orient="row"))


def _frame(rows: list[tuple[Any, ...]], width: int) -> pl.DataFrame:
    schema = {**{f"{place}": pl.String() for place in range(width)}, LINE: pl.Int64()}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _text(cell: Any, *, is_time: bool) -> str | None:
    """A cell as text. At midnight calamine says a date, also where the column holds times."""
    if cell == "":
        return None
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if is_time and type(cell) is dt.date:
        cell = dt.datetime.combine(cell, dt.time())
    return str(of_value(cell))


def _odd(cells: list[Any], number: int, width: int) -> Iterator[str]:
    """What of a row cannot be said exactly."""
    for place, cell in enumerate(cells, start=1):
        if place > width and cell != "":
            yield f"{_name(number, place)} holds a value and stands below no name"
        elif isinstance(cell, dt.date) and (cell.date() if isinstance(cell, dt.datetime) else cell) < _FIRST_DATE:
            yield f"{_name(number, place)} holds a date before March 1900, where Excel counts a day that never was"


def _name(row: int, column: int) -> str:
    letters = ""
    while column:
        column, letter = divmod(column - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return f"{letters}{row}"


# ---- what calamine does not say ----


def _sheet(content: bytes, form: Excel, limits: Limits) -> tuple[str, bytes]:
    """The name of the declared sheet and its XML; the whole workbook is unpacked once, within the limits."""
    with foreign("an Excel workbook"), zipfile.ZipFile(io.BytesIO(content)) as archive:
        for _ in within(_pieces(archive), len(content), limits):
            pass
        if len({each.casefold() for each in archive.namelist()}) < len(archive.namelist()):
            raise Misfit("it holds two files of one name, and who reads it may take either")
        sheets = _sheets(archive)
        name = _chosen(sheets, form)
        return name, archive.read(sheets[name])


def _pieces(archive: zipfile.ZipFile) -> Iterator[bytes]:
    for each in archive.infolist():
        with archive.open(each) as file:
            yield from iter(partial(file.read, PIECE_BYTES), b"")


def _sheets(archive: zipfile.ZipFile) -> dict[str, str]:
    """The path of each sheet by its name."""
    related = ET.fromstring(archive.read("xl/_rels/workbook.xml.rels"))  # noqa: S314 # expat bounds what entities give
    paths = {each.get("Id"): PurePosixPath("/xl", each.get("Target", "")) for each in related}
    book = ET.fromstring(archive.read("xl/workbook.xml"))  # noqa: S314 # as above
    sheets: dict[str, str] = {}
    for each in book.iterfind("{*}sheets/{*}sheet"):
        identity = next(value for name, value in each.attrib.items() if name.endswith("}id"))
        sheets[each.attrib["name"]] = str(paths[identity]).removeprefix("/")
    return sheets


def _chosen(sheets: Mapping[str, str], form: Excel) -> str:
    names = ", ".join(map(repr, sheets))
    if form.sheet is None and len(sheets) != 1:
        raise Misfit(f"it has {len(sheets)} sheets, {names}; say which, as in Excel(sheet={next(iter(sheets), '…')!r})")
    if form.sheet is not None and form.sheet not in sheets:
        raise Misfit(f"it has no sheet {form.sheet!r}; it has {names}")
    return form.sheet or next(iter(sheets))


def _refuse_wide(xml: bytes, limits: Limits) -> None:
    """Two cells in far corners make a rectangle that no memory holds."""
    letters: set[bytes] = set()
    rows: set[bytes] = set()
    for each in _CELL.finditer(xml):
        letters.add(each[1])
        rows.add(each[2])
    width = max(map(_number, letters), default=0)
    height = max(map(int, rows), default=0)
    if width * height * _BYTES_PER_CELL > limits.unpacked_bytes:
        said = f"its cells reach to row {height:,}, column {width:,}, at {_BYTES_PER_CELL} bytes a cell more than"
        raise OverLimit(said, "unpacked_bytes", limits.unpacked_bytes)


def _number(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - ord("A") + 1
    return number


def _odd_cells(xml: bytes) -> _Odd:
    """Cells that hold an error, and formulas without a value."""
    odd: dict[tuple[int, int], str] = {}
    for _, row in ET.iterparse(io.BytesIO(xml)):  # noqa: S314 # as above
        if not row.tag.endswith("}row"):
            continue
        for cell in row.iterfind("{*}c"):
            value, place = cell.findtext("{*}v"), re.fullmatch("([A-Z]+)([0-9]+)", cell.get("r", ""))
            if place is None:
                raise Misfit("a cell of it says no place")
            where = (int(place[2]), _number(place[1].encode()))
            if cell.get("t") == "e":
                odd[where] = f"the error {value}"
            elif cell.find("{*}f") is not None and not value and not (cell.get("t") == "str" and value is not None):
                odd[where] = "a formula that was never worked out (open the file in Excel and save it)"
        row.clear()
    return odd
