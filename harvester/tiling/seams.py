"""Edges that cross the antimeridian, whose halves lie at both ends of the grid: the two are one straight edge, and
where it crosses follows from its ends as they are placed on the grid."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harvester.tiling.intervals import Ints

Floats = NDArray[np.float64]

NEAR = 32 * float(np.finfo(np.float64).eps)
"""Relative error of an x that was cut at the antimeridian and moved by a turn, and of the y found there."""


class Seams(NamedTuple):
    """Edges that go on at the other end: the vertices (indices) at which they were cut, and at which they begin and
    end. Arrays of equal length."""

    east: Ints
    """Cut at the antimeridian's x ..."""
    west: Ints
    """... and again at minus that."""
    before: Ints
    """The vertex from which the edge comes to ``east``, and the one to which it goes on from ``west``."""
    behind: Ints

    def places(self, x: Floats, y: Floats, turn: float) -> Floats:
        """Where the edges cross: y of them, from the placed ends. ``turn``: the world's width in the same units."""
        x0, y0 = x[self.before], y[self.before]
        wide = x[self.behind] + turn - x0
        some = wide > 0  # else both ends are on the antimeridian, as placed
        share = np.divide(x[self.east] - x0, wide, out=np.zeros_like(wide), where=some)
        found: Floats = np.where(some, y0 + share * (y[self.behind] - y0), y[self.east])
        return found


def seams(coordinates: Floats, rings: Ints, half: float) -> Seams | None:
    """The edges that were cut at x = ``half`` and go on at ``-half``, or None where there are none.

    ``rings``: offsets of the closed rings in ``coordinates`` (n, 2), one more than there are rings. An edge whose other
    half cannot be told (several cross at one place) is left as it was cut.
    """
    x, y = coordinates[:, 0], coordinates[:, 1]
    at = np.flatnonzero(np.abs(np.abs(x) - half) <= NEAR * half)
    if not at.size:
        return None
    ring = np.searchsorted(rings, at, side="right") - 1
    first, last = rings[ring], rings[ring + 1] - 1
    sides: dict[bool, dict[float, list[tuple[int, int]]]] = {True: {}, False: {}}
    for one, low, high in zip(at.tolist(), first.tolist(), last.tolist(), strict=True):
        for other in (one - 1 if one > low else high - 1, one + 1 if one < high else low + 1):
            if abs(abs(x[other]) - half) > NEAR * half:
                sides[bool(x[one] > 0)].setdefault(float(y[one]), []).append((one, other))
    found = []
    for height, easts in sides[True].items():
        wests = sides[False].get(height, [])
        if len({end for _, end in easts}) != 1 or len({end for _, end in wests}) != 1:
            continue
        before, behind = easts[0][1], wests[0][1]
        share = (half - x[before]) / (x[behind] + 2 * half - x[before])
        # A vertex of the area's own may lie there: then the edge bends.
        if abs(y[before] + share * (y[behind] - y[before]) - height) <= NEAR * max(
            half, abs(y[before]), abs(y[behind])
        ):
            # The first vertex of a ring is also its last.
            found += [(east, west, before, behind) for (east, _) in easts for (west, _) in wests]
    return Seams(*np.array(found, np.int64).T) if found else None
