"""Which type the values of a field read as, exactly, all of them; and what was seen that says so."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from lakehouse.engine.declare.column import Column
from lakehouse.engine.declare.number import number
from lakehouse.engine.declare.text import TextFormat, date_text, local_time, number_text, true_false, utc_time
from lakehouse.engine.quality.text import read_text, unread
from lakehouse.propose.written import literal, shown

__all__ = ["VALUE", "Reading", "reading"]

VALUE, FILE, ROW = "value", "source_file", "source_row"
_HEAD = 500  # distinct values that a candidate is tried on first
_DATES = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%m.%d.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%d-%b-%Y", "%d %b %Y")
_CLOCKS = ("%H:%M:%S", "%H:%M", "%H:%M:%S.%f", "%H:%M:%S,%f")
_ISO = "%Y-%m-%dT%H:%M:%S"
_WALLS = [f"{day}{between}{clock}" for day in ("%Y-%m-%d", *_DATES) for between in "T " for clock in _CLOCKS]
_SOME_TIME = datetime(2024, 2, 1, tzinfo=UTC)
_LOOKED_AT = 20  # distinct values that say which ways of writing a time are asked
_PAIRS = (("Y", "N"), ("y", "n"), ("yes", "no"), ("Yes", "No"), ("YES", "NO"), ("True", "False"), ("TRUE", "FALSE"),
          ("T", "F"), ("t", "f"), ("J", "N"), ("ja", "nein"), ("X", ""))  # fmt: skip
_UTC = pl.Datetime("us", "UTC")


@dataclass(frozen=True)
class Reading:
    """How a field is declared (`annotation`, the source of its `text=`), as which type, and the evidence for it."""

    annotation: str
    dtype: pl.DataType
    nullable: bool
    form: TextFormat | None = None
    text: str = ""
    said: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Candidate:
    said: str
    annotation: str
    dtype: pl.DataType
    form: TextFormat | None = None
    text: str = ""

    @property
    def column(self) -> Column:
        return Column(VALUE, self.dtype, nullable=True, text=self.form)


_STR = _Candidate("text", "str", pl.String())


def reading(values: pl.DataFrame, zone: str | None) -> Reading:
    """The type that all of `value` (text) read as; `source_file` and `source_row` say where each came from.

    Shape: (n, 3). Where none but text does, the notes say what nearly did, and a value that did not.
    """
    there = values.filter(pl.col(VALUE).is_not_null())
    distinct = there.group_by(VALUE, maintain_order=True).agg(pl.len().alias("times"), pl.first(FILE), pl.first(ROW))
    nullable = there.height < values.height
    if there.is_empty():
        notes = ("no value was seen, so nothing is known of it",)
        return Reading("str", pl.String(), nullable, said=_rows(there, values), notes=notes)
    chosen, notes = _chosen(distinct, zone)
    said = f"{_rows(there, values)}; {chosen.said}; {_range(distinct, chosen)}"
    return Reading(chosen.annotation, chosen.dtype, nullable, chosen.form, chosen.text, said, tuple(notes))


def _rows(there: pl.DataFrame, values: pl.DataFrame) -> str:
    same = there.height == values.height
    return f"all {values.height:,}" if same else f"{there.height:,} of {values.height:,}"


def _range(distinct: pl.DataFrame, chosen: _Candidate) -> str:
    if distinct.height == 1:
        return f"always {shown(distinct[VALUE][0])}"
    read = distinct.select(read_text(pl.col(VALUE), chosen.column)).to_series()
    if isinstance(chosen.dtype, pl.String):
        ends = shown(read.min()), shown(read.max())
    else:
        ends = _ended(read.min()), _ended(read.max())
    return f"{distinct.height:,} distinct; {ends[0]} … {ends[1]}"


def _ended(value: object) -> str:
    return shown(str(value).replace(" ", "T").replace("+00:00", "Z"), quoted=False)


def _chosen(distinct: pl.DataFrame, zone: str | None) -> tuple[_Candidate, list[str]]:
    """The first family of which a candidate reads all values; text where two of a family read them differently."""
    nearest: tuple[int, _Candidate, pl.DataFrame] | None = None
    for family in _families(distinct[VALUE]):
        read_all: list[_Candidate] = []
        for each in family:
            wrong = _wrong(distinct, each)
            if wrong is None:
                continue
            if wrong.is_empty():
                read_all.append(each)
            elif nearest is None or int(wrong["times"].sum()) < nearest[0]:
                nearest = (int(wrong["times"].sum()), each, wrong)
        if read_all and (several := _differing(distinct, read_all)):
            return _STR, [f"all read as {' and as '.join(each.said for each in several)}: which one is not known"]
        if read_all:
            return _placed(read_all[0], distinct, zone)
    return _STR, _why_text(distinct, nearest)


def _wrong(distinct: pl.DataFrame, candidate: _Candidate) -> pl.DataFrame | None:
    """The values that do not read; None where half of the first ones do not, so that the rest is not asked."""
    fails = unread(pl.col(VALUE), candidate.column)
    head = distinct.head(_HEAD)
    if head.filter(fails).height * 2 > head.height:
        return None
    return distinct.filter(fails)


def _differing(distinct: pl.DataFrame, candidates: Sequence[_Candidate]) -> list[_Candidate]:
    first, *others = candidates
    same = distinct.select(read_text(pl.col(VALUE), first.column)).to_series()
    for each in others:
        read = distinct.select(read_text(pl.col(VALUE), each.column)).to_series()
        if not same.cast(pl.String).equals(read.cast(pl.String)):
            return [first, each]
    return []


def _placed(chosen: _Candidate, distinct: pl.DataFrame, zone: str | None) -> tuple[_Candidate, list[str]]:
    """A wall-clock time is an instant only in a zone; everything else as it is."""
    if chosen.annotation != "wall":
        return chosen, []
    pattern = "" if chosen.text == _ISO else f", {literal(chosen.text)}"
    if zone is None:
        way = f'write Utc with text=local_time("…"{pattern}), or ask again with --zone'
        return _STR, [f"all read as {chosen.said}, which says no zone: {way}"]
    local = _Candidate(
        f"{chosen.said} in {zone}", "Utc", _UTC, local_time(zone, chosen.text), f"local_time({literal(zone)}{pattern})"
    )
    twice = distinct.filter(unread(pl.col(VALUE), local.column))
    if twice.is_empty():
        return local, []
    why = f"the clocks of {zone} showed {_count(twice)} of them twice or never, as {_example(twice)}"
    return _STR, [f"all read as {chosen.said}, but {why}: write Utc with text={local.text} to set these rows aside"]


def _why_text(distinct: pl.DataFrame, nearest: tuple[int, _Candidate, pl.DataFrame] | None) -> list[str]:
    zeros = distinct.filter(pl.col(VALUE).str.contains(r"\A0[0-9]+\z"))
    if zeros.height and distinct[VALUE].str.contains(r"\A[0-9]+\z").all():
        return [f"digits, {_count(zeros)} of them with a leading zero that a number would lose, as {_example(zeros)}"]
    total = int(distinct["times"].sum())
    if nearest is None or nearest[0] * 2 > total:
        return []
    failed, candidate, wrong = nearest
    return [f"{total - failed:,} read as {candidate.said}, {failed:,} not, as {_example(wrong)}"]


def _count(values: pl.DataFrame) -> str:
    return f"{int(values['times'].sum()):,}"


def _example(values: pl.DataFrame) -> str:
    value, _, file, row = values.select(VALUE, "times", FILE, ROW).row(0)
    return f"{shown(value)} ({shown(file, quoted=False, longest=60)}, row {row:,})"


# ---- candidates, by family: where two of one family read all values and say different things, neither is taken ----


def _families(texts: pl.Series) -> Iterator[list[_Candidate]]:
    yield [_Candidate("true and false", "bool", pl.Boolean())]
    if texts.str.contains(r"\A(?:19|20)[0-9]{6}\z").all() and len(texts) > 1:
        yield [_date("%Y%m%d")]
    yield [_Candidate("integer", "int", pl.Int64())]
    if texts.str.contains(r"\A-?[0-9.]+[eE]").any():
        yield [_Candidate("float", "float", pl.Float64())]
    if decimals := _decimals(texts, "."):
        yield [_decimal(decimals)]
    yield list(_numbers(texts))
    seen = set(texts.head(3))
    for true, false in _PAIRS:
        if seen == {true, false}:
            form, text = true_false(true, false), f"true_false({literal(true)}, {literal(false)})"
            yield [_Candidate(f"{shown(true)} or {shown(false)}", "bool", pl.Boolean(), form, text)]
    shapes = set(map(_shape, texts.head(_LOOKED_AT)))
    yield [_Candidate("date as %Y-%m-%d", "date", pl.Date())]
    yield [_date(each) for each in _DATES if _seems(each, shapes)]
    yield [_Candidate("time with its offset", "Utc", _UTC)]
    yield [_wall(each) for each in _WALLS if _seems(each, shapes)]


def _shape(text: str) -> str:
    """`01/Feb/2024` -> `99/aaa/9999`."""
    return re.sub("[A-Za-z]", "a", re.sub("[0-9]", "9", text))


def _seems(pattern: str, shapes: Collection[str]) -> bool:
    """Whether one of the first values looks as if it were written so; spares asking every candidate exactly."""
    written = _shape(_SOME_TIME.strftime(re.sub("[.,]%f", "", pattern)))
    return any(shape.startswith(written) for shape in shapes)


def _date(pattern: str) -> _Candidate:
    return _Candidate(f"date as {pattern}", "date", pl.Date(), date_text(pattern), f"date_text({literal(pattern)})")


def _wall(pattern: str) -> _Candidate:
    return _Candidate(f"wall-clock time as {pattern}", "wall", _UTC, utc_time(pattern), pattern)


def _decimals(texts: pl.Series, mark: str) -> int:
    """The most digits that a value has after its only mark, 38 at most; 0 where none has."""
    point = r"\." if mark == "." else mark
    found = texts.str.extract(rf"\A[^{point}]*[0-9]{point}([0-9]+)\z").str.len_bytes().max()
    return min(found, 38) if isinstance(found, int) else 0


def _decimal(scale: int, form: TextFormat | None = None, text: str = "", how: str = "") -> _Candidate:
    said = f"decimal of up to {number(scale, 'digit')} after the point{how}"
    return _Candidate(said, f"Decimal{scale}", pl.Decimal(38, scale), form, text)


def _numbers(texts: pl.Series) -> Iterator[_Candidate]:
    """As they are written outside JSON, where the marks for it stand in them."""
    prefixes = texts.str.extract(r"\A-?([$£€¥])[0-9]").drop_nulls().unique().to_list()
    prefix = prefixes[0] if len(prefixes) == 1 else ""
    for mark, group in ((".", ""), (",", ""), (",", "."), (".", ","), (",", " "), (".", " "), (".", "'"), (",", "'")):
        sign = group or ("" if prefix and mark == "." else mark)
        if sign and not texts.str.contains(sign, literal=True).any():
            continue
        if not sign and not prefix:
            continue
        said, text = [literal(mark)] if group or mark == "," else [], number_text(mark, group, prefix)
        said += [literal(group)] if group else []
        said += [f"prefix={literal(prefix)}"] if prefix else []
        scale, source = _decimals(texts, mark), f"number_text({', '.join(said)})"
        how = (f" in groups parted by {shown(group)}" if group else "") + (f", after {shown(prefix)}" if prefix else "")
        if scale:
            yield _decimal(scale, text, source, (f", which is {shown(mark)}" if mark != "." else "") + how)
        else:
            yield _Candidate(f"integer{how}", "int", pl.Int64(), text, source)
