"""Which Polars type an annotation stands for. What pandera would misread silently is refused, with the way out."""

from __future__ import annotations

import datetime as dt
import types
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Union, get_args, get_origin

import polars as pl

from lakehouse.engine.declare.errors import DeclarationError
from lakehouse.engine.declare.pandera_alone import FieldInfo


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


def scalar(where: str, hint: Any) -> Measure:
    """The type and unit of a column that is no list and no struct. Raises DeclarationError naming `where`."""
    hint = getattr(hint, "__value__", hint)  # `type Gbp = …`
    if get_origin(hint) is Annotated:
        for extra in get_args(hint)[1:]:
            if isinstance(extra, Measure):
                return _instance(where, extra)
    if isinstance(hint, type) and hint in _PLAIN:
        return Measure(_PLAIN[hint])
    raise DeclarationError(f"{where}: {_why_not(hint)}")


def _instance(where: str, measure: Measure) -> Measure:
    if not isinstance(measure.dtype, pl.DataType):  # pyright: ignore[reportUnnecessaryIsInstance] # a class slips in
        raise DeclarationError(
            f"{where}: Measure({measure.dtype!r}) holds no Polars type; write pl.Int16(), not pl.Int16."
        )
    return measure


def _why_not(hint: Any) -> str:
    if hint is Decimal:
        return "bare Decimal has no scale; use an alias such as Gbp, or Annotated[Decimal, Measure(pl.Decimal(38, 2))]."
    if hint is dt.datetime:
        return "bare datetime has no zone; use Utc."
    if get_origin(hint) in (Union, types.UnionType):
        return "`X | None` makes a column optional in pandera, not nullable; write `X` with column(…, nullable=True)."
    if isinstance(hint, FieldInfo):
        return (
            "a column of that name hides its type from Python; import the type under another name, "
            "as in `import datetime as dt` and `date: dt.date`."
        )
    if isinstance(hint, type | str) or get_origin(hint):
        known = "str, int, float, bool, date, Gbp, Utc, Int32, a Struct, or a list of these"
        return f"{_spelled(hint)} is no column type; use {known}, or Annotated[…, Measure(dtype, unit)]."
    return f"{hint!r} is no column type; a Polars type goes into an alias: Annotated[…, Measure({hint!r})]."


def _spelled(hint: Any) -> str:
    return hint.__qualname__ if isinstance(hint, type) else repr(hint)
