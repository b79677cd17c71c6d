"""Avro becomes frames of text: a record at a time, by its own schema; a file with a broken block is unreadable whole.

What a file is made of (a header, then blocks that each end in the header's mark) is walked here, what is in a block is
decoded by fastavro: its own reader takes a block for the last one when its count is cut off, and passes over bytes that
no record claims.
"""

from __future__ import annotations

import bz2
import io
import json
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import batched
from typing import Any

import polars as pl

from lakehouse.engine.declare.column import Column
from lakehouse.engine.declare.formats import Limits
from lakehouse.engine.declare.table import as_text
from lakehouse.engine.ingest.canonical import of_value
from lakehouse.engine.ingest.header import by_header
from lakehouse.engine.ingest.misfit import Misfit, OverLimit, foreign
from lakehouse.engine.ingest.parsed import REJECTED, Parsed, Reject
from lakehouse.engine.ingest.shapes import Record, Rejected, as_json, exact

__all__ = ["count_records", "layout", "read_avro"]

RECORDS_AT_ONCE = 1024
PIECE_BYTES = 1 << 20
BYTES_PER_VALUE = 8  # at the least, once it is read: a record of nulls takes no byte of the file
_MARK = 16
_HEADER = {
    "type": "record",
    "name": "org.apache.avro.file.Header",
    "fields": [
        {"name": "magic", "type": {"type": "fixed", "name": "magic", "size": 4}},
        {"name": "meta", "type": {"type": "map", "values": "bytes"}},
        {"name": "sync", "type": {"type": "fixed", "name": "sync", "size": _MARK}},
    ],
}
_CHECKSUM = 4  # bytes behind a block that is packed by Snappy
_AT_ONCE = 1 << 10  # bytes packed by Zstandard; four of them may hold 128 KiB


@dataclass(frozen=True)
class _File:
    """The schema of a file, its fields, and where its blocks begin."""

    content: bytes
    codec: str
    schema: Any
    names: list[str]
    mark: bytes
    start: int


def _opened(content: bytes) -> _File:
    import fastavro

    if not content.startswith(b"Obj\x01"):
        raise Misfit("it is no Avro file")
    tape = io.BytesIO(content)
    with foreign("an Avro file"):
        header: Any = fastavro.schemaless_reader(tape, _HEADER, None)
        schema: Any = fastavro.parse_schema(json.loads(header["meta"]["avro.schema"]))
        names = [each["name"] for each in schema["fields"]] if _is_record(schema) else []
    codec = header["meta"].get("avro.codec", b"null").decode("ascii", "replace")
    if codec not in _CODECS:
        raise Misfit(f"its blocks are packed by {codec!r}; {', '.join(_CODECS)} are read")
    if not _is_record(schema):
        raise Misfit("its schema is no record, so it has no columns")
    return _File(content, codec, schema, names, header["sync"], tape.tell())


