"""The ledger of a source: one row per batch and file, committed before the batch is applied to its bronze table.

The plan of batch n is one commit. Where a batch had to be planned anew (a file changed or went away in between), both
plans stand until the bronze table's commit says which one it applied; the next plan removes the other. So that a source
that has sent a file a minute for a year is not asked for in half a million files, small files of the ledger are now and
then laid together, in the commit of a plan.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from weakref import WeakKeyDictionary

import polars as pl

from lakehouse.engine.declare.errors import Conflict, Refused
from lakehouse.engine.declare.ports import Address, Found
from lakehouse.engine.declare.table import Declaration
from lakehouse.engine.delta.files import write_files
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.log import NEVER
from lakehouse.engine.delta.refused import Unreadable, raise_where_refused
from lakehouse.engine.delta.statistics import DataFile
from lakehouse.engine.delta.travel import at_version

ACCEPTED, REVISED, DUPLICATE, UNREADABLE, LOST = "accepted", "revised", "duplicate", "unreadable", "lost"
READ = (ACCEPTED, REVISED)
"""States of files whose records are in the bronze table."""

SMALL, SMALL_FILES = 100_000, 50
"""Files of the ledger with fewer rows are laid together when there are so many of them."""

KEPT_BYTES = 8 << 20
"""The rows of a ledger that is not larger are held as long as its handle: a run asks for them several times."""

LISTED = ("name", "size", "modified_at", "etag")
PLAN = "plan"
BACK = "taken back at"
"""The transaction that says at which version the ledger stood when batches of it were taken back."""
BACK_TO = "taken back to"
"""The one that says for which version of the bronze table."""
SCHEMA = pl.Schema(
    {
        "batch": pl.Int64(),
        "plan": pl.Int64(),
        "state": pl.String(),
        "name": pl.String(),
        "size": pl.Int64(),
        "modified_at": pl.Datetime("us", "UTC"),
        "etag": pl.String(),
        "sha256": pl.String(),
        "records": pl.Int64(),
        "accepted": pl.Int64(),
        "quarantined": pl.Int64(),
        "reason": pl.String(),
        "planned_at": pl.Datetime("us", "UTC"),
    }
)


_read_before: WeakKeyDictionary[Handle, pl.DataFrame] = WeakKeyDictionary()


@dataclass(frozen=True)
class Entry:
    """What became of one file in one batch. Counts are records.

    `reason` says why a file was not taken, or as which of several formats it was read.
    """

    state: str
    found: Found
    sha256: str = ""
    records: int = 0
    accepted: int = 0
    quarantined: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Plan:
    """One batch as it was committed: `number` counts batches from 1, `identity` tells two plans of one batch apart."""

    number: int
    identity: int
    entries: tuple[Entry, ...]

    def transactions(self, table: str) -> dict[str, int]:
        """What the bronze table's commit carries, so that this plan is known to be applied."""
        return {table: self.number, PLAN: self.identity}


