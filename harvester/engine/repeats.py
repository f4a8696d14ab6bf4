"""One body that comes back for many tiles: counted and told, never dropped on a guess; declared placeholders are
absent tiles."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from xxhash import xxh3_128_digest, xxh3_128_hexdigest

from harvester.tiling.tile import Tile

SAME_LENGTH: Final = 8
"""Bodies of one length before they are remembered: real tiles seldom share their length, placeholders always do."""

MOST_LENGTHS: Final = 1 << 16
MOST_BODIES: Final = 4096
"""Bounds of what is remembered; beyond them, what was seen least is forgotten."""

TOLD_TILES: Final = 32
TOLD_SHARE: Final = 0.01
"""Fewer tiles, or a smaller share, are nobody's placeholder."""

TOLD_MOST: Final = 5


class Repeat(NamedTuple):
    """A body that came for at least ``tiles`` tiles: its xxh3-128 in hexadecimal digits, its share, and one of them."""

    hash: str
    tiles: int
    share: float
    sample: Tile


class _Seen:
    """A body that came back. ``hash`` is empty until it came for TOLD_TILES."""

    __slots__ = ("hash", "sample", "tiles")

    def __init__(self, sample: Tile) -> None:
        self.sample = sample
        self.tiles = 1
        self.hash = ""


class Repeats:
    """Watches whole bodies go by, in bounded memory. ``placeholders`` are xxh3-128 digests of bodies that mean no
    data."""

    def __init__(self, placeholders: Iterable[str] = ()) -> None:
        self.placeholders = frozenset(bytes.fromhex(digest) for digest in placeholders)
        self._lengths: dict[int, int] = {}
        """Bodies of each length, as long as they are no more than SAME_LENGTH."""
        self._common: set[int] = set()
        """Lengths of more bodies than that."""
        self._bodies: dict[int, _Seen] = {}
        """By xxh3-64: what two bodies of one number could cost is a wrong count in a report."""
        self._whole = 0

    def is_placeholder(self, body: bytes) -> bool:
        """True for a body that was declared to mean that there is no data."""
        return xxh3_128_digest(body) in self.placeholders

    def saw(self, tile: Tile, body: bytes, digest: int) -> None:
        """Count a whole body; ``digest``: its xxh3-64."""
        self._whole += 1
        size = len(body)
        if size in self._common:
            seen = self._bodies.get(digest)
            if seen is not None:
                seen.tiles = number = seen.tiles + 1
                if number == TOLD_TILES:
                    seen.hash = xxh3_128_hexdigest(body)
            else:
                self._bodies[digest] = _Seen(tile)
                self._keep_within_bounds()
        else:
            lengths = self._lengths
            times = lengths.get(size, 0) + 1
            lengths[size] = times
            if times >= SAME_LENGTH:
                del lengths[size]
                self._common.add(size)
            if times >= SAME_LENGTH or len(lengths) > MOST_LENGTHS:
                self._keep_within_bounds()

    def _keep_within_bounds(self) -> None:
        """Beyond a bound the commoner half is kept, so that this is seldom."""
        if len(self._lengths) > MOST_LENGTHS:
            commoner = sorted(self._lengths.items(), key=lambda one: -one[1])
            self._lengths = dict(commoner[: MOST_LENGTHS // 2])
        if len(self._common) > MOST_LENGTHS:
            self._common.clear()
        if len(self._bodies) > MOST_BODIES:
            often = sorted(self._bodies.items(), key=lambda one: -one[1].tiles)
            self._bodies = dict(often[: MOST_BODIES // 2])

    def told(self) -> tuple[Repeat, ...]:
        """The bodies worth telling, the commonest first."""
        found = [
            Repeat(seen.hash, seen.tiles, seen.tiles / self._whole, seen.sample)
            for seen in self._bodies.values()
            if seen.hash and seen.tiles >= TOLD_SHARE * self._whole
        ]
        return tuple(sorted(found, key=lambda repeat: -repeat.tiles)[:TOLD_MOST])
