"""The world as a backdrop for pictures of caches, in any CRS."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from harvester.crs import WGS84, Crs, project_box, projector
from harvester.demo.drawing import Sheet, draw
from harvester.demo.job import AREAS, area_bytes
from harvester.demo.topology import coarse_world, fine_world
from harvester.errors import HarvesterError
from harvester.tiling.scheme import GOOGLE_WIDTH, Box

if TYPE_CHECKING:
    from PIL import Image

FINE_ZOOM = 6.0
TILE_PIXELS = 256
MARGIN_DEGREES = 5.0


def demo_outlines(crs: Crs) -> tuple[Any, ...]:
    """The demo's areas as shapely geometries in a CRS, for the outlines of a coverage picture."""
    project = projector(WGS84, crs)
    shapes = [shapely.from_geojson(area_bytes(name)) for name in AREAS]
    return tuple(shapely.transform(shape, lambda xy: np.column_stack(project(xy[:, 0], xy[:, 1]))) for shape in shapes)


class WorldBackdrop:
    """Draws land, water and borders without names; a ``Backdrop`` of coverage pictures."""

    def __init__(self, crs: Crs) -> None:
        self._crs = crs

    def __call__(self, box: Box, width: int, height: int) -> Image.Image:
        """A box in map units as an RGB image; plain where the CRS can't tell what lies in the box."""
        from PIL import Image

        try:
            west, south, east, north = project_box(box, self._crs, WGS84)
        except HarvesterError:
            return Image.new("RGB", (width, height), (235, 238, 240))
        margin = MARGIN_DEGREES
        window = Box(
            max(-180, west - margin), max(-90, south - margin), min(180, east + margin), min(90, north + margin)
        )
        resolution = (box.xmax - box.xmin) / width
        zoom = math.log2(GOOGLE_WIDTH / (resolution * self._crs.metres_per_unit * TILE_PIXELS))
        world = fine_world() if zoom >= FINE_ZOOM else coarse_world()
        return draw(Sheet.of(world, self._crs, window).simplified(resolution), box, width, height, zoom)
