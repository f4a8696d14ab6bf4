"""Esri JSON (ArcGIS REST API, "Geometry objects" and "FeatureSet") to shapely."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Any

import shapely

from harvester.aoi_layer import Feature, Layer, level_of, line, positions, ring
from harvester.crs import Crs
from harvester.errors import SourceError, UsageError

ESRI_CURVES = ("curveRings", "curvePaths")
ESRI_KEYS = ("rings", "paths", "points", "x", "xmin", *ESRI_CURVES)


def read_esri(document: Mapping[str, Any], name: str) -> Layer:
    """An Esri feature set, feature or geometry; ``spatialReference`` of the set or of its geometries. Raises
    UsageError by name and feature."""
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
