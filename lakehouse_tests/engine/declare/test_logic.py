"""A table's logic as a number: it changes when the meaning of its code may have changed, and only then.

Each test writes a small project of two files, asks for the logic of its table, edits one text and asks again.
"""

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import polars as pl
import pytest

from lakehouse.engine.declare.errors import DeclarationError
from lakehouse.engine.declare.logic import fingerprint
from lakehouse.engine.declare.source_code import syntax_of

RULES = '''
"""Rules of the shop."""
import re
from decimal import Decimal
from enum import Enum
from functools import lru_cache, partial
import polars as pl
from .deeper import MONEY, deep

SMALLEST = 5
UNUSED = 7
COUNTRIES = {"UK", "EIRE", "France", "Spain"}
IS_SOLD = pl.col("amount") > SMALLEST
PATTERN = re.compile(r"^[A-Z]")
BY_NAME = {"small": lambda: pl.col("amount") < 3}


class Kind(Enum):
    CREDIT = "C"


class Scale:
    """How prices are written."""

    by = 100

    def of(self, name):
        return pl.col(name) * self.by


SCALE = Scale()


def clean(rows):
    """Keeps what is sold."""
    return rows.filter(IS_SOLD)


@lru_cache
def cached():
    return 1


def unused():
    return 1


def factory(limit):
    def above(rows, floor=limit):
        return rows.filter(pl.col("amount") > limit)
    return above


above_ten = factory(10)
added = partial(pl.Expr.add, other=3)
'''

DEEPER = """
import polars as pl
MONEY = pl.Decimal(38, 3)
def deep(name):
    return pl.col(name).abs()
"""

LATE = """
def late(rows):
    return rows.head(5)
"""

TABLES = '''
import polars as pl
from lakehouse import Append, Bronze, Files, Frame, JsonLines, Merge, New, Silver, check, column, local_time, Utc
from lakehouse.engine.declare.table import declare
from shop import rules
from shop.rules import COUNTRIES, PATTERN, Kind, SCALE, Scale, above_ten, added, cached, clean, BY_NAME
import shop.deeper


def table(**words):
    words.pop("owners", None)
    return lambda transform: declare(transform, **words)


LARGEST = 10_000


def counted():
    return pl.len()


class Sent(Bronze):
    """One row per order, as sent."""

    order_no: str = column("Number")
    amount: int = column("Pence")
    sent_at: Utc = column("When", text=local_time("Europe/London"))


class Orders(Silver):
    """One row per order."""

    order_no: str = column("Number", key=True)
    amount: int = column("Pence", ge=0, isin=range(5))

    @check
    def is_small() -> pl.Expr:
        """Orders are small."""
        return pl.col("amount") < LARGEST


@table(source=Files("orders/*", formats=JsonLines()), write=Append())
def sent() -> Frame[Sent]: ...


@table(
    write=Merge(),
    owners=["team:sales"],
    conserves=(pl.col("amount").sum(), counted()),
    drops={"tests": pl.col("order_no").is_in([*map(str, range(40)), "T1"])},
)
def orders(sent: New[Sent]) -> Frame[Orders]:
    """Cleans."""
    # as the shop wants it
    {body}
    return sent.select("order_no", "amount")
'''.replace("{{", "{")

BODY = "sent = clean(sent)"


@pytest.fixture
def logic(tmp_path: Path) -> Iterator[Callable[..., int]]:
    """Writes the project with its edits, loads it, and says the logic of its table."""
    places = (tmp_path / str(number) for number in range(100))
    path = list(sys.path)

    def forget() -> None:
        sys.path[:] = path
        for name in [name for name in sys.modules if name.split(".")[0] == "shop"]:
            del sys.modules[name]

    def load(*edits: tuple[str, str], body: str = BODY, folder: str = "", first: str = "") -> int:
        forget()
        sys.path.insert(0, str(place := next(places)))
        write(place / "shop", *edits, body=body, folder=folder)
        if first:
            importlib.import_module(first)
        home = ".".join(["shop", *filter(None, folder.split("/")), "tables"])
        return importlib.import_module(home).orders.logic

    yield load
    forget()


def write(home: Path, *edits: tuple[str, str], body: str = BODY, folder: str = "") -> None:
    files = {
        "__init__.py": "",
        "rules.py": RULES,
        "deeper.py": DEEPER,
        "late.py": LATE,
        f"{folder or '.'}/tables.py": TABLES,
    }
    texts = {name: text.replace("{body}", body.replace("\n", "\n    ")) for name, text in files.items()}
    for old, new in edits:
        assert any(old in text for text in texts.values()), f"nothing to edit: {old}"
        texts = {name: text.replace(old, new) for name, text in texts.items()}
    for name, text in texts.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)


