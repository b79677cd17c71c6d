"""What a table that runs on Spark may say, and what its logic hangs on."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from lakehouse.engine.declare.errors import DeclarationError

Make = Callable[..., ModuleType]

FILE = '''
from datetime import timedelta
import polars as pl
from lakehouse import Append, Bronze, Files, Frame, Gold, JsonLines, Merge, New, Overwrite, Silver, Spark, column, table

class Slips(Bronze):
    """One row per slip. Source: a test."""
    no: str = column("Number of the slip")

class Counts(Silver):
    """One row per slip. Source: a test."""
    no: str = column("Number of the slip", key=True)

class Shares(Gold):
    """One row per slip. Source: a test."""
    no: str = column("Number of the slip", key=True)

@table(source=Files("slips/*.jsonl", formats=JsonLines()), write=Append())
def slips() -> Frame[Slips]: ...

@table(write=Merge())
def counts(sent: New[Slips]) -> Frame[Counts]:
    return sent.select("no")

@table(write=WRITE, runs_on=Spark("SCRIPT"))
def shares(counted: READS) -> Frame[Shares]: BODY
'''


@pytest.fixture
def declared(tmp_path: Path) -> Make:
    """Loads a table file beside a script, each a little otherwise; every time anew."""

    def make(script: str = "x = 1", **otherwise: str) -> ModuleType:
        words = {"WRITE": "Overwrite()", "SCRIPT": "shares.spark.py", "READS": "Frame[Counts]", "BODY": "..."}
        text = FILE
        for word, value in {**words, **otherwise}.items():
            text = text.replace(word, value)
        (tmp_path / "shares.spark.py").write_text(script)
        name = f"business_{len(list(tmp_path.iterdir()))}"
        file = tmp_path / f"{name}.py"
        file.write_text(text)
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return make


@pytest.mark.parametrize(
    ("otherwise", "words"),
    [
        ({"SCRIPT": "share.spark.py"}, "its script share.spark.py is not in .*; did you mean 'shares.spark.py'"),
        ({"SCRIPT": "shares.py"}, "is called something.spark.py"),
        ({"WRITE": "Merge()"}, "a script leaves is the whole table, so that Merge.. is not for it; write=Overwrite"),
        ({"READS": "Frame[Slips]"}, "counted must be Frame.* of a silver or a gold table, and is Frame.Slips."),
        ({"BODY": "return counted"}, "its function would never be called; let its body be `...`"),
        ({"script": "from business_1 import x"}, "shares.spark.py imports business_1, which is not there"),
        ({"script": "def x(:"}, "shares.spark.py, line 1: invalid syntax"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_loaded(declared: Make, otherwise: dict[str, str], words: str):
    with pytest.raises(DeclarationError, match=words):
        declared(**otherwise)


def logic(declared: Make, script: str) -> int:
    return declared(script).shares.declaration.logic


def test_the_logic_changes_with_the_code_of_the_script_and_not_with_its_words(declared: Make):
    first = logic(declared, '"""Says it."""\nx = 1')
    assert logic(declared, '"""Says it otherwise."""\n\nx = 1  # one') == first
    assert logic(declared, '"""Says it."""\nx = 2') != first


def test_it_is_a_table_like_any_other_for_those_that_read_it(declared: Make):
    shares = declared().shares
    assert shares.declaration.key == "gold/shares"
    assert {each.name for each in shares.check_specs} >= {"shape", "key_is_unique", "no__not_null"}
