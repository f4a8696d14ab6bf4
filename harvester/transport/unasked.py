"""Answers that nobody asked for: a server that sends one too many gives each tile of that connection to the next
request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harvester.transport.lane import Lane

LINGER_SECONDS = 0.05
"""An answer too many comes at once, or in about the time that one answer takes on that server; whoever harvests waits
for it once."""

LONGEST_LINGER_SECONDS = 5.0

AS_LONG_AGAIN = 2.0
"""Times as long as the slowest of the last answers took."""

MORE = "more bytes behind a whole answer"

CLOSES_SECONDS = 1.0
"""A server that tidies an idle connection away closes it together with what it says, or within a round trip."""

CHUNKS_END = b"0\r\n\r\n"

MARK = 64
"""Bytes by which the end of a body is known again."""


class ExtraBytesError(Exception):
    """Bytes of another answer than the one that was asked for."""


def is_farewell(data: bytes) -> bool:
    """What a server may say to nobody before it closes a connection: nothing but line ends, no HTTP, 408, or an error
    after which it closes (it says so, or speaks HTTP/1.0)."""
    data = data.lstrip(b"\r\n")
    if not data.startswith(b"HTTP/"):
        return True
    status = data[8:12].strip()
    closes = data.startswith(b"HTTP/1.0") or b"connection: close" in data.lower()
    return status == b"408" or (closes and status[:1] in (b"4", b"5"))


def is_last_word(data: bytes, body: bytes | None) -> bool:
    """Is all that lies behind the whole answer in these bytes what a server says before it closes? ``body``: the end of
    that answer's body, None where it has none. 400 is said of bytes that were no request, and not of a tile."""
    answers, _, last = data.rpartition(b"HTTP/")
    end = b"\r\n\r\n" if body is None else body[-MARK:].rstrip(b"\r\n")
    is_next = answers.endswith((CHUNKS_END, end)) or answers.rstrip(b"\r\n").endswith(end)
    is_next = is_next and answers.count(b"HTTP/") == data.startswith(b"HTTP/")
    return is_next and (last[3:7] == b" 400" or is_farewell(b"HTTP/" + last))


def linger_seconds(now: float, last: Iterable[tuple[float, float]]) -> float:
    """How long an answer too many is waited for, over connections of which each brought its ``last`` answer at so many
    seconds of the clock, and took so many for it."""
    ends = list(last)
    slowest = max((took for _, took in ends), default=0.0)
    patience = min(LONGEST_LINGER_SECONDS, max(LINGER_SECONDS, AS_LONG_AGAIN * slowest))
    return max(0.0, max((end for end, _ in ends), default=-patience) + patience - now)


class Leaving:
    """Connections on which a server said an error to nobody, without a word of closing them: its last word if the end
    of the connection follows, else an answer too many."""

    def __init__(self) -> None:
        self._timers: dict[Lane, asyncio.TimerHandle] = {}
        self._over: asyncio.Event | None = None

    def __contains__(self, lane: object) -> bool:
        return lane in self._timers

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._timers)

    def hears(self, lane: Lane, data: bytes) -> bool:
        """Is this, over a connection on which nothing is asked, such an error, or more of its text?"""
        data = data.lstrip(b"\r\n")
        if not data.startswith(b"HTTP/"):
            return lane in self._timers
        return lane not in self._timers and data[8:10] in (b" 4", b" 5") and not is_farewell(data)

    def wait(self, lane: Lane, stays: Callable[[Lane], None]) -> None:
        """Call ``stays`` if ``gone`` does not come soon."""
        if lane not in self._timers:
            self._timers[lane] = asyncio.get_running_loop().call_later(CLOSES_SECONDS, stays, lane)

    def gone(self, lane: Lane) -> bool:
        """It is waited for no more; False where it wasn't."""
        timer = self._timers.pop(lane, None)
        if timer is not None:
            timer.cancel()
        if self._over is not None and not self._timers:
            self._over.set()
        return timer is not None

    async def over(self) -> None:
        """Wait until it is known of all."""
        if self._timers:
            self._over = asyncio.Event()
            await self._over.wait()
            self._over = None
