"""One door to the readers of files: which format a file has, what its records are, and how many."""

from __future__ import annotations

import io
from collections.abc import Sequence

import polars as pl

from lakehouse.engine.declare.column import Column
from lakehouse.engine.declare.contract import columns_of
from lakehouse.engine.declare.source import Csv, Format
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.ingest import csv_records
from lakehouse.engine.ingest.json_lines import read_json_lines
from lakehouse.engine.ingest.parsed import Parsed


def fitting(declared: Declaration, content: bytes) -> tuple[Format | None, str]:
    """The first of the source's formats that the file fits; or None, and why it fits none."""
    assert declared.source is not None  # noqa: S101 # what has files is a bronze table
    said: list[str] = []
    for form in declared.source.dialects:
        why = csv_records.misfit(content, form, _sent(declared)) if isinstance(form, Csv) else None
        if why is None:
            return form, ""
        said.append(f"as {form}: {why}" if len(declared.source.dialects) > 1 else why)
    return None, "; ".join(said)


def parse(declared: Declaration, contents: Sequence[bytes], form: Format) -> Parsed:
    """The records of files of one format."""
    if isinstance(form, Csv):
        return csv_records.read_csv(contents, form, _sent(declared))
    schema = pl.Schema({each.name: declared.stored_schema[each.name] for each in _sent(declared)})
    return read_json_lines(contents, schema, was={each.was: each.name for each in _sent(declared) if each.was})


def count_records(content: bytes, form: Format) -> int:
    """The records of a file, counted by other code than that which reads them."""
    if isinstance(form, Csv):
        return csv_records.count_records(content, form)
    return sum(1 for line in io.BytesIO(content.removeprefix(b"\xef\xbb\xbf")) if line.strip(b" \t\r\n"))


def _sent(declared: Declaration) -> list[Column]:
    """The columns that stand in the files themselves."""
    return [each for each in columns_of(declared.contract) if each.name not in declared.beside_schema]