CHANGES = {
    "the transform": (BODY, 'select("order_no", "amount")', 'select("order_no", pl.col("amount") + 1)'),
    "a function it names": (BODY, "rows.filter(IS_SOLD)", "rows.filter(~IS_SOLD)"),
    "an expression that function names": (BODY, '"amount") > SMALLEST', '"amount") >= SMALLEST'),
    "a constant that expression names": (BODY, "SMALLEST = 5", "SMALLEST = 6"),
    "a function through its module": ("sent = rules.clean(sent)", "rows.filter(IS_SOLD)", "rows.filter(~IS_SOLD)"),
    "a constant through its module": ("sent = sent.filter(pl.col('amount') > rules.SMALLEST)", "= 5", "= 6"),
    "a function through a chain of modules": (
        "sent = sent.filter(shop.deeper.deep('amount') > 1)",
        "pl.col(name).abs()",
        "pl.col(name).neg()",
    ),
    "a function that a module has from another": ("sent = sent.filter(rules.deep('amount') > 1)", ".abs()", ".neg()"),
    "a type that a module has from another": (
        "sent = sent.with_columns(x=pl.lit(1, rules.MONEY))",
        "(38, 3)",
        "(38, 2)",
    ),
    "a nested function": ("def inner(rows):\n    return rows.head(3)\nsent = inner(sent)", "head(3)", "head(4)"),
    "what a nested function names": (
        "def inner(rows):\n    return clean(rows)\nsent = inner(sent)",
        "(IS_SOLD)",
        "(~IS_SOLD)",
    ),
    "an import inside the function": (
        "from shop.rules import clean as c\nsent = c(sent)",
        "(IS_SOLD)",
        "(~IS_SOLD)",
    ),
    "a module imported inside": ("from . import rules as r\nsent = r.clean(sent)", "(IS_SOLD)", "(~IS_SOLD)"),
    "a module that an empty frame does not import": (
        "if sent is None:\n    from shop import late\n    sent = late.late(sent)",
        "head(5)",
        "head(6)",
    ),
    "a module imported inside under another name": (
        "import shop.rules as r\nsent = r.clean(sent)",
        "(IS_SOLD)",
        "(~IS_SOLD)",
    ),
    "a module imported inside by its whole name": (
        "import shop.rules\nsent = shop.rules.clean(sent)",
        "(IS_SOLD)",
        "(~IS_SOLD)",
    ),
    "a class's attribute": ("sent = sent.select(SCALE.of('amount'), 'order_no')", "by = 100", "by = 10"),
    "how an object was made": (
        "sent = sent.with_columns(x=SCALE.of('amount'))",
        "SCALE = Scale()",
        "SCALE = Scale(*[])",
    ),
    "an enum's value": ("sent = sent.filter(pl.col('order_no') != Kind.CREDIT.value)", 'CREDIT = "C"', 'CREDIT = "D"'),
    "a set": ("sent = sent.filter(pl.col('order_no').is_in(COUNTRIES))", '"Spain"', '"Italy"'),
    "an upstream's description of null": (BODY, "text=local_time", "nullable=True, text=local_time"),
    "a pattern": ("sent = sent.filter(pl.col('order_no').str.contains(PATTERN.pattern))", "^[A-Z]", "^[A-Y]"),
    "a function in a dict": ("sent = sent.filter(BY_NAME['small']())", '"amount") < 3', '"amount") < 4'),
    "a decorated function": (
        "sent = sent.head(cached())",
        "def cached():\n    return 1",
        "def cached():\n    return 2",
    ),
    "a decorator of a function": ("sent = sent.head(cached())", "@lru_cache\n", "@lru_cache(4)\n"),
    "what a factory encloses": ("sent = above_ten(sent)", "factory(10)", "factory(11)"),
    "a partial function": ("sent = sent.with_columns(x=added(pl.col('amount')))", "other=3", "other=4"),
    "a default argument": (
        "def inner(rows, most=rules.SMALLEST):\n    return rows.head(most)\nsent = inner(sent)",
        "= 5",
        "= 6",
    ),
    "an upstream's type": (
        BODY,
        'sent_at: Utc = column("When", text=local_time("Europe/London"))',
        'sent_at: int = column("When")',
    ),
    "a text format": (BODY, "Europe/London", "Europe/Paris"),
    "null in an upstream": (BODY, 'column("Pence")', 'column("Pence", nullable=True)'),
    "null in the contract": (BODY, "ge=0, ", "ge=0, nullable=True, "),
    "the key": (BODY, 'amount: int = column("Pence", ', 'amount: int = column("Pence", key=True, '),
    "a bound": (BODY, "ge=0", "ge=1"),
    "a set in a bound": (BODY, "range(5)", "range(6)"),
    "a check": (BODY, '"amount") < LARGEST', '"amount") <= LARGEST'),
    "a constant that a check names": (BODY, "LARGEST = 10_000", "LARGEST = 20_000"),
    "the way of writing": (BODY, "write=Merge()", 'write=Merge(replaces="order_no")'),
    "the way of reading": (BODY, "(sent: New[Sent])", "(sent: Frame[Sent])"),
    "what is conserved": (BODY, 'pl.col("amount").sum(), ', 'pl.col("amount").count(), '),
    "a function that says what is conserved": (BODY, "return pl.len()", "return pl.len() + 0"),
    "a value deep inside a drop": (BODY, 'range(40)), "T1"', 'range(40)), "T2"'),
}


