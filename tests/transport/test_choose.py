"""Lanes wherever nothing stands between, aiohttp where a proxy does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from harvester.edges import Host
from harvester.errors import UsageError
from harvester.transport.access import Access
from harvester.transport.choose import transport_for
from harvester.transport.lanes import LaneTransport
from harvester.transport.session import SessionTransport

PLAIN = Host(scheme="http", name="tiles.example.org", port=80)
SECURE = Host(scheme="https", name="gis.example.org", port=443)
PROXY = "http://proxy.example.org:8080"


@pytest.mark.parametrize(
    ("environ", "proxy", "hosts", "kind"),
    [
        ({}, None, [], LaneTransport),
        ({}, None, [PLAIN, SECURE], LaneTransport),
        ({}, PROXY, [PLAIN], SessionTransport),
        ({}, PROXY, [], SessionTransport),
        ({"HTTPS_PROXY": PROXY}, None, [PLAIN], LaneTransport),
        ({"HTTPS_PROXY": PROXY}, None, [PLAIN, SECURE], SessionTransport),
        ({"HTTPS_PROXY": PROXY}, None, [], SessionTransport),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": ".example.org"}, None, [SECURE], LaneTransport),
    ],
)
def test_a_proxy_for_any_host_needs_aiohttp(
    environ: Mapping[str, str], proxy: str | None, hosts: list[Host], kind: type
) -> None:
    async def main() -> None:
        transport = transport_for(Access(environ=environ, proxy=proxy), hosts, connections=3)
        assert type(transport) is kind
        await transport.close()

    asyncio.run(main())


def test_a_proxy_that_is_none_is_told_at_once() -> None:
    with pytest.raises(UsageError, match="proxy"):
        transport_for(Access(environ={}, proxy="socks5://x"))
