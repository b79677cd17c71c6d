"""A proxy before a storage server on this machine: it counts requests and holds each back for some milliseconds."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections import Counter
from contextlib import suppress


class SlowStorage:
    """Listens on `port` and passes on to `server`; `requests` counts by method and by what is asked for.

    `log` has each as well, with its time (epoch seconds) and with the container that it was sent to.
    """

    def __init__(self, server: int, seconds: float = 0) -> None:
        self.server, self.seconds = server, seconds
        self.requests = Counter[str]()
        self.log: list[tuple[float, str, str]] = []
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        self._served: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        listens = threading.Event()

        async def listen() -> None:
            async with await asyncio.start_server(self._accept, "127.0.0.1", 0) as listening:
                self.port = listening.sockets[0].getsockname()[1]
                listens.set()
                await self._stopped.wait()
                for client in self._served.values():  # clients keep their connections open
                    client.close()
                await asyncio.gather(*self._served)

        def run() -> None:
            self._loop.run_until_complete(listen())
            self._loop.close()

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        listens.wait()

    def stop(self) -> None:
        """End every connection, and return when they have ended."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served = self._loop.create_task(self._serve(reader, writer))
        self._served[served] = writer
        served.add_done_callback(self._served.pop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self.server)
        answers = asyncio.create_task(_pass_on(from_server, writer))
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                kind, container = _kind(head)
                self.requests[kind] += 1
                self.log.append((time.time(), kind, container))
                await asyncio.sleep(self.seconds)
                to_server.write(head)
                length = re.search(rb"content-length: *([0-9]+)", head, re.IGNORECASE)
                left = int(length[1]) if length else 0
                while left:
                    some = await reader.read(min(left, 1 << 20))
                    if not some:
                        break
                    left -= len(some)
                    to_server.write(some)
                await to_server.drain()
        to_server.close()
        await answers


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while some := await reader.read(1 << 20):
            writer.write(some)
            await writer.drain()
    writer.close()


def _kind(head: bytes) -> tuple[str, str]:
    """As in `GET _last_checkpoint`, `GET log`, `LIST`, `PUT data`; and the container."""
    method, target, *_ = head.decode("latin-1").split(" ")
    path, _, query = target.partition("?")
    container = "".join(path.split("/")[2:3])
    if "comp=list" in query:
        return "LIST", container
    what = "log" if path.endswith(".json") else "data"
    return f"{method} {'_last_checkpoint' if path.endswith('_last_checkpoint') else what}", container
