"""The embedded map: a reader that draws the world, tile by tile, in any tiling scheme."""

from __future__ import annotations

import io
import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

from harvester.crs import WGS84, project_box
from harvester.demo import style
from harvester.demo.drawing import Sheet, draw, indexed, land_mask
from harvester.demo.labels import Lettering, lettering
from harvester.demo.schemes import EUROPE, EUROPE_EXTENT, MERCATOR, MERCATOR_EXTENT
from harvester.demo.topology import coarse_world, fine_world
from harvester.edges import ServiceInfo, TileFormat
from harvester.tiling.scheme import GOOGLE_WIDTH, Box, TilingScheme
from harvester.tiling.tile import BLOCK, BlockKey, Tile, block_of

if TYPE_CHECKING:
    from harvester.edges import Mask

ATTRIBUTION = "Made with Natural Earth"

METATILE = 4
"""Tiles are drawn in squares of 4 x 4: names and lines cross their borders, and shapes are cut once for sixteen."""

HELD_METATILES = 256
"""Drawn squares kept, about 64 kB each."""

FINE_ZOOM = 5.5
"""From this zoom the shapes at 1:10 million are drawn, before it those at 1:50 million."""

LAST_WHOLE_ZOOM = 6.5
"""Up to this zoom every tile of the extent is there; beyond, only those that show land: the open ocean is absent."""

MASK_PIXELS = 8
"""Pixels per tile, each way, of the picture that says where land is."""

COAST_PIXELS = 1
"""How far beyond its tile, in those pixels, land makes a tile present: no sea band along a coast is cut off."""

WINDOW_MARGIN_DEGREES = 25.0
"""Tiles at the edge of the extent show what is beyond it, at the coarsest level a good deal."""


