"""JSON lines become frames of text, exactly: every line is a row or a reject, and no value is rounded or dropped.

Two ways lead to the same rows. The exact way (the standard library's parser, walked in Python) decides everything. The
plain way (msgspec, about three times faster) takes a line only if nothing about it needs deciding; see `_plain`.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from contextlib import suppress
from functools import cache
from itertools import accumulate, batched, chain
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import msgspec
import polars as pl

from lakehouse.engine.ingest.parsed import REJECTED, Parsed, Reject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

__all__ = ["json_line", "read_json_lines"]

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LINES_AT_ONCE = 1024  # bounds the Python objects alive at a time: a few dozen MB for documents of 3 kB
DEEPEST = 100  # levels of an unknown value; the recursion limit alone would judge by how deep our caller stands


def read_json_lines(
    files: Iterable[bytes], schema: pl.Schema, longest: int = 64 << 20, was: Mapping[str, str] | None = None
) -> Parsed:
    r"""Parse files of UTF-8 JSON objects, one a line; a line longer than `longest` bytes is rejected.

    `schema` is the stored shape: String, Struct and List of these. Numbers and true/false are kept as their text; null
    and absent are null; fields outside the schema, nested ones too, go to `extra`. Lines end in \n or \r\n. `was` names
    fields by what they were called before.
    """
    shape, decoder = _reader(tuple(schema.items()), tuple((was or {}).items()))
    accepted: list[pl.DataFrame] = []
    rejected: list[Reject] = []
    for lines in batched(_lines(files), LINES_AT_ONCE):
        rows, rejects = _read(lines, shape, decoder, longest)
        try:
            accepted.append(shape.frame(rows))
        except _NotPlain:
            rows, rejects = _read(lines, shape, None, longest)
            accepted.append(shape.frame(rows))
        rejected += rejects
    taken = accepted[0] if len(accepted) == 1 else pl.concat(accepted or [shape.frame([])], rechunk=True)
    refused = pl.DataFrame(rejected, schema=REJECTED, orient="row")
    return Parsed(taken, refused)


@cache
def _reader(fields: tuple[tuple[str, pl.DataType], ...], was: tuple[tuple[str, str], ...]) -> tuple[_Record, _Decoder]:
    """Made once for the many files of a source."""
    shape = _Record(pl.Schema(fields), dict(was))
    return shape, msgspec.json.Decoder(shape.plain, float_hook=msgspec.Raw)


type _Line = tuple[int, int, bytes]
type _Row = tuple[msgspec.Struct, str | None, int, int]
type _Decoder = msgspec.json.Decoder[msgspec.Struct]


def _lines(files: Iterable[bytes]) -> Iterator[_Line]:
    """The lines that are not blank, without their end, with their file from 0 and their number from 1."""
    for file, content in enumerate(files):
        for number, line in enumerate(io.BytesIO(content.removeprefix(BYTE_ORDER_MARK)), start=1):
            if line.strip(b" \t\r\n"):
                yield file, number, line.removesuffix(b"\n").removesuffix(b"\r")


def _read(
    lines: Iterable[_Line], shape: _Record, decoder: _Decoder | None, longest: int
) -> tuple[list[_Row], list[Reject]]:
    """Rows (record, extra, file, number) and rejects (file, number, raw, reason); plainly where `decoder` can."""
    rows: list[_Row] = []
    rejects: list[Reject] = []
    for file, number, line in lines:
        record = _plain(line, decoder) if decoder and len(line) <= longest else None
        if record is not None:
            rows.append((record, None, file, number))
            continue
        try:
            rows.append((*_exact(line, shape, longest), file, number))
        except _Rejected as rejected:
            rejects.append((file, number, line.decode("utf-8", "backslashreplace"), str(rejected)))
    return rows, rejects


def _plain(line: bytes, decoder: _Decoder) -> msgspec.Struct | None:
    """The record, if the line is JSON in which only declared fields stand, and each once; otherwise None.

    msgspec refuses unknown fields but lets the last of repeated keys win. So the record is written again: it writes
    nothing longer than it read (white space aside), hence the lengths are equal only if nothing fell away.
    """
    try:
        record = decoder.decode(line)
        length = len(msgspec.json.encode(record))
        return record if length == len(line) or length == len(msgspec.json.format(line, indent=-1)) else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


# ---- the exact way ----


class _Rejected(Exception):  # noqa: N818 # names an outcome, not a failure: it never leaves this module
    """The line cannot be stored exactly; the message is the reason."""


class _NotPlain(Exception):  # noqa: N818 # as above
    """A scalar of a plainly read record turned out to be an object or an array."""


class _Number(str):
    """A number as it was written."""

    __slots__ = ()


def _exact(line: bytes, shape: _Record, longest: int) -> tuple[msgspec.Struct, str | None]:
    """The record and its `extra`."""
    if len(line) > longest:
        raise _Rejected(f"the line has {len(line):,} bytes, more than the limit of {longest:,}")
    unknown: dict[str, str] = {}
    try:
        text = line.decode("utf-8")
        document = _parse(text)
        if "\\u" in text:  # the only way to a lone surrogate
            json.dumps(document, ensure_ascii=False).encode("utf-8")
        record = shape.exact(document, (), unknown)
    except UnicodeDecodeError as wrong:
        raise _Rejected(f"not UTF-8: byte {line[wrong.start]:#04x} at byte {wrong.start + 1}") from wrong
    except UnicodeEncodeError as wrong:
        raise _Rejected("holds half of a surrogate pair, which no text can hold") from wrong
    except json.JSONDecodeError as wrong:
        hint = "; it holds zero bytes, is it UTF-16?" if b"\0" in line else ""
        what = wrong.msg.removesuffix(" at")
        raise _Rejected(f"not one JSON object: {what} at character {wrong.pos + 1}{hint}") from wrong
    except RecursionError as deep:
        raise _Rejected("nested too deep to read") from deep
    extra = ",".join(f"{_json(pointer)}:{value}" for pointer, value in unknown.items())
    return record, f"{{{extra}}}" if extra else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        (name, times), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise _Rejected(f"the key {name!a} stands {times} times in one object")
    return found


def _no_number(constant: str) -> NoReturn:
    raise _Rejected(f"{constant} is no JSON number")


_parse: Callable[[str], Any] = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_Number, parse_float=_Number, parse_constant=_no_number
).decode


def _json(value: object, depth: int = 1) -> str:
    """The value as compact JSON, numbers as they were written."""
    if depth > DEEPEST:
        raise _Rejected(f"an unknown field is nested deeper than {DEEPEST} levels")
    match value:
        case _Number():
            return str(value)
        case dict():
            return "{" + ",".join(f"{_json(key)}:{_json(inner, depth + 1)}" for key, inner in value.items()) + "}"
        case list():
            return "[" + ",".join(_json(inner, depth + 1) for inner in value) + "]"
        case _:
            return json.dumps(value, ensure_ascii=False)


def json_line(fields: Mapping[str, Any], extra: str | None) -> str:
    """A line that reads as these stored fields (text, lists and dicts of text) and this `extra`.

    By any schema that declares no less it reads as the line did of which they were stored, though it is written
    otherwise: numbers as strings, and no null. A field that is no longer declared comes to `extra` like that.
    """
    document = _without_null(fields)
    for pointer, value in _parse(extra or "{}").items():
        *way, name = (step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:])
        place = document
        for step in way:
            place = place[int(step) if isinstance(place, list) else step]
        place[name] = value
    return _json(document, depth=-DEEPEST)


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_null(inner) for name, inner in value.items() if inner is not None}
    return [_without_null(item) for item in value] if isinstance(value, list) else value


type _Path = tuple[str | int, ...]


def _pointer(path: _Path) -> str:
    """RFC 6901: ("lines", 0, "a/b") -> "/lines/0/a~1b"."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


