"""Rows that a table did not take, kept beside it: one table of them, of one shape, for each table.

They are written before the table, under the version that the table's commit wants to make and a random attempt. The
commit that makes this version names its attempt, so the rows of every other attempt at it never counted. Those are
taken away by the next writer; readers leave them out until then. A version is *decided* once the table has it; the
quarantine's own commits say up to which version its rows have been looked through.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import polars as pl

from lakehouse.engine.declare.errors import Conflict, Refused
from lakehouse.engine.declare.number import number
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta import store
from lakehouse.engine.delta.check import altered
from lakehouse.engine.delta.files import write_files
from lakehouse.engine.delta.fitting import fitted
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.known import knows
from lakehouse.engine.delta.log import Past
from lakehouse.engine.delta.place import LOG, log_name
from lakehouse.engine.delta.refused import Unreadable
from lakehouse.engine.delta.statistics import DataFile

# What the writer gives; `kind` is unread, broke or file, `row` the whole row as JSON, or the raw text.
ROWS = pl.Schema(
    {
        "upstream": pl.String(),
        "source_name": pl.String(),
        "source_file": pl.String(),
        "source_row": pl.Int64(),
        "batch": pl.Int64(),
        "kind": pl.String(),
        "reasons": pl.List(pl.String()),
        "row": pl.String(),
        "quarantined_at": pl.Datetime("us", "UTC"),
    }
)
STORED = pl.Schema({"version": pl.Int64(), "attempt": pl.Int64(), **ROWS})

# What may hold values of rows: it leaves none in the log, where no later deletion would reach them.
_UNMEASURED = ("upstream", "source_name", "source_file", "reasons", "row")

ATTEMPT, _FROM = "quarantine attempt", "quarantine from"
_TRIES = 20


@dataclass(frozen=True)
class Attempt:
    """One attempt at a version of the table; its transactions belong into the table's commit.

    leaves: whether there is a quarantine, so that something may have to be taken away once it is known who won.
    """

    version: int
    rows: int
    leaves: bool
    transactions: Mapping[str, int]


def write(table: Handle, address: Address, rows: pl.DataFrame, *, whole: bool) -> Attempt:
    """Set rows aside for the version after `table`'s; they count once a commit with the transactions makes it.

    whole: this write makes the table anew, so that the rows that were set aside for what stood are done with.
    Raises Conflict when somebody has already looked at a later version of the table.
    """
    rows = fitted(rows, ROWS, str(address)).lazy().collect()
    version, attempt = table.version + 1, secrets.randbits(60)
    if rows.height:
        stamped = rows.select(
            pl.lit(version, pl.Int64).alias("version"), pl.lit(attempt, pl.Int64).alias("attempt"), *ROWS
        )
        _commit(table, Handle.open(address) or _create(address), stamped)
    leaves = bool(rows.height) or settle(table, address)
    return Attempt(version, rows.height, leaves, {ATTEMPT: attempt, **({_FROM: version} if whole else {})})


def settle(table: Handle, address: Address) -> bool:
    """Take away what lost: rows of attempts that did not make their version, and of what a whole write replaced.

    False where there is no quarantine.
    """
    quarantine = _opened(address)
    if quarantine is not None and _looked_up_to(table, quarantine) <= table.version:
        _commit(table, quarantine, None)
    return quarantine is not None


def read(table: Handle, address: Address, *, without: Collection[str] = ()) -> pl.LazyFrame:
    """The rows set aside from `table` as it stands; shape STORED, in the order they were written.

    without: files that are not read.
    """
    quarantine = Handle.open(address)
    if quarantine is None:
        return pl.LazyFrame(schema=STORED)
    paths = _standing(table, quarantine)["path"].to_list()
    return quarantine.scan_paths([path for path in paths if path not in without])


def damaged(table: Handle, address: Address) -> dict[str, str]:
    """The files of these rows that are not as they were written, as `altered` tells it."""
    quarantine = Handle.open(address)
    return {} if quarantine is None else altered(quarantine, _standing(table, quarantine)["path"])


def torn_off(table: Handle, address: Address) -> dict[str, str]:
    """Files that lie there and that no commit names, though a commit of the table says that their rows count.

    So a torn commit leaves them. What is wrong with each, by name; told as long as no vacuum came.
    """
    quarantine = Handle.open(address)
    if quarantine is None:
        return {}
    first, found, files = table.transaction(_FROM) or 0, dict[str, str](), quarantine.files()
    attempts = {*files["min.attempt"]} if files.height else set[int]()
    strays = {name for name in store.sizes(address) if name.endswith(".parquet") and not name.startswith(f"{LOG}/")}
    for name in sorted(strays.difference(files["path"])):
        # one that cannot be read is of an interrupted write; of a log that cannot be read the table's own check tells
        with suppress(Unreadable, ValueError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
            rows = quarantine.scan_paths([name]).group_by("version", "attempt").len().collect()
            for version, attempt, count in rows.rows():
                is_standing = first <= version <= table.version and attempt not in attempts
                if is_standing and _winner(table, version) == attempt:
                    what = f"{number(count, 'row')} set aside of version {version} of the table"
                    found[name] = f"holds {what}, and its log does not name it: its commit was torn"
    return found


def count(table: Handle, address: Address) -> int:
    """How many rows are set aside from `table` as it stands, from the logs alone."""
    quarantine = Handle.open(address)
    return 0 if quarantine is None else int(_standing(table, quarantine)["rows"].sum())


def asks_from(table: Handle, address: Address, oldest: int) -> int:
    """From which version on the log says which of these rows count, at any version since `oldest`; at most that."""
    quarantine = _beside(table, address, oldest)
    if quarantine is None or quarantine.files().is_empty():
        return oldest
    versions = quarantine.files().filter(pl.col("min.version") > _looked_up_to(table, quarantine))["min.version"]
    return min([oldest, *versions.to_list()])


def read_then(then: Handle, address: Address) -> pl.LazyFrame:
    """The rows that were set aside from a table as it stood at an earlier version, `then`; shape ROWS.

    Refused where their files are gone.
    """
    quarantine = _beside(then, address, then.version)
    if quarantine is None:
        return pl.LazyFrame(schema=ROWS)
    paths = _standing(then, quarantine)["path"].to_list()
    if missing := sorted({*paths} - store.sizes(address).keys()):
        raise Refused(
            f"{then.address} cannot be put back to version {then.version}: of what was set aside of it, in {address}, "
            f"{missing[0]} is gone. Nothing was written. Restore a later version, or make the table anew: lakehouse "
            "rebuild."
        )
    return quarantine.scan_paths(paths).select(*ROWS)


def is_its_own(app: str) -> bool:
    """Whether a transaction of the table says what counts here."""
    return app in (ATTEMPT, _FROM)


def _opened(address: Address) -> Handle | None:
    """None where there is none, as most tables have none: told by one answer of the store and not by two.

    Its first commit is always there, since nobody cleans its log up.
    """
    if not knows(address):
        try:
            store.read(address, [log_name(0)])
        except FileNotFoundError:
            return None
    return Handle.open(address)


def _beside(table: Handle, address: Address, version: int) -> Handle | None:
    """The quarantine as it was when this version of the table stood, before anybody looked further."""
    if (newest := _opened(address)) is None:
        return None
    past, last = Past(address), newest.version
    for each in range(newest.version, -1, -1):
        decided = past.commit(each).transaction(_decided(table))
        if decided is not None and decided <= version:
            break
        last = last if decided is None else each - 1
    return newest if last == newest.version else Handle.open(address, max(last, 0))


def _create(address: Address) -> Handle:
    return Handle.create(address, STORED, description="Rows that the table beside it did not take, and why")


def _commit(table: Handle, quarantine: Handle, rows: pl.DataFrame | None) -> None:
    """One commit: what lost goes, `rows` come, and the versions up to the table's are looked through."""
    added: Sequence[DataFile] = ()
    if rows is not None:
        added = write_files(quarantine, rows, unmeasured=_UNMEASURED)
    for _ in range(_TRIES):
        if _looked_up_to(table, quarantine) > table.version:
            raise Conflict(
                f"{table.address}: somebody has gone on from a version after {table.version}; nothing of ours was "
                "committed. Open it again, read again, decide."
            )
        lost = _lost(table, quarantine)
        if not added and not lost:
            return
        try:
            quarantine.commit(added, lost, {_decided(table): table.version}, {})
        except Conflict:
            quarantine = Handle.open(quarantine.address) or _create(quarantine.address)
        else:
            return
    raise Conflict(f"{quarantine.address}: {_TRIES} other writers came first; nothing of ours was committed.")


