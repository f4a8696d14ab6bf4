"""A tile that the source serves: asked when others fail, it tells a host that is down from tiles that are bad."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from harvester.edges import Host, Request, Source
from harvester.tiling.tile import Tile

AGAIN = -1
"""``Request.attempt`` of such a question: no try of the tile, and its body is only judged."""

SHARES = (0.5, 0.25, 0.75, 0.125, 0.625, 0.375, 0.875, 0.9999, 0.0625, 0.5625, 0.3125, 0.8125, 0.1875, 0.6875, 0.4375)
"""Where in the plan's order a tile is looked for while none is known to be good: each in the middle of what was left
out so far. In the seventh of them lies one outside any region of seven eighths of the plan."""

Elsewhere = Callable[[float], "Tile | None"]
"""The tile at this share (0 to 1) of the plan's order; None where there is none."""


STEPS_ASIDE = 64
"""Places tried beside one whose tile is known to be bad."""


def aside(elsewhere: Elsewhere, bad: Collection[Tile], planned: int) -> Elsewhere:
    """The same places, but for tiles that are known to be bad: of ``planned`` tiles the next one in their order."""

    def good(share: float) -> Tile | None:
        tile = elsewhere(share)
        for step in range(1, STEPS_ASIDE + 1):
            if tile is None or tile not in bad:
                return tile
            tile = elsewhere((share + step / planned) % 1.0)
        return None

    return good if bad else elsewhere


class Witness:
    """Which tile to ask: the one that was served last in this run, one that an earlier run stored (``kept``), or, as
    long as these say nothing, one elsewhere in the plan."""

    __slots__ = ("_ahead", "_elsewhere", "_places", "_source", "_turn", "kept", "served")

    def __init__(self, source: Source, kept: Tile | None, elsewhere: Elsewhere) -> None:
        self.served: Tile | None = None
        """The tile that was answered well last in this run; the hot path sets it by itself."""
        self.kept = kept
        self._source = source
        self._elsewhere = elsewhere
        self._turn = 0
        self._places = list(SHARES)
        self._ahead: Tile | None = None

    @property
    def is_known(self) -> bool:
        """True when there is a tile that was served once."""
        return self.served is not None or self.kept is not None

    @property
    def can_ask(self) -> bool:
        """True when there is one, or a place in the plan where none was asked yet."""
        return self.is_known or self._look_ahead() is not None

    def next(self) -> Request | None:
        """What to ask: the last served and the kept one in turn, and one elsewhere after them; None: no such tile."""
        known = [tile for tile in (self.served, self.kept) if tile is not None]
        turn = self._turn % (len(known) + 1)
        self._turn += 1
        tile = self.elsewhere() if turn == len(known) else known[turn]
        if tile is None and known:
            tile = known[0]
        return None if tile is None else self._source.request(tile, AGAIN)

    def at(self, host: Host) -> Request | None:
        """A tile to ask of one host, of those of the source; None: there is none known, nor any left elsewhere."""
        tile = self.served or self.kept or self.elsewhere()
        if tile is None:
            return None
        request = self._source.request(tile, AGAIN)
        is_there = (request.host.scheme, request.host.name, request.host.port) == (host.scheme, host.name, host.port)
        return request if is_there else self._source.at(request, host)

    def elsewhere(self) -> Tile | None:
        """A tile far from those that were asked this way before; None when all places were tried."""
        tile, self._ahead = self._look_ahead(), None
        return tile

    def _look_ahead(self) -> Tile | None:
        while self._ahead is None and self._places:
            self._ahead = self._elsewhere(self._places.pop(0))
        return self._ahead

    def all_elsewhere(self) -> Iterator[Tile]:
        """Tiles spread over the plan, asked or not."""
        return (tile for share in SHARES if (tile := self._elsewhere(share)) is not None)

    def was_served(self, tile: Tile) -> None:
        """It is known to be good from now on, and asked first."""
        self.served = tile
        self._turn = 0
        self._places = list(SHARES)

    def __repr__(self) -> str:
        return f"Witness(served={self.served}, kept={self.kept})"
