"""Polygons and lines from one CRS to another with their edges straight in the first; what crosses the antimeridian
comes out in parts at both ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely

from harvester.aoi_bend import NoWayError, bent
from harvester.aoi_shape import HALF_TURN, closed_over_pole, folded, made_valid, only_polygons, polygons_of, united
from harvester.crs import MERCATOR_HALF_WIDTH, MERCATOR_MAX_LATITUDE, WGS84, Crs, project_box, projector
from harvester.errors import UsageError
from harvester.wording import share_words

MARGINS_DEGREES = (30.0, 15.0, 5.0, 0.0)
"""How far around a CRS's area of use an area is still kept, where the whole of it cannot be projected: services often
reach beyond the zone that their CRS was made for."""

SAMPLES = 16
"""Points along each side of the grid that proves a projected area to be the same area."""

DEGREE_METRES = 450_000.0
"""Four times a degree's length: tolerances in degrees on the way through WGS 84 are that much finer."""

SHARE_DEGREES = 0.01
"""How far off an edge may be where only the share of an area is wanted: a kilometre."""

END_SLACK_DEGREES = 1e-5
"""By which an area may reach beyond the last latitude of web mercator, as that is written with few decimals: a
metre."""

METRES_PER_DEGREE_THERE = 1.3e6
"""Units of web mercator in a degree of latitude at its end."""


def turn_of(crs: Crs) -> tuple[float, float] | None:
    """The width of the world and the y of its poles where x comes round again (degrees, web mercator); else None."""
    half = crs.half_world
    return None if half is None else (2 * half[0], half[1])


def project_polygons(polygons: Any, source: Crs, target: Crs, tolerance: float, where: str, notices: list[str]) -> Any:
    """Valid polygons in ``source`` to valid polygons in ``target``; perhaps empty, where nothing lies in its domain.

    ``tolerance``: how far (units of the target) an edge may be from its true course. Geographic polygons lie within
    -180..180. What ``target`` cannot show is cut at its area of use, with a notice; UsageError where none is known.
    """
    if source.same_as(target):
        turn = turn_of(target)
        return polygons if turn is None else folded(_cut(polygons, source, target, where, notices), turn[0])
    polygons = _cut(polygons, source, target, where, notices)
    try:
        return _project_all(polygons, source, target, tolerance)
    except NoWayError:
        found = _project_near(polygons, source, target, tolerance)
    if found is None:
        raise UsageError(
            f"{where}: part of it cannot be shown in {target}", hint="Cut the AOI to what the service covers."
        )
    notices.append(f"{where}: part of it is too far away to be shown in {target} and was cut off")
    return found


def _project_near(polygons: Any, source: Crs, target: Crs, tolerance: float) -> Any | None:
    """The part of polygons in and around the area of use of ``target``, as far around it as projects faithfully."""
    area = target.area_of_use
    if area is None:
        return None
    west, south, east, north = area
    if not source.is_geographic:
        try:
            polygons = _project_all(polygons, source, WGS84, tolerance * target.metres_per_unit / DEGREE_METRES)
        except NoWayError:
            return None
    for margin in MARGINS_DEGREES:
        right = east if east > west else east + 360.0
        window = shapely.box(
            west - margin,
            max(south - margin, -90.0),
            min(right + margin, west - margin + 360.0),
            min(north + margin, 90.0),
        )
        near = only_polygons(shapely.intersection(polygons, folded(window, 360.0)))
        try:
            return _project_all(near, WGS84, target, tolerance)
        except NoWayError:
            continue
    return None


def project_line(line: Any, source: Crs, target: Crs, tolerance: float) -> Any:
    """Coordinates (n, 2) of a line (or of one point) in ``target``, densified; x runs on past the antimeridian.

    Raises NoWayError where a point cannot be projected.
    """
    if source.same_as(target):
        return line
    turn = turn_of(target)
    found = bent(line, source, target, tolerance, turn)
    return found if turn is None else _unwound(found, turn[0])


