"""One GET at a time over the lanes' own HTTP: documents need no other client where nothing stands in between."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from harvester.edges import Answer, Host, Request
from harvester.tiling.tile import Tile
from harvester.transport.access import Access
from harvester.transport.lanes import LaneTransport
from harvester.transport.origins import origin_of
from harvester.transport.proxies import Proxies
from harvester.transport.trust import check_trust

NO_TILE = Tile(0, 0, 0)
"""A document is for no tile; a request has to name one."""


class Direct:
    """As many connections as there are ``ask`` under way, each kept for the next one.

    Raises UsageError when the proxy or the trust bundle is wrong; a bundle that has the look of one and can't be read,
    from the first ``ask`` over TLS.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._proxies = Proxies.resolve(access.proxy, access.environ)
        check_trust(access.ca_bundle, access.environ)
        self._all: list[LaneTransport] = []
        self._idle: list[LaneTransport] = []

    def request_for(self, url: str, headers: Sequence[tuple[str, str]]) -> Request | None:
        """How to ask for a URL; None for what the lanes don't speak: a proxy, a login in the URL, an unusual path."""
        origin = origin_of(url)
        if origin is None or self._proxies.proxy_for(*origin) is not None:
            return None
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if "@" in parts.netloc or not (path.isascii() and path.isprintable()) or " " in path or path[0] != "/":
            return None
        host = Host(scheme=origin.scheme, name=origin.host, port=origin.port, headers=tuple(headers))
        return Request(host, path, NO_TILE)

    async def ask(self, request: Request) -> Answer:
        """The whole answer; faults are in it. A body is at most MAX_TILE_BYTES."""
        transport = self._idle.pop() if self._idle else self._new()
        waiting = [request]
        answers: list[Answer] = []
        try:
            await transport.drain(lambda: waiting.pop() if waiting else None, lambda _, answer: answers.append(answer))
        finally:
            self._idle.append(transport)
        return answers[0]

    async def close(self) -> None:
        """Close all connections. May be called twice."""
        for transport in self._all:
            await transport.close()

    def _new(self) -> LaneTransport:
        transport = LaneTransport(self._access, connections=1)
        self._all.append(transport)
        return transport
