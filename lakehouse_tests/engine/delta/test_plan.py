"""What a merge will do is told before it does it; it keeps to its memory, and what it wrote is what it told."""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import patch

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.readers import EVERY_READER, Reader
from lakehouse.engine.delta import memory, plan
from lakehouse.engine.delta.advice import merge_advice
from lakehouse.engine.delta.files import write_files
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.plan import Plan, Way
from lakehouse.engine.delta.protocol import for_readers
from lakehouse.engine.delta.travel import history
from lakehouse.engine.delta.writes import plan_merge, prepare_merge
from lakehouse_tests.engine.delta.cores import check_memory_ran_out, run
from lakehouse_tests.engine.delta.opening import opened

ABLE = (Reader.DELTA_RS, Reader.DATABRICKS)
BIG = 1 << 40


def rows(*ids: int, part: str = "a", qty: int = 0) -> pl.DataFrame:
    return pl.DataFrame({"id": ids, "part": [part] * len(ids), "qty": [qty] * len(ids)}, schema=SCHEMA)


SCHEMA = pl.Schema({"id": pl.Int64(), "part": pl.String(), "qty": pl.Int64()})


def table(address: Address, count: int = 20, rows_per_file: int = 4) -> Handle:
    handle = Handle.create(address, SCHEMA)
    return handle.commit(write_files(handle, rows(*range(count)), rows_per_file=rows_per_file), [], {}, {})


def lying(address: Address) -> set[str]:
    return {str(file) for file in Path(address.uri).rglob("*") if file.is_file()}


def ids(handle: Handle) -> list[int]:
    return handle.scan().collect()["id"].to_list()


# ---- told beforehand


def test_a_plan_tells_files_rows_bytes_and_memory_and_writes_nothing(address):
    handle = table(address)
    before = lying(address)
    told = plan_merge(handle, rows(5, 6, 11, 30), ["id"], budget=BIG)
    sizes = handle.files()["size"].to_list()
    assert told.table == (5, 20, sum(sizes))
    assert told.may_hold == told.holds == (2, 8, sum(sizes[1:3]))
    assert (told.way, told.rows, told.rows_written, told.budget) == (Way.ANEW, 4, 8 - 3 + 4, BIG)
    assert told.bytes_written == 9 * sum(sizes) // 20
    assert memory.ALWAYS < told.memory < memory.ALWAYS + 20_000
    assert lying(address) == before


def test_files_whose_range_meets_a_key_and_that_hold_none_are_told_apart(address):
    handle = table(address).commit([], [], {}, {})
    handle = handle.commit(write_files(handle, rows(40, 44)), [], {}, {})
    told = plan_merge(handle, rows(41, 42), ["id"])
    assert (told.may_hold.files, told.holds.files, told.way, told.rows_written) == (1, 0, Way.APPEND, 2)


def test_what_a_merge_writes_is_what_its_plan_told(address):
    handle = table(address)
    told = plan_merge(handle, rows(5, 6, 11, 30), ["id"])
    prepared = prepare_merge(handle, rows(5, 6, 11, 30), ["id"])
    written = prepared.commit({}, {})
    assert prepared.plan == written.plan == told
    assert sum(file.rows for file in prepared.added) == told.rows_written
    assert written.files_removed == told.holds.files


def test_a_plan_is_told_before_a_file_is_written(address):
    handle, told = table(address), list[tuple[Plan, set[str]]]()
    before = lying(address)
    prepared = prepare_merge(handle, rows(5, 6), ["id"], tell=lambda plan: told.append((plan, lying(address))))
    assert told == [(prepared.plan, before)]
    assert lying(address) > before


@pytest.mark.parametrize(
    ("readers", "came", "way", "why"),
    [
        (ABLE, [5], Way.VECTORS, "all who read it know them"),
        (ABLE, [4, 5, 6], Way.ANEW, "75% of the rows of its files would be gone, more than 50%"),
        ((*ABLE, Reader.SYNAPSE), [5], Way.ANEW, "synapse, which may read it, cannot read deletion vectors"),
        (None, [5], Way.ANEW, "nobody said who reads it"),
        (ABLE, [99], Way.APPEND, "no file holds such a key"),
        (ABLE, [], Way.APPEND, "no file holds such a key"),
    ],
)
def test_the_way_is_told_with_its_reason(address, *, readers, came, way, why):
    handle = table(address)
    told = plan_merge(for_readers(handle, readers) if readers else handle, rows(*came), ["id"])
    assert (told.way, told.why) == (way, why)
    assert why in str(told)
    assert (told.facts["merge/way"], told.facts["merge/why"]) == (way, why)


