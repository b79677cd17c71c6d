"""A table's contract: a pandera Polars model whose columns carry units, keys and text formats."""

from __future__ import annotations

import datetime as dt
import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Union, cast, get_args, get_origin, get_type_hints

import pandera.polars as pa
import polars as pl

from lakehouse.engine.declare.column import Column
from lakehouse.engine.declare.errors import DeclarationError
from lakehouse.engine.declare.text import TextFormat


@dataclass(frozen=True)
class Measure:
    """What an alias such as `Gbp` stands for: a Polars type that Delta can hold, and the unit its numbers are in."""

    dtype: pl.DataType
    unit: str | None = None


type Gbp = Annotated[Decimal, Measure(pl.Decimal(38, 3), "GBP")]
type Utc = Annotated[dt.datetime, Measure(pl.Datetime("us", "UTC"), "UTC")]
type Int32 = Annotated[int, Measure(pl.Int32())]

_PLAIN: Mapping[Any, pl.DataType] = {
    str: pl.String(),
    int: pl.Int64(),
    float: pl.Float64(),
    bool: pl.Boolean(),
    dt.date: pl.Date(),
}
_FACTS = "facts"
LAYERS = ("bronze", "silver", "gold")


@dataclass(frozen=True)
class _Facts:
    key: bool
    text: TextFormat | None


def column(
    description: str,
    *,
    key: bool = False,
    nullable: bool = False,
    text: TextFormat | None = None,
    **bounds: Any,
) -> Any:
    """One column: its words, and what must be true of it.

    `key` columns name a row together: never null, never twice. `text` says how bronze text is written.
    `bounds` are pandera's own (`ge=`, `isin=`, `str_matches=` …), each an asset check of its own.
    """
    return pa.Field(
        description=description, nullable=nullable, metadata={_FACTS: _Facts(key=key, text=text)}, **bounds
    )


@dataclass(frozen=True)
class RowCheck:
    """A rule over a whole row: `claim()` is an expression that is true where the row is right."""

    name: str
    description: str
    claim: Callable[[], pl.Expr]


def check(claim: Callable[[], pl.Expr]) -> staticmethod[[], pl.Expr]:
    """A rule of the contract: a function without arguments whose expression is true for every right row."""
    return staticmethod(claim)


class Struct:
    """The shape of a nested object: annotated columns, as in a contract."""

    columns: ClassVar[tuple[Column, ...]] = ()

    def __init_subclass__(cls) -> None:
        cls.columns = tuple(
            _column(cls.__name__, name, hint, vars(cls).get(name)) for name, hint in _own_hints(cls).items()
        )


class Contract(pa.DataFrameModel):
    """Base of `Bronze`, `Silver` and `Gold`. Its first docstring line is the grain of the table."""

    _columns: ClassVar[tuple[Column, ...]] = ()
    _row_checks: ClassVar[tuple[RowCheck, ...]] = ()

    class Config:
        strict = True
        ordered = True

    def __init_subclass__(cls, *, layer: str | None = None, **kwargs: Any) -> None:
        if layer is None and cls.__name__ not in {"Bronze", "Silver", "Gold"}:
            _declare(cls)
        super().__init_subclass__(**kwargs)


class Bronze(Contract, layer="bronze"):
    """What arrived: stored as text, read as the declared types."""


class Silver(Contract, layer="silver"):
    """What is true: cleaned, typed, one row per key."""


class Gold(Contract, layer="gold"):
    """What is asked for: aggregated to a stated grain."""


def columns_of(contract: type[Contract]) -> tuple[Column, ...]:
    """The declared columns, in order. (Functions, not methods: a contract's names belong to its columns.)"""
    return contract._columns


def row_checks_of(contract: type[Contract]) -> tuple[RowCheck, ...]:
    """The rules over whole rows, in order."""
    return contract._row_checks


def schema_of(contract: type[Contract]) -> pl.Schema:
    """Names and Polars types, in order, as a transform must return them."""
    return pl.Schema({each.name: each.dtype for each in columns_of(contract)})


def key_of(contract: type[Contract]) -> list[str]:
    """The names of the key columns, in order; empty where none is declared."""
    return [each.name for each in columns_of(contract) if each.key]


def grain_of(contract: type[Contract]) -> str:
    """The first line of the docstring: what one row is."""
    return (inspect.getdoc(contract) or "").split("\n", 1)[0]


def layer_of(contract: type[Contract]) -> str:
    """`bronze`, `silver` or `gold`, by the base class."""
    for base, layer in ((Bronze, "bronze"), (Silver, "silver"), (Gold, "gold")):
        if issubclass(contract, base):
            return layer
    raise DeclarationError(f"{contract.__name__} is neither Bronze, Silver nor Gold; derive it from one of the three.")


