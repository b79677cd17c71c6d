"""A table's contract: a pandera Polars model whose columns carry units, keys and text formats."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, ClassVar, TypedDict, Unpack, cast, get_args, get_origin, get_type_hints

import polars as pl

from lakehouse.engine.declare.column import Column
from lakehouse.engine.declare.dtypes import scalar
from lakehouse.engine.declare.errors import DeclarationError
from lakehouse.engine.declare.pandera_alone import BaseConfig, pa
from lakehouse.engine.declare.text import TextFormat

LAYERS = ("bronze", "silver", "gold")

EXTRA = "extra"
"""The column of a bronze table that holds the fields of no declared column."""
_FACTS = "facts"
PANDERAS_OWN = frozenset(name for name in dir(pa.DataFrameModel) if not name.startswith("_"))


class Bounds(TypedDict, total=False):
    """What may be asked of one value, under pandera's own names. Null is never out of bounds: see `nullable`."""

    eq: Any
    ne: Any
    gt: Any
    ge: Any
    lt: Any
    le: Any
    in_range: tuple[Any, Any] | dict[str, Any]
    isin: Iterable[Any]
    notin: Iterable[Any]
    str_contains: str
    str_endswith: str
    str_length: int | tuple[int, int] | dict[str, int]
    str_matches: str
    str_startswith: str


@dataclass(frozen=True)
class _Facts:
    key: bool
    text: TextFormat | None
    bounds: tuple[str, ...]
    was: str | None
    personal: bool | None


def column(
    description: str,
    *,
    key: bool = False,
    nullable: bool = False,
    text: TextFormat | None = None,
    was: str | None = None,
    personal: bool | None = None,
    **bounds: Unpack[Bounds],
) -> Any:
    """One column: its words, and what must be true of it.

    `key` columns name a row together: never null, never twice. `text` says how bronze text is written, `was` how its
    source calls a bronze column, or called it before: what comes under either name is stored under this one.
    `personal=True` is for what identifies or describes a person: no run shows its values, not in previews, checks,
    messages or plots, and none is left in the Delta log, where no later deletion would reach them. A merge by a
    personal key therefore reads that column of every file. The quarantine holds what arrived, raw, as does the table
    itself: `lakehouse sql` and `why` show both. The number of an account is personal data too, and all the same the
    handle by which a person's rows are found and erased: mark it where another key names the row, and leave it,
    with `personal=False`, where it is the key itself. A table that reads a personal column says one or the other.
    `bounds` are pandera's own (`ge=`, `isin=`, `str_matches=` …), each an asset check of its own.
    """
    known = Bounds.__optional_keys__
    if strangers := sorted(set(bounds) - known):
        near = get_close_matches(strangers[0], known, n=3, cutoff=0.75)
        hint = f"; did you mean {' or '.join(map(repr, sorted(near)))}?" if near else "."
        raise DeclarationError(
            f"column(…, {strangers[0]}=…): no such bound{hint} Bounds are {', '.join(sorted(known))}."
        )
    facts = _Facts(key, text, tuple(bounds), was, personal)
    return pa.Field(description=description, nullable=nullable, metadata={_FACTS: facts}, **bounds)


@dataclass(frozen=True)
class RowCheck:
    """A rule over a whole row: `claim()` is an expression that is true where the row is right."""

    name: str
    description: str
    claim: Callable[[], pl.Expr]


class _Claim(staticmethod):  # pyright: ignore[reportMissingTypeArgument] # takes none at run time
    """What `@check` makes of a function: known from any other member of a contract."""


def check(claim: Callable[[], pl.Expr]) -> staticmethod[[], pl.Expr]:
    """A rule of the contract: a function without arguments whose expression is true for every right row."""
    return _Claim(claim)


@dataclass(frozen=True)
class _Declared:
    columns: tuple[Column, ...] = ()
    row_checks: tuple[RowCheck, ...] = ()


