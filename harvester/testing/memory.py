"""Source, Transport, Cache and Ledger in memory, as ``harvester.edges`` wants them: no wire, no disk, no waiting.

``MemoryTransport`` takes its time from the running loop, so under ``run_virtual`` an hour of back-off passes at once,
and the same run gives the same order of events every time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from harvester.edges import (
    MAX_TILE_BYTES,
    Answer,
    Done,
    Fault,
    Host,
    Next,
    Outcome,
    Request,
    ServiceInfo,
    TileFormat,
    Verdict,
    Wait,
    WindowAnswer,
)
from harvester.errors import AuthError
from harvester.testing.images import tile_png
from harvester.testing.memory_store import MemoryCache, MemoryLedger, MemoryReader
from harvester.testing.schemes import WEB_MERCATOR, Grid
from harvester.tiling.tile import BLOCK, BlockKey, Tile

__all__ = [
    "MemoryCache",
    "MemoryLedger",
    "MemoryReader",
    "MemoryService",
    "MemorySource",
    "MemoryTransport",
    "broken",
    "http",
    "memory_info",
    "never",
]

HOST = Host(scheme="http", name="memory.test", port=80)

_OUTCOMES = {
    204: Outcome.ABSENT,
    304: Outcome.UNCHANGED,
    400: Outcome.FAILED,
    401: Outcome.DENIED,
    403: Outcome.FAILED,
    404: Outcome.ABSENT,
    429: Outcome.THROTTLED,
    498: Outcome.DENIED,
    499: Outcome.DENIED,
    503: Outcome.THROTTLED,
}


def http(status: int, body: bytes = b"", *, seconds: float = 0.01, headers: Mapping[str, str] | None = None) -> Answer:
    """A whole HTTP answer that takes ``seconds``."""
    return Answer(status, headers or {}, body, seconds)


def broken(fault: Fault, *, seconds: float = 0.01) -> Answer:
    """No whole answer."""
    return Answer(0, {}, b"", seconds, True, fault, fault.value)


def never() -> Answer:
    """An answer that doesn't come: the transport's deadline or ``rebuild`` ends it."""
    return Answer(0, {}, b"", float("inf"), True, Fault.TIMEOUT, "stalled")


def memory_info(
    grid: Grid = WEB_MERCATOR, *, tilemap: bool = False, tile_format: TileFormat = TileFormat.PNG
) -> ServiceInfo:
    """What a service on a grid says of itself."""
    return ServiceInfo(
        source=f"{HOST.origin}/{grid.name}",
        identity=f"{HOST.origin}/{grid.name}",
        kind="arcgis-map",
        name=grid.name,
        scheme=grid.scheme,
        extent=grid.extent,
        tile_format=tile_format,
        tilemap=tilemap,
    )


class MemoryService:
    """What is behind the wire: an answer for every request. Call it with a Request.

    ``scripted`` comes first: the Answer it gives is the answer, None lets the service answer. ``Answer.seconds`` is the
    time that the transport lets pass. A credential below ``least_credential`` is refused with 498.
    """

    def __init__(
        self,
        *,
        body: Callable[[Tile], bytes] = lambda tile: tile_png(*tile),
        absent: Callable[[Tile], bool] = lambda tile: False,
        scripted: Callable[[Request], Answer | None] = lambda request: None,
        seconds: float = 0.01,
    ) -> None:
        self.body = body
        self.absent = absent
        self.scripted = scripted
        self.seconds = seconds
        self.least_credential = 0

    def __call__(self, request: Request) -> Answer:
        answer = self.scripted(request)
        if answer is not None:
            return answer
        if request.credential < self.least_credential:
            return http(498, seconds=self.seconds)
        tile, size = request.tile, request.window
        if size:
            present = [
                not self.absent(Tile(tile.level, tile.row + y, tile.col + x)) for y in range(size) for x in range(size)
            ]
            return http(200, np.packbits(np.array(present, dtype=bool)).tobytes(), seconds=self.seconds)
        if self.absent(tile):
            return http(404, seconds=self.seconds)
        return http(200, self.body(tile), seconds=self.seconds)


class MemorySource:
    """Judges by status and first byte: HTML is ``not_an_image``, nothing is ``empty``, any other 200 is a whole PNG."""

    def __init__(
        self,
        info: ServiceInfo | None = None,
        *,
        renewable: bool = False,
        renews_in: Callable[[], float | None] = lambda: None,
        renew_fails: bool = False,
        hosts: Sequence[Host] = (HOST,),
    ) -> None:
        self.info = info or memory_info()
        self.hosts = tuple(hosts)
        """Rows are shared out over them."""
        self._one = self.hosts[0] if len(self.hosts) == 1 else None
        self.renewals = 0
        """How often ``renew`` was called."""
        self._renewable = renewable
        self._renews_in = renews_in
        self._renew_fails = renew_fails

    @property
    def credential(self) -> int:
        """How many renewals succeeded."""
        return 0 if self._renew_fails else self.renewals

    @property
    def renews_in(self) -> float | None:
        """As given."""
        return self._renews_in()

    @property
    def can_renew(self) -> bool:
        """As given."""
        return self._renewable

    def request(self, tile: Tile, attempt: int) -> Request:
        """What to ask for a tile."""
        host = self._one or self.hosts[tile.row % len(self.hosts)]
        return Request(host, f"/tile/{tile}", tile, attempt=attempt, credential=self.credential)

    def at(self, request: Request, host: Host) -> Request:
        """The same at another host."""
        return request._replace(host=host)

    def window(self, key: BlockKey) -> Request | None:
        """One window a block, where the info says that there is a tilemap."""
        if not self.info.tilemap:
            return None
        tile = Tile(*key)
        return Request(self.hosts[0], f"/tilemap/{tile}/{BLOCK}", tile, window=BLOCK, credential=self.credential)

    def judge(self, request: Request, answer: Answer) -> Verdict:
        """What an answer means, by its status and first byte."""
        if answer.fault is not None:
            return Verdict(Outcome.RETRY, answer.fault.value)
        if answer.status == 200:
            if not answer.body:
                return Verdict(Outcome.RETRY, "empty")
            if answer.body[:1] == b"<":
                return Verdict(Outcome.RETRY, "not_an_image")
            return Verdict(Outcome.WHOLE, "", answer.body, "png")
        if answer.status == 304 and not request.headers:
            return Verdict(Outcome.RETRY, "http_304")
        reason = "redirect" if 300 <= answer.status < 400 and answer.status != 304 else f"http_{answer.status}"
        asked = answer.headers.get("retry-after", "")
        return Verdict(
            _OUTCOMES.get(answer.status, Outcome.RETRY), reason, retry_after=float(asked) if asked.isdigit() else None
        )

    def read_window(self, request: Request, answer: Answer) -> WindowAnswer | None:
        """The bits of a 200, no tile at all for a 422, None for anything else."""
        tile = request.tile
        if answer.fault is None and answer.status == 422:
            return WindowAnswer(tile.level, tile.row, tile.col, np.zeros((request.window, request.window), dtype=bool))
        if answer.fault is not None or answer.status != 200 or len(answer.body) * 8 != request.window**2:
            return None
        bits = np.unpackbits(np.frombuffer(answer.body, dtype=np.uint8)).astype(bool)
        return WindowAnswer(tile.level, tile.row, tile.col, bits.reshape(request.window, request.window))

    async def renew(self) -> None:
        """A new credential, or AuthError where the test wants it refused."""
        await asyncio.sleep(0)
        self.renewals += 1
        if self._renew_fails:
            raise AuthError("the token service refused", hint="Check the user name and password.")


class MemoryTransport:
    """Each answer comes after its own ``seconds`` of the loop's time. ``log`` holds (time, request) of every start."""

    def __init__(
        self, answer: Callable[[Request], Answer], *, connections: int = 32, timeout_seconds: float = 30.0
    ) -> None:
        self.log: list[tuple[float, Request]] = []
        self.most_in_flight = 0
        self.rebuilds = 0
        self._answer = answer
        self._connections = connections
        self._timeout = timeout_seconds
        self._flying: dict[int, tuple[Request, asyncio.TimerHandle]] = {}
        self._next: Next | None = None
        self._done: Done | None = None
        self._alarm: asyncio.Handle | None = None
        self._ended = False
        self._over: asyncio.Event = asyncio.Event()

    @property
    def in_flight(self) -> int:
        """Requests that are under way."""
        return len(self._flying)

    async def drain(self, next_request: Next, done: Done) -> None:
        """Ask until ``next_request`` gives None and all that is in flight has ended."""
        self._next, self._done = next_request, done
        self._ended = False
        self._over = asyncio.Event()
        try:
            self._fill()
            await self._over.wait()
        finally:
            self._next = self._done = None
            await self.close()

    def wake(self) -> None:
        """Ask again, as soon as whoever calls has finished."""
        if self._next is not None:
            self._set_alarm(0.0)

    def rebuild(self) -> None:
        """What is in flight ends with ``Fault.RESET``."""
        self.rebuilds += 1
        for number, (request, timer) in list(self._flying.items()):
            timer.cancel()
            answer = broken(Fault.RESET, seconds=0.0)
            handle = asyncio.get_running_loop().call_later(0.0, self._land, number, answer)
            self._flying[number] = (request, handle)

    async def close(self) -> None:
        """Forget what is in flight. May be called twice."""
        for _, timer in self._flying.values():
            timer.cancel()
        self._flying.clear()
        self._still()

    def _fill(self) -> None:
        """Take requests until every connection has one, or there is nothing to ask now."""
        self._still()
        while self._next is not None and not self._ended and len(self._flying) < self._connections:
            item = self._next()
            if item is None:
                self._ended = True
            elif isinstance(item, Wait):
                if item.seconds is not None:
                    self._set_alarm(max(0.0, item.seconds))
                break
            else:
                self._start(item)
        if self._ended and not self._flying:
            self._over.set()

    def _start(self, request: Request) -> None:
        loop = asyncio.get_running_loop()
        answer = self._answer(request)
        if answer.seconds > self._timeout:
            answer = broken(Fault.TIMEOUT, seconds=self._timeout)
        if len(answer.body) > MAX_TILE_BYTES:
            answer = broken(Fault.TOO_LARGE, seconds=answer.seconds)
        self.log.append((loop.time(), request))
        number = len(self.log)
        self._flying[number] = (request, loop.call_later(answer.seconds, self._land, number, answer))
        self.most_in_flight = max(self.most_in_flight, len(self._flying))

    def _land(self, number: int, answer: Answer) -> None:
        request, _ = self._flying.pop(number)
        if self._done is not None:
            self._done(request, answer)
            self._fill()

    def _set_alarm(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if seconds == 0.0 and self._alarm is not None and not isinstance(self._alarm, asyncio.TimerHandle):
            return
        self._still()
        self._alarm = loop.call_later(seconds, self._fill) if seconds else loop.call_soon(self._fill)

    def _still(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
