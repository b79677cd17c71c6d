"""Which format a file has: candidates are told from its first bytes, and the room's own readers decide among them."""

from __future__ import annotations

import csv
import io
import json
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from lakehouse.engine.declare.column import Column
from lakehouse.engine.declare.formats import Avro, Csv, Excel, Format, Json, JsonLines, Limits, Parquet
from lakehouse.engine.ingest.formats import fitted, records
from lakehouse.engine.ingest.header import pointer
from lakehouse.engine.ingest.misfit import Misfit
from lakehouse.engine.ingest.parsed import Parsed

__all__ = ["Told", "fields_in", "read_as", "told"]

DELIMITERS = ",;\t|"
LOOKED_AT = 256 << 10  # bytes of a file's head that choose among dialects of CSV
_LIMITS = Limits()
_NEARLY_ALL = 0.9


@dataclass(frozen=True)
class Told:
    """A file's format, and what its reader makes of it with no column declared: all fields in `extra`.

    `header` are the names of its columns where it has such; of a CSV without, made-up ones.
    """

    form: Format
    parsed: Parsed
    header: Sequence[str] = ()


def told(name: str, content: bytes, known: Sequence[Format]) -> Told | str:
    """The format of a file: one of `known`, where it reads without a reject, else the best one; or why none reads."""
    if not content.strip():
        return "it is empty"
    best: Told | None = None
    why = "it is of no format that is read"
    for form in _in_order(name, content, known):
        try:
            now = _read(content, form)
        except Misfit as misfit:
            why = str(misfit)
            continue
        parsed = now.parsed
        if not parsed.accepted.height:
            why = parsed.rejected["reason"][0] if parsed.rejected.height else "it holds no record"
        elif not parsed.rejected.height:
            return now
        elif best is None or parsed.rejected.height < best.parsed.rejected.height:
            best = now
    return best or why


def read_as(content: bytes, form: Format, columns: Sequence[Column]) -> Parsed:
    """The records of a file of this format. Raises Misfit where it does not read, or has not these columns."""
    parsed = records([fitted(content, form, columns, _LIMITS)], columns, _LIMITS)
    if parsed.unreadable:
        raise Misfit(parsed.unreadable[0])
    return parsed


def fields_in(extra: str | None) -> dict[str, Any]:
    """The fields of a record of which none is declared, by name."""
    return {name[1:].replace("~1", "/").replace("~0", "~"): value for name, value in json.loads(extra or "{}").items()}


def _read(content: bytes, form: Format) -> Told:
    if isinstance(form, Csv) and not form.header:
        names = _positions(content, form)
        return Told(form, read_as(content, form, [Column(each, pl.String(), nullable=True) for each in names]), names)
    parsed = read_as(content, form, [])
    has_header = isinstance(form, Csv | Excel | Parquet) and parsed.accepted.height
    return Told(form, parsed, [*fields_in(parsed.accepted["extra"][0])] if has_header else [])


def _positions(content: bytes, form: Csv) -> list[str]:
    """Names for columns that stand by their place: of the line above them where there is one, told apart."""
    lines = content[:LOOKED_AT].decode(form.encoding, "replace").removeprefix("\ufeff").splitlines()
    first = next(_rows(lines, form.delimiter), [])
    names = first if form.preamble else [f"column_{place}" for place in range(1, len(first) + 1)]
    return [each if names.count(each) == 1 else f"{each} {place}" for place, each in enumerate(names, start=1)]


def _in_order(name: str, content: bytes, known: Sequence[Format]) -> list[Format]:
    """The candidates, those first that other files have shown; of ASCII alone, whatever their encoding was."""
    candidates = list(_candidates(name, content))
    before = [each for each in known if each in candidates]
    if content.isascii():
        before += [each for each in known if isinstance(each, Csv) and replace(each, encoding="utf-8") in candidates]
    return list(dict.fromkeys([*before, *candidates]))


def _candidates(name: str, content: bytes) -> Iterator[Format]:
    head = content.removeprefix(BOM_UTF8).lstrip()[:4]
    if head == b"PAR1":
        yield Parquet()
    elif head == b"Obj\x01":
        yield Avro()
    elif head == b"PK\x03\x04":
        yield from _sheets(content)
    elif head.startswith((b"{", b"[")):
        documents = (
            list(_documents(content)) if not name.lower().rstrip("gzipst.").endswith((".jsonl", ".ndjson")) else []
        )
        yield from documents
        yield JsonLines()
    else:
        yield from _csv(content)


def _sheets(content: bytes) -> Iterator[Excel]:
    import python_calamine

    try:
        names = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(content)).sheet_names
    except python_calamine.CalamineError:
        names = []
    yield from (Excel(sheet=each) for each in names) if len(names) > 1 else [Excel()]


def _documents(content: bytes) -> Iterator[Json]:
    """The arrays of objects in a document: itself, or what stands in it, the longest first."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return
    found = sorted(_arrays(document, ()), key=lambda each: -each[0])
    yield from (Json(records=where) for _, where in found)


def _arrays(value: Any, path: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        yield len(value), pointer(path)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _arrays(inner, (*path, name))


def _csv(content: bytes) -> Iterator[Csv]:
    """Dialects of CSV, the likeliest first: the delimiter that parts the head into most fields, the same in each."""
    encoding = _encoding(content)
    lines = content[:LOOKED_AT].decode(encoding, "replace").removeprefix("\ufeff").splitlines(keepends=True)
    lines = lines if len(content) <= LOOKED_AT else lines[:-1]
    widths = {each: _width(lines, each) for each in DELIMITERS}
    for delimiter in sorted(DELIMITERS, key=lambda each: widths[each], reverse=True)[:2]:
        if widths[delimiter][1] > 1 or delimiter == ",":
            first = next(_rows(lines, delimiter), [])
            form = replace(_with_header(first), delimiter=delimiter, encoding=encoding)
            yield form
            yield replace(form, quote=None)


def _with_header(first: Sequence[str]) -> Csv:
    """A first record that holds a number is none; one that names a column twice is passed over."""
    if pl.Series(first, dtype=pl.String).str.contains(r"\A\s*[-+]?[\d.,]+\s*\z").any():
        return Csv(header=False)
    return Csv() if len(set(first)) == len(first) else Csv(header=False, preamble=1)


def _encoding(content: bytes) -> str:
    if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return "utf-16"
    for encoding in ("utf-8", "cp1252"):
        try:
            content.decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    return "utf-8"  # it is no text in either: what is not is rejected line by line


def _rows(lines: Sequence[str], delimiter: str) -> Iterator[list[str]]:
    try:
        yield from (each for each in csv.reader(lines, delimiter=delimiter) if each)
    except csv.Error:
        return


def _width(lines: Sequence[str], delimiter: str) -> tuple[bool, int]:
    """How many fields a record has: most of them, and whether nearly all do. 1 where most have other numbers."""
    widths = [len(each) for each in _rows(lines, delimiter)]
    usual = max(set(widths), key=widths.count, default=1)
    share = widths.count(usual) / max(len(widths), 1)
    return usual > 1 and share > _NEARLY_ALL, usual if share > 1 / 2 else 1