@dataclass(frozen=True)
class Ledger:
    """The ledger at one version, beside the bronze table at `stands_at`: what is done, and what is planned."""

    table: str
    address: Address
    handle: Handle | None
    applied: int
    applied_plan: int | None
    stands_at: int = 0

    @classmethod
    def open(cls, declared: Declaration, address: Address, bronze: Handle | None) -> Ledger:
        """Opened after its bronze table, so that a plan that is committed on it conflicts with any rival's."""
        if bronze:
            bronze.ask(declared.key, PLAN)
        applied = (bronze and bronze.transaction(declared.key)) or 0
        plan = bronze.transaction(PLAN) if bronze else None
        return cls(declared.key, address, Handle.open(address), applied, plan, bronze.version if bronze else 0)

    def done(self) -> pl.DataFrame:
        """The files of every applied batch, in the order they were taken."""
        other_plan = (pl.col("batch") == self.applied) & pl.col("plan").ne_missing(pl.lit(self.applied_plan, pl.Int64))
        return self._rows.filter((pl.col("batch") <= self.applied) & ~other_plan)

    def pending(self) -> Plan | None:
        """The batch that is planned and not applied, by its latest plan.

        Raises Conflict where ledger and bronze table are not one batch apart at most: the table has moved since it was
        opened, or one of the two was taken away.
        """
        if self.planned not in (self.applied, self.applied + 1):
            if self.handle and self.planned < self.applied and self.handle.transaction(BACK) is not None:
                again = f"lakehouse table restore {self.table} --version"
                raise Conflict(
                    f"{self.table}: its ledger was put back to batch {self.planned}, and the table holds "
                    f"{self.applied}: a restore was cut short. Nothing was taken. Run it again: {again} "
                    f"{self.handle.transaction(BACK_TO)}. Or keep the table as it stands: {again} {self.stands_at}"
                )
            way = (
                f"the ledger ({self.address}) has lost batches: lakehouse table check {self.table} names what mends it."
            )
            if self.planned > self.applied:
                way = (
                    "the table was taken away or put back: move away what is left of it, and lakehouse rebuild "
                    f"{self.table}+ makes it anew from the files that the ledger ({self.address}) names."
                )
            raise Conflict(
                f"{self.table}: its ledger has planned {self.planned} batches and the table holds {self.applied}. "
                f"Nothing was taken. Another run may have been faster: run again. If it says so again, {way}"
            )
        rows = self._rows.filter(pl.col("batch") > self.applied)
        if rows.is_empty():
            return None
        rows = rows.filter(pl.col("plan") == rows["plan"][-1])
        return Plan(rows["batch"][0], rows["plan"][0], tuple(_entry(row) for row in rows.iter_rows(named=True)))

    def wholly_applied(self) -> Ledger:
        """The ledger of a bronze table that is made anew: what is planned counts as done, by its latest plan."""
        rows = self._rows
        return self if rows.is_empty() else replace(self, applied=rows["batch"][-1], applied_plan=rows["plan"][-1])

    @property
    def planned(self) -> int:
        """The last batch that is written here."""
        return (self.handle and self.handle.transaction(self.table)) or 0

    def as_they_came(self, fresh: Sequence[Found]) -> Sequence[Found]:
        """Files that were taken back in the order they had been taken in; after them what was never taken.

        Else a late file of an old day would be read before what it had come after.
        """
        place, handle = dict[Found, int](), self.handle
        while fresh and handle and (version := handle.transaction(BACK)) is not None:
            try:
                handle = at_version(handle, version)
                before = handle.scan().select("batch", *LISTED).collect().sort("batch", maintain_order=True)
            except (FileNotFoundError, Refused):  # cleaned away since: then by their names, as what is new
                break
            for row in before.select(LISTED).iter_rows():
                place.setdefault(Found(*row), len(place))
        return sorted(fresh, key=lambda each: place.get(each, len(place)))

    def commit(self, entries: list[Entry], *, is_last: bool = False) -> tuple[Ledger, Plan]:
        """Plan the next batch, or plan it anew. Raises Conflict when another process planned first.

        is_last: no file waits, so how any that was taken back had come is done with.
        """
        plan = Plan(self.applied + 1, secrets.randbits(60), tuple(entries))
        handle = self.handle or self._create()
        together, apart = self._laid_together(handle)
        files = [*together, *write_files(handle, _frame(plan))]
        note = {"table": self.table, "batch": str(plan.number), "files": str(len(entries))}
        back = {BACK: NEVER} if is_last and handle.transaction(BACK) is not None else {}
        committed = handle.commit(files, {*apart, *self._other_plans()}, {self.table: plan.number, **back}, note)
        return replace(self, handle=committed), plan

    def _create(self) -> Handle:
        handle = Handle.create(self.address, SCHEMA, description=f"Files of {self.table}, by batch")
        if handle.version > 0:
            raise Conflict(f"{self.address}: another run planned first; nothing of ours was committed. Run again.")
        return handle

    def _laid_together(self, handle: Handle) -> tuple[list[DataFile], list[str]]:
        """The rows of many small files in one new file, and the files that they were in; else neither.

        Only of applied batches before the last: of that one there may be several plans.
        """
        if self.applied < SMALL_FILES:
            return [], []
        is_small = (pl.col("rows") < SMALL) & (pl.col("max.batch") < self.applied)
        small = handle.files().filter(is_small)["path"].to_list()
        if len(small) < SMALL_FILES:
            return [], []
        return write_files(handle, handle.scan_paths(small).sort("batch", maintain_order=True)), small

    def _other_plans(self) -> list[str]:
        if self.handle is None or self.applied_plan is None:
            return []
        files = self.handle.files()
        lost = (pl.col("min.batch") == self.applied) & (pl.col("min.plan") != self.applied_plan)
        return files.filter(lost)["path"].to_list()

    @cached_property
    def _rows(self) -> pl.DataFrame:
        """By batch, plans as they were committed: rows that were laid together lie in a later file."""
        if self.handle is None:
            return SCHEMA.to_frame()
        if (rows := _read_before.get(self.handle)) is None:
            try:
                rows = self.handle.scan().collect().sort("batch", maintain_order=True)
            except (FileNotFoundError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
                raise_where_refused(self.address, error)
                why = str(error).partition("\n")[0]
                raise Unreadable(
                    f"{self.table}: its ledger ({self.address}) cannot be read: {why}. Nothing was taken. What mends "
                    f"it: lakehouse table check {self.table}"
                ) from error
            if rows.estimated_size() < KEPT_BYTES:
                _read_before[self.handle] = rows
        return rows


def _frame(plan: Plan) -> pl.DataFrame:
    now = datetime.now(UTC)
    rows = [
        {
            "batch": plan.number,
            "plan": plan.identity,
            "state": each.state,
            "name": each.found.name,
            "size": each.found.size,
            "modified_at": each.found.modified_at,
            "etag": each.found.etag,
            "sha256": each.sha256,
            "records": each.records,
            "accepted": each.accepted,
            "quarantined": each.quarantined,
            "reason": each.reason,
            "planned_at": now,
        }
        for each in plan.entries
    ]
    return pl.DataFrame(rows, schema=SCHEMA)


def entries_of(rows: pl.DataFrame) -> list[tuple[int, Entry]]:
    """Rows of the ledger as entries, each with its batch."""
    return [(row["batch"], _entry(row)) for row in rows.iter_rows(named=True)]


def _entry(row: dict[str, object]) -> Entry:
    found = Found(row["name"], row["size"], row["modified_at"], row["etag"])  # type: ignore[arg-type] # SCHEMA says so
    counts = {name: row[name] for name in ("sha256", "records", "accepted", "quarantined", "reason")}
    return Entry(row["state"], found, **counts)  # type: ignore[arg-type] # as above
