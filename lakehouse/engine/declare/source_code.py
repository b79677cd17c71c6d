"""The syntax of code, found in the file that defines it, without what means nothing: docstrings, comments, annotations.

Of a table's decorator only `conserves=` and `drops=` are left; the rest is not in the transform.
"""

from __future__ import annotations

import ast
import inspect
import symtable
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from importlib.util import resolve_name
from types import FunctionType, ModuleType

from lakehouse.engine.declare.errors import DeclarationError

type Definition = ast.FunctionDef | ast.AsyncFunctionDef
_DEFINITION = (ast.FunctionDef, ast.AsyncFunctionDef)
_COUNTING = {"conserves", "drops"}
_TABLE = "table"


def definition_of(function: FunctionType) -> ast.stmt:
    """The `def` of a function, nested or not. Raises DeclarationError for what no file holds: exec, eval, lambda."""
    module, first = sys.modules.get(function.__module__), function.__code__.co_firstlineno
    if module is not None and function.__code__.co_filename == getattr(module, "__file__", None):
        for node in ast.walk(syntax_of(module)):
            if isinstance(node, _DEFINITION) and node.name == function.__code__.co_name and _first_line(node) == first:
                return node
    raise DeclarationError(
        f"{function.__module__}.{function.__qualname__}: its source cannot be found, so that a change in it would go "
        "unnoticed. Write it as a `def` in a file; if it is one, the file changed after it was loaded: load it again."
    )


def syntax_of(module: ModuleType) -> ast.Module:
    """The whole file of a module. Raises DeclarationError where there is none."""
    try:
        return parsed(inspect.getsource(module))
    except (OSError, TypeError) as gone:
        raise DeclarationError(
            f"{module.__name__}: its source cannot be found, so that a change in it would go unnoticed."
        ) from gone


def global_names(tree: ast.stmt) -> list[str]:
    """The names that a statement takes from its module, in order."""
    found: set[str] = set()
    tables = [symtable.symtable(ast.unparse(tree), "one statement", "exec")]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        found |= {each.get_name() for each in table.get_symbols() if each.is_global() and each.is_referenced()}
    return sorted(found)


def attributes_of(tree: ast.stmt, root: str) -> list[tuple[str, ...]]:
    """What is asked of the name `root`: `rules.money.rounded` gives ("money", "rounded") and ("money",)."""
    found: set[tuple[str, ...]] = set()
    for node in ast.walk(tree):
        chain, inner = (), node
        while isinstance(inner, ast.Attribute):
            chain, inner = (inner.attr, *chain), inner.value
        if chain and isinstance(inner, ast.Name) and inner.id == root:
            found.add(chain)
    return sorted(found)


def bindings(module: ModuleType, name: str) -> list[ast.stmt]:
    """The statements of a module's file that give `name` a value, in order, but for those inside functions."""
    return [each for each in _statements(syntax_of(module).body) if name in _bound(each)]


def stars(module: ModuleType) -> list[ast.ImportFrom]:
    """The `from … import *` of a module's file."""
    found = (each for each in _statements(syntax_of(module).body) if isinstance(each, ast.ImportFrom))
    return [each for each in found if each.names[0].name == "*"]


def imports_inside(tree: ast.stmt) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports that a function makes when it runs."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom))


def imported_names(statement: ast.Import | ast.ImportFrom) -> list[str]:
    """The names that an import binds: `import a.b` binds a."""
    return [each.asname or each.name.split(".", 1)[0] for each in statement.names]


def origin(statement: ast.Import | ast.ImportFrom, name: str, package: str | None) -> tuple[str, str | None]:
    """Where an import takes `name` from: a module and the name there, or None for the module itself."""
    if isinstance(statement, ast.ImportFrom):
        home = resolve_name("." * statement.level + (statement.module or ""), package)
        return home, next((each.name for each in statement.names if name == (each.asname or each.name)), name)
    return next(each.name for each in statement.names if each.asname == name) if _renamed(
        statement, name
    ) else name, None


def _renamed(statement: ast.Import, name: str) -> bool:
    return any(each.asname == name for each in statement.names)


@lru_cache(maxsize=256)
def parsed(source: str) -> ast.Module:
    return ast.fix_missing_locations(_Meaning().visit(ast.parse(source)))


class _Meaning(ast.NodeTransformer):
    """Leaves out what a run of the code would not tell apart."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.body = _without_docstring(node.body)
        return self.generic_visit(node)

    def _function(self, node: Definition) -> ast.AST:
        node.body = [_without_annotation(each) for each in _without_docstring(node.body)]
        node.returns, node.type_params = None, []
        node.decorator_list = [_counting(each) for each in node.decorator_list]
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node


def says_counting(tree: ast.stmt) -> bool:
    """Whether the table's decorator stands above a `def`, with all that it says of counting."""
    if not isinstance(tree, _DEFINITION):
        return False
    called = (each.func for each in tree.decorator_list if isinstance(each, ast.Call))
    return any(isinstance(each, ast.Name) and each.id == _TABLE for each in called)


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        return body[1:] or [ast.Pass()]
    return body


def _without_annotation(statement: ast.stmt) -> ast.stmt:
    if not isinstance(statement, ast.AnnAssign):
        return statement
    return ast.Assign([statement.target], statement.value) if statement.value else ast.Pass()


def _counting(decorator: ast.expr) -> ast.expr:
    if isinstance(decorator, ast.Call) and any(each.arg == "write" for each in decorator.keywords):
        counting = [each for each in decorator.keywords if each.arg in _COUNTING]
        return ast.copy_location(ast.Call(ast.Name(_TABLE, ast.Load()), [], counting), decorator)
    return decorator


def _first_line(node: Definition) -> int:
    return min(each.lineno for each in (*node.decorator_list, node))


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    for each in body:
        yield each
        if not isinstance(each, (*_DEFINITION, ast.ClassDef)):
            for part in ("body", "orelse", "finalbody", "handlers"):
                yield from _statements(getattr(each, part, ()))


def _bound(statement: ast.stmt) -> set[str]:
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return {statement.name}
        case ast.Import() | ast.ImportFrom():
            return set(imported_names(statement))
        case ast.Assign():
            return _stored(statement.targets)
        case ast.AnnAssign() | ast.AugAssign() | ast.For():
            return _stored([statement.target])
        case ast.With():
            return _stored(each.optional_vars for each in statement.items if each.optional_vars)
        case _:
            return set()


def _stored(targets: Iterable[ast.expr]) -> set[str]:
    names = (node for target in targets for node in ast.walk(target))
    return {node.id for node in names if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
