"""The promise: what is read prints back to the same number, date, time or text, or its row is rejected.

A reader of our own, made of the standard library alone, says for every text what it must become, and both must agree.
Per example 500 texts for each of 20 kinds of column, in one frame; ten examples make 10⁵ texts. Valid ones are printed
in the column's format (and none of them may be rejected), others are such texts with a few characters changed, or junk.
A failure prints its seed.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from random import Random
from zoneinfo import ZoneInfo

import polars as pl
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from lakehouse.engine.declare.column import Column
from lakehouse.engine.declare.text import (
    LocalTime,
    TextFormat,
    date_text,
    local_time,
    number_text,
    true_false,
    utc_time,
)
from lakehouse.engine.quality.text import read_text, unread

ROWS = 500
EXAMPLES = 10
PHASES = (Phase.reuse, Phase.generate)  # a smaller seed is not a simpler example
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,4})?")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class Kind:
    """A kind of column, how its valid texts are drawn, and what the standard library makes of any (None: rejects)."""

    dtype: pl.DataType
    valid: Callable[[Random], str]
    reads: Callable[[str], object]
    text: TextFormat | None = None
    doubtful: Callable[[Random], str] | None = None
    """Draws texts of the right shape that may have no value, such as a time that the clocks never showed."""


# --- numbers --------------------------------------------------------------------------------------------------------


def integers(dtype: pl.DataType, bits: int, *, signed: bool = True) -> Kind:
    least, greatest = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)

    def valid(rnd: Random) -> str:
        near = rnd.choice((0, least, greatest)) + rnd.randrange(-3, 4)
        return str(min(max(rnd.choice((near, rnd.randrange(least, greatest + 1))), least), greatest))

    def reads(text: str) -> int | None:
        if not re.fullmatch(r"-?[0-9]+", text) or text not in (str(int(text)), "-0" if signed else None):
            return None
        return int(text) if least <= int(text) <= greatest else None

    return Kind(dtype, valid, reads)


def fitting(text: str, precision: int, scale: int) -> Decimal | None:
    """The number, if a decimal of this width holds it to the last digit."""
    if not NUMBER.fullmatch(text):
        return None
    number = Decimal(text)
    _, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int):
        return None
    if number == 0:
        return Decimal(0)
    bare = "".join(map(str, digits)).rstrip("0")
    lowest = exponent + len(digits) - len(bare)
    return number if lowest >= -scale and number.adjusted() < precision - scale else None


def decimal_of(rnd: Random, precision: int, scale: int) -> str:
    whole = str(rnd.randrange(10 ** rnd.randrange(precision - scale + 1)))
    places = rnd.randrange(scale + 1)
    fraction = "".join(rnd.choices("0123456789", k=places))
    return rnd.choice(("", "", "-")) + whole + ("." + fraction if places else "")


def decimals(precision: int, scale: int) -> Kind:
    def valid(rnd: Random) -> str:
        text = decimal_of(rnd, precision, scale)
        form = rnd.randrange(8)
        return f"{Decimal(text):E}" if form == 0 else text + "0" * 9 if form == 1 and "." in text else text

    return Kind(pl.Decimal(precision, scale), valid, lambda text: fitting(text, precision, scale))


def grouped(precision: int, scale: int) -> Kind:
    def valid(rnd: Random) -> str:
        whole, _, fraction = decimal_of(rnd, precision, scale).partition(".")
        shown = f"{int(whole):,}".replace(",", ".") if rnd.random() < 0.8 else whole
        shown = f"-{shown.lstrip('-')}" if whole.startswith("-") else shown
        return shown + ("," + fraction if fraction else "")

    def reads(text: str) -> Decimal | None:
        whole, mark, fraction = text.partition(",")
        bare = whole.replace(".", "")
        if "." in fraction or "e" in text.lower() or not NUMBER.fullmatch(bare) or (mark and not fraction):
            return None
        if whole not in (bare, f"{int(bare):,}".replace(",", "."), "-0"):
            return None
        return fitting(bare + ("." + fraction if mark else ""), precision, scale)

    return Kind(pl.Decimal(precision, scale), valid, reads, number_text(",", "."))


def priced(precision: int, scale: int) -> Kind:
    """A decimal that may begin with a pound sign, after its minus."""

    def valid(rnd: Random) -> str:
        text = decimal_of(rnd, precision, scale)
        bare = text.removeprefix("-")
        return text[: len(text) - len(bare)] + rnd.choice(("£", "£", "")) + bare

    def reads(text: str) -> Decimal | None:
        minus, bare = ("-", text[1:]) if text.startswith("-") else ("", text)
        number = bare.removeprefix("£")
        return None if number.startswith("-") or "e" in text.lower() else fitting(minus + number, precision, scale)

    return Kind(pl.Decimal(precision, scale), valid, reads, number_text(prefix="£"))


def shortest_narrow(number: float) -> str:
    """The fewest digits that name this float32 among all."""
    return next(text for n in range(1, 10) if narrow(float(text := f"{number:.{n}g}")) == number)


def narrow(number: float) -> float | None:
    try:
        return struct.unpack("f", struct.pack("f", number))[0]
    except OverflowError:
        return None


def any_float(rnd: Random, code: str, size: int) -> float:
    number = struct.unpack(code, rnd.randbytes(size))[0]
    return number if abs(number) < float("inf") else any_float(rnd, code, size)


def wide_float(text: str) -> float | None:
    if not NUMBER.fullmatch(text) or abs(number := float(text)) == float("inf"):
        return None
    return number if Decimal(repr(number)) == Decimal(text) else None


def narrow_float(text: str) -> float | None:
    if not NUMBER.fullmatch(text) or (number := narrow(float(text))) is None or abs(number) == float("inf"):
        return None
    return number if Decimal(shortest_narrow(number)) == Decimal(text) else None


def wide_text(rnd: Random) -> str:
    return rnd.choice(
        (
            lambda: repr(any_float(rnd, "d", 8)),
            lambda: repr(rnd.random()),
            lambda: decimal_of(rnd, 15, rnd.randrange(12)),
            lambda: str(rnd.randrange(2**53)),
            lambda: f"{rnd.randrange(10**6) / 100:.2f}",
        )
    )()


def narrow_text(rnd: Random) -> str:
    return rnd.choice((lambda: shortest_narrow(any_float(rnd, "f", 4)), lambda: decimal_of(rnd, 6, rnd.randrange(6))))()


# --- dates and times ------------------------------------------------------------------------------------------------


def printed(when: datetime, pattern: str) -> str:
    """As strftime, which writes years below 1000 without zeros and months in the language of the machine."""
    parts = {"%Y": f"{when.year:04}", "%m": f"{when.month:02}", "%b": MONTHS[when.month - 1], "%d": f"{when.day:02}"}
    parts |= {"%H": f"{when.hour:02}", "%M": f"{when.minute:02}", "%S": f"{when.second:02}"}
    return re.sub("%.", lambda found: parts[found[0]], pattern)


def wall_clock(text: str, pattern: str) -> datetime | None:
    """The time that prints back to this text (letters of a month in any case), without a zone."""
    try:
        when = datetime.strptime(text, pattern)  # noqa: DTZ007 # a wall clock has no zone
    except ValueError:
        return None
    same = printed(when, pattern)
    return when if same == text or ("%b" in pattern and text.isascii() and same.lower() == text.lower()) else None


def fraction_of(digits: str | None) -> timedelta | None:
    """ ".25" -> 250,000 microseconds; None where more than six digits count."""
    micros = Decimal(f"0{digits or '.0'}") * 1_000_000
    return timedelta(microseconds=int(micros)) if micros == int(micros) else None


def any_time(rnd: Random) -> datetime:
    """Any time, half of them within this century, a quarter in the hours in which London's clocks change."""
    if rnd.random() < 0.25:
        last = datetime(rnd.randrange(1990, 2100), rnd.choice((3, 10)), 31)  # noqa: DTZ001 # a wall clock
        sunday = last - timedelta(days=(last.weekday() + 1) % 7)
        return sunday + timedelta(seconds=rnd.randrange(4 * 3600))
    first, after = rnd.choice(((1990, 2050), (1, 9999)))
    start = datetime(first, 1, 1)  # noqa: DTZ001 # a wall clock
    return start + timedelta(seconds=rnd.randrange(int((datetime(after, 1, 1) - start).total_seconds())))  # noqa: DTZ001


