"""Which transport asks for tiles: the lanes, or aiohttp where a proxy stands in between."""

from __future__ import annotations

from collections.abc import Iterable

from harvester.edges import Host, Transport
from harvester.job import DEFAULT_CONCURRENCY
from harvester.transport.access import Access
from harvester.transport.lanes import LaneTransport
from harvester.transport.proxies import Proxies


def transport_for(access: Access, hosts: Iterable[Host] = (), *, connections: int = DEFAULT_CONCURRENCY) -> Transport:
    """The fastest transport that reaches all ``hosts`` (every one that the source may ask, all its tile servers).

    Lanes, unless a proxy leads to one of the hosts; without hosts, unless any proxy is set at all.
    Raises UsageError when the trust bundle or the proxy is wrong.
    """
    proxies = Proxies.resolve(access.proxy, access.environ)
    known = list(hosts)
    if known:
        proxied = any(proxies.proxy_for(host.scheme, host.name, host.port) for host in known)
    else:
        proxied = bool(proxies.http or proxies.https)
    if not proxied:
        return LaneTransport(access, connections=connections)
    from harvester.transport.session import SessionTransport

    return SessionTransport(access, connections=connections)
