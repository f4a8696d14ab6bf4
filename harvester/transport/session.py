"""Documents (``Session``), and tiles behind a proxy (``SessionTransport``): what the lanes don't speak is aiohttp's."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from harvester.edges import MAX_TILE_BYTES, Answer, Done, Fault, Next, Request, Wait
from harvester.job import DEFAULT_CONCURRENCY
from harvester.transport.access import Access
from harvester.transport.direct import Direct
from harvester.transport.documents import Documents, Headers, Sleep

if TYPE_CHECKING:
    from harvester.transport.wire import Wire

__all__ = ["Access", "Session", "SessionTransport"]


class Session(Documents):
    """Documents over the lanes, forms and what a proxy leads to over aiohttp, which is imported only then: it takes
    longer than most requests. ``close`` it, or use it in an ``async with`` block.
    """

    def __init__(
        self,
        access: Access | None = None,
        *,
        sleep: Sleep = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.access = access or Access()
        super().__init__(allow_hosts=self.access.allow_hosts, sleep=sleep, chance=chance)
        self._direct = Direct(self.access)
        self._wire: Wire | None = None
        self._timeout = self.access.timeout_seconds
        self.requests = 0
        """HTTP requests made so far, for the report."""
        self.gate: Callable[[], Awaitable[None]] | None = None
        """Waited for before each request, where a rate has to be kept."""

    async def exchange(
        self, method: str, url: str, *, headers: Headers = (), form: Mapping[str, str] | None = None, cap: int
    ) -> Answer:
        """One request and its whole answer, within ``timeout_seconds``; faults are in the Answer."""
        if self.gate is not None:
            await self.gate()
        request = self._direct.request_for(url, headers) if method == "GET" and form is None else None
        if request is not None:
            self.requests += 1
            answer = await self._direct.ask(request)
            if answer.fault is None and len(answer.body) > cap:
                return Answer(0, {}, b"", answer.seconds, True, Fault.TOO_LARGE, f"more than {cap} bytes")
            if answer.fault is not Fault.TOO_LARGE or cap <= MAX_TILE_BYTES:
                return answer
        return await self._over_aiohttp(method, url, headers, form, cap)

    async def close(self) -> None:
        """Close all connections. May be called twice."""
        await self._direct.close()
        if self._wire is not None:
            await self._wire.close()

    async def _over_aiohttp(
        self, method: str, url: str, headers: Headers, form: Mapping[str, str] | None, cap: int
    ) -> Answer:
        from harvester.transport.wire import FAILURES, Wire, fault_of

        self._wire = self._wire or Wire(self.access)
        self.requests += 1
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                return await self._wire.exchange(method, url, headers, cap, form)
        except FAILURES as error:
            fault, detail = fault_of(error)
            return Answer(0, {}, b"", time.monotonic() - began, True, fault, detail)

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


class SessionTransport:
    """``edges.Transport`` with a fixed number of workers over aiohttp: no task and no queue per tile.

    A cancelled ``drain`` gives no ``done`` for what was in flight.
    """

    def __init__(self, access: Access | None = None, *, connections: int = DEFAULT_CONCURRENCY) -> None:
        from harvester.transport.wire import FAILURES, Wire, fault_of

        access = access or Access()
        self._wire = Wire(access)
        self._failures, self._fault_of = FAILURES, fault_of
        self._timeout = access.timeout_seconds
        self._connections = connections
        self._parked: deque[asyncio.Future[None]] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        self._deadlines: dict[asyncio.Timeout, bool] = {}
        self._ended = False
        self._waiting = False

    def __repr__(self) -> str:
        return f"<SessionTransport {len(self._deadlines)} in flight, {len(self._parked)} idle of {self._connections}>"

    async def drain(self, next_request: Next, done: Done) -> None:
        """Ask until ``next_request`` gives None and all that is in flight has ended."""
        self._ended = self._waiting = False
        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(self._connections):
                    workers.create_task(self._work(next_request, done))
        except asyncio.CancelledError:
            await self.close()
            raise
        finally:
            self._still()

    def wake(self) -> None:
        """Something can be asked again. One idle lane asks; whoever then gets a request wakes the next one."""
        self._waiting = False
        self._still()
        self._release()

    @property
    def unasked(self) -> int:
        """As the wire counts them."""
        return self._wire.unasked

    async def linger(self) -> None:
        """Wait a moment for answers that nobody asked for."""
        await self._wire.linger()

    def rebuild(self) -> None:
        """Drop every connection; what is in flight ends with ``Fault.RESET``."""
        now = asyncio.get_running_loop().time()
        for deadline in self._deadlines:
            if not deadline.expired():
                self._deadlines[deadline] = True
                deadline.reschedule(now)
        self._wire.drop()

    async def close(self) -> None:
        """Close all connections. May be called twice."""
        await self._wire.close()

    async def _work(self, next_request: Next, done: Done) -> None:
        while not self._ended:
            if self._waiting:
                await self._park()
                continue
            item = next_request()
            if item is None:
                self._ended = True
                self._still()
                while self._parked:
                    self._release()
            elif isinstance(item, Wait):
                self._wait(item)
            else:
                self._release()
                answer = await self._ask(item)
                self._waiting = False
                done(item, answer)

    def _wait(self, wait: Wait) -> None:
        """Nobody asks until ``wake``, the next ``done``, or the end of these seconds."""
        self._waiting = True
        self._still()
        if wait.seconds is not None:
            self._alarm = asyncio.get_running_loop().call_later(max(0.0, wait.seconds), self.wake)

    async def _park(self) -> None:
        lane: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._parked.append(lane)
        await lane

    def _release(self) -> None:
        """Let one idle lane go on."""
        while self._parked:
            lane = self._parked.popleft()
            if not lane.done():
                lane.set_result(None)
                return

    def _still(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    async def _ask(self, request: Request) -> Answer:
        url = request.host.origin + request.path
        headers = (*request.host.headers, *request.headers)
        began = time.monotonic()
        deadline = asyncio.timeout(self._timeout)
        self._deadlines[deadline] = False
        try:
            async with deadline:
                return await self._wire.exchange("GET", url, headers, MAX_TILE_BYTES)
        except self._failures as error:
            fault, detail = self._fault_of(error)
            if fault is Fault.TIMEOUT and self._deadlines[deadline]:
                fault = Fault.RESET
            return Answer(0, {}, b"", time.monotonic() - began, True, fault, detail)
        finally:
            del self._deadlines[deadline]
