"""uvloop as the fault server bears it: its transports are no ``asyncio.Transport``, which that server insists on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import uvloop


class _Transport(asyncio.Transport):
    """An ``asyncio.Transport`` by name; everything is uvloop's."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        for name in dir(inner):
            if not name.startswith("_"):
                setattr(self, name, getattr(inner, name))


class _Server(asyncio.Protocol):
    def __init__(self, inner: Any) -> None:
        self.data_received = inner.data_received
        self.eof_received = inner.eof_received
        self.pause_writing = inner.pause_writing
        self.resume_writing = inner.resume_writing
        self.connection_lost = inner.connection_lost
        self._inner = inner

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._inner.connection_made(_Transport(transport))


class UvLoop(uvloop.Loop):
    """uvloop, but for the transports that a server's protocols are given."""

    async def create_server(self, factory: Callable[[], Any], *args: Any, **options: Any) -> Any:
        return await super().create_server(lambda: _Server(factory()), *args, **options)


class UvLoopPolicy(asyncio.DefaultEventLoopPolicy):
    """Makes ``asyncio.run`` use it."""

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return UvLoop()
