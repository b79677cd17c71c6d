"""A table's declaration: one frozen value that every other room reads."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, get_args, get_origin

import polars as pl

from lakehouse.engine.declare.column import never_null
from lakehouse.engine.declare.contract import Contract, columns_of, grain_of, key_of, layer_of, personal_of, schema_of
from lakehouse.engine.declare.errors import DeclarationError
from lakehouse.engine.declare.frames import Affected, Frame, New
from lakehouse.engine.declare.logic import fingerprint
from lakehouse.engine.declare.partitions import Partitions
from lakehouse.engine.declare.readers import EVERY_READER, Reader, checked_readers
from lakehouse.engine.declare.refusals import refuse
from lakehouse.engine.declare.source import Files, Snapshots
from lakehouse.engine.declare.spark import Spark, meaning_of
from lakehouse.engine.declare.trial import returned_schema, try_counting
from lakehouse.engine.declare.write import (
    VALID_TO,
    History,
    Merge,
    Overwrite,
    Quarantine,
    Reading,
    ReplacePartition,
    Write,
)

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
_READINGS = {Frame: Reading.FRAME, New: Reading.NEW, Affected: Reading.AFFECTED}


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
    partition_by: tuple[str, ...] = ()
    partitions: Partitions | None = None
    runs_on: Spark | None = None
    readers: tuple[Reader, ...] = EVERY_READER
    zorder: tuple[str, ...] = ()
    made_by: ClassVar[str] = "lakehouse run"

    @property
    def layer(self) -> str:
        return layer_of(self.contract)

    @property
    def path(self) -> tuple[str, ...]:
        """The address of the table below the lake, and its asset key."""
        return self.layer, self.name

    @property
    def key(self) -> str:
        """The same in one word: `silver/orders`."""
        return "/".join(self.path)

    @property
    def is_bronze(self) -> bool:
        return self.source is not None

    @property
    def connection(self) -> str:
        """Where its files land, by the name that an environment gives it."""
        return self.source.connection if self.source else "landing"

    @property
    def grain(self) -> str:
        return grain_of(self.contract)

    @property
    def schema(self) -> pl.Schema:
        """What the contract promises; for bronze, the types that its text is read as."""
        return schema_of(self.contract)

    @property
    def returned_schema(self) -> pl.Schema:
        """What a transform must return: all but what the table fills by itself, and at last the delete marker."""
        filled = VALID_TO if isinstance(self.write, History) else None
        returned = {name: dtype for name, dtype in self.schema.items() if name != filled}
        return pl.Schema({**returned, **({self.marker: pl.Boolean()} if self.marker else {})})

    @property
    def marker(self) -> str | None:
        """The column of what is returned that says of a row that it takes away what stands of its key."""
        return self.write.deletes if isinstance(self.write, Merge | History) else None

    @cached_property
    def stored_schema(self) -> pl.Schema:
        """What the Delta table holds: the contract's types, or for bronze their text and where it came from."""
        if not self.is_bronze:
            return self.schema
        text = {each.name: as_text(each.dtype) for each in columns_of(self.contract)}
        return pl.Schema({**text, **STORED_BESIDE})

    @cached_property
    def beside_schema(self) -> pl.Schema:
        """What a bronze table stores beside the text that its files hold."""
        of_name = {self.source.valid_at: pl.String()} if isinstance(self.source, Snapshots) else {}
        return pl.Schema({**of_name, **STORED_BESIDE})

    @property
    def handed_schema(self) -> pl.Schema:
        """What a reader's transform is handed."""
        return pl.Schema({**self.schema, **PROVENANCE}) if self.is_bronze else self.schema

    @property
    def notes(self) -> dict[str, dict[str, str]]:
        """What the table's log says of each column."""
        return {each.name: each.note for each in columns_of(self.contract)}

    @property
    def never_null(self) -> frozenset[str]:
        """The paths of what may not be null: `amount`, `lines[].sku`."""
        return frozenset(never_null(columns_of(self.contract)))

    @property
    def personal(self) -> tuple[str, ...]:
        return personal_of(self.contract)

    @property
    def key_columns(self) -> list[str]:
        return key_of(self.contract)

    @property
    def quarantines(self) -> bool:
        """Whether rows that fail are set aside: declared, and always where New rows are read."""
        return self.rejects is not None or any(read.reading is Reading.NEW for read in self.reads)

    @property
    def is_written_whole(self) -> bool:
        """Whether each run makes the table anew of all that its upstreams hold."""
        readings = {read.reading for read in self.reads}
        match self.write:
            case History():
                return Reading.NEW not in readings
            case ReplacePartition():
                return Reading.AFFECTED not in readings and self.partitions is None
            case _:
                return isinstance(self.write, Overwrite)

    @property
    def slice_columns(self) -> tuple[str, ...]:
        """The columns whose values name the slices that are replaced, or (merged) whose rows are handed over together.

        Empty where the table knows no slices.
        """
        match self.write:
            case ReplacePartition():
                return self.write.columns
            case Merge(replaces=replaces):
                return (replaces,) if replaces else tuple(self.key_columns)
            case _:
                return ()

    @cached_property
    def logic(self) -> int:
        """What the table's meaning hangs on, as a number: see `logic.py`."""
        contracts = (self.contract, *(read.upstream.contract for read in self.reads))
        reads = tuple((read.parameter, read.upstream.key, read.reading) for read in self.reads)
        script = (meaning_of(self),) if self.runs_on else ()
        marker = (f"deletes {self.marker}",) if self.marker else ()
        said = (self.write, self.source and self.source.formats, reads, *script, *marker)
        conserved = self.conserves if isinstance(self.conserves, tuple) else ()
        return fingerprint(self.transform, contracts, *said, counting=(*conserved, *self.drops.values()))


