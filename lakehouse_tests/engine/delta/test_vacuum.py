"""What vacuum takes away, and what it must leave."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta import known, store
from lakehouse.engine.delta.handle import CHECKPOINT_EVERY, Handle
from lakehouse.engine.delta.optimize import Aim, compact
from lakehouse.engine.delta.place import log_file, log_name
from lakehouse.engine.delta.refused import Unreadable
from lakehouse.engine.delta.retention import agreed, hours_of, promise
from lakehouse.engine.delta.slices import changed_slices
from lakehouse.engine.delta.travel import at_version, committed_at
from lakehouse.engine.delta.vacuum import plan_vacuum, refuse_short, sweep
from lakehouse_tests.engine.delta.opening import opened
from lakehouse_tests.engine.delta.writing import append, merge

SCHEMA = pl.Schema({"day": pl.String(), "id": pl.Int64()})
WEEK = 168
DAY = timedelta(days=1)


def rows(*ids: int, day: str = "d") -> pl.LazyFrame:
    return pl.LazyFrame({"day": [day] * len(ids), "id": ids}, schema=SCHEMA)


def grown(address: Address, versions: int, *partition_by: str) -> Handle:
    """Of so many appends of one row each."""
    handle = Handle.create(address, SCHEMA, partition_by=partition_by)
    for number in range(versions):
        handle = append(handle, rows(number, day=f"a/b'c=%&é {number % 2}"), {}, {}).handle
    return handle


def aged(handle: Handle, ages: dict[int, timedelta]) -> Handle:
    """As if these versions, and the files that they added, had been written so long ago."""
    now = datetime.now(UTC)
    for version, age in ages.items():
        then = now - age
        log = Path(log_file(handle.address, version))
        said = handle.commit_of(version).info.get("timestamp") or 0
        log.write_text(log.read_text().replace(f'"timestamp":{said}', f'"timestamp":{int(then.timestamp() * 1000)}'))
        for add in handle.commit_of(version).of("add"):
            for file in Path(handle.address.uri).rglob(add["path"].rpartition("/")[2]):
                os.utime(file, (then.timestamp(), then.timestamp()))
    return opened(handle.address)


def names(handle: Handle) -> set[str]:
    return {name for name in store.sizes(handle.address) if not name.startswith("_delta_log")}


def standing_names(handle: Handle) -> set[str]:
    return set(handle.files()["path"])


def readable(handle: Handle) -> list[int]:
    def reads(version: int) -> bool:
        try:
            at_version(handle, version).scan().collect()
        except Refused:
            return False
        return True

    return [version for version in range(handle.version + 1) if reads(version)]


@pytest.mark.parametrize("partition_by", [(), ("day",)], ids=["whole", "in folders of odd names"])
def test_what_the_window_promises_stays_readable_and_what_is_older_is_refused(address: Address, partition_by):
    handle = grown(address, 4, *partition_by)
    handle = compact(handle, Aim(in_order=False)).handle
    handle = append(handle, rows(9), {}, {}).handle
    old = dict.fromkeys(range(3), 20 * DAY) | {3: 10 * DAY, 4: 9 * DAY, 5: 8 * DAY, 6: DAY}
    handle = aged(handle, old)
    before = handle.scan().sort("id").collect()

    planned = plan_vacuum(handle, WEEK, {})
    assert (planned.oldest, len(planned.files)) == (5, 4), "version 5 stood a week ago, and joined all four"
    assert planned.files == {name: store.sizes(address)[name] for name in planned.files}
    was = names(handle)
    assert names(handle) == was, "a plan takes nothing away"
    sweep(planned)
    assert names(handle) == was - set(planned.files)
    assert readable(handle) == [0, 5, 6]
    assert handle.scan().sort("id").collect().equals(before)
    with pytest.raises(Refused, match=r"version 3 can no longer be read: 3 files of it missing, "):
        at_version(handle, 3)
    assert plan_vacuum(handle, WEEK, {}).files == {}


def test_what_a_version_within_the_window_refers_to_stays(address: Address):
    handle = compact(grown(address, 4), Aim()).handle
    handle = aged(handle, dict.fromkeys(range(5), 20 * DAY))
    assert plan_vacuum(handle, WEEK, {}).files == {}, "the compaction is of just now: its files went just now"
    assert len(plan_vacuum(handle, 0, {}).files) == 4


def test_a_file_that_may_be_committed_yet_stays_until_it_is_as_old_as_the_window(address: Address):
    handle = grown(address, 1)
    stray = Path(address.uri, "stray.parquet")
    stray.write_bytes(b"PAR1")
    assert (plan_vacuum(handle, WEEK, {}).files, plan_vacuum(handle, WEEK, {}).young) == ({}, 1)
    then = time.time() - 8 * 86_400
    os.utime(stray, (then, then))
    assert plan_vacuum(handle, WEEK, {}).files == {"stray.parquet": 4}


def test_what_is_no_data_file_or_hidden_stays(address: Address):
    handle = grown(address, 1)
    for name in ("notes.txt", "_change_data/cdc.parquet", ".hidden/x.parquet", "_tmp.parquet", "_day=1/x.parquet"):
        file = Path(address.uri, name)
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"x")
    assert set(plan_vacuum(handle, 0, {}).files) == {"_day=1/x.parquet"}, "a partition's folder may begin with _"


HALVES = {
    f"_delta_log/.{'0a' * 8}.tmp",
    "_delta_log/00000000000000000003.json#1",
    "_delta_log/00000000000000000010.checkpoint.parquet#2",
    "_delta_log/_last_checkpoint#1",
    "day=d/x.parquet#1",
    f".{'f0' * 8}.tmp",
}


def test_what_a_killed_write_has_left_goes_when_it_is_older_than_the_window(address: Address):
    handle = grown(address, 3)
    others = {".keep.tmp", ".0a0a.tmp", "notes#1", "_delta_log/mine.txt#1", "a#1/b.txt", "_delta_log/x.json#one"}
    for name in HALVES | others:
        file = Path(address.uri, name)
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"half")
    there = {each for each in Path(address.uri).rglob("*") if each.is_file()}
    assert not set(plan_vacuum(handle, WEEK, {}).files), "one may be about to be given its name"
    assert plan_vacuum(handle, WEEK, {}).young == len(HALVES)
    then = time.time() - 8 * 86_400
    for name in HALVES | others:
        os.utime(Path(address.uri, name), (then, then))
    planned = plan_vacuum(handle, WEEK, {})
    assert planned.files == dict.fromkeys(HALVES, 4)
    sweep(planned)
    assert there - set(Path(address.uri).rglob("*")) == {Path(address.uri, name) for name in HALVES}
    assert opened(address).scan().collect().height == 3
    sweep(planned)  # another was first


def test_a_write_that_is_done_while_it_is_looked_for_is_none(address: Address, monkeypatch: pytest.MonkeyPatch):
    handle, half = grown(address, 1), Path(address.uri, f"_delta_log/.{'0a' * 8}.tmp")
    half.write_bytes(b"half")
    real = Path.lstat

    def too_late(file: Path) -> os.stat_result:
        file.unlink(missing_ok=True)
        return real(file)

    monkeypatch.setattr(Path, "lstat", too_late)
    assert plan_vacuum(handle, 0, {}).files == {}


def test_so_does_what_was_left_where_a_process_was_killed_as_it_committed(address: Address):
    grown(address, 1)
    script = f"""
        import os, signal
        from pathlib import Path
        import obstore
        from obstore.store import LocalStore
        from lakehouse.engine.declare.ports import Address
        from lakehouse.engine.delta import store
        half = obstore.open_writer(LocalStore({address.uri!r}), "x.parquet", buffer_size=1)
        half.write(b"half")
        half.flush()
        Path.hardlink_to = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        store.create(Address({address.uri!r}), "_delta_log/{2:020d}.json", b"half")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], env=dict(os.environ), check=False)
    assert done.returncode == -signal.SIGKILL
    left = [*Path(address.uri, "_delta_log").glob(".*.tmp"), *Path(address.uri).glob("x.parquet#*")]
    assert len(left) == 2
    sweep(plan_vacuum(opened(address), 0, {}))
    assert not any(each.exists() for each in left)


