"""How large the house may grow: files that one reads in a sitting, functions that one sees at once."""

import ast
from statistics import quantiles

from lakehouse_tests.house.house import ROOT, python_files, tracked


def lines(name: str) -> int:
    return len((ROOT / name).read_text().splitlines())


def test_engine_and_resources_have_less_than_12_000_lines_that_are_not_empty():
    ours = [name for name in tracked() if name.startswith(("lakehouse/engine/", "resources/"))]
    assert 1_000 < sum(bool(line.strip()) for name in ours for line in (ROOT / name).read_text().splitlines()) < 12_000


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
