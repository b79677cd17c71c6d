"""Spark on this machine: a script runs in a child process against Sail, which speaks Spark's protocol without Java."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import dagster as dg

from lakehouse.engine.declare.errors import Terminal
from lakehouse.engine.declare.ports import Address, SparkJob
from resources import redaction
from resources.adls import PREFERRED
from resources.environment import secret_variables
from resources.pipes import carry_out, options_of

NEEDED = ("pysail", "pyspark")
SESSION = Path(__file__).with_name("sail_session.py")
GRACE_SECONDS = 5.0

# what Sail's store reads its account from; deltalake's and Polars' names for the same stand before the colon
_VARIABLES = {
    "account_name": "AZURE_STORAGE_ACCOUNT_NAME",
    "account_key": "AZURE_STORAGE_ACCOUNT_KEY",
    "bearer_token": "AZURE_STORAGE_TOKEN",
    "sas_token": "AZURE_STORAGE_SAS_TOKEN",
    "endpoint": "AZURE_STORAGE_ENDPOINT",
    "allow_http": "AZURE_ALLOW_HTTP",
}
_OF_SDKS = {*PREFERRED["sas_token"], "ARM_CLIENT_SECRET", "DATABRICKS_TOKEN", "DATABRICKS_CLIENT_SECRET"}
"""What they take by themselves, and what Sail's store would prefer to the way in that a script is given."""


class Sail(dg.ConfigurableResource):
    """Runs scripts for Spark here, with this interpreter, and looks at one every `wait_seconds`."""

    wait_seconds: float = 0.5

    def why_not(self) -> str:
        missing = [name for name in NEEDED if find_spec(name) is None]
        said = f"{' and '.join(missing)} is not installed. Install the extra: pip install 'lakehouse[spark]'"
        return said if missing else ""

    def run(self, job: SparkJob, context: Any) -> Mapping[str, object]:
        if why := self.why_not():
            raise Terminal(f"{job.table} runs on Spark, and {why}")
        with TemporaryDirectory(prefix="lakehouse-pipes-") as path:
            folder = _LocalFolder(path)

            @contextmanager
            def start(arguments: list[str]) -> Generator[_Child]:
                child = _Child(job, arguments, folder, self.wait_seconds)
                try:
                    yield child
                finally:
                    child.end()

            return carry_out(_plainly_called(job, Path(path, "tables")), context, folder, start)


def _plainly_called(job: SparkJob, links: Path) -> SparkJob:
    """Local tables by links where their paths need it: Sail 0.7.2 loses its way where one holds a space, '#' or '%'."""
    links.mkdir()

    def plain(name: str, address: Address) -> Address:
        if not address.is_local or quote(address.uri) == address.uri:
            return address
        Path(address.uri).mkdir(parents=True, exist_ok=True)
        (links / name).symlink_to(address.uri, target_is_directory=True)
        return Address(str(links / name))

    reads = {name: (plain(name, address), version) for name, (address, version) in job.reads.items()}
    return replace(job, reads=reads, writes=plain(".writes", job.writes))


class _LocalFolder:
    def __init__(self, path: str) -> None:
        self.path = path

    def names(self) -> set[str]:
        return {each.name for each in Path(self.path).iterdir()}

    def read(self, name: str) -> bytes:
        return Path(self.path, name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        Path(self.path, name).write_bytes(content)


class _Child:
    """The child process. What it prints goes through a file, so that it never waits for us."""

    def __init__(self, job: SparkJob, arguments: list[str], folder: _LocalFolder, wait_seconds: float) -> None:
        self._wait_seconds = wait_seconds
        self._output = Path(folder.path, "printed.txt")
        self._read = 0
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 # this interpreter, and a script of the project
                [sys.executable, str(SESSION), str(job.script), *arguments],
                env=_environment(dict(options_of(job))),
                stdin=subprocess.PIPE,  # it ends when the other end is closed, also by our own death
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is ours to pass on
            )

    def wait(self) -> bool:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(self._wait_seconds)
        return self._process.returncode is not None

    def said(self) -> str:
        with self._output.open("rb") as output:
            output.seek(self._read)
            new = output.read()
        if self._process.returncode is None:
            new = new[: new.rfind(b"\n") + 1]  # whole lines: a secret in them is found
        self._read += len(new)
        return new.decode(errors="replace")

    def failure(self) -> str:
        code = self._process.returncode
        if not code:
            return ""
        return f"exit code {code}" if code > 0 else f"ended by {signal.Signals(-code).name}"

    def end(self) -> None:
        """End it where it still runs, by force if it does not heed."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()


def _environment(options: Mapping[str, str]) -> dict[str, str]:
    """Ours, without what opens anything else than the tables that the script is told of."""
    withheld = secret_variables() | _OF_SDKS
    for name in withheld & os.environ.keys():
        redaction.keep(os.environ[name])
    ours = {name: value for name, value in os.environ.items() if name not in withheld}
    account = {_VARIABLES.get(name, f"AZURE_{name.upper()}"): value for name, value in options.items()}
    return {"RUST_LOG": "error", "PYTHONUNBUFFERED": "1", **ours, **account}
