"""Small files are joined and rows laid along a Z-curve: the same rows, in fewer or better files."""

import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.engine.declare.errors import Conflict, Refused
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.readers import Reader
from lakehouse.engine.delta import optimize, prepared, store
from lakehouse.engine.delta.check import check
from lakehouse.engine.delta.evolution import evolve
from lakehouse.engine.delta.files import write_files
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.log import only_upkeep
from lakehouse.engine.delta.optimize import Aim, compact, layout, plan, zorder
from lakehouse.engine.delta.protocol import for_readers
from lakehouse.engine.delta.pruning import may_hold
from lakehouse.engine.delta.retention import promise
from lakehouse.engine.delta.slices import changed_slices
from lakehouse.engine.delta.travel import history
from lakehouse_tests.engine.delta.opening import opened
from lakehouse_tests.engine.delta.writing import append, merge

SCHEMA = pl.Schema({"day": pl.String(), "id": pl.Int64()})


def rows(*ids: int, day: str = "d") -> pl.LazyFrame:
    return pl.LazyFrame({"day": [day] * len(ids), "id": ids}, schema=SCHEMA)


def grown(address: Address, versions: int, *partition_by: str) -> Handle:
    """Of so many appends of two rows each, of two days in turn."""
    handle = Handle.create(address, SCHEMA, partition_by=partition_by)
    for number in range(versions):
        both = pl.concat([rows(2 * number, day="b"), rows(2 * number + 1, day="a")])
        handle = append(handle, both, {"reader": number}, {}).handle
    return handle


def ids(handle: Handle) -> list[int]:
    return handle.scan().collect()["id"].to_list()


def test_small_files_become_one_and_rows_keep_their_order(address: Address, duckdb_rows):
    handle = grown(address, 12)
    before = plan(handle, Aim()).before
    assert (before.files, before.small_ratio, before.worst) == (12, 1.0, 1.0)
    done = compact(handle, Aim())
    assert (done.rewritten, done.made, done.left, done.after.files) == (12, 1, 0, 1)
    assert done.after.bytes < done.before.bytes
    assert ids(done.handle) == list(range(24))
    assert ids(opened(address)) == list(range(24))
    assert duckdb_rows(done.handle) == sorted(handle.scan().collect().rows(), key=repr)
    assert done.handle.transaction("reader") == 11
    assert check(done.handle).faults == {}
    assert check(done.handle).summed == 1, "the new file has a checksum"


def test_what_comes_later_stays_behind_what_was_joined(address: Address):
    """The joined file sorts where its first was, however often that happens."""
    handle = grown(address, 3)
    lengths = set[int]()
    for number in range(4):
        handle = compact(handle, Aim()).handle
        lengths.add(len(handle.files()["path"][0]))
        handle = append(handle, rows(100 + number), {}, {}).handle
        assert ids(opened(address)) == [*range(6), *range(100, 101 + number)]
    assert len(lengths) == 1, "its name does not grow"


def test_files_of_a_good_size_stay_and_what_lies_between_is_joined(address: Address):
    handle = grown(address, 3)
    big = pl.LazyFrame({"day": [str(i) for i in range(5000)], "id": range(1000, 6000)}, schema=SCHEMA)
    handle = append(handle, big, {}, {}).handle
    handle = append(append(handle, rows(7000), {}, {}).handle, rows(7001), {}, {}).handle
    large = handle.files()["path"][3]
    aim = Aim(bytes=int(handle.files()["size"].max()))  # type: ignore[arg-type] # a number
    done = compact(handle, aim)
    assert (done.rewritten, done.made) == (5, 2)
    assert done.handle.files()["path"][1] == large
    assert done.handle.scan().collect().equals(handle.scan().collect())


def test_too_few_small_files_are_left(address: Address):
    handle = grown(address, 4)
    assert plan(handle, Aim(small_ratio=1.0)).files == 4
    assert plan(handle, Aim(rows=2, small_ratio=0.1)).files == 0, "two rows are all that such a file should hold"
    handle = append(handle, pl.LazyFrame({"day": ["d"] * 9, "id": range(9)}, schema=SCHEMA), {}, {}).handle
    assert plan(handle, Aim(rows=10, small_ratio=0.9)).files == 0
    assert plan(handle, Aim(rows=10, small_ratio=0.8)).files == 4


def test_partitions_are_measured_and_joined_by_themselves(address: Address):
    handle = grown(address, 5, "day")
    done = compact(handle, Aim(in_order=False))
    assert (done.rewritten, done.made) == (10, 2)
    for day in "ab":
        was, now = (each.scan().filter(pl.col("day") == day).collect() for each in (handle, done.handle))
        assert now.equals(was), "within a partition rows keep their order"