@pytest.mark.parametrize(("body", "old", "new"), CHANGES.values(), ids=list(CHANGES))
def test_logic_changes_with(logic: Callable[..., int], body: str, old: str, new: str):
    before = logic(body=body)
    assert before == logic(body=body)
    assert before != logic((old, new), body=body)


SAME = {
    "a docstring of the transform": ('"""Cleans."""', '"""Cleans the orders."""'),
    "no docstring of the transform": ('    """Cleans."""\n', ""),
    "a docstring of a function": ('"""Keeps what is sold."""', '"""Keeps."""'),
    "a docstring of a check": ('"""Orders are small."""', '"""Small."""'),
    "a docstring of the contract": ('"""One row per order."""', '"""One row per order that stands."""'),
    "a comment": ("# as the shop wants it", "# as the shop wanted it"),
    "formatting": (
        'return sent.select("order_no", "amount")',
        "return (\n        sent\n        .select('order_no', 'amount',)\n    )",
    ),
    "an annotation of a function": ("def clean(rows):", "def clean(rows: pl.LazyFrame) -> pl.LazyFrame:"),
    "the owners": ('owners=["team:sales"]', 'owners=["team:shop"]'),
    "a column's words": ('"Number", key=True', '"Order number", key=True'),
    "a number's spelling": ("LARGEST = 10_000", "LARGEST = 100 * 100"),
    "a function that is not named": ("def unused():\n    return 1", "def unused():\n    return 2"),
    "a constant that is not named": ("UNUSED = 7", "UNUSED = 8"),
    "other code above": ("SMALLEST = 5", "def another():\n    return 3\n\n\nSMALLEST = 5"),
    "less code below": ("def unused():\n    return 1\n", ""),
    "the import of another module": (
        "import polars as pl\nfrom lakehouse",
        "import csv, zipfile\nimport polars as pl\nfrom lakehouse",
    ),
    "lines above": ("LARGEST = 10_000", "\n\n\nLARGEST = 10_000"),
}


@pytest.mark.parametrize(("old", "new"), SAME.values(), ids=list(SAME))
def test_logic_does_not_change_with(logic: Callable[..., int], old: str, new: str):
    assert logic() == logic((old, new))


def test_logic_does_not_change_with_the_place_of_its_file(logic: Callable[..., int]):
    assert logic() == logic(folder="moved/deeper")


def test_logic_does_not_change_with_the_modules_that_were_imported_before(logic: Callable[..., int]):
    body = "sent = rules.clean(sent)"
    assert logic(body=body) == logic(body=body, first="shop.deeper") == logic(body=body, first="wave")


def test_logic_is_the_same_in_every_process(tmp_path: Path):
    write(
        tmp_path / "shop",
        ("isin=range(5)", "isin={3, 100, -7, 12345678}"),
        body="sent = clean(sent.filter(pl.col('order_no').is_in(COUNTRIES)))\nsent = sent.filter(BY_NAME['small']())",
    )
    ask = [sys.executable, "-c", "from shop.tables import orders; print(orders.logic)"]
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    children = [
        subprocess.Popen(
            ask, env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed}, text=True,
            stdout=subprocess.PIPE, cwd=tmp_path,
        )
        for seed in ("1", "2")
    ]  # fmt: skip
    said = [child.communicate()[0].strip() for child in children]
    assert said[0] == said[1]
    assert said[0].isdigit()


def test_logic_fits_into_a_transaction_of_delta(logic: Callable[..., int]):
    assert 0 < logic() < 2**60


def test_what_is_asked_of_a_library_is_not_followed(logic: Callable[..., int]):
    assert logic(body="from csv import reader\nimport lakehouse\nreader; lakehouse.Merge")


