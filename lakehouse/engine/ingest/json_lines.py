"""JSON lines become frames of text, exactly: every line is a row or a reject, and no value is rounded or dropped.

Two ways lead to the same rows. The exact way (the standard library's parser, walked in Python) decides everything. The
plain way (msgspec, about three times faster) takes a line only if nothing about it needs deciding; see `_plain`.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from functools import cache
from itertools import batched
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
import polars as pl

from lakehouse.engine.declare.formats import Limits
from lakehouse.engine.ingest.parsed import REJECTED, Parsed, Reject
from lakehouse.engine.ingest.shapes import DEEPEST, NotPlain, Number, Record, Rejected, Row, as_json, exact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

__all__ = ["BYTE_ORDER_MARK", "Line", "json_line", "parse_json", "read_json_lines", "read_objects"]

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LINES_AT_ONCE = 1024  # bounds the Python objects alive at a time: a few dozen MB for documents of 3 kB
_LIMITS = Limits()
_ENCODER = msgspec.json.Encoder()


def read_json_lines(
    files: Iterable[bytes], schema: pl.Schema, limits: Limits = _LIMITS, was: Mapping[str, str] | None = None
) -> Parsed:
    r"""Parse files of UTF-8 JSON objects, one a line; what is over a limit is rejected by its line.

    `schema` is the stored shape: String, Struct and List of these. Numbers and true/false are kept as their text; null
    and absent are null; fields outside the schema, nested ones too, go to `extra`. Lines end in \n or \r\n. `was` names
    fields by what they were called before.
    """
    return read_objects(_lines(files), schema, limits, was)


def read_objects(
    lines: Iterable[Line], schema: pl.Schema, limits: Limits = _LIMITS, was: Mapping[str, str] | None = None
) -> Parsed:
    """Parse JSON objects, each with its file from 0 and its number from 1, as `read_json_lines` does."""
    shape, decoder = _reader(tuple(schema.items()), tuple((was or {}).items()))
    accepted: list[pl.DataFrame] = []
    rejected: list[Reject] = []
    for some in batched(lines, LINES_AT_ONCE):
        rows, rejects = _read(some, shape, decoder, limits)
        try:
            accepted.append(shape.frame(rows))
        except NotPlain:
            rows, rejects = _read(some, shape, None, limits)
            accepted.append(shape.frame(rows))
        rejected += rejects
    taken = accepted[0] if len(accepted) == 1 else pl.concat(accepted or [shape.frame([])], rechunk=True)
    return Parsed(taken, pl.DataFrame(rejected, schema=REJECTED, orient="row"))


@cache
def _reader(fields: tuple[tuple[str, pl.DataType], ...], was: tuple[tuple[str, str], ...]) -> tuple[Record, _Decoder]:
    """Made once for the many files of a source."""
    shape = Record(pl.Schema(fields), dict(was))
    return shape, msgspec.json.Decoder(shape.plain, float_hook=msgspec.Raw)


type Line = tuple[int, int, bytes]
type _Decoder = msgspec.json.Decoder[msgspec.Struct]


def _lines(files: Iterable[bytes]) -> Iterator[Line]:
    """The lines that are not blank, without their end, with their file from 0 and their number from 1."""
    for file, content in enumerate(files):
        for number, line in enumerate(io.BytesIO(content.removeprefix(BYTE_ORDER_MARK)), start=1):
            if line.strip(b" \t\r\n"):
                yield file, number, line.removesuffix(b"\n").removesuffix(b"\r")


def _read(
    lines: Sequence[Line], shape: Record, decoder: _Decoder | None, limits: Limits
) -> tuple[list[Row], list[Reject]]:
    """Rows (record, extra, file, number) and rejects (file, number, raw, reason); plainly where `decoder` can."""
    contents = [line for _, _, line in lines]
    if decoder and max(map(len, contents)) <= limits.line_bytes and (records := _plain(contents, decoder)) is not None:
        return [(record, None, file, number) for record, (file, number, _) in zip(records, lines, strict=True)], []
    rows: list[Row] = []
    rejects: list[Reject] = []
    for file, number, line in lines:
        alone = _plain([line], decoder) if decoder and len(line) <= limits.line_bytes else None
        if alone is not None:
            rows.append((alone[0], None, file, number))
            continue
        try:
            rows.append((*_exact(line, shape, limits), file, number))
        except Rejected as rejected:
            rejects.append((file, number, line.decode("utf-8", "backslashreplace"), str(rejected)))
    return rows, rejects


def _plain(lines: Sequence[bytes], decoder: _Decoder) -> list[msgspec.Struct] | None:
    """The records, if each line is JSON in which only declared fields stand, and each once; otherwise None.

    msgspec refuses unknown fields but lets the last of repeated keys win. So the records are written again: it writes
    nothing longer than it read (white space aside), hence the lengths are equal only if nothing fell away.
    """
    try:
        records = decoder.decode_lines(b"\n".join(lines))
        length = len(_ENCODER.encode_lines(records)) - len(records)  # less a line's end for each
        if length != sum(map(len, lines)):
            lines = [msgspec.json.format(line, indent=-1) for line in lines]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return records if len(records) == len(lines) and length == sum(map(len, lines)) else None


# ---- the exact way ----


def _exact(line: bytes, shape: Record, limits: Limits) -> tuple[msgspec.Struct, str | None]:
    """The record and its `extra`."""
    if len(line) > limits.line_bytes:
        raise Rejected(
            f"the line has {len(line):,} bytes, more than the limit of {limits.line_bytes:,} (Limits.line_bytes)"
        )
    try:
        text = line.decode("utf-8")
        document = parse_json(text)
        if "\\u" in text:  # the only way to a lone surrogate
            json.dumps(document, ensure_ascii=False).encode("utf-8")
        return exact(document, shape, limits)
    except UnicodeDecodeError as wrong:
        raise Rejected(f"not UTF-8: byte {line[wrong.start]:#04x} at byte {wrong.start + 1}") from wrong
    except UnicodeEncodeError as wrong:
        raise Rejected("holds half of a surrogate pair, which no text can hold") from wrong
    except json.JSONDecodeError as wrong:
        hint = "; it holds zero bytes, is it UTF-16?" if b"\0" in line else ""
        what = wrong.msg.removesuffix(" at")
        raise Rejected(f"not one JSON object: {what} at character {wrong.pos + 1}{hint}") from wrong
    except RecursionError as deep:
        raise Rejected("nested too deep to read") from deep


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        (name, times), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise Rejected(f"the key {name!a} stands {times} times in one object")
    return found


def _no_number(constant: str) -> NoReturn:
    raise Rejected(f"{constant} is no JSON number")


parse_json: Callable[[str], Any] = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=Number, parse_float=Number, parse_constant=_no_number
).decode


def json_line(fields: Mapping[str, Any], extra: str | None) -> str:
    """A line that reads as these stored fields (text, lists and dicts of text) and this `extra`.

    By any schema that declares no less it reads as the line did of which they were stored, though it is written
    otherwise: numbers as strings, and no null. A field that is no longer declared comes to `extra` like that.
    """
    document = _without_null(fields)
    for pointer, value in parse_json(extra or "{}").items():
        *way, name = (step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:])
        place = document
        for step in way:
            place = place[int(step) if isinstance(place, list) else step]
        place[name] = value
    return as_json(document, depth=-DEEPEST)


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_null(inner) for name, inner in value.items() if inner is not None}
    return [_without_null(item) for item in value] if isinstance(value, list) else value
