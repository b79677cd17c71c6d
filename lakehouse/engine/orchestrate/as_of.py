"""A table that is made of what stood upstream at a version or a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from lakehouse.engine.declare.errors import WrongUsage
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.travel import as_it_stood
from lakehouse.engine.orchestrate.work import Work

NOW: Mapping[str, str] = MappingProxyType({})
"""As of when upstreams are read where nothing is said."""


def as_they_stood(
    upstreams: Mapping[str, Handle | None], as_of: Mapping[str, str], reader: str
) -> Mapping[str, Handle | None]:
    """What a table reads, by key; what `as_of` names as it stood at that version or time. Refused for other keys."""
    if strangers := [key for key in as_of if key not in upstreams]:
        raise WrongUsage(
            f"{reader} does not read {strangers[0]}, so it cannot be made as of {as_of[strangers[0]]} of it. It reads "
            f"{', '.join(upstreams) or 'no table'}."
        )
    then = {key: handle and as_it_stood(handle, as_of[key]) for key in as_of for handle in [upstreams[key]]}
    return {**upstreams, **then} if as_of else upstreams


def marked(work: Work, as_of: Mapping[str, str]) -> Work:
    """Work that says, in its facts and with its commit, as of when its upstreams were read."""
    said = ", ".join(f"{key} as of {then}" for key, then in as_of.items())
    delivery = work.delivery and replace(work.delivery, note={**work.delivery.note, "reads": said})
    return replace(work, delivery=delivery, facts={**work.facts, "as_of": said}) if as_of else work
