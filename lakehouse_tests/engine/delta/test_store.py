"""The files of a log, on a folder and in Azurite: one request each, and what is there stays."""

from __future__ import annotations

import http.client
import os
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import polars as pl
import pytest

from lakehouse.engine.declare.errors import Conflict
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta import store
from lakehouse.engine.delta.files import write_files
from lakehouse.engine.delta.handle import Handle
from lakehouse_tests.azurite import Azurite
from lakehouse_tests.engine.delta.opening import opened

ROWS = pl.DataFrame({"id": [1, 2]})


def in_azurite(azurite: Azurite, container: str, port: int = 0) -> Address:
    endpoint = azurite.endpoint.replace(str(azurite.port), str(port or azurite.port))
    options = {"account_name": azurite.account, "account_key": azurite.key, "endpoint": endpoint, "allow_http": "true"}
    return Address(f"abfss://{container}@{azurite.account}.dfs.core.windows.net/silver/orders", options)


@pytest.fixture(params=["folder", "azurite"])
def anywhere(request, tmp_path) -> Address:
    if request.param == "folder":
        (tmp_path / "a # ? é").mkdir()
        return Address(str(tmp_path / "a # ? é"))
    azurite: Azurite = request.getfixturevalue("azurite")
    return in_azurite(azurite, request.getfixturevalue("new_container")())


def test_a_file_is_made_once_and_what_is_there_stays(anywhere):
    store.create(anywhere, "_delta_log/1.json", b"first")
    with pytest.raises(FileExistsError, match=r"1\.json is there already"):
        store.create(anywhere, "_delta_log/1.json", b"second")
    store.create(anywhere, "_delta_log/2.json", b"")
    assert store.read(anywhere, ["_delta_log/2.json", "_delta_log/1.json"]) == [b"", b"first"]


def test_of_a_file_that_is_there_nothing_is_written_beside_and_synced(tmp_path, monkeypatch):
    """Of ten that append at once each meets two or three that were first."""
    address, synced = Address(str(tmp_path)), list[int]()
    store.create(address, "_delta_log/1.json", b"first")
    monkeypatch.setattr(os, "fsync", synced.append)
    with pytest.raises(FileExistsError):
        store.create(address, "_delta_log/1.json", b"second")
    assert synced == []


def test_a_file_that_is_not_there_is_said_to_be_missing_in_one_line(anywhere):
    store.create(anywhere, "_delta_log/1.json", b"first")
    for names in (["_delta_log/3.json"], ["_delta_log/1.json", "_delta_log/3.json"]):
        with pytest.raises(FileNotFoundError, match=r"3\.json") as missing:
            store.read(anywhere, names)
        assert "\n" not in str(missing.value)


class Proxy(ThreadingHTTPServer):
    """Passes requests on to Azurite; of a commit it can lose the answer, though it has landed."""

    daemon_threads = True

    def __init__(self, azurite: Azurite) -> None:
        super().__init__(("127.0.0.1", 0), PassesOn)
        self.azurite, self.said, self.loses = azurite, list[str](), False


class PassesOn(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy  # pyright: ignore[reportIncompatibleVariableOverride]

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.said.append(f"{self.command} {self.path.partition('?')[0].rpartition('/')[2]}")
        with closing(http.client.HTTPConnection("127.0.0.1", self.server.azurite.port)) as behind:
            behind.request(self.command, self.path, body, dict(self.headers))
            answer = behind.getresponse()
            content = answer.read()
        if self.server.loses and self.command == "PUT" and self.path.endswith(".json"):
            self.server.loses = False
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_HEAD = pass_on  # noqa: N815 # http.server's names

    def log_message(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Nothing on the console."""


@contextmanager
def before(azurite: Azurite) -> Iterator[Proxy]:
    with Proxy(azurite) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield proxy
        proxy.shutdown()


def test_a_commit_asks_the_store_whether_its_table_stands_and_puts_one_file(azurite, new_container):
    with before(azurite) as proxy:
        handle = Handle.create(in_azurite(azurite, new_container(), proxy.server_port), ROWS.schema)
        files = write_files(handle, ROWS)
        proxy.said.clear()
        handle = handle.commit(files, [], {"orders": 1}, {})
        assert proxy.said == ["GET 00000000000000000000.json", "PUT 00000000000000000001.json"]
        proxy.said.clear()
        assert (handle.rows, handle.transaction("orders"), handle.id) == (2, 1, opened(handle.address).id)


def test_a_commit_whose_answer_was_lost_has_landed_once(azurite, new_container):
    with before(azurite) as proxy:
        handle = Handle.create(in_azurite(azurite, new_container(), proxy.server_port), ROWS.schema)
        rival = opened(handle.address)
        files = write_files(handle, ROWS)
        proxy.loses = True
        assert handle.commit(files, [], {}, {}).version == 1
        assert not proxy.loses
        assert proxy.said.count("PUT 00000000000000000001.json") == 2  # the store's client tried again
        with pytest.raises(Conflict, match="another writer committed version 1 first"):
            rival.commit(write_files(rival, ROWS), [], {}, {})
        assert (opened(handle.address).version, opened(handle.address).rows) == (1, 2)
