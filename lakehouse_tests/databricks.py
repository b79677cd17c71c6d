"""A workspace of Databricks on this machine: jobs and files by the real HTTP requests, scripts run for real, by Sail.

It behaves like the original where clients branch: 401 without the token, 429 and 500 when told to, a submit that is one
run per idempotency token, runs that go PENDING → RUNNING → TERMINATED, cancelling that takes a moment, folders that
must be made before files lie in them and be empty before they go.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from dagster_pipes import decode_param, encode_param

from resources.sail import SESSION

TOKEN = "dapi-canary-0123456789abcdef"  # a made-up secret
PENDING_SECONDS = 0.3


@dataclass
class Run:
    """A submitted run and, once it is RUNNING, the child that carries it out."""

    id: int
    asked: dict[str, Any]
    life: str = "PENDING"
    result: str | None = None
    message: str = ""
    printed: str = ""
    child: subprocess.Popen[str] | None = None

    @property
    def state(self) -> dict[str, Any]:
        said = {"life_cycle_state": self.life, "state_message": self.message}
        return {**said, **({"result_state": self.result} if self.result else {})}


@dataclass
class Workspace:
    """`root` holds what lies in volumes. `faults`: by method and end of path, statuses that come before any answer."""

    root: Path
    runs: dict[str, Run] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    faults: dict[tuple[str, str], deque[int]] = field(default_factory=dict)
    ends: tuple[str, str] | None = None
    """With this (life cycle state, result) a run ends instead of running."""

    def __post_init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"workspace": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        (self.root / "Volumes/main/lakehouse/jobs").mkdir(parents=True)

    @property
    def host(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        for run in self.runs.values():
            if run.child and run.child.poll() is None:
                run.child.kill()
        self._server.shutdown()
        self._server.server_close()

    def file(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def submit(self, asked: dict[str, Any]) -> int:
        token = asked["idempotency_token"]
        assert len(token) <= 64
        if token not in self.runs:
            self.runs[token] = Run(len(self.runs) + 101, asked)
            threading.Thread(target=self._carry_out, args=[self.runs[token]], daemon=True).start()
        return self.runs[token].id

    def run(self, number: str) -> Run:
        """By the id of the run, or of its one task."""
        return next(each for each in self.runs.values() if str(each.id) == number.removesuffix("1000"))

    def cancel(self, run: Run) -> None:
        if run.life in ("PENDING", "RUNNING"):
            run.life, run.result = "TERMINATING", "CANCELED"
            if run.child:
                run.child.terminate()

    def _carry_out(self, run: Run) -> None:
        time.sleep(PENDING_SECONDS)
        if self.ends:
            run.life, run.result = self.ends[0], self.ends[1] or None
            return
        if run.life == "PENDING":
            task = run.asked["tasks"][0]["spark_python_task"]
            run.child = self._start(task["python_file"], task["parameters"])
            run.life = "RUNNING"
            with run.child as child:
                run.printed = child.stdout.read() if child.stdout else ""
            failed = child.returncode != 0
            run.result = run.result or ("FAILED" if failed else "SUCCESS")
            run.message = "Workload failed, see run output for details" if failed else ""
        run.life = "TERMINATED"

    def _start(self, script: str, parameters: list[str]) -> subprocess.Popen[str]:
        """As a cluster would, which has the volumes mounted at /Volumes."""
        told = [
            encode_param(json.loads(json.dumps(decode_param(each)).replace("/Volumes", f"{self.root}/Volumes")))
            if place % 2
            else each
            for place, each in enumerate(parameters)
        ]
        return subprocess.Popen(
            [sys.executable, str(SESSION), str(self.file(script)), *told],
            env={**os.environ, "RUST_LOG": "error"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


class _Handler(BaseHTTPRequestHandler):
    workspace: Workspace
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002 # as http.server calls it

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_DELETE = do_HEAD = do_GET  # noqa: N815 # as http.server calls them

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.workspace.requests.append((self.command, path))
        if path.startswith("/.well-known"):
            return self._say(404, {})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._say(401, {"error_code": "UNAUTHENTICATED", "message": "Credential was not sent or is invalid"})
        for (method, end), statuses in self.workspace.faults.items():
            if method == self.command and path.endswith(end) and statuses:
                return self._fail(statuses.popleft())
        if path.startswith("/api/2.2/jobs/runs/"):
            return self._jobs(path.rsplit("/", 1)[1])
        if path.startswith(("/api/2.0/fs/files/", "/api/2.0/fs/directories/")):
            return self._files(*path.removeprefix("/api/2.0/fs/").split("/", 1))
        return self._say(404, {"error_code": "ENDPOINT_NOT_FOUND", "message": f"No API found for {path}"})

    def _jobs(self, verb: str) -> None:
        query = {name: value[0] for name, value in parse_qs(urlsplit(self.path).query).items()}
        asked = json.loads(self.body) if self.body else {}
        if verb == "submit":
            return self._say(200, {"run_id": self.workspace.submit(asked)})
        run = self.workspace.run(str(asked.get("run_id") or query["run_id"]))
        if verb == "cancel":
            self.workspace.cancel(run)
            return self._say(200, {})
        if verb == "get-output":
            return self._say(200, {"logs": run.printed, "metadata": {"run_id": run.id}})
        page = f"{self.workspace.host}/?o=1#job/1/run/{run.id}"
        tasks = [{"run_id": int(f"{run.id}1000"), "task_key": run.asked["tasks"][0]["task_key"], "state": run.state}]
        return self._say(200, {"run_id": run.id, "run_page_url": page, "state": run.state, "tasks": tasks})

    def _files(self, kind: str, rest: str) -> None:
        place = self.workspace.file(rest)
        match (self.command, kind):
            case ("PUT", "directories"):
                place.mkdir(parents=True, exist_ok=True)
                self._say(204)
            case ("PUT", "files") if place.parent.is_dir():
                place.write_bytes(self.body)
                self._say(204)
            case ("GET" | "HEAD", "files") if place.is_file():
                self._say(200, place.read_bytes(), kind="application/octet-stream")
            case ("GET", "directories") if place.is_dir():
                found = [{"name": each.name, "path": f"/{rest}/{each.name}", "is_directory": each.is_dir()}
                         for each in sorted(place.iterdir())]  # fmt: skip
                self._say(200, {"contents": found})
            case ("DELETE", "files") if place.is_file():
                place.unlink()
                self._say(204)
            case ("DELETE", "directories") if place.is_dir() and any(place.iterdir()):
                self._say(400, {"error_code": "BAD_REQUEST", "message": "The directory is not empty."})
            case ("DELETE", "directories") if place.is_dir():
                place.rmdir()
                self._say(204)
            case _:
                self._say(404, {"error_code": "NOT_FOUND", "message": f"{rest} is not found."})

    def _fail(self, status: int) -> None:
        if status == 403:
            return self._say(403, b"<html>Not from here.</html>", kind="text/html")
        return self._say(status, {"error_code": "", "message": f"told to say {status}"}, retry_after=status == 429)

    def _say(
        self, status: int, content: Any = b"", *, kind: str = "application/json", retry_after: bool = False
    ) -> None:
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if retry_after:
            self.send_header("Retry-After", "1")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