class Struct:
    """The shape of a nested object: annotated columns, as in a contract."""

    # dunder, since every other name belongs to a column
    __lakehouse__: ClassVar[_Declared] = _Declared()

    def __init_subclass__(cls) -> None:
        columns = _all_columns(cls, _only_base(cls).__lakehouse__)
        for each in columns:
            if each.key or each.bounds:
                raise DeclarationError(
                    f"{cls.__name__}.{each.name}: keys and bounds are not asked inside a Struct, which would let them "
                    "pass unseen; declare them on the table that has a row for each."
                )
            if each.was is not None:
                raise DeclarationError(
                    f"{cls.__name__}.{each.name}: was= renames a column of a bronze table, not a field of a Struct."
                )
        cls.__lakehouse__ = _Declared(columns)


class Contract(pa.DataFrameModel):
    """Base of `Bronze`, `Silver` and `Gold`. Its first docstring line is the grain of the table.

    A contract may derive from one other contract: it has that one's columns and checks first, then its own.
    """

    __lakehouse__: ClassVar[_Declared] = _Declared()

    class Config(BaseConfig):
        strict = True
        ordered = True

    def __init_subclass__(cls, *, layer: str | None = None, **kwargs: Any) -> None:
        if layer is None:
            _declare(cls)
        super().__init_subclass__(**kwargs)  # pyright: ignore[reportUnknownMemberType] # pandera's kwargs are untyped
        if layer is None:
            _try_bounds(cls)


class Bronze(Contract, layer="bronze"):
    """What arrived: stored as text, read as the declared types."""


class Silver(Contract, layer="silver"):
    """What is true: cleaned, typed, one row per key."""


class Gold(Contract, layer="gold"):
    """What is asked for: aggregated to a stated grain."""


# Functions, not methods: a contract's names belong to its columns.
def columns_of(contract: type[Contract]) -> tuple[Column, ...]:
    """The declared columns, in order."""
    return contract.__lakehouse__.columns


def row_checks_of(contract: type[Contract]) -> tuple[RowCheck, ...]:
    """The rules over whole rows, in order."""
    return contract.__lakehouse__.row_checks


def schema_of(contract: type[Contract]) -> pl.Schema:
    """Names and Polars types, in order, as a transform must return them."""
    return pl.Schema({each.name: each.dtype for each in columns_of(contract)})


def key_of(contract: type[Contract]) -> list[str]:
    """The names of the key columns, in order; empty where none is declared."""
    return [each.name for each in columns_of(contract) if each.key]


def personal_of(contract: type[Contract]) -> tuple[str, ...]:
    """The columns whose values no run shows; with one, also what a bronze table keeps of undeclared fields."""
    names = tuple(each.name for each in columns_of(contract) if each.is_personal)
    return (*names, EXTRA) if names and issubclass(contract, Bronze) else names


def grain_of(contract: type[Contract]) -> str:
    """The first line of the contract's own docstring: what one row is. Empty without one."""
    own = vars(contract).get("__doc__") or ""  # inspect.getdoc would find the base class's
    return inspect.cleandoc(own).split("\n", 1)[0]


def layer_of(contract: type[Contract]) -> str:
    """`bronze`, `silver` or `gold`, by the base class."""
    for base, layer in ((Bronze, "bronze"), (Silver, "silver"), (Gold, "gold")):
        if issubclass(contract, base):
            return layer
    raise DeclarationError(f"{contract.__name__} is neither Bronze, Silver nor Gold; derive it from one of the three.")


def _declare(cls: type[Contract]) -> None:
    standing = _only_base(cls).__lakehouse__
    columns = _all_columns(cls, standing)
    claims: dict[str, Any] = {name: member.__func__ for name, member in vars(cls).items() if isinstance(member, _Claim)}
    own = tuple(
        RowCheck(name, inspect.getdoc(claim) or name.replace("_", " "), claim) for name, claim in claims.items()
    )
    cls.__lakehouse__ = _Declared(columns, standing.row_checks + own)
    layer_of(cls)
    for each in columns[len(standing.columns) :]:
        _refuse_unfit_column(cls, each)
        # pandera takes Polars dtype instances; other annotations it would misread silently
        cls.__annotations__[each.name] = each.dtype
    if issubclass(cls, Bronze):
        _refuse_shared_names(cls, columns)
        _refuse_rules_on_bronze(cls)
    for each in own:
        _try_claim(cls, each)
        setattr(cls, each.name, _as_pandera(each))


