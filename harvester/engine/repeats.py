"""One body that comes back for many tiles: counted and told, never dropped on a guess; declared placeholders are
absent tiles."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from xxhash import xxh3_128_digest

from harvester.tiling.tile import Tile

SAME_LENGTH = 8
"""Bodies of one length before they are hashed: real tiles seldom share their length, placeholders always do."""

MOST_LENGTHS = 1 << 16
MOST_BODIES = 4096
"""Bounds of what is remembered; beyond it, whatever was seen once is forgotten."""

TOLD_TILES = 32
TOLD_SHARE = 0.01
"""Fewer tiles, or a smaller share, are nobody's placeholder."""

TOLD_MOST = 5


class Repeat(NamedTuple):
    """A body that came for at least ``tiles`` tiles: its xxh3-128 in hexadecimal digits, its share, and one of them."""

    hash: str
    tiles: int
    share: float
    sample: Tile


class Repeats:
    """Watches whole bodies go by, in bounded memory. ``placeholders`` are xxh3-128 digests of bodies that mean no
    data."""

    def __init__(self, placeholders: Iterable[str] = ()) -> None:
        self.placeholders = frozenset(bytes.fromhex(digest) for digest in placeholders)
        self._lengths: dict[int, int] = {}
        self._bodies: dict[bytes, tuple[int, Tile]] = {}
        self._whole = 0

    def is_placeholder(self, body: bytes) -> bool:
        """True for a body that was declared to mean that there is no data."""
        return xxh3_128_digest(body) in self.placeholders

    def saw(self, tile: Tile, body: bytes) -> None:
        """Count a whole body."""
        self._whole += 1
        size = len(body)
        lengths = self._lengths
        seen = lengths.get(size, 0) + 1
        lengths[size] = seen
        if seen <= SAME_LENGTH:
            if len(lengths) > MOST_LENGTHS:
                self._lengths = {length: number for length, number in lengths.items() if number > 1}
            return
        digest = xxh3_128_digest(body)
        number, sample = self._bodies.get(digest, (0, tile))
        self._bodies[digest] = (number + 1, sample)
        if len(self._bodies) > MOST_BODIES:
            self._bodies = {one: found for one, found in self._bodies.items() if found[0] > 1}

    def told(self) -> tuple[Repeat, ...]:
        """The bodies worth telling, the commonest first."""
        found = [
            Repeat(digest.hex(), number, number / self._whole, sample)
            for digest, (number, sample) in self._bodies.items()
            if number >= TOLD_TILES and number >= TOLD_SHARE * self._whole
        ]
        return tuple(sorted(found, key=lambda repeat: -repeat.tiles)[:TOLD_MOST])