def _decided(table: Handle) -> str:
    """The transaction of the quarantine that says up to which version of *this* table it was looked through."""
    return f"decided {table.id}"


def _looked_up_to(table: Handle, quarantine: Handle) -> int:
    return -1 if (version := quarantine.transaction(_decided(table))) is None else version


def _lost(table: Handle, quarantine: Handle) -> list[str]:
    """Files of decided versions that do not stand. What belongs to a table that was made anew here goes as well."""
    if quarantine.transaction(_decided(table)) is None:
        return quarantine.files()["path"].to_list()
    standing = set(_standing(table, quarantine)["path"])
    files = quarantine.files()
    if files.is_empty():
        return []
    decided = files.filter(pl.col("min.version") <= table.version)["path"]
    return [path for path in decided if path not in standing]


def _standing(table: Handle, quarantine: Handle) -> pl.DataFrame:
    """The quarantine's files whose rows count at this version of the table. Each file holds one attempt's rows."""
    files = quarantine.files()
    if files.is_empty() or quarantine.transaction(_decided(table)) is None:
        return files.clear()
    first = table.transaction(_FROM) or 0
    files = files.filter(pl.col("min.version").is_between(first, table.version))
    looked_up_to = _looked_up_to(table, quarantine)
    open_versions = files.filter(pl.col("min.version") > looked_up_to)["min.version"].unique()
    winners = pl.DataFrame(
        {"min.version": open_versions, "winner": [_winner(table, version) for version in open_versions]},
        schema={"min.version": pl.Int64, "winner": pl.Int64},
    )
    return (
        files.join(winners, on="min.version", how="left", maintain_order="left")
        .filter((pl.col("min.version") <= looked_up_to) | (pl.col("min.attempt") == pl.col("winner")))
        .drop("winner")
    )


def _winner(table: Handle, version: int) -> int | None:
    """The attempt that made this version of the table; None when its writer had set nothing aside."""
    try:
        return table.commit_of(version).transaction(ATTEMPT)
    except FileNotFoundError as gone:
        raise Unreadable(
            f"{table.address}: the log of version {version} is gone ({gone}), so which quarantined rows count cannot "
            "be told. Make the table anew: lakehouse rebuild."
        ) from gone
