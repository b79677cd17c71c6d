"""What nobody who lands a file, names a thing or adds an asset may bring about."""

from __future__ import annotations

import ast
import json
import sys
import unicodedata
from pathlib import Path

import pytest

from lakehouse_tests.house.house import child, python_files
from lakehouse_tests.house.project import Project

PICKLED = """
import dagster as dg

@dg.asset(key=["gold", "odd"], io_manager_def=dg.fs_io_manager)
def odd(): ...
"""
TABLES = {
    "bronze/sent.py": '''
from lakehouse import Append, Bronze, Files, Frame, JsonLines, column, table

class Sent(Bronze):
    """One row per document."""
    n: int = column("A number")
    word: str = column("A word")

@table(source=Files("sent/*.jsonl", formats=JsonLines()), write=Append())
def sent() -> Frame[Sent]: ...
''',
    "silver/numbers.py": '''
import polars as pl
from lakehouse import Frame, Merge, New, Quarantine, Silver, column, table
from lakehouse.tables.bronze.sent import Sent

class Numbers(Silver):
    """One row per word."""
    word: str = column("A word", key=True)
    n: int = column("A number", ge=0)

@table(write=Merge(), rejects=Quarantine())
def numbers(sent: New[Sent]) -> Frame[Numbers]:
    return sent.select("word", "n")
''',
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project.copied(tmp_path, tables=False)
    for name, text in TABLES.items():
        file = made.root / "lakehouse/tables" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    (made.home / "landing/sent").mkdir(parents=True)
    return made


def landed(project: Project, name: str, *lines: str) -> None:
    (project.home / "landing/sent" / name).write_text("".join(f"{line}\n" for line in lines))


def document(word: str, n: int) -> str:
    return json.dumps({"n": n, "word": word})


def test_an_asset_that_would_be_pickled_lets_nothing_load_and_nothing_run(project: Project):
    (project.root / "lakehouse/tables/gold").mkdir()
    (project.root / "lakehouse/tables/gold/odd.py").write_text(PICKLED)
    landed(project, "1.jsonl", document("a", 1))
    said = project("run", exits=1)
    assert "gold/odd would be kept by fs_io_manager (resource 'gold__odd__io_manager'), which pickles" in said
    assert not (project.home / "lake/bronze").exists()
    checked = child(str(Path(sys.executable).with_name("dg")), "check", "defs", at=project.root, home=project.home)
    assert "gold/odd would be kept by" in " ".join((checked.stdout + checked.stderr).split())
    assert checked.returncode != 0


NAMES = ["\x1b[2J\x9b31mclear.jsonl", "[red]x:bomb:.jsonl", "a\n  ✓ gold is fine.jsonl", "\u202elnosj.txt.jsonl"]
SPELLED = [r"\x1b[2J\x9b31mclear.jsonl", "[red]x:bomb:.jsonl", r"\u202elnosj.txt.jsonl"]
WORD = """o'brien"; drop table x; -- %\\]]>\n\x1b[31m"""


def test_a_name_is_spelled_on_a_terminal_and_never_obeyed(project: Project):
    for place, name in enumerate(NAMES):
        landed(project, name, document(WORD, place), document(WORD, -1), "torn \x1b[2J")
    shown = {
        "run": project("run", exits=1),
        "status": project("status"),
        "aside": project("sql", "select source_file, row from quarantine.bronze_sent"),
        "why": project("why", "silver/numbers", WORD),
    }
    for said in shown.values():
        assert {each for each in said if unicodedata.category(each) in ("Cc", "Cf")} <= {"\n"}
    for said in (shown["run"], shown["aside"], shown["why"]):
        assert [each for each in SPELLED if each not in said] == []
    assert [line for line in shown["run"].splitlines() if line.startswith("  ✓ gold")] == []
    assert "Was set aside\n" in shown["why"], "though its row is kept as JSON"


# ---- by the text of every file ----

PICKLERS = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
FILES = dict(python_files("lakehouse/", "resources/"))


def imported(tree: ast.Module) -> set[str]:
    names = [each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names}


def calls(*names: str) -> set[tuple[str, str]]:
    """Where a function or method of one of these names is called with more than text that stands there, by file."""
    return {
        (file, ast.unparse(node.func).rpartition(".")[2])
        for file, tree in FILES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in names
        if not (node.args and isinstance(node.args[0], ast.Constant))
    }


def test_text_becomes_sql_where_it_is_quoted_and_nowhere_else():
    """A new place comes here with a test of its own quoting."""
    asked = calls("execute", "executemany", "executescript", "sql", "sql_expr", "SQLContext", "extract_statements")
    assert asked == {("lakehouse/engine/serve/local_sql.py", word) for word in ("execute", "extract_statements")}


def test_no_predicate_is_text():
    """deltalake takes predicates as SQL: text that somebody sent would be part of it. Ours are Polars' expressions."""
    words = {"predicate", "partitions", "source_alias", "where"}
    assert {
        (file, ast.unparse(each.value))
        for file, tree in FILES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for each in node.keywords
        if each.arg in words and isinstance(each.value, ast.JoinedStr | ast.Constant)
    } == set()
    methods = ("merge", "QueryBuilder", "to_pyarrow_dataset")
    named = [
        (file, node.attr) for file, tree in FILES.items() for node in ast.walk(tree) if isinstance(node, ast.Attribute)
    ]
    assert [each for each in named if each[1] in methods] == []


def test_nothing_is_evaluated_extracted_or_given_to_a_shell():
    assert calls("system", "popen", "extractall", "unpack_archive", "unsafe_load", "full_load") == set()
    nodes = [(file, node) for file, tree in FILES.items() for node in ast.walk(tree)]
    evaluated = [file for file, node in nodes if isinstance(node, ast.Name) and node.id in ("eval", "exec")]
    assert evaluated == ["lakehouse/engine/ingest/shapes.py"], "a lambda with one number in it, which is ours"
    assert [file for file, node in nodes if isinstance(node, ast.keyword) and node.arg == "shell"] == []
    assert {file for file, tree in FILES.items() if "tarfile" in imported(tree)} == set()


def test_no_file_of_ours_can_pickle():
    assert {name for name, tree in FILES.items() if imported(tree) & PICKLERS} == set()
    assert imported(ast.parse("def f():\n    from pickle import loads\n    import shelve")) & PICKLERS == {
        "pickle",
        "shelve",
    }
