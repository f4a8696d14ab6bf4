"""Which tiles ended because a host said that they are not there: its words, kept as bits, so they can be taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harvester.engine.sites import Site
from harvester.tiling.tile import BLOCK, BlockKey, Tile, block_of

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_WORDS = 1 << 20
MOST_FIELDS = 1024
"""Bounds of what is kept: a million words, 2 MB of bits. Beyond, the oldest go: a host that is wrong now and then is
found long before, since one in 64 of its words is asked about."""


class Place(NamedTuple):
    """Words of one host on one block that were given in the same way (``http_404``, ``blank_tile`` ...)."""

    site: Site
    key: BlockKey
    reason: str


class Words:
    """Bits by host, block and reason. ``are_cut``: hosts of which older words were forgotten."""

    def __init__(self) -> None:
        self.are_cut: set[Site] = set()
        self._fields: dict[Place, bytearray] = {}
        self._number = 0

    def __repr__(self) -> str:
        return f"Words({self._number} on {len(self._fields)} fields)"

    def add(self, site: Site, tile: Tile, reason: str) -> None:
        """A tile ended on the word of a host."""
        key = block_of(tile)
        place = Place(site, key, reason)
        field = self._fields.get(place)
        if field is None:
            field = self._fields[place] = bytearray(BLOCK * BLOCK // 8)
        byte, bit = divmod(key.position(tile), 8)
        if not field[byte] >> bit & 1:
            field[byte] |= 1 << bit
            self._number += 1
            while len(self._fields) > 1 and (self._number > MOST_WORDS or len(self._fields) > MOST_FIELDS):
                self._forget(next(iter(self._fields)))

    def _forget(self, place: Place) -> None:
        self._number -= len(_positions(self._fields.pop(place)))
        self.are_cut.add(place.site)

    def take(self, site: Site) -> list[tuple[BlockKey, str, list[int]]]:
        """All words of a host, forgotten here: positions in their block of those tiles that rest on its word alone."""
        found: list[tuple[BlockKey, str, list[int]]] = []
        others: dict[BlockKey, list[bytearray]] = {}
        for place, field in self._fields.items():
            if place.site is not site:
                others.setdefault(place.key, []).append(field)
        for place in [one for one in self._fields if one.site is site]:
            field = self._fields.pop(place)
            self._number -= len(_positions(field))
            alone = np.frombuffer(field, np.uint8).copy()
            for bits in others.get(place.key, ()):
                alone &= ~np.frombuffer(bits, np.uint8)
            positions = _positions(alone.tobytes())
            if positions:
                found.append((place.key, place.reason, positions))
        return found

    def forget(self, key: BlockKey, positions: Sequence[int]) -> None:
        """These tiles are pending again: nothing rests on any word."""
        fields = [field for place, field in self._fields.items() if place.key == key]
        for field in fields:
            for position in positions:
                byte, bit = divmod(position, 8)
                if field[byte] >> bit & 1:
                    field[byte] &= ~(1 << bit)
                    self._number -= 1


def _positions(field: bytes | bytearray) -> list[int]:
    found: list[int] = np.flatnonzero(np.unpackbits(np.frombuffer(field, np.uint8), bitorder="little")).tolist()
    return found
