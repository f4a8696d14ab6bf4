"""Edges that are straight in one CRS and bent in another: they get as many vertices as the tolerance asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from harvester.crs import Crs, projector

MAX_VERTICES = 20_000_000
"""Of one ring after densifying: 320 MB. More comes of an edge that cannot be followed, not of a real area."""

MAX_CUTS = 60
"""An edge cut in two that often is shorter than the spacing of floating-point numbers: it jumps, it does not bend."""

PIECES = 12
"""An edge that needs more is first cut so that its parts need about so many: fewer vertices come out (by a fifth) than
with halving (tests/aoi/test_area.py)."""

MAX_PIECES = 64
"""Of an edge at a time: how far it is off says little of how a very long one bends."""

ROOM = 0.95
"""Of the tolerance: a bend is not quite a parabola, and a piece that is just too far off would be cut once more."""

SLICE = 4096
"""Edges that are bent at a time: an edge becomes some dozens, and their arithmetic takes a few megabytes."""

PROBES = (0.5, 0.3)
"""Where on an edge its deviation is measured; the second is off the middle for edges that bend both ways."""

LONG_EDGE_DEGREES = 45.0
LONG_EDGE_METRES = 1_000_000.0
"""Longer edges are cut before they are measured: two probes say little of a course across a continent."""

MAX_FIRST_CUTS = 64


class NoWayError(Exception):
    """Part of a geometry cannot be projected; caught within the rooms of the AOI."""


def bent(points: Any, source: Crs, target: Crs, tolerance: float, turn: tuple[float, float] | None) -> Any:
    """Projected points of a line (n, 2), with more between them until every edge is within ``tolerance`` (units of the
    target) of its true course. ``turn``: width of the target's world, where x comes round again. Raises NoWayError."""
    project = projector(source, target)
    points = _cut_long(points, source)

    def to_target(where: Any) -> Any:
        found = np.column_stack(project(where[:, 0], where[:, 1]))
        if not np.isfinite(found).all():
            raise NoWayError
        return found

    if len(points) < 2:
        return to_target(points)
    parts, count = [], 0
    # A slice at a time: what is computed on the way stays small beside what comes out.
    for first in range(0, len(points) - 1, SLICE):
        part = _bent_slice(points[first : first + SLICE + 1], to_target, tolerance, turn)
        count += len(part)
        if count > MAX_VERTICES:
            raise NoWayError
        parts.append(part if first + SLICE >= len(points) - 1 else part[:-1])
    return np.concatenate(parts)


def _cut_long(points: Any, source: Crs) -> Any:
    """Edges longer than a limit, cut evenly."""
    if len(points) < 2:
        return points
    steps = np.diff(points, axis=0)
    limit = LONG_EDGE_DEGREES if source.is_geographic else LONG_EDGE_METRES / source.metres_per_unit
    cuts = np.clip(np.ceil(np.abs(steps).max(axis=1) / limit), 1, MAX_FIRST_CUTS).astype(int)
    return points if cuts.max() == 1 else subdivided(points, cuts)


def subdivided(points: Any, cuts: Any) -> Any:
    """Each edge i in ``cuts[i]`` equal pieces."""
    at = np.repeat(np.arange(len(cuts)), cuts)
    part = (np.arange(len(at)) - np.repeat(np.cumsum(cuts) - cuts, cuts)) / cuts[at]
    inner = points[at] + (points[at + 1] - points[at]) * part[:, None]
    return np.vstack([inner, points[-1:]])


def _bent_slice(
    points: Any, to_target: Callable[[Any], Any], tolerance: float, turn: tuple[float, float] | None
) -> Any:
    """The same of a few points: an edge is cut into as many equal pieces as a parabola of its deviation would need, one
    that needs many in two steps, for a long edge bends here more and there less; each piece is measured again."""
    before, after = points, to_target(points)
    edges = np.arange(len(points) - 1)
    for _ in range(MAX_CUTS):
        start, end = before[edges], before[edges + 1]
        deviation = np.zeros(len(edges))
        for part in PROBES:
            probe = to_target(start + (end - start) * part)
            np.maximum(deviation, _off_chord(after[edges], after[edges + 1], probe, turn), out=deviation)
        bad = deviation > tolerance
        if not bad.any():
            return after
        cuts = np.ones(len(before) - 1, np.int64)
        wanted = np.sqrt(deviation[bad] / (ROOM * tolerance))
        wanted = np.where(wanted > PIECES, wanted / PIECES, wanted)
        cuts[edges[bad]] = np.clip(np.ceil(wanted), 2, MAX_PIECES).astype(np.int64)
        if int(cuts.sum()) > MAX_VERTICES:
            raise NoWayError
        firsts = np.cumsum(cuts) - cuts
        added = np.ones(int(cuts.sum()) + 1, np.bool_)
        added[firsts] = added[-1] = False
        kept = after
        before = subdivided(before, cuts)
        after = np.empty_like(before)
        after[~added] = kept
        after[added] = to_target(before[added])
        edges = np.flatnonzero(np.repeat(cuts > 1, cuts))
    raise NoWayError


def _off_chord(start: Any, end: Any, probe: Any, turn: tuple[float, float] | None) -> Any:
    """Distance of each probe from the straight edge between start and end."""
    along, off = end - start, probe - start
    tiny = np.finfo(float).tiny  # below it, squares of lengths lose their digits
    if turn is not None:
        along[:, 0] -= turn[0] * np.round(along[:, 0] / turn[0])
        off[:, 0] -= turn[0] * np.round(off[:, 0] / turn[0])
    length = np.einsum("ij,ij->i", along, along)
    share = np.einsum("ij,ij->i", along, off) / np.where(length > tiny, length, 1.0)
    return np.hypot(*(off - along * np.clip(share, 0.0, 1.0)[:, None]).T)
