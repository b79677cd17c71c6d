"""What Delta can hold, and what all who read it can name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import polars as pl

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.ports import Address

# Delta's names: without column mapping Spark, Databricks and Synapse refuse these characters in a column name.
_UNFIT_IN_NAMES = " ,;{}()\n\t="

_PLAIN_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")

_MOST_DIGITS = 38

OF_A_ZONE = "dt.replace_time_zone('Europe/London').dt.convert_time_zone('UTC')"
"""What makes an instant of a wall clock, here London's; one that was there twice or never raises."""
_IN_MICROS = "dt.cast_time_unit('us')"

_PARTITION_TYPES = (pl.String, pl.Int64, pl.Int32, pl.Int16, pl.Int8, pl.Date)

_SIMPLE = (
    pl.String, pl.Int64, pl.Int32, pl.Int16, pl.Int8, pl.Float64, pl.Float32, pl.Boolean, pl.Date, pl.Binary,
)  # fmt: skip

_WAY_OUT: dict[type[pl.DataType], tuple[str, str]] = {
    pl.Categorical: ("as String", "cast(pl.String)"),
    pl.Enum: ("as String", "cast(pl.String)"),
    pl.Time: ("as nanoseconds since midnight", "cast(pl.Int64)"),
    pl.Null: ("as the type that it is to have, such as String", "cast(pl.String)"),
    pl.Int128: ("as a decimal, which 38 digits fit", "cast(pl.Decimal(38, 0))"),
    pl.UInt128: ("as a decimal, which 38 digits fit", "cast(pl.Decimal(38, 0))"),
    pl.UInt64: ("as a decimal, or, where 63 bits do, as Int64", "cast(pl.Decimal(20, 0))"),
    pl.UInt32: ("as Int64", "cast(pl.Int64)"),
    pl.UInt16: ("as Int32", "cast(pl.Int32)"),
    pl.UInt8: ("as Int16", "cast(pl.Int16)"),
    pl.Float16: ("as Float32", "cast(pl.Float32)"),
    pl.Object: ("as text, or by its fields", "map_elements(repr, return_dtype=pl.String)"),
    pl.Array: ("as a list, since Delta has no fixed length", "arr.to_list()"),
}
"""As what a transform may return it, and how: no value is changed, and what does not fit raises."""


def check_storable(schema: pl.Schema, table: str) -> None:
    """Refuse, with column, type and way out, what Delta or one of its readers cannot hold; nested ones too."""
    if faults := faults_of(schema):
        raise Refused(f"{table} cannot be stored in Delta: {'; '.join(faults)}. Nothing was written.")


def faults_of(schema: pl.Schema) -> list[str]:
    """Why no table can have these columns, each with its path and the way out."""
    faults = [fault for name, dtype in schema.items() for fault in _faults(name, dtype, _At(f'pl.col("{name}")'))]
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


class _At(NamedTuple):
    """A value as the expression of its column names it, and what of that expression stands around it."""

    value: str
    before: str = ""
    after: str = ""

    def within(self, call: str, value: str) -> _At:
        return _At(value, f"{self.before}{self.value}.{call}(", f"){self.after}")

    def written(self, call: str) -> str:
        return f"{self.before}{self.value}.{call}{self.after}"


def _faults(path: str, dtype: pl.DataType, at: _At) -> Iterator[str]:
    """Every reason why `dtype` at `path` cannot be stored, innermost type first named by its path."""
    if isinstance(dtype, pl.List):
        yield from _faults(f"{path}[]", as_instance(dtype.inner), at.within("list.eval", "pl.element()"))
    elif isinstance(dtype, pl.Struct):
        yield from _name_faults(f"{path}.", [field.name for field in dtype.fields])
        if not dtype.fields:
            yield f"{path} is a struct without fields: drop it"
        for field in dtype.fields:
            there = at.within("struct.with_fields", f'pl.field("{field.name}")')
            yield from _faults(f"{path}.{field.name}", as_instance(field.dtype), there)
    elif isinstance(dtype, pl.Decimal):
        if dtype.precision > _MOST_DIGITS:
            yield f"{path} is {dtype}: Delta holds {_MOST_DIGITS} digits at most"
    elif (way_out := _way_out(dtype)) is not None:
        kind, call = way_out
        yield f"{path} is {dtype}: return it {kind}: {at.written(call)}"


def _way_out(dtype: pl.DataType) -> tuple[str, str] | None:
    """None for what can be stored."""
    if isinstance(dtype, pl.Duration):
        return f"as a count of {dtype.time_unit}", "cast(pl.Int64)"
    if not isinstance(dtype, pl.Datetime):
        unknown = "as a type that Delta has, such as String", "cast(pl.String)"
        return None if isinstance(dtype, _SIMPLE) else _WAY_OUT.get(type(dtype), unknown)
    if dtype.time_unit == "us" and dtype.time_zone in {"UTC", None}:
        return None
    zoned = "dt.convert_time_zone('UTC')" if dtype.time_zone else OF_A_ZONE
    if dtype.time_unit == "ns":
        return "in microseconds, without what is below them (all of it: .cast(pl.Int64))", f"{zoned}.{_IN_MICROS}"
    return "in microseconds of UTC", f"{zoned}.{_IN_MICROS}"


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
