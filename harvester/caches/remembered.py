"""Which contents a cache holds and where: a table of a fixed size that forgets what was not seen for long.

Sets of two places, the one used last in front. A third content of a set pushes out the hind one, so what repeats in a
map (sea, paper, nothing) stays while millions that never come again pass by. Unlike a dictionary it is as large for
10^5 contents as for 10^7, and ten times as small.
"""

from __future__ import annotations

import numpy as np

REMEMBERED = 1 << 20
"""Different contents remembered at most to be found again: 16 MB."""

LENGTH_BITS = 25
"""Of a place, for tiles of up to 16 MiB; the other 39 are the offset, up to 512 GiB. What lies beyond isn't found."""

_OFFSETS = 1 << (64 - LENGTH_BITS)
_LENGTHS = 1 << LENGTH_BITS


class Remembered:
    """At most ``size`` contents, 16 bytes each, by the hash of their bytes (64 bits)."""

    def __init__(self, size: int) -> None:
        self._sets = max(size // 2, 1)
        # Indexed one by one: a memoryview gives an int in a third of the time that an array takes.
        self._names = np.zeros(2 * self._sets, np.uint64).data
        self._places = np.zeros(2 * self._sets, np.uint64).data

    def find(self, name: int) -> tuple[int, int] | None:
        """Offset and length of the content that was used last of those with this hash; None where none is known."""
        names, places = self._names, self._places
        at = name % self._sets * 2
        place = places[at]
        if names[at] != name or not place:
            place = places[at + 1]
            if names[at + 1] != name or not place:
                return None
            names[at + 1], places[at + 1] = names[at], places[at]
            names[at], places[at] = name, place
        return place >> LENGTH_BITS, place & (_LENGTHS - 1)

    def add(self, name: int, offset: int, length: int) -> None:
        """Remember a content; it has at least one byte."""
        if offset < _OFFSETS and length < _LENGTHS:
            names, places = self._names, self._places
            at = name % self._sets * 2
            names[at + 1], places[at + 1] = names[at], places[at]
            names[at], places[at] = name, offset << LENGTH_BITS | length
