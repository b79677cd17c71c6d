"""The IO manager: opens what is asked for, commits what it is given. It decides nothing and never looks at names."""

from typing import Any

import dagster as dg

from lakehouse.engine.declare.errors import Terminal
from lakehouse.engine.declare.ports import Storage
from lakehouse.engine.delta.delivery import Delivery, deliver
from lakehouse.engine.delta.handle import Handle


class DeltaIOManager(dg.ConfigurableIOManager):
    """Tables of a lake, by asset key: plain Delta at `<lake>/<layer>/<table>`."""

    lake: dg.ResourceDependency[Any]

    def load_input(self, context: dg.InputContext) -> Any:
        """For a table of ours the upstream's handle, pinned at its newest version, or None; for others a frame."""
        storage: Storage = self.lake
        address = storage.address(*context.asset_key.path)
        return Handle.open(address)

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Carry out a delivery: quarantine, then table. Raises Failure where the delivery says that the run fails."""
        if not isinstance(obj, Delivery):
            raise TypeError("plain frames come with plain assets")
        try:
            written = deliver(obj)
        except Terminal as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        context.add_output_metadata(
            {
                "dagster/row_count": written.rows,
                "dagster/uri": str(obj.table),
                "delta/version": written.version,
                "delta/bytes": written.bytes,
                "delta/files_added": written.files_added,
                "delta/files_removed": written.files_removed,
                "rows_written": written.rows_written,
            }
        )
        if obj.refusal:
            raise dg.Failure(obj.refusal, allow_retries=False)