def dates(pattern: str, text: TextFormat | None = None) -> Kind:
    def reads(written: str) -> date | None:
        when = wall_clock(written, pattern)
        return when.date() if when else None

    return Kind(pl.Date(), lambda rnd: printed(any_time(rnd), pattern), reads, text)


def instants_of(wall: datetime, zone: str) -> list[datetime]:
    """Every instant at which the clocks of the zone showed this time."""
    found: set[datetime] = set()
    for fold in (0, 1):
        try:
            instant = wall.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)
            if instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == wall:
                found.add(instant)
        except OverflowError:
            pass
    return sorted(found)


def local(zone: str, pattern: str, ambiguous: str | None = None, *, fraction: bool = False) -> Kind:
    """Valid are those before 2100: from then on Polars knows no summer time, and ours rejects what is not sure."""
    mark = r"(\.[0-9]+)?" if fraction else "()"

    def reads(text: str) -> datetime | None:
        found = re.fullmatch(rf"(.*?){mark}", text)
        wall = found and wall_clock(found[1], pattern)
        rest = fraction_of(found[2] or None) if found else None
        if not wall or rest is None:
            return None
        instants = instants_of(wall + rest, zone)
        if len(instants) == 1 or (instants and ambiguous):
            return instants[-1 if ambiguous == "latest" else 0]
        return None

    def doubtful(rnd: Random) -> str:
        return printed(any_time(rnd), pattern) + (rnd.choice(("", ".5", ".123456", ".1234560")) if fraction else "")

    def valid(rnd: Random) -> str:
        instant = reads(written := doubtful(rnd))
        return written if instant and instant.year < 2099 else valid(rnd)

    text = local_time(zone, pattern + (".%f" if fraction else ""), ambiguous)  # type: ignore[arg-type]
    return Kind(pl.Datetime("us", "UTC"), valid, reads, text, doubtful)


