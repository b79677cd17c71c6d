"""For how long a table keeps what it was: one number of hours, in the table's own properties.

It is the window in which any version can be read and restored. Vacuum, the cleaning of the log, and other engines keep
to it: it is what Delta calls `deletedFileRetentionDuration` and `logRetentionDuration`.
"""

from __future__ import annotations

import re

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.log import UPKEEP, last_note

LEAST_HOURS = 168
"""A week. Vacuum with less breaks readers and writers that are running."""
USUAL_HOURS = 720
_FILES, _LOG = "delta.deletedFileRetentionDuration", "delta.logRetentionDuration"
_BY_POLICY = "lakehouse.retentionHours"
"""The property that says which promise is of a policy; no other engine looks at it."""
_HOUR = 3_600_000_000
_MICROSECONDS = {
    "microsecond": 1, "millisecond": 1_000, "second": 1_000_000, "minute": 60_000_000,
    "hour": _HOUR, "day": 24 * _HOUR, "week": 168 * _HOUR,
}  # fmt: skip


def hours_of(handle: Handle) -> int | None:
    """What the table promises: the lesser of its two properties; None where it has neither, or in no unit of ours."""
    return min(_all_hours(handle), default=None)


def agreed(name: str, handle: Handle, hours: int) -> tuple[int, str]:
    """What the table is to promise where its policy says `hours`, and what is to be said where it promises more.

    What a policy has set is lowered by it. What anybody else has set is kept: they may count on it. Raises as
    `refuse_unclear`.
    """
    refuse_unclear(handle)
    if (stands := max(_all_hours(handle), default=0)) <= hours:
        return hours, ""
    if configuration_of(handle).get(_BY_POLICY) == str(stands):
        return hours, f"lowered from {stands} to {hours} hours, as `upkeep:` says now"
    return stands, (
        f"kept at {stands} hours, which were not set by `upkeep:`; it says {hours}. To keep so long, say there "
        f"retention_hours: {stands}; to keep {hours} from now on: lakehouse table vacuum {name} --override-retention"
    )


def promise(handle: Handle, hours: int, policy: int | None = None) -> Handle:
    """The table with this promise; a version of its own where it had another. Raises Conflict.

    policy: what its policy says, where that is another number.
    """
    if _all_hours(handle) == [hours, hours]:
        return handle
    said = {_FILES: f"interval {hours} hours", _LOG: f"interval {hours} hours", _BY_POLICY: str(policy or hours)}
    note = {**last_note(handle.address, handle.version), UPKEEP: f"promises to keep {hours} hours"}
    metadata = {**handle.standing.metadata, "configuration": {**configuration_of(handle), **said}}
    return handle.commit([], [], {}, note, rearranges=True, asks=lambda _, __: (None, metadata))


def refuse_unclear(handle: Handle) -> None:
    """Refuse where a property promises what is not understood here: what it keeps could go."""
    for name, said in configuration_of(handle).items():
        if name in (_FILES, _LOG) and _hours(said) is None:
            raise Refused(
                f"{handle.address} promises to keep {said!r} ({name}), which is not understood here. Nothing was "
                "removed. Have it say hours, days or weeks (interval 720 hours); or, where nobody counts on it: "
                "lakehouse table vacuum with --override-retention"
            )


def configuration_of(handle: Handle) -> dict[str, str]:
    """The table's own properties."""
    return handle._table.metadata().configuration  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def _all_hours(handle: Handle) -> list[int]:
    configuration = configuration_of(handle)
    found = [_hours(configuration[name]) for name in (_FILES, _LOG) if name in configuration]
    return [each for each in found if each is not None]


def _hours(said: str) -> int | None:
    """As Spark reads an interval (without months and years, which Delta forbids here), up to whole hours."""
    text = said.strip().lower().removeprefix("interval ")
    part = rf"\s*(\d+)\s+({'|'.join(_MICROSECONDS)})s?"
    if not re.fullmatch(rf"{part}(?:\s{part})*", text):
        return None
    return -(-sum(int(count) * _MICROSECONDS[unit] for count, unit in re.findall(part, text)) // _HOUR)
