"""The hot path: tiles over fixed lanes, one asyncio Protocol a connection, no task, future or timer a tile."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from harvester.edges import Answer, Done, Fault, Host, Next, Request
from harvester.errors import UsageError
from harvester.job import DEFAULT_CONCURRENCY
from harvester.transport.access import Access
from harvester.transport.alarm import Alarm
from harvester.transport.deadlines import Deadlines
from harvester.transport.dial import DialError
from harvester.transport.lane import Lane
from harvester.transport.route import UnsendableError
from harvester.transport.trust import Trust
from harvester.transport.unasked import Leaving, is_farewell, linger_seconds
from harvester.transport.ways import Ways

if TYPE_CHECKING:
    from harvester.transport.dial import Place
    from harvester.transport.route import Route

SPARE: Final = 64
"""Idle connections that are kept beside those in use where several hosts are asked in turn: one of them then needs now
more, now fewer, and a harvest of 5,461 tiles from two hosts opens 46 connections instead of 1,776."""

TURN: Final = 32
"""Answers after which requests go out at once; fewer wait for the end of the loop's turn. A server that is woken once
for many requests costs less than one that is woken for each: a tenth of a harvest's CPU time."""

CLOSE_SECONDS: Final = 2.0
"""How long ``close`` waits for sockets that were aborted; they need one turn of the loop."""


