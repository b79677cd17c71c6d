"""How a value is written as text: values that a column's `text=` takes. Values; no I/O.

Without one, a column reads what JSON and ISO 8601 write: `-12.5`, `true`, `2024-05-01`, `2024-05-01T09:00:00.25Z`.

A pattern is made of literal characters and of `%Y %m %d %H %M %S` (always zero-padded), `%b` (Jan, JAN), `.%f` or `,%f`
after `%S` (a fraction that may be absent; more than six digits only when the rest are zeros), `%z` at the end of a
`utc_time` (`Z` or ±hh:mm) and `%%`. Every directive but `%f` and `%z` has one width: no text reads two ways.
"""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal
from zoneinfo import available_timezones

import polars as pl
import polars.exceptions

from lakehouse.engine.declare.errors import DeclarationError

__all__ = [
    "DateText",
    "LocalTime",
    "NumberText",
    "TextFormat",
    "TrueFalse",
    "UtcTime",
    "date_text",
    "local_time",
    "number_text",
    "true_false",
    "utc_time",
]

Ambiguous = Literal["earliest", "latest"] | None

_DATE = frozenset({"%Y", "%m", "%d"})
_CLOCK = frozenset({"%H", "%M"})
_FRACTION = re.compile(r"%S[.,]%f(?![0-9])")


@dataclass(frozen=True)
class TextFormat:
    """Base of the formats below. `str()` of one says in words how the text is written."""

    def fits(self, dtype: pl.DataType) -> bool:
        """Whether a leaf of this type can be written so."""
        raise NotImplementedError(dtype)


@dataclass(frozen=True)
class LocalTime(TextFormat):
    zone: str
    pattern: str
    ambiguous: Ambiguous = None

    def fits(self, dtype: pl.DataType) -> bool:
        return isinstance(dtype, pl.Datetime)

    def __str__(self) -> str:
        which = f", the {self.ambiguous} where it stands twice" if self.ambiguous else ""
        return f"wall-clock time of {self.zone} as {self.pattern}{which}"


@dataclass(frozen=True)
class UtcTime(TextFormat):
    pattern: str

    def fits(self, dtype: pl.DataType) -> bool:
        return isinstance(dtype, pl.Datetime)

    def __str__(self) -> str:
        return f"time with its offset as {self.pattern}" if "%z" in pieces(self.pattern) else f"UTC as {self.pattern}"


@dataclass(frozen=True)
class DateText(TextFormat):
    pattern: str

    def fits(self, dtype: pl.DataType) -> bool:
        return isinstance(dtype, pl.Date)

    def __str__(self) -> str:
        return f"date as {self.pattern}"


@dataclass(frozen=True)
class NumberText(TextFormat):
    decimal: str
    group: str
    prefix: str = ""

    def fits(self, dtype: pl.DataType) -> bool:
        return dtype.is_numeric()

    def __str__(self) -> str:
        groups = f" and {self.group!r} between groups of three" if self.group else ""
        prefixed = f", or with {self.prefix!r} before its first digit" if self.prefix else ""
        return f"number with {self.decimal!r} before the fraction{groups}{prefixed}"


@dataclass(frozen=True)
class TrueFalse(TextFormat):
    true: str
    false: str

    def fits(self, dtype: pl.DataType) -> bool:
        return isinstance(dtype, pl.Boolean)

    def __str__(self) -> str:
        return f"{self.true!r} or {self.false!r}"


def local_time(zone: str, pattern: str = "%Y-%m-%dT%H:%M:%S", ambiguous: Ambiguous = None) -> LocalTime:
    """A wall-clock time of `zone`, stored as UTC.

    A time that the clocks showed twice (autumn) rejects its row, unless `ambiguous=` says which of the two is meant.
    One that they never showed (spring) always rejects. From 2100 on, where libraries disagree about summer time, a time
    is read only if the zone's present rules and Polars give the same instant.
    """
    _known_zone(zone)
    if ambiguous not in (None, "earliest", "latest"):
        raise DeclarationError(f"local_time(ambiguous={ambiguous!r}): take 'earliest' or 'latest', or leave it out.")
    _allow("local_time", pattern, needed=_DATE | _CLOCK, optional={"%S", "%f"})
    return LocalTime(zone, pattern, ambiguous)


