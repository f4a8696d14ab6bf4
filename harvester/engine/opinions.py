"""What one of several equal hosts refuses (403, 401 ...) is asked of the others before it is believed."""

from __future__ import annotations

from collections.abc import Collection

from harvester.edges import Outcome, Request
from harvester.engine.sites import Site, Sites
from harvester.tiling.tile import Tile

NO_SITES: tuple[Site, ...] = ()


class Opinions:
    """Remembers who refused which tile, until another host has answered for it or all have refused."""

    def __init__(self, sites: Sites) -> None:
        self.refused: dict[Tile, list[Site]] = {}
        """No more than there are tiles that wait. Looked at by the hot path: empty, nothing is to be told."""
        self._sites = sites

    def __repr__(self) -> str:
        return f"Opinions({len(self.refused)} refused)"

    def by(self, tile: Tile) -> list[Site] | tuple[Site, ...]:
        """The hosts that refused a tile: it is not to be asked there again."""
        return self.refused.get(tile, NO_SITES)

    def asks_another(self, now: float, request: Request, absent: Collection[Site] = ()) -> bool:
        """A tile is refused: True while another host is to be asked; then this is no word of the tile's. ``absent``:
        hosts that said that there is no such tile.

        Where all others are out, a host is believed alone, unless it was found wrong before.
        """
        site = self._sites.of(request.host)
        refused = self.refused.setdefault(request.tile, [])
        if site not in refused:
            refused.append(site)
        others = [other for other in self._sites.all if other not in refused and other not in absent]
        if any(not other.is_out(now) for other in others):
            return True
        if others and (site.was_wrong or site.pacer.breaker.open_since is not None):
            return True  # its word alone is not enough: the tile waits for one of them
        del self.refused[request.tile]
        return False

    def refuses(self, now: float, request: Request, seconds: float) -> None:
        """Told to the pace of the host, when another is asked: nothing, unless that was a probe."""
        pacer = self._sites.of(request.host).pacer
        if pacer.breaker.open_since is None:
            pacer.unheard()
        else:
            pacer.ended(now, Outcome.RETRY, seconds, first_try=True)

    def allowed(self, now: float, tile: Tile) -> None:
        """Another host serves it: those that refused it were wrong, and fail as much as if they had not answered."""
        for site in self.refused.pop(tile, NO_SITES):
            site.was_wrong = True
            breaker = site.pacer.breaker
            if breaker.open_since is None:
                breaker.on_result(now, ok=False, first_try=True)