def _expected(what: str, path: _Path, value: object) -> _Rejected:
    got = {dict: "an object", list: "a list", type(None): "null", bool: "a boolean", _Number: "a number"}
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")
    return _Rejected(f"{place or 'the line'}: expected {what}, got {got.get(type(value), 'a string')}")


# ---- shapes: each knows its msgspec type, its exact reading, and how to become a column ----


class _Shape(Protocol):
    plain: Any

    def exact(self, value: Any, path: _Path, unknown: dict[str, str]) -> Any: ...
    def column(self, values: Sequence[Any]) -> pl.Series: ...


def _shape(dtype: object) -> _Shape:
    if isinstance(dtype, pl.Struct):
        return _Record(pl.Schema({field.name: field.dtype for field in dtype.fields}))
    if isinstance(dtype, pl.List):
        return _List(_shape(dtype.inner))
    if dtype == pl.String:  # not isinstance: Polars passes a nested pl.String on as the class
        return _Text()
    raise TypeError(f"JSON lines are stored as String, Struct and List of these, not as {dtype}.")


_AS_TEXT: Mapping[type, Callable[[Any], str | None]] = {
    str: str,
    _Number: str,
    int: str,
    bool: lambda truth: "true" if truth else "false",
    msgspec.Raw: lambda number: str(number, "ascii"),
    type(None): lambda _: None,
    msgspec.UnsetType: lambda _: None,
}


def _texts(values: Sequence[Any]) -> pl.Series:
    """The values as they were written; a column of one kind without a call in Python for each."""
    if values and isinstance(values[0], str):
        with suppress(TypeError, ValueError):  # other kinds stand among them
            return pl.Series(values, dtype=pl.String)
    kinds = set(map(type, values))
    if not kinds <= _AS_TEXT.keys():
        raise _NotPlain
    if kinds <= {int, type(None)}:
        with suppress(TypeError, OverflowError):  # longer than 64 bits, longer than any
            return pl.Series(values, dtype=pl.Int64).cast(pl.String)
    if kinds == {msgspec.Raw}:
        values = b"\n".join(values).decode("ascii").split("\n")  # no number holds a line's end
        return pl.Series(values, dtype=pl.String)
    return pl.Series([_AS_TEXT[type(value)](value) for value in values], dtype=pl.String)


