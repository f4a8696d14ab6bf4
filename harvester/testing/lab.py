"""The fault server: real sockets, scripted answers, and a log of everything that was asked.

It speaks HTTP/1.1 over bare transports, since no HTTP library lets one break HTTP. One connection answers one request
at a time. Used as ``with`` it runs in a thread and a loop of its own, so that blocking code can be tested; used as
``async with`` it runs in the caller's loop. ``python -m harvester.testing.lab --script faults.toml`` serves the same to
a client in any language.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import cast

from harvester.testing.acts import ACTS
from harvester.testing.director import Director
from harvester.testing.log import Asked, RequestLog
from harvester.testing.reply import Reply, Site
from harvester.testing.scene import Scene
from harvester.testing.script import Rule, Script
from harvester.testing.threaded import Threaded

MAX_HEAD_BYTES = 65536
"""A request head beyond this is no request of ours."""

MAX_BODY_BYTES = 1 << 20
"""A request body beyond this is no form."""

_LINGER_0 = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
"""struct linger with a time of 0: closing discards what is unsent and sends RST (two int; two u_short in Winsock)."""


class FaultServer(Threaded):
    """Serves a site under a script on 127.0.0.1. ``log`` holds every request; ``script`` may be replaced any time.

    ``port`` 0: any free one. ``clock`` gives monotonic seconds, ``wall`` those since 1970. ``keep`` bounds the log.
    """

    def __init__(
        self,
        site: Site,
        script: Script | None = None,
        *,
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        keep: int | None = None,
    ) -> None:
        super().__init__()
        self.site = site
        self.log = RequestLog(keep)
        self.port = port
        self.clock = clock
        self.wall = wall
        self.started: float | None = None
        """When the first request came; what ``since`` and ``until`` count from."""
        self._ssl = ssl_context
        self._director = Director(script or Script())
        self._server: asyncio.Server | None = None
        self._open: set[_Connection] = set()

    @property
    def script(self) -> Script:
        """What is done wrong from now on; setting it resets the rules' counters, not the log."""
        return self._director.script

    @script.setter
    def script(self, script: Script) -> None:
        """What goes wrong, and when; may be replaced while the server runs."""
        self._director = Director(script)

    @property
    def origin(self) -> str:
        """``http://127.0.0.1:port``, or ``https://localhost:port`` with TLS."""
        return f"https://localhost:{self.port}" if self._ssl else f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen; ``port`` is the real one afterwards."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), "127.0.0.1", self.port, ssl=self._ssl, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the listener and every connection, and wait for what was being answered."""
        if self._server is None:
            return
        self._server.close()
        tasks = [connection.task for connection in self._open if connection.task is not None]
        for connection in list(self._open):
            connection.drop()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._server = None

    def serve(self, connection: _Connection, asked: Asked) -> None:
        """Answer one request: at once where nothing is scripted, else in a task of the connection."""
        if self.started is None:
            self.started = asked.at
        reply = self.site.answer(asked)
        rule, index, delay = self._director.choose(asked, self.log, self.started)
        asked.rule = index
        if asked.method == "HEAD":
            reply = replace(reply, headers=(*reply.headers, ("Content-Length", str(len(reply.body)))), body=b"")
        if rule is None and not delay:
            connection.answer(asked, reply)
        else:
            connection.perform(asked, rule, reply, delay)


