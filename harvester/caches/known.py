"""Which contents are known, and where each is: every hash ever added is found again, in memory that does not grow.

Hashes (64 bits) and places (signed 64 bits) in sorted stretches, of which two of a size are joined to one: adding costs
a few passes over what is there, and a batch is looked up by one search in each stretch. When so many are in memory,
the owner takes them out and keeps them where there is room: MBTiles in a table (mbtiles_index.py), PMTiles in scratch
files (known_files.py). A hash says only where to look; whether the content is the same its bytes say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    Ints: TypeAlias = NDArray[np.int64]

FILTER_BYTES = 1 << 24
"""Of ``Filter``: of 10^7 contents it takes one in fifty for known that is not, of 10^6 one in 5,000."""


def as_ints(names: Iterable[int]) -> Ints:
    """Hashes as they are kept: the 64 bits of each as a signed number."""
    return np.array(list(names), np.uint64).view(np.int64)


class Known:
    """Hashes and places in memory; a hash may have several places."""

    def __init__(self) -> None:
        self._stretches: list[tuple[Ints, Ints]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, names: Ints, places: Ints) -> None:
        """Remember a place for each hash."""
        if not len(names):
            return
        order = np.argsort(names, kind="stable")
        self._stretches.append((names[order], places[order]))
        self._count += len(names)
        while len(self._stretches) > 1 and len(self._stretches[-2][0]) <= 2 * len(self._stretches[-1][0]):
            self._stretches[-2:] = [joined(*self._stretches[-2:])]

    def find(self, names: Ints) -> Iterator[tuple[int, int]]:
        """Position among ``names`` and place, for each place of each of them."""
        for stretch in self._stretches:
            yield from found_in(*stretch, names)

    def take(self) -> tuple[Ints, Ints]:
        """Everything, sorted by hash; nothing is remembered any more."""
        none = np.zeros(0, np.int64)
        while len(self._stretches) > 1:
            self._stretches[-2:] = [joined(*self._stretches[-2:])]
        taken = self._stretches[0] if self._stretches else (none, none)
        self._stretches, self._count = [], 0
        return taken


def joined(one: tuple[Ints, Ints], other: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
    """Two sorted stretches as one."""
    names = np.concatenate((one[0], other[0]))
    order = np.argsort(names, kind="stable")
    return names[order], np.concatenate((one[1], other[1]))[order]


def found_in(names: Ints, places: Ints, wanted: Ints) -> Iterator[tuple[int, int]]:
    """Position among ``wanted`` and place, for each of these that the sorted ``names`` have."""
    if not len(names):
        return
    first = np.searchsorted(names, wanted)
    for position in np.flatnonzero(names[np.minimum(first, len(names) - 1)] == wanted).tolist():
        at, name = int(first[position]), wanted[position]
        while at < len(names) and names[at] == name:
            yield position, int(places[at])
            at += 1


class Filter:
    """Says of most hashes that were never added that they were not (Bloom 1970, two bits a hash); of fixed size."""

    def __init__(self, size: int = FILTER_BYTES) -> None:
        self._bits = np.zeros(size, np.uint8)
        self._last = np.uint64(8 * size - 1)

    def add(self, names: Ints) -> None:
        """Remember hashes."""
        for at in self._places(names):
            np.bitwise_or.at(self._bits, at >> 3, (1 << (at & 7)).astype(np.uint8))

    def perhaps(self, names: Ints) -> NDArray[np.bool_]:
        """Which of these may have been added; False is sure."""
        one, other = ((self._bits[at >> 3] >> (at & 7)) & 1 for at in self._places(names))
        both: NDArray[np.bool_] = (one & other) != 0
        return both

    def _places(self, names: Ints) -> tuple[Ints, Ints]:
        bits = names.view(np.uint64)
        return (bits & self._last).astype(np.int64), ((bits >> np.uint64(32)) & self._last).astype(np.int64)
