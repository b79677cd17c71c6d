"""Files of every format and packing, made in the test: real bytes."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import json
import re
import stat
import zipfile
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any
from warnings import catch_warnings

import fastavro
import polars as pl
import xlsxwriter
import zstandard

from lakehouse.engine.declare.formats import Avro, Csv, Format, Json, JsonLines, Parquet

TIME = "yyyy-mm-dd hh:mm:ss"


def zipped(*files: tuple[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", kind) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return packed.getvalue()


def added(packed: bytes, name: str, content: bytes) -> bytes:
    """The zip with a further file, also of a name that it has."""
    out = io.BytesIO(packed)
    with zipfile.ZipFile(out, "a") as archive, catch_warnings(action="ignore"):
        archive.writestr(name, content)
    return out.getvalue()


def link(name: str, leads_to: str) -> bytes:
    """A zip with a symbolic link, as `zip -y` writes it."""
    out, inside = io.BytesIO(), zipfile.ZipInfo(name)
    inside.create_system, inside.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(inside, leads_to)
    return out.getvalue()


def locked(zipped: bytes) -> bytes:
    """The zip with the flag of a password set: in the header of its file, and in the central directory."""
    changed = bytearray(zipped)
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        changed[zipped.index(mark) + flags] |= 1
    return bytes(changed)


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda content: content,
    ".gz": lambda content: gzip.compress(content, mtime=0),
    ".zip": lambda content: zipped(("inside", content)),
    ".zst": lambda content: zstandard.ZstdCompressor().compress(content),
}


def json_document(records: Iterable[Any]) -> bytes:
    return json.dumps(list(records), default=_written).encode()


def parquet(columns: dict[str, Any] | pl.DataFrame, **options: Any) -> bytes:
    out = io.BytesIO()
    pl.DataFrame(columns).write_parquet(out, **options)
    return out.getvalue()


def avro(fields: dict[str, Any], records: Iterable[dict[str, Any]], **options: Any) -> bytes:
    """`fields`: the Avro type of each."""
    schema = {"type": "record", "name": "R", "fields": [{"name": name, "type": of} for name, of in fields.items()]}
    out = io.BytesIO()
    fastavro.writer(out, schema, list(records), **options)
    return out.getvalue()


def nullable(of: Any) -> list[Any]:
    return ["null", of]


def logical(of: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"type": of, "logicalType": kind, **more}


def workbook(*rows: Sequence[Any], write: Callable[[Any, Any], None] | None = None, **options: Any) -> bytes:
    """One sheet. A date, a time and a datetime get a format that shows them; `write` may do more: book, sheet."""
    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, {"in_memory": True, "default_date_format": TIME, **options})
    sheet = book.add_worksheet("Data")
    for number, row in enumerate(rows):
        for place, cell in enumerate(row):
            sheet.write(number, place, cell)
    if write:
        write(book, sheet)
    book.close()
    return out.getvalue()


def rewritten(book: bytes, old: str, new: str, part: str = "xl/worksheets/sheet1.xml") -> bytes:
    """The workbook with its sheet's XML changed: what no library writes."""
    with zipfile.ZipFile(io.BytesIO(book)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts[part], times = re.subn(old.encode(), new.encode(), parts[part])
    assert times
    return zipped(*parts.items())


def midnight(text: str) -> dt.datetime:
    return dt.datetime.combine(dt.date.fromisoformat(text), dt.time())


def file_of(form: Format, *records: dict[str, Any]) -> bytes:
    """The records, all of the same keys, as a file of this format; values in the types that it has for them."""
    match form:
        case JsonLines():
            return "".join(f"{json.dumps(each, default=_written)}\n" for each in records).encode()
        case Json():
            return json_document(records)
        case Csv():
            text = io.StringIO()
            out = csv.DictWriter(text, records[0], lineterminator="\n")
            out.writeheader()
            out.writerows({name: _written(value) for name, value in each.items()} for each in records)
            return text.getvalue().encode()
        case Parquet():
            return parquet(pl.DataFrame(records, infer_schema_length=None))
        case Avro():
            return avro({name: _avro_type(value, name) for name, value in records[0].items()}, records)
        case _:
            values = (
                [float(cell) if isinstance(cell, Decimal) else cell for cell in each.values()] for each in records
            )
            return workbook(list(records[0]), *values)


def _written(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dt.date):
        return value.isoformat()
    return value if value is None else str(value)


def _avro_type(value: Any, name: str) -> Any:
    if isinstance(value, list):
        return {"type": "array", "items": _avro_type(value[0], name)}
    if isinstance(value, dict):
        fields = [{"name": key, "type": _avro_type(inner, key)} for key, inner in value.items()]
        return {"type": "record", "name": f"{name}_record", "fields": fields}
    decimal = logical("bytes", "decimal", precision=20, scale=2)
    types = {
        bool: "boolean", int: "long", float: "double", str: "string", Decimal: decimal, dt.date: logical("int", "date"),
        dt.datetime: logical("long", "local-timestamp-micros"),
    }  # fmt: skip
    return nullable(types.get(type(value), "string"))