def _in_domain(polygons: Any, source: Crs, target: Crs) -> Any:
    """Latitudes beyond the web-mercator square are cut off where it can be done exactly."""
    if not target.is_web_mercator or not (source.is_geographic or source.is_web_mercator) or polygons.is_empty:
        return polygons
    limit = MERCATOR_MAX_LATITUDE if source.is_geographic else MERCATOR_HALF_WIDTH
    west, south, east, north = polygons.bounds
    if -limit <= south and north <= limit:
        return polygons
    return only_polygons(shapely.intersection(polygons, shapely.box(west - 1, -limit, east + 1, limit)))


def _cut(polygons: Any, source: Crs, target: Crs, where: str, notices: list[str]) -> Any:
    """The same within the latitudes of ``target``, with a notice of what they leave out."""
    inside = _in_domain(polygons, source, target)
    share = _share_cut(polygons, inside, source, target)
    if share > 0:
        notices.append(
            f"{where}: {share_words(share)} of the area lies beyond latitude {MERCATOR_MAX_LATITUDE:.4f}, where web "
            "mercator ends, and is left out"
        )
    return inside


def _share_cut(polygons: Any, inside: Any, source: Crs, target: Crs) -> float:
    """Share on the ground of what lies beyond the web-mercator square; 0 where that is not where anything is cut."""
    if not target.is_web_mercator or polygons.is_empty:
        return 0.0
    if source.is_geographic or source.is_web_mercator:
        slack = END_SLACK_DEGREES if source.is_geographic else END_SLACK_DEGREES * METRES_PER_DEGREE_THERE
        before, after = polygons.bounds, (inside.bounds if not inside.is_empty else (np.inf,) * 4)
        if inside is polygons or max(abs(before[1] - after[1]), abs(before[3] - after[3])) <= slack:
            return 0.0
    else:  # nothing is cut before: a projection into web mercator runs along the square's rim
        try:
            _, south, _, north = project_box(polygons.bounds, source, WGS84)
            if south >= -MERCATOR_MAX_LATITUDE and north <= MERCATOR_MAX_LATITUDE:
                return 0.0
            polygons, source = _project_all(polygons, source, WGS84, SHARE_DEGREES), WGS84
        except (UsageError, NoWayError):
            return 0.0
        inside = _in_domain(polygons, source, target)
        if inside is polygons:
            return 0.0
    whole = _ground(polygons, source)
    return 1.0 - _ground(inside, source) / whole if whole > 0 else 0.0


def _ground(polygons: Any, crs: Crs) -> float:
    """What polygons cover of a sphere, in degrees or web mercator, in a unit of its own: there the width of a strip and
    the difference of the sines of its latitudes (Archimedes) are its area."""
    step = 1.0 if crs.is_geographic else MERCATOR_HALF_WIDTH / HALF_TURN

    def flat(at: Any) -> Any:
        sines = np.sin(np.radians(at[:, 1])) if crs.is_geographic else np.tanh(at[:, 1] * np.pi / MERCATOR_HALF_WIDTH)
        return np.column_stack([at[:, 0], sines])

    return float(shapely.transform(shapely.segmentize(polygons, step), flat).area)


def _project_all(polygons: Any, source: Crs, target: Crs, tolerance: float) -> Any:
    """Every part, and the proof that the whole is what it should be. Raises NoWayError."""
    parts = [_project_one(part, source, target, tolerance) for part in polygons_of(polygons)]
    found = united(parts)
    if not _is_faithful(polygons, found, source, target, tolerance):
        raise NoWayError
    return found


