"""A tiling scheme as its service states it, and whether its tiles are web-mercator XYZ tiles: by arithmetic, never by
hope."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from harvester.crs import Crs
from harvester.tiling.tile import Tile

GOOGLE_ORIGIN = 20037508.342789244
"""Half the circumference of the web-mercator sphere in metres: pi * 6378137."""

GOOGLE_WIDTH = 2 * GOOGLE_ORIGIN

GRID_TOLERANCE = 1e-4
"""Tiles by which an origin may miss the Google grid. Esri prints 20037508.342787, 2.2 micrometres off: 0.0000005
tiles at zoom 23."""

SPAN_TOLERANCE = 1e-6
"""Relative error of a tile span that still is a power of two of the world. Over 2**23 columns resolution errors add up,
so the far edge is checked too (``GRID_TOLERANCE``)."""

MAX_GOOGLE_ZOOM = 30


class Box(NamedTuple):
    """An axis-parallel box in the units of some CRS."""

    xmin: float
    ymin: float
    xmax: float
    ymax: float


class GooglePlace(NamedTuple):
    """Where a level lies on the Google (XYZ) grid: its zoom, and what to add to its rows and columns."""

    zoom: int
    row_offset: int
    col_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lod:
    """One level of detail: the service's own ``level`` number, ``resolution`` in map units per pixel, ``scale``
    denominator."""

    level: int
    resolution: float
    scale: float


@dataclass(frozen=True, kw_only=True)
class TilingScheme:
    """CRS, top-left origin, tile size in pixels and LODs from the coarsest to the finest.

    Nothing is recomputed from scale or dpi: ``resolution`` is taken as given, since Esri's scales follow two
    conventions
    and LODs need not halve.
    """

    crs: Crs
    origin_x: float
    origin_y: float
    tile_width: int
    tile_height: int
    lods: tuple[Lod, ...]
    dpi: float = 96.0

    @cached_property
    def by_level(self) -> dict[int, Lod]:
        """LOD by its level number."""
        return {lod.level: lod for lod in self.lods}

    def span(self, level: int) -> tuple[float, float]:
        """Width and height of a tile of this level, in map units."""
        resolution = self.by_level[level].resolution
        return resolution * self.tile_width, resolution * self.tile_height

    def box(self, tile: Tile) -> Box:
        """The box of a tile in map units, computed from the origin so that neighbours share their edge to the last
        bit."""
        width, height = self.span(tile.level)
        return Box(
            self.origin_x + tile.col * width,
            self.origin_y - (tile.row + 1) * height,
            self.origin_x + (tile.col + 1) * width,
            self.origin_y - tile.row * height,
        )

    def tile_at(self, level: int, x: float, y: float) -> Tile:
        """The tile that holds a point in map units; on a grid line, the one to the right and below."""
        width, height = self.span(level)
        return Tile(level, math.floor((self.origin_y - y) / height), math.floor((x - self.origin_x) / width))

    def google(self, level: int) -> GooglePlace | None:
        """Where this level lies on the Google grid, or None when its tiles are no XYZ tiles.

        By tile span, so a 512-pixel level at resolution 156543.03/2**n is zoom n-1.
        """
        if not self.crs.is_web_mercator or self.tile_width != self.tile_height:
            return None
        span, _ = self.span(level)
        exact = math.log2(GOOGLE_WIDTH / span)
        zoom = round(exact)
        if not 0 <= zoom <= MAX_GOOGLE_ZOOM or abs(exact - zoom) > SPAN_TOLERANCE:
            return None
        if abs(GOOGLE_WIDTH - span * 2**zoom) / span > 2**zoom * SPAN_TOLERANCE:
            return None
        true_span = GOOGLE_WIDTH / 2**zoom
        cols = (self.origin_x + GOOGLE_ORIGIN) / true_span
        rows = (GOOGLE_ORIGIN - self.origin_y) / true_span
        if abs(cols - round(cols)) > GRID_TOLERANCE or abs(rows - round(rows)) > GRID_TOLERANCE:
            return None
        return GooglePlace(zoom, round(rows), round(cols))

    def mismatch(self, other: TilingScheme) -> str | None:
        """The first field in which two schemes place tiles differently, in words; None when their tiles are the same.

        LODs are compared where both have the level: a service that adds a level keeps its cache.
        """
        if not self.crs.same_as(other.crs):
            return f"CRS {self.crs} is not {other.crs}"
        if (self.tile_width, self.tile_height) != (other.tile_width, other.tile_height):
            ours_size, their_size = (f"{one.tile_width} x {one.tile_height}" for one in (self, other))
            return f"tile size {ours_size} is not {their_size} pixels"
        shared = self.by_level.keys() & other.by_level.keys()
        if not shared:
            return "no LOD in common"
        finest = min(min(self.by_level[level].resolution, other.by_level[level].resolution) for level in shared)
        for name, ours, theirs in (
            ("origin x", self.origin_x, other.origin_x),
            ("origin y", self.origin_y, other.origin_y),
        ):
            if abs(ours - theirs) > finest * 0.01:
                return f"{name} {ours!r} is not {theirs!r}"
        for level in sorted(shared):
            ours, theirs = self.by_level[level].resolution, other.by_level[level].resolution
            if abs(ours - theirs) > 1e-7 * max(ours, theirs):
                return f"resolution of LOD {level} {ours!r} is not {theirs!r}"
        return None
