"""What a table's logic is, as a number: it changes when the meaning of its code may have changed, and only then.

Hashed is the syntax tree, without docstrings, of the transform and of the project functions, classes and constants it
names, of its contract and its upstreams', and of its write strategy; never the Polars plan (FACTS: `serialize` wants
cloudpickle, and a set or `now()` changes it).
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import textwrap
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from lakehouse.engine.declare.contract import Contract, columns_of, row_checks_of

_BITS_60 = 15  # hex digits: Delta's transaction versions are 64-bit signed integers
_ENGINE = "lakehouse.engine"


def fingerprint(transform: Callable[..., Any], contracts: Iterable[type[Contract]], *declared: object) -> int:
    """The logic of a table as a 60-bit integer."""
    seen: dict[str, str] = {}
    _collect(transform, seen)
    parts = [f"{name}={text}" for name, text in sorted(seen.items())]
    parts += [text for contract in contracts for text in _contract_parts(contract)]
    parts += [repr(each) for each in declared]
    return int(hashlib.sha256("\n".join(parts).encode()).hexdigest()[:_BITS_60], 16)


def _contract_parts(contract: type[Contract]) -> Iterator[str]:
    schema = contract.to_schema()
    for each in columns_of(contract):
        checks = [f"{check.name}{sorted((check.statistics or {}).items())}" for check in schema.columns[each.name].checks]
        fields = [(field.name, str(field.dtype), field.nullable, field.text) for field in each.fields]
        yield repr((each.name, str(each.dtype), each.nullable, each.key, each.text, fields, checks))
    for rule in row_checks_of(contract):
        seen: dict[str, str] = {}
        _collect(rule.claim, seen)
        yield repr((rule.name, sorted(seen.items())))


def _collect(thing: Any, seen: dict[str, str]) -> None:
    name = f"{thing.__module__}.{thing.__qualname__}"
    if name in seen:
        return
    tree = _syntax(thing)
    seen[name] = ast.dump(tree)
    namespace = getattr(thing, "__globals__", None) or vars(inspect.getmodule(thing))
    for label, value in _named(tree, {**namespace, **_closure(thing)}):
        if _is_project_code(value, thing):
            _collect(value, seen)
        elif _is_constant(value):
            seen[label] = repr(sorted(value, key=repr) if isinstance(value, frozenset | set) else value)


def _syntax(thing: Any) -> ast.Module:
    tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            node.decorator_list = []
            body = node.body
            if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
                node.body = body[1:] or [ast.Pass()]
    return tree


def _closure(thing: Any) -> dict[str, Any]:
    return dict(inspect.getclosurevars(thing).nonlocals) if inspect.isfunction(thing) else {}


def _named(tree: ast.Module, namespace: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in namespace:
            yield node.id, namespace[node.id]
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = namespace.get(node.value.id)
            if isinstance(module, types.ModuleType) and hasattr(module, node.attr):
                yield f"{module.__name__}.{node.attr}", getattr(module, node.attr)


def _is_project_code(value: Any, beside: Any) -> bool:
    if not inspect.isfunction(value) and not inspect.isclass(value):
        return False
    if inspect.isclass(value) and issubclass(value, Contract):
        return False  # contracts are hashed by what they declare
    module = value.__module__ or ""
    return module.split(".")[0] == beside.__module__.split(".")[0] and not module.startswith(_ENGINE)


def _is_constant(value: Any) -> bool:
    import polars as pl

    plain = str | bytes | int | float | bool | tuple | frozenset | set | list | dict | type(None)
    return isinstance(value, plain | pl.Expr | pl.DataType) or type(value).__module__ in {"decimal", "datetime"}
