"""The aiohttp transport keeps the contract."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from harvester.edges import Fault, Transport
from harvester.transport.session import Access, SessionTransport
from tests.contracts.out_of_step import Loose, whole
from tests.contracts.transport_contract import Feed, TransportContract, drained, right


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
