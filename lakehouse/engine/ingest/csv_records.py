"""CSV becomes frames of text, exactly: every record is a row or a reject, and no value is trimmed, filled or dropped.

Three ways lead to the same rows. The exact way (the standard library's parser, strict) decides everything. Two others
leave the work to Polars, and take what it read only with a proof. The even way is for files in which nothing is quoted:
each line must have come as a row, and every byte of it be a field's, a delimiter or a line end. The plain way is for
the others: what was read, written again, must be the file byte for byte.

An empty field is null, quoted or not: the standard library's parser does not tell the two apart.
"""

from __future__ import annotations

import csv
import io
import re
from codecs import BOM_UTF8
from contextlib import suppress
from dataclasses import dataclass
from itertools import batched, chain, groupby, islice
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

__all__ = ["Opened", "layout", "opened", "read_csv"]

LONGEST_FIELD = 1 << 20  # characters; what is longer is a quote that nobody closed
csv.field_size_limit(LONGEST_FIELD)  # of the process; the library has no other
RECORDS_AT_ONCE = 50_000  # bounds the Python objects alive at a time
FILE = "file"
_UINT32 = 1 << 32
_LIMITS = Limits()
_BLANK = re.compile(rb"\n\r?\n")  # in half the time of `in`
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


@dataclass(frozen=True)
class Opened:
    """A file whose columns were found, and its records, counted.

    even: its records alone, in UTF-8, if each of its lines is one and each delimiter ends a field; otherwise None.
    """

    content: bytes
    stands: Layout
    records: int
    even: bytes | memoryview | None


def opened(content: bytes, form: Csv, columns: Sequence[Column], limits: Limits = _LIMITS) -> Opened:
    """Find the columns and count the records. Raises Misfit as `layout` does."""
    stands = layout(content, form, columns, limits)
    text = _even(content, form, limits.line_bytes)
    if text is None:
        return Opened(content, stands, _counted(content, form), None)
    header = text.find(b"\n") + 1 if form.header else 0
    return Opened(content, stands, text.count(b"\n", header), memoryview(text)[header:])


def read_csv(files: Iterable[Opened], form: Csv, columns: Sequence[Column], limits: Limits = _LIMITS) -> Parsed:
    """Parse files of one dialect into the declared columns, as text; other columns go to `extra`.

    A record that is not well-formed, has not as many fields as the header, or a line over the limit, is rejected with
    all its lines. A file that has a quote that nobody closes is unreadable as a whole.
    """
    accepted = [arranged(_no_rows(0), Layout(0, dict.fromkeys(each.name for each in columns), {}), 0)]
    rejected: list[Reject] = []
    unreadable: dict[int, str] = {}
    for (stands, is_even), neighbours in groupby(enumerate(files), _kind):
        some = list(neighbours)
        if is_even and (rows := _together(some, form, stands.width)) is not None:
            accepted.append(arranged(rows, stands, rows[FILE]))
            continue
        for file, each in some:
            try:
                rows, rejects = (
                    _plain(each.content, form, stands.width, limits.line_bytes)
                    or _exact(each.content, form, stands.width, limits.line_bytes)
                )  # fmt: skip
            except Misfit as why:
                unreadable[file] = str(why)
                continue
            accepted.append(arranged(rows, stands, file))
            rejected += [(file, *reject) for reject in rejects]
    return Parsed(pl.concat(accepted), pl.DataFrame(rejected, schema=REJECTED, orient="row"), unreadable)


def _kind(file: tuple[int, Opened]) -> tuple[Layout, bool]:
    """Those that may be parsed together."""
    return file[1].stands, file[1].even is not None


def _counted(content: bytes, form: Csv) -> int:
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


# ---- the even way ----


def _even(content: bytes, form: Csv, longest: int) -> bytes | None:
    """The file in UTF-8, each line with its end, if nothing is quoted and no line is blank; otherwise None."""
    if form.preamble or form.comment or _is_broken_otherwise(content) or _is_any_longer(content, longest):
        return None
    try:
        text = _in_utf8(content, form)
    except UnicodeError:
        return None
    if text[:1] in b"\r\n" or _BLANK.search(text) or (form.quote and form.quote.encode() in text):
        return None
    return text if text.endswith(b"\n") else text + b"\n"


def _together(files: Sequence[tuple[int, Opened]], form: Csv, width: int) -> pl.DataFrame | None:
    """The rows of even files, with the place of each's, if they hold every line and every byte; otherwise None.

    A line that has other fields than `width` is longer or shorter than they, and a line that is passed over is none.
    """
    text = b"".join(each.even or b"" for _, each in files)
    names = [f"{place}" for place in range(width)]
    try:
        rows = pl.read_csv(
            text, has_header=False, separator=form.delimiter, quote_char=None, schema=dict.fromkeys(names, pl.String())
        )  # fmt: skip
    except pl.exceptions.PolarsError:
        return None
    size = pl.all().str.len_bytes()
    size = size if len(text) < _UINT32 else size.cast(pl.Int64)  # a sum wraps around; to cast each is dear
    fields = rows.select(pl.sum_horizontal(size.sum().cast(pl.Int64))).item()
    records = [each.records for _, each in files]
    between = rows.height * (width - 1) + sum(records) + (text.count(b"\r") if b"\r" in text else 0)
    if rows.height != sum(records) or fields + between != len(text):
        return None
    first = 1 + form.header
    lines = pl.DataFrame({FILE: [file for file, _ in files], "records": records}).select(
        FILE, pl.int_ranges(first, first + pl.col("records")).alias(LINE)
    )
    return rows.hstack(lines.explode(LINE, empty_as_null=False))


# ---- the plain way ----


type _Read = tuple[pl.DataFrame, list[tuple[int, str, str]]]


def _in_utf8(content: bytes, form: Csv) -> bytes:
    return content.removeprefix(BOM_UTF8) if form.is_utf8 else content.decode(form.encoding).encode()


def _is_broken_otherwise(content: bytes) -> bool:
    """Whether a line ends with CR alone."""
    return b"\r" in content and content.count(b"\r") != content.count(b"\r\n")


def _is_any_longer(content: bytes, longest: int) -> bool:
    return len(content) > longest and any(len(line) > longest for line in io.BytesIO(content))


def _plain(content: bytes, form: Csv, width: int, longest: int) -> _Read | None:
    """The rows, if the file is what Polars writes of them; otherwise None."""
    if form.preamble or form.comment or _is_broken_otherwise(content) or _is_any_longer(content, longest):
        return None
    try:
        text = _in_utf8(content, form)
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
