"""For how long a table keeps what it was: one number of hours, in the table's own properties.

It is the window in which any version can be read and restored. Vacuum, the cleaning of the log, and other engines keep
to it: it is what Delta calls `deletedFileRetentionDuration` and `logRetentionDuration`.
"""

from __future__ import annotations

import re

from deltalake import CommitProperties
from deltalake.exceptions import DeltaError

from lakehouse.engine.declare.errors import Conflict
from lakehouse.engine.delta import known
from lakehouse.engine.delta.commit import NO_HOOKS, let_in
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.log import UPKEEP, last_note
from lakehouse.engine.delta.place import log_file, make_durable
from lakehouse.engine.delta.refused import in_words, raise_where_refused

LEAST_HOURS = 168
"""A week. Vacuum with less breaks readers and writers that are running."""
USUAL_HOURS = 720
_FILES, _LOG = "delta.deletedFileRetentionDuration", "delta.logRetentionDuration"
_HOURS = {"hour": 1, "day": 24, "week": 168}


def hours_of(handle: Handle) -> int | None:
    """What the table promises: the lesser of its two properties; None where it has neither, or in no unit of ours."""
    configuration = configuration_of(handle)
    found = [_hours(configuration[name]) for name in (_FILES, _LOG) if name in configuration]
    return min((each for each in found if each is not None), default=None)


def promise(handle: Handle, hours: int) -> Handle:
    """The table with this promise; a version of its own where it had another. Raises Conflict."""
    said = {_FILES: f"interval {hours} hours", _LOG: f"interval {hours} hours"}
    if said.items() <= configuration_of(handle).items():
        return handle
    handle.address.refuse_a_write()
    note = {**last_note(handle.address, handle.version), UPKEEP: f"promises to keep {hours} hours"}
    try:
        let_in(handle.address, handle._table).alter.set_table_properties(  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            said,
            raise_if_not_exists=False,
            commit_properties=CommitProperties(custom_metadata=note, max_commit_retries=0),
            post_commithook_properties=NO_HOOKS,
        )
    except (DeltaError, OSError) as error:
        raise_where_refused(handle.address, error)
        raise Conflict(f"{handle.address}: its retention was not set: {in_words(error)}. Run again.") from error
    finally:
        known.forget(handle.address)
    if handle.address.is_local:
        make_durable([log_file(handle.address, handle.version + 1)])
    return Handle.open(handle.address) or handle


def configuration_of(handle: Handle) -> dict[str, str]:
    """The table's own properties."""
    return handle._table.metadata().configuration  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def _hours(said: str) -> int | None:
    found = re.fullmatch(r"(?:interval )?(\d+) (hour|day|week)s?", said.strip().lower())
    return int(found[1]) * _HOURS[found[2]] if found else None
