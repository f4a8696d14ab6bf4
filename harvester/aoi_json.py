"""GeoJSON (RFC 7946 and its 2008 ancestor) and Esri JSON to shapely: strict about numbers, lenient about rings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import shapely

from harvester.crs import WGS84, Crs
from harvester.errors import SourceError, UsageError

MAX_DEPTH = 32
"""Geometry collections nested deeper are no data that anybody drew."""

ESRI_CURVES = ("curveRings", "curvePaths")
ESRI_KEYS = ("rings", "paths", "points", "x", "xmin", *ESRI_CURVES)


class Feature(NamedTuple):
    """One feature as read: ``geometry`` None where there is none, ``where`` for messages, ``level`` of its property.

    ``wrap`` False: what lies beyond the antimeridian stands where it is on a grid that reaches there.
    """

    geometry: Any | None
    where: str
    level: Any = None
    wrap: bool = True


class Layer(NamedTuple):
    """Features of one file or layer. ``crs`` None: not stated."""

    name: str
    crs: Crs | None
    features: list[Feature]
    notices: list[str]


def read_json(document: object, name: str) -> Layer:
    """A parsed GeoJSON or Esri JSON document. Raises UsageError by name and feature."""
    if not isinstance(document, Mapping):
        raise UsageError(
            f"{name}: not a JSON object but {type(document).__name__}", hint="Give GeoJSON, Esri JSON or WKT."
        )
    kind = document.get("type")
    if kind == "Topology":
        raise UsageError(f"{name}: TopoJSON cannot be read", hint="Convert it to GeoJSON (ogr2ogr area.geojson FILE).")
    if isinstance(kind, str) and (kind in ("FeatureCollection", "Feature") or kind in _SHAPES):
        return _read_geojson(document, name)
    if isinstance(document.get("features"), list) or any(key in document for key in (*ESRI_KEYS, "geometry")):
        return _read_esri(document, name)
    if isinstance(document.get("layers"), list):
        raise UsageError(
            f"{name}: a feature collection of several layers", hint="Give one of its featureSet objects as a file."
        )
    raise UsageError(f"{name}: neither GeoJSON nor Esri JSON", hint="Give a file with features, rings or coordinates.")


# ---------------------------------------------------------------------------------------------- GeoJSON


def _read_geojson(document: Mapping[str, Any], name: str) -> Layer:
    crs = _geojson_crs(document, name)
    if document["type"] == "FeatureCollection":
        items = document.get("features")
        if not isinstance(items, list):
            raise UsageError(f"{name}: features is not a list")
    else:
        items = [document]
    notices: list[str] = []
    features = []
    for number, item in enumerate(items, 1):
        where = f"{name}, feature {number}" if document["type"] == "FeatureCollection" else name
        if not isinstance(item, Mapping):
            raise UsageError(f"{where}: not a feature but {type(item).__name__}")
        shape = item.get("geometry") if item.get("type") == "Feature" else item
        properties = item.get("properties") if item.get("type") == "Feature" else None
        geometry = None if shape is None else _shape(shape, where, notices)
        stands = isinstance(properties, Mapping) and properties.get("wrap") is False
        features.append(Feature(geometry, where, level_of(properties), not stands))
    return Layer(name, crs, features, notices)


def _geojson_crs(document: Mapping[str, Any], name: str) -> Crs:
    """The ``crs`` member of GeoJSON 2008; without one, longitude and latitude."""
    member = document.get("crs")
    if member is None:
        return WGS84
    text = None
    if isinstance(member, Mapping) and isinstance(member.get("properties"), Mapping):
        text = member["properties"].get("name") or member["properties"].get("code")
    if isinstance(text, int) and not isinstance(text, bool):
        text = f"EPSG:{text}"
    if not isinstance(text, str):
        raise UsageError(
            f"{name}: its crs member names no CRS",
            hint='Write {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::3857"}}.',
        )
    try:
        return Crs.from_user(text)
    except UsageError as error:
        raise UsageError(f"{name}: crs: {error.message}", hint=error.hint) from error


def level_of(properties: object) -> Any:
    """The value of a feature's ``level`` property, in any case of letters; None where it has none."""
    if not isinstance(properties, Mapping):
        return None
    for key, value in properties.items():
        if isinstance(key, str) and key.lower() == "level":
            return value
    return None