def test_a_reader_that_is_behind_finds_all_that_it_has_yet_to_read(address: Address):
    handle = grown(address, 4)
    handle = compact(handle, Aim()).handle
    handle = merge(handle, rows(1), ["id"], {}, {}).handle
    handle = aged(handle, dict.fromkeys(range(handle.version), 20 * DAY))
    behind = {"silver/new": 2}
    planned = plan_vacuum(handle, 0, behind)
    there = names(handle)
    sweep(planned)
    held = planned.held["silver/new"]
    assert (held.position, held.since, held.files) == (2, committed_at(handle.commit_of(3)), 3)
    assert f"from version 3 ({datetime.now(UTC) - 20 * DAY:%Y-%m-%d} " in held.told
    assert there - names(handle) == planned.files.keys() - set(planned.log)
    assert held.bytes == sum(Path(address.uri, name).stat().st_size for name in names(handle) - standing_names(handle))
    assert opened(address, 5).since(2).collect()["id"].to_list() == [2, 3], "these files were compacted away"
    assert changed_slices(handle, 2, ["id"]) is not None
    sweep(plan_vacuum(handle, 0, {}))
    with pytest.raises(Refused, match="compacted and cleaned away"):
        opened(address, 5).since(2)


def test_files_of_a_clone_that_lie_elsewhere_are_not_touched(address: Address, tmp_path: Path):
    origin = grown(address, 3)
    clone = Address(str(tmp_path / "clone"))
    shutil.copytree(Path(address.uri, "_delta_log"), Path(clone.uri, "_delta_log"))
    for log in Path(clone.uri, "_delta_log").glob("*.json"):
        log.write_text(log.read_text().replace('"path":"0', f'"path":"{address.uri}/0'))
    with pytest.raises(Unreadable, match=r"holds 3 files of another folder .* as a shallow clone does"):
        plan_vacuum(opened(clone), 0, {})
    assert origin.scan().collect()["id"].to_list() == [0, 1, 2]