def test_where_order_counts_in_the_whole_table_only_files_that_follow_each_other_are_joined(address: Address):
    handle = grown(address, 4, "day")
    assert plan(handle, Aim(in_order=True)).files == 0, "the days take turns"
    for number in range(3):
        handle = append(handle, rows(90 + number, day="a"), {}, {}).handle
    done = compact(handle, Aim(in_order=True))
    assert done.handle.scan().collect().equals(handle.scan().collect())
    assert done.rewritten in {3, 4}, "the last file before them is a's as well, or b's: two of one commit in any order"


def test_new_rows_are_read_right_across_a_compaction_and_none_counts_as_changed(address: Address):
    handle = grown(address, 4)
    behind, middle = 2, handle.version
    handle = compact(handle, Aim()).handle
    handle = append(handle, rows(50), {}, {}).handle
    assert handle.since(behind).collect()["id"].to_list() == [4, 5, 6, 7, 50]
    assert handle.since(middle).collect()["id"].to_list() == [50]
    assert len(changed_slices(handle, middle, ["id"]) or ()) == 1
    assert only_upkeep(address, middle, middle + 1)
    assert not only_upkeep(address, middle, middle + 2)
    assert not only_upkeep(address, middle + 2, middle), "a table that was put back is not the same"


def test_columns_that_leave_no_values_in_the_log_leave_none_afterwards(address: Address):
    handle = Handle.create(address, SCHEMA).leaving_out(("day",))
    for number in range(3):
        handle = append(handle.leaving_out(("day",)), rows(number, day="secret"), {}, {}).handle
    done = compact(handle.leaving_out(("day",)), Aim())
    zorder(append(done.handle, rows(1), {}, {}).handle.leaving_out(("day",)), ["id"], Aim())
    for log in Path(address.uri, "_delta_log").glob("*.json"):
        if int(log.stem) != 5:  # which was appended with them
            assert "secret" not in log.read_text()


