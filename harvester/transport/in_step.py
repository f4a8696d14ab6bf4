"""aiohttp's connections, watched for answers that nobody asked for: kept in it, such a one is the next request's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import aiohttp

from harvester.transport.unasked import MORE, linger_seconds

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler

    Kept = WeakKeyDictionary[ResponseHandler, tuple[float, float]]


class OutOfStepError(aiohttp.ClientError):
    """More than the answer came: whose it is, nobody knows."""


class Exchange:
    """One request and its answer, as far as its connection knows of them."""

    __slots__ = ("began", "is_alone")

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.is_alone = True
        """No other answer came together with it."""


_EXCHANGE: ContextVar[Exchange] = ContextVar("exchange")
"""That of the task that asks: aiohttp connects within it, and tells nobody over which connection."""


class InStep(aiohttp.TCPConnector):
    """Connections that are kept as long as no server, or proxy, was heard to answer what nobody had asked."""

    def __init__(self, *, out_of_step: bool, **options: Any) -> None:
        super().__init__(**options)
        self._out_of_step = out_of_step
        self._seen = 0
        self._kept: Kept = WeakKeyDictionary()
        """Those that wait to be used again: when each brought its last answer, and the seconds that it took."""

    @property
    def unasked(self) -> int:
        """Answers that came too many so far."""
        for protocol in list(self._kept):
            self._is_clean(protocol)
        return self._seen

    def linger_seconds(self) -> float:
        """How long one more may have to be waited for."""
        idle = [last for protocol, last in self._kept.items() if protocol.is_connected()]
        return linger_seconds(time.monotonic(), idle)

    async def connect(self, *args: Any, **named: Any) -> aiohttp.connector.Connection:
        """aiohttp: a connection to ask over, a kept one or a new one."""
        exchange = _EXCHANGE.get()
        while True:
            connection = await super().connect(*args, **named)
            protocol = connection.protocol
            assert protocol is not None
            is_kept = self._kept.pop(protocol, None) is not None
            if not is_kept or (self._is_clean(protocol) and not self._out_of_step):
                break
            connection.close()

        def released() -> None:
            """It is given back, with its answer or without."""
            if not self._is_clean(protocol, counts=is_kept):
                exchange.is_alone = False
            elif self._out_of_step:
                protocol.force_close()
            else:
                now = time.monotonic()
                self._kept[protocol] = now, now - exchange.began

        connection.add_callback(released)
        return connection

    def _is_clean(self, protocol: ResponseHandler, *, counts: bool = True) -> bool:
        """False where an answer lies in it that nobody asked for; its connection is not used again then."""
        unasked = False
        for message in _left_in(protocol):
            protocol.force_close()
            # What a server says before it closes a connection (see ``unasked.is_last_word``).
            unasked |= message.code not in (400, 408) and not (message.code >= 400 and message.should_close)
        if unasked:
            self._seen += counts
            self._out_of_step |= counts
            if self._kept.pop(protocol, None) is not None:
                protocol.close()
        return not unasked


def begin() -> Exchange:
    """What is asked next in this task."""
    exchange = Exchange()
    _EXCHANGE.set(exchange)
    return exchange


def require_alone(exchange: Exchange) -> None:
    """Raises OutOfStepError where it was not."""
    if not exchange.is_alone:
        raise OutOfStepError(MORE)


def _left_in(protocol: ResponseHandler) -> Iterator[Any]:
    """Heads of answers that were read from a connection, and taken by nobody."""
    while len(protocol):
        try:
            protocol.read().send(None)  # it has one, so it ends at once
        except StopIteration as read:
            yield read.value[0]
        else:
            return
