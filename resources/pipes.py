"""Dagster Pipes by way of a folder that both sides see: what a script is told, and the messages that it leaves.

Messages are read by the thread that waits for the job, each chunk once and in order: Dagster's own readers are threads
that may die, or give up, while the asset stays green.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import dagster as dg

from lakehouse.engine.declare.errors import Terminal
from lakehouse.engine.declare.ports import SparkJob
from resources import redaction

SECRET = ("account_key", "bearer_token", "sas_token")
"""Options of an address; a script has them in its environment, and may print that."""
LAST_LINES = 20
LAST_CHARACTERS = 8_000


class Folder(Protocol):
    """A folder that the script and we see. `path` is its path where the script runs."""

    path: str

    def names(self) -> set[str]:
        """Its files, by bare name."""
        ...

    def read(self, name: str) -> bytes: ...

    def write(self, name: str, content: bytes) -> None: ...


class Running(Protocol):
    """A script that was started."""

    def wait(self) -> bool:
        """Wait for a moment. True once it has ended."""
        ...

    def said(self) -> str:
        """What it has printed since this was last asked, as far as that is known by now."""
        ...

    def failure(self) -> str:
        """Of one that has ended: how it failed, in a few words; empty where it did not."""
        ...


type Start = Callable[[list[str]], AbstractContextManager[Running]]
"""Starts the script with these arguments. On the way out, however that is taken, it does not go on."""


def carry_out(job: SparkJob, context: Any, folder: Folder, start: Start) -> dict[str, object]:
    """Start a script, bring what it says to Dagster's event log while it runs, and give the facts that it reported.

    Raises Terminal with its last lines where it fails. Every secret that this process knows is left out of all that it
    says.
    """
    for name, value in options_of(job):
        if name in SECRET:
            redaction.keep(value)
    messages = _Messages(folder)
    reads = {name: {"uri": str(address), "version": version} for name, (address, version) in job.reads.items()}
    told = {"reads": reads, "writes": str(job.writes)}
    with dg.open_pipes_session(context, _Told(folder), messages, told) as session:
        arguments = [part for pair in session.get_bootstrap_cli_arguments().items() for part in pair]
        printed, ended = "", False
        with start(arguments) as running:
            while not ended:
                ended = running.wait()
                messages.take(all_of_them=ended)
                printed = (printed + _told_on(context, _redacted(running.said())))[-LAST_CHARACTERS:]
            if failure := _redacted(running.failure()):
                lines = "\n".join(printed.splitlines()[-LAST_LINES:]) or "(it printed nothing)"
                raise Terminal(f"{job.table}: {job.script.name} failed ({failure}). Its last lines:\n{lines}")
        if messages.is_torn or not session.message_handler.received_closed_message:
            raise Terminal(
                f"{job.table}: {job.script.name} ended well, and its last messages are missing. Let it do its work "
                "within `with open_dagster_pipes(…) as pipes:`, which closes when all is said."
            )
    return _facts(job, session)


def options_of(job: SparkJob) -> Iterator[tuple[str, str]]:
    """What a script needs to open its tables; last what opens the one that it writes."""
    for address in (*(each for each, _ in job.reads.values()), job.writes):
        yield from address.options.items()


def _redacted(text: str) -> str:
    return redaction.without(text, redaction.known())


def _told_on(context: Any, text: str) -> str:
    """What a script prints is no event by itself; it goes to the log of the run."""
    if text.strip():
        context.log.info(text.rstrip())
    return text


def _facts(job: SparkJob, session: dg.PipesSession) -> dict[str, object]:
    facts: dict[str, object] = {}
    for each in session.get_reported_results():
        if isinstance(each, dg.AssetCheckResult):
            raise Terminal(
                f"{job.table}: {job.script.name} reports a check, {each.check_name}, which nobody asked for: rows are "
                "judged by their contract. Nothing was written. Declare it there, with @check."
            )
        facts |= {name: getattr(value, "value", value) for name, value in (each.metadata or {}).items()}
    return facts


class _Told(dg.PipesContextInjector):
    """Puts what the script is told into the folder."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    @contextmanager
    def inject_context(self, context_data: Any) -> Generator[dict[str, Any]]:
        self._folder.write("context.json", json.dumps(context_data).encode())
        yield {"path": f"{self._folder.path}/context.json"}

    def no_messages_debug_text(self) -> str:
        return f"It was told by {self._folder.path}/context.json."


class _Messages(dg.PipesMessageReader):
    """Chunks of messages, `1.json` and on, as dagster_pipes' writer to a Volume leaves them."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._next = 1
        self.is_torn = False
        self._handler: Any = None

    @property
    def expected_writer_count(self) -> int:
        return 1  # as Dagster's own, which warns that it is new

    @contextmanager
    def read_messages(self, handler: Any) -> Generator[dict[str, Any]]:
        self._handler = handler
        yield {"path": self._folder.path}

    def no_messages_debug_text(self) -> str:
        return f"It leaves its messages in {self._folder.path}, as PipesUnityCatalogVolumesMessageWriter does."

    def take(self, *, all_of_them: bool) -> None:
        """Hand on the chunks that are whole: those that another one follows, and the last once the script has ended."""
        names = self._folder.names()
        while f"{self._next}.json" in names and (all_of_them or f"{self._next + 1}.json" in names):
            for line in self._folder.read(f"{self._next}.json").decode().split("\n"):
                self._hand_on(line)
            self._next += 1

    def _hand_on(self, line: str) -> None:
        try:
            message = json.loads(_redacted(line))
        except ValueError:  # of a script that was killed while it wrote
            self.is_torn = True
        else:
            self._handler.handle_message(message)
