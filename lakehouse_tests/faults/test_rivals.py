"""Several processes write one table at once, and nobody sets anything for it: nothing lost, nothing twice."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import write_deltalake
from deltalake.exceptions import CommitFailedError

from lakehouse.engine.declare.errors import Conflict
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta import known
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.log import COMMIT_ID, UPKEEP, read_commits
from lakehouse.engine.delta.optimize import Aim, compact
from lakehouse.engine.delta.prepared import Prepared, Written
from lakehouse.engine.delta.writes import prepare_append, prepare_merge, prepare_overwrite

PROCESSES = multiprocessing.get_context("spawn")
SCHEMA = pl.Schema({"part": pl.Int64(), "id": pl.Int64(), "times": pl.Int64()})
REFUSED = 3

type Crewman = tuple[Callable[[Address, int, int], None], int, int]
"""What is done, under which name, how often."""


def rows(part: int, *ids: int, times: int = 1) -> pl.DataFrame:
    return pl.DataFrame({"part": [part] * len(ids), "id": ids, "times": [times] * len(ids)}, schema=SCHEMA)


def newest(address: Address) -> Handle:
    handle = Handle.open(address)
    assert handle is not None
    return handle


def append(address: Address, name: int, count: int) -> None:
    for number in range(count):
        prepare_append(newest(address), rows(name, number)).commit({f"writer {name}": number}, {})


def merge(address: Address, name: int, count: int) -> None:
    """The rows of one part, each time with another number."""
    for times in range(1, count + 1):
        batch = rows(name, 1, 2, times=times)
        prepare_merge(newest(address), batch, ["part", "id"]).commit({f"merger {name}": times}, {})


def lay_together(address: Address, name: int, count: int) -> None:
    for _ in range(count):
        with suppress(Conflict):  # a rival has replaced all that was joined
            compact(newest(address), Aim(small_ratio=0))


def overwrite(address: Address, name: int, count: int) -> None:
    """All there is becomes one row of this part; a rival's merge or overwrite in between is read anew."""
    for number in range(count):
        while True:
            try:
                prepare_overwrite(newest(address), rows(name, number)).commit({f"overwriter {name}": number}, {})
                break
            except Conflict:
                continue


def another_engine(address: Address, name: int, count: int) -> None:
    """As it is, with its defaults: where files were laid together meanwhile it gives up and wants to be asked again."""
    for number in range(count):
        while True:
            try:
                write_deltalake(address.uri, rows(name, number), mode="append", storage_options=address.options or None)
                break
            except CommitFailedError:
                continue


def work(address: Address, start: Any, crewman: Crewman) -> None:
    newest(address).scan().collect()  # everything is loaded
    start.wait(60)
    does, name, count = crewman
    does(address, name, count)


def together(address: Address, *crew: Crewman) -> Handle:
    """Each does its work in a process of its own; the table as it stands after that."""
    start = PROCESSES.Barrier(len(crew))
    processes = [PROCESSES.Process(target=work, args=(address, start, each)) for each in crew]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0] * len(crew)
    known.forget(address)
    return newest(address)


def held(table: Handle) -> list[tuple[int, ...]]:
    return sorted(table.scan().collect().rows())


@pytest.fixture(params=["disk", pytest.param("account", marks=[pytest.mark.azurite, pytest.mark.long])])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Address:
    """On a disk, and on a storage account, which takes ten times as long."""
    if request.param == "disk":
        return Address(str(tmp_path / "t"))
    azurite, container = request.getfixturevalue("azurite"), request.getfixturevalue("new_container")()
    options = {"account_name": azurite.account, "account_key": azurite.key, "endpoint": azurite.endpoint}
    return Address(f"abfss://{container}@{azurite.account}.dfs.core.windows.net/t", {**options, "allow_http": "true"})


@pytest.mark.parametrize(("writers", "count"), [(4, 8), pytest.param(10, 40, marks=pytest.mark.long)])
def test_every_append_of_many_writers_stands_once(address, writers, count):
    Handle.create(address, SCHEMA)
    table = together(address, *((append, name, count) for name in range(writers)))
    assert held(table) == [(name, number, 1) for name in range(writers) for number in range(count)]
    assert table.version == writers * count


@pytest.mark.parametrize("partition_by", [(), ("part",)], ids=["one folder", "a folder a part"])
def test_merges_of_different_rows_all_stand(address, partition_by):
    table = Handle.create(address, SCHEMA, partition_by=partition_by)
    prepare_append(table, pl.concat(rows(name, 1, 2, times=0) for name in range(4))).commit({}, {})
    table = together(address, *((merge, name, 5) for name in range(4)))
    assert held(table) == [(name, number, 5) for name in range(4) for number in (1, 2)]
    assert table.version == 21


def test_appends_and_merges_stand_once_beside_two_that_lay_files_together_and_another_engine(address):
    prepare_append(Handle.create(address, SCHEMA), rows(0, 1, 2, times=0)).commit({}, {})
    table = together(
        address, (append, 7, 8), (merge, 0, 8), (lay_together, 8, 8), (lay_together, 9, 8), (another_engine, 6, 4)
    )
    expected = [*rows(0, 1, 2, times=8).rows(), *rows(6, *range(4)).rows(), *rows(7, *range(8)).rows()]
    assert held(table) == expected
    assert any(UPKEEP in each.info for each in read_commits(address, 0, table.version)), "none was first"


def test_an_overwrite_takes_away_what_the_log_has_before_it_and_nothing_else(address):
    prepare_append(Handle.create(address, SCHEMA), rows(0, 0)).commit({}, {})
    table = together(address, (append, 1, 10), (overwrite, 2, 5))
    commits = read_commits(address, 1, table.version)
    last = max(each.version for each in commits if "overwriter 2" in each.transactions)
    after = [each.transactions["writer 1"] for each in commits if each.version > last]
    assert held(table) == sorted([(1, number, 1) for number in after] + [(2, 4, 1)])
    assert table.version == 16
    assert len({each.info[COMMIT_ID] for each in commits}) == 16


def asleep(address: Address, says: Any) -> None:
    """Stops itself between its data files and its commit."""
    plain = Prepared.once

    def once(*args: Any) -> Written:
        says.send(os.getpid())
        os.kill(os.getpid(), signal.SIGSTOP)
        return plain(*args)

    Prepared.once = once  # type: ignore[method-assign] # a fault is put where it happens
    try:
        prepare_append(newest(address), rows(0, 1)).commit({"batch": 1}, {})
    except Conflict:
        raise SystemExit(REFUSED) from None


@pytest.mark.parametrize("more", [0, 3])
def test_the_commit_of_a_process_that_slept_while_another_did_its_work_is_refused(address, more):
    Handle.create(address, SCHEMA)
    hears, says = PROCESSES.Pipe(duplex=False)
    sleeper = PROCESSES.Process(target=asleep, args=(address, says))
    sleeper.start()
    pid = hears.recv()
    try:
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
        prepare_append(newest(address), rows(0, 1)).commit({"batch": 1}, {})
        append(address, 5, more)
    finally:
        os.kill(pid, signal.SIGCONT)
    sleeper.join(60)
    assert sleeper.exitcode == REFUSED
    assert held(newest(address)) == sorted([(0, 1, 1), *((5, number, 1) for number in range(more))])
