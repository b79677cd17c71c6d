"""Dagster's partitions as slices of a table; and which of them are due."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import Any

import dagster as dg
import polars as pl

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.partitions import PARTITION
from lakehouse.engine.delta.partition_values import Dimension, with_values


@dataclass(frozen=True)
class DagsterPartitions:
    """A `partitions_def=`: one definition for each column by which its table is written."""

    definition: dg.PartitionsDefinition[Any]

    def faults(self, columns: Sequence[str], schema: pl.Schema) -> Iterator[str]:
        if isinstance(self.definition, dg.DynamicPartitionsDefinition):
            yield (
                "partitions_def= is dynamic: its partitions stand in one Dagster instance only, where `lakehouse run` "
                "and `rebuild` do not look. Name them in a StaticPartitionsDefinition, or write Affected[…] slices."
            )
            return
        dimensions = self._dimensions(columns)
        if set(dimensions) != set(columns) or len(columns) != len(dimensions):
            wanted = ", ".join(dimensions) if self._is_multi else "one column"
            yield f"partitions_def= has {wanted}, and ReplacePartition(…) {', '.join(columns)}: they must be the same."
            return
        try:
            self.slices(self._some_keys(), columns, schema)
        except Refused as why:
            yield str(why).removeprefix("partitions_def=: ")

    def keys(self) -> list[str]:
        return list(self.definition.get_partition_keys())

    def slices(self, keys: Sequence[str], columns: Sequence[str], schema: pl.Schema) -> pl.DataFrame:
        definitions = self._dimensions(columns)
        parts = [self._by_dimension(str(key), columns) for key in keys]
        told = {PARTITION: [str(key) for key in keys], **{name: [part[name] for part in parts] for name in columns}}
        dimensions = [Dimension(name, schema[name], _window(definitions[name])) for name in columns]
        return with_values(pl.DataFrame(told, schema=dict.fromkeys(told, pl.String())), dimensions, "partitions_def=")

    @property
    def _is_multi(self) -> bool:
        return isinstance(self.definition, dg.MultiPartitionsDefinition)

    def _dimensions(self, columns: Sequence[str]) -> Mapping[str, dg.PartitionsDefinition[Any]]:
        if isinstance(self.definition, dg.MultiPartitionsDefinition):
            return {each.name: each.partitions_def for each in self.definition.partitions_defs}
        return {columns[0]: self.definition}

    def _by_dimension(self, key: str, columns: Sequence[str]) -> Mapping[str, str]:
        if isinstance(self.definition, dg.MultiPartitionsDefinition):
            return self.definition.get_partition_key_from_str(key).keys_by_dimension
        return {columns[0]: key}

    def _some_keys(self) -> list[str]:
        """Enough of them to tell whether the columns can hold them: of time windows one, else all."""
        keys = self.keys()
        return keys[:1] if isinstance(self.definition, dg.TimeWindowPartitionsDefinition) else keys


def _window(definition: dg.PartitionsDefinition[Any]) -> Callable[[str], tuple[datetime, datetime]] | None:
    if not isinstance(definition, dg.TimeWindowPartitionsDefinition):
        return None
    return lambda key: tuple(definition.time_window_for_partition_key(key))  # type: ignore[return-value] # of two


def ranges(keys: Sequence[str], due: Sequence[str], longest: int | None) -> list[tuple[str, str]]:
    """The due keys as (first, last) of what follows each other among all `keys`, none longer than `longest`."""
    place = {key: number for number, key in enumerate(keys)}

    def grown(found: list[list[str]], key: str) -> list[list[str]]:
        follows = found and place[found[-1][-1]] + 1 == place[key]
        if follows and (longest is None or len(found[-1]) < longest):
            found[-1].append(key)
            return found
        return [*found, [key]]

    return [(some[0], some[-1]) for some in reduce(grown, sorted(due, key=place.__getitem__), list[list[str]]())]
