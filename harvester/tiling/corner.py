"""Straight edges in tiles, and on which side of a grid corner one passes: exactly, whatever its coordinates."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from harvester.tiling.runs import Ints

Floats: TypeAlias = NDArray[np.float64]

_SPLITTER = 134217729.0
"""2**27 + 1: cuts a double into two halves whose products are exact (Dekker 1971, section 5)."""


class Edges(NamedTuple):
    """Straight edges in tiles: float64 arrays of equal length, from (x0, y0) to (x1, y1)."""

    x0: Floats
    y0: Floats
    x1: Floats
    y1: Floats

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_] | slice) -> Edges:
        """Some of the edges."""
        return Edges(self.x0[index], self.y0[index], self.x1[index], self.y1[index])


def side_of_corner(edges: Edges, x: Floats, y: Floats) -> Ints:
    """Exactly on which side of the point (x, y) an edge passes, with y0 < y < y1: -1 left, 0 through it, 1 right.

    The sign of (x0 - x)(y1 - y) + (x1 - x)(y - y0): by signs where they agree, by exact products where the differences
    are exact, by fractions for the few that are left.
    """
    a, b = edges.x0 - x, edges.x1 - x
    p, q = edges.y1 - y, y - edges.y0
    sign_a, sign_b = np.sign(a), np.sign(b)
    side = np.where(sign_a == 0, sign_b, sign_a)
    open_ = np.flatnonzero(sign_a * sign_b < 0)
    if not open_.size:
        return side.astype(np.int64)
    x0, y0, x1, y1 = edges.take(open_)
    x, y, a, b, p, q = x[open_], y[open_], a[open_], b[open_], p[open_], q[open_]
    exact = (
        (_rounding(x0, x, a) == 0)
        & (_rounding(x1, x, b) == 0)
        & (_rounding(y1, y, p) == 0)
        & (_rounding(y, y0, q) == 0)
    )
    left, left_rest = _product(a, p)
    right, right_rest = _product(-b, q)
    found = np.where(left != right, np.sign(left - right), np.sign(left_rest - right_rest))
    for i in np.flatnonzero(~exact).tolist():
        ax, ay, bx, by = (Fraction(float(v[i])) for v in (x0, y0, x1, y1))
        cx, cy = Fraction(float(x[i])), Fraction(float(y[i]))
        value = (ax - cx) * (by - cy) + (bx - cx) * (cy - ay)
        found[i] = (value > 0) - (value < 0)
    side[open_] = found
    return side.astype(np.int64)


def _rounding(a: Floats, b: Floats, difference: Floats) -> Floats:
    """What rounding took from a - b (Knuth's two-sum)."""
    part = difference - a
    return (a - (difference - part)) - (b + part)


def _product(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """a * b as its rounded value and the exact rest (Dekker's product)."""
    product = a * b
    a_high, b_high = _SPLITTER * a, _SPLITTER * b
    a_high, b_high = a_high - (a_high - a), b_high - (b_high - b)
    a_low, b_low = a - a_high, b - b_high
    rest = a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)
    return product, rest
