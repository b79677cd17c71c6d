"""A JSON document is cut into its records, each as it was written; these are read as JSON lines are.

The document is one thing: where it is no JSON, no record of it is taken. A record that cannot be stored exactly (NaN, a
key that stands twice, another shape) is rejected by its place in the array, from 1.

Two ways lead to the same records. msgspec cuts the documents that it takes; what it does not take is left to the
standard library's parser, which reads NaN and half a surrogate pair, so that these cost their own record only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import polars as pl

from lakehouse.engine.declare.formats import Json, Limits
from lakehouse.engine.ingest.header import pointer, shown
from lakehouse.engine.ingest.json_lines import BYTE_ORDER_MARK, read_objects
from lakehouse.engine.ingest.misfit import Misfit
from lakehouse.engine.ingest.parsed import Parsed

__all__ = ["Items", "count_records", "items", "read_json"]

type Items = Sequence[bytes | msgspec.Raw]

_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_BLANK = re.compile(r"[ \t\r\n]*")
_SCAN = json.JSONDecoder().raw_decode
_KINDS = {"{": "an object", '"': "a string", "t": "a boolean", "f": "a boolean", "n": "null"}


def items(content: bytes, form: Json) -> Items:
    """The items of the declared array, each as it was written. Raises Misfit."""
    content = content.removeprefix(BYTE_ORDER_MARK)
    if not content.strip():
        raise Misfit("it is empty, and no JSON document")
    try:
        plain = _plain(content, form)
        return _exact(content, form) if plain is None else plain
    except RecursionError as deep:
        raise Misfit("it is nested too deep to read") from deep
    except json.JSONDecodeError as broken:
        hint = "; it holds zero bytes, is it UTF-16?" if b"\0" in content else ""
        what = broken.msg.removesuffix(" at")
        raise Misfit(f"it is not one JSON document: {what} at character {broken.pos + 1}{hint}") from broken


def _plain(content: bytes, form: Json) -> Items | None:
    """The items, if the whole document is the array, and one that msgspec takes."""
    try:
        return None if form.records else _ARRAY.decode(content)
    except msgspec.MsgspecError:
        return None


def _exact(content: bytes, form: Json) -> Items:
    text = content.decode("utf-8", "surrogateescape")  # a byte that is none costs its own record, as in JSON lines
    start = _skip(text, 0)
    if text[_skip(text, _SCAN(text, start)[1]) :]:
        raise json.JSONDecodeError("Extra data", text, _skip(text, _SCAN(text, start)[1]))
    way: list[str] = []
    for step in _steps(form):
        start = _below(text, start, way, step)
        way.append(step)
    if text[start] != "[":
        _refuse_no_array(text, start, way)
    return [text[begin:end].encode("utf-8", "surrogateescape") for begin, end in _parts(text, start)]


def _steps(form: Json) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in form.records.split("/")[1:]]


def _below(text: str, start: int, way: list[str], step: str) -> int:
    """Where the value of a key begins."""
    if text[start] != "{":
        raise Misfit(f"{_where(way)} is {_kind(text, start)}, so nothing stands at {pointer([*way, step])!r}")
    members = list(_members(text, start))
    found = [place for name, place in members if name == step]
    if len(found) > 1:
        raise Misfit(f"the key {step!r} stands {len(found)} times in one object")
    if not found:
        there = shown(name for name, _ in members) or "no keys"
        raise Misfit(f"nothing stands at {pointer([*way, step])!r}; there are {there}")
    return found[0]


def _refuse_no_array(text: str, start: int, way: list[str]) -> None:
    kind = _kind(text, start)
    members = _members(text, start) if text[start] == "{" else ()
    arrays = [pointer([*way, name]) for name, place in members if text[place] == "["]
    proposed = "".join(f", or Json(records={each!r})" for each in arrays[:3])
    ways = f"; one object a line is JsonLines(){proposed}" if kind == "an object" else ""
    raise Misfit(f"{_where(way)} is {kind}, and no array{ways}")


def _where(way: list[str]) -> str:
    return f"what stands at {pointer(way)!r}" if way else "it"


def _kind(text: str, start: int) -> str:
    return _KINDS.get(text[start], "an array" if text[start] == "[" else "a number")


# ---- the standard library says where a value ends; what stands between values is known to be JSON by then ----


def _skip(text: str, place: int) -> int:
    blank = _BLANK.match(text, place)
    return blank.end() if blank else place


def _parts(text: str, start: int) -> Iterator[tuple[int, int]]:
    """Beginning and end of each value of the array, or each key and value of the object, that begins at `start`."""
    place = _skip(text, start + 1)
    while text[place] not in "]}":
        _, end = _SCAN(text, place)
        yield place, end
        place = _skip(text, end)
        if text[place] in ",:":
            place = _skip(text, place + 1)


def _members(text: str, start: int) -> Iterator[tuple[str, int]]:
    """Each key of an object and where its value begins."""
    parts = _parts(text, start)
    for begin, _ in parts:
        yield _SCAN(text, begin)[0], next(parts)[0]


def read_json(
    files: Iterable[Items], schema: pl.Schema, limits: Limits, was: Mapping[str, str] | None = None
) -> Parsed:
    """Parse the items of files; their place in the array is the `source_row`."""
    lines = ((file, place, bytes(item)) for file, some in enumerate(files) for place, item in enumerate(some, start=1))
    return read_objects(lines, schema, limits, was)


def count_records(content: bytes, form: Json) -> int:
    """The items of the array, by the standard library's parser, which keeps no value of them. Raises Misfit."""

    def containers(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {name: value for name, value in pairs if isinstance(value, (dict, list))}

    text = content.removeprefix(BYTE_ORDER_MARK).decode("utf-8", "replace")
    try:
        found = json.loads(text, object_pairs_hook=containers, parse_int=len, parse_float=len, parse_constant=len)
    except RecursionError as deep:
        raise Misfit("it is nested too deep to read") from deep
    for step in _steps(form):
        found = found[step]
    return len(found)