def _shape(shape: object, where: str, notices: list[str], depth: int = 0) -> Any:
    """A GeoJSON geometry object to shapely; degenerate rings are left out with a notice."""
    if not isinstance(shape, Mapping) or not isinstance(shape.get("type"), str) or depth > MAX_DEPTH:
        raise UsageError(f"{where}: not a GeoJSON geometry")
    kind = shape["type"]
    if kind == "GeometryCollection":
        parts = shape.get("geometries")
        if not isinstance(parts, list):
            raise UsageError(f"{where}: geometries is not a list")
        return shapely.GeometryCollection([_shape(part, where, notices, depth + 1) for part in parts])
    if kind not in _SHAPES:
        raise UsageError(f"{where}: {kind!r:.40} is no geometry type of GeoJSON")
    data = shape.get("coordinates")
    if not isinstance(data, list):
        raise UsageError(f"{where}: coordinates is not a list")
    if not data:
        return shapely.GeometryCollection()
    if kind == "Point":
        return shapely.points(positions([data], where))[0]
    if kind == "MultiPoint":
        return shapely.MultiPoint(positions(data, where))
    if kind == "LineString":
        return line(data, where, notices)
    if kind == "MultiLineString":
        return shapely.GeometryCollection([line(part, where, notices) for part in data])
    if kind == "Polygon":
        return _polygon(data, where, notices)
    return shapely.GeometryCollection([_polygon(part, where, notices) for part in data])


_SHAPES = frozenset(
    {
        "Point",
        "MultiPoint",
        "LineString",
        "MultiLineString",
        "Polygon",
        "MultiPolygon",
        "GeometryCollection",
    }
)


def positions(data: object, where: str) -> Any:
    """A list of positions to an array (n, 2); further dimensions are left out. Raises UsageError."""
    if not isinstance(data, list):
        raise UsageError(f"{where}: a list of positions was expected, not {type(data).__name__}")
    if any(not isinstance(item, list) or len(item) < 2 for item in data):
        raise UsageError(f"{where}: a position is a list of at least two numbers")
    if any(isinstance(value, bool) or not isinstance(value, int | float) for item in data for value in item[:2]):
        raise UsageError(f"{where}: a position holds something that is not a number")
    try:
        found = np.array([item[:2] for item in data], dtype=float).reshape(-1, 2)
    except OverflowError as error:
        raise UsageError(f"{where}: a coordinate is too large for any coordinate system") from error
    check_finite(found, where)
    return found


def check_finite(coordinates: Any, where: str) -> None:
    """Raise UsageError when a coordinate is NaN or infinite: such a polygon would still seem to intersect things."""
    if not np.isfinite(coordinates).all():
        raise UsageError(
            f"{where}: a coordinate is not finite (NaN or infinity)", hint="Repair the feature, or leave it out."
        )


def ring(data: object, where: str, notices: list[str]) -> Any | None:
    """A closed ring's coordinates (n >= 4), or None with a notice when it has no three different points."""
    found = positions(data, where)
    if len(found) and not np.array_equal(found[0], found[-1]):
        found = np.vstack([found, found[:1]])
    if len(found) < 4 or len(np.unique(found, axis=0)) < 3:
        notices.append(f"{where}: a ring of fewer than three different points encloses nothing and is left out")
        return None
    return found


def line(data: object, where: str, notices: list[str]) -> Any:
    """A line of at least two points; empty, with a notice, otherwise."""
    found = positions(data, where)
    if len(found) < 2:
        notices.append(f"{where}: a line of fewer than two points is left out")
        return shapely.GeometryCollection()
    return shapely.LineString(found)


def _polygon(data: object, where: str, notices: list[str]) -> Any:
    if not isinstance(data, list):
        raise UsageError(f"{where}: a polygon is a list of rings")
    rings = [ring(part, where, notices) for part in data]
    if not rings or rings[0] is None:
        return shapely.GeometryCollection()
    return shapely.Polygon(rings[0], [hole for hole in rings[1:] if hole is not None])


# ---------------------------------------------------------------------------------------------- Esri JSON