@dataclass(frozen=True)
class Plain:
    """The table of a plain Dagster asset, as what keeps and restores tables asks it: by its key, it promises nothing.

    partitions: whether it has some.
    """

    path: tuple[str, ...]
    partitions: bool
    write, readers, zorder, personal = Overwrite(), EVERY_READER, (), ()

    @property
    def key(self) -> str:
        return "/".join(self.path)

    @property
    def made_by(self) -> str:
        return launch(self.key, is_partitioned=self.partitions)

    @property
    def left_alone(self) -> str:
        """What is said where tables that it reads are made anew or put back."""
        return f"{self.key} is a plain Dagster asset and stands as it is. Next: {self.made_by}"


type AnyTable = Declaration | Plain
REPLACED = "replaced"
"""How the transactions are called under which the runs of a plain asset write: of each partition one."""


def launch(key: str, *, is_partitioned: bool, partition: str = "<key>") -> str:
    """Dagster's command that materializes an asset."""
    return f"dg launch --assets {key}" + (f" --partition {partition}" if is_partitioned else "")


def readers_of(declared: Declaration) -> list[str]:
    """The keys of the tables that read it, by way of others too, in the order in which they were declared."""
    found = [declared.key]
    for each in _BOUND.values():  # what is read is declared first
        if each.key not in found and any(read.upstream.key in found for read in each.reads):
            found.append(each.key)
    return found[1:]


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


def declare(  # noqa: PLR0913 # one parameter per declared fact
    transform: Callable[..., Any],
    *,
    write: Write,
    source: Files | None = None,
    rejects: Quarantine | None = None,
    conserves: Conserves = None,
    drops: Mapping[str, pl.Expr] | None = None,
    partition_by: str | Sequence[str] = (),
    partitions: Partitions | None = None,
    runs_on: Spark | None = None,
    readers: Sequence[Reader] = EVERY_READER,
    zorder: str | Sequence[str] = (),
) -> Declaration:
    """Read a table function's signature, check it against the matrix, try it on empty frames, bind its contract."""
    name = transform.__name__
    signature = _signature(transform)
    contract = _contract(f"{name}'s return", signature.return_annotation, Frame)
    reads = tuple(_read(name, each, contract) for each in signature.parameters.values())
    folders, curve = ((each,) if isinstance(each, str) else tuple(each) for each in (partition_by, zorder))
    counts: dict[str, Any] = {"rejects": rejects, "conserves": conserves, "drops": drops or {}}
    stored: dict[str, Any] = {"partition_by": folders, "partitions": partitions, "runs_on": runs_on}
    stored |= {"readers": checked_readers(name, readers), "zorder": curve}
    declared = Declaration(name, contract, write, transform, reads, source, **counts, **stored)
    refuse(declared, STORED_BESIDE)
    if not declared.is_bronze:
        if declared.runs_on is None:
            _refuse_difference(declared, returned_schema(declared))
        try_counting(declared)
    _bind(declared)
    return declared


def _refuse_difference(declared: Declaration, returned: pl.Schema) -> None:
    if difference := differences(returned, declared.returned_schema):
        raise DeclarationError(
            f"{declared.key}: its transform does not return what {declared.contract.__name__} declares: {difference}."
        )


def _signature(transform: Callable[..., Any]) -> inspect.Signature:
    try:
        signature = inspect.signature(transform, eval_str=True)
    except NameError as unknown:
        raise DeclarationError(
            f"{transform.__name__}: its annotations name {unknown.name!r}, which is not there when the file is loaded; "
            "import it outside `if TYPE_CHECKING:`."
        ) from unknown
    for each in signature.parameters.values():
        if each.kind is not each.POSITIONAL_OR_KEYWORD or each.default is not each.empty:
            raise DeclarationError(
                f"{transform.__name__}({each}): each upstream is one plain parameter, `name: Frame[Contract]`."
            )
    return signature


def _contract(where: str, hint: Any, *words: Any) -> type[Contract]:
    arguments = get_args(hint)
    if get_origin(hint) not in words or not isinstance(arguments[0], type) or not issubclass(arguments[0], Contract):
        said = "no annotation" if hint is inspect.Parameter.empty else repr(hint)
        example = " or ".join(f"{word.__name__}[YourContract]" for word in words)
        raise DeclarationError(f"{where}: {said} names no contract; annotate it with {example}.")
    return arguments[0]


def _read(table: str, parameter: inspect.Parameter, own: type[Contract]) -> Read:
    where = f"{table}({parameter.name})"
    contract = _contract(where, parameter.annotation, *_READINGS)
    if contract is own:
        raise DeclarationError(f"{where}: a table cannot read itself; Merge() keeps what stands.")
    upstream = _BOUND.get(contract)
    if upstream is None:
        raise DeclarationError(
            f"{where}: {contract.__name__} belongs to no table yet; import the file of its table first."
        )
    return Read(parameter.name, upstream, _READINGS[get_origin(parameter.annotation)])


def _bind(declared: Declaration) -> None:
    standing = _BOUND.setdefault(declared.contract, declared)
    if standing is declared:
        return
    if standing.name != declared.name or standing.transform.__module__ != declared.transform.__module__:
        raise DeclarationError(
            f"{declared.key}: {declared.contract.__name__} is already the contract of {standing.key}; "
            "one contract, one table."
        )
    _BOUND[declared.contract] = declared  # its file was loaded again
