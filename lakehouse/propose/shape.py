"""What shape a field has over all records: one text, an object, a list, or nothing that one type holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from lakehouse.propose.names import is_field

__all__ = ["Shape", "shape_of"]

MOST_FIELDS = 200  # an object of more has its keys from the data


@dataclass
class Shape:
    """How often a field was a text (or a number, or a boolean), null, an object, a list; and what is in these."""

    texts: int = 0
    nulls: int = 0
    objects: int = 0
    lists: int = 0
    fields: dict[str, Shape] = field(default_factory=dict[str, "Shape"])
    item: Shape | None = None

    def add(self, value: Any) -> None:
        match value:
            case None:
                self.nulls += 1
            case dict():
                self.objects += 1
                for name, inner in value.items():
                    self.fields.setdefault(name, Shape()).add(inner)
            case list():
                self.lists += 1
                self.item = self.item or Shape()
                for inner in value:
                    self.item.add(inner)
            case _:
                self.texts += 1

    def and_(self, other: Shape) -> Shape:
        """Of the values of both."""
        both = Shape(
            self.texts + other.texts, self.nulls + other.nulls, self.objects + other.objects, self.lists + other.lists,
            {**self.fields}, self.item or other.item,
        )  # fmt: skip
        for name, inner in other.fields.items():
            both.fields[name] = both.fields[name].and_(inner) if name in both.fields else inner
        if self.item is not None and other.item is not None:
            both.item = self.item.and_(other.item)
        return both

    @property
    def why_undeclared(self) -> str:
        """Why no type holds it; empty where one does."""
        kinds = {"one value": self.texts, "an object": self.objects, "a list": self.lists}
        seen = {kind: count for kind, count in kinds.items() if count}
        if len(seen) > 1:
            return "it is " + ", ".join(f"{kind} {count:,} times" for kind, count in seen.items())
        if self.lists:
            item = self.item or Shape()
            if not (item.texts or item.objects or item.lists):
                return "its lists hold nothing" if not item.nulls else "its lists hold nothing but null"
            return f"its lists hold null {item.nulls:,} times" if item.nulls else item.why_undeclared
        if self.objects and len(self.fields) > MOST_FIELDS:
            return f"its objects have {len(self.fields):,} different keys"
        if self.objects and not any(True for _ in self.declarable()):
            return "its objects have no field that can be declared"
        return ""

    def declarable(self) -> Iterator[tuple[str, Shape]]:
        """The fields that a Struct can hold, under the names they come under."""
        seen: set[str] = set()
        for name, inner in self.fields.items():
            if is_field(name) and not inner.why_undeclared and name.lower() not in seen:
                seen.add(name.lower())
                yield name, inner

    def undeclarable(self, path: str) -> Iterator[tuple[str, str]]:
        """The way to each field below that is left out, and why."""
        if self.item is not None:
            yield from self.item.undeclarable(f"{path}[]")
        known = dict(self.declarable())
        for name, inner in self.fields.items():
            if name in known:
                yield from inner.undeclarable(f"{path}.{name}")
            else:
                yield f"{path}.{name}", inner.why_undeclared or "a Struct cannot name it so"

    @property
    def stored(self) -> pl.DataType:
        """The shape with text leaves, as bronze stores it."""
        if self.lists:
            return pl.List((self.item or Shape()).stored)
        if self.objects:
            return pl.Struct({name: inner.stored for name, inner in self.declarable()})
        return pl.String()


def shape_of(records: Iterable[Mapping[str, Any]]) -> Shape:
    """The shape of records: of an object whose fields are theirs."""
    whole = Shape()
    for each in records:
        whole.add(each)
    return whole
