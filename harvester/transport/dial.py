"""Opening connections: names looked up once, addresses tried in turn, a dead host left alone for a moment."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from harvester.edges import Fault, Host
from harvester.transport.trust import tls_words

if TYPE_CHECKING:
    from harvester.transport.lane import Lane

NAMES_KEPT_SECONDS = 300.0
"""How long an address is used without asking again: the usual lifetime of a load balancer's record."""

FIRST_PAUSE_SECONDS = 0.05
MAX_PAUSE_SECONDS = 1.0
"""Between rounds of attempts at a host that can't be reached: enough not to spin, little beside a try of the engine."""

NEXT_ADDRESS_SECONDS = 2.0
"""For one address while there are others: a broken IPv6 route answers nothing at all."""


class DialError(Exception):
    """No connection: which fault it is, and words that hold no URL."""

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault
        self.detail = detail


class Place:
    """Scheme, name and port: what a connection belongs to, whatever headers its requests carry."""

    __slots__ = (
        "_addresses",
        "_failures",
        "_lookup",
        "_not_before",
        "_until",
        "idle",
        "is_in_step",
        "name",
        "port",
        "secure",
    )

    def __init__(self, host: Host) -> None:
        self.name = host.name
        self.port = host.port
        self.secure = host.scheme == "https"
        self.idle: list[Lane] = []
        """Connections that wait for a request; the last one used is the first one used again."""
        self.is_in_step = True
        """Until an answer came that nobody had asked for: then no connection is used twice."""
        self._addresses: list[str] = []
        self._until = 0.0
        self._lookup: asyncio.Task[list[str]] | None = None
        self._failures = 0
        self._not_before = 0.0

    def stop(self) -> None:
        """Wait for no name any longer."""
        if self._lookup is not None:
            self._lookup.cancel()

    def forget(self) -> None:
        """Start afresh: look the name up again, and at once."""
        self._addresses = []
        self._failures = 0
        self._not_before = 0.0

    async def connect(self, protocol: Callable[[], asyncio.Protocol], tls: ssl.SSLContext | None) -> None:
        """Open one connection and hand it to ``protocol``; ``tls`` is needed where the place is ``secure``. Raises
        DialError."""
        pause = self._not_before - time.monotonic()
        if pause > 0:
            await asyncio.sleep(pause)
        try:
            await self._try_all(protocol, tls if self.secure else None)
        except DialError:
            self._failed()
            raise
        self._failures = 0
        self._not_before = 0.0

    async def _try_all(self, protocol: Callable[[], asyncio.Protocol], tls: ssl.SSLContext | None) -> None:
        addresses = await self._resolve()
        for tried, address in enumerate(addresses, 1):
            last = tried == len(addresses)
            try:
                async with asyncio.timeout(None if last else NEXT_ADDRESS_SECONDS):
                    await self._open(protocol, address, tls)
            except ssl.SSLError as error:
                raise DialError(Fault.TLS, tls_words(error)) from error
            except OSError as error:  # a TimeoutError is one
                if last:
                    raise DialError(Fault.CONNECT, error.strerror or "no connection") from error
            else:
                if tried > 1:  # what answers is asked first from now on
                    self._addresses = [address, *(other for other in addresses if other != address)]
                return

    async def _open(self, protocol: Callable[[], asyncio.Protocol], address: str, tls: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        if tls is None:
            await loop.create_connection(protocol, address, self.port)
        else:
            name = self.name.rstrip(".") if self.name.isascii() else self.name.encode("idna").decode("ascii")
            await loop.create_connection(protocol, address, self.port, ssl=tls, server_hostname=name)

    async def _resolve(self) -> list[str]:
        if self._addresses and time.monotonic() < self._until:
            return self._addresses
        if self._lookup is None:
            self._lookup = asyncio.get_running_loop().create_task(look_up(self.name, self.port))
            self._lookup.add_done_callback(self._looked_up)
        return await asyncio.shield(self._lookup)

    def _looked_up(self, lookup: asyncio.Task[list[str]]) -> None:
        self._lookup = None
        if not lookup.cancelled() and lookup.exception() is None:
            self._addresses = lookup.result()
            self._until = time.monotonic() + NAMES_KEPT_SECONDS

    def _failed(self) -> None:
        self._addresses = []
        now = time.monotonic()
        if now >= self._not_before:  # one step for a round of attempts, however many lanes made it
            self._not_before = now + min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures, 10))
            self._failures += 1


async def look_up(name: str, port: int) -> list[str]:
    """Addresses of a name in the order of RFC 6724 as the system sorts them, families alternating. Raises DialError."""
    try:
        return [str(ipaddress.ip_address(name))]
    except ValueError:
        pass
    try:
        found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise DialError(Fault.DNS, name) from error
    families: dict[int, list[str]] = {}
    for family, _, _, _, address in found:
        group = families.setdefault(family, [])
        if str(address[0]) not in group:
            group.append(str(address[0]))
    longest = max(map(len, families.values()), default=0)
    addresses = [group[at] for at in range(longest) for group in families.values() if at < len(group)]
    if not addresses:
        raise DialError(Fault.DNS, name)
    return addresses
