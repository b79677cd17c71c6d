"""Batches of a bronze table that are taken back: its ledger at an earlier batch, and the files that land once more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import polars as pl

from lakehouse.engine.declare.errors import FileGone, LeadsOut, Refused
from lakehouse.engine.declare.place import Place
from lakehouse.engine.declare.ports import Address, Found
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.log import Commit, Past
from lakehouse.engine.delta.restore import Restore, prepare_restore
from lakehouse.engine.delta.travel import at_version
from lakehouse.engine.ingest.ledger import ACCEPTED, BACK, BACK_TO, LISTED, PLAN, READ, Ledger
from lakehouse.engine.ingest.reader import sha256_of


@dataclass(frozen=True)
class Rewind:
    """A ledger put back to what it said at a version of its bronze table.

    lands: the files that count as new again. gone: of these, the ones whose content no longer lies there.
    """

    restore: Restore
    table_version: int
    lands: tuple[str, ...]
    gone: tuple[str, ...]

    def commit(self) -> None:
        """To be done before the table is: until both are, no run takes a file. Raises Conflict."""
        if self.is_done:
            return
        at_version(self.restore.now, self.restore.then.version)  # as a vacuum may have come since
        self.restore.commit({BACK: self.restore.now.version, BACK_TO: self.table_version})

    @property
    def is_done(self) -> bool:
        return not (self.restore.added or self.restore.removed or self.restore.transactions.keys() - {BACK, BACK_TO})


def prepare_rewind(declared: Declaration, place: Place, now: Handle, then: Handle) -> Rewind | None:
    """What is to be done to the ledger so that it fits `then`, an earlier version of the bronze table `now`.

    None where there is no ledger. Refused where it no longer knows that batch.
    """
    ledger = Ledger.open(declared, place.ledger(declared), now)
    if ledger.handle is None:
        return None
    batch, plan = then.transaction(declared.key), then.transaction(PLAN)
    version = version_of(ledger, batch, plan)
    restore = prepare_restore(ledger.handle, version)
    stood = replace(ledger, handle=restore.then, applied=batch or 0, applied_plan=plan)
    whole = _before_it_was_cut_short(ledger)
    lands = whole.done().join(stood.done(), on=["batch", "plan", "name"], how="anti")
    if whole.planned < whole.applied:  # it has lost what it knew of these
        lost = now.scan().filter(pl.col("batch") > whole.planned).select(name="source_file", sha256="file_sha256")
        lands = pl.concat([lands, lost.unique().with_columns(state=pl.lit(ACCEPTED)).collect()], how="diagonal")
    read = lands.filter(pl.col("state").is_in(READ))
    names = tuple(lands["name"].unique(maintain_order=True))
    return Rewind(restore, then.version, names, tuple(_gone(declared, place, read)))


def lost_batches(declared: Declaration, address: Address, table: Handle) -> tuple[dict[str, str], str]:
    """Whether the ledger lacks batches that its table holds, in words, and the command that mends it.

    The table goes back to what the ledger still knows, and takes its files again. Empty where no version is told.
    """
    ledger = Ledger.open(declared, address, table)
    if ledger.planned >= ledger.applied:
        return {}, ""
    past, restore = Past(table.address), ""
    with suppress(FileNotFoundError, ValueError):
        known = (
            each for each in past.back(table.version) if (past.transaction(declared.key, each) or 0) <= ledger.planned
        )
        if ledger.handle and (version := next(known, None)) is not None:
            restore = f"lakehouse table restore {declared.key} --version {version} --downstream, and lakehouse run"
    lost = f"batches {ledger.planned + 1:,} to {ledger.applied:,}"
    return {lost: "are in the table, and its ledger does not know them"}, restore


def asks_from(ledger: Ledger, then: Mapping[str, int]) -> int:
    """From which version on the ledger is needed to put its table back to when its transactions were `then`, or later.

    Where that is not told, nothing can be put back so far: then all that there is.
    """
    try:
        return version_of(ledger, then.get(ledger.table), then.get(PLAN))
    except Refused:
        return 0


def version_of(ledger: Ledger, batch: int | None, plan: int | None) -> int:
    """The version of the ledger whose commit planned what the table had applied then."""
    assert ledger.handle is not None  # noqa: S101 # asked of a ledger that is there
    if batch is None:
        return 0
    past = Past(ledger.address)
    try:
        for version in range(ledger.handle.version, -1, -1):
            commit = past.commit(version)
            if commit.transaction(ledger.table) == batch and _planned(commit, batch, plan):
                return version
    except FileNotFoundError:
        pass  # of a log that was cleaned up
    raise Refused(
        f"{ledger.table}: its ledger ({ledger.address}) does not tell of batch {batch} as the table had applied it, so "
        "which files would land again is not known. Nothing was written. Restore a version after the ledger was made, "
        f"or make the table anew: lakehouse rebuild {ledger.table}+"
    )


def _planned(commit: Commit, batch: int, plan: int | None) -> bool:
    """Whether this plan of this batch came with a commit."""
    told: list[Any] = [msgspec.json.decode(each.get("stats") or "{}").get("minValues", {}) for each in commit.of("add")]
    return any((each.get("batch"), each.get("plan")) == (batch, plan) for each in told)


def _before_it_was_cut_short(ledger: Ledger) -> Ledger:
    """A restore that was cut short has put the ledger back already, and not the table."""
    while ledger.handle and ledger.planned < ledger.applied:
        version = ledger.handle.transaction(BACK)
        if version is None:
            break
        ledger = replace(ledger, handle=at_version(ledger.handle, version))
    return ledger


def _gone(declared: Declaration, place: Place, taken: pl.DataFrame) -> list[str]:
    """The names of the files of which what was read can not be read again: removed, or overwritten since."""
    assert declared.source is not None  # noqa: S101 # what has a ledger is a bronze table
    storage = place.landing_of(declared)
    listed = {each.name: each for each in storage.files(declared.source.pattern)} if taken.height else {}
    gone: list[str] = []
    for *stamp, sha256 in taken.select(*LISTED, "sha256").iter_rows():
        was, there = Found(*stamp), listed.get(stamp[0])
        if there == was:
            continue
        try:
            is_same = there is not None and sha256_of(storage.read(was.name)) == sha256
        except (FileGone, LeadsOut):
            is_same = False
        if not is_same:
            gone.append(was.name)
    return list(dict.fromkeys(gone))


def in_words(names: Sequence[str], most: int = 10) -> str:
    """The first of some names."""
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