def _as_pandera(rule: RowCheck) -> Any:
    def holds(_: Any, data: Any) -> pl.LazyFrame:
        return data.lazyframe.select(rule.claim())

    holds.__name__, holds.__doc__ = rule.name, rule.description
    return cast("Any", pa).dataframe_check(holds, name=rule.name)


def _only_base(cls: type) -> Any:
    bases = cls.__bases__
    if len(bases) > 1:
        names = ", ".join(base.__name__ for base in bases)
        raise DeclarationError(f"{cls.__name__} derives from {names}; a contract or a Struct derives from one.")
    return cls.__mro__[1]


def _all_columns(cls: type, standing: _Declared) -> tuple[Column, ...]:
    """The columns of the base, then the class's own, with everything refused that is neither column nor check."""
    hints, members = _own_hints(cls), vars(cls)
    for name, member in members.items():
        if name not in hints and not isinstance(member, _Claim) and not (name.startswith("__") and name.endswith("__")):
            raise DeclarationError(
                f"{cls.__name__}.{name} is neither a column nor a @check; write `{name}: type = column('…')`, "
                "or move it out of the class."
            )
    columns = list(standing.columns)
    for name, hint in hints.items():
        own = _column(f"{cls.__name__}.{name}", name, hint, members.get(name))
        for other in columns:
            if other.name.lower() == name.lower():
                raise DeclarationError(
                    f"{cls.__name__}.{name}: {other.name} is declared already, and Delta does not tell case apart."
                )
        columns.append(own)
    if not columns:
        raise DeclarationError(f"{cls.__name__} declares no column; write at least one `name: type = column('…')`.")
    return tuple(columns)


def _own_hints(cls: type) -> dict[str, Any]:
    # get_type_hints, not get_annotations: it looks a name up in the module before it does in the class, so that
    # a column `date: date` under `from __future__ import annotations` still finds its type
    resolved = get_type_hints(cls, include_extras=True)
    own = inspect.get_annotations(cls)
    return {name: resolved[name] for name in own if get_origin(resolved[name]) is not ClassVar}


def _column(where: str, name: str, hint: Any, field: Any) -> Column:
    if name.startswith("_"):
        raise DeclarationError(f"{where}: a column's name may not begin with '_' (pandera drops it silently).")
    if not name.isascii():
        raise DeclarationError(
            f"{where}: a column's name has the letters A to Z only; its asset checks are named after it."
        )
    facts = cast("dict[str, Any]", getattr(field, "metadata", None) or {}).get(_FACTS)
    if not isinstance(facts, _Facts) or not field.description:
        raise DeclarationError(f"{where} has no description; write `{name}: … = column('what it is')`.")
    if facts.key and field.nullable:
        raise DeclarationError(f"{where} is a key and nullable; a row without its key names nothing.")
    dtype, unit, fields = _shape(where, hint)
    if facts.key and dtype.is_nested():
        raise DeclarationError(f"{where} is a key and {dtype}; a key is made of plain values.")
    if facts.text is not None and not facts.text.fits(_leaf(dtype)):
        raise DeclarationError(f"{where}: {dtype} is not written as {facts.text}; change its type or its text=.")
    return Column(
        name=name,
        dtype=dtype,
        description=field.description,
        unit=unit,
        nullable=bool(field.nullable),
        key=facts.key,
        text=facts.text,
        fields=fields,
        bounds=facts.bounds,
        was=facts.was,
        personal=facts.personal,
    )


