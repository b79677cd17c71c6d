"""The tables of a package: one file each, found by walking it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

import dagster as dg

from lakehouse.engine.declare.errors import DeclarationError
from lakehouse.engine.declare.table import AnyTable, Declaration, Plain
from lakehouse.engine.orchestrate.table import Table


def tables_in(package: ModuleType) -> list[Table]:
    """Every table declared in a module below `package`, upstreams first."""
    found: dict[str, Table] = {}
    for module in _modules(package):
        for each in vars(module).values():
            if isinstance(each, Table) and each.declaration.transform.__module__ == module.__name__:
                _refuse_twin(each, found.setdefault(each.declaration.key, each))
    return _upstreams_first(found)


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    """By file, so that a folder without `__init__.py` is no place where a table goes unseen.

    A name with a further dot is no module's: scripts for Spark are called so.
    """
    for root in map(Path, package.__path__):
        for file in sorted(root.rglob("*.py")):
            parts = file.relative_to(root).with_suffix("").parts
            if parts[-1] != "__init__" and "." not in parts[-1]:
                yield import_module(".".join([package.__name__, *parts]))


def _refuse_twin(table: Table, standing: Table) -> None:
    if table is not standing:
        files = " and ".join(each.declaration.transform.__module__ for each in (standing, table))
        raise DeclarationError(f"{table.declaration.key} is declared twice, in {files}. Rename one of the functions.")


def assets_in(package: ModuleType) -> list[dg.AssetsDefinition]:
    """The tables of a package, and the plain Dagster assets that stand beside them."""
    values = [value for module in _modules(package) for value in vars(module).values()]
    plain = [each for each in values if isinstance(each, dg.AssetsDefinition) and not isinstance(each, Table)]
    return [*tables_in(package), *{id(each): each for each in plain}.values()]


def plain_in(assets: Sequence[dg.AssetsDefinition], chosen: dg.AssetSelection | None = None) -> list[Plain]:
    """Those of a selection, all where there is none, that are no tables of ours."""
    keys = chosen.resolve(assets) if chosen else {key for each in assets for key in each.keys}
    specs = [spec for each in assets if not isinstance(each, Table) for spec in each.specs if spec.key in keys]
    return [Plain(tuple(each.key.path), partitions=each.partitions_def is not None) for each in specs]


def plain_below(declared: AnyTable, assets: Sequence[dg.AssetsDefinition]) -> list[Plain]:
    """Those that read a table, by way of others too."""
    return plain_in(assets, dg.AssetSelection.assets(dg.AssetKey(declared.path)).downstream(include_self=False))


def connections_of(tables: Sequence[Table]) -> dict[str, str]:
    """What connection the files of each table lie in, by the table's key."""
    declared = (each.declaration for each in tables)
    return {each.key: each.connection for each in declared if each.source}


def unpartitioned_in(package: ModuleType) -> dg.AssetSelection:
    """All assets of a package but those with partitions: Dagster has no job over partitions of several kinds."""
    partitioned = [key for each in assets_in(package) if each.partitions_def is not None for key in each.keys]
    return dg.AssetSelection.all() - dg.AssetSelection.assets(*partitioned)


def _upstreams_first(found: dict[str, Table]) -> list[Table]:
    def depth(declared: Declaration) -> int:
        return 1 + max((depth(read.upstream) for read in declared.reads), default=0)

    return sorted(found.values(), key=lambda each: depth(each.declaration))