class _Connection(asyncio.Protocol):
    """One client connection: reads requests, answers them one after the other. Implements ``Wire`` for the acts."""

    def __init__(self, server: FaultServer) -> None:
        self.task: asyncio.Task[None] | None = None
        self._server = server
        self._buffer = bytearray()
        self._writable = asyncio.Event()
        self._gone = asyncio.Event()
        self._closing = False
        self._asked: Asked | None = None
        self._count = 0
        self._number = 0
        self._transport: asyncio.Transport

    # ---- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        self._writable.set()
        self._number = self._server.log.opened()
        self._server._open.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._gone.set()
        self._writable.set()
        self._server._open.discard(self)
        self._server.log.closed()
        if self.task is not None:
            self.task.cancel()
        elif self._asked is not None:
            self._end(self._asked)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._next()

    def eof_received(self) -> bool:
        return False

    # ---- requests

    def _next(self) -> None:
        """Answer requests for as long as whole ones are in the buffer and none is being answered."""
        while self.task is None and not self._closing:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > MAX_HEAD_BYTES:
                    self.reset()
                return
            raw = bytes(self._buffer[:end])
            line, _, rest = raw.partition(b"\r\n")
            words = line.decode("latin-1").split(" ")
            length = _body_length(rest)
            if len(words) != 3 or length is None or length > MAX_BODY_BYTES:
                self.send(Reply(status=400).whole())
                self.finish()
                return
            if len(self._buffer) < end + 4 + length:
                return
            body = bytes(self._buffer[end + 4 : end + 4 + length])
            del self._buffer[: end + 4 + length]
            self._count += 1
            server = self._server
            self._asked = server.log.add(
                at=server.clock(),
                connection=self._number,
                nth=self._count,
                method=words[0],
                target=words[1],
                raw=raw,
                body=body,
                place=server.site.place(words[0], words[1]),
            )
            server.serve(self, self._asked)

    def answer(self, asked: Asked, reply: Reply) -> None:
        """The right answer, at once."""
        asked.status = reply.status
        asked.answer = reply.summary()
        closing = _wants_close(asked.raw)
        if closing:  # said in the answer, as RFC 9112 (9.6) asks: a proxy in between hands it on
            reply = replace(reply, headers=(*reply.headers, ("Connection", "close")))
        self.send(reply.head() if asked.method == "HEAD" else reply.whole())
        self._end(asked)
        if closing:
            self.finish()

    def perform(self, asked: Asked, rule: Rule | None, reply: Reply, delay: float) -> None:
        """A scripted or late answer, in a task; further requests wait until it has ended."""
        self.task = asyncio.get_running_loop().create_task(self._perform(asked, rule, reply, delay))

    async def _perform(self, asked: Asked, rule: Rule | None, reply: Reply, delay: float) -> None:
        asked.answer = rule.do if rule is not None else reply.summary()
        left = ""
        try:
            if delay:
                await self.pause(delay)
            if rule is None:
                self.answer(asked, reply)
            else:
                reply = replace(reply, headers=(*reply.headers, *rule.headers.items())) if rule.headers else reply
                server = self._server
                scene = Scene(rule=rule, asked=asked, reply=reply, site=server.site, wire=self, now=server.wall())
                await ACTS[rule.do](scene)
        except asyncio.CancelledError:
            left = "; the client left"
        finally:
            if rule is not None and asked.status:
                asked.answer += f" {asked.status}"
            asked.answer += left
            self._end(asked)
            self.task = None
        if _wants_close(asked.raw) and not self._closing:
            self.finish()
        self._next()

    def _end(self, asked: Asked) -> None:
        self._server.log.end(asked, self._server.clock())
        self._asked = None

    # ---- Wire

    def send(self, data: bytes) -> None:
        if not self._gone.is_set():
            self._transport.write(data)

    async def drain(self) -> None:
        await self._writable.wait()

    async def pause(self, seconds: float) -> None:
        if seconds:
            await asyncio.sleep(seconds)
        else:
            await self._gone.wait()

    def finish(self) -> None:
        self._closing = True
        self._transport.close()

    def reset(self) -> None:
        self._closing = True
        connection: socket.socket | None = self._transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
        self._transport.abort()

    def drop(self) -> None:
        """The server ends: close, and let the task see it."""
        self._closing = True
        self._transport.abort()
        if self.task is not None:
            self.task.cancel()


def _wants_close(head: bytes) -> bool:
    """Whether the client said ``Connection: close``."""
    return b"\r\nconnection: close" in head.lower()


def _body_length(head: bytes) -> int | None:
    """Content-Length of a request, 0 where it states none; None where it is no number."""
    at = head.lower().find(b"content-length:")
    if at < 0:
        return 0
    value = head[at + 15 :].partition(b"\r\n")[0].strip()
    return int(value) if value.isdigit() else None


if __name__ == "__main__":
    from harvester.testing.command import main

    sys.exit(main())
