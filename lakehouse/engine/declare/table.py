"""A table's declaration: one frozen value that every other room reads."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args, get_origin

import polars as pl

from lakehouse.engine.declare.contract import (
    Bronze,
    Contract,
    columns_of,
    grain_of,
    key_of,
    layer_of,
    schema_of,
)
from lakehouse.engine.declare.errors import DeclarationError
from lakehouse.engine.declare.frames import Frame, New
from lakehouse.engine.declare.logic import fingerprint
from lakehouse.engine.declare.source import Files
from lakehouse.engine.declare.write import Append, Merge, Overwrite, Quarantine, Reading, Write, refuse_mismatch

type Conserves = Literal["rows"] | tuple[pl.Expr, pl.Expr] | None

PROVENANCE = pl.Schema({"source_file": pl.String(), "source_row": pl.Int64(), "batch": pl.Int64()})
"""What a reader of a bronze table gets beside the declared columns."""

STORED_BESIDE = pl.Schema(
    {
        "extra": pl.String(),
        "source_name": pl.String(),
        "source_file": pl.String(),
        "source_row": pl.Int64(),
        "file_sha256": pl.String(),
        "batch": pl.Int64(),
    }
)
"""What a bronze table stores beside the text of its declared columns."""

_BOUND: dict[type[Contract], Declaration] = {}


@dataclass(frozen=True)
class Read:
    """One parameter of a transform: what it reads, and how."""

    parameter: str
    upstream: Declaration
    reading: Reading


@dataclass(frozen=True, eq=False)
class Declaration:
    """What `@table` was told, checked. Equal only to itself."""

    name: str
    contract: type[Contract]
    write: Write
    transform: Callable[..., pl.LazyFrame]
    reads: tuple[Read, ...] = ()
    source: Files | None = None
    rejects: Quarantine | None = None
    conserves: Conserves = None
    drops: Mapping[str, pl.Expr] = field(default_factory=dict[str, pl.Expr])

    @property
    def layer(self) -> str:
        return layer_of(self.contract)

    @property
    def key(self) -> str:
        """`silver/orders`: the address of the table below the lake, and its asset key."""
        return f"{self.layer}/{self.name}"

    @property
    def is_bronze(self) -> bool:
        return self.source is not None

    @property
    def grain(self) -> str:
        return grain_of(self.contract)

    @property
    def schema(self) -> pl.Schema:
        """What a transform must return; for bronze, the promised types."""
        return schema_of(self.contract)

    @property
    def stored_schema(self) -> pl.Schema:
        """What the Delta table holds: the contract's types, or for bronze their text and where it came from."""
        if not self.is_bronze:
            return self.schema
        text = {each.name: as_text(each.dtype) for each in columns_of(self.contract)}
        return pl.Schema({**text, **STORED_BESIDE})

    @property
    def handed_schema(self) -> pl.Schema:
        """What a reader's transform is handed."""
        return pl.Schema({**self.schema, **PROVENANCE}) if self.is_bronze else self.schema

    @property
    def key_columns(self) -> list[str]:
        return key_of(self.contract)

    @property
    def quarantines(self) -> bool:
        """Whether rows that fail are set aside: declared, and always where New rows are read."""
        return self.rejects is not None or any(read.reading is Reading.NEW for read in self.reads)

    @cached_property
    def logic(self) -> int:
        contracts = (self.contract, *(read.upstream.contract for read in self.reads))
        return fingerprint(self.transform, contracts, self.write, self.source and self.source.formats, *self._counting())

    def _counting(self) -> tuple[object, ...]:
        return tuple(sorted((name, str(predicate)) for name, predicate in self.drops.items()))

    def try_on_empty(self) -> None:
        """Run the transform on empty frames of its upstreams. Raises DeclarationError naming the column that is gone."""
        if self.is_bronze:
            return
        frames = [pl.LazyFrame(schema=read.upstream.handed_schema) for read in self.reads]
        try:
            returned = self.transform(*frames)
            if not isinstance(returned, pl.LazyFrame):
                raise DeclarationError(f"{self.key}: the transform returned {type(returned).__name__}, not a LazyFrame.")
            schema = returned.collect_schema()
        except (pl.exceptions.PolarsError, AttributeError, TypeError) as broken:
            raise DeclarationError(f"{self.key}: its transform fails on empty frames: {self._explain(broken)}") from broken
        if difference := differences(schema, self.schema):
            raise DeclarationError(
                f"{self.key}: its transform does not return what {self.contract.__name__} declares: {difference}."
            )

    def _explain(self, broken: Exception) -> str:
        import difflib

        first = str(broken).split("\n", 1)[0]
        known = {name for read in self.reads for name in read.upstream.handed_schema}
        if isinstance(broken, pl.exceptions.ColumnNotFoundError):
            missing = first.strip("\"'").split('"')[1] if first.count('"') > 1 else first.strip("\"'").split(" ")[-1]
            close = difflib.get_close_matches(missing, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            sources = ", ".join(read.upstream.key for read in self.reads)
            return f"column {missing!r} is not there{hint} ({sources} hands over: {', '.join(sorted(known))})"
        return f"{type(broken).__name__}: {first}"


def as_text(dtype: pl.DataType) -> pl.DataType:
    """The stored type of a promised one: the same shape, with text leaves."""
    if isinstance(dtype, pl.List):
        return pl.List(as_text(dtype.inner))  # type: ignore[arg-type] # polars types inner as a class or an instance
    if isinstance(dtype, pl.Struct):
        return pl.Struct({each.name: as_text(each.dtype) for each in dtype.fields})  # type: ignore[arg-type] # as above
    return pl.String()


def differences(returned: pl.Schema, declared: pl.Schema) -> str:
    """How two schemas differ, in words; empty where they are the same, in the same order."""
    said = [f"{name!r} is missing" for name in declared if name not in returned]
    said += [f"{name!r} is not declared" for name in returned if name not in declared]
    said += [
        f"{name!r} is {returned[name]}, declared {dtype}"
        for name, dtype in declared.items()
        if name in returned and returned[name] != dtype
    ]
    if not said and list(returned) != list(declared):
        said = [f"the order is {', '.join(returned)}, declared {', '.join(declared)}"]
    return "; ".join(said)


def declare(
    transform: Callable[..., Any],
    *,
    write: Write,
    source: Files | None = None,
    rejects: Quarantine | None = None,
    conserves: Conserves = None,
    drops: Mapping[str, pl.Expr] | None = None,
) -> Declaration:
    """Read a table function's signature, check it against the matrix, try it on empty frames, bind its contract."""
    signature = inspect.signature(transform, eval_str=True)
    name = transform.__name__
    contract = _contract(name, signature.return_annotation, Frame)
    reads = tuple(_read(name, each.name, each.annotation) for each in signature.parameters.values())
    declared = Declaration(name, contract, write, transform, reads, source, rejects, conserves, drops or {})
    _refuse(declared)
    declared.try_on_empty()
    _bind(declared)
    return declared


def _contract(table: str, hint: Any, *words: Any) -> type[Contract]:
    arguments = get_args(hint)
    if get_origin(hint) not in words or not isinstance(arguments[0], type) or not issubclass(arguments[0], Contract):
        raise DeclarationError(f"{table}: {hint!r} names no contract; annotate with Frame[YourContract] or New[…].")
    return arguments[0]


def _read(table: str, parameter: str, hint: Any) -> Read:
    contract = _contract(f"{table}({parameter})", hint, Frame, New)
    upstream = _BOUND.get(contract)
    if upstream is None:
        raise DeclarationError(
            f"{table}({parameter}): {contract.__name__} belongs to no table yet. Import the table's module first; "
            "a table cannot read itself."
        )
    return Read(parameter, upstream, Reading.NEW if get_origin(hint) is New else Reading.FRAME)


def _bind(declared: Declaration) -> None:
    standing = _BOUND.get(declared.contract)
    if standing is not None and (standing.name, standing.transform.__module__) != (
        declared.name,
        declared.transform.__module__,
    ):
        raise DeclarationError(
            f"{declared.key}: {declared.contract.__name__} is already the contract of {standing.key}; one contract, one table."
        )
    _BOUND[declared.contract] = declared


def _refuse(declared: Declaration) -> None:
    key, write = declared.key, declared.write
    if (declared.source is None) == (not declared.reads):
        raise DeclarationError(f"{key}: a table has either source=… and no parameter, or reads other tables.")
    if declared.is_bronze != issubclass(declared.contract, Bronze):
        raise DeclarationError(f"{key}: a Bronze contract takes source=…, and only a Bronze contract does.")
    if declared.is_bronze and not isinstance(write, Append):
        raise DeclarationError(f"{key}: a source is appended; write=Append().")
    if not declared.grain:
        raise DeclarationError(f"{key}: {declared.contract.__name__} has no docstring; its first line is the grain.")
    if isinstance(write, Merge) and not declared.key_columns:
        raise DeclarationError(f"{key}: Merge() needs a key; mark its columns with column(…, key=True).")
    if isinstance(write, Merge) and write.replaces is not None and write.replaces not in declared.schema:
        raise DeclarationError(f"{key}: Merge(replaces={write.replaces!r}) names no column of its contract.")
    for read in declared.reads:
        refuse_mismatch(key, write, read.reading, read.upstream.contract.__name__, read.upstream.write)
        _refuse_upwards(declared, read)
        if isinstance(write, Merge) and write.replaces and write.replaces not in read.upstream.schema:
            raise DeclarationError(
                f"{key}: Merge(replaces={write.replaces!r}) needs a column of that name in {read.upstream.key}, "
                "to tell which arrival of a group is the later one."
            )
    if isinstance(write, Overwrite) and not declared.key_columns and declared.layer == "gold":
        raise DeclarationError(f"{key}: a gold table states its grain; mark its columns with column(…, key=True).")


def _refuse_upwards(declared: Declaration, read: Read) -> None:
    order = ("bronze", "silver", "gold")
    if order.index(read.upstream.layer) > order.index(declared.layer):
        raise DeclarationError(f"{declared.key} reads {read.upstream.key}: a table reads its own or a lower layer.")
