"""How the tables of an environment are kept, by its file."""

from typing import Any

import dagster as dg

from lakehouse.engine.declare.upkeep import Policy


class UpkeepPolicies(dg.ConfigurableResource):
    """What `upkeep:` says, by layer or by a table's key; a table's own words go before its layer's."""

    said: dict[str, dict[str, Any]]

    def policy(self, table: str) -> Policy | None:
        """None where neither the table nor its layer is named."""
        layer = table.partition("/")[0]
        if not {layer, table} & self.said.keys():
            return None
        return Policy(**{**self.said.get(layer, {}), **self.said.get(table, {})})