def with_offset(head: str, text: TextFormat | None = None) -> Kind:
    def reads(written: str) -> datetime | None:
        found = re.fullmatch(r"(.*?)(\.[0-9]+)?(?:Z|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))", written)
        wall = found and wall_clock(found[1], head)
        rest = fraction_of(found[2]) if found else None
        if not found or not wall or rest is None:
            return None
        minutes = int(found[4] or 0) * 60 + int(found[5] or 0)
        zone = timezone(timedelta(minutes=-minutes if found[3] == "-" else minutes))
        try:
            return (wall + rest).replace(tzinfo=zone).astimezone(UTC)
        except OverflowError:
            return None

    def valid(rnd: Random) -> str:
        offset = rnd.choice(("Z", "Z", "+01:00", "-05:30", f"+{rnd.randrange(24):02}:{rnd.randrange(60):02}"))
        written = printed(any_time(rnd), head) + rnd.choice(("", ".25", ".000001", ".123456000")) + offset
        return written if reads(written) else valid(rnd)

    return Kind(pl.Datetime("us", "UTC"), valid, reads, text)


ISO = "%Y-%m-%dT%H:%M:%S"
KINDS = {
    "int8": integers(pl.Int8(), 8),
    "int32": integers(pl.Int32(), 32),
    "int64": integers(pl.Int64(), 64),
    "uint16": integers(pl.UInt16(), 16, signed=False),
    "money": decimals(10, 2),
    "wide": decimals(38, 3),
    "whole": decimals(38, 0),
    "small": decimals(5, 5),
    "german": grouped(18, 2),
    "pounds": priced(38, 3),
    "float": Kind(pl.Float64(), wide_text, wide_float),
    "float32": Kind(pl.Float32(), narrow_text, narrow_float),
    "flag": Kind(pl.Boolean(), lambda rnd: rnd.choice(("true", "false")), {"true": True, "false": False}.get),
    "yes": Kind(pl.Boolean(), lambda rnd: rnd.choice("YN"), {"Y": True, "N": False}.get, true_false()),
    "day": dates("%Y-%m-%d"),
    "month": dates("%d-%b-%Y", date_text("%d-%b-%Y")),
    "instant": with_offset(ISO),
    "spaced": with_offset("%d/%m/%Y %H:%M:%S", utc_time("%d/%m/%Y %H:%M:%S.%f%z")),
    "london": local("Europe/London", ISO),
    "sydney": local("Australia/Sydney", "%d/%m/%Y %H:%M", "earliest"),
    "york": local("America/New_York", "%Y-%m-%d %H:%M:%S", "latest", fraction=True),
}


