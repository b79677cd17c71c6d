"""Where one environment keeps its tables, by their declaration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lakehouse.engine.declare.ports import Address, Storage, Switch
from lakehouse.engine.declare.table import AnyTable, Declaration

SHADOW = ("shadow",)


def only_read(lake: Storage, *path: str) -> Address:
    return replace(lake.address(*path), only_read=True)


@dataclass(frozen=True)
class Place:
    """A lake, and the landing that its files come from; `beside` it other connections, by name."""

    lake: Storage
    landing: Storage
    beside: Mapping[str, Storage] = field(default_factory=dict[str, Storage])
    within: tuple[str, ...] = ()
    """The folder of the lake that its tables are in."""
    behind: Storage | None = None
    """Another environment's lake: read where its own has no table, and never written."""
    memory: int | None = None
    """Bytes that a merge, or what makes versions, may take; half of what the process may have where it is not said."""

    @property
    def shadow(self) -> Place:
        """Where a table in shadow takes what lands, with a ledger and a quarantine of its own."""
        return replace(self, within=SHADOW)

    def taking(self, declared: Declaration) -> Place:
        """Where a table takes what lands: here, or in shadow."""
        return self.shadow if self.switch(declared) == "shadow" else self

    def landing_of(self, declared: Declaration) -> Storage:
        return self.beside.get(declared.connection, self.landing)

    def switch(self, declared: Declaration) -> Switch:
        return self.landing_of(declared).switch(declared.key) if declared.is_bronze else "on"

    def behind_of(self, declared: Declaration) -> Address | None:
        """Where a table is read that is not in the lake itself."""
        return only_read(self.behind, declared.layer, declared.name) if self.behind else None

    def table(self, declared: AnyTable) -> Address:
        return self.lake.address(*self.within, *declared.path)

    def quarantine(self, declared: Declaration) -> Address:
        return self.lake.address(*self.within, "quarantine", declared.layer, declared.name)

    def ledger(self, declared: Declaration) -> Address:
        return self.lake.address(*self.within, "ledger", declared.layer, declared.name)

    def ledger_beside(self, table: Address, declared: Declaration) -> Address:
        """The ledger of a table as it was opened: in this lake, or in another environment's that is read."""
        return _beside(table, declared, "ledger") if table.only_read else self.ledger(declared)

    def quarantine_beside(self, table: Address, declared: Declaration) -> Address:
        return _beside(table, declared, "quarantine") if table.only_read else self.quarantine(declared)


def _beside(table: Address, declared: Declaration, kind: str) -> Address:
    lake = replace(table, uri=table.uri.removesuffix(f"{declared.layer}/{declared.name}"))
    return lake / kind / declared.layer / declared.name
