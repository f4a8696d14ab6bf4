"""Coordinate reference systems by wkid, latestWkid and WKT; the only importer of pyproj."""

from __future__ import annotations

from harvester.crs.project import project_box, projector
from harvester.crs.record import (
    MERCATOR_HALF_WIDTH,
    MERCATOR_MAX_LATITUDE,
    WEB_MERCATOR,
    WEB_MERCATOR_WKIDS,
    WGS84,
    Crs,
    local_equidistant,
)

__all__ = [
    "MERCATOR_HALF_WIDTH",
    "MERCATOR_MAX_LATITUDE",
    "WEB_MERCATOR",
    "WEB_MERCATOR_WKIDS",
    "WGS84",
    "Crs",
    "local_equidistant",
    "project_box",
    "projector",
]
