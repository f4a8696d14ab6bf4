"""GeoJSON (RFC 7946 and its 2008 ancestor) to shapely, and which of the JSON formats a document is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import shapely

from harvester.aoi_esri import ESRI_KEYS, read_esri
from harvester.aoi_layer import Feature, Layer, level_of, line, positions, ring
from harvester.crs import WGS84, Crs
from harvester.errors import UsageError

MAX_DEPTH = 32
"""Geometry collections nested deeper are no data that anybody drew."""

CUT_SHORT = "exceededTransferLimit"
"""What ArcGIS REST writes into a query's answer (of the set; in GeoJSON also of its ``properties``) that stops at the
most features that the service gives at a time."""


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
        return _whole(document, _read_geojson(document, name))
    if isinstance(document.get("features"), list) or any(key in document for key in (*ESRI_KEYS, "geometry")):
        return _whole(document, read_esri(document, name))
    if isinstance(document.get("layers"), list):
        raise UsageError(
            f"{name}: a feature collection of several layers", hint="Give one of its featureSet objects as a file."
        )
    raise UsageError(f"{name}: neither GeoJSON nor Esri JSON", hint="Give a file with features, rings or coordinates.")


def _whole(document: Mapping[str, Any], layer: Layer) -> Layer:
    """The layer, with a notice where a feature service says that its answer is not all there is."""
    properties = document.get("properties")
    inner = properties.get(CUT_SHORT) if isinstance(properties, Mapping) else None
    if document.get(CUT_SHORT) is True or inner is True:
        layer.notices.append(
            f"{layer.name}: the server that it comes from cut it short ({CUT_SHORT}): not all features are in it; "
            "get the rest as well, page by page, and name each file"
        )
    return layer


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


def _polygon(data: object, where: str, notices: list[str]) -> Any:
    if not isinstance(data, list):
        raise UsageError(f"{where}: a polygon is a list of rings")
    rings = [ring(part, where, notices) for part in data]
    if not rings or rings[0] is None:
        return shapely.GeometryCollection()
    return shapely.Polygon(rings[0], [hole for hole in rings[1:] if hole is not None])