class _Text:
    plain: Any = Any

    def exact(self, value: Any, path: _Path, unknown: dict[str, str]) -> str | bool | None:  # noqa: ARG002 # _Shape's
        if isinstance(value, (dict, list)):
            raise _expected("a scalar", path, value)
        return value

    def column(self, values: Sequence[Any]) -> pl.Series:
        return _texts(values)


class _List:
    def __init__(self, inner: _Shape) -> None:
        self.inner = inner
        self.plain: Any = list[inner.plain]

    def exact(self, value: Any, path: _Path, unknown: dict[str, str]) -> list[Any]:
        if not isinstance(value, list):
            raise _expected("a list", path, value)
        return [self.inner.exact(item, (*path, place), unknown) for place, item in enumerate(value)]

    def column(self, values: Sequence[Any]) -> pl.Series:
        lengths = [len(value) if isinstance(value, list) else None for value in values]
        starts = list(accumulate((length or 0 for length in lengths), initial=0))[:-1]
        items = self.inner.column(list(chain.from_iterable(value for value in values if value)))
        slices = pl.DataFrame({"start": starts, "length": lengths}, schema={"start": pl.Int64, "length": pl.Int64})
        cut = pl.lit(items).implode().list.slice(pl.col("start"), pl.col("length"))
        return slices.select(pl.when(pl.col("length").is_not_null()).then(cut)).to_series()


@cache
def _taker(place: int) -> Callable[[Iterable[msgspec.Struct]], list[Any]]:
    """One field of all records: spelled out, since attrgetter and map take twice as long."""
    return eval(f"lambda records: [record.f{place} for record in records]")  # noqa: S307 # a number of ours, no text


class _Record:
    def __init__(self, schema: pl.Schema, was: Mapping[str, str] | None = None) -> None:
        self.was: Mapping[str, str] = was or {}
        self.fields = {name: (place, _shape(dtype)) for place, (name, dtype) in enumerate(schema.items())}
        # f0, f1, …: a JSON key need not be a Python name. UNSET: an absent field is not written again as null
        self.plain: Any = msgspec.defstruct(
            "Record",
            [(f"f{place}", shape.plain | None, msgspec.UNSET) for place, shape in self.fields.values()],
            rename={f"f{place}": name for name, (place, _) in self.fields.items()},
            forbid_unknown_fields=True,  # gives up early; the lengths would tell as well
            gc=False,
        )

    def exact(self, value: Any, path: _Path, unknown: dict[str, str]) -> msgspec.Struct:
        if not isinstance(value, dict):
            raise _expected("an object", path, value)
        values: list[Any] = [None] * len(self.fields)
        for sent, inner in value.items():
            name = self.was.get(sent, sent)
            if name != sent and name in value:
                raise _Rejected(f"both {sent!a} and {name!a} stand in it, the old name and the new one")
            if name not in self.fields:
                unknown[_pointer((*path, name))] = _json(inner)
                continue
            place, shape = self.fields[name]
            if inner is None or (shape.plain is Any and not isinstance(inner, (dict, list))):
                values[place] = inner  # nothing to decide; saves most of the calls
            else:
                values[place] = shape.exact(inner, (*path, name), unknown)
        return self.plain(*values)

    def columns(self, records: Sequence[msgspec.Struct]) -> dict[str, pl.Series]:
        return {name: shape.column(_taker(place)(records)) for name, (place, shape) in self.fields.items()}

    def column(self, values: Sequence[Any]) -> pl.Series:
        if set(map(type, values)) == {self.plain}:
            return pl.DataFrame(self.columns(values)).to_struct("")
        known = pl.Series([isinstance(value, self.plain) for value in values], dtype=pl.Boolean)
        empty = self.plain()
        records = [value if isinstance(value, self.plain) else empty for value in values]
        structs = pl.DataFrame(self.columns(records)).to_struct("")
        return structs if known.all() else pl.select(pl.when(known).then(structs)).to_series()

    def frame(self, rows: Sequence[_Row]) -> pl.DataFrame:
        """The columns, `extra`, `source_file`, `source_row`."""
        records, extras, files, numbers = zip(*rows, strict=True) if rows else ((), (), (), ())
        return pl.DataFrame(
            self.columns(records)
            | {
                "extra": pl.Series(extras, dtype=pl.String),
                "source_file": pl.Series(files, dtype=pl.Int64),
                "source_row": pl.Series(numbers, dtype=pl.Int64),
            }
        )
