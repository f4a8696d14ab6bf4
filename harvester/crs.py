"""Coordinate reference systems by wkid, latestWkid and WKT; the only importer of pyproj."""

from __future__ import annotations

from dataclasses import dataclass

WEB_MERCATOR_WKIDS = frozenset({3857, 102100, 102113, 900913, 3785})


@dataclass(frozen=True, slots=True, kw_only=True)
class Crs:
    """A CRS as a service states it: ``wkid`` (Esri's word), ``latest_wkid`` (EPSG's, where it differs), or ``wkt`` alone."""

    wkid: int | None = None
    latest_wkid: int | None = None
    wkt: str | None = None

    @property
    def is_web_mercator(self) -> bool:
        """True for EPSG:3857 under any of its numbers."""
        return bool({self.wkid, self.latest_wkid} & WEB_MERCATOR_WKIDS)

    def same_as(self, other: Crs) -> bool:
        """True when both name the same CRS, whatever number they use."""
        raise NotImplementedError