def utc_time(pattern: str = "%Y-%m-%dT%H:%M:%S.%f%z") -> UtcTime:
    """An instant: with `%z` at the end the text carries its offset, without it the text is UTC."""
    _allow("utc_time", pattern, needed=_DATE | _CLOCK, optional={"%S", "%f", "%z"})
    return UtcTime(pattern)


def date_text(pattern: str) -> DateText:
    """A date, such as `date_text("%d.%m.%Y")`."""
    _allow("date_text", pattern, needed=_DATE, optional=set())
    return DateText(pattern)


def number_text(decimal: str = ".", group: str = "", prefix: str = "") -> NumberText:
    """A number, such as `number_text(",", ".")` for 1.234,50. Groups are of three digits, all or none; no exponent.

    With `prefix="£"` it may begin with that, `£2.55` and `-£2.55`, and need not. No other unit is read.
    """
    if decimal not in (".", ","):
        raise DeclarationError(f"number_text(decimal={decimal!r}): take '.' or ','.")
    if len(group) > 1 or group == decimal or group.isdigit() or group in set("+-eE"):
        raise DeclarationError(
            f"number_text(decimal={decimal!r}, group={group!r}): group is one character, no digit, no sign and "
            "not the decimal mark, or '' for none."
        )
    if prefix != prefix.strip() or not set(prefix).isdisjoint({*"0123456789+-", decimal, group}):
        raise DeclarationError(
            f"number_text(prefix={prefix!r}): what stands before a number, such as '£', has no digit, no sign, no mark "
            "of the number and no blank at its ends; '' for none."
        )
    return NumberText(decimal, group, prefix)


def true_false(true: str = "Y", false: str = "N") -> TrueFalse:
    """The two texts, exactly; any other text rejects. One may be '' (as in SAP's 'X' and '')."""
    if true == false:
        raise DeclarationError(f"true_false({true!r}, {false!r}): the two texts are the same; give each its own.")
    return TrueFalse(true, false)


def pieces(pattern: str) -> list[str]:
    """The directives and literal characters of a pattern, in order: "%d.%m" -> ["%d", ".", "%m"]."""
    return re.findall(r"%-?.?|[^%]", pattern, flags=re.DOTALL)


def _known_zone(zone: str) -> None:
    """Ask Polars, whose own table of zones will read the data."""
    try:
        pl.select(pl.lit(None, pl.Datetime("us")).dt.replace_time_zone(zone))
    except polars.exceptions.ComputeError as unknown:
        near = get_close_matches(zone, sorted(available_timezones()), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "take a name such as Europe/London or UTC."
        raise DeclarationError(f"local_time({zone!r}): no such time zone; {hint}") from unknown


def _allow(word: str, pattern: str, *, needed: AbstractSet[str], optional: AbstractSet[str]) -> None:
    """Refuse a pattern that has a directive too many, too few, twice, or out of place."""
    found = ["%m" if piece == "%b" else piece for piece in pieces(pattern) if piece.startswith("%") and piece != "%%"]
    wrong = sorted(set(found) - needed - optional)
    missing = sorted(needed - set(found))
    twice = sorted({piece for piece in found if found.count(piece) > 1})
    if wrong:
        allowed = " ".join(sorted(needed | optional | {"%b"}))
        fault = f"{' '.join(wrong)} cannot be read exactly here; take {allowed}"
    elif missing:
        fault = f"{' '.join(missing)} is missing, so the text does not say the value"
    elif twice:
        fault = f"{' '.join(twice)} stands twice; name each part once"
    elif "%f" in found and not ("%S" in found and _FRACTION.search(pattern)):
        fault = "%f reads the fraction of a second: write it as %S.%f or %S,%f with no digit after it"
    elif "%z" in found and not pattern.endswith("%z"):
        fault = "%z stands at the end or not at all"
    else:
        return
    raise DeclarationError(
        f"{word}({pattern!r}): {fault}. Or declare the column `str`, and make its value in silver with your own rule."
    )