def _declare(cls: type[Contract]) -> None:
    hints = _own_hints(cls)
    members = vars(cls)
    columns = tuple(_column(cls.__name__, name, hint, members.get(name)) for name, hint in hints.items())
    if not columns:
        raise DeclarationError(f"{cls.__name__} declares no column; write at least one `name: type = column('…')`.")
    checks = tuple(
        RowCheck(name, inspect.getdoc(member.__func__) or name.replace("_", " "), member.__func__)
        for name, member in members.items()
        if isinstance(member, staticmethod)
    )
    cls._columns, cls._row_checks = columns, checks
    for each in columns:  # pandera takes Polars dtype instances; other annotations it would misread silently
        cls.__annotations__[each.name] = each.dtype
    for each in checks:
        _refuse_unknown_columns(cls, each)
        setattr(cls, each.name, _as_pandera(each))
    if issubclass(cls, Bronze):
        _refuse_rules_on_bronze(cls)


def _as_pandera(rule: RowCheck) -> Any:
    def holds(_: Any, data: Any) -> pl.LazyFrame:
        return data.lazyframe.select(rule.claim())

    holds.__name__, holds.__doc__ = rule.name, rule.description
    return pa.dataframe_check(holds, name=rule.name)


def _refuse_unknown_columns(cls: type[Contract], rule: RowCheck) -> None:
    known = {each.name for each in cls._columns}
    for name in rule.claim().meta.root_names():
        if name not in known:
            raise DeclarationError(
                f"{cls.__name__}.{rule.name} asks for column {name!r}, which the contract does not declare "
                f"(it declares {', '.join(sorted(known))})."
            )


def _refuse_rules_on_bronze(cls: type[Contract]) -> None:
    fields = {name: member for name, member in vars(cls).items() if getattr(member, "checks", None)}
    keys = key_of(cls)
    if fields or keys or cls._row_checks:
        culprits = [*fields, *keys, *(rule.name for rule in cls._row_checks)]
        raise DeclarationError(
            f"{cls.__name__} is a bronze contract and declares bounds, keys or checks on {', '.join(culprits)}. "
            "Bronze keeps what arrived; declare them on the silver table that reads it."
        )


def _own_hints(cls: type) -> dict[str, Any]:
    raw = cast("dict[str, Any]", cls.__dict__.get("__annotations__", {}))
    resolved = get_type_hints(cls, include_extras=True)
    return {name: resolved[name] for name in raw if get_origin(resolved[name]) is not ClassVar and name != "Config"}


def _column(owner: str, name: str, hint: Any, field: Any) -> Column:
    where = f"{owner}.{name}"
    if name.startswith("_"):
        raise DeclarationError(f"{where}: a column's name may not begin with '_' (pandera drops it silently).")
    metadata = getattr(field, "metadata", None) or {}
    facts = metadata.get(_FACTS)
    if facts is None:
        raise DeclarationError(f"{where} has no description; write `{name}: … = column('what it is')`.")
    dtype, unit, fields = _shape(where, hint)
    if facts.key and field.nullable:
        raise DeclarationError(f"{where} is a key and nullable; a row without its key names nothing.")
    return Column(
        name=name,
        dtype=dtype,
        description=field.description or "",
        unit=unit,
        nullable=bool(field.nullable),
        key=facts.key,
        text=facts.text,
        fields=fields,
    )


def _shape(where: str, hint: Any) -> tuple[pl.DataType, str | None, tuple[Column, ...]]:
    hint = getattr(hint, "__value__", hint)  # `type Gbp = …`
    if get_origin(hint) is Annotated:
        for extra in get_args(hint)[1:]:
            if isinstance(extra, Measure):
                return extra.dtype, extra.unit, ()
    if get_origin(hint) is list:
        inner, unit, fields = _shape(where, get_args(hint)[0])
        return pl.List(inner), unit, fields
    if isinstance(hint, type) and issubclass(hint, Struct):
        return pl.Struct({each.name: each.dtype for each in hint.columns}), None, hint.columns
    if isinstance(hint, type) and hint in _PLAIN:
        return _PLAIN[hint], None, ()
    raise DeclarationError(f"{where}: {_why_not(hint)}")


def _why_not(hint: Any) -> str:
    if hint is Decimal:
        return "bare Decimal has no scale; use an alias such as Gbp, or Annotated[Decimal, Measure(pl.Decimal(38, 2))]."
    if hint is dt.datetime:
        return "bare datetime has no zone; use Utc."
    if get_origin(hint) in (Union, types.UnionType):
        return "`X | None` makes a column optional in pandera, not nullable; write `X` with column(…, nullable=True)."
    known = "str, int, float, bool, date, Gbp, Utc, Int32, a Struct, or a list of these"
    return f"{hint!r} is no column type; use {known}, or Annotated[…, Measure(dtype, unit)]."
