"""A batch that is by itself more than a merge may hold is merged part by part, in one commit, and never all held."""

from __future__ import annotations

import errno
import fcntl
import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack
from unittest.mock import patch

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.engine.declare.errors import Conflict, Refused
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.readers import Reader
from lakehouse.engine.declare.write import Merge
from lakehouse.engine.delta import memory, plan, quarantine, writes
from lakehouse.engine.delta.batch import Spilled
from lakehouse.engine.delta.delivery import Delivery, deliver
from lakehouse.engine.delta.files import write_files
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.protocol import for_readers
from lakehouse.engine.delta.writes import How, plan_merge, prepare_append, prepare_merge
from lakehouse_tests.engine.delta.cores import GIVES_BACK, check_memory_ran_out, run
from lakehouse_tests.engine.delta.test_plan import stored, wide

ABLE = (Reader.DELTA_RS, Reader.DATABRICKS)
SCHEMA = pl.Schema({"id": pl.Int64(), "part": pl.String(), "at": pl.Int64()})


def rows(each: Sequence[tuple[int | None, str, int | None]]) -> pl.DataFrame:
    return pl.DataFrame(each, schema=SCHEMA, orient="row")


def table(address: Address, standing: pl.DataFrame, *, able: bool = False) -> Handle:
    handle = Handle.create(address, SCHEMA)
    handle = handle.commit(write_files(handle, standing, rows_per_file=3), [], {}, {})
    return for_readers(handle, ABLE) if able else handle


def in_parts(count: int):
    """Keys are looked up in so many parts, whatever they need; what comes lies in a file and is written by threes."""
    return (
        patch.object(memory.Need, "slices", lambda *_: count),
        patch.object(plan, "ROWS_PER_FILE", 3),
        patch.object(writes, "needs", lambda *_: (None, None)),
    )


def merged(handle: Handle, came: pl.DataFrame, count: int, **how: Unpack[How]) -> pl.DataFrame:
    slices, pieces, spilled = in_parts(count)
    with slices, pieces, spilled:
        return prepare_merge(handle, came, ["id"], **how).commit({}, {}).handle.scan().collect()


