"""Dagster's partition keys as a predicate over a table's columns: expressions with literals, never pasted text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
import polars as pl

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.number import number

_INTEGERS = (pl.Int8, pl.Int16, pl.Int32, pl.Int64)
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
        wanted = {tuple(self._by_dimension(key).values()) for key in self.keys}
        return self._holds(schema, list(self.columns), wanted)

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

    def _holds(self, schema: pl.Schema, dimensions: Sequence[str], wanted: Iterable[tuple[str, ...]]) -> pl.Expr:
        """Keys that go with the same keys of the other dimensions share one term, so that a range stays short."""
        dimension, *others = dimensions
        if not others:
            return self._within(schema, dimension, {key for (key,) in wanted})
        beside: dict[str, set[tuple[str, ...]]] = {}
        for key, *rest in wanted:
            beside.setdefault(key, set()).add(tuple(rest))
        alike: dict[frozenset[tuple[str, ...]], set[str]] = {}
        for key, rests in beside.items():
            alike.setdefault(frozenset(rests), set()).add(key)
        terms = [
            self._within(schema, dimension, keys) & self._holds(schema, others, rests) for rests, keys in alike.items()
        ]
        return pl.any_horizontal(terms) if terms else pl.lit(False)

    def _within(self, schema: pl.Schema, dimension: str, keys: set[str]) -> pl.Expr:
        column, definition = self.columns[dimension], self.definitions[dimension]
        dtype = schema[column]
        if not keys:
            return pl.lit(False)
        if isinstance(definition, dg.TimeWindowPartitionsDefinition) and isinstance(dtype, pl.Date | pl.Datetime):
            bounds = [self._window(column, dtype, definition, key) for key in keys]
            # ">=, <", not is_between: what the statistics of a file are asked with
            windows = [
                (pl.col(column) >= pl.lit(start, dtype=dtype)) & (pl.col(column) < pl.lit(end, dtype=dtype))
                for start, end in _joined(bounds)
            ]
            return windows[0] if len(windows) == 1 else pl.any_horizontal(windows)
        values = sorted(self._value(column, dtype, key) for key in keys)
        if len(values) == 1:
            return pl.col(column) == pl.lit(values[0], dtype=dtype)
        return pl.col(column).is_in(pl.lit(pl.Series(values, dtype=dtype).implode()))

    def _is_one_value(self, dtype: pl.DataType, definition: dg.PartitionsDefinition[Any], key: str) -> bool:
        if isinstance(dtype, pl.Date) and isinstance(definition, dg.TimeWindowPartitionsDefinition):
            window = definition.time_window_for_partition_key(key)
            return (window.end.date() - window.start.date()).days == 1
        return not isinstance(dtype, pl.Datetime)

    def _window(
        self, column: str, dtype: pl.DataType, definition: dg.TimeWindowPartitionsDefinition, key: str
    ) -> tuple[Any, Any]:
        """From the start of a partition to before its end: UTC, or days of the definition's own time zone."""
        window = definition.time_window_for_partition_key(key)
        if isinstance(dtype, pl.Datetime):
            return _in_utc(window.start), _in_utc(window.end)
        if window.start.time() != window.end.time():
            raise Refused(
                f"{self.asset}: partition {key!r} is part of a day, which the Date column {column} cannot tell. "
                "Nothing was written. Make the column Datetime('us', 'UTC'), or a String that holds the key."
            )
        return window.start.date(), window.end.date()

    def _value(self, column: str, dtype: pl.DataType, key: str) -> Any:
        """What the column holds for `key`: the very text, or the number or day that prints back to it."""
        if isinstance(dtype, pl.String):
            return key
        if not isinstance(dtype, (pl.Date, *_INTEGERS)):
            raise Refused(
                f"{self.asset}: {column} is {dtype}, by which partition {key!r} cannot be told. Nothing was written. "
                "Use a String, an integer or a Date; with time windows also Datetime('us', 'UTC')."
            )
        try:
            value = date.fromisoformat(key) if isinstance(dtype, pl.Date) else _integer(key, dtype)
            fits = str(value) == key
        except ValueError:
            value, fits = None, False
        if not fits:
            raise Refused(
                f"{self.asset}: partition {key!r} is no {dtype} that prints back to it, as the column {column} needs. "
                "Nothing was written. Make the column a String, or spell the keys as the column prints."
            )
        return value


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
    return {dimension: columns[dimension] for dimension in definitions}


def _plain(value: Any) -> Any:
    """Metadata of an asset of another code location comes wrapped."""
    return value.value if isinstance(value, dg.MetadataValue) else value


def _in_utc(moment: datetime) -> datetime:
    return datetime.fromtimestamp(moment.timestamp(), UTC)


def _joined[T: (date, datetime)](bounds: Iterable[tuple[T, T]]) -> list[tuple[T, T]]:
    """Windows that follow each other as one."""
    joined: list[tuple[T, T]] = []
    for start, end in sorted(bounds):
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _integer(key: str, dtype: pl.DataType) -> int:
    value = int(key)
    if max(value, ~value).bit_length() >= {pl.Int8: 8, pl.Int16: 16, pl.Int32: 32, pl.Int64: 64}[type(dtype)]:
        raise ValueError(key)
    return value


def _example(row: Mapping[str, Any]) -> str:
    values = [f"{name} = {value!r}" if isinstance(value, str) else f"{name} = {value}" for name, value in row.items()]
    return f"{' and '.join(values[:-1])} ({number(row[_ROWS], 'row')})"
