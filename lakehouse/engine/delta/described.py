"""A table's columns as its log has them: names and types, and beside each what is to be known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import polars as pl
from deltalake import DeltaTable
from deltalake import Schema as DeltaSchema

type Notes = Mapping[str, Mapping[str, str]]
"""What is to be known of a column, by its name: `Column.note`."""


type Columns = pl.Schema | DeltaSchema
"""Names and types; Delta's own also hold the notes."""


def as_delta(schema: Columns, notes: Notes | None = None) -> DeltaSchema:
    """The columns with their notes."""
    if isinstance(schema, DeltaSchema):
        return schema
    columns = _fields(DeltaSchema.from_arrow(schema))
    for each in columns:
        each["metadata"] = dict((notes or {}).get(each["name"], {}))
    return DeltaSchema.from_json(_as_json(columns))


def meta_data(table: DeltaTable, schema: DeltaSchema, by: Sequence[str]) -> dict[str, object]:
    """The action that gives a table these columns, and folders `by` some, and leaves it all else that it has.

    Also what it says of each.
    """
    standing, columns = table.metadata(), _fields(schema)
    told = {each["name"]: each["metadata"] for each in _fields(table.schema())}
    for each in columns:
        each["metadata"] = {**told.get(each["name"], {}), **each["metadata"]}
    return {
        "id": standing.id,
        "name": standing.name,
        "description": standing.description,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": _as_json(columns),
        "partitionColumns": [*by],
        "configuration": standing.configuration,
        "createdTime": standing.created_time,
    }


def _fields(schema: DeltaSchema) -> list[dict[str, Any]]:
    return msgspec.json.decode(schema.to_json())["fields"]


def _as_json(fields: list[dict[str, Any]]) -> str:
    return msgspec.json.encode({"type": "struct", "fields": fields}).decode()
