"""Servers that answer more often than they are asked."""

from __future__ import annotations

import asyncio
import contextlib

from harvester.edges import Host, Request
from harvester.tiling.tile import Tile


def whole(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


class Loose:
    """A server that answers each request with its own path; ``extra`` comes with the answer to every second request of
    a connection (``first``: to the first, too)."""

    def __init__(self, extra: bytes = b"", *, first: bool = False) -> None:
        self.extra = extra
        self.first = first
        self.connections: list[int] = []
        """Requests of each."""
        self.writers: list[asyncio.StreamWriter] = []
        self.held: asyncio.Event | None = None
        """Where it is set, requests after the first of a connection wait for it."""

    async def __aenter__(self) -> Loose:
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        self.host = Host(scheme="http", name="127.0.0.1", port=self.server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.server.close()
        for writer in self.writers:
            writer.close()
        await self.server.wait_closed()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(self.connections)
        self.connections.append(0)
        self.writers.append(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.connections[number] += 1
                second = self.connections[number] > 1
                if second and self.held is not None:
                    await self.held.wait()
                writer.write(whole(head.split(b" ")[1]) + (self.extra if second or self.first else b""))
        writer.close()

    def ask(self, row: int) -> Request:
        return Request(self.host, f"/{row}", Tile(10, row, 0))


class Late(Loose):
    """Halfway to the second answer of a connection the first one comes again: the one that is due comes when nobody
    waits for it any more."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        before = b""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(self.seconds / 2)
                writer.write(before)
                await asyncio.sleep(self.seconds / 2)
                before = b"" if before else whole(head.split(b" ")[1])
                writer.write(whole(head.split(b" ")[1]))
        writer.close()
