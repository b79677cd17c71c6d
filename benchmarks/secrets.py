"""Before anything is read: secrets of a vault that takes 100 ms to answer, and the commands that need none."""

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.cost import cost, environment, lakehouse
from benchmarks.figures import Figures
from lakehouse_tests import azure_cloud as azure

LATENCY_SECONDS = 0.1
SLIM = ("--help", "config show")
FIVE = """
import json, time
began = time.monotonic()
from resources.key_vault import Wanted, begin, secret

def five(of):
    began, wanted = time.monotonic(), [Wanted(f"{of} {n}", "company-kv", f"key-{n}") for n in range(5)]
    for each in wanted:
        begin(each)
    assert [secret(each) for each in wanted] == [f"value {n}" for n in range(5)]
    return time.monotonic() - began

five("first")
print(json.dumps([time.monotonic() - began, five("next")]))
"""
KNOWN = FIVE.replace('five("first")', 'secret(Wanted("known", "company-kv", "key-0"))')


def secrets(*, rounds: int, size: int) -> Iterator[Figures]:  # noqa: ARG001 # no order lines
    """Five connections whose keys are in one vault, and `--help` and `config show` over Python's own start."""
    with tempfile.TemporaryDirectory(prefix="lakehouse-bench-") as folder, azure.started(Path(folder)) as cloud:
        cloud.vaults["company-kv"] = {f"key-{n}": azure.Secret(f"value {n}") for n in range(5)}
        cloud.latency_seconds = LATENCY_SECONDS
        from_nothing = [_asked(cloud, FIVE)[0] for _ in range(rounds)]
        known = [_asked(cloud, KNOWN)[1] for _ in range(rounds)]
        commands = {name: _over_python(lakehouse(*name.split()), Path(folder), rounds) for name in SLIM}
    rows = [
        ("five secrets, vault and login known, new connections", statistics.median(known), "<= 130"),
        ("five secrets, from `import` on", statistics.median(from_nothing), ""),
        *((f"lakehouse {name}, over Python's own start", seconds, "<= 200") for name, seconds in commands.items()),
    ]
    yield Figures(
        "9-secrets",
        "Secrets and start-up",
        ("", "ms", "goal, ms"),
        [(name, f"{1000 * seconds:.0f}", goal) for name, seconds, goal in rows],
        [seconds for _, seconds, _ in rows],
        ["vault and login answer after 100 ms each, over a proxy and TLS, on this very machine"],
    )


def _asked(cloud: azure.Cloud, code: str) -> list[float]:
    login = {"AZURE_TENANT_ID": azure.TENANT, "AZURE_CLIENT_ID": "a", "AZURE_CLIENT_SECRET": cloud.client_secret}
    ran = cloud.run(code, cloud.folder, **login, PYTHONPATH=os.getcwd())  # noqa: PTH109
    sys.stderr.write(ran.stderr)
    ran.check_returncode()
    return json.loads(ran.stdout)


def _over_python(command: list[str], home: Path, rounds: int) -> float:
    """Its wall time less that of a Python which does nothing, each the least of many: what else ran only adds."""
    alone = [sys.executable, "-c", ""]
    least = [min(cost(each, environment(home)).wall for _ in range(5 * rounds)) for each in (command, alone)]
    return least[0] - least[1]
