"""Dagster's partition keys as a predicate over a table's columns: expressions with literals, never pasted text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import dagster as dg
import polars as pl

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.number import number
from lakehouse.engine.delta.partition_values import Dimension, with_values
from lakehouse.engine.delta.slices import Slices as ValueSlices

_UTC = pl.Datetime("us", "UTC")
_EXAMPLES = 5
_ROWS = "number of rows"  # holds spaces, so that no column of a table can have this name
_WAY_OUT = (
    'metadata={"partition_by": "<column>"} on the asset that is stored names it; with a MultiPartitionsDefinition '
    '{"<dimension>": "<column>", …}.'
)


@dataclass(frozen=True)
class Slices:
    """Some partitions of one asset, and the columns by which its rows belong to them.

    `columns` and `definitions` by dimension, in the definition's order; an asset with one dimension calls it "".
    """

    asset: str
    columns: Mapping[str, str]
    definitions: Mapping[str, dg.PartitionsDefinition[Any]]
    keys: tuple[str, ...]

    @classmethod
    def of(
        cls, asset: str, metadata: Mapping[str, Any], definition: dg.PartitionsDefinition[Any], keys: Iterable[str]
    ) -> Slices:
        """Raises Refused when the metadata of the asset does not say which column holds its partitions."""
        definitions = _dimensions(definition)
        return cls(asset, _columns(asset, metadata, definitions), definitions, tuple(keys))

    def check(self, schema: pl.Schema) -> None:
        """Refuse a table without these columns, and one whose types cannot tell the partitions apart."""
        for column in self.columns.values():
            if column not in schema:
                raise Refused(
                    f"{self.asset} is partitioned by {column}, and has no such column: {', '.join(schema)}. "
                    f"Nothing was written. Add it, or name another: {_WAY_OUT} A name only, no expression."
                )
        self.predicate(schema)

    def folders(self, schema: pl.Schema) -> list[str]:
        """The columns that become folders of a new table: those that hold one value for a key, and never all columns.

        Rows keep their order within a folder only, and a month of days would be thirty small files.
        """
        first = self._by_dimension(self.keys[0])
        columns = [column for dimension, column in self.columns.items()
                   if self._is_one_value(schema[column], self.definitions[dimension], first[dimension])]  # fmt: skip
        return list(dict.fromkeys(columns)) if len(set(columns)) < len(schema) else []

    def predicate(self, schema: pl.Schema) -> pl.Expr:
        """True for a row that belongs to one of the partitions."""
        parts = [self._by_dimension(key) for key in self.keys]
        told = {column: [part[dimension] for part in parts] for dimension, column in self.columns.items()}
        dimensions = [
            Dimension(column, schema[column], _window(self.definitions[dimension]))
            for dimension, column in self.columns.items()
        ]
        keys = pl.DataFrame(told, schema=dict.fromkeys(told, pl.String()))
        return ValueSlices(with_values(keys, dimensions, self.asset).unique()).holds

    def one(self, key: str) -> Slices:
        return Slices(self.asset, self.columns, self.definitions, (key,))

    def sizes(self, rows: pl.LazyFrame, schema: pl.Schema) -> dict[str, int]:
        """Rows by partition key. Raises Refused, with count and examples, for rows that belong to none of them."""
        columns = list(dict.fromkeys(self.columns.values()))
        is_outside = ~self.predicate(schema).fill_null(value=False)
        outside = rows.filter(is_outside).group_by(columns).len(_ROWS).collect()
        if outside.height or len(self.keys) == 1:
            total = int(rows.select(pl.len()).collect().item())
            if outside.height:
                raise Refused(self._strangers(outside.sort(_ROWS, *columns, descending=True), total))
            return {self.keys[0]: total}
        values = rows.group_by(columns).len(_ROWS).collect()
        sizes = values.select(
            pl.col(_ROWS).filter(self.one(key).predicate(schema)).sum().alias(str(number))
            for number, key in enumerate(self.keys)
        )
        return dict(zip(self.keys, map(int, sizes.row(0)), strict=True))

    def _strangers(self, outside: pl.DataFrame, total: int) -> str:
        examples = [_example(row) for row in outside.head(_EXAMPLES).to_dicts()]
        if outside.height > _EXAMPLES:
            examples.append(f"and {outside.height - _EXAMPLES:,} more values")
        keys = [repr(str(key)) for key in self.keys]
        asked = ", ".join(keys) if len(keys) <= _EXAMPLES else f"{keys[0]} to {keys[-1]}, {len(keys):,} in all"
        return (
            f"{self.asset} refused {outside[_ROWS].sum():,} of {number(total, 'row')} that lie outside the run's "
            f"partitions ({asked}): {'; '.join(examples)}. Nothing was written. "
            "Filter them in the asset, or run the partitions they belong to."
        )

    def _by_dimension(self, key: str) -> dict[str, str]:
        if list(self.columns) == [""]:
            return {"": key}
        parts: Mapping[str, str] = key.keys_by_dimension  # type: ignore[attr-defined] # a MultiPartitionKey, a str too
        return {dimension: parts[dimension] for dimension in self.columns}

    def _is_one_value(self, dtype: pl.DataType, definition: dg.PartitionsDefinition[Any], key: str) -> bool:
        if isinstance(dtype, pl.Date) and isinstance(definition, dg.TimeWindowPartitionsDefinition):
            window = definition.time_window_for_partition_key(key)
            return (window.end.date() - window.start.date()).days == 1
        return not isinstance(dtype, pl.Datetime)


def _window(definition: dg.PartitionsDefinition[Any]) -> Callable[[str], tuple[datetime, datetime]] | None:
    if not isinstance(definition, dg.TimeWindowPartitionsDefinition):
        return None
    return lambda key: tuple(definition.time_window_for_partition_key(key))  # type: ignore[return-value] # of two


def _dimensions(definition: dg.PartitionsDefinition[Any]) -> dict[str, dg.PartitionsDefinition[Any]]:
    if isinstance(definition, dg.MultiPartitionsDefinition):
        return {each.name: each.partitions_def for each in definition.partitions_defs}
    return {"": definition}


def _columns(
    asset: str, metadata: Mapping[str, Any], definitions: Mapping[str, dg.PartitionsDefinition[Any]]
) -> dict[str, str]:
    """`partition_by` as dagster-polars reads it, or Dagster's older word `partition_expr`."""
    said = {word: _plain(metadata[word]) for word in ("partition_by", "partition_expr") if word in metadata}
    if not said:
        raise Refused(f"{asset} is partitioned, and nothing says by which column its rows are. {_WAY_OUT}")
    columns, *other = said.values()
    if other and other[0] != columns:
        raise Refused(f"{asset}: partition_by is {columns!r} and partition_expr {other[0]!r}. Leave one of them out.")
    if isinstance(columns, str):
        columns = {"": columns}
    is_named = isinstance(columns, dict) and all(isinstance(column, str) for column in columns.values())
    if not is_named or set(columns) != set(definitions):
        wanted = " and ".join(definitions) if "" not in definitions else "one column, as a text"
        raise Refused(f"{asset}: partition_by must give {wanted}; it is {next(iter(said.values()))!r}. {_WAY_OUT}")
    if len(set(columns.values())) < len(columns):
        raise Refused(f"{asset}: partition_by gives one column to two dimensions, {columns!r}. Give each its own.")
    return {dimension: columns[dimension] for dimension in definitions}


def _plain(value: Any) -> Any:
    """Metadata of an asset of another code location comes wrapped."""
    return value.value if isinstance(value, dg.MetadataValue) else value


def _example(row: Mapping[str, Any]) -> str:
    values = [f"{name} = {value!r}" if isinstance(value, str) else f"{name} = {value}" for name, value in row.items()]
    return f"{' and '.join(values[:-1])} ({number(row[_ROWS], 'row')})"
