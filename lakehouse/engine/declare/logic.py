"""What a table's logic is, as a number: it changes when the meaning of its code may have changed, and only then.

Hashed is the syntax of the transform, with `conserves=` and `drops=` as they are written, and of whatever of the
project these name: functions, classes and constants, each found in the file that defines it. Then its contract and its
upstreams', its reads and its write strategy. Never the Polars plan (FACTS: `serialize` wants cloudpickle, and a set or
`now()` changes it), never where a file lies, never a library: the project is the top package of the transform.

A plain constant (text, numbers, dates, and collections of these) counts by its value, everything else by its syntax.
"""

from __future__ import annotations

import ast
import datetime as dt
import hashlib
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Any, cast

import polars as pl

from lakehouse.engine.declare.column import Column
from lakehouse.engine.declare.contract import Contract, columns_of, row_checks_of
from lakehouse.engine.declare.errors import DeclarationError
from lakehouse.engine.declare.source_code import (
    attributes_of,
    bindings,
    definition_of,
    global_names,
    imported_names,
    imports_inside,
    origin,
    says_counting,
    stars,
)

type _Named = tuple[str, list[tuple[str, ...]]]  # a name, and what is asked of it

_BITS_60 = 15  # hex digits: Delta's transaction versions are 64-bit signed integers
_ENGINE = "lakehouse.engine."
_COLLECTIONS = {list, tuple, set, frozenset, dict}
_PLAIN = {str, bytes, int, float, bool, type(None), range, Decimal, dt.date, dt.datetime, dt.time, dt.timedelta}


def fingerprint(
    transform: Callable[..., Any],
    contracts: Iterable[type[Contract]],
    *declared: object,
    counting: Iterable[pl.Expr] = (),
) -> int:
    """The logic of a table as a 60-bit integer. Raises DeclarationError where code cannot be followed.

    declared: frozen values whose `repr` says all that they mean. counting: the expressions of `conserves` and `drops`,
    needed where the transform was not decorated with them.
    """
    trail = _Trail(transform)
    trail.follow_function("transform", transform)
    for place, contract in enumerate(contracts):
        trail.parts += [f"{place}: {each}" for each in _promised(contract)]
        for rule in row_checks_of(contract):
            trail.follow_function(f"{place}: {rule.name}", rule.claim)
    if not says_counting(definition_of(cast("FunctionType", inspect.unwrap(transform)))):
        trail.parts += map(str, counting)
    text = "\n".join([*trail.parts, *map(repr, declared)])
    return int(hashlib.sha256(text.encode()).hexdigest()[:_BITS_60], 16)


def _promised(contract: type[Contract]) -> Iterator[str]:
    """A contract's columns and bounds; what words say of them is left out."""
    schema = contract.to_schema()
    for each in columns_of(contract):
        yield _column(each)
        for bound in schema.columns[each.name].checks:
            yield f"{each.name} {bound.name} {_plain(bound.statistics) or bound.statistics!r}"


def _column(column: Column) -> str:
    said = (column.name, column.dtype, column.unit, column.nullable, column.key, column.text)
    return f"{said!r}({', '.join(map(_column, column.fields))})"


