"""The project as a command finds it, and where it prints. What is heavy is imported when it is asked for."""

from __future__ import annotations

import sys
from functools import cached_property
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    import dagster as dg

    from lakehouse.engine.declare.place import Place
    from lakehouse.engine.orchestrate.remembered import Remembered
    from lakehouse.engine.orchestrate.table import Table

__all__ = ["Lakehouse", "out", "told"]

# what is not a terminal has no width to fit: a row stays on one line, and no value is cut
out = Console(highlight=False, width=None if sys.stdout.isatty() else 1_000_000)
told = Console(stderr=True, highlight=False)


class Lakehouse:
    """The project in the environment that LAKEHOUSE_ENVIRONMENT names, each part opened when it is asked for."""

    @cached_property
    def definitions(self) -> dg.Definitions:
        from lakehouse.definitions import lakehouse

        return lakehouse()

    @cached_property
    def assets(self) -> list[dg.AssetsDefinition]:
        from lakehouse import tables
        from lakehouse.engine.orchestrate.load import assets_in

        return assets_in(tables)

    @cached_property
    def tables(self) -> list[Table]:
        from lakehouse.engine.orchestrate.table import Table

        return [each for each in self.assets if isinstance(each, Table)]

    @cached_property
    def left_out(self) -> dict[str, str]:
        """The tables that cannot be made here, by key, each with the sentence that says why."""
        from lakehouse.engine.orchestrate.run import left_out
        from resources.environment import cluster, load_environment

        return left_out(self.tables, cluster(load_environment()))

    @property
    def made_here(self) -> list[Table]:
        return [each for each in self.tables if each.declaration.key not in self.left_out]

    @property
    def plain(self) -> dict[tuple[str, ...], str]:
        """The keys of the plain assets that stand beside the tables, each with the command that materializes it."""
        from lakehouse.engine.orchestrate.rebuild import launch
        from lakehouse.engine.orchestrate.table import Table

        return {
            tuple(spec.key.path): launch(spec.key.to_user_string(), is_partitioned=spec.partitions_def is not None)
            for each in self.assets
            if not isinstance(each, Table)
            for spec in each.specs
        }

    @cached_property
    def place(self) -> Place:
        from lakehouse.engine.declare.place import Place
        from resources.environment import load_environment, storages

        landing, lake = storages(load_environment())
        return Place(lake=lake, landing=landing)

    @cached_property
    def remembered(self) -> Remembered:
        from lakehouse.engine.orchestrate.remembered import Remembered
        from resources.dagster_home import not_due

        return Remembered(self.place, not_due())

    @cached_property
    def instance(self) -> dg.DagsterInstance:
        from lakehouse.engine.orchestrate.launcher import end_lost_runs
        from resources.dagster_home import open_instance

        instance = open_instance()
        end_lost_runs(instance)
        return instance
