"""Packages of declared tables, written into a folder: as many as a measure asks for, each a file of its own."""

from pathlib import Path

BRONZE = '''
from datetime import timedelta
from lakehouse import Append, Bronze, Files, Frame, JsonLines, column, table

class Sent{i}(Bronze):
    """One row per document."""
    n: int = column("A number")
    said: str = column("A word")

@table(source=Files("sent_{i}/*.jsonl", formats=JsonLines(), settle=timedelta(0)), write=Append())
def sent_{i}() -> Frame[Sent{i}]: ...
'''
COPY = '''
from lakehouse import Append, Frame, New, Silver, column, table
from {package}.sent_{of} import Sent{of}

class Copy{i}(Silver):
    """One row per document."""
    n: int = column("A number")

@table(write=Append())
def copy_{i}(sent: New[Sent{of}]) -> Frame[Copy{i}]:
    return sent.select("n")
'''
MERGED = '''
import polars as pl
from lakehouse import Frame, Merge, New, Quarantine, Silver, check, column, table
from {package}.sent_{of} import Sent{of}

class Merged{i}(Silver):
    """One row per number."""
    n: int = column("A number", key=True, ge=0)
    said: str = column("A word")

    @check
    def a_word_is_short() -> pl.Expr:
        """No word has more than a hundred letters."""
        return pl.col("said").str.len_chars() <= 100

@table(write=Merge(), rejects=Quarantine(), conserves="rows")
def merged_{i}(sent: New[Sent{of}]) -> Frame[Merged{i}]:
    return sent.select("n", "said")
'''
COUNTED = '''
import polars as pl
from lakehouse import Frame, Gold, Overwrite, column, table
from {package}.merged_{of} import Merged{of}

class Counted{i}(Gold):
    """One row per word."""
    said: str = column("A word", key=True)
    rows: int = column("How often", ge=1)

@table(write=Overwrite())
def counted_{i}(merged: Frame[Merged{of}]) -> Frame[Counted{i}]:
    return merged.group_by("said").agg(rows=pl.len().cast(pl.Int64))
'''


def package(folder: Path, name: str, *, bronze: int, merged: int = 0, counted: int = 0, copies: int = 0) -> str:
    """Write the package `name` of so many tables of each kind below `folder`; its name is given back."""
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "__init__.py").touch()
    for kind, text, number, of in (
        ("sent", BRONZE, bronze, 1),
        ("merged", MERGED, merged, bronze),
        ("counted", COUNTED, counted, merged),
        ("copy", COPY, copies, bronze),
    ):
        for i in range(number):
            (place / f"{kind}_{i}.py").write_text(text.format(i=i, package=name, of=i % of))
    return name
