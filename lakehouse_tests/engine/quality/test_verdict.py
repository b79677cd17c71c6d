"""The judge: every rule asked of every row, each row once on one side."""

from decimal import Decimal

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.engine.declare.contract import Silver, check, column
from lakehouse.engine.declare.dtypes import Gbp
from lakehouse.engine.quality.verdict import judge, rules


class Goods(Silver):
    """One row per good."""

    code: str = column("Code", key=True, str_matches=r"^[A-Z]")
    size: int = column("Centimetres", nullable=True, ge=1, le=9)
    price: Gbp = column("Price", isin=[Decimal("1.000"), Decimal("2.500")])

    @check
    def big_ones_cost_more() -> pl.Expr:
        """Above five they cost more than one."""
        return (pl.col("size") <= 5) | (pl.col("price") > 1)

    @check
    def at_most_three_are_sold() -> pl.Expr:
        """A rule over all rows at once."""
        return pl.len() <= 3


SCHEMA = pl.Schema({"code": pl.String(), "size": pl.Int64(), "price": pl.Decimal(38, 3)})


def goods(*rows: tuple[object, ...]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def broken(rows: pl.DataFrame, *, unique: bool = False) -> dict[str, int]:
    return {each.rule.name: each.failed for each in judge(Goods, rows, unique=unique).broken}


def test_every_rule_has_a_name_in_the_order_of_the_columns():
    assert [each.name for each in rules(Goods, unique=True)] == [
        "code__not_null",
        "code__str_matches",
        "size__ge",
        "size__le",
        "price__not_null",
        "price__isin",
        "key_is_unique",
        "big_ones_cost_more",
        "at_most_three_are_sold",
    ]


def test_a_column_that_rows_are_replaced_by_is_never_null():
    assert "size__not_null" in [each.name for each in rules(Goods, unique=False, never_null=["size"])]


def test_a_row_has_every_reason_that_it_falls_for():
    verdict = judge(Goods, goods(("A", 3, Decimal(1)), ("a", 10, Decimal(3)), (None, 6, Decimal(1))), unique=False)
    assert verdict.accepted["code"].to_list() == ["A"]
    assert verdict.reasons.to_list() == [
        ["code__str_matches", "size__le", "price__isin"],
        ["code__not_null", "big_ones_cost_more"],
    ]


def test_rows_that_break_a_rule_are_told_by_their_key_and_the_columns_that_it_asks():
    verdict = judge(Goods, goods(("A", 7, Decimal(1)), ("B", 1, Decimal(1)), ("b", 6, Decimal(1))), unique=False)
    examples = {each.rule.name: verdict.examples(each.rule, ["code"]) for each in verdict.broken}
    assert examples == {
        "code__str_matches": ["code = b"],
        "big_ones_cost_more": ["code = A, size = 7, price = 1.000", "code = b, size = 6, price = 1.000"],
    }


def test_a_null_that_may_stand_breaks_no_rule():
    assert broken(goods(("A", None, Decimal(1)))) == {}


def test_both_rows_of_a_key_fall_where_it_must_be_unique():
    rows = goods(("A", 1, Decimal(1)), ("A", 2, Decimal(1)), ("B", 1, Decimal(1)))
    assert broken(rows) == {}
    assert broken(rows, unique=True) == {"key_is_unique": 2}


def test_a_rule_over_all_rows_fails_all_of_them():
    assert broken(goods(*(("A", 1, Decimal(1)),) * 4)) == {"at_most_three_are_sold": 4}


def test_no_rows_break_no_rule():
    verdict = judge(Goods, goods(), unique=True)
    assert (verdict.broken, verdict.accepted.height, verdict.rejected.height) == ([], 0, 0)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["A", "b", None]),
            st.sampled_from([0, 1, 7, 10, None]),
            st.sampled_from([Decimal(1), Decimal("2.5"), Decimal(4), None]),
        ),
        max_size=3,
    )
)
def test_accepted_and_rejected_part_the_rows_and_keep_their_order(
    drawn: list[tuple[str | None, int | None, Decimal | None]],
):
    rows = goods(*drawn)
    verdict = judge(Goods, rows, unique=False)
    assert verdict.accepted.equals(rows.filter(verdict.is_accepted))
    assert verdict.rejected.equals(rows.filter(~verdict.is_accepted))
    assert verdict.reasons.len() == verdict.rejected.height
    stands = [
        code == "A" and (size is None or 1 <= size <= 9) and price in (Decimal(1), Decimal("2.5"))
        and (size is None or size <= 5 or (price or 0) > 1)
        for code, size, price in drawn
    ]  # fmt: skip
    assert verdict.is_accepted.to_list() == stands
