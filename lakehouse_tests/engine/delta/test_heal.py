"""What a power cut leaves of a log on a local disk: the table opens as it stood before, or says what to do."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from deltalake import CommitProperties, write_deltalake

from lakehouse.engine.declare.errors import Conflict, Refused, Transient
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta import foreign, heal, known, store
from lakehouse.engine.delta.check import check
from lakehouse.engine.delta.handle import Handle, Unreadable
from lakehouse.engine.delta.place import POINTER
from lakehouse.engine.delta.writes import prepare_append
from lakehouse_tests.engine.delta.opening import opened
from lakehouse_tests.engine.delta.writing import append

SCHEMA = pl.Schema({"id": pl.Int64})

type Commits = Callable[[Address, int], None]


def by_us(address: Address, number: int) -> None:
    append(opened(address), pl.LazyFrame({"id": [number]}), {}, {})


def by_deltalake(address: Address, number: int) -> None:
    rows, once = pl.DataFrame({"id": [number]}), CommitProperties(max_commit_retries=0)
    write_deltalake(address.uri, rows, mode="append", commit_properties=once)


def log(address: Address, name: str | int) -> Path:
    return Path(address.uri, "_delta_log", name if isinstance(name, str) else f"{name:020d}.json")


def aside(address: Address) -> list[str]:
    return sorted(path.name.split("-", 2)[2] for path in log(address, "").glob(".torn-*"))


def ids(address: Address) -> list[int]:
    return opened(address).scan().collect()["id"].sort().to_list()


@pytest.fixture(params=[by_us, by_deltalake])
def commit(request, address) -> Commits:
    Handle.create(address, SCHEMA)
    return request.param


CUTS = {
    "nothing": lambda whole: b"",
    "a byte": lambda whole: whole[:1],
    "half": lambda whole: whole[: len(whole) // 2],
    "all but a byte": lambda whole: whole[:-2],
    "zeros": lambda whole: bytes(len(whole)),
    "half of it zeros": lambda whole: whole[: len(whole) // 2] + bytes(len(whole) // 2),
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_torn_last_commit_is_moved_aside_and_the_version_before_it_stands(commit, cut, address):
    commit(address, 1)
    commit(address, 2)
    torn = CUTS[cut](log(address, 2).read_bytes())
    log(address, 2).write_bytes(torn)
    assert ids(address) == [1]
    assert aside(address) == [f"{2:020d}.json"]
    assert next(log(address, "").glob(".torn-*")).read_bytes() == torn
    commit(address, 3)
    assert (opened(address).version, ids(address), check(opened(address)).faults) == (2, [1, 3], {})


@pytest.mark.parametrize("torn", [b"", b'{"add":{"pa'])
def test_who_holds_the_version_before_a_torn_commit_goes_on_at_once_or_once_it_opens_the_table(address, torn):
    handle = Handle.create(address, SCHEMA)
    log(address, 1).write_bytes(torn)
    try:
        append(handle, pl.LazyFrame({"id": [1]}), {}, {})
    except (Conflict, Transient):
        again = Handle.open(address)
        assert again is not None
        append(again, pl.LazyFrame({"id": [1]}), {}, {})
    assert (opened(address).version, ids(address), check(opened(address)).faults) == (1, [1], {})


def test_a_table_whose_first_commit_is_torn_is_no_table_yet(address):
    for torn in (b"", b'{"protocol":{"min'):
        Path(address.uri, "_delta_log").mkdir(parents=True, exist_ok=True)
        log(address, 0).write_bytes(torn)
        known.forget(address)
        assert Handle.open(address) is None
    assert Handle.create(address, SCHEMA).version == 0


def test_what_may_only_be_read_is_not_healed_and_says_the_way_out(commit, address):
    commit(address, 1)
    log(address, 1).write_bytes(b"")
    known.forget(address)
    with pytest.raises(Unreadable, match=r"the log of version 1 is empty.*Remove .*1\.json and run again"):
        Handle.open(Address(address.uri, only_read=True))
    assert aside(address) == []


def test_a_commit_that_came_meanwhile_is_not_taken_for_the_torn_one(commit, address):
    """Two have seen it torn; the first has moved it, and a writer has made that version, before the second comes."""
    commit(address, 1)
    assert heal._move_if_torn(log(address, 1)) is None
    assert ids(address) == [1]


@pytest.fixture
def summed(commit, address) -> Address:
    commit(address, 1)
    opened(address).checkpoint()
    commit(address, 2)
    return address


def checkpoint(address: Address) -> Path:
    return log(address, f"{1:020d}.checkpoint.parquet")


DAMAGES: dict[str, Callable[[Address], object]] = {
    "a checkpoint of no bytes": lambda address: checkpoint(address).write_bytes(b""),
    "half a checkpoint": lambda address: checkpoint(address).write_bytes(checkpoint(address).read_bytes()[:700]),
    "no checkpoint": lambda address: checkpoint(address).unlink(),
    "a pointer of no bytes": lambda address: log(address, "_last_checkpoint").write_bytes(b""),
    "half a pointer": lambda address: log(address, "_last_checkpoint").write_bytes(b'{"vers'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_checkpoint_that_cannot_be_read_is_not_needed(summed, damage):
    DAMAGES[damage](summed)
    assert ids(summed) == [1, 2]
    for number in range(3, 12):
        by_us(summed, number)
    assert ids(summed) == list(range(1, 12))
    assert check(opened(summed)).faults == {}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_was_read_so_far_is_told_by_the_log_where_a_checkpoint_is_damaged(summed, damage):
    handle = append(opened(summed), pl.LazyFrame({"id": [3]}), {"reads": 7}, {}).handle
    DAMAGES[damage](summed)
    assert opened(summed).transactions() == handle.transactions() == {"reads": 7}


def test_a_checkpoint_that_nothing_stands_for_stays(summed):
    log(summed, 0).unlink()
    checkpoint(summed).write_bytes(b"")
    known.forget(summed)
    with pytest.raises(Unreadable):
        Handle.open(summed)
    assert aside(summed) == []
    with pytest.raises(Refused, match=rf"{0:020d}.json is missing .*Nothing was moved.*as it was; else make it anew$"):
        heal.repair_checkpoints(summed, "make it anew")
    assert aside(summed) == []


def sums(address: Address, version: int) -> Path:
    return log(address, f"{version:020d}.checkpoint.parquet")


@pytest.fixture
def cleaned(commit, address) -> Address:
    """As upkeep leaves a log: it begins at a checkpoint, 2, and has another, 4; six rows in six versions."""
    for number in range(1, 7):
        commit(address, number)
        if number in (2, 4):
            opened(address).checkpoint()
    for number in (0, 1):
        log(address, number).unlink()
    return address


ALL = [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("damage", [b"", b"PAR1 and no more", None], ids=["of no bytes", "torn", "gone"])
def test_a_table_whose_log_was_cleaned_opens_from_the_checkpoint_before_the_damaged_one(cleaned, damage, caplog):
    sums(cleaned, 4).unlink() if damage is None else sums(cleaned, 4).write_bytes(damage)
    assert ids(cleaned) == ALL
    assert aside(cleaned) == [sums(cleaned, 4).name] * (damage is not None) + ["_last_checkpoint"]
    assert "cannot be read, and was moved aside: the rest of the log tells the same" in caplog.text
    assert check(opened(cleaned)).faults == {}
    by_us(cleaned, 7)
    assert (ids(cleaned), check(opened(cleaned)).faults) == ([*ALL, 7], {})


@pytest.mark.parametrize("lost", [3, 5, 6], ids=["before it", "after it", "the newest"])
def test_where_a_commit_after_the_older_checkpoint_is_damaged_too_none_is_moved_and_none_stands_as_if_whole(
    cleaned, lost
):
    sums(cleaned, 4).write_bytes(b"")
    log(cleaned, lost).write_text("{") if lost < 6 else sums(cleaned, 4).rename(sums(cleaned, 7))
    known.forget(cleaned)
    with pytest.raises(Unreadable, match="see what mends it: lakehouse table check"):
        Handle.open(cleaned)
    culprit = log(cleaned, lost if lost < 6 else 7).name
    with pytest.raises(Refused, match=rf"{culprit} is missing or damaged, .*Nothing was moved.*; else make it anew$"):
        heal.repair_checkpoints(cleaned, "make it anew")
    assert aside(cleaned) == []


def test_a_repair_of_a_cleaned_log_moves_what_cannot_be_read_and_never_what_the_table_stands_on(cleaned):
    sums(cleaned, 4).write_bytes(b"")
    assert heal.repair_checkpoints(cleaned, "") == [f"_delta_log/{name}" for name in (sums(cleaned, 4).name, POINTER)]
    assert sums(cleaned, 2).exists()
    assert heal.repair_checkpoints(cleaned, "") == []
    opened(cleaned).checkpoint()
    assert (ids(cleaned), check(opened(cleaned)).faults) == (ALL, {})
    for version in (2, 6):
        sums(cleaned, version).write_bytes(b"")
    with pytest.raises(Refused, match=rf"{0:020d}\.json is missing"):
        heal.repair_checkpoints(cleaned, "")


def test_a_repair_leaves_the_checkpoint_that_stands_for_a_damaged_commit(summed):
    log(summed, 1).write_bytes(log(summed, 1).read_bytes()[:9])
    assert ids(summed) == [1, 2]
    assert heal.repair_checkpoints(summed, "") == []
    assert ids(summed) == [1, 2]


def test_of_a_torn_commit_with_a_torn_checkpoint_the_version_before_stands(summed):
    opened(summed).checkpoint()
    log(summed, 2).write_bytes(b"")
    sums(summed, 2).write_bytes(b"")
    assert ids(summed) == [1]
    assert sorted(aside(summed)) == [sums(summed, 2).name, log(summed, 2).name, "_last_checkpoint"]


def test_a_checkpoint_of_which_a_part_is_missing_is_not_needed(cleaned):
    part = f"{4:020d}.checkpoint.{1:010d}.{2:010d}.parquet"
    sums(cleaned, 4).rename(log(cleaned, part))
    log(cleaned, POINTER).write_text('{"version":4,"size":9,"parts":2}')
    assert ids(cleaned) == ALL
    assert aside(cleaned) == [part, POINTER]


def test_a_panic_of_delta_rs_over_a_checkpoint_is_an_unreadable_table(summed, monkeypatch):
    """A single bit of a checkpoint can bring it about; it is no Exception, and deltalake does not export it."""

    def panics(*_: object, **__: object) -> None:
        raise type("PanicException", (BaseException,), {})("TokioMultiThreadExecutor has crashed: RecvError")

    known.forget(summed)
    monkeypatch.setattr(foreign, "DeltaTable", panics)
    with pytest.raises(Unreadable, match="no Delta table that can be read: TokioMultiThreadExecutor has crashed"):
        Handle.open(summed)


def test_a_checkpoint_that_tells_of_other_files_is_found_and_made_anew(summed):
    """As a bit that fell over in a page reads: no error."""
    rows = pl.read_parquet(checkpoint(summed))
    is_add = pl.col("add").is_not_null()
    rows.filter(~is_add).write_parquet(checkpoint(summed))
    assert ids(summed) == [2]
    faults = check(opened(summed)).faults
    assert faults.keys() == {f"_delta_log/{checkpoint(summed).name}"}
    assert "other files than the log" in faults[f"_delta_log/{checkpoint(summed).name}"]
    assert check(opened(summed)).only_sums
    heal.repair_checkpoints(summed, "make it anew")
    assert aside(summed) == [checkpoint(summed).name, "_last_checkpoint"]
    opened(summed).checkpoint()
    assert (ids(summed), check(opened(summed)).faults) == ([1, 2], {})


def test_a_checkpoint_without_a_pointer_is_one(summed):
    """A run was killed between the two, and another sums up the same version."""
    handle = opened(summed)
    handle.checkpoint()
    log(summed, "_last_checkpoint").unlink()
    handle.checkpoint()
    assert ids(summed) == [1, 2]


def test_a_commit_gets_its_name_when_it_has_all_its_bytes_and_they_are_durable(address, monkeypatch):
    """On a local disk: a power cut leaves none that is torn, and nobody builds on one that may go."""
    done = list[str]()
    Path(address.uri, "_delta_log").mkdir(parents=True)
    fsync, named = os.fsync, Path.hardlink_to
    monkeypatch.setattr(os, "fsync", lambda file: (done.append("durable"), fsync(file)))
    monkeypatch.setattr(Path, "hardlink_to", lambda to, part: (done.append(part.read_text()), named(to, part)))
    store.create(address, "_delta_log/1.json", b"all")
    assert done == ["durable", "all"]
    assert [path.name for path in log(address, "").iterdir()] == ["1.json"]


def test_who_holds_an_older_version_than_the_one_before_a_torn_commit_goes_on_as_well(address):
    """What came in between tells of itself, the torn one of nothing: neither opening nor a commit stumbles over it."""
    held = opened(append(Handle.create(address, SCHEMA), pl.LazyFrame({"id": [1]}), {}, {}).handle.address)
    waiting = prepare_append(held, pl.DataFrame({"id": [9]}))
    for number in (2, 3):
        by_us(address, number)
    log(address, 3).write_bytes(log(address, 3).read_bytes()[:50])
    torn = log(address, 3).read_bytes()
    known.keep(held)
    again = Handle.open(address)
    assert again is not None
    assert again.version == 2
    log(address, 3).write_bytes(torn)
    assert waiting.commit({}, {}).version == 3
    assert ids(address) == [1, 2, 9]


def test_two_who_find_a_checkpoint_broken_at_once_both_open_the_table(summed, monkeypatch):
    """The other has moved it aside after this one has seen it, and before this one moves it."""
    checkpoint(summed).write_bytes(b"")
    move, is_first = heal._move, True

    def late(file: Path) -> Path:
        nonlocal is_first
        if is_first:
            is_first = False
            move(file)
        return move(file)

    monkeypatch.setattr(heal, "_move", late)
    assert ids(summed) == [1, 2]


def test_who_finds_a_table_torn_that_another_has_healed_meanwhile_opens_it(commit, address, monkeypatch):
    commit(address, 1)
    commit(address, 2)
    log(address, 2).write_bytes(b"")
    read = Handle._read

    def late(place: Address, version: int | None) -> Handle | None:
        try:
            return read(place, version)
        finally:
            heal.heal(address)

    monkeypatch.setattr(Handle, "_read", late)
    assert ids(address) == [1]
