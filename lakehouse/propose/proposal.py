"""Files of a landing → what a bronze table of them would declare, each fact with its evidence."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import polars as pl

from lakehouse.engine.declare.column import Column
from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.formats import Csv, Excel, Format, Json, JsonLines
from lakehouse.engine.declare.number import number
from lakehouse.engine.ingest.misfit import Misfit
from lakehouse.propose import names
from lakehouse.propose.dialect import Told, fields_in, read_as, told
from lakehouse.propose.keys import FILE, Keys, keys, valid_at
from lakehouse.propose.reading import VALUE, Reading, reading
from lakehouse.propose.sample import Sample, SampledFile
from lakehouse.propose.shape import Shape, shape_of
from lakehouse.propose.written import literal, plain, shown

__all__ = ["Proposal", "Proposed", "proposal"]

ROW = "source_row"
LONGEST_NAME = 90  # letters of a literal that fits a line


@dataclass(frozen=True)
class Proposed:
    """A column, or a field of a Struct: its name, what its files call it, how it reads.

    `shape` is "", or "list" or "struct" around `fields`, or around the `reading` of a list's values.
    """

    name: str
    sent: str
    reading: Reading
    shape: str = ""
    fields: tuple[Proposed, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def said(self) -> tuple[str, ...]:
        return (self.reading.said, *self.reading.notes, *self.notes)

    def every(self) -> Iterator[Proposed]:
        """This one and all below it."""
        yield self
        for each in self.fields:
            yield from each.every()


@dataclass(frozen=True)
class Proposal:
    """What the files of a sample show: formats in the order they came, columns, key, and whether each is a whole.

    `left_out`: fields that no type holds, and why. `trouble`: files and records that would be set aside, and why.
    `rows`: all records that were read, as text, a column for each field, with `source_file` and `source_row`.
    """

    sample: Sample
    formats: tuple[Format, ...]
    columns: tuple[Proposed, ...]
    key: Keys
    valid_at: str
    valid_at_said: str
    left_out: tuple[str, ...]
    trouble: tuple[str, ...]
    rows: pl.DataFrame


def proposal(sample: Sample, zone: str | None = None) -> Proposal:
    """Read the files of a sample and propose. Raises Refused where none of them reads."""
    read, trouble = _told(sample)
    forms = _in_order({each.form for each in read.values()})
    shape = _shape(read)
    out = _left_out(sample, read, shape)
    declarable = {name: inner for name, inner in shape.fields.items() if name not in out}
    if not declarable:
        why = "; ".join(f"{name!a}: {why}" for name, why in out.items()) or "their records have none"
        raise Refused(f"No field of {sample.pattern!r} can be a column ({why}). Nothing was written.")
    by_place = any(isinstance(form, Csv) and not form.header for form in forms)
    called = names.of_columns(declarable)
    rows = _rows(sample, read, [_column(called[sent], sent, inner) for sent, inner in declarable.items()])
    where = rows.select(FILE, ROW)
    columns = tuple(
        replace(_proposed(called[sent], inner, where.with_columns(rows[called[sent]].alias(VALUE)), zone),
                sent=called[sent] if by_place else sent)
        for sent, inner in declarable.items()
    )  # fmt: skip
    types = {each.name: each.reading.dtype for each in columns if not each.shape}
    at, said = valid_at(sample.pattern, rows, types)
    return Proposal(
        sample,
        forms,
        columns if by_place else _with_renames(columns, rows, read),
        keys(rows, types, in_each_file=bool(at)),
        at,
        said,
        tuple(_said_of_left_out(shape, out, forms)),
        tuple(trouble),
        rows,
    )


def _told(sample: Sample) -> tuple[dict[str, Told], list[str]]:
    """The format of each file that has one, in the order of names; and what would be set aside."""
    read: dict[str, Told] = {}
    trouble = list(sample.left_out)
    known: list[Format] = []
    for file in sample.files:
        found = told(file.name, file.content, known)
        if isinstance(found, str):
            trouble.append(f"{file.name} does not read: {found}")
            continue
        read[file.name] = found
        known = list(dict.fromkeys([*known, found.form]))
    if not read:
        raise Refused(
            f"None of the {number(len(sample.listed), 'file')} of {sample.pattern!r} that were read could be: "
            f"{'; '.join(trouble[:3])}. Nothing was written."
        )
    return _one_encoding(read, sample), trouble


def _in_order(forms: Collection[Format]) -> tuple[Format, ...]:
    """In the order in which they may be tried: what every file fits last, and UTF-8 before what reads any byte."""
    return tuple(
        sorted(forms, key=lambda each: (each == JsonLines(), isinstance(each, Csv) and not each.is_utf8, str(each)))
    )


def _one_encoding(read: Mapping[str, Told], sample: Sample) -> dict[str, Told]:
    """Files of ASCII alone are of whatever encoding the others of their dialect have: no two formats differ by it."""
    contents = {each.name: each.content for each in sample.files}
    others: dict[Format, Format] = {
        replace(each.form, encoding="utf-8"): each.form
        for name, each in read.items()
        if isinstance(each.form, Csv) and not contents[name].isascii()
    }
    return {
        name: replace(each, form=others.get(each.form, each.form)) if contents[name].isascii() else each
        for name, each in read.items()
    }


def _shape(read: Mapping[str, Told]) -> Shape:
    """The fields of all records, in the order in which they first came."""
    whole = Shape()
    for each in read.values():
        if isinstance(each.form, Csv | Excel):
            whole.add(dict.fromkeys(each.header, "text"))
        else:
            for name, inner in shape_of(map(fields_in, each.parsed.accepted["extra"])).fields.items():
                whole.fields[name] = whole.fields[name].and_(inner) if name in whole.fields else inner
    return whole


def _column(name: str, sent: str, shape: Shape) -> Column:
    return Column(name, shape.stored, nullable=True, was=sent if sent != name else None)


def _rows(sample: Sample, read: Mapping[str, Told], columns: Sequence[Column]) -> pl.DataFrame:
    """All records with a column for each field, as bronze stores them, and where they came from."""
    frames = [pl.DataFrame(schema={**{each.name: each.dtype for each in columns}, FILE: pl.String(), ROW: pl.Int64()})]
    for file in sample.files:
        if file.name in read:
            with suppress(Misfit):  # what its reader says of it stands among the trouble
                accepted = read_as(file.content, read[file.name].form, _of(read[file.name], columns)).accepted
                frames.append(accepted.with_columns(pl.lit(file.name).alias(FILE)))
    return pl.concat(frames, how="diagonal").select(frames[0].columns)


def _of(found: Told, columns: Sequence[Column]) -> Sequence[Column]:
    """Those of the columns that the file has; a column that is not there is no misfit here."""
    return [each for each in columns if (each.was or each.name) in found.header] if found.header else columns


# ---- fields that are not declared ----


def _left_out(sample: Sample, read: Mapping[str, Told], shape: Shape) -> dict[str, str]:
    """The fields of a record that no column can hold, and why."""
    flat = all(isinstance(each.form, Csv | Excel) for each in read.values())
    out = {sent: why for sent, inner in shape.fields.items() if (why := _why_not(sent, inner, flat=flat))}
    declarable = [
        _column(f"c{place}", sent, inner) for place, (sent, inner) in enumerate(shape.fields.items()) if sent not in out
    ]
    for file in sample.files:
        if file.name in read and _why_unread(file, read[file.name], declarable):
            for each in declarable:
                if why := _why_unread(file, read[file.name], [each]):
                    out.setdefault(each.was or each.name, why)
    return out


def _why_unread(file: SampledFile, found: Told, columns: Sequence[Column]) -> str:
    """Why a file does not read with these columns as it did without them: of bytes, which no text says."""
    try:
        rejected = read_as(file.content, found.form, _of(found, columns)).rejected
    except Misfit as why:
        return str(why)
    return rejected["reason"][-1] if rejected.height > found.parsed.rejected.height else ""


def _why_not(sent: str, shape: Shape, *, flat: bool) -> str:
    if not sent and not flat:
        return "its name is empty"
    return "its name is too long" if len(literal(sent)) > LONGEST_NAME else shape.why_undeclared


def _said_of_left_out(shape: Shape, out: Mapping[str, str], forms: Sequence[Format]) -> Iterator[str]:
    for name, inner in shape.fields.items():
        if name in out:
            yield f"{shown(name)} is not declared: {plain(out[name])}; it is kept in the column extra"
        else:
            for path, why in inner.undeclarable(name):
                yield f"{shown(path)} is not declared: {why}; it is kept in the column extra"
    yield from (
        f"What stands beside the array at {shown(each.records)} is not kept" for each in forms
        if isinstance(each, Json) and each.records
    )  # fmt: skip


def _proposed(name: str, shape: Shape, values: pl.DataFrame, zone: str | None) -> Proposed:
    """What to declare of `value`; of an object its fields, of a list its items."""
    if not shape.lists and not shape.objects:
        return Proposed(name, name, reading(values, zone))
    there = values.filter(pl.col(VALUE).is_not_null())
    outer = Reading("", shape.stored, there.height < values.height, said=_said_of(shape, there, values))
    if shape.objects:
        inside = [
            (field, inner, there.with_columns(there[VALUE].struct.field(field).alias(VALUE)))
            for field, inner in shape.declarable()
        ]
        fields = tuple(_proposed(field, inner, inner_values, zone) for field, inner, inner_values in inside)
        return Proposed(name, name, outer, "struct", fields)
    items = there.explode(VALUE, empty_as_null=False, keep_nulls=False)
    item = _proposed(name, shape.item or Shape(), items, zone)
    return Proposed(name, name, outer, "list", (item,))


def _said_of(shape: Shape, there: pl.DataFrame, values: pl.DataFrame) -> str:
    came = f"all {values.height:,}" if there.height == values.height else f"{there.height:,} of {values.height:,}"
    if shape.objects:
        return f"{came}; objects"
    lengths = there[VALUE].list.len()
    return f"{came}; lists of {lengths.min()} to {lengths.max()} items, {lengths.sum():,} in all"


# ---- columns that took another one's place ----


def _with_renames(columns: Sequence[Proposed], rows: pl.DataFrame, read: Mapping[str, Told]) -> tuple[Proposed, ...]:
    """The columns, with a note on each that began where another one ended, as a renamed one does."""
    headers = {name: each.header for name, each in read.items() if each.header}
    if len(headers) < len(read):
        return tuple(columns)
    notes: dict[str, str] = {}
    for old in columns:
        began = [(likeness, new) for new in columns if (likeness := _likeness(old, new, rows, headers)) > _UNLIKE]
        if began:
            (at_place, same), new = max(began, key=lambda each: each[0])
            place = ", at the same place" if at_place else ""
            until, since = _last(old, headers), _first(new, headers)
            notes[new.name] = (
                f"{shown(old.sent)} came until {shown(until, quoted=False, longest=60)}, this one since "
                f"{shown(since, quoted=False, longest=60)}{place}, {same:.0%} of the values the same: if it is its new "
                f"name, say was= and leave {shown(old.sent)} out"
            )
    return tuple(replace(each, notes=(notes[each.name],)) if each.name in notes else each for each in columns)


_UNLIKE = (False, 0.5)


def _likeness(
    old: Proposed, new: Proposed, rows: pl.DataFrame, headers: Mapping[str, Sequence[str]]
) -> tuple[bool, float]:
    """Whether `new` stands where `old` stood, and the share of values that both had; nothing where they overlap."""
    until, since = _last(old, headers), _first(new, headers)
    if until >= since:
        return _UNLIKE
    before, after = (set(rows[each.name].drop_nulls()) for each in (old, new))
    same = len(before & after) / max(min(len(before), len(after)), 1)
    return headers[until].index(old.sent) == headers[since].index(new.sent), same


def _last(of: Proposed, headers: Mapping[str, Sequence[str]]) -> str:
    return max(name for name, header in headers.items() if of.sent in header)


def _first(of: Proposed, headers: Mapping[str, Sequence[str]]) -> str:
    return min(name for name, header in headers.items() if of.sent in header)
