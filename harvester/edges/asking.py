"""What is asked (Request), what came back (Answer), and what a Transport promises between the two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

from harvester.redact import redact_text
from harvester.tiling.tile import Tile

MAX_TILE_BYTES = (1 << 24) - 1
"""Esri's bundle index has 24 bits for a tile's size; nothing larger is fetched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One server to ask, and what every request to it carries.

    ``headers`` may hold secrets: they go to this host only, and ``repr`` leaves them out.
    Two hosts are equal when all four fields are: a renewed token makes a new Host.
    """

    scheme: str
    name: str
    port: int
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def origin(self) -> str:
        """``https://name:port``, the port left out where it is the scheme's own."""
        name = f"[{self.name}]" if ":" in self.name else self.name
        if self.port == {"http": 80, "https": 443}.get(self.scheme):
            return f"{self.scheme}://{name}"
        return f"{self.scheme}://{name}:{self.port}"


class Request(NamedTuple):
    """One thing to ask: a GET of ``path`` at ``host``, for ``tile`` or for a tilemap window whose top left is ``tile``.

    ``path`` starts with ``/``, is percent-encoded, holds the query, and may hold a token: never print it, print
    ``tile``.
    """

    host: Host
    path: str
    tile: Tile
    window: int = 0
    """0: a tile. n: a tilemap window of n x n tiles."""
    attempt: int = 0
    """Tries of the same tile before this one."""
    credential: int = 0
    """The generation of the source's token that the path or the host carries."""
    headers: tuple[tuple[str, str], ...] = ()
    """Headers of this one request (conditions of a refresh)."""
    fresh: bool = False
    """Over a connection that is made for it: an old one was gone before its answer began."""


class Wait(NamedTuple):
    """Nothing to ask just now: ask again after ``seconds``, or when woken (None: only when woken)."""

    seconds: float | None = None


class Fault(StrEnum):
    """How a request ended without a whole answer. The value is the reason that a person reads."""

    CONNECT = "connect"
    PROXY = "proxy"
    DNS = "dns"
    TLS = "tls"
    RESET = "reset"
    TRUNCATED = "truncated"
    TIMEOUT = "timeout"
    PROTOCOL = "protocol"
    TOO_LARGE = "too_large"


class Answer(NamedTuple):
    """What came back. ``fault`` is set when no whole HTTP answer arrived; then ``status`` is 0 or what was read
    before."""

    status: int
    headers: Mapping[str, str]
    """Lower-case names; repeated headers joined by ``, ``."""
    body: bytes
    seconds: float
    """From the request's first byte to the answer's last, on the monotonic clock."""
    delimited: bool = True
    """False when only the connection's end said that the body is complete (no Content-Length, not chunked)."""
    fault: Fault | None = None
    detail: str = ""
    """What a person reads about the fault; holds no URL and no secret."""
    stale: bool = False
    """RESET on a connection that had served before, and no byte of an answer came: it was closed while the request was
    on its way, which says nothing of the tile or of the host."""


CONNECTING = {
    Fault.DNS: "the name of the host can't be found",
    Fault.CONNECT: "no connection",
    Fault.TLS: "no TLS",
}
"""Faults before anything was asked, which are the host's: of several hosts it may be one."""


def what_came(request: Request, answer: Answer) -> str:
    """What a person reads beside the reason of a request that failed: no URL, no secret; empty where the reason says
    all."""
    fault, detail = answer.fault, redact_text(answer.detail)[:MOST_DETAIL]
    if fault in CONNECTING:
        host = request.host
        place = f"[{host.name}]:{host.port}" if ":" in host.name else f"{host.name}:{host.port}"
        words = CONNECTING[fault] if fault is Fault.DNS or not detail else detail
        return f"{place}: {words}"
    if fault is None and not answer.delimited and answer.status == 200 and answer.body[:1] == VECTOR_LAYER:
        return UNPROVEN
    return detail


VECTOR_LAYER = b"\x1a"
"""What a plain vector tile begins with: the key of a layer (vector_tile.proto), and of no picture or text."""

UNPROVEN = "a vector tile with neither length nor chunks nor gzip: a cut one looks the same"

MOST_DETAIL = 200
"""Characters of it that are kept."""

Next = Callable[[], "Request | Wait | None"]
"""Gives the next request, or a Wait, or None at the end. Never blocks, never raises."""

Done = Callable[[Request, Answer], None]
"""Takes each answer, exactly once for each request given. Never blocks, never raises."""


class Transport(Protocol):
    """How to ask. Pulls requests and pushes answers; keeps no queue of its own.

    A Wait holds for every idle lane at once: after one, ``next_request`` is not called again before ``done`` of another
    request, ``wake`` or the end of its seconds; then it is called until it gives a Wait again or no lane is idle.

    Promises: for each Request taken from ``next`` exactly one ``done``; at most ``connections`` requests in flight;
    every request ends within its deadline (``Fault.TIMEOUT``); bodies over MAX_TILE_BYTES, decoded, end as
    ``TOO_LARGE``; a ``fresh`` request goes over a connection of its own, and its answer is never ``stale``;
    redirects are never followed; no header of one host is sent to another; no exception crosses ``drain`` but
    cancellation, which closes every connection.
    """

    async def drain(self, next_request: Next, done: Done) -> None:
        """Ask until ``next_request`` gives None and all that is in flight has ended."""

    def wake(self) -> None:
        """Something can be asked again: call ``next_request`` for every idle lane. Callable from the loop's thread
        only."""

    @property
    def unasked(self) -> int:
        """Connections that brought an answer which nobody had asked for. Answers that came over them before may have
        been each other's; from the first one on each request to that host has a connection of its own."""

    async def linger(self) -> None:
        """After a drain: wait a moment for such answers, where connections are open that could bring them."""

    def rebuild(self) -> None:
        """Drop every connection, idle or stalled; what is in flight ends with ``Fault.RESET``."""

    async def close(self) -> None:
        """Close all connections. May be called twice."""
