"""An area that Python code gives: a shapely geometry, a GeoJSON-like mapping, or what has one."""

from __future__ import annotations

import json
from collections.abc import Mapping

import shapely

from harvester.aoi_json import read_json
from harvester.aoi_layer import Feature, Layer, check_finite
from harvester.crs import WGS84
from harvester.errors import UsageError


def layer_of(geometry: object) -> Layer:
    """A shapely geometry, a GeoJSON-like mapping or an object with ``__geo_interface__``, in WGS 84."""
    if isinstance(geometry, shapely.Geometry):
        check_finite(shapely.get_coordinates(geometry), "geometry")
        return Layer("geometry", WGS84, [Feature(shapely.force_2d(geometry), "geometry")], [])
    mapping = geometry if isinstance(geometry, Mapping) else getattr(geometry, "__geo_interface__", None)
    if not isinstance(mapping, Mapping):
        raise UsageError(
            f"geometry: {type(geometry).__name__} is no geometry",
            hint="Give a shapely geometry, a GeoJSON mapping or an object with __geo_interface__.",
        )
    try:
        plain = json.loads(json.dumps(dict(mapping), default=float))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"geometry: not a GeoJSON mapping ({str(error)[:120]})") from error
    return read_json(plain, "geometry")
