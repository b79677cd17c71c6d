"""The tables of a package: one file each, found by walking it."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import ModuleType

from lakehouse.engine.orchestrate.table import Table


def tables_in(package: ModuleType) -> list[Table]:
    """Every table declared in a module below `package`, upstreams first."""
    found: dict[str, Table] = {}
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        for each in vars(import_module(module.name)).values():
            if isinstance(each, Table) and each.declaration.transform.__module__ == module.name:
                found[each.declaration.key] = each
    return _upstreams_first(found)


def _upstreams_first(found: dict[str, Table]) -> list[Table]:
    ordered: dict[str, Table] = {}

    def visit(table: Table) -> None:
        for read in table.declaration.reads:
            if read.upstream.key in found:
                visit(found[read.upstream.key])
        ordered.setdefault(table.declaration.key, table)

    for each in found.values():
        visit(each)
    return list(ordered.values())
