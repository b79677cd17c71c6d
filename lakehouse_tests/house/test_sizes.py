"""How large the house may grow: files that one reads in a sitting, functions that one sees at once."""

import ast
from io import StringIO
from statistics import quantiles
from tokenize import COMMENT, DEDENT, ENDMARKER, INDENT, NEWLINE, NL, generate_tokens

from lakehouse_tests.house.house import ROOT, python_files

NO_CODE = {COMMENT, DEDENT, ENDMARKER, INDENT, NEWLINE, NL}


def lines(name: str) -> int:
    return len((ROOT / name).read_text().splitlines())


def lines_of_code(name: str) -> int:
    """Without what is empty, a comment or a docstring."""
    source = (ROOT / name).read_text()
    said = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, (node.end_lineno or 0) + 1)
    }
    tokens = [each for each in generate_tokens(StringIO(source).readline) if each.type not in NO_CODE]
    return len({line for each in tokens for line in range(each.start[0], each.end[0] + 1)} - said)


def test_engine_and_resources_have_less_than_16_800_lines_of_code():
    ours = [name for name, _ in python_files("lakehouse/engine/", "resources/")]
    assert 1_000 < sum(map(lines_of_code, ours)) < 16_800


def test_no_file_of_ours_has_more_than_400_lines():
    sizes = {name: lines(name) for name, _ in python_files("lakehouse/", "resources/")}
    assert {name: size for name, size in sizes.items() if size > 400} == {}


def test_19_of_20_functions_have_at_most_35_lines():
    sizes = [
        (node.end_lineno or 0) - node.lineno + 1
        for _, tree in python_files("lakehouse/", "resources/")
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert quantiles(sizes, n=20)[-1] <= 35
