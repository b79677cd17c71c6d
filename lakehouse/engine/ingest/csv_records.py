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
from itertools import batched, chain, islice
from typing import TYPE_CHECKING

import polars as pl

from lakehouse.engine.declare.formats import Csv, Limits
from lakehouse.engine.declare.number import number
from lakehouse.engine.ingest.header import LINE, Layout, arranged, by_header, shown
from lakehouse.engine.ingest.misfit import Misfit
from lakehouse.engine.ingest.parsed import REJECTED, Parsed, Reject

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lakehouse.engine.declare.column import Column

__all__ = ["count_records", "layout", "read_csv"]

LONGEST_FIELD = 1 << 20  # characters; what is longer is a quote that nobody closed
csv.field_size_limit(LONGEST_FIELD)  # of the process; the library has no other
RECORDS_AT_ONCE = 50_000  # bounds the Python objects alive at a time
_LIMITS = Limits()
_NO_BYTE = re.compile("[\udc80-\udcff]")


def layout(content: bytes, form: Csv, columns: Sequence[Column], limits: Limits = _LIMITS) -> Layout:
    """Where the columns stand, by the first record. Raises Misfit: of another dialect, or without them."""
    first = next(_records(content, form), None)
    if first is None:
        raise Misfit("it holds no header" if form.header else "it holds no record")
    if first.reason:
        raise Misfit(f"its first record does not read: {first.reason}")
    names, fields = [each.name for each in columns], first.fields
    if not form.header:
        if len(fields) != len(names):
            raise Misfit(f"its first record has {len(fields)} fields, and {len(names)} columns are declared")
        return Layout(len(names), {name: place for place, name in enumerate(names)}, {})
    called = {*names, *(each.was for each in columns)}
    if len(fields) == 1 and fields[0] not in called and any(name in fields[0] for name in names):
        raise Misfit(f"its header is one field, {shown(fields, columns)} (is the delimiter another one?)")
    return by_header(fields, columns, limits.columns)


def read_csv(files: Iterable[bytes], form: Csv, columns: Sequence[Column], limits: Limits = _LIMITS) -> Parsed:
    """Parse files of one dialect into the declared columns, as text; other columns go to `extra`.

    A record that is not well-formed, has not as many fields as the header, or a line over the limit, is rejected with
    all its lines. A file whose header does not fit, or that has a quote that nobody closes, is unreadable as a whole.
    """
    accepted = [arranged(_no_rows(0), Layout(0, dict.fromkeys(each.name for each in columns), {}), 0)]
    rejected: list[Reject] = []
    unreadable: dict[int, str] = {}
    for file, content in enumerate(files):
        try:
            stands = layout(content, form, columns, limits)
            rows, rejects = (
                _plain(content, form, stands.width, limits.line_bytes)
                or _exact(content, form, stands.width, limits.line_bytes)
            )  # fmt: skip
        except Misfit as why:
            unreadable[file] = str(why)
            continue
        accepted.append(arranged(rows, stands, file))
        rejected += [(file, *each) for each in rejects]
    return Parsed(pl.concat(accepted), pl.DataFrame(rejected, schema=REJECTED, orient="row"), unreadable)


def count_records(content: bytes, form: Csv) -> int:
    """Records without the header, where the standard library's lenient parser begins and ends them."""
    records = 0
    with suppress(csv.Error, UnicodeError):  # the reader says what is wrong, and takes nothing of the file
        if form.preamble or form.comment:
            tape = _Tape(content, form)
            for _ in _reader(tape, form, strict=False):
                records += 1
                tape.taken.clear()
        else:  # a line that is empty gives no field; nothing else does
            for records, _ in enumerate(filter(None, _reader(_text(content, form), form, strict=False)), start=1):  # noqa: B007
                pass
    return max(0, records - form.header)


def _no_rows(width: int) -> pl.DataFrame:
    return pl.DataFrame(schema={**{f"{place}": pl.String() for place in range(width)}, LINE: pl.Int64()})


# ---- the plain way ----


type _Read = tuple[pl.DataFrame, list[tuple[int, str, str]]]


def _plain(content: bytes, form: Csv, width: int, longest: int) -> _Read | None:
    """The rows, if the file is what Polars writes of them; otherwise None."""
    if form.preamble or form.comment or content.count(b"\r") != content.count(b"\r\n"):
        return None
    if len(content) > longest and any(len(line) > longest for line in io.BytesIO(content)):
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
    fields = pl.all().exclude(LINE)
    lines = 1 + pl.sum_horizontal(fields.str.count_matches("\n", literal=True).fill_null(0))
    rows = read.rename({old: f"{place}" for place, old in enumerate(read.columns)})
    rows = rows.with_columns((1 + lines.cum_sum().shift(1, fill_value=0)).cast(pl.Int64).alias(LINE))
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


def _text(content: bytes, form: Csv) -> io.TextIOWrapper:
    encoding = "utf-8-sig" if form.is_utf8 else form.encoding
    return io.TextIOWrapper(io.BytesIO(content), encoding, errors="surrogateescape", newline="")


class _Tape:
    """The lines of a file from where its records begin, remembered for as long as one record lasts."""

    def __init__(self, content: bytes, form: Csv) -> None:
        self._lines = enumerate(_text(content, form), start=1)
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
            raise Misfit(f"it is not {form.encoding}: {wrong}") from wrong
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
        raise Misfit(f"a field is longer than {LONGEST_FIELD:,} characters: is a quote not closed?") from broken


def _exact(content: bytes, form: Csv, width: int, longest: int) -> _Read:
    frames = [_no_rows(width)]
    rejects: list[tuple[int, str, str]] = []
    for some in batched(islice(_records(content, form), int(form.header), None), RECORDS_AT_ONCE):
        rows: list[tuple[str | int | None, ...]] = []
        for each in some:
            if reason := each.reason or _too_long(each, longest) or _miscounted(each, width):
                rejects.append((each.line, each.raw, reason))
            else:
                rows.append((*(field or None for field in each.fields), each.line))
        frames.append(pl.DataFrame(rows, schema=frames[0].schema, orient="row"))
    return pl.concat(frames), rejects


def _too_long(record: _Record, longest: int) -> str:
    if len(record.raw) * 4 <= longest:  # no letter is longer
        return ""
    length = max(len(line.encode("utf-8", "surrogateescape")) for line in io.StringIO(record.raw, newline=""))
    said = f"a line of it has {length:,} bytes, more than the limit of {longest:,} (Limits.line_bytes)"
    return said if length > longest else ""


def _miscounted(record: _Record, width: int) -> str:
    return "" if len(record.fields) == width else f"{number(len(record.fields), 'field')}, expected {width}"