class WorldMap:
    """The world in one tiling scheme, levels ``first``..``last``, inside ``extent`` (map units).

    Reads like a cache (``ServedCache``); safe to use from several threads. The same tile is the same bytes, always.
    """

    def __init__(self, scheme: TilingScheme, extent: Box, *, name: str, first: int, last: int) -> None:
        self.info = ServiceInfo(
            source=f"demo:{name}",
            identity=f"demo:{name}",
            kind="arcgis-map",
            name=name,
            scheme=scheme,
            extent=extent,
            tile_format=TileFormat.PNG,
            format_name="PNG8",
            min_lod=first,
            max_lod=last,
            attribution=ATTRIBUTION,
            description="Countries, coasts, lakes, rivers and cities of the world.",
            tilemap=True,
        )
        self._scheme = scheme
        self._extent = extent
        self._lock = threading.Lock()
        self._squares: OrderedDict[Tile, list[bytes]] = OrderedDict()
        self._sheets: dict[int, Sheet] = {}
        self._names: dict[int, Lettering] = {}
        self._masks: dict[BlockKey, Mask] = {}

    @classmethod
    def mercator(cls) -> WorldMap:
        """The whole world in web mercator, levels 0..9."""
        return cls(MERCATOR, MERCATOR_EXTENT, name="World", first=0, last=9)

    @classmethod
    def europe(cls) -> WorldMap:
        """Europe in its equal-area grid, all levels of ``schemes.EUROPE``."""
        return cls(EUROPE, EUROPE_EXTENT, name="Europe", first=0, last=len(EUROPE.lods) - 1)

    def levels(self) -> Sequence[int]:
        """Levels that hold tiles."""
        assert self.info.min_lod is not None and self.info.max_lod is not None
        return range(self.info.min_lod, self.info.max_lod + 1)

    def present(self, key: BlockKey) -> Mask:
        """Which tiles of a block there are; shape (128, 128)."""
        with self._lock:
            return self._present(key).copy()

    def read(self, level: int, row: int, col: int) -> bytes | None:
        """A tile as PNG with the palette of ``style``; None outside the extent and in the open ocean."""
        tile = Tile(level, row, col)
        with self._lock:
            key = block_of(tile)
            if not self._present(key)[row - key.row, col - key.col]:
                return None
            corner = Tile(level, row - row % METATILE, col - col % METATILE)
            square = self._squares.get(corner)
            if square is None:
                square = self._draw(corner)
                self._squares[corner] = square
                if len(self._squares) > HELD_METATILES:
                    self._squares.popitem(last=False)
            else:
                self._squares.move_to_end(corner)
            return square[row % METATILE * METATILE + col % METATILE]

    def zoom(self, level: int) -> float:
        """The web-mercator zoom of about the same ground resolution."""
        span = self._scheme.span(level)[0] * self._scheme.crs.metres_per_unit
        return math.log2(GOOGLE_WIDTH / span)

    def _draw(self, corner: Tile) -> list[bytes]:
        level, row, col = corner
        scheme, zoom = self._scheme, self.zoom(corner.level)
        first, last = scheme.box(corner), scheme.box(Tile(level, row + METATILE - 1, col + METATILE - 1))
        width, height = scheme.tile_width, scheme.tile_height
        box = Box(first.xmin, last.ymin, last.xmax, first.ymax)
        image = draw(self._sheet(level), box, METATILE * width, METATILE * height, zoom)
        self._lettering(level).draw(image, col * width, row * height)
        pixels = indexed(image)
        return [
            _png(pixels[r * height : (r + 1) * height, c * width : (c + 1) * width])
            for r in range(METATILE)
            for c in range(METATILE)
        ]

    def _sheet(self, level: int) -> Sheet:
        sheet = self._sheets.get(level)
        if sheet is None:
            whole = self._fine if self.zoom(level) >= FINE_ZOOM else self._coarse
            sheet = self._sheets[level] = whole.simplified(self._scheme.by_level[level].resolution)
        return sheet

    def _lettering(self, level: int) -> Lettering:
        names = self._names.get(level)
        if names is None:
            around = self._scheme.crs.is_web_mercator
            names = lettering(coarse_world(), self._scheme, level, self.zoom(level), int(around))
            self._names[level] = names
        return names

    @cached_property
    def _coarse(self) -> Sheet:
        return Sheet.of(coarse_world(), self._scheme.crs, self._window)

    @cached_property
    def _fine(self) -> Sheet:
        return Sheet.of(fine_world(), self._scheme.crs, self._window)

    @cached_property
    def _window(self) -> Box:
        """Longitudes and latitudes that the extent covers, and somewhat more."""
        west, south, east, north = project_box(self._extent, self._scheme.crs, WGS84)
        margin = WINDOW_MARGIN_DEGREES
        return Box(max(-180, west - margin), max(-90, south - margin), min(180, east + margin), min(90, north + margin))

    def _present(self, key: BlockKey) -> Mask:
        mask = self._masks.get(key)
        if mask is None:
            mask = self._masks[key] = self._look(key)
        return mask

    def _look(self, key: BlockKey) -> Mask:
        if key.level not in self.levels():
            return np.zeros((BLOCK, BLOCK), dtype=bool)
        scheme = self._scheme
        width, height = scheme.span(key.level)
        left = scheme.origin_x + (key.col + np.arange(BLOCK)) * width
        top = scheme.origin_y - (key.row + np.arange(BLOCK)) * height
        sliver = scheme.by_level[key.level].resolution * 0.01
        inside_x = (left + width > self._extent.xmin + sliver) & (left < self._extent.xmax - sliver)
        inside_y = (top > self._extent.ymin + sliver) & (top - height < self._extent.ymax - sliver)
        mask: Mask = np.logical_and.outer(inside_y, inside_x)
        if not mask.any() or self.zoom(key.level) <= LAST_WHOLE_ZOOM:
            return mask
        left_edge, top_edge = float(left[0]) - width, float(top[0]) + height
        image = land_mask(self._sheet(key.level), left_edge, top_edge, width / MASK_PIXELS, (BLOCK + 2) * MASK_PIXELS)
        near = np.asarray(image.filter(ImageFilter.MaxFilter(2 * COAST_PIXELS + 1)))
        land: Mask = near.reshape(BLOCK + 2, MASK_PIXELS, BLOCK + 2, MASK_PIXELS).max(axis=(1, 3)) > 0
        return mask & land[1:-1, 1:-1]


def _png(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    image = Image.fromarray(np.ascontiguousarray(pixels), "P")
    image.putpalette(style.palette().tobytes(), "RGB")
    held = io.BytesIO()
    image.save(held, "PNG", compress_level=6)
    return held.getvalue()