def test_a_table_that_is_not_whole_is_left_alone(address: Address):
    handle = compact(grown(address, 3), Aim()).handle
    handle = append(handle, rows(9), {}, {}).handle
    Path(address.uri, handle.files()["path"][1]).unlink()
    with pytest.raises(Refused, match=r"1 file of version 5 is not where the log says .* Nothing was removed"):
        plan_vacuum(handle, 0, {})


def test_the_log_goes_up_to_a_checkpoint_and_never_what_a_reader_needs(address: Address):
    handle = grown(address, 2 * CHECKPOINT_EVERY + 3)
    last = handle.version
    handle = aged(handle, dict.fromkeys(range(last - 1), 20 * DAY))
    logs = lambda planned: sorted({int(name[11:31]) for name in planned.log})  # noqa: E731
    assert logs(plan_vacuum(handle, WEEK, {})) == list(range(2 * CHECKPOINT_EVERY))
    assert logs(plan_vacuum(handle, WEEK, {"silver/new": CHECKPOINT_EVERY + 2})) == list(range(CHECKPOINT_EVERY))
    assert logs(plan_vacuum(handle, WEEK, {"silver/new": 3})) == []
    assert logs(plan_vacuum(handle, WEEK, {}, log_from=lambda _: 3)) == [], "a quarantine that was not looked through"
    before = handle.scan().collect()
    sweep(plan_vacuum(handle, WEEK, {}))
    again = opened(address)
    assert again.scan().collect().equals(before)
    assert readable(again) == list(range(2 * CHECKPOINT_EVERY, last + 1))
    with pytest.raises(Refused, match=r"version 3 can no longer be read: its log was cleaned away"):
        at_version(again, 3)
    again = append(again, rows(99), {}, {}).handle
    assert again.since(last).collect()["id"].to_list() == [99]
    assert plan_vacuum(again, WEEK, {}).log == {}


