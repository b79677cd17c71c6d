"""A landing of 100,000 files: what a tick of its sensor costs in Dagster's own daemon, and the runs it asks for."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from unittest.mock import patch

from benchmarks.cost import BUILD, PROJECT, environment, python
from benchmarks.figures import Figures
from benchmarks.generated import Landed, landed_one_by_one
from benchmarks.idle import why_no_azurite
from benchmarks.many_files.daemon import Span, daemon
from benchmarks.slow_storage import SlowStorage
from lakehouse_tests import azurite

FILES, MORE = 100_000, 1_000
GOAL = 10


@dataclass(frozen=True)
class Store:
    """How files land (folder, then their names in it), what finds them, and what was asked of the landing so far.

    asked: the moment (epoch seconds) of each "list" and each "read". files_per_batch: of the first landing.
    """

    land: Callable[[Path, Iterable[str]], object]
    environment: Mapping[str, str]
    asked: Callable[[], list[tuple[float, str]]]
    files_per_batch: int = MORE

    def count(self, kind: str, span: Span) -> str:
        return f"{sum(span.holds(moment) and of == kind for moment, of in self.asked()):,}"


def many_files(*, rounds: int, size: int) -> Iterator[Figures]:  # noqa: ARG001 # each takes minutes, and has no lines
    """On this disk, and on Azurite."""
    files = landed_one_by_one(BUILD / f"files-{FILES}", FILES, 1 + MORE)
    notes = [
        (
            f"Goal: a tick within {GOAL} s; its time is that of its record in the instance, of several that one "
            "listing took the longest. Memory is the peak of the process that evaluates it (the code server), and of "
            "the run, a process of its own."
        ),
        (
            "A list is a folder of the disk, or a page of 5,000 names of Azurite; a read is a file that was opened. A "
            "tick that falls into a run, which asks for nothing, is counted with it."
        ),
    ]
    rows, seconds = [], []
    stores: dict[str, Callable[[Path], AbstractContextManager[Store]]] = {"this disk": _disk}
    if why := why_no_azurite():
        sys.stderr.write(f"\n*** Azurite IS MISSING from these figures: {why} ***\n\n")
        notes.append(f"Azurite could not be measured: {why}.")
    else:
        stores["Azurite"] = _azurite
    for name, store in stores.items():
        with tempfile.TemporaryDirectory(prefix="landing-", dir=BUILD) as folder, store(Path(folder)) as opened:
            for what, tick, *cells in _measured(opened, files, name, notes):
                rows.append((f"{name}, {what}", *cells))
                seconds.append(tick)
    columns = ("", "ticks", "longest, s", "MB", "lists", "reads", "run, s", "MB", "lists", "reads")
    yield Figures("8-landing", f"A landing of {FILES:,} order documents, a file each", columns, rows, seconds, notes)


def _measured(
    store: Store, files: Landed, name: str, notes: list[str]
) -> Iterator[tuple[str, float, *tuple[str, ...]]]:
    """Land them all, then one, then a thousand. Of each listing: its longest tick, in seconds, and the cells."""
    names = [sorted(str(file.relative_to(place)) for file in place.rglob("*.gz")) for place in (files.base, files.more)]
    store.land(files.base, names[0])
    notes.append(f"{name}: {_first_landing(store)}")
    with daemon(dict(store.environment)) as running:
        cold = running.nothing_new()
        notes.append(f"{name}: the first tick after a start, with all imports, took {cold.ticks[0]:.1f} s.")
        tick = running.nothing_new()
        yield "nothing new", max(tick.ticks), *_ticks(tick), *_cells(store, tick), "", "", "", ""
        for what, some in (("1 new", names[1][:1]), (f"{MORE:,} new", names[1][1:])):
            tick, run = running.after(partial(store.land, files.more, some))
            cells = (*_ticks(tick), *_cells(store, tick), f"{run.seconds:.1f}", *_cells(store, run))
            yield what, max(tick.ticks), *cells


def _ticks(span: Span) -> tuple[str, str]:
    return str(len(span.ticks)), f"{max(span.ticks):.1f}"


def _cells(store: Store, span: Span) -> tuple[str, str, str]:
    """Memory in MB, lists, reads."""
    return f"{span.memory:.0f}", store.count("list", span), store.count("read", span)


def _first_landing(store: Store) -> str:
    """All that lies there, batch by batch."""
    ran = subprocess.run(
        python("benchmarks.many_files.first", store.files_per_batch),
        env=store.environment, cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    reads = sum(kind == "read" for _, kind in store.asked())
    return f"the first landing, without Dagster: {ran.stdout.strip()}, and {reads:,} reads."


@contextmanager
def _disk(home: Path) -> Iterator[Store]:
    """Files are linked into the landing, with the times that they have had for long."""
    log = home / "opened.txt"

    def land(folder: Path, names: Iterable[str]) -> None:
        for name in names:
            place = home / "landing" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.hardlink_to(folder / name)

    def asked() -> list[tuple[float, str]]:
        lines = (line.split() for line in log.read_text().splitlines()) if log.exists() else ()
        return [(float(moment), kind) for moment, kind in lines]

    yield Store(land, environment(home, LOG_OF_OPENED=str(log)), asked)


@contextmanager
def _azurite(home: Path) -> Iterator[Store]:
    """Behind a proxy that counts; files land past it."""
    # without it most of a listing is Node's garbage collector
    with patch.dict(os.environ, NODE_OPTIONS="--max-semi-space-size=128"):
        server = azurite.start()
    proxy = SlowStorage(server.port)
    kinds = {"LIST": "list", "GET data": "read"}
    try:
        for name in ("landing", "lake"):
            server.create_container(name)
        yield Store(
            lambda folder, names: _upload(server, folder, names),
            environment(home, LAKEHOUSE_ENVIRONMENT="test", AZURITE_PORT=str(proxy.port), AZURITE_KEY=server.key),
            lambda: [(at, kinds[kind]) for at, kind, where in proxy.log if where == "landing" and kind in kinds],
            files_per_batch=FILES // 5,  # each batch lists all, and Azurite itself is long about it
        )
    finally:
        proxy.stop()
        server.stop()


def _upload(server: azurite.Azurite, folder: Path, names: Iterable[str]) -> None:
    """By eight at once, without the SDK: it costs more than the server."""
    from azure.storage.blob import ContainerSasPermissions, generate_container_sas
    from urllib3 import PoolManager

    until = datetime.now(UTC) + timedelta(hours=1)
    may = ContainerSasPermissions(create=True, write=True)
    signed = generate_container_sas(server.account, "landing", account_key=server.key, permission=may, expiry=until)
    client = PoolManager(maxsize=8, retries=3)  # a busy machine is late, and Node closes what is idle for seconds

    def put(name: str) -> None:
        url, content = f"{server.endpoint}/landing/{name}?{signed}", (folder / name).read_bytes()
        answer = client.request("PUT", url, body=content, headers={"x-ms-blob-type": "BlockBlob"})
        if answer.status != 201:
            raise SystemExit(f"Azurite answered {answer.status} to the upload of {name}")

    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(put, names):
            pass