def test_nor_where_files_that_were_joined_are_joined_again(address: Address):
    handle = Handle.create(address, SCHEMA)
    for number in range(9):
        handle = append(handle.leaving_out(("day",)), rows(number, day="secret"), {}, {}).handle
    done = compact(handle.leaving_out(("day",)), Aim(bytes=3 * handle.bytes // 9 + 99))
    assert done.handle.version > handle.version + 1, "in two commits"
    assert not any("secret" in log.read_text() for log in Path(address.uri, "_delta_log").glob("*.json"))


def while_it_writes(monkeypatch: pytest.MonkeyPatch, rival: Callable[[], object]) -> None:
    """A rival that comes between the plan and the commit, once."""
    real = write_files

    def written(*arguments: object, **named: object) -> object:
        monkeypatch.setattr(optimize, "write_files", real)
        rival()
        return real(*arguments, **named)  # type: ignore[arg-type] # as it was called

    monkeypatch.setattr(optimize, "write_files", written)


def test_what_is_appended_meanwhile_is_kept(address: Address, monkeypatch: pytest.MonkeyPatch):
    handle = grown(address, 4)
    while_it_writes(monkeypatch, lambda: append(opened(address), rows(70, 71), {}, {}))
    done = compact(handle, Aim())
    assert ids(opened(address)) == [*range(8), 70, 71]
    assert (done.rewritten, done.left) == (5, 0) or done.rewritten == 6, "and joined in the next round"


def test_two_compactions_at_once_double_nothing(address: Address, monkeypatch: pytest.MonkeyPatch):
    """As two machines do it, or where the other holds its turn too long."""
    monkeypatch.setattr(optimize, "TURN_SECONDS", 0)
    handle = grown(address, 4)
    with ThreadPoolExecutor(1) as other:
        while_it_writes(monkeypatch, lambda: other.submit(compact, opened(address), Aim()).result())
        with pytest.raises(Conflict, match="other writers have replaced each of the 4 files"):
            compact(handle, Aim())
    assert ids(opened(address)) == list(range(8))


@pytest.mark.parametrize("lay", [lambda handle: compact(handle, Aim()), lambda handle: zorder(handle, ["id"], Aim())])
def test_the_second_of_two_on_one_machine_waits_its_turn_and_writes_nothing(
    address: Address, monkeypatch: pytest.MonkeyPatch, lay: Callable[[Handle], optimize.Optimized]
):
    handle = grown(address, 4)
    with ThreadPoolExecutor(1) as other:
        second = list[Future[optimize.Optimized]]()

        def begin_another() -> None:
            second.append(other.submit(lay, handle))
            time.sleep(0.3)  # it would be done long since

        while_it_writes(monkeypatch, begin_another)
        assert lay(handle).rewritten == 4
        assert (second[0].result().rewritten, second[0].result().left) == (0, 0)
    assert sorted(ids(opened(address))) == list(range(8))
    assert opened(address).version == handle.version + 1


def test_a_row_that_is_changed_meanwhile_stays_changed(address: Address, monkeypatch: pytest.MonkeyPatch):
    handle = grown(address, 4, "day")
    while_it_writes(monkeypatch, lambda: merge(opened(address), rows(1, day="changed"), ["id"], {}, {}))
    done = compact(handle, Aim(in_order=False))
    found = dict(opened(address).scan().collect().select("id", "day").rows())
    assert found == {i: "changed" if i == 1 else "ab"[i % 2 == 0] for i in range(8)}
    assert (done.left > 0, done.rewritten > 0) == (True, True), "the other day's files were joined all the same"


@pytest.mark.parametrize("changed", [[0], [3], [3, 4, 5]])
def test_nor_does_it_come_back_where_the_work_is_more_than_one_commit(
    address: Address, monkeypatch: pytest.MonkeyPatch, changed: list[int]
):
    """By a deletion vector the file keeps its name, so that only the log tells what was read before it was changed."""
    monkeypatch.setattr(optimize, "COMMIT_BYTES", 1)
    able = (Reader.DELTA_RS, Reader.DATABRICKS)
    handle = Handle.create(address, SCHEMA, partition_by=["day"])
    for first in range(0, 24, 6):
        both = pl.concat([rows(*range(first, first + 3), day="a"), rows(*range(first + 3, first + 6), day="b")])
        handle = for_readers(append(handle, both, {}, {}).handle, able)
    came = rows(*changed, day="c")
    while_it_writes(monkeypatch, lambda: merge(for_readers(opened(address), able), came, ["id"], {}, {}))
    done = compact(handle, Aim(in_order=False))
    assert sorted(ids(opened(address))) == list(range(24))
    assert {*opened(address).scan().filter(day="c").collect()["id"]} == {*changed}
    assert done.left > 0


def test_a_compaction_that_loses_to_thirty_appends_waits_its_turn(address: Address, monkeypatch: pytest.MonkeyPatch):
    handle = grown(address, 4)
    once, rivals = Handle.commit, iter(range(30))
    pauses = list[float]()
    monkeypatch.setattr(prepared.time, "sleep", pauses.append)

    def beaten(self: Handle, *arguments: Any, **named: Any) -> Handle:
        if named.get("rearranges") and (number := next(rivals, None)) is not None:
            append(opened(address), rows(100 + number), {}, {})
        return once(self, *arguments, **named)

    monkeypatch.setattr(Handle, "commit", beaten)
    paths = handle.files()["path"].to_list()
    newest, landed = optimize._land(handle, [optimize._Made(paths, optimize._joined(handle, paths))], "joined")
    assert (newest.version, len(landed)) == (handle.version + 31, 1)
    assert ids(opened(address)) == [*range(8), *range(100, 130)]
    assert len(pauses) == 30
    assert 0 < max(pauses) <= 0.1


def test_a_compaction_that_always_loses_says_so_in_the_end(address: Address, monkeypatch: pytest.MonkeyPatch):
    handle = grown(address, 4)
    monkeypatch.setattr(prepared, "ATTEMPTS", 3)
    tried = list[int]()

    def beaten(self: Handle, *_: Any, **__: Any) -> Handle:
        tried.append(self.version)
        raise Conflict("another was first")

    monkeypatch.setattr(Handle, "commit", beaten)
    with pytest.raises(Conflict, match="another was first"):
        compact(handle, Aim())
    assert len(tried) == 3
    assert ids(opened(address)) == list(range(8))


def test_many_that_compact_and_append_at_once_lose_and_double_nothing(address: Address):
    grown(address, 4)
    start, ended = threading.Barrier(4), list[int]()

    def work(number: int) -> None:
        start.wait()
        for turn in range(6):
            compacted() if number % 2 else appended(1000 * number + turn + 100)
        ended.append(number)

    def compacted() -> None:
        with suppress(Conflict):
            compact(opened(address), Aim())

    def appended(row: int) -> None:
        while True:
            with suppress(Conflict):
                append(opened(address), rows(row), {}, {})
                return

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for each in workers:
        each.start()
    for each in workers:
        each.join(60)
    assert sorted(ended) == [0, 1, 2, 3]
    expected = [*range(8), *(1000 * number + turn + 100 for number in (0, 2) for turn in range(6))]
    assert sorted(ids(opened(address))) == sorted(expected)


@pytest.mark.parametrize("killed_at", ["data", "commit"])
def test_a_compaction_that_is_killed_leaves_the_table_as_it_was_or_done(address: Address, killed_at: str):
    handle = grown(address, 4)
    before = ids(handle)
    script = f"""
        import os, signal
        from lakehouse.engine.declare.ports import Address
        from lakehouse.engine.delta import handle as core, optimize
        from lakehouse.engine.delta.handle import Handle
        def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
        if {killed_at!r} == "data":
            Handle.commit = die
        else:
            Handle._after_commit = die
        optimize.compact(Handle.open(Address({address.uri!r})), optimize.Aim())
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], env=dict(os.environ), check=False)
    assert done.returncode == -signal.SIGKILL
    stands = opened(address)
    assert (stands.version, ids(stands)) == (4 if killed_at == "data" else 5, before)
    assert len(store.sizes(address)) - stands.version - 1 == 5, "the joined file lies there, committed or not"
    assert check(stands).faults == {}
    assert ids(compact(stands, Aim()).handle) == before


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=9),
    target=st.integers(2, 80),
    how=st.sampled_from(["whole", "in folders", "in folders, in the order of the whole table"]),
)
def test_a_second_optimize_does_nothing_and_both_keep_every_row(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], target: int, how: str
):
    address = Address(str(tmp_path_factory.mktemp("lake") / "t"))
    folders, in_order = how != "whole", how != "in folders"
    handle = Handle.create(address, SCHEMA, partition_by=["day"] if folders else [])
    for number, size in enumerate(sizes):
        came = pl.LazyFrame({"day": [str((number + i) % 2) for i in range(size)], "id": range(size)}, schema=SCHEMA)
        handle = append(handle, came, {}, {}).handle
    aim = Aim(rows=target, in_order=in_order, small_ratio=0.0)
    once = compact(handle, aim)
    again = compact(once.handle, aim)
    assert (again.rewritten, again.handle.version) == (0, once.handle.version)
    was, now = handle.scan().collect(), opened(address).scan().collect()
    if folders and not in_order:
        was, now = (each.sort("day", maintain_order=True) for each in (was, now))
    assert now.equals(was)
    assert once.handle.files()["path"].to_list() == opened(address).files()["path"].to_list()
    assert (once.handle.files()["rows"] <= max(target, *handle.files()["rows"])).all()


def wide(address: Address, count: int) -> Handle:
    """Points all over a square, appended in no order, and a text."""
    schema = pl.Schema({"x": pl.Int64(), "y": pl.Float64(), "word": pl.String(), "maybe": pl.Date()})
    x = pl.int_range(count, eager=True)
    points = pl.DataFrame({"x": (x * 7919) % count, "y": ((x * 104_729) % count).cast(pl.Float64)}).with_columns(
        word=pl.format("w{}", pl.col("x") % 13), maybe=pl.lit(None, pl.Date())
    )
    handle = Handle.create(address, schema)
    for part in range(4):
        handle = append(handle, points[part * count // 4 : (part + 1) * count // 4].lazy(), {}, {}).handle
    return handle


def touched(handle: Handle, **values: object) -> int:
    wanted = pl.DataFrame(values, schema={name: handle.schema[name] for name in values})
    return len(may_hold(handle.files(), wanted, [*values]))


def test_z_order_makes_a_filter_on_two_columns_touch_few_files(address: Address):
    handle = wide(address, 40_000)
    aim = Aim(rows=2_500)
    by_one = zorder(handle, ["x"], aim).handle
    done = zorder(by_one, ["x", "word"], aim)
    assert done.handle.scan().sort("x").collect().equals(handle.scan().sort("x").collect())
    files = done.after.files
    assert 12 <= files <= 20
    assert touched(handle, x=[20_000]) == 4, "before, every file may hold any value"
    one_each = touched(done.handle, x=[20_000]), touched(done.handle, word=["w3"])
    assert max(one_each) <= math.ceil(files / 2), one_each
    assert touched(done.handle, x=[20_000], word=["w3"]) <= math.ceil(files / 5)
    assert touched(by_one, word=["w3"]) == by_one.files().height, "by x alone, nothing is known of words"
    assert check(done.handle).faults == {}


def test_a_second_z_order_by_the_same_columns_does_nothing(address: Address):
    done = zorder(wide(address, 4_000), ["x", "y", "maybe"], Aim(rows=500))
    again = zorder(done.handle, ["x", "y", "maybe"], Aim(rows=500))
    assert (again.rewritten, again.handle.version) == (0, done.handle.version)
    appended = append(done.handle, done.handle.scan().head(5), {}, {}).handle
    assert zorder(appended, ["x", "y", "maybe"], Aim(rows=500)).rewritten == 0, "one small file is not worth it"
    other = zorder(opened(address), ["y"], Aim(rows=500))
    assert other.rewritten == appended.files().height, "by another column all is written anew"


def test_each_night_only_what_came_is_laid_until_it_weighs_as_much_as_what_lies(address: Address):
    """A row is laid anew about as often as the table doubles; what was laid by itself stays few."""
    columns, aim, nights, per_night = ["x", "y"], Aim(rows=1_000), 24, 1_000
    handle = zorder(wide(address, 8_000), columns, aim).handle
    first = set(handle.files()["path"])
    rewritten, most = list[int](), 0
    for night in range(nights):
        for half in range(2):
            came = pl.LazyFrame({"x": range(half, per_night, 2)}).with_columns(
                x=(pl.col("x") * 7 + night) % 8_000, y=(pl.col("x") * 104_729 % 8_000).cast(pl.Float64),
                word=pl.lit("w"), maybe=pl.lit(None, pl.Date()),
            )  # fmt: skip
            handle = append(handle, came, {}, {}).handle
        before, rows_there = handle.scan().collect(), dict(handle.files().select("path", "rows").rows())
        done = zorder(handle, columns, aim)
        gone = rows_there.keys() - set(done.handle.files()["path"])
        rewritten.append(sum(rows_there[path] for path in gone))
        assert done.handle.scan().collect().sort(pl.all()).equals(before.sort(pl.all()))
        handle = done.handle
        laid_at_once = {path.split("-")[4] for path in handle.files()["path"]}
        most = max(most, len(laid_at_once))
        if night < 7:
            assert first <= set(handle.files()["path"]), "what lies so already is left"
    assert not first & set(handle.files()["path"]), "until as much has come"
    assert sorted(rewritten)[nights // 2] <= 2 * per_night, "on most nights only what came"
    assert sum(rewritten) <= 5 * nights * per_night
    assert most <= 6
    assert touched(handle, x=[5]) <= handle.files().height / 2


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        (["z"], "it has no column z; it has day, id, tags"),
        (["day"], "its folders are by day already"),
        (["tags"], r"tags is List\(String\), of which no ranges are kept"),
        (["id", "id"], "1 to 4 columns can be named, each once"),
        ([], "1 to 4 columns can be named"),
    ],
)
def test_z_order_by_what_prunes_nothing_is_refused(address: Address, columns: list[str], why: str):
    handle = Handle.create(address, pl.Schema({**SCHEMA, "tags": pl.List(pl.String())}), partition_by=["day"])
    with pytest.raises(Refused, match=why):
        zorder(handle, columns, Aim())
    with pytest.raises(Refused, match="id is personal and leaves no ranges"):
        zorder(handle.leaving_out(("id",)), ["id"], Aim())


def test_an_empty_table_needs_nothing(address: Address):
    handle = Handle.create(address, SCHEMA)
    assert compact(handle, Aim()).handle.version == 0
    assert zorder(handle, ["id"], Aim()).handle.version == 0
    assert layout(handle, Aim()).small_ratio == 0.0


@pytest.mark.parametrize("upkeep", [lambda handle: compact(handle, Aim()).handle, lambda handle: promise(handle, 720)])
def test_what_a_run_left_for_the_next_one_stays_at_the_newest_version(address: Address, upkeep):
    handle = append(grown(address, 2), rows(9), {}, {"table": "silver/t", "bronze/orders": "None"}).handle
    kept = opened(upkeep(handle).address)
    assert kept.version == handle.version + 1
    assert kept.commit_of(kept.version).info["bronze/orders"] == "None"
    assert "bronze/orders" not in history(kept)["note"][0], "history tells what was done"
    evolved = evolve(kept, pl.Schema({**SCHEMA, "more": pl.String()}), {})
    assert not only_upkeep(address, handle.version, evolved.version), "other columns are more than upkeep"
    assert evolved.commit_of(evolved.version).info["bronze/orders"] == "None"