def _is_record(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "record"


@dataclass(frozen=True)
class _Block:
    place: int
    records: int
    packed: bytes


def _blocks(file: _File) -> Iterator[_Block]:
    import fastavro

    tape = io.BytesIO(file.content)
    tape.seek(file.start)
    place = 0
    while tape.tell() < len(file.content):
        place += 1
        with foreign(f"an Avro file (its block {place:,})"):
            records, size = (fastavro.schemaless_reader(tape, "long", None) for _ in range(2))
        if not (isinstance(records, int) and isinstance(size, int) and records >= 0 and size >= 0):
            raise Misfit(f"its block {place:,} says that it holds {records} records in {size} bytes")
        packed, mark = tape.read(size), tape.read(_MARK)
        if mark != file.mark:
            what = "is cut off" if len(mark) < _MARK else "does not end in the file's mark"
            raise Misfit(f"its block {place:,} {what}")
        yield _Block(place, records, packed)


def layout(content: bytes, columns: Sequence[Column], limits: Limits) -> None:
    """Raises Misfit where it is no Avro file, has not the declared columns, or has a broken block; OverLimit."""
    file = _opened(content)
    by_header(file.names, columns, limits.columns)
    values = sum(each.records for each in _blocks(file)) * len(file.names)
    if values * BYTES_PER_VALUE > limits.unpacked_bytes:
        said = f"it says that it holds {values:,} values, at {BYTES_PER_VALUE} bytes each more than"
        raise OverLimit(said, "unpacked_bytes", limits.unpacked_bytes)


def count_records(content: bytes) -> int:
    """The records, as its blocks say."""
    return sum(each.records for each in _blocks(_opened(content)))


def read_avro(files: Sequence[bytes], columns: Sequence[Column], limits: Limits) -> Parsed:
    """Read files; other fields than the declared ones go to `extra`. Records count from 1 through all blocks."""
    shape = Record(
        pl.Schema({each.name: as_text(each.dtype) for each in columns}),
        {each.was: each.name for each in columns if each.was},
    )
    accepted, rejected = [shape.frame([])], list[Reject]()
    unreadable: dict[int, str] = {}
    for place, content in enumerate(files):
        try:
            frames, rejects = _read(_opened(content), place, shape, limits)
        except Misfit as why:
            unreadable[place] = str(why)
        else:
            accepted += frames
            rejected += rejects
    return Parsed(pl.concat(accepted), pl.DataFrame(rejected, schema=REJECTED, orient="row"), unreadable)


def _read(file: _File, place: int, shape: Record, limits: Limits) -> tuple[list[pl.DataFrame], list[Reject]]:
    frames: list[pl.DataFrame] = []
    rejects: list[Reject] = []
    for some in batched(enumerate(_documents(file, limits), start=1), RECORDS_AT_ONCE):
        rows: list[Any] = []
        for number, document in some:
            try:
                rows.append((*exact(document, shape, limits), place, number))
            except Rejected as why:
                rejects.append((place, number, as_json(document), str(why)))
        frames.append(shape.frame(rows))
    return frames, rejects


def _documents(file: _File, limits: Limits) -> Iterator[Any]:
    """The records with text leaves. Raises Misfit, OverLimit."""
    import fastavro

    text = _text(file.schema, {})
    room = limits.unpacked_bytes
    for block in _blocks(file):
        data = _unpacked(block, file.codec, room)
        room -= len(data)
        tape = io.BytesIO(data)
        for _ in range(block.records):
            with foreign(f"an Avro file (its block {block.place:,})"):
                record = fastavro.schemaless_reader(tape, file.schema, None)
            yield text(record)
        if tape.tell() != len(data):
            raise Misfit(f"its block {block.place:,} holds more than the {block.records:,} records that it says")


def _unpacked(block: _Block, codec: str, room: int) -> bytes:
    with foreign(f"an Avro file (its block {block.place:,})"):
        data, is_whole = _CODECS[codec](block.packed, room)
        if len(data) > room:
            raise _over(room)
        if not is_whole:
            raise Misfit(f"its block {block.place:,} is cut off")
    return data


def _over(room: int) -> OverLimit:
    return OverLimit("its blocks unpack to more than", "unpacked_bytes", room)


# ---- codecs: what a packed block holds, or a little more of it than there is `room` for, and whether that is all ----


def _stored(packed: bytes, _room: int) -> tuple[bytes, bool]:
    return packed, True


def _streamed(make: Callable[[], Any], packed: bytes, room: int) -> tuple[bytes, bool]:
    unpacker = make()
    return unpacker.decompress(packed, room + 1), unpacker.eof


def _snappy(packed: bytes, room: int) -> tuple[bytes, bool]:
    from cramjam import snappy  # type: ignore[import-untyped]

    block, checksum = packed[:-_CHECKSUM], packed[-_CHECKSUM:]
    if snappy.decompress_raw_len(block) > room:
        raise _over(room)
    data = bytes(snappy.decompress_raw(block))
    if zlib.crc32(data).to_bytes(_CHECKSUM, "big") != checksum:
        raise Misfit("a block of it has not the checksum that it says")
    return data, True


def _zstandard(packed: bytes, room: int) -> tuple[bytes, bool]:
    import zstandard

    frame, data = zstandard.ZstdDecompressor().decompressobj(), io.BytesIO()
    for start in range(0, len(packed), _AT_ONCE):
        data.write(frame.decompress(packed[start : start + _AT_ONCE]))
        if frame.eof or data.tell() > room:
            break
    return data.getvalue(), frame.eof


_CODECS: Mapping[str, Callable[[bytes, int], tuple[bytes, bool]]] = {
    "null": _stored,
    "deflate": partial(_streamed, partial(zlib.decompressobj, -zlib.MAX_WBITS)),
    "snappy": _snappy,
    "zstandard": _zstandard,
    "bzip2": partial(_streamed, bz2.BZ2Decompressor),
    "xz": partial(_streamed, lzma.LZMADecompressor),
}


# ---- values, by the schema: a value alone does not say that it was a float of 32 bits ----


type _Text = Callable[[Any], Any]


def _text(schema: Any, named: dict[str, _Text]) -> _Text:
    """What makes text of a value of this schema; `named` holds those of named types, which may be recursive."""
    if isinstance(schema, str):
        return named.get(schema, _single if schema == "float" else of_value)
    if isinstance(schema, list):
        branches = [each for each in schema if each != "null"]
        inner = _text(branches[0], named) if len(branches) == 1 else of_value
        return lambda value: None if value is None else inner(value)
    kind = schema["type"]
    if kind in ("record", "error"):
        return _of_record(schema, named)
    if kind in ("array", "map"):
        inner = _text(schema["items" if kind == "array" else "values"], named)
        return partial(_each_item if kind == "array" else _each_value, inner)
    return _text(kind, named)


def _each_item(of: _Text, values: list[Any]) -> list[Any]:
    return [of(each) for each in values]


def _each_value(of: _Text, values: dict[str, Any]) -> dict[str, Any]:
    return {name: of(each) for name, each in values.items()}


def _of_record(schema: Any, named: dict[str, _Text]) -> _Text:
    fields: dict[str, _Text] = {}

    def text(value: Any) -> Any:
        return {name: of(value[name]) for name, of in fields.items()}

    named[schema["name"]] = text
    fields.update((each["name"], _text(each["type"], named)) for each in schema["fields"])
    return text


def _single(value: float) -> Any:
    """The shortest text that gives the same float of 32 bits."""
    for digits in range(1, 10):
        short = float(f"{value:.{digits}g}")
        if struct.unpack("f", struct.pack("f", short))[0] == value:
            return of_value(short)
    return of_value(value)  # NaN is not even itself
