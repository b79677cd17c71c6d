"""CSV becomes frames of text, exactly: every record is a row or a reject, and no value is trimmed, filled or dropped.

Two ways lead to the same rows. The exact way (the standard library's parser, strict) decides everything. The plain way
(Polars, several times faster) takes a file only if what it read, written again, is that file byte for byte.

An empty field is null, quoted or not: the standard library's parser does not tell the two apart.
"""

from __future__ import annotations

import csv
import io
import re
from codecs import BOM_UTF8
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import batched, chain, islice
from typing import TYPE_CHECKING

import polars as pl

from lakehouse.engine.declare.number import number
from lakehouse.engine.ingest.parsed import REJECTED, Parsed, Reject

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from lakehouse.engine.declare.column import Column
    from lakehouse.engine.declare.source import Csv

__all__ = ["count_records", "misfit", "read_csv"]

LONGEST_FIELD = 1 << 20  # characters; what is longer is a quote that nobody closed
csv.field_size_limit(LONGEST_FIELD)  # of the process; the library has no other
RECORDS_AT_ONCE = 50_000  # bounds the Python objects alive at a time
_LINE = "source_row"
_NO_BYTE = re.compile("[\udc80-\udcff]")


class _Misfit(Exception):  # noqa: N818 # names an outcome: it never leaves this module
    """The file is not of this dialect, or has not the declared columns; the message says which."""


@dataclass(frozen=True)
class _Layout:
    """Where in a record each declared column stands, None where it does not, and what else stands where."""

    width: int
    places: Mapping[str, int | None]
    unknown: Mapping[str, int]


def misfit(content: bytes, form: Csv, columns: Sequence[Column]) -> str | None:
    """Why a file is not of this dialect, or has not the declared columns, by its first record; None where it fits."""
    try:
        _layout(content, form, columns)
    except _Misfit as why:
        return str(why)
    return None


def _layout(content: bytes, form: Csv, columns: Sequence[Column]) -> _Layout:
    first = next(_records(content, form), None)
    if first is None:
        raise _Misfit("it holds no header" if form.header else "it holds no record")
    if first.reason:
        raise _Misfit(f"its first record does not read: {first.reason}")
    if form.header:
        return _by_header(first.fields, columns)
    if len(first.fields) != len(columns):
        raise _Misfit(f"its first record has {len(first.fields)} fields, and {len(columns)} columns are declared")
    return _Layout(len(columns), {each.name: place for place, each in enumerate(columns)}, {})


def _by_header(header: Sequence[str], columns: Sequence[Column]) -> _Layout:
    was = {each.was: each.name for each in columns if each.was is not None}
    nullable = {each.name: each.nullable for each in columns}
    if len(header) == 1 and header[0] not in nullable and any(name in header[0] for name in nullable):
        raise _Misfit(f"its header is one field, {header[0]!r} (is the delimiter another one?)")
    now = [was.get(name, name) for name in header]
    if twice := sorted({name for name, known in zip(header, now, strict=True) if now.count(known) > 1}):
        raise _Misfit(f"its header names one column more than once: {', '.join(map(repr, twice))}")
    places = {name: now.index(name) if name in now else None for name in nullable}
    unknown = {name: place for place, name in enumerate(now) if name not in nullable}
    missing = [name for name, place in places.items() if place is None]
    # a column that may be null and is not there is null, but not where another one came that may be it, renamed
    if unmet := [name for name in missing if unknown or not nullable[name]]:
        raise _Misfit("; ".join(_missing(name, unknown) for name in unmet))
    return _Layout(len(header), places, unknown)


def _missing(name: str, unknown: Mapping[str, int]) -> str:
    if not unknown:
        return f"column {name!r} is missing"
    close = [*unknown] if len(unknown) == 1 else get_close_matches(name, unknown, n=1, cutoff=0.5)
    came = ", ".join(map(repr, unknown))
    return f"column {name!r} is missing, and {came} came" + (f" (if that is it: was={close[0]!r})" if close else "")


