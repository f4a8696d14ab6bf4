"""The hosts that are asked: for each its request bytes and the place where its connections belong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harvester.transport.dial import Place
from harvester.transport.route import Route

if TYPE_CHECKING:
    from harvester.edges import Host

MAX_ROUTES: Final = 256
"""Hosts whose request bytes are kept; a service has a handful, and one more with each renewed token."""


class Ways:
    """Routes by host, and ``places`` by scheme, name and port, each made when first asked for."""

    def __init__(self, user_agent: str) -> None:
        self.places: dict[tuple[str, str, int], Place] = {}
        self._user_agent = user_agent
        self._routes: dict[Host, tuple[Route, Place]] = {}

    def to(self, host: Host) -> tuple[Route, Place]:
        """Those of a host."""
        known = self._routes.get(host)
        if known is None:
            if len(self._routes) >= MAX_ROUTES:
                self._routes.clear()
            address = (host.scheme, host.name.lower(), host.port)
            place = self.places.get(address)
            if place is None:
                place = self.places[address] = Place(host)
            known = self._routes[host] = Route(host, self._user_agent), place
        return known
