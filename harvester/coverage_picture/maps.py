"""Draws one map of a coverage picture: faded backdrop, tiles coloured by LOD, holes, outlines, scale bar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from harvester.coverage_picture.raster import ABSENT, FAILED, PENDING, STORED, Frame, Raster
from harvester.lettering import text_width, write
from harvester.tiling.scheme import TilingScheme

if TYPE_CHECKING:
    from harvester.coverage_picture import Backdrop

Rgb = tuple[int, int, int]

PAPER: Rgb = (252, 252, 250)
INK: Rgb = (34, 38, 42)
MUTED: Rgb = (104, 110, 116)
ALARM: Rgb = (214, 24, 32)
WAITING: Rgb = (245, 124, 0)
ABSENT_FILL: Rgb = (226, 228, 230)
ABSENT_HATCH: Rgb = (170, 175, 180)
EMPTY: Rgb = (238, 240, 241)
"""Behind the tiles where there is no backdrop."""

RAMP: tuple[Rgb, ...] = ((236, 214, 84), (139, 199, 94), (52, 165, 133), (38, 122, 150), (58, 76, 142), (70, 20, 96))
"""LODs from the coarsest to the finest; darker is finer, and no step is a red or an orange."""

STORED_STRENGTH = 0.52
GRID_STRENGTH = 0.22
EDGE_STRENGTH = 0.95
LEAST_TROUBLE_STRENGTH = 0.55
"""How much of a colour covers what is behind it."""

FADING = 0.35
GREYING = 0.6
"""How far the backdrop is faded to white, after that share of its colour is taken away."""

LARGE_PIXELS = 500
"""Maps this wide have thicker outlines."""

HATCH_PIXELS = 6
RING_CELL = 18
RING_RADIUS = 8
RING_LIMIT = 400
"""Holes of a few pixels are ringed, one ring in a cell of 18 x 18 pixels; more rings than these would hide the map."""

SMALL_HOLE_PIXELS = 60

MERCATOR_RADIUS = 6378137.0


def ramp(count: int) -> list[Rgb]:
    """Colours for this many LODs, from the coarsest to the finest."""
    colours = []
    for i in range(count):
        at = (i / (count - 1) if count > 1 else 0.6) * (len(RAMP) - 1)
        low = min(int(at), len(RAMP) - 2)
        share = at - low
        red, green, blue = (round(a + (b - a) * share) for a, b in zip(RAMP[low], RAMP[low + 1], strict=True))
        colours.append((red, green, blue))
    return colours


class Backdrops:
    """Faded backdrops, each frame drawn once."""

    def __init__(self, backdrop: Backdrop | None) -> None:
        self._backdrop = backdrop
        self._drawn: dict[Frame, NDArray[np.float32]] = {}

    def behind(self, frame: Frame) -> NDArray[np.float32]:
        """What is behind the tiles of a frame; shape (height, width, 3), a copy to draw on."""
        drawn = self._drawn.get(frame)
        if drawn is None:
            if self._backdrop is None:
                drawn = np.full((frame.height, frame.width, 3), EMPTY, dtype=np.float32)
            else:
                image = self._backdrop(frame.box, frame.width, frame.height)
                grey = Image.blend(image, image.convert("L").convert("RGB"), GREYING)
                faded = Image.blend(grey, Image.new("RGB", grey.size, (255, 255, 255)), FADING)
                drawn = np.asarray(faded, dtype=np.float32)
            self._drawn[frame] = drawn
        return drawn.copy()


def draw_map(
    frame: Frame, rasters: Sequence[tuple[Raster, Rgb]], backdrops: Backdrops, outlines: Sequence[Any]
) -> Image.Image:
    """One map: rasters of LODs from the coarsest to the finest, each over the one before it, and trouble over all."""
    pixels = backdrops.behind(frame)
    top = np.zeros((frame.height, frame.width), dtype=np.int16)
    single = len(rasters) == 1
    for i, (raster, _) in enumerate(rasters, start=1):
        top[raster.shown == STORED] = i
        if single:
            _hatch(pixels, raster.shown == ABSENT)
    for i, (raster, colour) in enumerate(rasters, start=1):
        here = top == i
        _cover(pixels, here, colour, STORED_STRENGTH)
        _cover(pixels, here & raster.grid, (255, 255, 255), GRID_STRENGTH)
        _cover(pixels, _edge(here), tuple(round(part * 0.7) for part in colour), EDGE_STRENGTH)
    for kind, colour in ((PENDING, WAITING), (FAILED, ALARM)):
        for raster, _ in rasters:
            here = raster.shown == kind
            if here.any():
                strength = LEAST_TROUBLE_STRENGTH + (1 - LEAST_TROUBLE_STRENGTH) * raster.share_of_trouble()[here]
                pixels[here] += (np.array(colour, dtype=np.float32) - pixels[here]) * strength[:, None]
    image = Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8), "RGB")
    canvas = ImageDraw.Draw(image)
    for outline in outlines:
        _outline(canvas, frame, outline)
    for kind, colour in ((PENDING, WAITING), (FAILED, ALARM)):
        _rings(canvas, [raster.shown == kind for raster, _ in rasters], colour)
    canvas.rectangle((0, 0, frame.width - 1, frame.height - 1), outline=(150, 156, 162))
    return image


def draw_scale_bar(image: Image.Image, frame: Frame, scheme: TilingScheme) -> None:
    """A bar of a round number of kilometres or metres, true in the middle of the map."""
    middle = (frame.box.ymin + frame.box.ymax) / 2
    metres = frame.resolution * scheme.crs.metres_per_unit
    if scheme.crs.is_web_mercator:
        metres /= math.cosh(max(-math.pi, min(math.pi, middle / MERCATOR_RADIUS)))
    elif scheme.crs.is_geographic:
        metres *= math.cos(math.radians(max(-89.0, min(89.0, middle))))
    length = _round_below(metres * frame.width / 5)
    width = round(length / metres)
    canvas = ImageDraw.Draw(image)
    x, y = 14, frame.height - 22
    text = f"{length / 1000:,g} km" if length >= 1000 else f"{length:,g} m"
    canvas.rectangle((x - 6, y - 20, x + max(width, text_width(text, 12)) + 8, y + 10), fill=(255, 255, 255))
    canvas.line((x, y - 4, x, y + 4, x + width, y + 4, x + width, y - 4), fill=INK, width=2)
    write(canvas, text, x + 4, y - 16, 12, INK)


def _round_below(value: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that isn't larger."""
    power = 10.0 ** math.floor(math.log10(value))
    return max(step * power for step in (1, 2, 5) if step * power <= value * (1 + 1e-9))


