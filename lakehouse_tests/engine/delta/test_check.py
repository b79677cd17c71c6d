import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta import known
from lakehouse.engine.delta.check import check
from lakehouse.engine.delta.handle import CHECKPOINT_EVERY, Handle
from lakehouse.engine.delta.optimize import Aim, compact, zorder
from lakehouse.engine.delta.place import log_file
from lakehouse.engine.delta.refused import Unreadable
from lakehouse.engine.delta.restore import prepare_restore, restore
from lakehouse.engine.delta.writes import overwrite, replace_slice
from lakehouse_tests.engine.delta.opening import opened
from lakehouse_tests.engine.delta.writing import append, merge

ROWS = pl.LazyFrame(
    {"id": range(500), "note": [f"note {i}" for i in range(500)], "tags": [["a", str(i)] for i in range(500)]}
)
SCHEMA = ROWS.collect_schema()


@pytest.fixture
def grown(address: Address) -> Handle:
    """Past a checkpoint, so that some files are told of by that alone; all hold the same rows but the first."""
    handle = Handle.create(address, SCHEMA)
    for _ in range(CHECKPOINT_EVERY + 2):
        handle = append(handle, ROWS, {}, {}).handle
    return handle


def file_of(handle: Handle, place: int) -> Path:
    return Path(handle.address.uri, handle.files()["path"][place])


def test_a_table_as_it_was_written_has_no_faults(grown: Handle):
    found = check(grown)
    files = CHECKPOINT_EVERY + 2
    assert (found.faults, found.files, found.summed, found.rows, found.unused) == ({}, files, files, files * 500, 0)


@pytest.mark.parametrize("place", [0, -1], ids=["told of by the checkpoint", "told of by the log"])
def test_a_bit_that_fell_over_is_found_wherever_it_is(grown: Handle, place: int):
    file = file_of(grown, place)
    whole = file.read_bytes()
    dice = random.Random(20261122)
    for at in [0, len(whole) - 1, *(dice.randrange(len(whole)) for _ in range(20))]:
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << dice.randrange(8)]) + whole[at + 1 :])
        assert check(grown).faults == {file.name: "is not as it was written: its checksum is another"}
    file.write_bytes(whole)
    assert check(grown).faults == {}


def test_a_file_that_is_gone_or_cut_is_found(grown: Handle):
    gone, cut = file_of(grown, 1), file_of(grown, 2)
    size = cut.stat().st_size
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:-7])
    assert check(grown).faults == {
        gone.name: "is not there",
        cut.name: f"has {size - 7:,} bytes, and {size:,} by the log",
    }


ANEW: dict[str, Callable[[Handle], object]] = {
    "a compaction": lambda handle: compact(handle, Aim()),
    "a z-order": lambda handle: zorder(handle, ["id"], Aim()),
    "a merge": lambda handle: merge(handle, ROWS.head(1), ["id"], {}, {}),
    "a replaced slice": lambda handle: replace_slice(handle, ROWS.head(1), pl.col("id") == 0, {}, {}),
}


@pytest.mark.parametrize("write", ANEW.values(), ids=ANEW.keys())
@pytest.mark.parametrize("is_cut", [False, True], ids=["that reads", "that does not read to its end"])
def test_what_is_not_as_it_was_written_is_not_written_anew(address: Address, write: Callable, *, is_cut: bool):
    handle = Handle.create(address, SCHEMA)
    for part in (ROWS, ROWS.with_columns(pl.col("id") + 500)):
        handle = append(handle, part, {}, {}).handle
    file = file_of(handle, 0)
    whole = file.read_bytes()
    if is_cut:
        half = len(whole) // 2  # behind the keys
        file.write_bytes(whole[:half] + bytes(100) + whole[half + 100 :])
    else:
        ROWS.with_columns(note=pl.lit("another")).collect().write_parquet(file)
    with pytest.raises(Unreadable, match=rf"{file.name} is not as it was written .*version 2 stands\. What mends it"):
        write(handle)
    stands = Handle.open(address)
    assert stands is not None
    assert stands.version == 2
    file.write_bytes(whole)
    write(stands)


def test_without_a_checksum_a_file_is_held_against_what_the_log_says_of_it(address: Address):
    write_deltalake(address.uri, ROWS.collect())
    handle = Handle.open(address)
    assert handle
    assert (check(handle).faults, check(handle).summed) == ({}, 0)
    file = file_of(handle, 0)
    size = file.stat().st_size
    ROWS.with_columns(pl.col("id") - 1, note=pl.lit(None, pl.String)).head(499).collect().write_parquet(file)
    said = check(handle).faults[file.name]
    assert said.startswith(f"has {file.stat().st_size:,} bytes, and {size:,} by the log")
    pad(address, file, size)
    handle = Handle.open(address, 0)  # anew
    assert handle
    assert check(handle).faults[file.name] == (
        "rows is 499, and 500 by the log; min.id is -1, and 0 by the log; null_count.note is 499, and 0 by the log"
    )


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_a_bound_of_a_time_that_another_engine_has_cut_to_milliseconds_is_no_damage(address: Address, zone: str | None):
    at = pl.Series("at", ["2024-05-01 09:00:00.789999"]).str.to_datetime().dt.replace_time_zone(zone)
    write_deltalake(address.uri, at.to_frame())
    assert check(opened(address)).faults == {}
    log = Path(address.uri, "_delta_log", f"{0:020d}.json")
    log.write_text(log.read_text().replace("09:00:00.789", "09:00:00.788999"))
    known.forget(address)
    lie = "max.at is 2024-05-01 09:00:00.789999{0}, and 2024-05-01 09:00:00.788999{0} by the log"
    assert [*check(opened(address)).faults.values()] == [lie.format("+00:00" if zone else "")]