def test_a_file_that_loses_every_row_goes_and_is_not_read_again(address):
    handle = table(address)
    prepared = prepare_merge(handle, rows(4, 5, 6, 7, 8), ["id"])
    paths = handle.files()["path"]
    assert prepared.plan is not None
    assert prepared.plan.passes == ((paths[2],),)
    assert prepared.removed == tuple(paths[1:3])
    assert sorted(ids(prepared.commit({}, {}).handle)) == list(range(20))


# ---- a budget


def test_files_are_written_anew_in_as_many_passes_as_the_budget_asks_for_and_one_commit(address):
    handle = table(address)
    came = rows(*range(1, 20, 4), qty=1)
    at_once = plan_merge(handle, came, ["id"], budget=BIG)
    budget = at_once.memory - 1
    told = plan_merge(handle, came, ["id"], budget=budget)
    assert (len(at_once.passes), len(told.passes)) == (1, 2)
    assert told.memory <= budget
    written = prepare_merge(handle, came, ["id"], budget=budget).commit({"from": 3}, {})
    assert written.version == handle.version + 1
    assert ids(opened(address)) == [*(each for each in range(20) if each % 4 != 1), *range(1, 20, 4)]


@settings(max_examples=max(20, settings().max_examples // 8), deadline=None)
@given(data=st.data())
def test_however_a_merge_is_split_it_gives_the_same_table(data, tmp_path_factory):
    numbers = st.lists(st.integers(0, 30), unique=True)
    standing, came = data.draw(numbers), data.draw(numbers)
    most, able = data.draw(st.sampled_from([0, 50, 200, 800])), data.draw(st.booleans())
    replaces = data.draw(st.sampled_from([None, ["part"]]))
    frames = [
        pl.DataFrame([(each, f"{each % 7}", qty) for each in some], schema=SCHEMA, orient="row")
        for qty, some in enumerate((standing, came))
    ]
    handle = Handle.create(Address(str(tmp_path_factory.mktemp("split") / "t")), SCHEMA)
    handle = handle.commit(write_files(handle, frames[0], rows_per_file=3), [], {}, {})
    handle = for_readers(handle, ABLE) if able else handle
    with patch.object(plan, "PLEASANT", most):
        prepared = prepare_merge(handle, frames[1], ["id"], replaces=replaces)
    stays = frames[0].join(frames[1], on="id", how="anti")
    stays = stays.join(frames[1], on="part", how="anti") if replaces else stays
    expected = sorted([*stays.rows(), *frames[1].rows()])
    assert prepared.plan is not None
    assert most or all(len(some) == 1 for some in prepared.plan.passes)
    assert sorted(prepared.commit({}, {}).handle.scan().collect().rows()) == expected


@pytest.mark.parametrize("readers", [ABLE, EVERY_READER])
def test_a_merge_that_keeps_to_no_budget_is_refused_before_anything_is_written(address, readers):
    handle = for_readers(table(address), readers)
    before, came = lying(address), rows(*range(0, 20, 4))
    least = plan_merge(handle, came, ["id"]).memory // 2
    with pytest.raises(Refused) as refused:
        prepare_merge(handle, came, ["id"], budget=least)
    said = str(refused.value)
    assert f"{address} refused 5 rows to merge: to hold them takes about 50.0 MB of memory, more than the 25.0" in said
    for way_out in ("version 1 stands", "merge_memory_mb", "run more often", 'runs_on=Spark("….spark.py")'):
        assert way_out in said
    assert lying(address) == before


def test_a_file_that_is_too_large_for_the_budget_is_named(address):
    handle = table(address, rows_per_file=20)
    need = plan_merge(handle, rows(5), ["id"], budget=BIG)
    with pytest.raises(Refused, match=rf"at once with the 20 rows of {handle.files()['path'][0]} takes"):
        plan_merge(handle, rows(5), ["id"], budget=need.memory - 1)


def test_a_merge_that_is_planned_anew_after_a_rival_keeps_to_its_budget(address):
    handle = table(address)
    came = rows(*range(1, 20, 4), qty=1)
    budget = plan_merge(handle, came, ["id"], budget=BIG).memory - 1
    prepared = prepare_merge(handle, came, ["id"], budget=budget)
    rival = handle.commit(write_files(handle, rows(9_000, 9_001)), [handle.files()["path"][4]], {}, {}, rearranges=True)
    assert prepared.reads is not None
    again = prepared.reads.plan(rival)
    assert again.plan is not None
    assert again.plan.budget == budget


def test_half_of_the_least_limit_of_the_control_groups_is_the_usual_budget(tmp_path, monkeypatch):
    for folder, said in {"": "max", "outer": "4000000", "outer/inner": "max", "memory/job": "9000000"}.items():
        name = "memory.limit_in_bytes" if folder.startswith("memory") else "memory.max"
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / name).write_text(f"{said}\n")
    (tmp_path / "told").write_text("4:memory:/job\n2:cpu,cpuacct:/\n0::/outer/inner\n")
    monkeypatch.setattr(memory, "_LIMITS", {"memory.max": (str(tmp_path), "")})
    assert list(memory._limits(tmp_path / "told")) == [4_000_000]
    monkeypatch.setattr(memory, "_LIMITS", {"memory.limit_in_bytes": (str(tmp_path / "memory"), "memory")})
    assert list(memory._limits(tmp_path / "told")) == [9_000_000]
    monkeypatch.setattr(memory, "_limits", lambda _: [4_000_000, 9_000_000])
    assert memory.usual_budget() == 2_000_000


# ---- what is really taken, by a process of its own

MERGE = """
import json, sys
import polars as pl
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.readers import Reader
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.protocol import for_readers
from lakehouse.engine.delta.writes import prepare_merge

address, batch, budget, is_limited, by_vectors = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
handle, came = Handle.open(Address(address)), pl.read_parquet(batch)
handle = for_readers(handle, (Reader.DELTA_RS, Reader.DATABRICKS)) if by_vectors else handle
handle.scan().head(1).collect()
open("/proc/self/clear_refs", "w").write("5")  # the most that there was so far
before = now("VmRSS")
if is_limited:
    give_no_more_than(budget - int(came.estimated_size()))
prepared = prepare_merge(handle, came, ["id"], budget=budget)
written = sum(file.rows for file in prepared.added)  # not committed: the table stays as it is for the next one
told = {"way": prepared.plan.way, "passes": len(prepared.plan.passes), "memory": prepared.plan.memory}
print(json.dumps({**told, "took": now("VmHWM") - before + int(came.estimated_size()), "rows": written}))
"""


def merged(address: Address, batch: Path, budget: int, *, limited=False, vectors=False, cores: int = 2, **more: str):
    script = more.pop("script", MERGE)
    return run(script, address.uri, batch, budget, int(limited), int(vectors), cores=cores, **more)


def wide(count: int, columns: int = 12) -> pl.DataFrame:
    """Numbers that no file makes smaller."""
    no = pl.int_range(count, eager=True)
    frame = pl.DataFrame({"id": no, **{f"c{place}": no.hash(place) for place in range(columns)}})
    return frame.with_columns(pl.exclude("id").reinterpret(signed=True))


def stored(address: Address, frame: pl.DataFrame, rows_per_file: int, every: int) -> Path:
    """A table of these rows; and one of so many of them, as a batch."""
    batch = Path(f"{address.uri}.batch")
    batch.parent.mkdir(parents=True, exist_ok=True)
    frame[::every].with_columns(c0=frame["c0"][::every].reverse()).write_parquet(batch)
    handle = Handle.create(address, frame.schema)
    handle.commit(write_files(handle, frame, rows_per_file=rows_per_file), [], {}, {})
    return batch


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> tuple[Address, Path]:
    address = Address(str(tmp_path_factory.mktemp("large") / "t"))
    return address, stored(address, wide(4_000_000), 250_000, 100)


@pytest.mark.parametrize("cores", [2, 8, 16])
def test_a_merge_never_takes_more_memory_than_its_budget_where_the_kernel_gives_no_more(large, cores):
    address, batch = large
    budget = 180_000_000
    whole = merged(address, batch, budget, limited=True, cores=cores)
    assert whole.returncode == 0, whole.stderr[-2_000:]
    told = json.loads(whole.stdout)
    assert (told["way"], told["passes"], told["rows"]) == ("files anew", 16, 4_000_000)
    assert told["took"] < told["memory"] <= budget


@pytest.mark.long
@pytest.mark.parametrize("cores", [2, 4, 8, 16, 32])
@pytest.mark.parametrize("budget", [250_000_000, 400_000_000])
def test_no_budget_is_exceeded_by_any_number_of_threads(large, budget, cores):
    address, batch = large
    whole = merged(address, batch, budget, limited=True, cores=cores)
    assert whole.returncode == 0, whole.stderr[-2_000:]
    told = json.loads(whole.stdout)
    assert told["took"] < told["memory"] <= budget


def test_under_the_same_limit_a_merge_of_all_files_at_once_is_killed(large):
    address, batch = large
    before = opened(address).version
    unsplit = MERGE.replace(", budget=budget)", ", budget=1 << 40)").replace(
        "prepared =", "from lakehouse.engine.delta import plan; plan.PLEASANT = 1 << 40\nprepared ="
    )
    with patch.dict(globals(), MERGE=unsplit):
        check_memory_ran_out(merged(address, batch, 180_000_000, limited=True))
    assert opened(address).version == before


def texts(count: int) -> pl.DataFrame:
    no = pl.col("id")
    return wide(count, 2).with_columns(
        few=pl.format("ONE OF THE FEW THINGS THAT ARE SAID AGAIN AND AGAIN: {}", no % 50),
        many=pl.concat_str(no.hash(7).cast(pl.String), no.hash(8).cast(pl.String)),
    )


@pytest.mark.long
@pytest.mark.parametrize("vectors", [False, True])
@pytest.mark.parametrize("every", [4, 100])
@pytest.mark.parametrize("made", [wide, texts])
@pytest.mark.parametrize("rows_per_file", [50_000, 1_000_000])
def test_the_memory_that_is_told_is_never_less_than_what_is_taken(address, *, vectors, every, made, rows_per_file):
    batch = stored(address, made(4_000_000), rows_per_file, every)
    for cores in (2, 8, 16, 32):
        done = merged(address, batch, BIG, vectors=vectors, cores=cores)
        assert done.returncode == 0, done.stderr[-2_000:]
        told = json.loads(done.stdout)
        assert told["took"] <= told["memory"], cores


# ---- advice, from the history


def test_a_table_whose_merges_write_much_anew_is_told_what_vectors_would_save(address):
    handle = table(address)
    with patch("lakehouse.engine.delta.advice.WORTH", 100):
        for turn in range(3):
            handle = prepare_merge(handle, rows(*range(0, 20, 4), qty=turn), ["id"]).commit({}, {}).handle
        said = merge_advice(handle, EVERY_READER)
        known = merge_advice(handle, ABLE)
    assert said.startswith("deletion vectors: its last 3 merges touched ")
    assert "for 15 rows that came" in said
    named = "@table(readers=[Reader.DELTA_RS, Reader.DATABRICKS, Reader.FABRIC])"
    assert said.endswith(f"less. If synapse need not read it, say so in its file: {named}")
    assert known.startswith("deletion vectors, which its readers know: its last 3 merges")


def test_a_table_whose_merges_write_little_stays_as_it_is(address):
    handle = prepare_merge(table(address), rows(5), ["id"]).commit({}, {}).handle
    assert merge_advice(handle, EVERY_READER).startswith(
        "files anew, as it is: its last 1 merge touched 1.0 files on average"
    )


def test_a_table_that_takes_vectors_is_told_what_files_anew_would_have_written(address):
    handle = for_readers(table(address), ABLE)
    before = handle.files()["size"].to_list()
    handle = prepare_merge(handle, rows(5, 30), ["id"]).commit({}, {}).handle
    told = merge_advice(handle, ABLE)
    assert told.startswith(
        "deletion vectors: its last 1 merge touched 1.0 files on average, of 6 that stand, and wrote "
    )
    assert f"files anew would have been about {(before[1] + 2 * handle.bytes // handle.rows) / 1e6:,.1f} MB" in told


def test_a_table_without_merges_or_of_which_none_replaced_a_row_is_told_nothing(address):
    handle = table(address)
    assert merge_advice(handle, EVERY_READER) == ""
    handle = prepare_merge(handle, rows(99), ["id"]).commit({}, {}).handle
    assert merge_advice(handle, EVERY_READER) == ""


def test_the_history_says_how_many_rows_were_merged_and_by_which_way(address):
    handle = prepare_merge(table(address), rows(5), ["id"]).commit({}, {"bronze/x": "3"}).handle
    assert history(handle)["note"][0] == "bronze/x 3, merged 1 row by files anew"
