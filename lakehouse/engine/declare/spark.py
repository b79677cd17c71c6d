"""The place of work of a table that outgrows one machine: a script for Spark, beside the table's file."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, cast

from lakehouse.engine.declare.errors import DeclarationError
from lakehouse.engine.declare.source_code import definition_of, parsed
from lakehouse.engine.declare.write import Overwrite, Reading

if TYPE_CHECKING:
    from lakehouse.engine.declare.table import Declaration

ENDING = ".spark.py"
"""No `import` can say such a name, so that nothing loads the script (and with it Spark) but Spark itself."""


@dataclass(frozen=True)
class Spark:
    """Rows come from `script`, beside the table's file, on whatever Spark the environment names.

    The script is handed, through Dagster Pipes, the upstreams' Delta tables at their versions, by parameter, and the
    place of a Delta table that it makes. It knows nothing of this project; what it leaves is judged like any rows.
    """

    script: str


def script_of(declared: Declaration) -> Path:
    """The script's file. Raises DeclarationError where there is none."""
    if declared.runs_on is None:
        raise DeclarationError(f"{declared.key} does not run on Spark.")
    folder = Path(inspect.getfile(inspect.unwrap(declared.transform))).parent
    file = folder / declared.runs_on.script
    if not file.is_file():
        there = [each.name for each in folder.glob(f"*{ENDING}")]
        near = get_close_matches(file.name, there, n=1, cutoff=0)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise DeclarationError(f"{declared.key}: its script {file.name} is not in {folder}{hint}")
    return file


def meaning_of(declared: Declaration) -> str:
    """The script's code without comments and docstrings: a part of the table's logic."""
    first, *rest = _syntax(declared).body or [ast.Pass()]
    says = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return ast.unparse(ast.Module(rest if says else [first, *rest], []))


def faults(declared: Declaration) -> Iterator[str]:
    """What a table that runs on Spark may not say."""
    if declared.runs_on is None:
        return
    name = declared.runs_on.script
    if not name.endswith(ENDING) or "/" in name:
        yield f"Spark({name!r}): a script lies beside the table's file and is called something{ENDING}."
    if declared.source is not None:
        yield "files are landed here, not on Spark; leave runs_on=… to a table that reads this one."
    if not isinstance(declared.write, Overwrite):
        written = type(declared.write).__name__
        yield f"what a script leaves is the whole table, so that {written}() is not for it; write=Overwrite()."
    if declared.partitions is not None:
        yield "a script makes the whole table, and partitions_def= asks for parts of it; leave it out."
    for read in declared.reads:
        if read.reading is not Reading.FRAME or read.upstream.is_bronze:
            yield (
                f"a script reads typed tables, whole: {read.parameter} must be Frame[…] of a silver or a gold table, "
                f"and is {read.reading.value}[{read.upstream.contract.__name__}]."
            )
    if not _is_empty(definition_of(cast("FunctionType", inspect.unwrap(declared.transform)))):
        yield f"its rows come from {name}, and its function would never be called; let its body be `...`."
    if ours := _imports(_syntax(declared)) & {declared.transform.__module__.split(".", 1)[0]}:
        yield f"{name} imports {', '.join(ours)}, which is not there where it runs; write what it needs into it."


def _syntax(declared: Declaration) -> ast.Module:
    file = script_of(declared)
    try:
        return parsed(file.read_text(encoding="utf-8"))
    except SyntaxError as broken:
        raise DeclarationError(f"{declared.key}: {file}, line {broken.lineno}: {broken.msg}.") from broken


def _is_empty(definition: ast.stmt) -> bool:
    body = definition.body if isinstance(definition, ast.FunctionDef) else []
    return [ast.unparse(each) for each in body] in (["..."], ["pass"])


def _imports(tree: ast.Module) -> set[str]:
    found = {each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names}
    found |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {each.split(".", 1)[0] for each in found}