class LaneTransport:
    """``edges.Transport`` over plain HTTP/1.1 connections, made when first needed: ``connections`` of them at most, and
    some to spare where there are several hosts.

    Lanes are bound to no host: when there are no more, an idle connection of another host gives way. Works on
    asyncio's loop and on uvloop's. Nothing is sent twice: a request whose connection was closed under it ends with
    ``Fault.RESET``, ``stale`` where it was an old one, and the engine decides. A cancelled ``drain`` gives no ``done``
    for what was in flight. Speaks no proxy: ``choose.transport_for`` knows when that matters.

    Raises UsageError when the trust bundle is wrong; one that has the look of a bundle and can't be read, from
    ``drain``, with the first TLS connection.
    """

    def __init__(self, access: Access | None = None, *, connections: int = DEFAULT_CONCURRENCY) -> None:
        access = access or Access()
        self._trust = Trust(access.ca_bundle, access.environ)
        self.unasked = 0
        self._connections = connections
        self._lanes: set[Lane] = set()
        """Open and opening connections."""
        self._sockets: set[Lane] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._leaving = Leaving()
        self._ways = Ways(access.user_agent)
        self._places = self._ways.places
        self._host: Host | None = None
        """The one asked last, mostly the one asked next."""
        self._route: Route
        self._place: Place
        self._next: Next | None = None
        self._done: Done | None = None
        self._over: asyncio.Future[None] | None = None
        self._gone: asyncio.Future[None] | None = None
        self._busy = 0
        self._few = 0
        """So few requests in flight that more are sent at once."""
        self._ended = False
        self._pumping = False
        self._woken: asyncio.Handle | None = None
        self._alarm = Alarm(self._pump)
        """For all Waits."""
        self._deadlines = Deadlines(self._lanes, access.timeout_seconds, access.patience_seconds)

    def __repr__(self) -> str:
        return f"<LaneTransport {self._busy} in flight, {len(self._lanes)} open of {self._most}>"

    # ---- edges.Transport

    async def drain(self, next_request: Next, done: Done) -> None:
        """Ask until ``next_request`` gives None and all that is in flight has ended."""
        self._over = asyncio.get_running_loop().create_future()
        self._next, self._done, self._ended = next_request, done, False
        try:
            self._pump()
            await self._over
        except BaseException:
            self._drop_all()
            raise
        finally:
            self._next = self._done = self._over = None
            self._alarm.stop()
            self._deadlines.stop()
            if self._woken is not None:
                self._woken.cancel()
                self._woken = None

    def wake(self) -> None:
        """Something can be asked again: ``next_request`` is called in the loop's next turn for every idle lane."""
        if self._woken is None and self._over is not None:
            self._woken = asyncio.get_running_loop().call_soon(self._pump)

    async def linger(self) -> None:
        """Wait a moment for answers that nobody asked for, where connections are open that could bring them."""
        idle = [lane for place in self._places.values() for lane in place.idle]
        last = [(lane.began + lane.took, lane.took) for lane in idle]
        await asyncio.sleep(linger_seconds(time.monotonic(), last))
        await self._leaving.over()

    def rebuild(self) -> None:
        """Drop every connection, idle or stalled; what is in flight ends with ``Fault.RESET`` in the loop's next
        turn."""
        flying = [(lane, lane.request, lane.began) for lane in self._lanes if lane.request is not None]
        for lane in (*self._lanes, *self._leaving):
            self._discard(lane)
        for place in self._places.values():
            place.forget()
        if flying:
            asyncio.get_running_loop().call_soon(self._reset, self._over, flying)

    async def close(self) -> None:
        """Close all connections. May be called twice."""
        self._drop_all()
        for place in self._places.values():
            place.stop()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._sockets:
            self._gone = asyncio.get_running_loop().create_future()
            await asyncio.wait((self._gone,), timeout=CLOSE_SECONDS)
            self._gone = None

    # ---- what the lanes say (lane.Pool)

    def ended(self, lane: Lane, answer: Answer) -> None:
        """A lane has an answer."""
        request = lane.request
        lane.request = None
        if request is None or self._done is None:
            self._discard(lane)
            return
        place = lane.place
        if lane.keep and place.is_in_step:
            lane.took = answer.seconds
            place.idle.append(lane)
        else:
            self._discard(lane)
        # As ``_finish``, which would be one call more for every tile.
        busy = self._busy = self._busy - 1
        try:
            self._done(request, answer)
        except BaseException as error:
            self._collapse(error)
        if busy <= self._few:
            self._pump()
        elif self._woken is None:
            self.wake()

    def opened(self, lane: Lane) -> None:
        """A lane is connected."""
        self._sockets.add(lane)

    def lost(self, lane: Lane) -> None:
        """A lane lost its connection."""
        self._discard(lane)

    def said(self, lane: Lane, data: bytes) -> None:
        """A server said something over an idle lane."""
        if self._leaving.hears(lane, data):
            self._forget(lane)
            self._leaving.wait(lane, self.surplus)
        elif is_farewell(data):
            self._discard(lane)
        else:
            self.surplus(lane)

    def surplus(self, lane: Lane) -> None:
        """A lane brought an answer that nobody asked for: the server is out of step, here and maybe on its other
        connections. None of them is used again, and each further request to it has one of its own."""
        if lane not in self._lanes and lane not in self._leaving:
            return
        self.unasked += 1
        place = lane.place
        place.is_in_step = False
        for other in list(place.idle):
            self._discard(other)
        for other in list(self._lanes):
            if other.place is place and other.reused and other.request is not None:
                other.fail(Fault.RESET, "the server is out of step", stale=True)
        self._discard(lane)

    def closed(self, lane: Lane) -> None:
        """A lane is closed."""
        self._sockets.discard(lane)
        if self._gone is not None and not self._sockets and not self._gone.done():
            self._gone.set_result(None)

    # ---- asking

    def _pump(self) -> None:
        """Call ``next_request`` until it gives a Wait or the end, or no lane is idle."""
        if self._woken is not None:
            self._woken.cancel()
            self._woken = None
        if self._pumping or self._next is None:
            return
        self._pumping = True
        self._alarm.unset()
        next_request, connections = self._next, self._connections
        try:
            while self._busy < connections and not self._ended:
                item = next_request()
                if isinstance(item, Request):
                    self._busy += 1
                    if item.host is not self._host:
                        self._route, self._place = self._ways.to(item.host)
                        self._host = item.host
                    try:
                        head, keeps_gzip = self._route.head(item)
                    except UnsendableError as unsendable:
                        self._finish(item, Answer(0, {}, b"", 0.0, True, Fault.PROTOCOL, str(unsendable)))
                        continue
                    idle = self._place.idle
                    lane = idle.pop() if idle and not item.fresh else self._new_lane(self._place)
                    lane.send(item, head, keeps_gzip)
                elif item is None:
                    self._ended = True
                else:
                    if item.seconds is not None:
                        self._alarm.set(item.seconds)
                    break
        except BaseException as error:  # a fault of the caller's: it is told, nothing hangs
            self._collapse(error)
        finally:
            self._pumping = False
        self._few = self._busy - TURN
        if self._busy:
            self._deadlines.watch()
        elif self._ended and self._over is not None and not self._over.done():
            self._over.set_result(None)

    def _finish(self, request: Request, answer: Answer) -> None:
        self._busy -= 1
        try:
            self._done(request, answer)  # type: ignore[misc]
        except BaseException as error:
            self._collapse(error)
        self._pump()

    @property
    def _most(self) -> int:
        """Connections that may be open."""
        connections = self._connections
        return connections if len(self._places) <= 1 else connections + min(connections, SPARE)

    def _new_lane(self, place: Place) -> Lane:
        if len(self._lanes) >= self._most:  # then one is idle
            self._discard(next(other.idle[0] for other in self._places.values() if other.idle))
        lane = Lane(self, place)
        self._lanes.add(lane)
        lane.task = asyncio.get_running_loop().create_task(self._open(lane))
        self._tasks.add(lane.task)
        lane.task.add_done_callback(self._tasks.discard)
        return lane

    async def _open(self, lane: Lane) -> None:
        try:
            await lane.place.connect(lambda: lane, self._trust.context if lane.place.secure else None)
        except DialError as error:
            fault, detail = error.fault, error.detail
        except UsageError as error:  # the trust bundle: every further connection would end the same way
            self._collapse(error)
            return
        except Exception as error:  # whatever else a loop or a resolver raises is no connection either
            fault, detail = Fault.CONNECT, type(error).__name__
        else:
            lane.task = None
            return
        lane.task = None
        if lane.request is not None:
            lane.fail(fault, detail)

    # ---- dropping

    def _discard(self, lane: Lane) -> None:
        """Close a connection and forget it, whatever it does."""
        if self._forget(lane) or self._leaving.gone(lane):
            lane.drop()

    def _forget(self, lane: Lane) -> bool:
        """It is not used again; False where it was not."""
        is_known = lane in self._lanes
        self._lanes.discard(lane)
        if lane in lane.place.idle:
            lane.place.idle.remove(lane)
        return is_known

    def _drop_all(self) -> None:
        self._busy = 0
        for lane in (*self._lanes, *self._leaving):
            self._discard(lane)

    def _reset(self, drain: object, flying: list[tuple[Lane, Request, float]]) -> None:
        now = time.monotonic()
        for _, request, began in flying:
            if self._over is drain and self._done is not None:
                self._finish(request, Answer(0, {}, b"", now - began, True, Fault.RESET))

    def _collapse(self, error: BaseException) -> None:
        """``next`` or ``done`` raised, which they promise not to: ``drain`` raises it and drops everything."""
        self._ended = True
        if self._over is not None and not self._over.done():
            self._over.set_exception(error)
