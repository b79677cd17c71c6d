"""Whether a table can go on with other columns: as it stands, with its files written anew, as a new table, or not."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import Enum

import polars as pl

from lakehouse.engine.delta.storable import as_instance, faults_of

_DIGITS: dict[type[pl.DataType], int] = {pl.Int8: 3, pl.Int16: 5, pl.Int32: 10, pl.Int64: 19}
"""The most that an integer has."""

_HELD_BY: dict[type[pl.DataType], tuple[type[pl.DataType], ...]] = {
    pl.Int8: (pl.Int16, pl.Int32, pl.Int64, pl.Float32, pl.Float64),
    pl.Int16: (pl.Int32, pl.Int64, pl.Float32, pl.Float64),
    pl.Int32: (pl.Int64, pl.Float64),
    pl.Float32: (pl.Float64,),
}
"""By which numbers each value of a type is held exactly."""

MIDNIGHT = pl.Datetime("us", "UTC")
"""What a date may become: midnight UTC of its day."""


class Answer(Enum):
    """What a change of columns asks of a table that stands; the later, the more."""

    COMPATIBLE = "compatible"
    """Its files stay as they are: a new column is null in their rows."""
    WIDEN = "widen"
    """Its files are written anew, with every value proved equal."""
    NEW_VERSION = "new version"
    """It must be made anew from what its upstreams hold, and who reads it must follow."""
    REFUSE = "refuse"
    """No table can have these columns."""


@dataclass(frozen=True)
class Change:
    """What becomes of one column, or of the order of all (`column` is empty then), in words."""

    column: str
    answer: Answer
    said: str

    def __str__(self) -> str:
        return f"{self.column} {self.said}".strip()


@dataclass(frozen=True)
class Compatibility:
    """All that changes from one schema to another; nothing where they are equal."""

    changes: tuple[Change, ...] = ()

    @property
    def answer(self) -> Answer:
        return max((each.answer for each in self.changes), key=list(Answer).index, default=Answer.COMPATIBLE)

    @property
    def goes_on(self) -> bool:
        """Whether the next write can carry it out."""
        return self.answer in (Answer.COMPATIBLE, Answer.WIDEN)

    def __str__(self) -> str:
        """The changes, those that ask for most first."""
        by_weight = sorted(self.changes, key=lambda each: -list(Answer).index(each.answer))
        return "; ".join(map(str, by_weight)) or "the same columns"


def check_compatibility(old: pl.Schema, new: pl.Schema, *, required: Collection[str] = ()) -> Compatibility:
    """What it asks of a table with the columns `old` to go on with `new`. Names are told apart regardless of case.

    required: what may not be null, by path (`amount`, `lines[].sku`): rows that stand have no value for it if it is
    new. Leave it out where the table holds no rows.
    """
    return Compatibility(tuple(_changes(old, new, frozenset(required))))


def widens(old: pl.DataType, new: pl.DataType) -> bool:
    """Whether every value of `old` is one of `new`, exactly: a partial order (reflexive, antisymmetric, transitive).

    Integers into wider ones, into decimals with room for all their digits, and into floats that hold each of them
    exactly; Float32 into Float64; a decimal into one with as many digits on either side of the point, or more; a date
    into midnight UTC of its day; lists and structs by what they hold, where a struct may have more fields than before.
    """
    match old, new:
        case _ if old == new:
            fits = True
        case pl.List(), pl.List():
            fits = widens(as_instance(old.inner), as_instance(new.inner))
        case pl.Struct(), pl.Struct():
            fits = _fields_widen(_fields(old), _fields(new))
        case pl.Decimal(), pl.Decimal():
            fits = new.scale >= old.scale and new.precision - new.scale >= old.precision - old.scale
        case ((pl.Int8() | pl.Int16() | pl.Int32() | pl.Int64()), pl.Decimal()):
            fits = new.precision - new.scale >= _DIGITS[type(old)]
        case pl.Date(), pl.Datetime():
            fits = new == MIDNIGHT
        case _:
            fits = type(new) in _HELD_BY.get(type(old), ())
    return fits


def _fields(dtype: pl.Struct) -> dict[str, pl.DataType]:
    return {field.name: as_instance(field.dtype) for field in dtype.fields}


def _fields_widen(old: dict[str, pl.DataType], new: dict[str, pl.DataType]) -> bool:
    """Those that stand keep their order, or two structs could each be the wider one."""
    return [name for name in new if name in old] == [*old] and all(widens(old[name], new[name]) for name in old)


def _only_gains_fields(old: pl.DataType, new: pl.DataType) -> bool:
    """Whether what is stored as `old` reads as `new` where missing fields read as null."""
    if isinstance(old, pl.List) and isinstance(new, pl.List):
        return _only_gains_fields(as_instance(old.inner), as_instance(new.inner))
    if isinstance(old, pl.Struct) and isinstance(new, pl.Struct):
        before, after = _fields(old), _fields(new)
        return all(name in after and _only_gains_fields(before[name], after[name]) for name in before)
    return old == new


def _changes(old: pl.Schema, new: pl.Schema, required: frozenset[str]) -> Iterator[Change]:
    for fault in faults_of(new):
        yield Change("", Answer.REFUSE, fault)
    for name, dtype in old.items():
        if name not in new:
            yield Change(name, Answer.NEW_VERSION, f"({dtype}) is dropped or renamed")
    for name, dtype in new.items():
        yield from _of_column(name, old.get(name), dtype, required)
    kept = [name for name in new if name in old]
    if kept != [name for name in old if name in new]:
        yield Change("", Answer.COMPATIBLE, f"the order is {', '.join(new)}")


def _of_column(name: str, old: pl.DataType | None, new: pl.DataType, required: frozenset[str]) -> Iterator[Change]:
    if old == new:
        return
    if missing := sorted(required.intersection(gained(name, old, new))):
        what = f"({new}) is new" if old is None else f"gains {', '.join(missing)}, which is new"
        yield Change(name, Answer.NEW_VERSION, f"{what} and may not be null, which it is in rows that stand")
    elif old is None:
        yield Change(name, Answer.COMPATIBLE, f"({new}) is added; null in rows that stand")
    elif not widens(old, new):
        yield Change(name, Answer.NEW_VERSION, f"turns from {old} into {new}, which does not hold every value of it")
    elif _only_gains_fields(old, new):
        yield Change(name, Answer.COMPATIBLE, f"gains fields, null in rows that stand: {old} to {new}")
    else:
        yield Change(name, Answer.WIDEN, f"is widened from {old} to {new}")


def gained(path: str, old: pl.DataType | None, new: pl.DataType) -> Iterator[str]:
    """The paths that are in `new` and not in `old`; of what is new as a whole, its own only."""
    if old is None:
        yield path
    elif isinstance(old, pl.List) and isinstance(new, pl.List):
        yield from gained(f"{path}[]", as_instance(old.inner), as_instance(new.inner))
    elif isinstance(old, pl.Struct) and isinstance(new, pl.Struct):
        before = _fields(old)
        for name, dtype in _fields(new).items():
            yield from gained(f"{path}.{name}", before.get(name), dtype)
