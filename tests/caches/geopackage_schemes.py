"""A tiling scheme for GeoPackage tests whose steps change between the levels of the contract suite."""

from __future__ import annotations

from harvester.crs import Crs
from harvester.tiling.scheme import Lod, TilingScheme


def odd_steps() -> TilingScheme:
    """UTM 18N; levels 0..8 halve, 9..12 halve, and the step between is 2.5."""
    resolutions = [*(500.0 / 2**n for n in range(9)), *(500.0 / 2**8 / 2.5 / 2**n for n in range(4))]
    return TilingScheme(
        crs=Crs(wkid=26918, latest_wkid=26918),
        origin_x=-5120900,
        origin_y=9998100,
        tile_width=256,
        tile_height=256,
        lods=tuple(Lod(level=n, resolution=r, scale=r * 96 * 39.37) for n, r in enumerate(resolutions)),
    )