# ---- what cannot be followed ----

EXECUTED = "def made(rows):\n    return rows\n"


def test_a_function_without_a_file_is_refused():
    space: dict[str, object] = {"__name__": __name__}
    exec(EXECUTED, space)
    for function in (space["made"], eval("lambda rows: rows", {"__name__": __name__}), lambda rows: rows):
        with pytest.raises(
            DeclarationError, match="its source cannot be found, so that a change in it would go unnoticed"
        ):
            fingerprint(function, ())  # type: ignore[arg-type]


def test_a_module_without_a_file_is_refused():
    with pytest.raises(DeclarationError, match=r"^nowhere: its source cannot be found"):
        syntax_of(ModuleType("nowhere"))


def test_what_is_no_function_is_refused():
    class Called:
        __module__ = __name__

        def __call__(self, rows: pl.LazyFrame) -> pl.LazyFrame:
            return rows

    with pytest.raises(DeclarationError, match="is no function written with `def`; make it one"):
        fingerprint(Called(), ())


def test_an_enclosed_object_is_refused_since_nothing_says_what_it_is():
    enclosed = pl.col("amount") > 3

    def keeps(rows: pl.LazyFrame) -> pl.LazyFrame:
        return rows.filter(enclosed)

    with pytest.raises(
        DeclarationError, match=r"^transform\.enclosed: the function encloses a Expr, and a change in it"
    ):
        fingerprint(keeps, ())


def enclosing(*values: object) -> int:
    value = values[0]

    def keeps(rows: pl.LazyFrame) -> object:
        return rows, value

    return fingerprint(keeps, ())


def helper_one() -> int:
    return 1


def helper_two() -> int:
    return 2


class LimitOne:
    most = 1


class LimitTwo:
    most = 2


def test_enclosed_values_and_functions_count_by_what_they_are():
    values: list[object] = [1, 2, "1", True, 1.0, (1,), [1], {1}, {1: 2}, {1: 3}, None, pl.Int8, helper_one, helper_two]
    values += [LimitOne, LimitTwo]
    assert len({enclosing(value) for value in values}) == len(values)
    assert enclosing({"a", "b", "c"}) == enclosing({"c", "b", "a"})


def test_what_is_counted_counts_where_the_decorator_does_not_say_it():
    assert fingerprint(kept, (), counting=[pl.col("a")]) == fingerprint(kept, (), counting=[pl.col("a")])
    assert fingerprint(kept, (), counting=[pl.col("a")]) != fingerprint(kept, (), counting=[pl.col("b")])


def kept(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows


def with_default(most: int) -> int:
    def heads(rows: pl.LazyFrame, most: int = most) -> pl.LazyFrame:
        return rows.head(most)

    return fingerprint(heads, ())


def test_a_default_counts_by_what_it_was_when_the_function_was_made():
    assert with_default(3) == with_default(3) != with_default(4)


def test_the_tables_of_the_example_have_a_logic_of_their_own():
    from lakehouse.tables.bronze.erp_orders import erp_orders
    from lakehouse.tables.gold.daily_sales import daily_sales
    from lakehouse.tables.silver.order_lines import order_lines
    from lakehouse.tables.silver.orders import orders

    assert len({each.declaration.logic for each in (erp_orders, orders, order_lines, daily_sales)}) == 4


def test_a_name_that_no_statement_gives_is_refused(logic: Callable[..., int]):
    hidden = ("LARGEST = 10_000", "LARGEST = 10_000\nglobals()['RULE'] = pl.col('amount') > 3")
    with pytest.raises(DeclarationError, match=r"\.tables\.RULE: no statement of the file says what it is"):
        logic(hidden, body="sent = sent.filter(RULE)")


def test_a_name_from_a_star_import_is_followed(logic: Callable[..., int]):
    starred = ("LARGEST = 10_000", "LARGEST = 10_000\nfrom .rules import *")
    body = "sent = sent.filter(IS_SOLD)"
    before = logic(starred, body=body)
    assert before == logic(starred, body=body)
    assert before != logic(starred, ('"amount") > SMALLEST', '"amount") < SMALLEST'), body=body)


def test_functions_that_call_each_other_end(logic: Callable[..., int]):
    ring = (
        "def unused():\n    return 1",
        dedent("def odd(n):\n    return n and even(n - 1)\n\ndef even(n):\n    return n or odd(n - 1)"),
    )
    body = "sent = sent.head(rules.odd(3))"
    assert logic(ring, body=body) != logic(ring, ("return n or odd", "return not n or odd"), body=body)
