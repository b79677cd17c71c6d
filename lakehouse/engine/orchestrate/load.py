"""The tables of a package: one file each, found by walking it."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import ModuleType

from lakehouse.engine.declare.table import Declaration
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
    def depth(declared: Declaration) -> int:
        return 1 + max((depth(read.upstream) for read in declared.reads), default=0)

    return sorted(found.values(), key=lambda each: depth(each.declaration))
