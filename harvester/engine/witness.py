"""A tile that the source is known to serve: asked again when all others fail, it tells a host that is down from tiles
that are bad."""

from __future__ import annotations

from harvester.pacing import Breaker
from harvester.tiling.tile import Tile

AGAIN = -1
"""``Request.attempt`` of such a question: no try of the tile, and its body is only judged."""

CROWD = 256
"""Failed tiles that wait for another try, from which they take turns with untried ones while the host is known to be
well: else a region of a million bad tiles would be kept waiting in memory, and none would come to its end."""


class Witness:
    """Which tile is asked, and when: first as soon as the breaker opens, then at every second probe.

    ``kept``: one that an earlier run stored.
    """

    __slots__ = ("_breaker", "_turn", "kept", "served")

    def __init__(self, breaker: Breaker, kept: Tile | None) -> None:
        self.served: Tile | None = None
        """The tile that was answered well last in this run; the hot path sets it by itself."""
        self.kept = kept
        self._breaker = breaker
        self._turn = 0

    @property
    def is_known(self) -> bool:
        """True when there is such a tile."""
        return self.served is not None or self.kept is not None

    @property
    def is_due(self) -> bool:
        """True when there is one, and it was not asked or has not answered since the breaker opened."""
        breaker = self._breaker
        return self.is_known and (breaker.open_since is None or not breaker.probes or breaker.asking)

    def is_next(self, now: float) -> bool:
        """True while the breaker is open and its next probe is the known tile's; the first one need not wait."""
        breaker = self._breaker
        if breaker.open_since is None or breaker.probes % 2 or not self.is_known:
            return False
        if not breaker.probes:
            breaker.probe_now(now)
        return True

    def tile(self) -> Tile:
        """The one to ask: the last served and the kept one in turn, where there are both. Call when ``is_next``."""
        self._turn += 1
        known = [tile for tile in (self.served, self.kept) if tile is not None]
        return known[(self._turn - 1) % len(known)]

    def __repr__(self) -> str:
        return f"Witness(served={self.served}, kept={self.kept})"