# --- the texts ------------------------------------------------------------------------------------------------------


def changed(rnd: Random, text: str) -> str:
    """One to three characters put in, taken out, replaced, doubled or swapped; or the edges dirtied."""
    for _ in range(rnd.choice((1, 1, 2, 3))):
        at = rnd.randrange(len(text) + 1)
        new = rnd.choice("0123456789.,-+:/TZeE xO_£\n\x00\u0663\uff11\u00a0")
        text = rnd.choice(
            (
                text[:at] + new + text[at:],
                text[:at] + text[at + 1 :],
                text[:at] + new + text[at + 1 :],
                text[:at] + text[at : at + 1] * 2 + text[at + 1 :],
                text[:at] + text[at + 1 : at + 2] + text[at : at + 1] + text[at + 2 :],
                rnd.choice((" ", "+", "0", "-")) + text,
                text + rnd.choice((" ", "\n", "0", ".0", "e0", "Z")),
            )
        )
    return text


def junk(rnd: Random) -> str:
    odd = ("", "-", ".", "e", "nan", "inf", "null", "1e400", "1e-400", "1e99999", "1e-9", "0x10", "24:00", "½", "٣")
    return rnd.choice((*odd, "".join(rnd.choices("0123456789.-+eE:TZ ", k=rnd.randrange(1, 30)))))


OTHERS: tuple[Callable[[Random, Kind], str], ...] = (
    lambda rnd, kind: changed(rnd, kind.valid(rnd)),
    lambda rnd, kind: changed(rnd, kind.valid(rnd)),
    lambda rnd, _: junk(rnd),
    lambda rnd, kind: (kind.doubtful or kind.valid)(rnd),
)


def drawn(rnd: Random, kind: Kind, share: float = 0.5) -> tuple[list[str], list[bool]]:
    """The texts, and which of them are valid: about this share."""
    valid = [rnd.random() < share for _ in range(ROWS)]
    texts = [kind.valid(rnd) if each else rnd.choice(OTHERS)(rnd, kind) for each in valid]
    return texts, valid


def agrees(kind: Kind, typed: object, wanted: object) -> bool:
    """Local times from 2100 on may also be rejected (in UTC the first of them is of 2099)."""
    if isinstance(kind.text, LocalTime) and isinstance(wanted, datetime):
        return typed == wanted or (typed is None and wanted.year >= 2099)
    return typed == wanted and (typed is None) == (wanted is None)


COLUMNS = [Column(name, kind.dtype, text=kind.text) for name, kind in KINDS.items()]


