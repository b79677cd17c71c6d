"""Tables as one draws them: `rows` makes a frame of a drawing, `assert_rows` compares a frame with one.

`rows_sent` makes the frame that a bronze table stores of it.

A drawing shows only the columns that its test is about. A cell is the value as text, a struct or a list as JSON; `-` is
null, and `''` the empty text. Columns are parted by `|`; the line of dashes below the names may be left out.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
from polars.testing import assert_frame_equal

from lakehouse.engine.declare.column import Column
from lakehouse.engine.declare.contract import Bronze, Contract, columns_of, schema_of
from lakehouse.engine.declare.table import PROVENANCE
from lakehouse.engine.declare.text import DateText, LocalTime, TrueFalse, UtcTime
from lakehouse.engine.quality.text import element

_NULL, _EMPTY = "-", "''"
_PLAUSIBLE: dict[type[pl.DataType], Any] = {
    pl.String: "x",
    pl.Boolean: True,
    pl.Date: date(2024, 5, 1),
    pl.Datetime: datetime(2024, 5, 1, 9, tzinfo=UTC),
    pl.Decimal: Decimal(1),
    pl.Binary: b"x",
}


def rows(of: type[Contract] | pl.Schema, drawn: str) -> pl.LazyFrame:
    """The drawn rows, as a reader is handed them: typed, every column there, what is not drawn plausible or null."""
    names, cells = _cells(drawn)
    nullable = {each.name for each in columns_of(of) if each.nullable} if isinstance(of, type) else set[str]()
    schema = _schema(of)
    if strangers := [name for name in names if name not in schema]:
        raise ValueError(f"drawn columns that are not there: {', '.join(strangers)}; there are {', '.join(schema)}")
    made = [
        {
            name: _value(row[names.index(name)], dtype) if name in names
            else number if name == "source_row"
            else None if name in nullable
            else _default(dtype)
            for name, dtype in schema.items()
        }
        for number, row in enumerate(cells, start=1)
    ]  # fmt: skip
    return pl.DataFrame(made, schema=schema).lazy()


def rows_sent(table: Any, drawn: str) -> pl.LazyFrame:
    """The drawn rows as a bronze table stores them, as text; what is not drawn is null, or text that reads."""
    declared = table.declaration
    names, cells = _cells(drawn)
    columns = {each.name: each for each in columns_of(declared.contract)}
    if strangers := [name for name in names if name not in columns]:
        raise ValueError(f"drawn columns that are not there: {', '.join(strangers)}; there are {', '.join(columns)}")
    beside = {name: "x" if dtype == pl.String else 1 for name, dtype in declared.beside_schema.items()}
    made = [
        beside | {
            name: _sent(row[names.index(name)], each) if name in names else None if each.nullable else _as_sent(each)
            for name, each in columns.items()
        }
        for row in cells
    ]  # fmt: skip
    return pl.DataFrame(made, schema=declared.stored_schema).lazy()


def assert_rows(frame: pl.LazyFrame | pl.DataFrame, of: type[Contract] | pl.Schema, drawn: str) -> None:
    """The frame has the declared columns and types, and in the drawn columns exactly the drawn rows, in order."""
    got = frame.lazy().collect()
    schema = schema_of(of) if isinstance(of, type) else of
    assert dict(got.schema) == dict(schema), f"the frame has {got.schema}, declared is {schema}"
    names, cells = _cells(drawn)
    wanted = pl.DataFrame(
        [
            dict(zip(names, (_value(c, schema[n]) for n, c in zip(names, row, strict=True)), strict=True))
            for row in cells
        ],
        schema={name: schema[name] for name in names},
    )
    assert_frame_equal(got.select(names), wanted)


def _schema(of: type[Contract] | pl.Schema) -> pl.Schema:
    if not isinstance(of, type):
        return of
    return pl.Schema({**schema_of(of), **PROVENANCE}) if issubclass(of, Bronze) else schema_of(of)


def _cells(drawn: str) -> tuple[list[str], list[list[str]]]:
    lines = [line.strip() for line in drawn.strip().splitlines()]
    head, *body = [[cell.strip() for cell in line.split("|")] for line in lines if line.strip("-+ ")]
    for row in body:
        if len(row) != len(head):
            raise ValueError(f"{len(row)} cells under {len(head)} names: {' | '.join(row)}")
    return head, body


def _value(cell: str, dtype: Any) -> Any:  # noqa: PLR0911 # one per type
    if cell == _NULL:
        return None
    if isinstance(dtype, pl.List | pl.Struct):
        return _nested(json.loads(cell, parse_float=str), dtype)
    if cell == _EMPTY:
        cell = ""
    if dtype == pl.Boolean:
        return {"true": True, "false": False}[cell]
    if dtype == pl.Datetime:
        at = datetime.fromisoformat(cell)
        return at if at.tzinfo else at.replace(tzinfo=UTC)
    if dtype == pl.Date:
        return date.fromisoformat(cell)
    if dtype == pl.Decimal:
        return Decimal(cell)
    if dtype.is_integer():
        return int(cell)
    return float(cell) if dtype.is_float() else cell


def _nested(value: Any, dtype: Any) -> Any:
    """A list or struct from JSON; fields that are not drawn are plausible."""
    if value is None:
        return None
    if isinstance(dtype, pl.List):
        return [_nested(each, dtype.inner) for each in value]
    if isinstance(dtype, pl.Struct):
        return {
            each.name: _nested(value[each.name], each.dtype) if each.name in value else _default(each.dtype)
            for each in dtype.fields
        }
    return _value(value if isinstance(value, str) else json.dumps(value), dtype)


def _sent(cell: str, column: Column) -> Any:
    if cell == _NULL:
        return None
    if column.dtype.is_nested():
        return _sent_json(json.loads(cell, parse_int=str, parse_float=str), column)
    return "" if cell == _EMPTY else cell


def _sent_json(value: Any, column: Column) -> Any:
    """A list or an object with text leaves; of an object, fields that are not drawn read as something plausible."""
    if isinstance(value, list) and isinstance(column.dtype, pl.List):
        return [_sent_json(each, element(column, column.dtype)) for each in value]
    if isinstance(value, dict):
        return {
            each.name: _sent_json(value[each.name], each) if each.name in value else _as_sent(each)
            for each in column.fields
        }
    return str(value).lower() if isinstance(value, bool) else value


def _as_sent(column: Column) -> Any:
    """What `_default` says of the type, as text that reads as that."""
    if isinstance(column.dtype, pl.Struct):
        return {each.name: _as_sent(each) for each in column.fields}
    value, form = _default(column.dtype), column.text
    if isinstance(value, bool):
        return form.true if isinstance(form, TrueFalse) else "true"
    if isinstance(value, datetime):
        pattern = form.pattern if isinstance(form, LocalTime | UtcTime) else "%Y-%m-%dT%H:%M:%S%z"
        value = value.astimezone(ZoneInfo(form.zone)) if isinstance(form, LocalTime) else value
        return value.strftime(pattern.replace("%z", "Z"))
    if isinstance(value, date):
        return value.strftime(form.pattern if isinstance(form, DateText) else "%Y-%m-%d")
    return value if isinstance(value, str | list) else str(value)


def _default(dtype: Any) -> Any:
    if isinstance(dtype, pl.List):
        return []
    if isinstance(dtype, pl.Struct):
        return {each.name: _default(each.dtype) for each in dtype.fields}
    base = dtype if isinstance(dtype, type) else type(dtype)
    return _PLAUSIBLE.get(base, 1)
