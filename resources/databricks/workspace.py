"""Spark in a workspace of Databricks: a script runs there as a one-time run of a job.

Nothing is imported of the SDK, and nothing is asked of the workspace, before a job is to be carried out.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg

from lakehouse.engine.declare.errors import Terminal
from lakehouse.engine.declare.ports import SparkJob
from resources import redaction
from resources.adls import SettingMissing
from resources.pipes import carry_out

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

    from resources.databricks.job import JobRun

REQUEST_SECONDS = 60


class Databricks(dg.ConfigurableResource):
    """Runs scripts for Spark in the workspace at `host`: serverless, or on the cluster `cluster_id`.

    Script, parameters and messages pass through a folder below `volume`. `token_variable` names the variable that holds
    a token; without it the SDK finds its own way in.
    """

    host: str
    volume: str
    token_variable: str | None = None
    cluster_id: str | None = None
    timeout_minutes: int = 240
    wait_seconds: float = 5.0
    declared_in: str = "the environment file"

    def why_not(self) -> str:
        return ""  # what is missing here is a mistake, which a run shall say

    def run(self, job: SparkJob, context: Any) -> Mapping[str, object]:
        client = self._client()
        from resources.databricks.job import JobRun
        from resources.databricks.volume import VolumeFolder

        with VolumeFolder.made(client, f"{self.volume}/{job.token[:16]}") as folder:
            folder.write(job.script.name, job.script.read_bytes())

            @contextmanager
            def start(arguments: list[str]) -> Generator[JobRun]:
                run = JobRun.submit(self, client, job, [f"{folder.path}/{job.script.name}", *arguments])
                try:
                    run.look()
                    context.log.info("%s runs on Databricks: %s", job.table, run.page)
                    yield run
                finally:
                    run.end()

            return carry_out(job, context, folder, start)

    def _client(self) -> WorkspaceClient:
        try:
            from databricks.sdk import WorkspaceClient
            from databricks.sdk.core import Config
        except ModuleNotFoundError as missing:
            raise Terminal(
                f"{self.declared_in} names Databricks, and {missing.name} is not installed. "
                "Install the extra: pip install 'lakehouse[databricks]'."
            ) from missing
        token = self._token(self.token_variable) if self.token_variable else None
        way = "pat" if token else None
        try:
            config = Config(
                host=self.host,
                token=token,
                auth_type=way,
                http_timeout_seconds=REQUEST_SECONDS,
                disable_experimental_files_api_client=True,  # else files come by way of the store's own host
            )
            return WorkspaceClient(config=config)
        except ValueError as unknown:
            raise Terminal(
                f"There is no way into {self.host}: {unknown}. Name the variable of a token in {self.declared_in} "
                "(token_variable), or log in by what the SDK knows: az login, or its variables."
            ) from unknown

    def _token(self, variable: str) -> str:
        token = os.environ.get(variable)
        if not token:
            raise SettingMissing(
                f"{variable} is not set; it holds the token for {self.host} ({self.declared_in}). Set it where the run "
                f"is started (export {variable}=...), or name another variable in that file."
            )
        if not token.isascii() or not token.isprintable() or token != token.strip():
            # the SDK's own error would repeat the header that it cannot send, and the token in it
            raise Terminal(
                f"{variable} holds no token for {self.host}: there is a blank, a line's end or a sign in it that no "
                f"token has. Set it anew where the run is started (export {variable}=...). Nothing was asked of it."
            )
        redaction.keep(token)
        return token
