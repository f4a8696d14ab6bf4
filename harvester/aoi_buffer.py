"""Buffers in ground metres: boundaries are cut in short runs, each buffered in an equidistant CRS of its own."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import Any

import numpy as np
import shapely

from harvester.aoi_bend import subdivided
from harvester.aoi_project import project_line, project_polygons
from harvester.aoi_shape import only_polygons, polygons_of
from harvester.crs import WGS84, local_equidistant

RUN_METRES = 500_000.0
RUN_METRES_FAR = 100_000.0
"""Length of a run, and that for buffers above FAR_METRES. Off its centre, an azimuthal equidistant CRS stretches by
c**2 / 6 across (c: the distance in radians): 0.1 % at 500 km."""

FAR_METRES = 200_000.0

CELL_DEGREES = 2.0
"""Runs whose middles share a cell share a CRS: its centre is at most 160 km from them."""

QUARTER_SEGMENTS = 16
"""Of a round corner: the polygon lies inside of the circle by at most 0.12 % of the buffer."""

METRES_PER_DEGREE = 111_319.49


def buffered(polygons: Any, lines: list[Any], metres: float, tolerance: float, where: str) -> Any:
    """Polygons (valid, WGS 84, within -180..180) and lines grown by ``metres`` (above 0) on the ground.

    ``lines``: coordinates (n, 2), lon/lat, n = 1 for points. ``tolerance``: in degrees. Gives valid polygons,
    perhaps empty.
    """
    rims = [*lines, *(_outline(polygons) if not polygons.is_empty else [])]
    runs: defaultdict[tuple[float, float], list[Any]] = defaultdict(list)
    for rim in rims:
        for run in _runs(rim, RUN_METRES if metres <= FAR_METRES else RUN_METRES_FAR):
            runs[_centre(run)].append(run)
    belts = [_belt(centre, group, metres, tolerance, where) for centre, group in runs.items()]
    belt = shapely.union_all(belts)
    return only_polygons(polygons.union(belt))


def _outline(polygons: Any) -> list[Any]:
    """Rings as lines, without what is no edge on the ground: cuts at the antimeridian, and the poles' parallels."""
    rim = shapely.union_all([part.boundary for part in polygons_of(polygons)])
    meridian = shapely.LineString([(180.0, -90.0), (180.0, 90.0)])
    there = _moved(meridian, -360.0)
    both = shapely.intersection(shapely.intersection(rim, meridian), _moved(shapely.intersection(rim, there), 360.0))
    if not both.is_empty:
        rim = rim.difference(both).difference(_moved(both, -360.0))
    poles = shapely.MultiLineString([[(-180.0, y), (180.0, y)] for y in (-90.0, 90.0)])
    if not rim.is_empty and max(abs(rim.bounds[1]), abs(rim.bounds[3])) >= 90.0:
        rim = rim.difference(poles)
    if rim.is_empty:
        return []
    parts = shapely.get_parts(shapely.line_merge(rim) if shapely.get_type_id(rim) == 5 else rim)
    return [shapely.get_coordinates(part) for part in parts if shapely.get_type_id(part) in (1, 2)]


def _moved(geometry: Any, by: float) -> Any:
    return shapely.transform(geometry, lambda at: at + np.array([by, 0.0]))


def _ground(points: Any) -> Any:
    """Length of each edge on a sphere, in metres (haversine)."""
    lon, lat = np.radians(points).T
    half = np.sin(np.diff(lat) / 2) ** 2 + np.cos(lat[1:]) * np.cos(lat[:-1]) * np.sin(np.diff(lon) / 2) ** 2
    # Along a parallel an edge is longer than the great circle: take the longer of the two.
    across = np.abs(np.diff(lon)) * np.maximum(np.cos(lat[1:]), np.cos(lat[:-1]))
    return 6_371_000.0 * np.maximum(2 * np.arcsin(np.sqrt(np.clip(half, 0, 1))), np.hypot(across, np.diff(lat)))


def _runs(line: Any, length: float) -> list[Any]:
    """A line cut into runs of about ``length`` metres, each beginning where the one before ends."""
    if len(line) < 2:
        return [line]
    cuts = np.maximum(np.ceil(_ground(line) / (length / 4)), 1).astype(int)
    line = subdivided(line, cuts)
    number = np.floor(np.concatenate([[0.0], np.cumsum(_ground(line))]) / length).astype(int)
    ends = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(line) - 1]
    return [line[first : last + 1] for first, last in pairwise(ends) if last > first]


def _centre(run: Any) -> tuple[float, float]:
    """The middle of the cell that a run's middle lies in: longitude, latitude."""
    lon, lat = (run.min(axis=0) + run.max(axis=0)) / 2
    row = min(max(round(lat / CELL_DEGREES) * CELL_DEGREES, -90.0), 90.0)
    step = 360.0 / max(1, int(180.0 * np.cos(np.radians(row))))
    return (round(lon / step) * step + 180.0) % 360.0 - 180.0, row


def _belt(centre: tuple[float, float], runs: list[Any], metres: float, tolerance: float, where: str) -> Any:
    """All that lies within ``metres`` of some runs around a centre, in WGS 84."""
    local = local_equidistant(*centre)
    fine = tolerance * METRES_PER_DEGREE
    shapes = []
    for run in runs:
        found = project_line(run, WGS84, local, fine)
        shapes.append(shapely.Point(found[0]) if len(found) < 2 else shapely.LineString(found))
    grown = shapely.buffer(shapely.GeometryCollection(shapes), metres, quad_segs=QUARTER_SEGMENTS)
    return project_polygons(only_polygons(grown), local, WGS84, tolerance, where, [])