class _Trail:
    """What was met on the way from one transform through the project, each thing once, in a fixed order."""

    def __init__(self, start: Callable[..., Any]) -> None:
        self.parts: list[str] = []
        self._project = start.__module__.split(".", 1)[0]
        self._met: dict[object, int] = {}

    def follow_function(self, label: str, function: Callable[..., Any]) -> None:
        """A function by its value: where it stands, what it encloses, and the defaults that it was made with."""
        found = inspect.unwrap(function)
        if not isinstance(found, FunctionType):
            raise DeclarationError(f"{label}: {function!r} is no function written with `def`; make it one.")
        if not self._is_ours(found.__module__) or self._was_met(label, found):
            return
        tree = definition_of(found)
        defaults = (found.__defaults__ or (), found.__kwdefaults__ or {})
        self.parts.append(f"{label}: defaults {_plain(defaults) or 'as written'}")
        enclosed = dict(inspect.getclosurevars(found).nonlocals)
        for name, value in sorted(enclosed.items()):
            self._follow_value(f"{label}.{name}", value)
        self._follow_syntax(label, tree, sys.modules[found.__module__], enclosed)

    def _follow_syntax(self, label: str, tree: ast.stmt, module: ModuleType, beside: Iterable[str] = ()) -> None:
        """A statement, and what it names; `beside` are names that are something else than the module's."""
        self.parts.append(f"{label}: {ast.unparse(tree)}")
        for name in global_names(tree):
            if name in vars(module) and name not in beside:
                self._follow_name(f"{label}.{name}", module, name, attributes_of(tree, name))
        for each in imports_inside(tree):
            for name in imported_names(each):
                self._follow_import(f"{label}.{name}", each, module, (name, attributes_of(tree, name)))

    def _follow_import(
        self, label: str, statement: ast.Import | ast.ImportFrom, beside: ModuleType, named: _Named
    ) -> None:
        name, asked = named
        home, there = origin(statement, name, beside.__package__)
        if not self._is_ours(home):
            return
        module = import_module(home)
        if there is None:
            self._follow_module(label, module, asked)
        elif hasattr(module, there):
            self._follow_name(label, module, there, asked)
        else:
            self._follow_module(label, import_module(f"{home}.{there}"), asked)

    def _follow_module(self, label: str, module: ModuleType, asked: list[tuple[str, ...]]) -> None:
        for name, *rest in asked:
            if self._is_ours(module.__name__) and hasattr(module, name):
                self._follow_name(f"{label}.{name}", module, name, [tuple(rest)] if rest else [])

    def _follow_name(self, label: str, module: ModuleType, name: str, asked: list[tuple[str, ...]]) -> None:
        value = getattr(module, name)
        if isinstance(value, ModuleType):
            self._follow_module(label, value, asked)
        elif (text := _plain(value)) is not None:
            self.parts.append(f"{label}: {text}")
        elif not _is_contract(value):
            self._follow_definition(label, module, (name, asked))

    def _follow_definition(self, label: str, module: ModuleType, named: _Named) -> None:
        name, _ = named
        if not self._is_ours(module.__name__) or self._was_met(label, (module.__name__, name)):
            return
        statements = bindings(module, name) or [each for each in stars(module) if self._holds(each, module, name)]
        if not statements:
            raise DeclarationError(
                f"{module.__name__}.{name}: no statement of the file says what it is, so that a change in it would go "
                "unnoticed. Write it as a `def`, a class or an assignment."
            )
        for each in statements:
            if isinstance(each, ast.Import | ast.ImportFrom):
                self._follow_import(label, each, module, named)
            else:
                self._follow_syntax(label, each, module)

    def _holds(self, star: ast.ImportFrom, beside: ModuleType, name: str) -> bool:
        return hasattr(import_module(origin(star, name, beside.__package__)[0]), name)

    def _follow_value(self, label: str, value: Any) -> None:
        """What a function encloses has no file of its own to be found in."""
        if (text := _plain(value)) is not None:
            self.parts.append(f"{label}: {text}")
        elif inspect.isfunction(value):
            self.follow_function(label, value)
        elif inspect.isclass(value):
            if not _is_contract(value) and self._is_ours(value.__module__):
                self._follow_definition(label, sys.modules[value.__module__], (value.__qualname__.split(".")[0], []))
        elif not isinstance(value, ModuleType):
            raise DeclarationError(
                f"{label}: the function encloses a {type(value).__name__}, and a change in it would go unnoticed. "
                "Make it a constant of the file, or build it inside the function."
            )

    def _is_ours(self, module: str) -> bool:
        return module.split(".", 1)[0] == self._project and not f"{module}.".startswith(_ENGINE)

    def _was_met(self, label: str, what: object) -> bool:
        """Whether it is in the parts already; then a mark of its place stands for it."""
        if (place := self._met.get(what)) is not None:
            self.parts.append(f"{label}: as {place}")
            return True
        self._met[what] = len(self._met)
        return False


def _is_contract(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, Contract)  # counts by what it declares


def _plain(value: Any) -> str | None:
    """A plain value as text, the same in every process. None for what is not plain all through."""
    kind = cast("Any", type(value))
    if kind in _PLAIN or isinstance(value, pl.DataType) or _is_dtype(value):
        return f"{kind.__name__} {value!r}"
    if kind is re.Pattern:
        return f"pattern {value.pattern!r} {value.flags}"
    if kind not in _COLLECTIONS:
        return None
    members: list[Any] = list(value.items() if kind is dict else value)
    inside = [text for each in members if (text := _plain(each)) is not None]
    if len(inside) < len(members):
        return None
    ordered = sorted(inside) if kind in {set, frozenset} else inside
    return f"{kind.__name__} [{', '.join(ordered)}]"


def _is_dtype(value: Any) -> bool:
    return inspect.isclass(value) and issubclass(value, pl.DataType)
