"""A wire in memory: answers by hand, and the Transport that brings them, each after its own time.

It takes its time from the running loop, so under ``run_virtual`` an hour of back-off passes at once, and the same run
gives the same order of events every time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from harvester.edges import MAX_TILE_BYTES, Answer, Done, Fault, Next, Request, Wait


def http(status: int, body: bytes = b"", *, seconds: float = 0.01, headers: Mapping[str, str] | None = None) -> Answer:
    """A whole HTTP answer that takes ``seconds``."""
    return Answer(status, headers or {}, body, seconds)


def broken(fault: Fault, *, seconds: float = 0.01) -> Answer:
    """No whole answer."""
    return Answer(0, {}, b"", seconds, True, fault, fault.value)


def never() -> Answer:
    """An answer that doesn't come: the transport's deadline or ``rebuild`` ends it."""
    return Answer(0, {}, b"", float("inf"), True, Fault.TIMEOUT, "stalled")


class MemoryTransport:
    """Each answer comes after its own ``seconds`` of the loop's time. ``log`` holds (time, request) of every start."""

    def __init__(
        self, answer: Callable[[Request], Answer], *, connections: int = 32, timeout_seconds: float = 30.0
    ) -> None:
        self.log: list[tuple[float, Request]] = []
        self.most_in_flight = 0
        self.rebuilds = 0
        self.unasked = 0
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

    async def linger(self) -> None:
        """There is nothing to wait for."""

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
