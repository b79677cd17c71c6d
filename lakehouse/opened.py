"""The project as a command finds it, and where it prints. What is heavy is imported when it is asked for."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.segment import Segment

if TYPE_CHECKING:
    import dagster as dg

    from lakehouse.engine.declare.place import Place
    from lakehouse.engine.declare.ports import Switch
    from lakehouse.engine.declare.table import AnyTable, Declaration
    from lakehouse.engine.delta.handle import Handle
    from lakehouse.engine.orchestrate.remembered import Remembered
    from lakehouse.engine.orchestrate.table import Table
    from resources.environment import Environment

__all__ = ["Lakehouse", "out", "told"]

_OBEYED = [*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_SPELLED = {sign: chr(sign).encode("unicode_escape").decode() for sign in _OBEYED if chr(sign) not in "\n\t"}


class _Seen(RenderHook):
    """A terminal obeys control characters, also those in a file's name: what is printed is spelled instead."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Spelled(each) for each in renderables]


@dataclass(frozen=True)
class _Spelled:
    what: ConsoleRenderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for each in console.render(self.what, options):
            yield each if each.control else Segment(each.text.translate(_SPELLED), each.style)


# what is not a terminal has no width to fit: a row stays on one line, and no value is cut
out = Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else 1_000_000)
told = Console(stderr=True, highlight=False, emoji=False)
for _console in (out, told):
    _console.push_render_hook(_Seen())


_SWITCHED = {
    "off": "{0} is switched off here (`sources:` of the environment): what lands for it stays where it is.",
    "shadow": "{0} is in shadow here (`sources:` of the environment): it takes what lands at shadow/{0}, and nothing "
    "reads that.",
}


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
        from lakehouse.engine.orchestrate.here import left_out
        from resources.environment import cluster

        said = {key: _SWITCHED[switch].format(key) for key, switch in self.switched.items()}
        return left_out(self.tables, cluster(self.environment)) | said

    @cached_property
    def environment(self) -> Environment:
        from resources.environment import load_environment

        return load_environment()

    @cached_property
    def switched(self) -> dict[str, Switch]:
        """The tables that do not simply take what lands, by key."""
        declared = [each.declaration for each in self.tables]
        return {each.key: switch for each in declared if (switch := self.place.switch(each)) != "on"}

    @cached_property
    def apart(self) -> dict[str, str]:
        """The tables that this environment does not simply make, by key, each in two words."""
        said = {key: "in shadow" if switch == "shadow" else switch for key, switch in self.switched.items()}
        return said | dict.fromkeys(self.read_elsewhere, f"read from {self.environment.reads_from}")

    @cached_property
    def read_elsewhere(self) -> list[str]:
        """The keys of the tables that this environment does not have and reads from another."""
        from lakehouse.engine.orchestrate.here import unmade

        return unmade(self.tables, self.place) if self.place.behind else []

    @property
    def made_here(self) -> list[Table]:
        elsewhere = {*self.left_out, *self.read_elsewhere}
        return [each for each in self.tables if each.declaration.key not in elsewhere]

    @property
    def in_shadow(self) -> list[Table]:
        return [each for each in self.tables if self.switched.get(each.declaration.key) == "shadow"]

    @property
    def plain(self) -> dict[tuple[str, ...], str]:
        """The keys of the plain assets that stand beside the tables, each with the command that materializes it."""
        from lakehouse.engine.orchestrate.load import plain_in

        return {each.path: each.made_by for each in plain_in(self.assets)}

    def named(self, key: str) -> AnyTable:
        """What is known of a table, or of a plain asset's."""
        from lakehouse.engine.orchestrate.rebuild import stored_as

        return stored_as(self.assets, key)

    def standing(self, key: str) -> tuple[Declaration | None, Handle]:
        """A table as it is read here; a plain asset has no declaration. Refused where it was not written yet."""
        from lakehouse.engine.declare.errors import Refused
        from lakehouse.engine.declare.table import Plain
        from lakehouse.engine.delta.handle import Handle
        from lakehouse.engine.orchestrate.versions import standing

        declared = self.named(key)
        if not isinstance(declared, Plain):
            return declared, standing(declared, self.place)
        handle = Handle.open(self.place.table(declared))
        if handle is None:
            raise Refused(f"{key} was not written yet. Next: {declared.made_by}")
        return None, handle

    @cached_property
    def place(self) -> Place:
        from lakehouse.engine.declare.place import Place
        from lakehouse.engine.orchestrate.load import connections_of
        from resources.environment import lake_behind, storages

        found = storages(self.environment, connections_of(self.tables))
        behind = lake_behind(self.environment)
        for each in [*found.values(), *([behind] if behind else [])]:
            each.begin()
        return Place(found["lake"], found["landing"], found, behind=behind)

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
