"""The tables of a package: one file each, found by walking it."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import ModuleType

import dagster as dg

from lakehouse.engine.declare.errors import DeclarationError
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.orchestrate.table import Table


def tables_in(package: ModuleType) -> list[Table]:
    """Every table declared in a module below `package`, upstreams first."""
    found: dict[str, Table] = {}
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        for each in vars(import_module(module.name)).values():
            if isinstance(each, Table) and each.declaration.transform.__module__ == module.name:
                _refuse_twin(each, found.setdefault(each.declaration.key, each))
    return _upstreams_first(found)


def _refuse_twin(table: Table, standing: Table) -> None:
    if table is not standing:
        files = " and ".join(each.declaration.transform.__module__ for each in (standing, table))
        raise DeclarationError(f"{table.declaration.key} is declared twice, in {files}. Rename one of the functions.")


def assets_in(package: ModuleType) -> list[dg.AssetsDefinition]:
    """The tables of a package, and the plain Dagster assets that stand beside them."""
    modules = [import_module(each.name) for each in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    values = [value for module in modules for value in vars(module).values()]
    plain = [each for each in values if isinstance(each, dg.AssetsDefinition) and not isinstance(each, Table)]
    return [*tables_in(package), *{id(each): each for each in plain}.values()]


def _upstreams_first(found: dict[str, Table]) -> list[Table]:
    def depth(declared: Declaration) -> int:
        return 1 + max((depth(read.upstream) for read in declared.reads), default=0)

    return sorted(found.values(), key=lambda each: depth(each.declaration))
