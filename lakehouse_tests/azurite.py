"""A storage account on this machine: Azurite, from npm, in memory, on a port of its own."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lakehouse.engine.declare.ports import Address
from lakehouse_tests.free_port import free_port

PROJECT = Path(__file__).parents[1]
PROGRAM = PROJECT / "node_modules" / ".bin" / "azurite-blob"
ACCOUNT = "devstoreaccount1"
# The key that Azurite's makers publish for this account; it opens nothing but Azurite.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

A_KEY = {"auth_mode": "direct_key", "account_key_variable": "A_KEY"}
"""The way in of a storage whose key stands in the variable A_KEY."""


def why_missing() -> str:
    """Why Azurite cannot be started here, or nothing."""
    if not shutil.which("node"):
        return "node is not installed: install Node 20, then `make test` brings Azurite"
    if not PROGRAM.exists():
        return f"{PROGRAM.relative_to(PROJECT)} is missing: `make test` (or `npm ci`) brings it"
    return ""


@dataclass
class Azurite:
    """One running server. `environment()` is what a process needs to find it by resources/environments/test.yaml."""

    port: int
    process: subprocess.Popen[bytes]
    account: str = ACCOUNT
    key: str = field(default=KEY, repr=False)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/{self.account}"

    def environment(self) -> dict[str, str]:
        return {"AZURITE_PORT": str(self.port), "AZURITE_KEY": self.key}

    def address(self, container: str) -> Address:
        """The container, by its key."""
        way_in = {"account_name": self.account, "account_key": self.key, "endpoint": self.endpoint}
        return Address(f"abfss://{container}@{self.account}.dfs.core.windows.net", {**way_in, "allow_http": "true"})

    def create_container(self, name: str) -> None:
        """Production code never creates one: there a missing container is a mistake in the settings."""
        from azure.storage.blob import ContainerClient

        with ContainerClient(self.endpoint, name, credential=self.key) as container:
            container.create_container()

    def stop(self) -> None:
        """Ends the server and what it started, and waits for it."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


def start(
    seconds: float = 60,
    arguments: Sequence[str] = (),
    accounts: Mapping[str, str] | None = None,
    variables: Mapping[str, str] | None = None,
) -> Azurite:
    """Start a server and wait until it answers. Raises RuntimeError with what it said when it does not.

    `accounts` are names with their keys, for others than the one that it knows; with TLS, any connection is an answer.
    """
    port = free_port()
    known = ";".join(f"{name}:{key}" for name, key in (accounts or {}).items())
    quiet = ["--skipApiVersionCheck", "--disableTelemetry", "--silent", "--inMemoryPersistence"]
    process = subprocess.Popen(
        [PROGRAM, *quiet, *arguments, "--blobHost", "127.0.0.1", "--blobPort", str(port)],
        env={**os.environ, **(variables or {}), **({"AZURITE_ACCOUNTS": known} if known else {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    azurite = Azurite(port, process)
    give_up = time.monotonic() + seconds
    while not _answers(port):
        if process.poll() is not None or time.monotonic() > give_up:
            azurite.stop()
            raise RuntimeError(
                f"Azurite did not answer on port {port} within {seconds:.0f} s (exit {process.returncode})."
            )
        time.sleep(0.05)
    return azurite


def _answers(port: int) -> bool:
    """Any answer will do, also a refusal, or that it hangs up. Asked without urllib, which would go through a proxy."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", f"/{ACCOUNT}?comp=list")
        connection.getresponse().read()
    except (http.client.BadStatusLine, ConnectionResetError):
        return True
    except OSError:
        return False
    finally:
        connection.close()
    return True