def read_csv(files: Iterable[bytes], form: Csv, columns: Sequence[Column]) -> Parsed:
    """Parse files of one dialect into the declared columns, as text; other columns go to `extra`.

    A record that is not well-formed, or has not as many fields as the header, is rejected with all its lines. A file
    whose header does not fit, or that has a quote that nobody closes, is unreadable as a whole.
    """
    accepted = [_arranged(_no_rows(0), _Layout(0, dict.fromkeys(each.name for each in columns), {}), 0)]
    rejected: list[Reject] = []
    unreadable: dict[int, str] = {}
    for file, content in enumerate(files):
        try:
            stands = _layout(content, form, columns)
            rows, rejects = _plain(content, form, stands.width) or _exact(content, form, stands.width)
        except _Misfit as why:
            unreadable[file] = str(why)
            continue
        accepted.append(_arranged(rows, stands, file))
        rejected += [(file, *each) for each in rejects]
    return Parsed(pl.concat(accepted), pl.DataFrame(rejected, schema=REJECTED, orient="row"), unreadable)


def count_records(content: bytes, form: Csv) -> int:
    """Records without the header, where the standard library's lenient parser begins and ends them."""
    tape = _Tape(content, form)
    records = 0
    with suppress(csv.Error, UnicodeError):  # the reader says what is wrong, and takes nothing of the file
        for _ in _reader(tape, form, strict=False):
            records += 1
            tape.taken.clear()
    return max(0, records - form.header)


def _arranged(rows: pl.DataFrame, stands: _Layout, file: int) -> pl.DataFrame:
    """The declared columns, `extra`, `source_file`, `source_row`, of rows whose fields are named by their place."""
    declared = [
        pl.lit(None, pl.String).alias(name) if place is None else pl.col(f"{place}").alias(name)
        for name, place in stands.places.items()
    ]
    unknown = [pl.col(f"{place}").alias(_pointer(name)) for name, place in stands.unknown.items()]
    extra = pl.struct(unknown).struct.json_encode() if unknown else pl.lit(None, pl.String)
    return rows.select(*declared, extra.alias("extra"), pl.lit(file, pl.Int64).alias("source_file"), _LINE)


def _pointer(name: str) -> str:
    return "/" + name.replace("~", "~0").replace("/", "~1")


def _no_rows(width: int) -> pl.DataFrame:
    return pl.DataFrame(schema={**{f"{place}": pl.String() for place in range(width)}, _LINE: pl.Int64()})


# ---- the plain way ----


type _Read = tuple[pl.DataFrame, list[tuple[int, str, str]]]


def _plain(content: bytes, form: Csv, width: int) -> _Read | None:
    """The rows, if the file is what Polars writes of them; otherwise None."""
    if form.preamble or form.comment or content.count(b"\r") != content.count(b"\r\n"):
        return None
    try:
        text = content.removeprefix(BOM_UTF8) if form.is_utf8 else content.decode(form.encoding).encode()
        read = pl.read_csv(
            text, has_header=False, separator=form.delimiter, quote_char=form.quote, infer_schema=False
        )  # fmt: skip
    except (UnicodeError, pl.exceptions.PolarsError):
        return None
    end = "\r\n" if b"\r\n" in text else "\n"
    style = "never" if form.quote is None else "always" if text.startswith(form.quote.encode()) else "necessary"
    out = io.BytesIO()
    read.write_csv(
        out,
        include_header=False,
        separator=form.delimiter,
        quote_char=form.quote or '"',
        quote_style=style,
        line_terminator=end,
        null_value="",
    )
    written = out.getvalue()
    if read.width != width or text not in (written, written.removesuffix(end.encode())):
        return None
    if width == 1 and read.to_series().null_count():
        return None  # a line that is empty is no record, and Polars gives one
    fields = pl.all().exclude(_LINE)
    lines = 1 + pl.sum_horizontal(fields.str.count_matches("\n", literal=True).fill_null(0))
    rows = read.rename({old: f"{place}" for place, old in enumerate(read.columns)})
    rows = rows.with_columns((1 + lines.cum_sum().shift(1, fill_value=0)).cast(pl.Int64).alias(_LINE))
    rows = rows.with_columns(fields.replace("", None))
    return rows.slice(1) if form.header else rows, []


