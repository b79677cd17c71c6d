"""One door to the readers of files: which format a file has, what its records are, and how many."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from lakehouse.engine.declare.column import Column
from lakehouse.engine.declare.contract import columns_of
from lakehouse.engine.declare.formats import Avro, Csv, Excel, Format, Json, JsonLines, Limits, Parquet
from lakehouse.engine.declare.table import Declaration, as_text
from lakehouse.engine.ingest import csv_records
from lakehouse.engine.ingest.json_lines import BYTE_ORDER_MARK, read_json_lines
from lakehouse.engine.ingest.misfit import Misfit, OverLimit
from lakehouse.engine.ingest.parsed import Parsed

__all__ = ["Fitted", "fit", "fit_lines", "fitted", "parse", "records"]


@dataclass(frozen=True)
class Fitted:
    """A file that fits a format: its bytes, or what was made of them to find that out, and its records, counted.

    They are counted by other code than that which reads them: the standard library's, or the file's own count.
    """

    form: Format
    content: Any
    records: int


def fit(declared: Declaration, content: bytes) -> Fitted:
    """The first of the source's formats that the file fits. Raises Misfit, which says why of each, or OverLimit."""
    assert declared.source is not None  # noqa: S101 # what has files is a bronze table
    source, said = declared.source, list[str]()
    for form in source.dialects:
        try:
            return fitted(content, form, _sent(declared), source.limits)
        except OverLimit:
            raise
        except Misfit as why:
            said.append(f"as {form}: {why}" if len(source.dialects) > 1 else str(why))
    raise Misfit("; ".join(said))


def fit_lines(content: bytes) -> Fitted:
    """JSON lines, which every file fits."""
    lines = io.BytesIO(content.removeprefix(BYTE_ORDER_MARK))
    return Fitted(JsonLines(), content, sum(1 for line in lines if line.strip(b" \t\r\n")))


def fitted(content: bytes, form: Format, columns: Sequence[Column], limits: Limits) -> Fitted:
    match form:
        case Csv():
            file = csv_records.opened(content, form, columns, limits)
            return Fitted(form, file, file.records)
        case Json():
            from lakehouse.engine.ingest import json_document

            return Fitted(form, json_document.items(content, form), json_document.count_records(content, form))
        case Parquet():
            from lakehouse.engine.ingest import parquet_records

            return Fitted(form, content, parquet_records.opened(content, columns, limits))
        case Avro():
            from lakehouse.engine.ingest import avro_records

            avro_records.layout(content, columns, limits)
            return Fitted(form, content, avro_records.count_records(content))
        case Excel():
            from lakehouse.engine.ingest import excel_records

            sheet = excel_records.opened(content, form, columns, limits)
            return Fitted(form, sheet, excel_records.count_records(sheet))
        case _:
            return fit_lines(content)


def parse(declared: Declaration, files: Sequence[Fitted]) -> Parsed:
    """The records of files of one format."""
    assert declared.source is not None  # noqa: S101 # as above
    return records(files, _sent(declared), declared.source.limits)


def records(files: Sequence[Fitted], columns: Sequence[Column], limits: Limits) -> Parsed:
    """The records of files of one format, by the columns that they were fitted with; all other fields go to `extra`."""
    form, contents = files[0].form, [each.content for each in files]
    schema = pl.Schema({each.name: as_text(each.dtype) for each in columns})
    was = {each.was: each.name for each in columns if each.was}
    match form:
        case Csv():
            return csv_records.read_csv(contents, form, columns, limits)
        case Json():
            from lakehouse.engine.ingest.json_document import read_json

            return read_json(contents, schema, limits, was)
        case Parquet():
            from lakehouse.engine.ingest.parquet_records import read_parquet

            return read_parquet(contents, columns, limits)
        case Avro():
            from lakehouse.engine.ingest.avro_records import read_avro

            return read_avro(contents, columns, limits)
        case Excel():
            from lakehouse.engine.ingest.excel_records import read_excel

            return read_excel(contents, columns)
        case _:
            return read_json_lines(contents, schema, limits, was)


def _sent(declared: Declaration) -> list[Column]:
    """The columns that stand in the files themselves."""
    return [each for each in columns_of(declared.contract) if each.name not in declared.beside_schema]
