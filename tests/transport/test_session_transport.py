"""The aiohttp transport keeps the contract."""

from __future__ import annotations

from pathlib import Path

from harvester.edges import Transport
from harvester.transport.session import Access, SessionTransport
from tests.contracts.transport_contract import TransportContract


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