@pytest.mark.parametrize(
    ("left", "readers"),
    [
        ((0, 3, CHECKPOINT_EVERY - 1), {}),
        (range(CHECKPOINT_EVERY - 4, CHECKPOINT_EVERY), {"silver/new": CHECKPOINT_EVERY - 2}),
        (range(CHECKPOINT_EVERY - 4, CHECKPOINT_EVERY), {"silver/new": CHECKPOINT_EVERY + 1}),
        ((), {"silver/new": CHECKPOINT_EVERY - 2}),
    ],
)
def test_what_a_vacuum_that_was_cut_off_has_left_of_the_log_is_none(address: Address, left, readers):
    """What it took away goes in any order where the power is cut."""
    handle = grown(address, CHECKPOINT_EVERY + 3)
    for version in set(range(CHECKPOINT_EVERY)) - set(left):
        Path(log_file(address, version)).unlink()
    planned = plan_vacuum(opened(address), WEEK, readers)
    assert planned.oldest == CHECKPOINT_EVERY
    held = readers.get("silver/new") == CHECKPOINT_EVERY - 2 and CHECKPOINT_EVERY - 1 in left
    assert sorted(planned.log) == ([] if held else sorted(map(log_name, left)))
    sweep(planned)
    assert opened(address).scan().collect().equals(handle.scan().collect())


def test_the_log_stays_where_its_checkpoint_cannot_be_read(address: Address):
    handle = grown(address, CHECKPOINT_EVERY + 1)
    handle = aged(handle, dict.fromkeys(range(handle.version + 1), 20 * DAY))
    assert len(plan_vacuum(handle, WEEK, {}).log) == CHECKPOINT_EVERY
    checkpoint = Path(log_file(address, CHECKPOINT_EVERY).replace(".json", ".checkpoint.parquet"))
    pointer = Path(address.uri, "_delta_log", "_last_checkpoint")
    said = pointer.read_text()
    pointer.unlink()
    assert plan_vacuum(handle, WEEK, {}).log == {}, "who opens the table would not find it"
    pointer.write_text(said)
    checkpoint.write_bytes(checkpoint.read_bytes()[:500])
    with pytest.raises(Refused, match=r"checkpoint\.parquet cannot be read .* Nothing was removed"):
        plan_vacuum(handle, WEEK, {})


def test_less_than_a_week_or_than_is_promised_is_refused_with_who_could_break(address: Address):
    handle = grown(address, 3)
    refuse_short(handle, WEEK, {})
    with pytest.raises(Refused) as why:
        refuse_short(handle, 1, {"silver/orders": 1, "silver/lines": 3})
    assert "1 hours is less than 168" in str(why.value)
    assert "silver/orders stands at version 1 of 3: what it has yet to read is kept" in str(why.value)
    assert "silver/lines" not in str(why.value)
    assert "--override-retention" in str(why.value)
    promised = promise(handle, 720)
    with pytest.raises(Refused, match="200 hours is less than 720 that the table promises"):
        refuse_short(promised, 200, {})


def test_a_promise_is_delta_s_own_properties_and_no_reader_takes_it_for_new_rows(address: Address):
    handle = grown(address, 2)
    assert hours_of(handle) is None
    promised = promise(handle, 720)
    assert (promised.version, hours_of(promised), promised.protocol) == (3, 720, (1, 2))
    assert promise(promised, 720).version == 3
    configuration = DeltaTable(address.uri).metadata().configuration
    assert configuration["delta.deletedFileRetentionDuration"] == "interval 720 hours"
    assert configuration["delta.logRetentionDuration"] == "interval 720 hours"
    assert configuration["delta.enableExpiredLogCleanup"] == "false", "others would clean away what readers need"
    assert promised.appended(2) == []
    changed = changed_slices(promised, 0, ["id"])
    assert changed is not None
    assert len(changed) == 2, "the columns are the same, so what changed can be told"
    assert append(promised, rows(7), {}, {}).handle.scan().collect().height == 3