# ---- the exact way ----


@dataclass(frozen=True)
class _Record:
    """One record: the `line` it begins on, its `fields`, its text as it came, and the `reason` it does not read."""

    line: int
    fields: Sequence[str]
    raw: str
    reason: str = ""


class _Tape:
    """The lines of a file from where its records begin, remembered for as long as one record lasts."""

    def __init__(self, content: bytes, form: Csv) -> None:
        encoding = "utf-8-sig" if form.is_utf8 else form.encoding
        text = io.TextIOWrapper(io.BytesIO(content), encoding, errors="surrogateescape", newline="")
        self._lines = enumerate(text, start=1)
        self._form = form
        self.taken: list[str] = []
        self.line = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        for place, line in self._lines:
            if not self.taken:
                if place <= self._form.preamble or not line.strip("\r\n") or self._is_comment(line):
                    continue
                self.line = place
            self.taken.append(line)
            return line
        raise StopIteration

    def _is_comment(self, line: str) -> bool:
        return self._form.comment is not None and line.startswith(self._form.comment)


def _records(content: bytes, form: Csv) -> Iterator[_Record]:
    """The records with the header, each where the standard library's lenient parser begins and ends it."""
    tape = _Tape(content, form)
    reader = _reader(tape, form, strict=True)
    while True:
        tape.taken.clear()
        reason, fields = "", list[str]()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except UnicodeError as wrong:  # an encoding of more than one byte
            raise _Misfit(f"it is not {form.encoding}: {wrong}") from wrong
        except csv.Error as broken:
            _refuse_endless(broken)
            reason = f"not well-formed CSV: {broken}"
            _to_its_end(tape, form)
        raw = "".join(tape.taken)
        if not raw.isascii() and _NO_BYTE.search(raw):
            raw = raw.encode(form.encoding, "surrogateescape").decode(form.encoding, "backslashreplace")
            reason = reason or f"holds bytes that are not {form.encoding}"
        yield _Record(tape.line, fields, raw, reason)


def _reader(lines: Iterable[str], form: Csv, *, strict: bool) -> Iterator[list[str]]:
    quoting = csv.QUOTE_NONE if form.quote is None else csv.QUOTE_MINIMAL
    return csv.reader(lines, delimiter=form.delimiter, quotechar=form.quote, quoting=quoting, strict=strict)


def _to_its_end(tape: _Tape, form: Csv) -> None:
    """Take the rest of a malformed record, so that none of its lines is taken for a record."""
    try:
        next(_reader(chain(list(tape.taken), tape), form, strict=False), None)
    except csv.Error as broken:
        _refuse_endless(broken)
        raise


def _refuse_endless(broken: csv.Error) -> None:
    if "field larger" in str(broken):
        raise _Misfit(f"a field is longer than {LONGEST_FIELD:,} characters: is a quote not closed?") from broken


def _exact(content: bytes, form: Csv, width: int) -> _Read:
    frames = [_no_rows(width)]
    rejects: list[tuple[int, str, str]] = []
    for some in batched(islice(_records(content, form), int(form.header), None), RECORDS_AT_ONCE):
        rows: list[tuple[str | int | None, ...]] = []
        for each in some:
            if reason := each.reason or _miscounted(each, width):
                rejects.append((each.line, each.raw, reason))
            else:
                rows.append((*(field or None for field in each.fields), each.line))
        frames.append(pl.DataFrame(rows, schema=frames[0].schema, orient="row"))
    return pl.concat(frames), rejects


def _miscounted(record: _Record, width: int) -> str:
    return "" if len(record.fields) == width else f"{number(len(record.fields), 'field')}, expected {width}"
