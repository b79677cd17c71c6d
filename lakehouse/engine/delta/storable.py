"""What Delta can hold, and what all who read it can name."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple
from urllib.parse import quote

import polars as pl

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.sql_words import SQL_WORDS

# Delta's names: without column mapping Spark, Databricks and Synapse refuse these characters in a column name.
_UNFIT_IN_NAMES = " ,;{}()\n\t="

_PLAIN_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")

NO_COLUMNS = pl.Schema()

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
    faults = [fault for each in _parts(schema) for fault in (*_faults(each), *_name_faults(each))]
    return faults if schema else ["it has no column: declare at least one"]


def check_names(schema: pl.Schema, table: str, stands: pl.Schema = NO_COLUMNS, words: Collection[str] = ()) -> None:
    """Refuse names of columns, or of fields in them, that a reader would have to quote. Those that stand may stay.

    words: what no column may be called; a field may, since after a dot no engine takes a word for its own.
    """
    known = {f"{each.path}{name}" for each in _parts(stands) for name in each.names}

    def odd(part: _Part) -> list[str]:
        said = words if part.at is None else ()
        new = [name for name in part.names if f"{part.path}{name}" not in known]
        return [name for name in new if not _PLAIN_NAME.fullmatch(name) or name.lower() in said]

    if found := [(each, names) for each in _parts(schema) if (names := odd(each))]:
        said = ", ".join(repr(f"{each.path}{name}") for each, names in found for name in names)
        raise Refused(
            f"{table} cannot have a column named {said}: who reads it would have to quote it, in each engine another "
            "way. Name it by letters (A to Z), digits and _, begin with a letter, and take no word of SQL: "
            f"{', then '.join(each.renaming(names) for each, names in found)}. Nothing was written."
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


class _Part(NamedTuple):
    """What has a type: a column, or what lies in one; or all columns, of which the path is empty and `at` is None."""

    path: str
    type: pl.DataType
    at: _At | None

    @property
    def names(self) -> list[str]:
        """Those that lie beside each other in it."""
        return [field.name for field in self.type.fields] if isinstance(self.type, pl.Struct) else []

    def renaming(self, odd: Sequence[str]) -> str:
        """The call that gives these names others that may be."""
        new = {name: name for name in self.names if name not in odd}
        for name in odd:
            new[name] = re.sub("^(?=[0-9]|$)", "_", re.sub("[^A-Za-z0-9]+", "_", name))
            while new[name].lower() in SQL_WORDS.union(new[each].lower() for each in new if each != name):
                new[name] += "_"
        if self.at is None:
            return f".rename({ {name: new[name] for name in odd} })"
        return self.at.written(f"struct.rename_fields({[new[name] for name in self.names]})")


def _parts(schema: pl.Schema) -> Iterator[_Part]:
    """All that has a type, what lies innermost first, and at last all columns."""
    for name, dtype in schema.items():
        yield from _within(name, dtype, _At(f'pl.col("{name}")'))
    yield _Part("", pl.Struct(schema), None)


def _within(path: str, dtype: pl.DataType, at: _At) -> Iterator[_Part]:
    if isinstance(dtype, pl.List):
        yield from _within(f"{path}[]", as_instance(dtype.inner), at.within("list.eval", "pl.element()"))
    elif isinstance(dtype, pl.Struct):
        for field in dtype.fields:
            there = at.within("struct.with_fields", f'pl.field("{field.name}")')
            yield from _within(f"{path}.{field.name}", as_instance(field.dtype), there)
        yield _Part(f"{path}.", dtype, at)
    else:
        yield _Part(path, dtype, at)


def _faults(part: _Part) -> Iterator[str]:
    """Every reason why this cannot be stored."""
    path, dtype, at = part
    if isinstance(dtype, pl.Struct):
        if at and not dtype.fields:
            yield f"{path.removesuffix('.')} is a struct without fields: drop it"
    elif isinstance(dtype, pl.Decimal):
        if dtype.precision > _MOST_DIGITS:
            yield f"{path} is {dtype}: Delta holds {_MOST_DIGITS} digits at most"
    elif at and (way_out := _way_out(dtype)) is not None:
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


def _name_faults(part: _Part) -> Iterator[str]:
    seen: dict[str, str] = {}
    for name in part.names:
        if (other := seen.setdefault(name.lower(), name)) != name:
            both = f"{part.path}{other} and {part.path}{name}"
            yield f"{both} differ by case only, one column to Delta: rename one: {part.renaming([name])}"
        if not name or any(character in _UNFIT_IN_NAMES for character in name):
            said = f"{part.path}{name!r} is empty or holds one of {_UNFIT_IN_NAMES!r}, which Spark cannot read"
            yield f"{said}: rename it: {part.renaming([name])}"


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
        if quote(name, safe="") != name:
            raise Refused(
                f"{address} cannot be written by folders of {name!r}: of its name engines make different ones, which "
                "Polars does not read as that column. Nothing was written. Have the engine that made it write it, or "
                "partition by a column named by letters (A to Z), digits and '_'."
            )
        if not isinstance(schema[name], _PARTITION_TYPES):
            raise Refused(
                f"{address} cannot be partitioned by {name}: {schema[name]} has no exact name as a folder. "
                "Partition by a String, an integer or a Date."
            )
    if partition_by and len(partition_by) == len(schema):
        raise Refused(f"{address} cannot be partitioned by all of its columns: leave one for the files.")
