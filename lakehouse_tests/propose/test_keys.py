"""What names a row, and when a file is the whole of its source."""

from __future__ import annotations

import polars as pl

from lakehouse.propose.keys import keys, valid_at


def rows(
    *records: tuple[str | None, ...], names: str = "order_no country", files: tuple[str, ...] = ()
) -> pl.DataFrame:
    made = pl.DataFrame(records, schema=names.split(), orient="row")
    files = files or ("a.csv",) * len(records)
    return made.with_columns(source_file=pl.Series(files), source_row=pl.int_range(1, len(records) + 1))


TEXT = {"order_no": pl.String(), "country": pl.String()}


def test_a_key_is_proposed_where_it_is_never_null_and_never_twice():
    found = keys(rows(("1", "France"), ("2", "France"), ("3", "Spain")), TEXT)
    assert (found.columns, found.said) == (("order_no",), "order_no: never null and never twice in 3 rows")


def test_rows_that_repeat_unchanged_do_not_speak_against_a_key_and_are_counted():
    found = keys(rows(("1", "France"), ("2", "Spain"), ("1", "France")), TEXT)
    assert found.columns == ("order_no",)
    assert found.said.endswith("in 2 rows, beside 1 unchanged repeat")


def test_a_number_that_comes_again_with_other_values_is_no_key_and_is_shown():
    found = keys(rows(("1", "France"), ("2", "Spain"), ("1", "Spain")), TEXT)
    assert found.columns == ()
    assert (
        "order_no comes closest: 2 distinct in 3 rows; '1' comes again with other values (a.csv, row 3)" in found.said
    )


def test_a_column_with_a_null_and_one_that_is_no_name_are_no_keys():
    assert keys(rows(("1", "France"), (None, "Spain")), TEXT).columns == ()
    assert (
        keys(
            rows(("France", "1"), ("France", "2"), names="country amount"), {**TEXT, "amount": pl.Decimal(38, 2)}
        ).columns
        == ()
    )


def test_one_row_proves_nothing():
    assert keys(rows(("1", "France")), TEXT).columns == ()


def test_two_columns_together_are_a_key_where_there_are_rows_enough_to_prove_it():
    many = [(f"{day}", country) for day in range(15) for country in ("France", "Spain")]
    types = {"day": pl.Int64(), "country": pl.String()}
    assert keys(rows(*many, names="day country"), types).columns == ("day", "country")
    assert keys(rows(*many[:10], names="day country"), types).columns == ()


def snapshots(*held: str, pattern: str = "crm/dt=*/c.csv") -> tuple[str, str]:
    """A file for each text, with a row for each letter of it."""
    records = [(letter, "x") for letters in held for letter in letters]
    files = tuple(f"crm/dt=2024-05-0{day}/c.csv" for day, letters in enumerate(held, start=1) for _ in letters)
    return valid_at(pattern, rows(*records, files=files), TEXT)


def test_files_that_hold_what_the_one_before_held_are_snapshots():
    assert snapshots("abcdefghij", "abcdefghik", "abcdefghikl")[0] == "dt"
    assert "the next has 90% or more, by order_no" in snapshots("abcdefghij", "abcdefghik")[1]


def test_files_of_other_rows_one_file_and_files_without_a_time_are_no_snapshots():
    assert snapshots("abc", "def")[0] == ""
    assert snapshots("abc")[0] == ""
    assert snapshots("abc", "abc", pattern="crm/*/c.csv")[0] == ""
