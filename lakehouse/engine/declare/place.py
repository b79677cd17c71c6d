"""Where one environment keeps its tables, by their declaration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lakehouse.engine.declare.ports import Address, Storage
from lakehouse.engine.declare.table import Declaration


@dataclass(frozen=True)
class Place:
    """A lake, and the landing that its files come from; `beside` it other connections, by name."""

    lake: Storage
    landing: Storage
    beside: Mapping[str, Storage] = field(default_factory=dict[str, Storage])

    def landing_of(self, declared: Declaration) -> Storage:
        return self.beside.get(declared.connection, self.landing)

    def table(self, declared: Declaration) -> Address:
        return self.lake.address(declared.layer, declared.name)

    def quarantine(self, declared: Declaration) -> Address:
        return self.lake.address("quarantine", declared.layer, declared.name)

    def ledger(self, declared: Declaration) -> Address:
        return self.lake.address("ledger", declared.layer, declared.name)
