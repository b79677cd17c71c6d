from datetime import UTC, datetime
from decimal import Decimal

import polars as pl

from lakehouse.engine.quality.masks import MASK
from lakehouse.engine.quality.profile import FEW, TOP, profile


def told(rows: pl.DataFrame, *personal: str) -> dict[str, dict[str, object]]:
    return {each["column"]: each for each in profile(rows.lazy(), personal)[1].to_dicts()}


def test_each_column_is_told_by_its_type_nulls_bounds_and_commonest_values():
    at = datetime(2026, 1, 31, tzinfo=UTC)
    frame = pl.DataFrame(
        {
            "id": range(1000),
            "country": ["GB"] * 900 + ["FR"] * 90 + [None] * 10,
            "amount": [Decimal("1.50"), Decimal("-2.25")] * 500,
            "paid": [True, False, False, None] * 250,
            "at": [at, None] * 500,
            "tags": [["a", "b"], []] * 500,
            "inside": [{"x": 1}, None] * 500,
        },
        schema_overrides={"amount": pl.Decimal(10, 2)},
    )
    count, found = profile(frame.lazy())
    by = {each["column"]: each for each in found.to_dicts()}
    assert (count, found.height) == (1000, 7)
    assert (by["id"]["min"], by["id"]["max"], by["id"]["mean"], by["id"]["top"]) == ("0", "999", "499.5", None)
    assert 950 < by["id"]["distinct"] < 1050, "an estimate"
    assert by["country"] == {
        "column": "country", "type": "String", "nulls": 10, "distinct": 2, "min": "2 characters",
        "max": "2 characters", "mean": "2 characters", "top": "GB (900), FR (90)",
    }  # fmt: skip
    assert (by["amount"]["min"], by["amount"]["max"]) == ("-2.25", "1.50")
    assert (by["paid"]["nulls"], by["paid"]["mean"], by["paid"]["top"]) == (250, "0.333333", "False (500), True (250)")
    assert (by["at"]["nulls"], by["at"]["distinct"], by["at"]["max"]) == (500, 1, str(at))
    assert (by["tags"]["min"], by["tags"]["max"], by["tags"]["distinct"]) == ("0 items", "2 items", None)
    assert (by["inside"]["nulls"], by["inside"]["min"]) == (500, None)


def test_of_many_values_none_is_told_and_of_few_the_commonest():
    frame = pl.DataFrame({"few": [i % FEW for i in range(500)], "many": [i % (2 * FEW) for i in range(500)]})
    by = told(frame)
    assert str(by["few"]["top"]).count("(") == TOP
    assert by["few"]["top"] == "0 (10), 1 (10), 2 (10), 3 (10), 4 (10)"
    assert by["many"]["top"] is None


def test_no_value_of_a_personal_column_is_told():
    frame = pl.DataFrame({"name": ["Ada", "Ada", None], "born": [1815, 1815, None], "open": [1, 2, 3]})
    by = told(frame, "name", "born")
    assert "Ada" not in str(by)
    assert "1815" not in str(by)
    assert (by["name"]["nulls"], by["name"]["distinct"], by["name"]["min"], by["name"]["top"]) == (1, 1, MASK, None)
    assert by["open"]["max"] == "3"


def test_no_rows_are_a_profile_too():
    count, found = profile(pl.LazyFrame(schema={"id": pl.Int64(), "note": pl.String(), "tags": pl.List(pl.String())}))
    assert (count, found["nulls"].to_list(), found["min"].to_list()) == (0, [0, 0, 0], [None, None, None])


def test_days_and_moments_are_told_as_python_writes_them_and_past_its_end():
    moment = pl.Datetime("us", "UTC")
    rows = pl.DataFrame(
        {"day": [0, 3, 2_932_897], "at": [5, 2_000_000, 253_402_300_800_000_000], "local": [0, 1_000_000, 2_000_000]},
        schema={"day": pl.Int32, "at": pl.Int64, "local": pl.Int64},
    ).select(pl.col("day").cast(pl.Date), pl.col("at").cast(moment), pl.col("local").cast(pl.Datetime("us")))
    _, found = profile(rows.lazy())
    by = {each["column"]: each for each in found.to_dicts()}
    assert (by["day"]["min"], by["day"]["max"]) == ("1970-01-01", "+10000-01-01")
    assert by["day"]["top"] == "1970-01-01 (1), 1970-01-04 (1), +10000-01-01 (1)"
    assert (by["at"]["min"], by["at"]["max"]) == ("1970-01-01 00:00:00.000005+00:00", "+10000-01-01 00:00:00+00:00")
    assert (by["local"]["mean"], by["local"]["max"]) == ("1970-01-01 00:00:01", "1970-01-01 00:00:02")
