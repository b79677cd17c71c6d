"""Every call that changes a file of the lake, in an ingest, a merge and a maintenance step: the last, or failing."""

from __future__ import annotations

import itertools
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from lakehouse_tests.conftest import leave_out
from lakehouse_tests.faults import arrivals, calls, power
from lakehouse_tests.faults.calls import Call
from lakehouse_tests.faults.crew import ROOT, Worker
from lakehouse_tests.faults.standing import (
    DECLARED,
    Standing,
    assert_counted_once,
    assert_duckdb_reads_the_same,
    assert_nothing_is_left_over,
    place_of,
    standing,
)
from lakehouse_tests.faults.test_crash import AT_POINTS, AT_RANDOM, TIMES_LONG
from lakehouse_tests.faults.worker import Drain

pytestmark = pytest.mark.crash

WHOLE = 1_000
"""Files in a batch: one batch of all that landed."""
INGEST, MERGE, COMPACTION, VACUUM = "an ingest", "a merge", "a compaction and a checkpoint", "a vacuum"
STANDS_BEFORE = {INGEST: 0, MERGE: 1, COMPACTION: 3, VACUUM: 3}
UPKEEP = {COMPACTION: "tables", VACUUM: "files"}
KILLING = {"before", "after", "torn", calls.POWER_CUT}
KILLS, FAILURES = 9, 5
"""Of each work in the standard run, as different ones as there are; in the long one every call, each in every way."""


type Case = tuple[Call, str, int]
"""A call, what happens to it, and a seed."""


@dataclass(frozen=True)
class Work:
    """What a worker is about to do to the lake in `home`, the calls that it makes, and what stands afterwards."""

    home: Path
    job: dict[str, Any]
    calls: list[Call]
    after: Standing


@pytest.fixture(scope="session")
def works(workers, tmp_path_factory, landings) -> Callable[[str], Work]:
    """The same lake for each test of a work; the work is done to a copy."""
    made = dict[str, Work]()

    def work(name: str) -> Work:
        if name not in made:
            made[name] = _recorded(name, workers(1)[0], tmp_path_factory.mktemp("work"), landings)
        return made[name]

    return work


def _recorded(name: str, worker: Worker, folder: Path, landings: int) -> Work:
    home, rounds = folder / "home", STANDS_BEFORE[name]
    if rounds:
        worker.run(home, rounds=[{"seed": landings, "number": number} for number in range(rounds)], batch=WHOLE)
    if name == VACUUM:  # of what compaction left, and runs that were killed
        worker.run(home, maintains=UPKEEP[COMPACTION])
    job: dict[str, Any] = {"batch": WHOLE, "ahead": name == INGEST}
    if name in UPKEEP:
        job["maintains"] = UPKEEP[name]
    else:
        arrivals.land(home / "landing", arrivals.round_of(landings, rounds).all)
    copied, log = shutil.copytree(home, folder / "copied"), folder / "log"
    ended = worker.run(copied, **job, call={"log": str(log), "fault": ""})
    assert ended.is_drained, ended
    return Work(home, job, calls.calls(log), standing(copied))


def disturb(work: Work, worker: Worker, folder: Path, case: Case) -> bool:
    """Do the work with that fault, then drain undisturbed, and see that all stands as if nothing had been.

    Upkeep changes no row: whatever became of it, all stands at once, and the next takes away what it left. Whether the
    worker was killed.
    """
    (call, fault, seed), log = case, folder.with_suffix(".log")
    home = shutil.copytree(work.home, folder)
    ended = worker.run(home, **work.job, call={"log": str(log), "call": call, "fault": fault})
    assert calls.was_disturbed(log), "the call did not come"
    is_kill = fault in KILLING
    assert ended.was_killed if is_kill else ended.is_drained, ended
    if fault == calls.POWER_CUT:
        power.cut(home / "lake", work.home / "lake", calls.done(log), seed)
    if "maintains" in work.job:
        assert standing(home) == work.after
        assert worker.run(home, maintains=UPKEEP[VACUUM]).is_drained
        assert_nothing_is_left_over(home)
    Drain(place_of(home), DECLARED).all()
    assert standing(home) == work.after
    assert_counted_once(home)
    if fault == "torn" or random.random() < 0.03:
        assert_duckdb_reads_the_same(home)
    shutil.rmtree(home)
    log.unlink()
    return is_kill


def disturb_all(work: Work, crew: list[Worker], folder: Path, cases: list[Case]) -> str:
    """Every case, by as many workers as there are. What was done, in words; raises all that went wrong."""
    began, lock, coming = time.monotonic(), threading.Lock(), iter(enumerate(cases))
    wrong, kills = list[str](), Counter[bool]()

    def take() -> Iterator[tuple[int, Case]]:
        while True:
            with lock:
                case = next(coming, None)
            if case is None:
                return
            yield case

    def go_on(worker: Worker) -> None:
        for number, case in take():
            try:
                kills[disturb(work, worker, folder / str(number), case)] += 1
            except Exception as error:  # noqa: BLE001 # all of them are told, not the first
                wrong.append(f"{case}: {type(error).__name__}: {str(error)[:800]}")

    with ThreadPoolExecutor(len(crew)) as pool:
        list(pool.map(go_on, crew))
    assert not wrong, f"{len(wrong)} of {len(cases)}:\n" + "\n".join(wrong[:20])
    seconds = time.monotonic() - began
    return f"{len(work.calls)} calls, {len(cases)} faults, {kills[True]} of them kills, {seconds:.0f} s"


