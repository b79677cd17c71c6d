"""A proposal → the source of a bronze table's file, and of a silver one's that reads it."""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property

import polars as pl

import lakehouse
from lakehouse.engine.declare.formats import Format
from lakehouse.engine.declare.number import number
from lakehouse.propose import names
from lakehouse.propose.proposal import Proposal, Proposed
from lakehouse.propose.written import comment, imported, laid, literal, plain

__all__ = ["Tables"]

_SPELLINGS = (
    ("from datetime import date", "date"),
    ("import datetime as dt", "dt.date"),
    ("import datetime", "datetime.date"),
)


@dataclass(frozen=True)
class Tables:
    """The two files: `bronze` and, where it is named, `silver`, as source."""

    proposed: Proposal
    bronze: str
    silver: str | None = None
    connection: str = "landing"

    @cached_property
    def columns(self) -> tuple[Proposed, ...]:
        """What the records hold."""
        return self.proposed.columns

    @cached_property
    def every(self) -> list[Proposed]:
        return [inner for each in self.columns for inner in each.every()]

    @cached_property
    def used(self) -> set[str]:
        """Names that stand in a class body."""
        return {each.name for each in self.every} | ({self.proposed.valid_at} if self.proposed.valid_at else set())

    @cached_property
    def structs(self) -> dict[int, str]:
        """A class name for each object, by its identity."""
        found: dict[int, str] = {}
        one_of = {id(_leaf(each)): names.singular(each.name) for each in self.every if each.shape == "list"}
        taken = {
            *self.used,
            *lakehouse.__all__,
            *keyword.kwlist,
            *dir(builtins),
            "Annotated",
            names.camel(self.bronze),
            names.camel(self.silver or self.bronze),
            "Decimal",
        }
        taken |= {each.reading.annotation for each in self.every}
        for each in self.every:
            if each.shape == "struct":
                stem = names.camel(names.snake(one_of.get(id(each), each.name))) or "Record"
                name = next(one for one in _numbered(stem) if one not in taken)
                taken.add(name)
                found[id(each)] = name
        return found

    @cached_property
    def date(self) -> tuple[str, str]:
        """How `date` is imported and said, so that no column hides it."""
        free = (each for each in _SPELLINGS if each[1].split(".")[0] not in self.used)
        return next(free, ("import datetime as days", "days.date"))

    def annotation(self, of: Proposed) -> str:
        if of.shape == "list":
            return f"list[{self.annotation(of.fields[0])}]"
        if of.shape == "struct":
            return self.structs[id(of)]
        return self.date[1] if of.reading.annotation == "date" else of.reading.annotation

    def below(self, of: Proposed, depth: int = 0) -> Iterator[tuple[int, Proposed]]:
        """A column and the fields of its objects, with how deep each lies; of a list its items are the column's."""
        yield depth, of
        leaf = _leaf(of)
        if leaf.shape == "struct":
            for each in leaf.fields:
                yield from self.below(each, depth + 1)

    # ---- bronze ----

    def bronze_source(self) -> str:
        """The file of the bronze table."""
        head = [*self._imports(self._bronze_words()), *self._aliases()]
        table = [*self._bronze_table(), f"def {self.bronze}() -> Frame[{names.camel(self.bronze)}]: ..."]
        return "\n\n\n".join("\n".join(block) for block in (head, *self._structs(), self._bronze_class(), table)) + "\n"

    def _bronze_words(self) -> set[str]:
        forms = {type(each).__name__ for each in self.proposed.formats}
        return {"Append", "Bronze", "Frame", "column", "table", self._source_word, *forms, *self._said_words()} | (
            {"Struct"} if self.structs else set()
        )

    def _said_words(self) -> set[str]:
        """Words of the front door that types and text formats say."""
        words = {each.reading.text.partition("(")[0] for each in self.every if each.reading.text}
        words |= {"Measure"} if self.scales else set()
        return words | ({"Utc"} if any(each.reading.annotation == "Utc" for each in self.every) else set())

    @property
    def _source_word(self) -> str:
        return "Snapshots" if self.proposed.valid_at else "Files"

    @cached_property
    def scales(self) -> list[int]:
        found = {each.reading.dtype.scale for each in self.every if isinstance(each.reading.dtype, pl.Decimal)}
        return sorted(found)

    @property
    def _has_dates(self) -> bool:
        return any(each.reading.annotation == "date" and not each.shape for each in self.every) or self._dated

    def _imports(self, words: set[str]) -> list[str]:
        standard = [self.date[0]] if self._has_dates else []
        if self.scales:
            standard += ["from decimal import Decimal", "from typing import Annotated"]
        standard.sort(key=lambda each: not each.startswith("import"))
        third = ["import polars as pl"] if self.scales else []
        blocks = [block for block in (standard, third, imported("lakehouse", words)) if block]
        return [line for place, block in enumerate(blocks) for line in ([""] if place else []) + block]

    def _aliases(self) -> list[str]:
        if not self.scales:
            return []
        said = comment(["No unit is known; where it is one, name it: Measure(pl.Decimal(38, 2), 'EUR')."], 0)
        return [
            "",
            *said,
            *(f"type Decimal{each} = Annotated[Decimal, Measure(pl.Decimal(38, {each}))]" for each in self.scales),
        ]

    def _structs(self) -> Iterator[list[str]]:
        """A class for each object, inner ones first."""
        for each in reversed(self.every):
            if each.shape == "struct":
                fields = (line for field in each.fields for line in self._column(field, is_field=True))
                yield [f"class {self.structs[id(each)]}(Struct):", *fields]

    def _bronze_class(self) -> list[str]:
        found = self.proposed
        at = f" and {found.valid_at}" if found.valid_at else ""
        grain = f"One row per {' and '.join(found.key.columns)}{at}" if found.valid_at else "One row per record"
        lines = [f"class {names.camel(self.bronze)}(Bronze):", f'    """{grain}, as it was sent.', ""]
        read = f"{found.sample}, {number(found.rows.height, 'record')}"
        lines += [f"    Source: {line}" if not place else f"    {line}" for place, line in enumerate(
            [plain(found.sample.pattern) + ".", f"Proposed from what was there: {read}."])]  # fmt: skip
        lines += ['    """', ""]
        lines += comment([f"Key, of a table that is made of this one: {found.key.said}."], 4)
        lines += comment([f"Snapshots: {found.valid_at_said}."] if found.valid_at else [], 4)
        lines += comment([f"{each}." for each in found.left_out], 4)
        lines += [""]
        if found.valid_at:
            lines += [
                f'    {found.valid_at}: {self._time_type} = column("Time of the snapshot, from the name of its file")'
            ]
        return lines + [line for each in self.columns for line in self._column(each)]

    @property
    def _dated(self) -> bool:
        """Whether the time in the files' names is a date."""
        at = self.proposed.valid_at
        if not at:
            return False
        times = [part.partition("=")[2] for each in self.proposed.sample.files for part in each.name.split("/")
                 if part.startswith(f"{at}=")]  # fmt: skip
        read = pl.Series(times, dtype=pl.String).str.to_date("%Y-%m-%d", strict=False)
        return not read.has_nulls() and all(len(each) == len("2010-12-01") for each in times)

    @property
    def _time_type(self) -> str:
        return self.date[1] if self._dated else "str"

    def _column(self, of: Proposed, *, is_field: bool = False) -> list[str]:
        leaf = of
        while leaf.shape == "list":
            leaf = leaf.fields[0]
        said = [*of.said, *(line for line in leaf.said if leaf is not of and leaf.shape != "struct")]
        facts = [literal(names.words(of.name))]
        facts += ["nullable=True"] if of.reading.nullable else []
        facts += [f"text={leaf.reading.text}"] if leaf.reading.text and leaf.shape != "struct" else []
        facts += [f"was={literal(of.sent)}"] if of.sent != of.name and not is_field else []
        mixed = is_field and of.name[0].islower() and not of.name.islower()
        tail = "  # noqa: N815 # as its source spells it" if mixed else ""
        return comment(said, 4) + laid(f"{of.name}: {self.annotation(of)} = column", facts, tail, 4)

    def _bronze_table(self) -> list[str]:
        found = self.proposed
        forms = [_form(each) for each in found.formats]
        facts = [literal(found.sample.pattern), f"formats={forms[0] if len(forms) == 1 else f'[{", ".join(forms)}]'}"]
        facts += [f"valid_at={literal(found.valid_at)}"] if found.valid_at else []
        facts += [f"connection={literal(self.connection)}"] if self.connection != "landing" else []
        return laid("@table", [(f"source={self._source_word}", facts), "write=Append()"], "")

    # ---- silver ----

    @property
    def sent_class(self) -> str:
        """What the silver file calls the bronze contract."""
        return names.camel(self.bronze)

    def silver_source(self) -> str:
        """The file of the silver table: the same columns, typed, one row a key where one was proved."""
        assert self.silver is not None  # noqa: S101 # asked for where it is named
        leaves = [_leaf(each) for each in self.columns]
        ours = [each for each in leaves if each.shape == "struct" or isinstance(each.reading.dtype, pl.Decimal)]
        of_bronze = {self.sent_class, *map(self.annotation, ours)}
        words = {"Frame", "New", "Quarantine", "Silver", "column", "table", "Merge" if self._key else "Append"}
        if any(not each.shape and each.reading.annotation == "Utc" for each in leaves):
            words.add("Utc")
        dated = self._dated or any(each.reading.annotation == "date" for each in leaves)
        lines = [self.date[0], ""] if dated else []
        lines += ["from dagster import AutomationCondition", "", *imported("lakehouse", words)]
        lines += [*imported(f"lakehouse.tables.bronze.{self.bronze}", of_bronze), "", ""]
        return "\n".join([*lines, *self._silver_class(), "", "", *self._silver_table()]) + "\n"

    @property
    def _key(self) -> tuple[str, ...]:
        return self.proposed.key.columns

    def _silver_class(self) -> list[str]:
        grain = (
            f"One row per {' and '.join(self._key)}, as it was last sent." if self._key else "One row per record sent."
        )
        lines = [
            f"class {names.camel(self.silver or '')}(Silver):",
            f'    """{grain}',
            "",
            f"    Source: bronze {self.bronze}.",
        ]
        lines += ['    """', "", *comment([f"Key: {self.proposed.key.said}."], 4), ""]
        if self.proposed.valid_at:
            lines += [
                f'    {self.proposed.valid_at}: {self._time_type} = column("Time of the snapshot that held it last")'
            ]
        for each in self.columns:
            facts = [literal(names.words(each.name))]
            facts += ["key=True"] if each.name in self._key else []
            facts += ["nullable=True"] if each.reading.nullable else []
            lines += laid(f"{each.name}: {self.annotation(each)} = column", facts, "", 4)
        return lines

    @property
    def _advice(self) -> str:
        """What the way of writing means, and when another one is meant."""
        at = self.proposed.valid_at
        if not self._key:
            return "No key is proved, so a record that corrects another one stands beside it: key=True, and Merge()."
        if at:
            return (
                f"Keeps what was seen last of each {' and '.join(self._key)}; to keep every version, History('{at}')."
            )
        return f"A later record of the same {' and '.join(self._key)} takes the place of an earlier one."

    def _silver_table(self) -> list[str]:
        at = self.proposed.valid_at
        write = "Append()" if not self._key else f"Merge(newest_by={literal(at)})" if at else "Merge()"
        selected = [*([at] if at else []), *(each.name for each in self.columns)]
        return [
            *comment([self._advice], 0),
            "@table(",
            f"    write={write},",
            "    rejects=Quarantine(),",
            '    conserves="rows",',
            "    automation_condition=AutomationCondition.eager(),",
            ")",
            f"def {self.silver}(sent: New[{self.sent_class}]) -> Frame[{names.camel(self.silver or '')}]:",
            *laid("return sent.select", [literal(each) for each in selected], "", 4),
        ]


def _leaf(of: Proposed) -> Proposed:
    return _leaf(of.fields[0]) if of.shape == "list" else of


def _numbered(stem: str) -> Iterator[str]:
    yield stem
    yield from (f"{stem}{count}" for count in range(2, 10_000))


def _form(form: Format) -> str:
    """The format as it is declared: what is otherwise than by default."""
    said = ((each.name, each.default, getattr(form, each.name)) for each in fields(form))
    facts = (
        f"{name}={literal(value) if isinstance(value, str) else value}"
        for name, default, value in said
        if value != default
    )
    return f"{type(form).__name__}({', '.join(facts)})"