def _is_faithful(before: Any, after: Any, source: Crs, target: Crs, tolerance: float) -> bool:
    """True when points inside stay inside, both ways: far from its home a projection folds, and a ring says nothing."""
    for one, other, ours, theirs in ((before, after, source, target), (after, before, target, source)):
        inside = _points_in(one)
        if ours is target and len(inside):  # the rim itself may be off by the tolerance
            rim = after.boundary
            shapely.prepare(rim)  # without it each point is held against every edge
            inside = inside[~shapely.dwithin(rim, shapely.points(inside), 2 * tolerance)]
        if not len(inside):
            continue
        moved = np.column_stack(projector(ours, theirs)(inside[:, 0], inside[:, 1]))
        if not np.isfinite(moved).all() or other.is_empty:
            return False
        lost = moved[~shapely.intersects_xy(other, moved[:, 0], moved[:, 1])]
        if not len(lost):
            continue
        xmin, ymin, xmax, ymax = other.bounds
        slack = max(2 * tolerance if theirs is target else 0.0, 1e-6 * max(xmax - xmin, ymax - ymin))
        if (shapely.distance(other, shapely.points(lost)) > slack).any():
            return False
    return True


def _points_in(polygons: Any) -> Any:
    """A few hundred points inside of polygons: a grid over all, and one in each of the largest."""
    if polygons.is_empty:
        return np.empty((0, 2))
    xmin, ymin, xmax, ymax = polygons.bounds
    share = (np.arange(SAMPLES) + 0.5) / SAMPLES
    x, y = (axis.ravel() for axis in np.meshgrid(xmin + share * (xmax - xmin), ymin + share * (ymax - ymin)))
    shapely.prepare(polygons)
    kept = shapely.contains_xy(polygons, x, y)
    largest = sorted(polygons_of(polygons), key=lambda part: -part.area)[:SAMPLES]
    own = shapely.get_coordinates(shapely.point_on_surface(largest))
    return np.vstack([np.column_stack([x[kept], y[kept]]), own])


def _project_one(polygon: Any, source: Crs, target: Crs, tolerance: float) -> Any:
    turn = turn_of(target)
    before = [shapely.get_coordinates(ring) for ring in (polygon.exterior, *polygon.interiors)]
    rings = [bent(ring, source, target, tolerance, turn) for ring in before]
    if turn is not None:
        period = turn[0]
        if any(np.abs(np.diff(ring[:, 0])).max() > period / 2 for ring in rings):
            regions = [_region(ring, inner, source, target) for ring, inner in zip(rings, before, strict=True)]
            shell, *holes = regions
            return only_polygons(shapely.difference(shell, shapely.union_all(holes))) if holes else shell
    return made_valid(shapely.Polygon(rings[0], rings[1:]))


def _region(ring: Any, before: Any, source: Crs, target: Crs) -> Any:
    """What a projected ring encloses where x comes round again; ``before``: the ring in the source."""
    turn = turn_of(target)
    assert turn is not None
    unwound = _unwound(ring, turn[0])
    if abs(unwound[-1, 0] - unwound[0, 0]) > turn[0] / 2:
        unwound = closed_over_pole(unwound, turn[0], turn[1] * _pole_in(before, unwound, source))
    else:
        unwound[-1] = unwound[0]
    return folded(made_valid(shapely.Polygon(unwound)), turn[0])


def _pole_in(ring: Any, projected: Any, source: Crs) -> int:
    """1 or -1: the pole that a ring runs round."""
    if not source.is_geographic:
        shape = made_valid(shapely.Polygon(ring))
        x, y = projector(WGS84, source)(np.array([0.0, 0.0]), np.array([90.0, -90.0]))
        inside = [
            bool(np.isfinite(px) and np.isfinite(py)) and bool(shapely.intersects_xy(shape, px, py))
            for px, py in zip(x.tolist(), y.tolist(), strict=True)
        ]
        if inside[0] != inside[1]:
            return 1 if inside[0] else -1
    return 1 if projected[:, 1].mean() > 0 else -1


def _unwound(points: Any, period: float) -> Any:
    """Points whose x never jumps by more than half a turn."""
    found = points.copy()
    if len(found) > 1:
        found[1:, 0] -= period * np.cumsum(np.round(np.diff(points[:, 0]) / period))
    return found
