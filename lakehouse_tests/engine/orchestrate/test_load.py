"""What is said at load, before a run meets it."""

import importlib
import sys
from datetime import time
from pathlib import Path
from typing import Annotated

import duckdb
import polars as pl
import pytest

from lakehouse import (
    Append,
    Bronze,
    Files,
    Frame,
    JsonLines,
    Measure,
    Merge,
    New,
    Quarantine,
    Silver,
    check,
    column,
    table,
)
from lakehouse.engine.declare.errors import DeclarationError
from lakehouse.engine.declare.sql_words import SQL_WORDS
from lakehouse.engine.orchestrate.load import tables_in
from lakehouse.propose.names import of_columns

TABLE = '''
from lakehouse import Append, Bronze, Files, Frame, JsonLines, column, table

class Sent(Bronze):
    """One row per document."""
    n: int = column("A number")

@table(source=Files("sent/*.jsonl", formats=JsonLines()), write=Append())
def sent() -> Frame[Sent]: ...
'''


def test_a_table_in_a_folder_without_init_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "business" / "bronze"
    folder.mkdir(parents=True)
    (tmp_path / "business" / "__init__.py").touch()
    (folder / "sent.py").write_text(TABLE)
    monkeypatch.syspath_prepend(tmp_path)
    assert [each.declaration.key for each in tables_in(importlib.import_module("business"))] == ["bronze/sent"]


class LoadSent(Bronze):
    """One row per document."""

    n: int = column("A number")


@table(source=Files("sent/*.jsonl", formats=JsonLines()), write=Append())
def load_sent() -> Frame[LoadSent]: ...


def test_two_files_that_declare_one_table_are_both_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "twins"
    package.mkdir()
    for name in ("__init__", "one", "two"):
        (package / f"{name}.py").write_text("" if name == "__init__" else TABLE)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DeclarationError, match=r"bronze/sent is declared twice, in twins\.one and twins\.two"):
        tables_in(importlib.import_module("twins"))
    for name in [name for name in sys.modules if name.split(".")[0] == "twins"]:
        del sys.modules[name]


def test_a_column_that_delta_cannot_hold_is_refused_with_its_name() -> None:
    class Opened(Silver):
        """One row per shop."""

        shop: str = column("Shop", key=True)
        opens: Annotated[time, Measure(pl.Time())] = column("When it opens")  # type: ignore[valid-type]

    with pytest.raises(DeclarationError, match="opens"):

        @table(write=Merge())
        def opened(sent: New[LoadSent]) -> Frame[Opened]:
            return sent.select(shop=pl.lit("a"), opens=pl.lit(None, pl.Time))


def test_a_column_that_is_a_word_of_sql_is_refused_and_a_source_may_call_it_so() -> None:
    class Renamed(Bronze):
        """One row per order."""

        order_no: str = column("Number", was="order")

    @table(source=Files("renamed/*", formats=JsonLines()), write=Append())
    def renamed() -> Frame[Renamed]: ...

    class Named(Bronze):
        """One row per order."""

        Order: str = column("Number")
        user: str = column("Who")

    said = (
        r'bronze/named: SQL keeps the word Order and user .* another name, with was="Order" for what the source calls'
    )
    with pytest.raises(DeclarationError, match=said):

        @table(source=Files("named/*", formats=JsonLines()), write=Append())
        def named() -> Frame[Named]: ...


def test_every_word_that_duckdb_keeps_for_itself_is_known() -> None:
    asked = "select keyword_name from duckdb_keywords() where keyword_category = 'reserved'"
    assert {name for (name,) in duckdb.sql(asked).fetchall()} - SQL_WORDS == set()


def test_a_proposal_names_no_column_by_a_word_of_sql() -> None:
    assert of_columns(["order", "Group", "day"]) == {"order": "order_value", "Group": "group_value", "day": "day"}


def test_a_check_named_as_one_of_the_engine_s_own_is_refused() -> None:
    class Shaped(Silver):
        """One row per number."""

        n: int = column("A number", key=True)

        @check
        def shape() -> pl.Expr:
            """A number has a shape."""
            return pl.col("n") > 0

    with pytest.raises(DeclarationError, match="two checks called shape"):

        @table(write=Merge())
        def shaped(sent: New[LoadSent]) -> Frame[Shaped]:
            return sent.select("n")


def test_a_word_that_neither_table_nor_dagster_has_is_refused_with_the_one_that_was_meant() -> None:
    class Meant(Silver):
        """One row per number."""

        n: int = column("A number", key=True)

    def meant(sent: New[LoadSent]) -> Frame[Meant]:
        return sent.select("n")

    with pytest.raises(DeclarationError, match=r"silver/meant: @table has no reject=; did you mean rejects=\?"):
        table(write=Merge(), reject=Quarantine())(meant)  # type: ignore[call-arg]
    with pytest.raises(DeclarationError, match=r"silver/meant: @table has no zzz= \(it has automation_condition, "):
        table(write=Merge(), zzz=1)(meant)  # type: ignore[call-arg]
