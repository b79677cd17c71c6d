"""What nobody who lands a file, names a thing or adds an asset may bring about."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from lakehouse_tests.house.house import child, python_files
from lakehouse_tests.house.project import Project

TABLES = {
    "bronze/sent.py": '''
from lakehouse import Append, Bronze, Files, Frame, JsonLines, column, table

class Sent(Bronze):
    """One row per document."""
    n: int = column("A number")

@table(source=Files("sent/*.jsonl", formats=JsonLines()), write=Append())
def sent() -> Frame[Sent]: ...
''',
    "gold/odd.py": """
import dagster as dg

@dg.asset(key=["gold", "odd"], io_manager_def=dg.fs_io_manager)
def odd(): ...
""",
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project.copied(tmp_path, tables=False)
    for name, text in TABLES.items():
        file = made.root / "lakehouse/tables" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    (made.home / "landing/sent").mkdir(parents=True)
    (made.home / "landing/sent/1.jsonl").write_text('{"n": 1}\n')
    return made


def test_an_asset_that_would_be_pickled_lets_nothing_load_and_nothing_run(project: Project):
    said = project("run", exits=1)
    assert "gold/odd would be kept by fs_io_manager (resource 'gold__odd__io_manager'), which pickles" in said
    assert not (project.home / "lake/bronze").exists()
    checked = child(str(Path(sys.executable).with_name("dg")), "check", "defs", at=project.root, home=project.home)
    assert "gold/odd would be kept by" in " ".join((checked.stdout + checked.stderr).split())
    assert checked.returncode != 0


# ---- by the text of every file ----

PICKLERS = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
FILES = dict(python_files("lakehouse/", "resources/", "benchmarks/"))


def imported(tree: ast.Module) -> set[str]:
    names = [each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names}


def test_no_file_of_ours_can_pickle():
    assert {name for name, tree in FILES.items() if imported(tree) & PICKLERS} == set()
    assert imported(ast.parse("def f():\n    from pickle import loads\n    import shelve")) & PICKLERS == {
        "pickle",
        "shelve",
    }
