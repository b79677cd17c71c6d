"""Where one environment keeps its tables, by their declaration."""

from __future__ import annotations

from dataclasses import dataclass

from lakehouse.engine.declare.ports import Address, Storage
from lakehouse.engine.declare.table import Declaration


@dataclass(frozen=True)
class Place:
    """A lake, and the landing that its files come from."""

    lake: Storage
    landing: Storage

    def table(self, declared: Declaration) -> Address:
        return self.lake.address(declared.layer, declared.name)

    def quarantine(self, declared: Declaration) -> Address:
        return self.lake.address("quarantine", declared.layer, declared.name)

    def ledger(self, declared: Declaration) -> Address:
        return self.lake.address("ledger", declared.layer, declared.name)