@settings(max_examples=max(20, settings().max_examples // 8), deadline=None)
@given(data=st.data())
def test_a_batch_in_parts_gives_the_table_that_it_gives_at_once(data, tmp_path_factory):
    numbers = st.lists(st.integers(0, 30), unique=True)
    at = st.none() | st.integers(0, 3)
    standing, came = (rows([(each, f"{each % 7}", data.draw(at)) for each in data.draw(numbers)]) for _ in range(2))
    gone = pl.DataFrame({"id": data.draw(numbers)}, schema={"id": pl.Int64}).join(came, on="id", how="anti")
    how = data.draw(st.sampled_from([{}, {"replaces": ["part"]}, {"deleted": gone}, {"newest_by": "at"}]), label="how")
    able, count = data.draw(st.booleans()), data.draw(st.integers(1, 5))
    home = tmp_path_factory.mktemp("parts")
    one, other = (table(Address(str(home / name)), standing, able=able) for name in "ab")
    at_once = prepare_merge(one, came, ["id"], **how).commit({}, {}).handle.scan().collect()
    in_pieces = merged(other, came, count, **how)
    assert sorted(in_pieces.rows(), key=repr) == sorted(at_once.rows(), key=repr)


def test_what_comes_keeps_its_order(address):
    came = rows([(each * 7 % 20, "a", 1) for each in range(20)])
    assert merged(table(address, rows([])), came, 4)["id"].to_list() == came["id"].to_list()


def test_keys_that_come_twice_or_hold_a_null_are_counted_over_all_parts(address):
    handle = table(address, rows([]))
    came = rows([(each % 8, "a", 1) for each in range(16)] + [(None, "a", 1)])
    with pytest.raises(Refused, match="17 rows to merge: 1 with a null among id, 16 that share their key"):
        merged(handle, came, 4)


def test_a_batch_in_a_file_leaves_none_behind(address, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    handle = table(address, rows([(1, "a", 1)]))
    prepared = prepare_merge(handle, rows([(1, "a", 2)]).lazy(), ["id"])
    assert list(tmp_path.glob("lakehouse-*/rows.parquet"))  # until it is committed: it may be prepared again
    prepared.commit({}, {})
    del prepared
    gc.collect()
    assert not list(tmp_path.glob("lakehouse-*"))


KILLED = """
import os, signal
import polars as pl
from lakehouse.engine.delta.batch import Spilled

spilled = Spilled(pl.LazyFrame({"id": [1]}))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_goes_with_the_next_batch_and_what_another_uses_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    here = Spilled(pl.LazyFrame({"id": [1]}))
    for _ in range(2):
        subprocess.run([sys.executable, "-c", KILLED], env={**os.environ, "TMPDIR": str(tmp_path)}, check=False)
        assert len(list(tmp_path.glob("lakehouse-*/rows.parquet"))) == 2
    other = Spilled(pl.LazyFrame({"id": [2, 3]}))
    assert len(list(tmp_path.iterdir())) == 2
    assert (here.height, other.height) == (1, 2)


def test_a_batch_is_spilled_where_the_disk_knows_no_locks_and_goes_as_ever(tmp_path, monkeypatch):
    def of_no_folder(*_: object) -> None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))  # as NFS answers

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(fcntl, "flock", of_no_folder)
    spilled = Spilled(pl.LazyFrame({"id": [1, 2]}))
    assert spilled.height == 2
    del spilled
    assert not list(tmp_path.iterdir())


def test_a_rival_that_was_first_does_no_harm_to_a_batch_in_parts(address):
    standing = rows([(each, "a", 0) for each in range(9)])
    handle = table(address, standing)
    slices, pieces, spilled = in_parts(3)
    with slices, pieces, spilled:
        prepared = prepare_merge(handle, rows([(1, "a", 1), (5, "a", 1)]), ["id"])
        paths = handle.files()["path"].to_list()
        handle.commit(write_files(handle, handle.scan_paths(paths)), paths, {}, {}, rearranges=True)
        written = prepared.commit({}, {}).handle.scan().collect()
    assert sorted(written.rows()) == [(each, "a", int(each in (1, 5))) for each in range(9)]


@pytest.mark.parametrize("how", [{}, {"replaces": ["part"]}], ids=["by key", "by group"])
def test_rows_of_other_keys_that_a_rival_appends_stand_in_nobodys_way(address, how):
    handle = table(address, rows([(each, f"{each}", 0) for each in range(9)]))
    slices, pieces, spilled = in_parts(3)
    with slices, pieces, spilled:
        prepared = prepare_merge(handle, rows([(1, "1", 1), (5, "5", 1)]), ["id"], **how)
        prepare_append(handle, rows([(100, "100", 0)])).commit({}, {})
        written = prepared.commit({}, {}).handle.scan().collect()
    assert sorted(written.rows()) == [(each, f"{each}", int(each in (1, 5))) for each in (*range(9), 100)]


@pytest.mark.parametrize("count", [1, 3])
def test_a_row_that_was_looked_for_and_is_a_rivals_by_now_is_decided_anew(address, count):
    handle = table(address, rows([(each, "a", 0) for each in range(9)]))
    slices, pieces, spilled = in_parts(count)
    with slices, pieces, spilled:
        prepared = prepare_merge(handle, rows([(1, "a", 1), (100, "a", 1)]), ["id"])
        prepare_append(handle, rows([(100, "b", 0)])).commit({}, {})
        with pytest.raises(Conflict):
            prepared.commit({}, {})


def test_a_delivery_lets_go_of_rows_that_lie_in_a_file(address, tmp_path):
    handle = table(address, rows([(1, "a", 0), (2, "a", 0)]))
    delivery = Delivery(
        table=address, quarantine=Address(str(tmp_path / "aside")), schema=SCHEMA, description="", handle=handle,
        write=Merge(), key=("id",), whole=False, rejected=pl.DataFrame(schema=quarantine.ROWS),
        transactions={"from": 4}, accepted=rows([(2, "b", 1), (3, "b", 1)]),
    )  # fmt: skip
    told = list[int]()
    slices, pieces, spilled = in_parts(2)
    with slices, pieces, spilled:
        written = deliver(delivery, tell=lambda plan: told.append(delivery.accepted.height + plan.rows))
    assert told == [2]
    assert (written.rows_written, written.version, written.handle.transaction("from")) == (2, 2, 4)
    assert sorted(written.handle.scan().collect().rows()) == [(1, "a", 0), (2, "b", 1), (3, "b", 1)]


def test_a_piece_is_no_larger_than_the_batch_and_as_wide_as_its_widest_rows(address):
    handle = table(address, rows([(1, "a", 0)]))
    one = plan_merge(handle, rows([(1, "b" * 10_000, 1)]).lazy(), ["id"], budget=memory.ALWAYS + 1_000_000)
    assert one.rows == 1
    late = pl.select(id=pl.int_range(120_000), at=pl.lit(1)).with_columns(part=pl.lit("a").repeat_by(1).list.first())
    late = late.with_columns(part=pl.when(pl.col("id") >= 100_000).then(pl.lit("some words " * 200)).otherwise("part"))
    batch = writes.batch_of(handle, late.select(SCHEMA.names()).lazy(), ["id"], budget=400_000_000)
    assert 2_200 < plan.needs(handle, batch)[0].width < 2_300
    assert max(count for _, count in plan.worked_out(handle, batch).pieces) * 2_200 < 400_000_000 / 2


# ---- newest_by, by the same planner


@pytest.mark.parametrize("able", [False, True], ids=["files anew", "vectors"])
def test_a_row_that_was_left_out_for_one_that_a_rival_takes_away_meanwhile_is_not_lost(address, able):
    handle = table(address, rows([(1, "a", 5), (2, "a", 5), (3, "a", 5), (4, "a", 5)]), able=able)
    prepared = prepare_merge(handle, rows([(1, "b", 1), (9, "b", 1)]), ["id"], newest_by="at")
    gone = pl.DataFrame({"id": [1]})
    newest = prepare_merge(handle, rows([]), ["id"], deleted=gone).commit({}, {}).handle
    with pytest.raises(Conflict):
        prepared.commit({}, {})
    again = prepare_merge(newest, rows([(1, "b", 1), (9, "b", 1)]), ["id"], newest_by="at").commit({}, {})
    assert (1, "b", 1) in again.handle.scan().collect().rows()


def test_a_row_that_was_left_out_stays_so_where_a_rival_only_lays_files_together(address):
    handle = table(address, rows([(1, "a", 5), (2, "a", 5), (3, "a", 5), (4, "a", 5)]))
    prepared = prepare_merge(handle, rows([(1, "b", 1), (9, "b", 1)]), ["id"], newest_by="at")
    paths = handle.files()["path"].to_list()
    handle.commit(write_files(handle, handle.scan_paths(paths)), paths, {}, {}, rearranges=True)
    written = prepared.commit({}, {})
    assert sorted(written.handle.scan().collect()["id"]) == [1, 2, 3, 4, 9]
    assert (1, "a", 5) in written.handle.scan().collect().rows()


@pytest.mark.parametrize("able", [False, True])
def test_rows_that_are_older_than_what_stands_are_left_out_and_told(address, able):
    handle = table(address, rows([(1, "a", 5), (2, "a", None), (3, "a", 5), (4, "a", 5)]), able=able)
    came = rows([(1, "b", 4), (2, "b", None), (3, "b", 5), (4, "b", None), (5, "b", None)])
    told = plan_merge(handle, came, ["id"], newest_by="at")
    assert (told.rows, told.older) == (5, 2)
    assert told.facts["merge/rows_older"] == 2
    written = prepare_merge(handle, came, ["id"], newest_by="at").commit({}, {})
    assert written.rows_written == 3
    assert sorted(written.handle.scan().collect().rows()) == [
        (1, "a", 5), (2, "b", None), (3, "b", 5), (4, "a", 5), (5, "b", None),
    ]  # fmt: skip


def test_older_rows_are_left_out_of_every_piece(address):
    handle = table(address, rows([(each, "a", 5) for each in range(12)]))
    came = rows([(each, "b", 4 + each % 2) for each in range(12)])
    stands = merged(handle, came, 3, newest_by="at")
    assert sorted(stands.select("id", "part").rows()) == [(each, "ab"[each % 2]) for each in range(12)]


def test_a_row_that_a_vector_took_away_is_newer_than_none(address):
    handle = table(address, rows([(1, "a", 5), (2, "a", 5), (3, "a", 5)]), able=True)
    handle = prepare_merge(handle, rows([]), ["id"], deleted=pl.DataFrame({"id": [1]})).commit({}, {}).handle
    assert handle.gone
    written = prepare_merge(handle, rows([(1, "b", 4)]), ["id"], newest_by="at").commit({}, {})
    assert (1, "b", 4) in written.handle.scan().collect().rows()


# ---- what is really taken, by a process of its own

MERGE = """
import json, sys
import polars as pl
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.readers import Reader
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.protocol import for_readers
from lakehouse.engine.delta.writes import prepare_merge

address, batch, budget, by_vectors, newest_by = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:5]), sys.argv[5]
handle, came = Handle.open(Address(address)), pl.scan_parquet(batch)
handle = for_readers(handle, (Reader.DELTA_RS, Reader.DATABRICKS)) if by_vectors else handle
handle.scan().head(1).collect()
give_no_more_than(budget)
prepared = prepare_merge(handle, came, ["id"], budget=budget, newest_by=newest_by or None)
plan, written = prepared.plan, sum(file.rows for file in prepared.added)
told = {"way": plan.way, "slices": plan.slices > 1, "fits": plan.memory <= budget, "older": plan.older}
print(json.dumps({**told, "rows": written}))
"""


BUDGET = 130_000_000


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> tuple[Address, Path]:
    """A table of 2.4 M rows, and half of them as a batch: 125 MB in memory, beside what is made of them."""
    address = Address(str(tmp_path_factory.mktemp("large") / "t"))
    came = stored(address, wide(2_400_000), 150_000, 2)
    pl.read_parquet(came).write_parquet(came, row_group_size=50_000)
    return address, came


@pytest.mark.parametrize(("vectors", "newest_by"), [(False, "id"), (True, "")])
def test_a_batch_as_large_as_the_budget_is_merged_where_the_kernel_gives_no_more(large, vectors, newest_by):
    address, came = large
    done = run(MERGE, address.uri, came, BUDGET, int(vectors), newest_by, cores=2, beside=GIVES_BACK)
    assert done.returncode == 0, done.stderr[-2_000:]
    way, written = ("deletion vectors", 1_200_000) if vectors else ("files anew", 2_400_000)
    assert json.loads(done.stdout) == {"way": way, "slices": True, "fits": True, "older": 0, "rows": written}


def test_under_the_same_limit_the_batch_held_in_memory_is_killed(large):
    held = MERGE.replace("prepared =", "came = came.collect()\nprepared =").replace("budget=budget", "budget=1 << 40")
    address, came = large
    check_memory_ran_out(run(held, address.uri, came, BUDGET, 0, "", cores=2, beside=GIVES_BACK))


@pytest.mark.long
@pytest.mark.parametrize("cores", [2, 8, 16])
@pytest.mark.parametrize("budget", [BUDGET, 250_000_000, 400_000_000])
@pytest.mark.parametrize("vectors", [False, True])
def test_what_a_batch_in_a_file_takes_is_what_was_told_by_any_number_of_threads(large, *, vectors, budget, cores):
    address, came = large
    freely = MERGE.replace(
        "give_no_more_than(budget)", 'open("/proc/self/clear_refs", "w").write("5")\nbefore = now("VmRSS")'
    )
    freely += 'print(json.dumps({"took": now("VmHWM") - before, "memory": plan.memory}))'
    budget += 10_000_000 * (cores - 2)
    done = run(freely, address.uri, came, budget, int(vectors), "", cores=cores)
    assert done.returncode == 0, done.stderr[-2_000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["took"] <= told["memory"] <= budget
