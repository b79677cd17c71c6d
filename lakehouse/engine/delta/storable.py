"""What Delta can hold, and what all who read it can name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import polars as pl

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.ports import Address

# Delta's names: without column mapping Spark, Databricks and Synapse refuse these characters in a column name.
_UNFIT_IN_NAMES = " ,;{}()\n\t="

_PLAIN_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")

_MOST_DIGITS = 38

_PARTITION_TYPES = (pl.String, pl.Int64, pl.Int32, pl.Int16, pl.Int8, pl.Date)

_SIMPLE = (
    pl.String, pl.Int64, pl.Int32, pl.Int16, pl.Int8, pl.Float64, pl.Float32, pl.Boolean, pl.Date, pl.Binary,
)  # fmt: skip

_WAY_OUT: dict[type[pl.DataType], str] = {
    pl.Categorical: "cast it to String",
    pl.Enum: "cast it to String",
    pl.Time: "store it as String, or as Int64 microseconds since midnight",
    pl.Duration: "store it as Int64 microseconds",
    pl.Null: "give the column a type: a column without one holds nothing",
    pl.Int128: "use Int64, or Decimal(38, 0)",
    pl.UInt128: "use Decimal(38, 0) where it fits",
    pl.UInt64: "use Int64, or Decimal(20, 0)",
    pl.UInt32: "use Int64",
    pl.UInt16: "use Int32",
    pl.UInt8: "use Int16",
    pl.Float16: "use Float32",
    pl.Object: "give the column a Polars type",
    pl.Array: "use List: Delta has no fixed length",
}


def check_storable(schema: pl.Schema, table: str) -> None:
    """Refuse, with column, type and way out, what Delta or one of its readers cannot hold; nested ones too."""
    if faults := faults_of(schema):
        raise Refused(f"{table} cannot be stored in Delta: {'; '.join(faults)}. Nothing was written.")


def faults_of(schema: pl.Schema) -> list[str]:
    """Why no table can have these columns, each with its path and the way out."""
    faults = [fault for name, dtype in schema.items() for fault in _faults(name, dtype)]
    faults += _name_faults("", list(schema))
    return faults if schema else ["it has no column: declare at least one"]


def check_names(names: Iterable[str], table: str) -> None:
    """Refuse names of new columns that a reader would have to quote."""
    if odd := [name for name in names if not _PLAIN_NAME.fullmatch(name)]:
        raise Refused(
            f"{table} cannot have a column named {', '.join(map(repr, odd))}: who reads it would have to quote it, "
            "in each engine another way. Name it by letters (A to Z), digits and _, and begin with a letter. Nothing "
            "was written."
        )


def _faults(path: str, dtype: pl.DataType) -> Iterator[str]:
    """Every reason why `dtype` at `path` cannot be stored, innermost type first named by its path."""
    if isinstance(dtype, pl.List):
        yield from _faults(f"{path}[]", as_instance(dtype.inner))
    elif isinstance(dtype, pl.Struct):
        yield from _name_faults(f"{path}.", [field.name for field in dtype.fields])
        if not dtype.fields:
            yield f"{path} is a struct without fields: drop it"
        for field in dtype.fields:
            yield from _faults(f"{path}.{field.name}", as_instance(field.dtype))
    elif isinstance(dtype, pl.Datetime):
        if dtype.time_unit != "us" or dtype.time_zone not in {"UTC", None}:
            yield f"{path} is {dtype}: make it Datetime('us', 'UTC'), which is all that Delta holds exactly"
    elif isinstance(dtype, pl.Decimal):
        if dtype.precision > _MOST_DIGITS:
            yield f"{path} is {dtype}: Delta holds {_MOST_DIGITS} digits at most"
    elif not isinstance(dtype, _SIMPLE):
        yield f"{path} is {dtype}: {_WAY_OUT.get(type(dtype), 'use a type that Delta has')}"


def _name_faults(prefix: str, names: list[str]) -> Iterator[str]:
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(name.lower(), name)) != name:
            yield f"{prefix}{other} and {prefix}{name} differ by case only, one column to Delta: rename one"
        if not name or any(character in _UNFIT_IN_NAMES for character in name):
            yield f"{prefix}{name!r} is empty or holds one of {_UNFIT_IN_NAMES!r}, which Spark cannot read: rename it"


def as_instance(dtype: object) -> pl.DataType:
    return dtype() if isinstance(dtype, type) else dtype  # pyright: ignore[reportReturnType] # Polars allows classes


def check_columns(address: Address, schema: pl.Schema, partition_by: Sequence[str]) -> None:
    """Refuse what no table of ours may begin with."""
    check_storable(schema, str(address))
    check_names(schema, str(address))
    check_partition(address, schema, partition_by)


def check_partition(address: Address, schema: pl.Schema, partition_by: Sequence[str]) -> None:
    """Refuse columns that cannot be folders."""
    if partition_by and "=" in address.uri:
        raise Refused(f"{address} holds a '=', which Polars takes for a partition: choose another folder.")
    for name in partition_by:
        if name not in schema:
            raise Refused(f"{address} cannot be partitioned by {name}: it has no such column.")
        if not isinstance(schema[name], _PARTITION_TYPES):
            raise Refused(
                f"{address} cannot be partitioned by {name}: {schema[name]} has no exact name as a folder. "
                "Partition by a String, an integer or a Date."
            )
    if partition_by and len(partition_by) == len(schema):
        raise Refused(f"{address} cannot be partitioned by all of its columns: leave one for the files.")
