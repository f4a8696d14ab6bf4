"""The two tiling schemes that the world is served in: web mercator, and a European grid whose LODs don't halve."""

from __future__ import annotations

from harvester.crs import WEB_MERCATOR, Crs
from harvester.tiling.scheme import GOOGLE_ORIGIN, Box, Lod, TilingScheme

ESRI_ORIGIN = 20037508.342787
"""As Esri prints it, 2.2 micrometres short of the sphere's half circumference."""

ESRI_SCALE_0 = 591657527.591555
ESRI_RESOLUTION_0 = 156543.03392800014

ESRI_INCHES_PER_METRE = 39.37
PIXELS_PER_INCH = 96.0

TILE_PIXELS = 256

LAST_LISTED_LOD = 23

EUROPE_SCALES = (35e6, 25e6, 15e6, 10e6, 5e6, 2.5e6, 1e6)

MERCATOR = TilingScheme(
    crs=WEB_MERCATOR,
    origin_x=-ESRI_ORIGIN,
    origin_y=ESRI_ORIGIN,
    tile_width=TILE_PIXELS,
    tile_height=TILE_PIXELS,
    lods=tuple(
        Lod(level=n, resolution=ESRI_RESOLUTION_0 / 2**n, scale=ESRI_SCALE_0 / 2**n) for n in range(LAST_LISTED_LOD + 1)
    ),
    dpi=PIXELS_PER_INCH,
)
"""Esri's web-mercator scheme with the 24 LODs that services list whether they hold them or not."""

MERCATOR_EXTENT = Box(-GOOGLE_ORIGIN, -GOOGLE_ORIGIN, GOOGLE_ORIGIN, GOOGLE_ORIGIN)

EUROPE = TilingScheme(
    crs=Crs(wkid=3035, latest_wkid=3035),
    origin_x=-8426600.0,
    origin_y=15876300.0,
    tile_width=TILE_PIXELS,
    tile_height=TILE_PIXELS,
    lods=tuple(
        Lod(level=n, resolution=scale / (PIXELS_PER_INCH * ESRI_INCHES_PER_METRE), scale=scale)
        for n, scale in enumerate(EUROPE_SCALES)
    ),
    dpi=PIXELS_PER_INCH,
)
"""ETRS89 / LAEA Europe: an origin far outside the map, and LODs in the ratios 1.4, 1.67, 1.5, 2, 2 and 2.5."""

EUROPE_EXTENT = Box(2_300_000.0, 1_200_000.0, 7_200_000.0, 5_600_000.0)
