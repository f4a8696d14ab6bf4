"""The aiohttp transport keeps the contract."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from harvester.edges import Fault, Transport
from harvester.transport.session import Access, SessionTransport
from tests.contracts.transport_contract import Feed, TransportContract
from tests.transport.test_lanes import Late, Loose, drained, right, until, whole


class TestSessionTransport(TransportContract):
    @staticmethod
    def make(
        *,
        connections: int = 8,
        timeout_seconds: float = 10.0,
        patience_seconds: float = 10.0,
        ca_bundle: Path | None = None,
    ) -> Transport:
        access = Access(
            timeout_seconds=timeout_seconds, patience_seconds=patience_seconds, ca_bundle=ca_bundle, environ={}
        )
        return SessionTransport(access, connections=connections)


# ---- answers that nobody asked for


def session_of(connections: int = 1) -> SessionTransport:
    return SessionTransport(Access(environ={}), connections=connections)


def test_a_kept_answer_that_nobody_asked_for_is_no_tile_and_ends_the_keeping_of_connections() -> None:
    """aiohttp itself would take it for the answer to the next request."""

    async def main() -> None:
        async with Loose() as server:
            transport = session_of()
            await drained(transport, Feed([server.ask(0), server.ask(1)]))
            assert (server.connections, transport.unasked) == ([2], 0)
            server.writers[0].write(whole(b"of nobody"))
            await until(lambda: transport.unasked == 1)
            feed = await drained(transport, Feed([server.ask(row) for row in range(2, 5)]))
            assert right(feed) and server.connections == [2, 1, 1, 1] and transport.unasked == 1
            transport.rebuild()
            feed = await drained(transport, Feed([server.ask(5), server.ask(6)]))
            assert right(feed) and server.connections == [2, 1, 1, 1, 1, 1] and transport.unasked == 1
            await transport.close()

    asyncio.run(main())


@pytest.mark.parametrize("first", [False, True])
def test_of_two_answers_that_come_together_none_counts(first: bool) -> None:
    async def main() -> None:
        async with Loose(extra=whole(b"of nobody"), first=first) as server:
            transport = session_of()
            feed = await drained(transport, Feed([server.ask(0), server.ask(1)]))
            faults = [answer.fault for _, answer in feed.answers]
            assert faults == ([Fault.PROTOCOL] * 2 if first else [None, Fault.PROTOCOL])
            assert transport.unasked == (0 if first else 1)
            await transport.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 408 Late\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 503 Bye\r\nConnection: close\r\n\r\n"]
)
def test_a_servers_last_word_costs_the_connection_only(said: bytes) -> None:
    async def main() -> None:
        async with Loose(extra=said) as server:
            transport = session_of()
            feed = await drained(transport, Feed([server.ask(row) for row in range(4)]))
            assert right(feed) and (server.connections, transport.unasked) == ([2, 2], 0)
            await transport.close()

    asyncio.run(main())


def test_an_answer_that_comes_too_late_for_its_request_is_waited_for() -> None:
    async def main() -> None:
        async with Late(seconds=0.3) as server:
            transport = session_of()
            feed = await drained(transport, Feed([server.ask(0), server.ask(1)]))
            assert not right(feed) and transport.unasked == 0
            await transport.linger()
            assert transport.unasked == 1
            await transport.close()

    asyncio.run(main())