def _shape(where: str, hint: Any) -> tuple[pl.DataType, str | None, tuple[Column, ...]]:
    if get_origin(hint) is list:
        inner, unit, fields = _shape(where, get_args(hint)[0])
        return pl.List(inner), unit, fields
    if isinstance(hint, type) and issubclass(hint, Struct):
        fields = hint.__lakehouse__.columns
        return pl.Struct({each.name: each.dtype for each in fields}), None, fields
    measure = scalar(where, hint)
    return measure.dtype, measure.unit, ()


def _leaf(dtype: pl.DataType) -> pl.DataType:
    return _leaf(cast("pl.DataType", dtype.inner)) if isinstance(dtype, pl.List) else dtype


def _refuse_unfit_column(cls: type[Contract], column: Column) -> None:
    where = f"{cls.__name__}.{column.name}"
    if column.name in PANDERAS_OWN:
        raise DeclarationError(f"{where}: {column.name!r} is a word of pandera's models; name the column otherwise.")
    if column.text is not None and not issubclass(cls, Bronze):
        raise DeclarationError(
            f"{where}: text= says how bronze text is written; a {layer_of(cls)} column is typed already."
        )
    if column.was is not None and not issubclass(cls, Bronze):
        raise DeclarationError(
            f"{where}: was= says how a source called it before; a {layer_of(cls)} column is named by its own table."
        )


def _refuse_shared_names(cls: type[Contract], columns: tuple[Column, ...]) -> None:
    names = [name for each in columns for name in (each.name, each.was) if name is not None]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DeclarationError(f"{cls.__name__}: {twice[0]!r} would be two columns, by name and by was=.")


def _refuse_rules_on_bronze(cls: type[Contract]) -> None:
    culprits = [each.name for each in columns_of(cls) if each.bounds or each.key]
    culprits += [each.name for each in row_checks_of(cls)]
    if culprits:
        raise DeclarationError(
            f"{cls.__name__} is a bronze contract and declares bounds, keys or checks on {', '.join(culprits)}. "
            "Bronze keeps what arrived; declare them on the silver table that reads it."
        )


def _try_claim(cls: type[Contract], rule: RowCheck) -> None:
    """Ask the rule of no rows: an unknown column, a wrong type or no truth value is said at load."""
    where, schema = f"{cls.__name__}.{rule.name}", schema_of(cls)
    claim: Any = rule.claim()
    if not isinstance(claim, pl.Expr):
        raise DeclarationError(f"{where}: a @check returns an expression, not {type(claim).__name__}.")
    if strangers := [name for name in claim.meta.root_names() if name not in schema]:
        raise DeclarationError(
            f"{where} asks for column {strangers[0]!r}, which the contract does not declare "
            f"(it declares {', '.join(sorted(schema))})."
        )
    try:
        told = pl.LazyFrame(schema=schema).select(claim).collect_schema()
    except pl.exceptions.PolarsError as broken:
        raise DeclarationError(f"{where} cannot be asked of its columns: {_first_line(broken)}.") from broken
    if told.dtypes() != [pl.Boolean()]:
        raise DeclarationError(
            f"{where} says {', '.join(map(str, told.dtypes()))}; a @check is one true or false for a row."
        )


_ASKABLE: set[str] = set()
"""Types with the bounds that were asked of them: a tenth of what 500 tables took to load went by on asking again."""


def _try_bounds(cls: type[Contract]) -> None:
    """Ask every bound of no rows: one that does not go with its column's type is said at load."""
    nothing = pl.LazyFrame(schema=schema_of(cls))
    schema = cls.to_schema()
    for each in columns_of(cls):
        for bound, asked in zip(each.bounds, schema.columns[each.name].checks, strict=True):
            meant = f"{each.dtype!r} {asked.name} {asked.statistics!r}"
            if meant in _ASKABLE:
                continue
            try:
                asked(nothing, each.name).check_output.collect_schema()
            except pl.exceptions.PolarsError as broken:
                raise DeclarationError(
                    f"{cls.__name__}.{each.name}: {bound}= cannot be asked of {each.dtype}: {_first_line(broken)}."
                ) from broken
            _ASKABLE.add(meant)


def _first_line(broken: Exception) -> str:
    return str(broken).split("\n", 1)[0]
