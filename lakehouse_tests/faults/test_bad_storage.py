"""A storage account that answers badly for a while: what stands afterwards is what stands where it did not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import polars as pl
import pytest

from lakehouse.engine.declare.errors import Conflict, LakehouseError, Terminal, Transient
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.readers import EVERY_READER, Reader
from lakehouse.engine.declare.write import Append, Merge
from lakehouse.engine.delta import known, quarantine
from lakehouse.engine.delta.check import check
from lakehouse.engine.delta.delivery import Delivery, deliver
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.optimize import Aim, compact
from lakehouse.engine.delta.vacuum import plan_vacuum, sweep
from lakehouse.engine.delta.writes import prepare_append
from lakehouse_tests.azurite import Azurite
from lakehouse_tests.faults.bad_storage import BadStorage, Fault

pytestmark = pytest.mark.azurite

SCHEMA = pl.Schema({"id": pl.Int64(), "qty": pl.Int64()})
COMMIT = ("PUT ", "_delta_log/00000000000000000002.json")
MARKS = (Reader.DELTA_RS, Reader.DATABRICKS)
"""Who know deletion vectors: a merge goes by them."""
WRITES = {"append": (Append(), EVERY_READER), "merge": (Merge(), EVERY_READER), "merge by marks": (Merge(), MARKS)}


@pytest.fixture
def storage(azurite: Azurite) -> Iterator[BadStorage]:
    proxy = BadStorage(azurite.port)
    yield proxy
    proxy.stop()


@pytest.fixture
def lake(azurite: Azurite, storage: BadStorage, new_container: Callable[[], str]) -> Address:
    options = {
        "account_name": azurite.account, "account_key": azurite.key, "allow_http": "true",
        "endpoint": f"http://127.0.0.1:{storage.port}/{azurite.account}",
    }  # fmt: skip
    return Address(f"abfss://{new_container()}@{azurite.account}.dfs.core.windows.net", options)


def rows(*lines: tuple[int, int]) -> pl.DataFrame:
    return pl.DataFrame(lines, schema=SCHEMA, orient="row")


def standing(lake: Address) -> Handle:
    """A table of two rows, at version 1."""
    return prepare_append(Handle.create(lake / "t", SCHEMA), rows((1, 1), (2, 2))).commit({"batch": 1}, {}).handle


def delivery(
    lake: Address, handle: Handle, write: Append | Merge, readers: tuple[Reader, ...] = EVERY_READER
) -> Delivery:
    return Delivery(
        table=lake / "t", quarantine=lake / "q", schema=SCHEMA, description="", handle=handle, write=write, key=("id",),
        whole=False, accepted=rows((2, 20), (3, 30)), rejected=quarantine.ROWS.to_frame(), transactions={"batch": 2},
        readers=readers,
    )  # fmt: skip


def held(lake: Address) -> list[tuple[int, ...]]:
    known.forget(lake / "t")
    table = Handle.open(lake / "t")
    assert table is not None
    assert (table.version, table.transaction("batch")) == (2, 2)
    return sorted(table.scan().collect().rows())


MERGED = [(1, 1), (2, 20), (3, 30)]
WANTED = {"append": [(1, 1), (2, 2), (2, 20), (3, 30)], "merge": MERGED, "merge by marks": MERGED}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(
    ("times", "fault", "words"),
    [
        (1, "lost answer", COMMIT),
        (2, "503", COMMIT),
        (2, "429", COMMIT),
        (1, "reset", COMMIT),
        (3, "503", (".parquet",)),
        (3, "429", ("PUT ", ".parquet")),
        (1, "reset", ("PUT ", ".parquet")),
        (1, "lost answer", ("PUT ", ".parquet")),
        (3, "503", ("GET ",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_delivery_stands_once_however_the_storage_answers_for_a_while(  # noqa: PLR0917 # a drawn case
    lake, storage, write, times, fault, words
):
    handle = standing(lake)
    storage.first(times, fault, *words)
    written = deliver(delivery(lake, handle, *WRITES[write]))
    assert written.version == 2
    assert storage.met[fault] == times
    assert held(lake) == WANTED[write]
    assert bool(written.handle.vectors) == (write == "merge by marks")


@pytest.mark.parametrize(("times", "fault"), [(3, "503"), (3, "429"), (1, "reset"), (1, "lost answer")])
def test_so_it_does_where_what_is_not_answered_is_of_the_rows_that_are_marked(lake, storage, times, fault):
    handle = standing(lake)
    storage.first(times, fault, "PUT ", ".bin")
    deliver(delivery(lake, handle, *WRITES["merge by marks"]))
    assert storage.met[fault] == times
    storage.first(times, fault, "GET ", ".bin")
    assert held(lake) == MERGED
    assert storage.met[fault] == 2 * times


@pytest.mark.parametrize(
    ("times", "fault", "words"),
    [
        (3, "503", ("PUT ", ".parquet")),
        (1, "lost answer", ("PUT ", ".parquet")),
        (1, "lost answer", ("PUT ", "_delta_log/00000000000000000005.json")),
        (3, "429", ("GET ",)),
        (2, "503", ("POST ", "comp=batch")),
        (1, "lost answer", ("POST ", "comp=batch")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_upkeep_is_done_once_however_the_storage_answers_for_a_while(  # noqa: PLR0917 # a drawn case
    lake, storage, times, fault, words
):
    handle = deliver(delivery(lake, standing(lake), *WRITES["merge by marks"])).handle
    for batch in (3, 4):
        handle = prepare_append(handle, rows((batch + 1, 0))).commit({"batch": batch}, {}).handle
    known.forget(lake / "t")
    storage.first(times, fault, *words)
    done = compact(standing_again(lake), Aim()).handle
    done.checkpoint()
    sweep(plan_vacuum(done, 0, {}))
    assert storage.met[fault] == times
    storage.first(0, fault)
    found = check(standing_again(lake))
    assert (found.version, found.files, found.rows, found.faults, found.unused) == (5, 1, 5, {}, 0)


def test_a_checkpoint_that_does_not_come_is_no_fault_of_the_table(lake, storage):
    standing(lake).checkpoint()
    known.forget(lake / "t")
    storage.first(1_000, "429", "GET ", "checkpoint.parquet")
    with pytest.raises(Transient, match=r"could not be opened: .* 429 Too Many Requests"):
        Handle.open(lake / "t")
    storage.first(0, "429")
    assert standing_again(lake).rows == 2


def test_a_lost_answer_is_a_conflict_where_a_rival_was_first(lake, storage):
    handle = standing(lake)
    late = delivery(lake, handle, Append())
    deliver(delivery(lake, handle, Append()))
    storage.first(1, "lost answer", *COMMIT)
    with pytest.raises(Conflict):
        deliver(late)
    assert held(lake) == WANTED["append"]


def test_what_cannot_be_committed_says_what_stands_and_lands_once_when_it_is_tried_again(lake, storage):
    handle = standing(lake)
    storage.first(1_000, "401", *COMMIT)
    with pytest.raises(LakehouseError, match=r"version 2 was not committed.*Version 1 stands") as failure:
        deliver(delivery(lake, handle, Append()))
    assert isinstance(failure.value, Transient)
    storage.first(0, "401")
    deliver(delivery(lake, handle, Append()))
    assert held(lake) == WANTED["append"]


def test_a_way_in_that_ends_at_the_commit_says_what_stands_and_the_next_lands_it_once(lake, storage):
    handle = standing(replace(lake, refused=lambda status, code: Terminal(f"refused ({status} {code}).")))
    ended = threading.Event()

    def faults(method: str, path: str) -> Fault | None:
        if all(word in f"{method} {path}" for word in COMMIT):
            ended.set()
        return "401" if ended.is_set() else None

    storage.faults = faults
    with pytest.raises(Terminal, match=r"refused \(401 .* Nothing was committed; version 1 of .* stands"):
        deliver(delivery(lake, handle, Append()))
    storage.first(0, "401")
    deliver(delivery(lake, standing_again(lake), Append()))
    assert held(lake) == WANTED["append"]


def standing_again(lake: Address) -> Handle:
    found = Handle.open(lake / "t")
    assert found is not None
    return found


def test_a_file_that_is_not_given_out_is_not_called_damaged(lake: Address, storage: BadStorage):
    """To read a whole table takes long: a way in that ends meanwhile says nothing of its files."""
    handle = standing(lake)
    assert check(handle).faults == {}
    storage.first(1, "401", "GET", ".parquet")
    with pytest.raises((LakehouseError, OSError), match="401"):
        check(handle)
    assert check(handle).faults == {}
