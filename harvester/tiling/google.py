"""The Google (XYZ) grid as a tiling scheme of its own, for formats that can hold nothing else."""

from __future__ import annotations

import math

from harvester.crs import Crs
from harvester.tiling.scheme import GOOGLE_ORIGIN, GOOGLE_WIDTH, Box, Lod, TilingScheme

WEB_MERCATOR = Crs(wkid=102100, latest_wkid=3857)

SCALE_PER_RESOLUTION = 96 * 39.37
"""Scale denominator of one metre a pixel: 96 dpi, 39.37 inches a metre, as in Esri's own scheme."""

DEEPEST_ZOOM = 23
"""Zooms that a scheme lists at least, as Esri's does."""


def google_scheme(tile_size: int = 256, deepest_zoom: int = DEEPEST_ZOOM) -> TilingScheme:
    """Levels 0..``deepest_zoom`` (at least 23) of 2**level x 2**level tiles of ``tile_size`` pixels."""
    resolutions = [GOOGLE_WIDTH / tile_size / 2**zoom for zoom in range(max(deepest_zoom, DEEPEST_ZOOM) + 1)]
    return TilingScheme(
        crs=WEB_MERCATOR,
        origin_x=-GOOGLE_ORIGIN,
        origin_y=GOOGLE_ORIGIN,
        tile_width=tile_size,
        tile_height=tile_size,
        lods=tuple(
            Lod(level=zoom, resolution=resolution, scale=resolution * SCALE_PER_RESOLUTION)
            for zoom, resolution in enumerate(resolutions)
        ),
    )


def longitude(x: float) -> float:
    """Degrees of a web-mercator x in metres, to the last digit that a double can hold."""
    return round(x / GOOGLE_ORIGIN * 180.0, 13)


def latitude(y: float) -> float:
    """Degrees of a web-mercator y in metres; 85.0511287798066 at the upper edge of the grid."""
    return round(math.degrees(math.atan(math.sinh(y / GOOGLE_ORIGIN * math.pi))), 13)


def mercator_box(west: float, south: float, east: float, north: float) -> Box:
    """Degrees to web-mercator metres; latitudes are clamped to the grid's."""

    def y(degrees: float) -> float:
        sine = math.sin(math.radians(degrees))
        if abs(sine) >= 1.0:
            return math.copysign(GOOGLE_ORIGIN, sine)
        return max(-GOOGLE_ORIGIN, min(GOOGLE_ORIGIN, math.atanh(sine) / math.pi * GOOGLE_ORIGIN))

    return Box(west / 180 * GOOGLE_ORIGIN, y(south), east / 180 * GOOGLE_ORIGIN, y(north))
