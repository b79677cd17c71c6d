"""Bronze rows are parted into those that read and those that do not, the quick way and the exact way alike."""

from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.engine.declare.contract import Bronze, Struct, column, columns_of
from lakehouse.engine.declare.dtypes import Gbp
from lakehouse.engine.declare.formats import JsonLines
from lakehouse.engine.declare.frames import Frame
from lakehouse.engine.declare.source import Files
from lakehouse.engine.declare.table import declare
from lakehouse.engine.declare.write import Append
from lakehouse.engine.quality.text import unread
from lakehouse.engine.quality.typed import typed


class Part(Struct):
    """A part of a thing."""

    weight: int = column("Grams")
    note: str = column("Words", nullable=True)
    sizes: list[int] = column("Sizes", nullable=True)


class Things(Bronze):
    """One row per thing."""

    id: int = column("Number")
    price: Gbp = column("Price", nullable=True)
    main: Part = column("Its main part", nullable=True)
    parts: list[Part] = column("Its parts", nullable=True)
    must: list[int] = column("Never absent")


def things() -> Frame[Things]: ...


THINGS = declare(things, write=Append(), source=Files("things/*", formats=JsonLines()))

number = st.none() | st.sampled_from(["1", "-7", "x", "1.5", "007"])
part = st.none() | st.fixed_dictionaries(
    {"weight": number, "note": st.none() | st.just("n"), "sizes": st.none() | st.lists(number, max_size=2)}
)
row = st.fixed_dictionaries(
    {
        "id": number,
        "price": st.none() | st.sampled_from(["1.5", "1.0005", "1e3"]),
        "main": part,
        "parts": st.none() | st.lists(part, max_size=2),
        "must": st.none() | st.lists(number, max_size=2),
    }
)
good = {"id": "1", "price": None, "main": None, "parts": None, "must": []}
one_off = st.builds(lambda drawn, name: good | {name: drawn[name]}, row, st.sampled_from(sorted(good)))
"""A good row but for one column: what is wrong with it is not hidden by what else is."""


def stored(rows: list[dict[str, Any]]) -> pl.LazyFrame:
    return pl.DataFrame(rows, schema=THINGS.stored_schema).with_columns(source_row=pl.int_range(pl.len())).lazy()


@given(st.lists(row, max_size=3) | st.lists(one_off, max_size=2))
def test_a_row_is_read_or_set_aside_as_each_of_its_values_says(rows: list[dict[str, Any]]):
    raw = stored(rows)
    parted = typed(Things, raw)
    wrong = pl.any_horizontal(unread(pl.col(each.name), each) for each in columns_of(Things))
    assert parted.unread.equals(raw.filter(wrong).collect())
    assert parted.read["source_row"].to_list() == raw.filter(~wrong).collect()["source_row"].to_list()
    assert dict(parted.read.schema) == dict(THINGS.handed_schema)


def test_values_are_read_as_their_types():
    thing = good | {"price": "1.50", "main": {"weight": "7", "note": None, "sizes": ["1"]}, "must": ["1", "2"]}
    read = typed(Things, stored([thing])).read.row(0, named=True)
    assert read["main"] == {"weight": 7, "note": None, "sizes": [1]}
    assert (str(read["price"]), read["parts"], read["must"]) == ("1.500", None, [1, 2])


def test_what_is_not_set_aside_keeps_its_order_and_what_is_set_aside_keeps_its_text():
    parted = typed(Things, stored([good, good | {"id": "x"}, good | {"id": "2"}]))
    assert parted.read["id"].to_list() == [1, 2]
    assert parted.unread["id"].to_list() == ["x"]
    assert dict(parted.unread.schema) == dict(THINGS.stored_schema)
