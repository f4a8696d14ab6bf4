"""A small HTTP proxy on 127.0.0.1, CONNECT and absolute-form, that notes what it was asked for."""

from __future__ import annotations

import asyncio
import base64
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from harvester.testing.threaded import Threaded

PIECE_BYTES = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One request that the proxy saw: its method, its target as sent, and its headers (names in lower case)."""

    method: str
    target: str
    headers: dict[str, str]
    allowed: bool


class ProxyServer(Threaded):
    """Passes on what it is asked for; ``passages`` is what it saw. ``credentials`` (``user:password``) are asked for if
    set; ``routes`` maps ``host:port`` to the (address, port) really connected to, so that names need not resolve.
    """

    def __init__(
        self, *, credentials: str | None = None, routes: dict[str, tuple[str, int]] | None = None, port: int = 0
    ) -> None:
        super().__init__()
        self.passages: list[Passage] = []
        self.port = port
        self._routes = routes or {}
        self._wanted = None if credentials is None else "Basic " + base64.b64encode(credentials.encode()).decode()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """What ``--proxy`` takes."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen; ``port`` is the real one afterwards."""
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the listener and every connection."""
        if self._server is None:
            return
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._server = None

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
                await self._pass(reader, writer)
        finally:
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request, then bytes both ways until either side ends. An absolute-form connection serves one origin."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head[:-4].split("\r\n")
        method, target, version = line.split(" ")
        headers = {name.strip().lower(): value.strip() for name, _, value in (item.partition(":") for item in fields)}
        allowed = self._wanted is None or headers.get("proxy-authorization") == self._wanted
        self.passages.append(Passage(method=method, target=target, headers=headers, allowed=allowed))
        if not allowed:
            writer.write(
                b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=test\r\n"
                b"Content-Length: 0\r\nConnection: close\r\n\r\n"
            )
            return
        parts = urlsplit(target)
        place = target if method == "CONNECT" else parts.netloc
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._route(place))
        except OSError:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        try:
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await _both(reader, writer, far_reader, far_writer)
            else:
                path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                kept = [item for item in fields if not item.lower().startswith(("proxy-", "connection:"))]
                lines = [f"{method} {path} {version}", *kept, "Connection: close", "", ""]
                far_writer.write("\r\n".join(lines).encode("latin-1"))
                await _both(reader, writer, far_reader, far_writer)
        finally:
            far_writer.close()

    def _route(self, place: str) -> tuple[str, int]:
        if place in self._routes:
            return self._routes[place]
        parts = urlsplit(f"//{place}")
        return parts.hostname or "", parts.port or 80


async def _both(
    near_reader: asyncio.StreamReader,
    near_writer: asyncio.StreamWriter,
    far_reader: asyncio.StreamReader,
    far_writer: asyncio.StreamWriter,
) -> None:
    """Copy both ways until one side ends."""
    ways = [
        asyncio.ensure_future(_copy(near_reader, far_writer)),
        asyncio.ensure_future(_copy(far_reader, near_writer)),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(PIECE_BYTES):
        writer.write(data)
        await writer.drain()
