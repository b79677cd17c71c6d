"""A proxy before Azurite that answers badly: too many requests, an outage, no answer, half an upload, nobody let in."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

type Fault = Literal["429", "503", "lost answer", "reset", "401"]


class BadStorage:
    """Listens on `port`. `faults` says what becomes of a request, by its method and path; each is counted in `met`.

    `lets_in`: whether a request is, by what it shows: its Authorization, and its path, which may hold a SAS token. Who
    is let in by a bearer token gets on by `sas`, since Azurite takes no such token without TLS. `asked`: all requests.
    """

    def __init__(self, server: int) -> None:
        self.met = Counter[str]()
        self.asked, self.sas = 0, ""
        self.faults: Callable[[str, str], Fault | None] = lambda _method, _path: None
        self.lets_in: Callable[[str, str], bool] = lambda _shown, _path: True
        owner = self

        class Handler(_Handler):
            storage, server_port = owner, server

        self._listens = _Server(("127.0.0.1", 0), Handler)
        self._listens.daemon_threads = True
        self.port = self._listens.server_port
        self._thread = threading.Thread(target=self._listens.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._listens.shutdown()
        self._thread.join()
        self._listens.server_close()

    def first(self, times: int, fault: Fault, *words: str) -> None:
        """The first requests, so many, whose method or path hold all these words meet this fault."""
        left = threading.Semaphore(times)

        def faults(method: str, path: str) -> Fault | None:
            is_meant = all(word in f"{method} {path}" for word in words)
            return fault if is_meant and left.acquire(blocking=False) else None

        self.faults = faults


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None: ...  # a client that went away


def without(headers: dict[str, str], name: str) -> dict[str, str]:
    return {each: value for each, value in headers.items() if each.lower() != name}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    storage: BadStorage
    server_port: int

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002 # the base's name

    def _serve(self) -> None:
        length, shown = int(self.headers["Content-Length"] or 0), self.headers["Authorization"] or ""
        self.storage.asked += 1
        fault = self.storage.faults(self.command, self.path)
        if fault:
            self.storage.met[fault] += 1
        if fault == "reset":
            self.rfile.read(length // 2)
            self.close_connection = True
            return
        body = self.rfile.read(length)
        if fault in ("429", "503", "401"):
            self._answer(int(fault), {"Retry-After": "0"}, b"<Error><Code>ServerBusy</Code></Error>")
            return
        if not self.storage.lets_in(shown, self.path):
            self.storage.met["refused"] += 1
            self._answer(401 if shown else 403, {}, b"<Error><Code>AuthenticationFailed</Code></Error>")
            return
        path, headers = self.path, dict(self.headers.items())
        if shown.startswith("Bearer "):
            path, headers = f"{path}{'&' if '?' in path else '?'}{self.storage.sas}", without(headers, "authorization")
        server = HTTPConnection("127.0.0.1", self.server_port, timeout=60)
        server.request(self.command, path, body, headers)
        answer = server.getresponse()
        told, given = dict(answer.getheaders()), answer.read()
        server.close()
        if fault == "lost answer":
            self.close_connection = True
            return
        self._answer(answer.status, told, given)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            is_own = name.lower() in ("transfer-encoding", "connection", "keep-alive", "content-length")
            if not is_own or (name.lower() == "content-length" and self.command == "HEAD"):
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


for _method in ("GET", "PUT", "HEAD", "POST", "DELETE"):
    setattr(_Handler, f"do_{_method}", _Handler._serve)
