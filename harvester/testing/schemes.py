"""Tiling schemes and extents as real services state them: mercator, foreign origins, feet, degrees, odd ratios."""

from __future__ import annotations

from typing import NamedTuple

from harvester.crs import Crs
from harvester.tiling.scheme import Box, Lod, TilingScheme

INCHES_PER_METRE = 39.37
"""Inches in a metre as ArcGIS Server counts: its scales are resolution * 96 * 39.37."""

DPI = 96


class Grid(NamedTuple):
    """A tiling scheme, the full extent of a service on it, and the ``units`` word of its document."""

    name: str
    scheme: TilingScheme
    extent: Box
    units: str = "esriMeters"


def _halving(count: int, resolution: float, scale: float) -> tuple[Lod, ...]:
    return tuple(Lod(level=index, resolution=resolution / 2**index, scale=scale / 2**index) for index in range(count))


def _by_scale(scales: tuple[float, ...], inches_per_unit: float) -> tuple[Lod, ...]:
    """LODs whose resolutions follow from round scales at 96 dpi; ``inches_per_unit`` is the map unit's."""
    return tuple(
        Lod(level=level, resolution=scale / (DPI * inches_per_unit), scale=scale) for level, scale in enumerate(scales)
    )


_MERCATOR = Crs(wkid=102100, latest_wkid=3857)

WEB_MERCATOR = Grid(
    "web-mercator",
    TilingScheme(
        crs=_MERCATOR,
        origin_x=-20037508.342787,
        origin_y=20037508.342787,
        tile_width=256,
        tile_height=256,
        lods=_halving(24, 156543.03392800014, 591657527.591555),
    ),
    Box(-20037507.0671618, -20037507.0671618, 20037507.0671618, 20037507.0671618),
)
"""The scheme of ArcGIS Online: the Google grid, 24 LODs; Esri prints its origin 2.2 micrometres off."""

WEB_MERCATOR_512 = Grid(
    "web-mercator-512",
    TilingScheme(
        crs=_MERCATOR,
        origin_x=-20037508.342787,
        origin_y=20037508.342787,
        tile_width=512,
        tile_height=512,
        lods=_halving(23, 78271.51696400007, 295828763.7957775),
    ),
    WEB_MERCATOR.extent,
)
"""512-pixel tiles of the same world: level 0 is one tile, and level n has the tile span of Google zoom n."""

ARCMAP_DEFAULT = Grid(
    "arcmap-default",
    TilingScheme(
        crs=_MERCATOR,
        origin_x=-20037700.0,
        origin_y=30241100.0,
        tile_width=256,
        tile_height=256,
        lods=_by_scale((4000000.0, 2000000.0, 1000000.0, 500000.0, 250000.0), INCHES_PER_METRE),
    ),
    Box(1400000.0, 6800000.0, 1560000.0, 6960000.0),
)
"""Web mercator with the origin that ArcMap proposes by itself: these tiles are not Google's."""

UTM_PHILADELPHIA = Grid(
    "utm-philadelphia",
    TilingScheme(
        crs=Crs(wkid=26918, latest_wkid=26918),
        origin_x=-5120900.0,
        origin_y=9998100.0,
        tile_width=256,
        tile_height=256,
        lods=_by_scale((250000.0, 125000.0, 64000.0, 32000.0, 16000.0), INCHES_PER_METRE),
    ),
    Box(475778.10840000026, 4412107.618799999, 503695.13810000004, 4442655.9196),
)
"""NAD 83 / UTM 18N; level 1 to 2 has the ratio 1.9531. 6, 16, 56, 210, 783 tiles."""

RIO = Grid(
    "rio",
    TilingScheme(
        crs=Crs(wkid=29193),
        origin_x=620000.0,
        origin_y=7500000.0,
        tile_width=256,
        tile_height=256,
        lods=(
            *_halving(8, 152.702921854802, 577143.747208662),
            *(
                Lod(level=8 + index, resolution=resolution, scale=scale)
                for index, (resolution, scale) in enumerate(
                    ((0.529167725002117, 2000.0), (0.264583862501058, 1000.0), (0.132291931250529, 500.0))
                )
            ),
        ),
    ),
    Box(625241.895556869, 7447280.49806509, 695432.246443131, 7484454.92088636),
)
"""SAD 69 / UTM 23S with a positive origin x; level 7 to 8 has the ratio 2.2545."""

NZTM = Grid(
    "nztm",
    TilingScheme(
        crs=Crs(wkid=2193, latest_wkid=2193),
        origin_x=-4020900.0,
        origin_y=19998100.0,
        tile_width=512,
        tile_height=512,
        lods=_by_scale(
            (
                *(8000000.0, 6000000.0, 4000000.0, 3000000.0, 2000000.0, 1000000.0, 500000.0, 250000.0),
                *(125000.0, 75000.0, 50000.0, 20000.0, 10000.0, 5000.0, 2500.0),
            ),
            INCHES_PER_METRE,
        ),
    ),
    Box(1089970.0, 4747980.0, 2092000.0, 6194310.0),
)
"""NZGD 2000 / NZTM, 512 pixels, ratios 1.33, 1.5, 1.67, 2 and 2.5 in one scheme."""

US_FEET = Grid(
    "us-feet",
    TilingScheme(
        crs=Crs(wkid=2263),
        origin_x=700000.0,
        origin_y=440000.0,
        tile_width=512,
        tile_height=512,
        lods=_by_scale(
            (500000.0, 350000.0, 256000.0, 128000.0, 64000.0, 32000.0, 16000.0, 8000.0, 4000.0, 2000.0, 1000.0), 12.0
        ),
    ),
    Box(913000.0, 120000.0, 1068000.0, 273000.0),
    "esriFeet",
)
"""NAD 83 / New York Long Island in US feet, 512 pixels."""

GEOGRAPHIC = Grid(
    "geographic",
    TilingScheme(
        crs=Crs(wkid=4326, latest_wkid=4326),
        origin_x=-180.0,
        origin_y=90.0,
        tile_width=512,
        tile_height=512,
        lods=_halving(18, 0.3515625, 147748799.285417),
    ),
    Box(-180.0, -90.0, 180.0, 90.0),
    "esriDecimalDegrees",
)
"""WGS 84 degrees, 512 pixels: two tiles at level 0."""

GRIDS: dict[str, Grid] = {
    grid.name: grid
    for grid in (WEB_MERCATOR, WEB_MERCATOR_512, ARCMAP_DEFAULT, UTM_PHILADELPHIA, RIO, NZTM, US_FEET, GEOGRAPHIC)
}
"""Every grid by its name."""
