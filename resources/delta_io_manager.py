"""The IO manager: opens what is asked for, commits what it is given. It decides nothing and never looks at names."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import dagster as dg

from lakehouse.engine.declare.errors import Terminal
from lakehouse.engine.declare.place import only_read
from lakehouse.engine.declare.ports import Address, Storage
from lakehouse.engine.delta.delivery import Delivery, deliver
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.refused import told_where_refused
from resources.plain_assets import facts_of, load_plain, write_plain

PINNED = "lakehouse/pinned"
"""Metadata of an input that wants its upstream's handle (as a future) instead of its rows."""


class DeltaIOManager(dg.ConfigurableIOManager):
    """Tables of a lake, by asset key: plain Delta at `<lake>/<layer>/<table>`.

    Serves our tables, and plain assets that return or take Polars frames (`resources/plain_assets.py`).
    """

    lake: dg.ResourceDependency[Any]
    behind: dg.ResourceDependency[Any] = None  # pyright: ignore[reportAssignmentType] # Dagster takes it so
    """Another environment's lake: read where the lake itself has no table, and never written."""
    merge_memory_mb: int | None = None
    """What a merge may take of memory; half of what the process may have where it is not said."""

    def load_input(self, context: dg.InputContext) -> Any:
        """For a table of ours the future of its upstream's handle, pinned at its newest version; for others a frame."""
        storage: Storage = self.lake
        with _not_tried_again(storage):
            if context.definition_metadata.get(PINNED):
                path = context.asset_key.path
                return _opening(storage.address(*path), only_read(self.behind, *path) if self.behind else None)
            return load_plain(context, storage)

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Carry out a delivery: quarantine, then table; or store a plain asset's frame.

        Raises Failure where the delivery says that the run fails, and for what trying again will not mend.
        """
        with _not_tried_again(self.lake):
            if not isinstance(obj, Delivery):
                write_plain(context, self.lake, obj)
                return
            with told_where_refused(obj.table):
                budget = self.merge_memory_mb and self.merge_memory_mb << 20
                written = deliver(obj, budget, lambda plan: context.log.info("%s: %s", obj.table, plan))
            obj.let_go()
        context.add_output_metadata(facts_of(context, written, obj.table))
        if obj.refusal:
            raise dg.Failure(obj.refusal, allow_retries=False)


def _opening(address: Address, behind: Address | None) -> Future[Handle | None]:
    """It goes on while all else that a step reads is opened too: a store far away answers after a while."""
    pool = ThreadPoolExecutor(1)
    handle = pool.submit(lambda: Handle.open(address) or (behind and Handle.open(behind)))
    pool.shutdown(wait=False)
    return handle


@contextmanager
def _not_tried_again(lake: Storage) -> Iterator[None]:
    """What is transient stays an exception, which a retry policy repeats; what is not becomes a Failure."""
    try:
        with told_where_refused(lake.address()):
            yield
    except Terminal as error:
        raise dg.Failure(str(error), allow_retries=False) from error