def test_what_a_policy_promised_it_may_lower_and_what_another_has_set_is_kept(address: Address):
    handle = grown(address, 1)
    assert agreed("silver/t", handle, 200) == (200, "")
    ours = promise(handle, 720)
    assert agreed("silver/t", ours, 720) == (720, "")
    assert agreed("silver/t", ours, 999) == (999, "")
    assert agreed("silver/t", ours, 200) == (200, "lowered from 720 to 200 hours, as `upkeep:` says now")
    DeltaTable(address.uri).alter.set_table_properties({"delta.logRetentionDuration": "interval 60 days"})
    theirs = opened(address)
    assert hours_of(theirs) == 720
    hours, said = agreed("silver/t", theirs, 720)
    assert hours == 1440
    assert said.startswith("kept at 1440 hours, which were not set by `upkeep:`; it says 720. ")
    assert agreed("silver/t", promise(theirs, 1440), 1440) == (1440, "")


def promising(address: Address, said: str) -> Handle:
    """In one of the two properties."""
    told = {"configuration": {"delta.deletedFileRetentionDuration": said}}
    return grown(address, 1).commit([], [], {}, {}, asks=lambda stands, _: (None, stands.metadata | told))


@pytest.mark.parametrize(
    ("said", "hours"),
    [
        ("interval 43200 minutes", 720),
        ("interval 43201 minutes", 721),
        ("INTERVAL  2 Weeks  3 DAYS", 408),
        ("1 week 1 day 1 hour 1 minute 1 second 1 millisecond 1 microsecond", 194),
        (f"interval {720 * 3_600_000_000} microseconds", 720),
        ("30 days", 720),
    ],
)
def test_a_promise_is_read_in_every_unit_up_to_whole_hours(address: Address, said: str, hours: int):
    theirs = promising(address, said)
    assert hours_of(theirs) == hours
    assert agreed("silver/t", theirs, 168)[0] == hours
    with pytest.raises(Refused, match=f"168 hours is less than {hours} that the table promises"):
        refuse_short(theirs, 168, {})


@pytest.mark.parametrize("said", ["interval 1 year", "P30D", "30", "interval 3 days or so", "interval -3 days", ""])
def test_nothing_goes_of_a_table_that_promises_what_is_not_understood(address: Address, said: str):
    theirs = promising(address, said)
    why = rf"promises to keep '{said}' \(delta\.deletedFileRetentionDuration\), which is not .* Nothing was removed"
    with pytest.raises(Refused, match=why):
        agreed("silver/t", theirs, 720)
    with pytest.raises(Refused, match=why):
        refuse_short(theirs, 720, {})
    assert hours_of(promise(theirs, 720)) == 720, "as where it is overridden"


def test_what_another_has_set_is_not_taken_for_a_policy_s_where_it_says_the_same(address: Address):
    properties = {
        "delta.logRetentionDuration": "interval 30 days",
        "delta.deletedFileRetentionDuration": "interval 720 hours",
    }
    DeltaTable(grown(address, 1).address.uri).alter.set_table_properties(properties)
    theirs = promise(opened(address), 720)
    assert agreed("silver/t", theirs, 720) == (720, "")
    assert agreed("silver/t", theirs, 168)[0] == 720


def test_a_handle_outlives_the_log_that_it_was_opened_from(address: Address):
    """deltalake looks there only when it is asked for a transaction: a process that lives long was told of no file."""
    append(append(grown(address, 3), rows(8), {"position": 7}, {}).handle, rows(9), {}, {})
    known.forget(address)
    old = opened(address)
    DeltaTable(address.uri).create_checkpoint()
    for version in range(old.version):
        Path(address.uri, f"_delta_log/{version:020d}.json").unlink()
    assert (old.transaction("nobody"), old.transaction("position")) == (None, 7)


def test_what_promises_more_than_a_calendar_holds_is_kept_whole(address):
    handle = promise(aged(grown(address, 3), {1: 400 * DAY}), 100_000_000)
    swept = plan_vacuum(handle, hours_of(handle) or 0, {})
    assert (swept.files, swept.log, swept.oldest, swept.hours) == ({}, {}, 0, 100_000_000)
