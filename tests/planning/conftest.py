"""Services to plan for: three real tiling schemes, stated in full."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harvester.crs import Crs
from harvester.edges import ServiceInfo, TileFormat
from harvester.tiling.scheme import GOOGLE_WIDTH, Box, Lod, TilingScheme

PHILADELPHIA = TilingScheme(
    crs=Crs(wkid=26918, latest_wkid=26918),
    origin_x=-5120900.0,
    origin_y=9998100.0,
    tile_width=256,
    tile_height=256,
    lods=tuple(
        Lod(level=level, resolution=resolution, scale=scale)
        for level, (resolution, scale) in enumerate(
            [
                (66.1459656252646, 250000.0),
                (33.0729828126323, 125000.0),
                (16.933367200067735, 64000.0),
                (8.466683600033868, 32000.0),
                (4.233341800016934, 16000.0),
            ]
        )
    ),
)

RIO = TilingScheme(
    crs=Crs(wkid=29193),
    origin_x=620000.0,
    origin_y=7500000.0,
    tile_width=256,
    tile_height=256,
    lods=(
        Lod(level=7, resolution=1.19299157699064, scale=4508.93552506767),
        Lod(level=8, resolution=0.529167725002117, scale=2000.0),
        Lod(level=9, resolution=0.264583862501058, scale=1000.0),
        Lod(level=10, resolution=0.132291931250529, scale=500.0),
    ),
)

GOOGLE = TilingScheme(
    crs=Crs(wkid=102100, latest_wkid=3857),
    origin_x=-20037508.342787,
    origin_y=20037508.342787,
    tile_width=256,
    tile_height=256,
    lods=tuple(Lod(level=z, resolution=GOOGLE_WIDTH / 256 / 2**z, scale=591657527.591555 / 2**z) for z in range(24)),
)

_BASE = ServiceInfo(
    source="https://gis.example.org/arcgis/rest/services/City/MapServer",
    identity="https://gis.example.org/arcgis/rest/services/city/mapserver",
    kind="arcgis-map",
    name="City",
    scheme=GOOGLE,
    extent=None,
    tile_format=TileFormat.PNG,
)

Service = Callable[..., ServiceInfo]


@pytest.fixture
def service() -> Service:
    """Makes a service document's facts: web mercator without an extent unless told otherwise."""

    def make(**changes: Any) -> ServiceInfo:
        return replace(_BASE, **changes)

    return make


@pytest.fixture
def philadelphia(service: Service) -> ServiceInfo:
    """UTM 18N, LODs that do not halve."""
    return service(scheme=PHILADELPHIA, extent=Box(475778.1084, 4412107.6188, 503695.1381, 4442655.9196))


@pytest.fixture
def rio(service: Service) -> ServiceInfo:
    """A positive origin, LODs from 7 with a ratio of 2.2545."""
    return service(scheme=RIO, extent=Box(625241.895556869, 7447280.49806509, 695432.246443131, 7484454.92088636))