@settings(max_examples=EXAMPLES, phases=PHASES)
@given(seed=st.integers(0, 2**64))
def test_what_is_read_prints_back_or_is_rejected_and_what_is_valid_is_read(seed):
    rnd = Random(seed)
    texts = {name: drawn(rnd, kind) for name, kind in KINDS.items()}
    frame = pl.LazyFrame({name: each for name, (each, _) in texts.items()})
    typed = frame.select(read_text(pl.col(each.name), each) for each in COLUMNS).collect()
    rejected = frame.select(unread(pl.col(each.name), each).alias(each.name) for each in COLUMNS).collect()
    assert typed.schema == {each.name: each.dtype for each in COLUMNS}
    for name, kind in KINDS.items():
        for text, valid, value, reject in zip(*texts[name], typed[name], rejected[name], strict=True):
            wanted = kind.reads(text)
            assert agrees(kind, value, wanted), (
                f"{name}: {text!r} read as {value!r}, the standard library says {wanted!r}"
            )
            assert reject is (value is None), f"{name}: {text!r} read as {value!r}, and its row is rejected: {reject}"
            assert not (valid and reject), f"{name}: {text!r} is valid and was rejected"


@settings(max_examples=3, phases=PHASES)
@given(seed=st.integers(0, 2**64))
def test_a_leaf_in_a_list_of_structs_reads_as_it_does_alone(seed):
    rnd = Random(seed)
    frame = pl.DataFrame({name: drawn(rnd, kind, share=0.98)[0] for name, kind in KINDS.items()})
    alone = frame.select(read_text(pl.col(each.name), each) for each in COLUMNS)
    wrong = frame.select(pl.any_horizontal(unread(pl.col(each.name), each) for each in COLUMNS)).to_series()
    order = pl.Series("order", [rnd.randrange(ROWS // 2) for _ in range(ROWS)])
    nested = frame.with_columns(order).group_by("order").agg(lines=pl.struct(pl.exclude("order")))
    lines = Column("lines", pl.List(pl.Struct(alone.schema)), fields=tuple(COLUMNS))
    read = nested.select("order", read_text(pl.col("lines"), lines), wrong=unread(pl.col("lines"), lines))
    by_order = alone.with_columns(order).sort("order", maintain_order=True).drop("order")
    assert read.sort("order").explode("lines")["lines"].struct.unnest().equals(by_order)
    rejects = pl.DataFrame({"order": order, "wrong": wrong}).group_by("order").agg(pl.col("wrong").any())
    assert read.select("order", "wrong").sort("order").equals(rejects.sort("order"))


@settings(max_examples=3, phases=PHASES)
@given(seed=st.integers(0, 2**64))
def test_texts_that_repeat_read_as_they_do_alone(seed):
    rnd = Random(seed)
    frame = pl.DataFrame({name: drawn(rnd, kind, share=0.9)[0] for name, kind in KINDS.items()})
    frame = frame.with_columns(pl.when(pl.int_range(pl.len()) % 7 != 3).then(pl.all()).name.keep())
    alone = frame.select(read_text(pl.col(each.name), each) for each in COLUMNS)
    wrong = frame.select(pl.any_horizontal(unread(pl.col(each.name), each) for each in COLUMNS)).to_series()
    times = [rnd.randrange(4, 9) for _ in range(frame.height)]
    repeated, wanted, wrongs = (
        each.select(pl.all().repeat_by(pl.Series(times)).explode(empty_as_null=False))
        for each in (frame, alone, wrong.to_frame("wrong"))
    )
    assert repeated.select(read_text(pl.col(each.name), each) for each in COLUMNS).equals(wanted)

    order = pl.Series("order", sorted(rnd.randrange(ROWS // 2) for _ in range(repeated.height)))
    lists = repeated.with_columns(order).group_by("order", maintain_order=True)
    whole = lists.agg(lines=pl.struct(pl.exclude("order")))
    nested = pl.concat([whole[::2], whole[1::2]], rechunk=False)
    lines = Column("lines", pl.List(pl.Struct(alone.schema)), fields=tuple(COLUMNS))
    read = nested.select("order", read_text(pl.col("lines"), lines), wrong=unread(pl.col("lines"), lines)).sort("order")
    assert read["lines"].explode().struct.unnest().equals(wanted)
    rejects = wrongs.with_columns(order).group_by("order").agg(pl.col("wrong").any()).sort("order")
    assert read.select("order", "wrong").equals(rejects)