def drawn(cases: list[Case], count: int, draw: random.Random) -> list[Case]:
    """So many of them: one of each kind of call to each kind of file, before a second of one."""
    kinds = dict[tuple[str, bool, str], list[Case]]()
    for case in draw.sample(cases, len(cases)):
        path = PurePosixPath(case[0].path)
        kinds.setdefault((case[0].name, "_delta_log" in path.parts, path.suffix), []).append(case)
    return [case for row in itertools.zip_longest(*kinds.values()) for case in row if case][:count]


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.long)], ids=["a sample", "every call"])
@pytest.mark.parametrize("name", STANDS_BEFORE)
def test_whatever_call_is_the_last_or_fails_the_next_run_makes_it_good(  # noqa: PLR0917 # fixtures
    name, every, works, workers, tmp_path, seed, record_property
):
    work = works(name)
    draw = random.Random(seed)
    cases = [(call, fault, draw.getrandbits(32)) for call in work.calls for fault in call.faults]
    if not every:
        kills = [case for case in cases if case[1] in KILLING]
        failures = [case for case in cases if case[1] not in KILLING]
        cases = drawn(kills, KILLS, draw) + drawn(failures, FAILURES, draw)
    said = f"{name}: {disturb_all(work, workers(2), tmp_path, cases)}, seed {seed}"
    print(said)  # noqa: T201 # for docs
    record_property("told", said)


def test_what_is_disturbed_is_what_writes_marks_joins_and_takes_away(works):
    done = {
        name: {(call.name, PurePosixPath(call.path).suffix) for call in works(name).calls} for name in STANDS_BEFORE
    }
    assert ("link", ".bin") in done[MERGE], "rows go by deletion vectors"
    assert {("open", ".parquet"), ("rename", ".parquet")} <= done[COMPACTION], "data files, and a checkpoint"
    assert ("unlink", ".parquet") not in done[COMPACTION]
    assert {("unlink", ".parquet"), ("unlink", ".bin"), ("unlink", ".json")} == done[VACUUM]


def test_every_run_of_the_tests_kills_three_hundred_workers_at_least_and_the_long_one_ten_thousand():
    assert sum(AT_POINTS.values()) + AT_RANDOM + len(STANDS_BEFORE) * KILLS >= 300
    assert AT_RANDOM * TIMES_LONG >= 10_000


CHANGING = (
    "open,openat,openat2,creat,write,pwrite64,writev,pwritev,pwritev2,truncate,ftruncate,fallocate,fsync,fdatasync,"
    "sync_file_range,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat,rmdir,"
    "copy_file_range,sendfile,splice,vmsplice,mknod,mknodat,io_uring_setup"
)


def test_no_call_goes_past_what_disturbs_them(works, tmp_path, workers):
    """The kernel is asked for those it sees (strace): each of them that changes the lake was written down."""
    leave_out("" if shutil.which("strace") else "it is compared with strace (apt install strace)")
    work, library = works(INGEST), calls.build(tmp_path)
    home, log, traced = shutil.copytree(work.home, tmp_path / "home"), tmp_path / "log", tmp_path / "traced"
    code = (
        f"import pathlib; from lakehouse_tests.faults import calls, standing; "
        f"from lakehouse_tests.faults.worker import Drain; home = pathlib.Path({str(home)!r}); "
        f"calls.arm(home / 'lake', pathlib.Path({str(log)!r})); drain = Drain(standing.place_of(home), "
        f"standing.DECLARED); drain.all(); drain.maintain(files=True)"
    )
    environment = [f"--env={name}" for name in (f"LD_PRELOAD={library}", f"PYTHONPATH={ROOT}")]
    command = ["strace", "-f", "-qq", "-y", "-s", "0", "-o", traced, "-e", f"trace={CHANGING}", *environment]
    subprocess.run([*command, sys.executable, "-c", code], check=True, cwd=ROOT)
    seen = _changes(traced.read_text(), str(home / "lake"))
    assert seen == Counter((each.name, each.path) for each in calls.done(log))
    assert {"open", "write", "fsync", "link", "rename", "unlink", "mkdir"} <= {name for name, _ in seen}


_ONE_NAME = {
    "creat": "open", "openat": "open", "pwrite64": "pwrite", "fdatasync": "fsync", "linkat": "link", "mkdirat": "mkdir",
    "unlinkat": "unlink", "renameat": "rename", "renameat2": "rename", "ftruncate": "truncate",
}  # fmt: skip


def _changes(traced: str, lake: str) -> Counter[tuple[str, str]]:
    """The calls that changed something below the lake, by our names, from what strace wrote."""
    found, begun = Counter[tuple[str, str]](), dict[str, str]()
    for line in traced.splitlines():
        process, said = line.split(maxsplit=1)
        if said.endswith("<unfinished ...>"):
            begun[process] = said.removesuffix("<unfinished ...>")
            continue
        if said.startswith("<... "):
            said = begun.pop(process) + said.partition(" resumed>")[2]
        name, paths = said.partition("(")[0], re.findall(rf"[\"<]{re.escape(lake)}(?:/([^\">]*))?[\">]", said)
        is_failed = re.search(r"\) += -1 ", said)
        is_read = name.startswith("open") and not re.search("O_CREAT|O_TRUNC", said)
        if paths and not is_failed and not is_read:
            path = paths[name.startswith(("link", "rename"))]
            found[_ONE_NAME.get(name, name), path or "."] += 1
    return found
