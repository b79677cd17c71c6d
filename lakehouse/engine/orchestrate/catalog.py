"""What a person sees of a table in Dagster: columns, checks, metadata, a preview."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import dagster as dg
import polars as pl

from lakehouse.engine.declare.column import Column
from lakehouse.engine.declare.contract import columns_of
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.orchestrate import bronze
from lakehouse.engine.orchestrate.checks import checks_of
from lakehouse.engine.orchestrate.work import CheckSpec, Finding
from lakehouse.engine.quality.masks import masked

PREVIEW_ROWS = 5
CELL_CHARACTERS = 60
_MARKUP = re.compile(r"([\\`*_\[\]|~])")
_BESIDE = {
    "extra": "Fields that the contract does not declare, as JSON, by JSON Pointer",
    "source_name": "The table whose source it came through",
    "source_file": "File below the landing",
    "source_row": "Line in the file, from 1",
    "file_sha256": "SHA-256 of the file as it lay there",
    "batch": "Batch in which the file was taken, from 1",
}


def specs_of(declared: Declaration) -> list[CheckSpec]:
    """Every check that a run of the table reports."""
    return list(bronze.CHECKS) if declared.is_bronze else checks_of(declared)


def check_specs(declared: Declaration) -> list[dg.AssetCheckSpec]:
    asset = [declared.layer, declared.name]
    return [
        dg.AssetCheckSpec(each.name, asset=asset, description=each.description, blocking=each.blocking)
        for each in specs_of(declared)
    ]


def check_result(declared: Declaration, found: Finding) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=[declared.layer, declared.name],
        check_name=found.name,
        passed=found.passed,
        severity=dg.AssetCheckSeverity[found.severity],
        metadata=shown(found.facts),
    )


def definition_metadata(declared: Declaration) -> dict[str, Any]:
    """The Columns tab, the grain and the way of writing."""
    facts: dict[str, Any] = {
        "dagster/column_schema": dg.TableSchema(columns=_columns(declared)),
        "grain": declared.grain,
        "write": repr(declared.write) + (f", deletes={declared.marker!r}" if declared.marker else ""),
    }
    if declared.partition_by:
        facts["stored_by"] = ", ".join(declared.partition_by)
    if declared.zorder:
        facts["laid_by"] = ", ".join(declared.zorder)
    if declared.source:
        facts["source"] = declared.source.pattern
    if declared.runs_on:
        facts["runs_on"] = repr(declared.runs_on)
    return facts


def _columns(declared: Declaration) -> list[dg.TableColumn]:
    columns = columns_of(declared.contract)
    shown = [_column(each, declared.stored_schema[each.name]) for each in columns]
    if declared.is_bronze:
        stored = declared.stored_schema
        shown += [dg.TableColumn(name, type_name(stored[name]), description) for name, description in _BESIDE.items()]
    return shown


def _column(each: Column, stored: pl.DataType) -> dg.TableColumn:
    other = ["key"] if each.key else []
    if each.dtype != stored:
        other.append("its fields are text" if each.fields else f"reads as {type_name(each.dtype)}")
    if each.text is not None:
        other.append(f"written as {each.text}")
    return dg.TableColumn(
        name=each.name,
        type=type_name(stored),
        description=_words(each),
        constraints=dg.TableColumnConstraints(nullable=each.nullable, other=other),
        tags={**({"unit": each.unit} if each.unit else {}), **({"personal": "true"} if each.is_personal else {})}
        or None,
    )


def type_name(dtype: pl.DataType) -> str:
    """A Polars type in as few words as a person needs."""
    match dtype:
        case pl.Decimal():
            return f"Decimal({dtype.precision}, {dtype.scale})"
        case pl.Datetime():
            return f"Datetime({', '.join(filter(None, (dtype.time_unit, dtype.time_zone)))})"
        case pl.List():
            return f"List({type_name(dtype.inner)})"  # type: ignore[arg-type] # polars types inner as a class or an instance
        case pl.Struct():
            return f"Struct({', '.join(each.name for each in dtype.fields)})"
        case _:
            return str(dtype)


def _words(each: Column) -> str:
    """A column's words with its unit; those of the fields that it holds stand behind them."""
    said = f"{each.description} [{each.unit}]" if each.unit else each.description
    said = f"{said} (personal)" if each.personal else said
    if not each.fields:
        return said
    fields = [f"{field.name} ({type_name(field.dtype)}): {_words(field)}" for field in each.fields]
    return f"{said}. Each holds {'; '.join(fields)}"


def shown(facts: Mapping[str, object]) -> dict[str, Any]:
    """Facts as Dagster metadata."""
    return {name: _shown(value) for name, value in facts.items()}


def _shown(value: object) -> Any:
    if isinstance(value, list | tuple | dict) and not isinstance(value, dg.MetadataValue):  # which may be a tuple
        return dg.MetadataValue.json(value)  # type: ignore[arg-type] # facts hold only what JSON holds
    return value if isinstance(value, str | int | float | bool | dg.MetadataValue) else str(value)


def as_table(rows: pl.DataFrame) -> dg.TableMetadataValue:
    """A small frame as a table in metadata."""
    columns = [dg.TableColumn(name, type_name(dtype)) for name, dtype in rows.schema.items()]
    return dg.MetadataValue.table([*map(dg.TableRecord, rows.rows(named=True))], dg.TableSchema(columns))


def preview(declared: Declaration, rows: pl.DataFrame) -> dg.MarkdownMetadataValue:
    """The first rows as a Markdown table; long values are cut, and nothing in them is taken for Markdown or HTML.

    Values of personal columns are masked.
    """
    first = masked(rows.head(PREVIEW_ROWS), declared.personal)
    lines = [first.columns, ["---"] * first.width, *([_cell(value) for value in row] for row in first.rows())]
    return dg.MetadataValue.md("\n".join(f"| {' | '.join(line)} |" for line in lines))


def _cell(value: object) -> str:
    if value is None:
        return ""
    said = str(value)
    said = f"{said[:CELL_CHARACTERS]} …" if len(said) > CELL_CHARACTERS else said
    return _MARKUP.sub(r"\\\1", " ".join(said.split())).replace("<", "&lt;")
