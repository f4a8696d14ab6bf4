"""The hot transport keeps the contract, on asyncio's own loop and on uvloop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from harvester.edges import Transport
from harvester.transport.lanes import LaneTransport
from harvester.transport.wire import Access
from tests.contracts.transport_contract import TransportContract


class TestLaneTransport(TransportContract):
    @staticmethod
    def make(*, connections: int = 8, timeout_seconds: float = 10.0, ca_bundle: Path | None = None) -> Transport:
        access = Access(timeout_seconds=timeout_seconds, ca_bundle=ca_bundle, environ={})
        return LaneTransport(access, connections=connections)


class TestLaneTransportOnUvloop(TestLaneTransport):
    @pytest.fixture(autouse=True)
    def _uvloop(self) -> Iterator[None]:
        pytest.importorskip("uvloop")
        from tests.transport.loops import UvLoopPolicy

        asyncio.set_event_loop_policy(UvLoopPolicy())
        yield
        asyncio.set_event_loop_policy(None)
