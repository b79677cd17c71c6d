"""The exact difference of two frames: repeated rows are counted, order is not."""

from collections import Counter
from datetime import UTC, date, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.engine.quality.difference import difference

SCHEMA = pl.Schema({"id": pl.Int64(), "value": pl.String(), "parts": pl.List(pl.Int64())})
Row = tuple[int | None, str | None, list[int] | None]


def frame(*rows: Row) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def test_rows_in_another_order_are_no_difference():
    a, b = (1, "x", [1]), (2, None, None)
    found = difference(frame(a, b), frame(b, a), ["id"])
    assert found.is_none
    assert str(found) == "no difference: 2 rows the same"


def test_a_changed_row_shows_what_it_was_and_would_be():
    found = difference(frame((1, "x", None), (2, "y", None)), frame((1, "z", None), (3, "y", None)), ["id"])
    assert found.changed.rows(named=True) == [
        {"id": 1, "value": "z", "value__was": "x", "parts": None, "parts__was": None}
    ]
    assert (found.gone["id"].to_list(), found.new["id"].to_list(), found.same) == ([2], [3], 0)
    assert str(found) == "0 rows the same, 1 new, 1 gone, 1 changed"
    assert [word for word, _ in found.parts()] == ["gone", "new", "changed"]
    assert dict(found.parts())["changed"].rows(named=True) == [{"id": 1, "value": "z", "value__was": "x"}]


def test_null_and_empty_are_not_the_same():
    assert difference(frame((1, None, [])), frame((1, "", [])), ["id"]).changed.height == 1
    assert difference(frame((1, None, None)), frame((1, None, [])), ["id"]).changed.height == 1


def test_columns_that_come_go_or_change_their_type_are_named_and_the_others_compared():
    before = pl.DataFrame({"id": [1, 2], "value": ["x", "y"], "n": [1, 2]})
    after = pl.DataFrame({"id": [1, 2], "by_web": [True, False], "n": ["1", "2"]})
    found = difference(before, after, ["id"])
    assert str(found) == (
        "new column: by_web; column gone: value; type of n: Int64 -> String; 2 rows, the same where they can be "
        "compared"
    )
    assert not found.is_none
    assert str(difference(before, after.head(1), ["id"])).endswith("1 row the same, 0 new, 1 gone, 0 changed")


def test_a_key_that_changes_its_type_names_no_row_of_both():
    found = difference(pl.DataFrame({"id": [1], "n": [1]}), pl.DataFrame({"id": ["1"], "n": [2]}), ["id"])
    assert str(found) == "type of id: Int64 -> String; 0 rows the same, 1 new, 1 gone, 0 changed"


@pytest.mark.parametrize(
    ("was", "then", "changed"),
    [
        (pl.Series([1, 2, None], dtype=pl.Int32), pl.Series([1, 2**40, None]), 1),
        (pl.Series([1, 2, None]), pl.Series([1, 2, None], dtype=pl.Int32), 0),
        (pl.Series([1, 2**40, None]), pl.Series([1, 2, None], dtype=pl.Int32), 1),
        (pl.Series([1, 2, None]), pl.Series([1.0, 2.5, None]), 1),
        (pl.Series([date(2024, 5, 1)] * 3), pl.Series([datetime(2024, 5, 1, tzinfo=UTC)] * 3), 0),
        (pl.Series([[{"a": 1}], [], None]), pl.Series([[{"a": 1, "b": "x"}], [], None]), 1),
        (pl.Series([[{"a": 1}], [], None]), pl.Series([[{"a": 1, "b": None}], [], None]), 0),
        (pl.Series([2**62 + 1] * 3), pl.Series([1.5] * 3), None),
    ],
)
def test_values_of_two_types_are_compared_where_one_of_them_holds_all(
    was: pl.Series, then: pl.Series, changed: int | None
):
    ids = pl.DataFrame({"id": pl.Series([1, 2, 3], dtype=pl.Int32)})
    found = difference(ids.with_columns(x=was), ids.cast(pl.Int64).with_columns(x=then), ["id"])
    types = f"type of id: Int32 -> Int64; type of x: {was.dtype} -> {then.dtype}"
    rows = f"{3 - changed} rows the same, 0 new, 0 gone, 1 changed" if changed else "3 rows, the same where they can be"
    assert str(found).startswith(f"{types}; {rows}")
    assert ("x" in found.changed.columns) == (changed is not None)


def test_columns_in_another_order_are_named():
    found = difference(pl.DataFrame({"a": [1], "b": [2]}), pl.DataFrame({"b": [2], "a": [1]}), ["a"])
    assert str(found) == "order of the columns: b, a; 1 row, the same where they can be compared"


def test_tables_without_a_column_in_common_have_no_row_in_common():
    found = difference(pl.DataFrame({"a": [1, 2]}), pl.DataFrame({"b": [1]}), ["a"])
    assert (found.gone.height, found.new.height, found.same) == (2, 1, 0)


rows = st.lists(
    st.tuples(st.sampled_from([1, 2, None]), st.sampled_from(["x", "y", None]), st.sampled_from([[1], [], None])),
    max_size=5,
)


def counted(frame: pl.DataFrame) -> Counter[str]:
    return Counter(map(repr, frame.rows()))


@given(rows, rows)
def test_without_a_key_what_is_gone_and_new_is_what_python_counts(one: list[Row], other: list[Row]):
    found = difference(frame(*one), frame(*other), [])
    before, after = Counter(map(repr, one)), Counter(map(repr, other))
    assert counted(found.gone) == before - after
    assert counted(found.new) == after - before
    assert found.same == (before & after).total()
    assert found.is_none == (before == after)


@given(rows, rows)
def test_with_a_key_there_is_no_difference_exactly_where_the_rows_are_the_same(one: list[Row], other: list[Row]):
    one, other = (list({row[0]: row for row in some}.values()) for some in (one, other))
    found = difference(frame(*one), frame(*other), ["id"])
    assert found.is_none == (Counter(map(repr, one)) == Counter(map(repr, other)))
    assert found.same + found.changed.height + found.gone.height == len(one)
    assert found.same + found.changed.height + found.new.height == len(other)
