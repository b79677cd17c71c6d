"""A `dagster dev` of the tests: a home, a port and a process group of its own, ended by SIGINT."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from lakehouse.example.replay import days
from lakehouse_tests.free_port import free_port
from resources.local_disk import LocalDisk

PROJECT = Path(__file__).parents[2]
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
SENSORS = ("erp_orders_arrivals", "automation")

# A shell that starts its jobs in the background has them ignore SIGINT, and every child inherits that.
_HEARS_SIGINT = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
)


def until[T](found: Callable[[], T], seconds: float, *, what: str, every: float = 0.5) -> T:
    """Ask until the answer is true, and return it. Fails when `seconds` are over."""
    give_up = time.monotonic() + seconds
    while not (answer := found()):
        if time.monotonic() > give_up:
            raise AssertionError(f"{seconds:g} s went by without {what}")
        time.sleep(every)
    return answer


@dataclass(frozen=True)
class Run:
    """One run as the webserver tells it; `tables` are the keys of what it was to make, `ended` is in epoch seconds."""

    id: str
    status: str
    ended: float | None
    tables: frozenset[str]
    tags: Mapping[str, str]

    @property
    def by(self) -> str:
        """The sensor that asked for it; empty where a person or `lakehouse run` did."""
        return self.tags.get("dagster/sensor_name", "")


@dataclass
class DagsterDev:
    """One running server. `home` is its LAKEHOUSE_HOME."""

    home: Path
    port: int
    process: subprocess.Popen[bytes]
    log: Path
    environment: Mapping[str, str] = field(repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, query: str, **variables: Any) -> Any:
        """The `data` of a GraphQL answer. Raises AssertionError with the errors, where it has some."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def runs(self) -> list[Run]:
        """Every run there is, the newest first."""
        fields = "runId status endTime tags { key value } assetSelection { path } assets { key { path } }"
        found = self.ask(f"{{ runsOrError {{ ... on Runs {{ results {{ {fields} }} }} }} }}")["runsOrError"]["results"]
        return [
            Run(
                id=each["runId"],
                status=each["status"],
                ended=each["endTime"],
                tables=frozenset(
                    "/".join(key["path"])
                    for key in (each["assetSelection"] or [asset["key"] for asset in each["assets"]])
                ),
                tags={tag["key"]: tag["value"] for tag in each["tags"]},
            )
            for each in found
        ]

    def new_runs(self, before: list[Run]) -> list[Run]:
        """The runs that were not there before, the oldest first."""
        known = {each.id for each in before}
        return [each for each in reversed(self.runs()) if each.id not in known]

    def drained(self) -> bool:
        """Whether no run waits or is under way, and each sensor has looked since the last one ended and asked for none.

        Without that look it is not over: a run by hand is followed by what is downstream, up to a tick (15 s) later.
        """
        looked = [self.ticks(sensor)[0] for sensor in SENSORS]  # before the runs, so that all they asked for is there
        runs = self.runs()
        ended = max((each.ended or 0 for each in runs), default=0)
        return all(each.status in ENDED for each in runs) and all(
            tick["status"] == "SKIPPED" and tick["timestamp"] > ended for tick in looked
        )

    def ticks(self, sensor: str) -> list[dict[str, Any]]:
        """The last ticks of a sensor, the newest first."""
        asked = """query ($sensor: SensorSelector!) { sensorOrError(sensorSelector: $sensor) { ... on Sensor {
            sensorState { ticks(limit: 30) { status skipReason timestamp runIds error { message } } } } } }"""
        selector = {"repositoryName": "__repository__", "repositoryLocationName": "lakehouse", "sensorName": sensor}
        return self.ask(asked, sensor=selector)["sensorOrError"]["sensorState"]["ticks"]

    def materialize(self, *tables: str, config: Mapping[str, Any] | None = None) -> str:
        """Launch a run as the UI does; its id."""
        asked = """mutation ($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
            __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
            ... on RunConfigValidationInvalid { errors { message } } } }"""
        selector = {
            "repositoryName": "__repository__",
            "repositoryLocationName": "lakehouse",
            "jobName": "__ASSET_JOB",
            "assetSelection": [{"path": table.split("/")} for table in tables],
            "assetCheckSelection": None,
        }
        params = {"selector": selector, "runConfigData": config or {}, "mode": "default"}
        launched = self.ask(asked, params=params)["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return launched["run"]["runId"]

    def status(self, run_id: str) -> str:
        asked = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
        return self.ask(asked, id=run_id)["runOrError"]["status"]

    def lakehouse(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command line beside the server, on the same home."""
        return subprocess.run(
            [sys.executable, "-m", "lakehouse.cli", *arguments],
            cwd=self.environment["PYTHONPATH"],
            env=dict(self.environment),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def land(self, day: str) -> None:
        """Land one day of the example's orders, and nothing of its other sources: what runs follows from one file."""
        _land(self.home, day, {"erp/orders"})

    def stop(self) -> list[str]:
        """End the server as Ctrl-C does, and say which of its processes are still there after a grace."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(60)
        give_up = time.monotonic() + 10
        while (left := _of_group(self.process.pid)) and time.monotonic() < give_up:
            time.sleep(0.2)
        if left:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        return left


def land_everything(home: Path, day: str) -> None:
    """Land one day of all sources, without which what reads them is never made for the first time."""
    _land(home, day, None)


def _land(home: Path, day: str, sources: set[str] | None) -> None:
    landing = LocalDisk(path=str(home / "landing"))
    for file in days(date.fromisoformat(day), date.fromisoformat(day)):
        if sources is None or file.source in sources:
            landing.write(file.name, file.content)


def start(
    home: Path,
    *,
    command: tuple[str, ...] = ("dagster", "dev", "-w", "workspace.yaml"),
    project: Path = PROJECT,
    settings: Mapping[str, str] | None = None,
) -> DagsterDev:
    """Start a server and wait until it answers. Raises AssertionError with the end of its log when it does not.

    settings: variables that it and what is started beside it see.
    """
    home.mkdir(parents=True, exist_ok=True)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER_", "LAKEHOUSE_"))},
        "LAKEHOUSE_HOME": str(home),
        "PYTHONPATH": str(project),
        **(settings or {}),
    }
    environment["DAGSTER_HOME"] = _dagster_home(project, environment)
    port, log = free_port(), home / "dev.log"
    program = str(Path(sys.executable).with_name(command[0]))
    with log.open("wb") as told:
        process = subprocess.Popen(
            [sys.executable, "-c", _HEARS_SIGINT, program, *command[1:], "--port", str(port)],
            cwd=project,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = DagsterDev(home, port, process, log, environment)
    try:
        until(lambda: process.poll() is not None or _answers(server), 240, what="an answer of the webserver")
        assert process.poll() is None
    except AssertionError as silent:
        server.stop()
        raise AssertionError(f"{command} did not start: {log.read_text()[-3000:]}") from silent
    return server


def _dagster_home(project: Path, environment: Mapping[str, str]) -> str:
    """Made ready as `make dev` does."""
    asked = [sys.executable, "-m", "resources.dagster_home"]
    return (
        subprocess.run(asked, cwd=project, env=environment, stdout=subprocess.PIPE, check=True).stdout.decode().strip()
    )


def _answers(server: DagsterDev) -> bool:
    """Whether the code location has been loaded too."""
    try:
        nodes = server.ask("{ assetNodes { assetKey { path } } }")["assetNodes"]
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
    return bool(nodes)


def _of_group(group: int) -> list[str]:
    """The processes of a process group, by their command."""
    found: list[str] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            _, _, after = (entry / "stat").read_text().rpartition(") ")
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(after.split()[2]) == group and after.split()[0] != "Z":
            found.append(f"{entry.name} {command}")
    return found