def _cover(pixels: NDArray[np.float32], where: NDArray[np.bool_], colour: Sequence[int], strength: float) -> None:
    pixels[where] += (np.array(colour, dtype=np.float32) - pixels[where]) * strength


def _hatch(pixels: NDArray[np.float32], where: NDArray[np.bool_]) -> None:
    _cover(pixels, where, ABSENT_FILL, 0.75)
    stripes = np.add.outer(np.arange(where.shape[0]), np.arange(where.shape[1])) % HATCH_PIXELS == 0
    _cover(pixels, where & stripes, ABSENT_HATCH, 0.9)


def _edge(where: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of a region that have a neighbour outside it; the picture's border is no edge."""
    padded = np.pad(where, 1, mode="edge")
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    edge: NDArray[np.bool_] = where & ~inner
    return edge


def _outline(canvas: ImageDraw.ImageDraw, frame: Frame, shape: Any) -> None:
    for line in shapely.boundary(_polygons(shape)):
        for part in shapely.get_parts(line):
            points = [(float(x), float(y)) for x, y in frame.pixels(shapely.get_coordinates(part))]
            if frame.width >= LARGE_PIXELS:
                canvas.line(points, fill=(255, 255, 255), width=4)
            canvas.line(points, fill=INK, width=2 if frame.width >= LARGE_PIXELS else 1)


def _polygons(shape: Any) -> NDArray[Any]:
    """The parts of a shape, of collections in collections too."""
    parts = shapely.get_parts(shapely.get_parts(shape))
    polygons: NDArray[Any] = parts[shapely.get_dimensions(parts) == 2]
    return polygons


def _rings(canvas: ImageDraw.ImageDraw, holes: Sequence[NDArray[np.bool_]], colour: Rgb) -> None:
    """Rings around small holes, so that a single tile is seen in a large map."""
    joined = np.logical_or.reduce(holes) if holes else np.zeros((1, 1), dtype=bool)
    height, width = (-(-side // RING_CELL) * RING_CELL for side in joined.shape)
    padded = np.zeros((height, width), dtype=bool)
    padded[: joined.shape[0], : joined.shape[1]] = joined
    cells = padded.reshape(height // RING_CELL, RING_CELL, width // RING_CELL, RING_CELL).sum(axis=(1, 3))
    small = np.argwhere((cells > 0) & (cells < SMALL_HOLE_PIXELS))
    for row, col in small[:RING_LIMIT]:
        inside = padded[row * RING_CELL : (row + 1) * RING_CELL, col * RING_CELL : (col + 1) * RING_CELL]
        ys, xs = np.nonzero(inside)
        x, y = col * RING_CELL + xs.mean(), row * RING_CELL + ys.mean()
        for radius, fill, thick in ((RING_RADIUS + 1, (255, 255, 255), 4), (RING_RADIUS, colour, 2)):
            canvas.ellipse((x - radius, y - radius, x + radius, y + radius), outline=fill, width=thick)