def pad(address: Address, file: Path, size: int) -> None:
    """Let the log say of the file the size that it has."""
    log = Path(address.uri, "_delta_log", f"{0:020d}.json")
    log.write_text(log.read_text().replace(f'"size":{size}', f'"size":{file.stat().st_size}'))


def test_a_log_that_begins_at_a_checkpoint_has_no_faults_also_without_the_pointer_to_it(grown: Handle):
    for version in range(CHECKPOINT_EVERY):
        Path(log_file(grown.address, version)).unlink()
    assert check(grown).faults == {}
    pointer = Path(grown.address.uri, "_delta_log/_last_checkpoint")
    pointer.write_bytes(b"{")
    assert (check(grown).faults, check(grown).only_sums) == ({"_delta_log/_last_checkpoint": "cannot be read"}, True)
    pointer.unlink()
    assert (check(grown).faults, check(grown).summed) == ({}, CHECKPOINT_EVERY + 2)


@pytest.mark.parametrize("kind", ["json", "checkpoint.parquet"])
def test_a_damaged_log_is_named(grown: Handle, kind: str):
    version = CHECKPOINT_EVERY + (kind == "json")
    name = f"_delta_log/{version:020d}.{kind}"
    file = Path(grown.address.uri, name)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert check(grown).faults[name].startswith("cannot be read: ")
    file.write_bytes(b"")
    assert name in check(grown).faults
    file.unlink()
    assert check(grown).faults[name] == "is not there"


@pytest.mark.parametrize("commits", [2, CHECKPOINT_EVERY + 1], ids=["after a checkpoint or none", "before one"])
def test_a_version_that_took_files_which_were_gone_is_named_until_the_table_is_put_back(address: Address, commits: int):
    """As delta-rs' `optimize` does, right after another one."""
    handle = Handle.create(address, SCHEMA)
    for _ in range(CHECKPOINT_EVERY - 3):
        handle = append(handle, ROWS, {}, {}).handle
    was = Path(log_file(address, (laid := compact(handle, Aim()).handle).version)).read_text()
    doubled = was.replace(laid.files()["path"][0], "again.parquet").replace('"lakehouse:0.1.0"', '"delta-rs:1"')
    Path(address.uri, "again.parquet").write_bytes(file_of(laid, 0).read_bytes())
    Path(log_file(address, laid.version + 1)).write_text(doubled)
    known.forget(address)
    handle = opened(address)
    assert handle.rows == laid.rows * 2
    for _ in range(commits):
        handle = append(handle, ROWS, {}, {}).handle
    (name, why), *others = check(handle).faults.items()
    assert (name, others) == (f"_delta_log/{laid.version + 1:020d}.json", [])
    assert why.startswith("(WRITE by delta-rs:1) replaces 7 files, of which 7 were gone already: rows may stand twice")
    whole = overwrite(handle, ROWS, {}, {}).handle
    assert check(whole).faults == {}
    again = restore(prepare_restore(whole, handle.version), None)
    assert name in check(again).faults
    assert check(restore(prepare_restore(again, laid.version), None)).faults == {}


def test_what_no_version_holds_is_counted_and_is_no_fault(grown: Handle):
    merged = merge(grown, ROWS.head(1), ["id"], {}, {}).handle
    Path(grown.address.uri, "left.parquet").write_bytes(b"12345")
    found = check(merged)
    replaced = set(grown.files()["path"]) - set(merged.files()["path"])
    assert found.faults == {}
    assert found.unused == len(replaced) + 1
    assert found.unused_bytes == 5 + sum(Path(grown.address.uri, name).stat().st_size for name in replaced)


def test_the_files_of_a_table_in_another_ones_folder_are_not_counted_with_it(grown: Handle):
    before = check(grown)
    within = Handle.create(grown.address / "within", grown.schema)
    append(within, ROWS, {}, {})
    assert check(grown) == before


def test_the_checksum_is_that_of_the_file_and_other_engines_pass_it_on(grown: Handle):
    DeltaTable(grown.address.uri).create_checkpoint()
    for version in range(grown.version):
        Path(grown.address.uri, "_delta_log", f"{version:020d}.json").unlink()
    checkpoint = Path(grown.address.uri, "_delta_log", f"{grown.version:020d}.checkpoint.parquet")
    adds = pl.read_parquet(checkpoint)["add"].drop_nulls().to_list()
    assert {add["path"]: dict(add["tags"])["lakehouse.sha256"] for add in adds} == {
        name: hashlib.sha256(Path(grown.address.uri, name).read_bytes()).hexdigest() for name in grown.files()["path"]
    }
