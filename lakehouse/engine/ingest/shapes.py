"""The shapes of stored records: how a document of text leaves is read into one, and how records become columns."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import accumulate, chain
from typing import Any, Protocol

import msgspec
import polars as pl

from lakehouse.engine.declare.formats import Limits
from lakehouse.engine.ingest.header import pointer

__all__ = ["DEEPEST", "NotPlain", "Number", "Record", "Rejected", "Row", "as_json", "exact"]

DEEPEST = 100  # levels of an unknown value; the recursion limit alone would judge by how deep our caller stands

type Row = tuple[msgspec.Struct, str | None, int, int]


class Rejected(Exception):  # noqa: N818 # names an outcome, not a failure: it never leaves this module
    """The line cannot be stored exactly; the message is the reason."""


class NotPlain(Exception):  # noqa: N818 # as above
    """A scalar of a plainly read record turned out to be an object or an array."""


class Number(str):
    """A number as it was written."""

    __slots__ = ()


def exact(document: Any, shape: Record, limits: Limits) -> tuple[msgspec.Struct, str | None]:
    """A document as a record and its `extra`, a JSON object from JSON Pointer to undeclared value.

    Raises Rejected where it is of another shape, or has more fields than the limit of columns.
    """
    if isinstance(document, dict) and len(document) > limits.columns:
        raise Rejected(
            f"it has {len(document):,} fields, more than the limit of {limits.columns:,} columns (Limits.columns)"
        )
    unknown: dict[str, str] = {}
    record = shape.exact(document, (), unknown)
    extra = ",".join(f"{as_json(pointer)}:{value}" for pointer, value in unknown.items())
    return record, f"{{{extra}}}" if extra else None


def as_json(value: object, depth: int = 1) -> str:
    """The value as compact JSON, numbers as they were written."""
    if depth > DEEPEST:
        raise Rejected(f"an unknown field is nested deeper than {DEEPEST} levels")
    match value:
        case Number():
            return str(value)
        case bytes():
            return f'"{b64encode(value).decode()}"'
        case dict():
            return "{" + ",".join(f"{as_json(key)}:{as_json(inner, depth + 1)}" for key, inner in value.items()) + "}"
        case list():
            return "[" + ",".join(as_json(inner, depth + 1) for inner in value) + "]"
        case _:
            return json.dumps(value, ensure_ascii=False)


type _Path = tuple[str | int, ...]


def _expected(what: str, path: _Path, value: object) -> Rejected:
    got = {
        bytes: "bytes, which no text says",
        dict: "an object",
        list: "a list",
        type(None): "null",
        bool: "a boolean",
        Number: "a number",
    }
    got[bytes] = "bytes, which no text says"
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")
    return Rejected(f"{place or 'the line'}: expected {what}, got {got.get(type(value), 'a string')}")


# ---- shapes: each knows its msgspec type, its exact reading, and how to become a column ----


class _Shape(Protocol):
    plain: Any

    def exact(self, value: Any, path: _Path, unknown: dict[str, str]) -> Any: ...
    def column(self, values: Sequence[Any]) -> pl.Series: ...


def _shape(dtype: object) -> _Shape:
    if isinstance(dtype, pl.Struct):
        return Record(pl.Schema({field.name: field.dtype for field in dtype.fields}))
    if isinstance(dtype, pl.List):
        return _List(_shape(dtype.inner))
    if dtype == pl.String:  # not isinstance: Polars passes a nested pl.String on as the class
        return _Text()
    raise TypeError(f"Records are stored as String, Struct and List of these, not as {dtype}.")


_AS_TEXT: Mapping[type, Callable[[Any], str | None]] = {
    str: str,
    Number: str,
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
        raise NotPlain
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
        if isinstance(value, (dict, list, bytes)):
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


class Record:
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
                raise Rejected(f"both {sent!a} and {name!a} stand in it, the old name and the new one")
            if name not in self.fields:
                unknown[pointer((*path, name))] = as_json(inner)
                continue
            place, shape = self.fields[name]
            if inner is None or (shape.plain is Any and not isinstance(inner, (dict, list, bytes))):
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

    def frame(self, rows: Sequence[Row]) -> pl.DataFrame:
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
