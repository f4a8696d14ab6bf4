"""Small AOI files of every kind, written the way other programs write them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely

from harvester.aoi import Area, load_area
from harvester.crs import WEB_MERCATOR, Crs
from harvester.job import AoiFile, Policy


def ring(*corners: tuple[float, float]) -> list[list[float]]:
    """A closed ring as JSON writes it."""
    return [list(corner) for corner in (*corners, corners[0])]


def box(west: float, south: float, east: float, north: float) -> list[list[float]]:
    """A box as a counter-clockwise ring."""
    return ring((west, south), (east, south), (east, north), (west, north))


def polygon(*rings: list[list[float]]) -> dict[str, Any]:
    """A GeoJSON polygon."""
    return {"type": "Polygon", "coordinates": list(rings)}


def written(path: Path, document: object) -> Path:
    """A JSON document in a file."""
    path.write_text(json.dumps(document))
    return path


def by_gdal(
    path: Path, shapes: list[Any], *, crs: str | None = "EPSG:4326", layer: str | None = None, **fields: Any
) -> Path:
    """Shapes in a file that GDAL writes; the driver goes by the suffix."""
    kinds = {shape.geom_type for shape in shapes if shape is not None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a missing CRS, which is what some tests want
        pyogrio.raw.write(
            path,
            geometry=np.array([None if shape is None else shapely.to_wkb(shape) for shape in shapes], dtype=object),
            field_data=[np.array(values) for values in fields.values()],
            fields=np.array(list(fields), dtype=object),
            geometry_type=kinds.pop() if len(kinds) == 1 else "Unknown",
            crs=crs,
            layer=layer,
            driver={".kml": "LIBKML", ".gdb": "OpenFileGDB"}.get(path.suffix),
            append=path.exists() and layer is not None,
        )
    return path


def area_of(
    *paths: Path, crs: Crs = WEB_MERCATOR, resolution: float = 1.0, buffer: float | None = None, **more: Any
) -> Area:
    """The area of some files."""
    files = tuple(AoiFile(path=path, **more) for path in paths)
    area = load_area(Policy(aoi=files, buffer_metres=buffer), crs, resolution)
    assert area is not None
    return area


def area_from(
    geometry: object, *, crs: Crs = WEB_MERCATOR, resolution: float = 1.0, buffer: float | None = None
) -> Area:
    """The area of a geometry given from Python."""
    area = load_area(Policy(geometry=geometry, buffer_metres=buffer), crs, resolution)
    assert area is not None
    return area