def _read_esri(document: Mapping[str, Any], name: str) -> Layer:
    """An Esri feature set, feature or geometry; ``spatialReference`` of the set or of its geometries."""
    items = document.get("features")
    listed = isinstance(items, list)
    if not isinstance(items, list):
        items = [document if "geometry" in document else {"geometry": document}]
    notices: list[str] = []
    features = []
    references = [document.get("spatialReference")]
    for number, item in enumerate(items, 1):
        where = f"{name}, feature {number}" if listed else name
        if not isinstance(item, Mapping):
            raise UsageError(f"{where}: not a feature but {type(item).__name__}")
        shape = item.get("geometry")
        if shape is not None and not isinstance(shape, Mapping):
            raise UsageError(f"{where}: not an Esri geometry")
        if shape is not None:
            references.append(shape.get("spatialReference"))
        geometry = None if shape is None else _esri_shape(shape, where, notices)
        features.append(Feature(geometry, where, level_of(item.get("attributes"))))
    return Layer(name, _esri_crs(references, name), features, notices)


def _esri_crs(references: list[Any], name: str) -> Crs | None:
    found: dict[Crs, None] = {}
    for reference in references:
        if reference is not None:
            try:
                found[Crs.from_service(reference, "spatialReference")] = None
            except SourceError as error:
                raise UsageError(f"{name}: {error.message}") from error
    kinds = list(found)
    if any(not other.same_as(kinds[0]) for other in kinds[1:]):
        raise UsageError(f"{name}: its features have different spatial references", hint="Project them to one first.")
    return kinds[0] if kinds else None


def _esri_shape(shape: Mapping[str, Any], where: str, notices: list[str]) -> Any:
    for key in ESRI_CURVES:
        if key in shape:
            raise UsageError(
                f"{where}: {key} holds curves, which cannot be read", hint="Densify the feature (Esri: Densify) first."
            )
    if "rings" in shape:
        return _esri_rings(shape["rings"], where, notices)
    if "paths" in shape:
        paths = shape["paths"]
        if not isinstance(paths, list):
            raise UsageError(f"{where}: paths is not a list")
        return shapely.GeometryCollection([line(path, where, notices) for path in paths])
    if "points" in shape:
        return shapely.MultiPoint(positions(shape["points"], where))
    if "xmin" in shape:
        corners = positions([[shape.get("xmin"), shape.get("ymin")], [shape.get("xmax"), shape.get("ymax")]], where)
        return shapely.box(*corners.ravel())
    if shape.get("x") is None or shape.get("x") == "NaN":
        return None
    return shapely.points(positions([[shape.get("x"), shape.get("y")]], where))[0]


def _esri_rings(data: object, where: str, notices: list[str]) -> Any:
    """Esri's rings: outer ones run clockwise, holes counter-clockwise, in any order; islands may lie in holes.

    Taken from the largest to the smallest: outer rings are added, holes cut. Where no ring runs clockwise the writer
    did not care, and nesting decides (even-odd).
    """
    if not isinstance(data, list):
        raise UsageError(f"{where}: rings is not a list")
    rings = [found for found in (ring(part, where, notices) for part in data) if found is not None]
    if not rings:
        return None
    outlines = shapely.linearrings(rings[0]) if len(rings) == 1 else None
    if outlines is not None:
        return shapely.Polygon(outlines)
    is_hole = [bool(shapely.is_ccw(shapely.LinearRing(found))) for found in rings]
    polygons = [shapely.make_valid(shapely.Polygon(found)) for found in rings]
    if not any(is_hole):
        return shapely.GeometryCollection([shapely.Polygon(found) for found in rings])
    order = sorted(range(len(rings)), key=lambda index: -polygons[index].area)
    whole: Any = shapely.Polygon()
    for holes, group in _grouped(order, [is_hole[index] if not all(is_hole) else None for index in order]):
        part = shapely.union_all([polygons[index] for index in group])
        if holes is None:
            whole = reduce(shapely.symmetric_difference, [polygons[index] for index in group])
        else:
            whole = shapely.difference(whole, part) if holes else shapely.union(whole, part)
    return whole


def _grouped(order: list[int], keys: list[bool | None]) -> Iterator[tuple[bool | None, list[int]]]:
    """Neighbours with the same key, together."""
    group: list[int] = []
    for index, (at, key) in enumerate(zip(order, keys, strict=True)):
        group.append(at)
        if index + 1 == len(order) or keys[index + 1] != key:
            yield key, group
            group = []
