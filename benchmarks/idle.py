"""`lakehouse run` over thirteen tables with nothing new, and with one new file: time, and requests to the storage."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from benchmarks.cost import Cost, cost, environment, median, python
from benchmarks.figures import Figures
from benchmarks.made import package
from benchmarks.slow_storage import SlowStorage
from lakehouse_tests import azurite

LATENCY = 0.05
THIRTEEN = {"bronze": 4, "merged": 4, "counted": 5}


@dataclass(frozen=True)
class Store:
    """Where landing and lake lie: how a file lands there, what finds it, and the requests that it has answered."""

    write: Callable[[str, bytes], object]
    environment: dict[str, str]
    requests: Counter[str] = field(default_factory=Counter)


def nothing_new(*, rounds: int, size: int) -> Iterator[Figures]:  # noqa: ARG001 # no order lines
    """On this disk, on Azurite, and on Azurite with every request held back."""
    notes = ["Goals: nothing new within 20 requests; one new file to gold in less than 5 s."]
    measured = {"this disk": _measured(_disk, rounds, notes)}
    if why := why_no_azurite():
        sys.stderr.write(f"\n*** Azurite IS MISSING from these figures: {why} ***\n\n")
        notes.append(f"Azurite could not be measured: {why}.")
    else:
        measured["Azurite"] = _measured(lambda home: _azurite(home, 0), rounds, notes)
        slow = f"Azurite, {1000 * LATENCY:.0f} ms later"
        measured[slow] = _measured(lambda home: _azurite(home, LATENCY), rounds, notes)
    yield Figures(
        "5-idle",
        "Thirteen tables (4 bronze, 4 silver, 5 gold): what `lakehouse run` does once Python has started",
        ("", "nothing new, s", "requests", "one new file, s", "requests"),
        [(name, f"{idle:.2f}", asked, f"{new:.2f}", more) for name, (idle, asked, new, more) in measured.items()],
        [new for _, _, new, _ in measured.values()],
        notes,
    )


def _measured(
    store: Callable[[Path], AbstractContextManager[Store]], rounds: int, notes: list[str]
) -> tuple[float, str, float, str]:
    """Seconds and requests, of a run that finds nothing and of one that finds a file."""
    with tempfile.TemporaryDirectory(prefix="lakehouse-bench-") as folder, store(Path(folder)) as opened:
        around = {**opened.environment, "PATH_OF_TABLES": folder}
        command = python("benchmarks.ours", package(Path(folder), "thirteen", **THIRTEEN))

        def run() -> tuple[Cost, Counter[str]]:
            opened.requests.clear()
            return cost(command, around), opened.requests.copy()

        for source in range(THIRTEEN["bronze"]):
            _land(opened, source, 0)
        run()
        idle, new = [], []
        for turn in range(rounds):
            idle.append(run())
            _land(opened, 0, turn + 1)
            new.append(run())
    for what, runs in (("nothing new", idle), ("one new file", new)):
        if asked := runs[-1][1]:
            notes.append(f"{what}: " + ", ".join(f"{count} {kind}" for kind, count in sorted(asked.items())))
    return *_middle(idle), *_middle(new)


def _middle(runs: list[tuple[Cost, Counter[str]]]) -> tuple[float, str]:
    asked = runs[-1][1].total()
    return median([taken for taken, _ in runs]).worked, str(asked) if asked else "not asked"


def _land(store: Store, source: int, file: int) -> None:
    rows = "".join(f'{{"n": {file * 100 + n}, "said": "word {n % 7}"}}\n' for n in range(100))
    store.write(f"sent_{source}/{file}.jsonl", rows.encode())


@contextmanager
def _disk(home: Path) -> Iterator[Store]:
    from resources.local_disk import LocalDisk

    yield Store(LocalDisk(path=str(home / "landing")).write, environment(home))


def why_no_azurite() -> str:
    if not find_spec("azure"):
        return "the extra azure is not installed (make tests-core brings it)"
    return azurite.why_missing()


@contextmanager
def _azurite(home: Path, seconds: float) -> Iterator[Store]:
    """Behind a proxy that counts; the containers are made, and files land, past it."""
    from azure.storage.blob import ContainerClient

    server = azurite.start()
    proxy = SlowStorage(server.port, seconds)
    try:
        for name in ("landing", "lake"):
            server.create_container(name)
        landing = ContainerClient(server.endpoint, "landing", credential=server.key)
        around = environment(home, LAKEHOUSE_ENVIRONMENT="test", AZURITE_PORT=str(proxy.port), AZURITE_KEY=server.key)
        yield Store(landing.upload_blob, around, proxy.requests)
    finally:
        proxy.stop()
        server.stop()
