"""Tiles that are answered "too busy" (429, 503) again and again while others are answered well: that is no word of the
host."""

from __future__ import annotations

from harvester.tiling.tile import Tile

OWN_TIMES = 3
"""Such answers for one tile, others well in between, from which they are its own."""

REMEMBERED = 65_536
"""Tiles that are remembered; beyond these, the one that was first busy is forgotten. 15 MB."""


class Busy:
    """Counts, for each tile that is throttled, how often that was so although others were answered well meanwhile."""

    def __init__(self) -> None:
        self._seen: dict[Tile, tuple[int, int, int]] = {}
        """By tile: times, and the good answers and the host's own refusals there were by then."""
        self._host = 0

    def saw(self, tile: Tile, good: int) -> tuple[int, bool]:
        """A tile is throttled; ``good``: whole tiles that came so far. Gives how often that was so with others
        answered well in between (from 1), and whether it is the tile's own trouble.

        Where the host refused more than it answered meanwhile, it is the host that is busy.
        """
        times, good_then, host_then = self._seen.get(tile, (0, good - 1, self._host))
        amid_good = good - good_then > self._host - host_then
        times += amid_good
        own = amid_good and times >= OWN_TIMES
        self._host += not own
        self._seen[tile] = (times, good, self._host)
        if len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return times, own

    def __repr__(self) -> str:
        return f"Busy({len(self._seen)} tiles)"
