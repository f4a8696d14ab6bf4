"""Draws a rectangle of the world in any CRS as an image of palette indexes: fills, sea bands, lines, names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from harvester.crs import WGS84, Crs, projector
from harvester.demo import style
from harvester.demo.topology import World
from harvester.tiling.scheme import Box

Points = NDArray[np.float64]
"""Shape (n, 2): x, y."""

LAND_END = style.LAND_INDEX + len(style.LANDS)

OVERSAMPLING = 2
"""Pixels drawn per pixel shown, each way: what smooths the edges."""

SHELF_PIXELS = 9
"""Radius in which the sea grows lighter towards a coast."""

SHELF_DIVISOR = 2
"""The land is blurred at half the size: a quarter of the work, and nothing of it is sharp."""

SHELF_THRESHOLDS = (16, 62, 112)
"""Grey values of the blurred land, 0..255, from which the bands begin."""

KEEP_PIXELS = 4
"""Shapes are cut this far outside the picture, so that cut edges are not seen."""

SHORTEST_LINE_PIXELS = 0.35
"""Shapes are simplified by less than this, which nobody sees."""

LAND_GRATICULE_ZOOM = 6.5
"""From this zoom the graticule goes over the land too: so close, the land would be empty."""

GRATICULE_STEPS = (30, 10, 5, 1)

WINDOW_STEP_DEGREES = 1.0
"""How densely edges along the window's border are projected, since they bend."""


@dataclass(frozen=True, slots=True)
class Shapes:
    """Projected shapes of one kind with their search tree; ``values`` goes with them."""

    shapes: NDArray[Any]
    values: NDArray[np.int64]
    tree: shapely.STRtree

    @classmethod
    def of(cls, shapes: NDArray[Any], values: NDArray[np.int64] | None = None) -> Shapes:
        """Search-tree over shapes; empty ones are dropped."""
        kept = ~(shapely.is_empty(shapes) | shapely.is_missing(shapes))
        shapes = shapes[kept]
        return cls(shapes, np.zeros(len(shapes), np.int64) if values is None else values[kept], shapely.STRtree(shapes))

    def touching(self, box: Box) -> NDArray[np.int64]:
        """Indexes of the shapes whose bounds meet a box, in their own order."""
        return np.sort(self.tree.query(shapely.box(*box)))

    def simplified(self, tolerance: float) -> Shapes:
        """The same with vertices dropped, in map units; shapes that vanish are dropped."""
        simple = shapely.simplify(self.shapes, tolerance, preserve_topology=False)
        return Shapes.of(simple, self.values)


@dataclass(frozen=True, slots=True)
class Sheet:
    """All that is drawn, projected to one CRS."""

    countries: Shapes
    coasts: Shapes
    borders: Shapes
    lakes: Shapes
    rivers: Shapes
    graticules: dict[int, Shapes]

    @classmethod
    def of(cls, world: World, crs: Crs, window: Box) -> Sheet:
        """Cut the world to a window (longitude and latitude) and project it."""
        return cls(
            countries=_projected(world.countries, crs, window, world.colours),
            coasts=_projected(world.coasts, crs, window),
            borders=_projected(world.borders, crs, window),
            lakes=_projected(world.lakes, crs, window),
            rivers=_projected(world.rivers, crs, window),
            graticules={step: _projected(_graticule(step), crs, window) for step in GRATICULE_STEPS},
        )

    def simplified(self, resolution: float) -> Sheet:
        """As much as one can see at a resolution (map units per pixel)."""
        tolerance = resolution * SHORTEST_LINE_PIXELS
        return Sheet(
            countries=self.countries.simplified(tolerance),
            coasts=self.coasts.simplified(tolerance),
            borders=self.borders.simplified(tolerance),
            lakes=self.lakes.simplified(tolerance),
            rivers=self.rivers.simplified(tolerance),
            graticules=self.graticules,
        )


def draw(sheet: Sheet, box: Box, width: int, height: int, zoom: float) -> Image.Image:
    """A box in map units as an RGB image of width x height pixels, without names."""
    return _Picture(sheet, box, width, height, zoom).image()


def land_mask(sheet: Sheet, left: float, top: float, resolution: float, side: int) -> Image.Image:
    """Where land is, as a square of ``side`` pixels of 0 and 1, each ``resolution`` map units wide, edges included."""
    box = Box(left, top - side * resolution, left + side * resolution, top)
    image = Image.new("L", (side, side), 0)
    canvas = ImageDraw.Draw(image)
    for ring, _ in _rings(sheet.countries, box, left, top, resolution):
        canvas.polygon(_floored(ring), fill=1, outline=1)
    return image


def indexed(image: Image.Image) -> NDArray[np.uint8]:
    """An RGB image as indexes into the palette; shape (height, width)."""
    pixels = np.asarray(image)
    cut = 8 - style.LUT_BITS
    cells = (pixels[..., 0] >> cut).astype(np.uint16) << (2 * style.LUT_BITS)
    cells |= (pixels[..., 1] >> cut).astype(np.uint16) << style.LUT_BITS
    cells |= pixels[..., 2] >> cut
    found: NDArray[np.uint8] = style.nearest()[cells]
    return found


class _Picture:
    """One picture being drawn: oversampled indexes, with a margin that the sea bands reach into."""

    def __init__(self, sheet: Sheet, box: Box, width: int, height: int, zoom: float) -> None:
        self._sheet = sheet
        self._zoom = zoom
        self._size = (width, height)
        self._resolution = (box.xmax - box.xmin) / width
        self._margin = 2 * SHELF_PIXELS
        grown = self._margin * self._resolution
        self._left, self._top = box.xmin - grown, box.ymax + grown
        cut = grown + KEEP_PIXELS * self._resolution
        self._box = Box(box.xmin - cut, box.ymin - cut, box.xmax + cut, box.ymax + cut)

    def image(self) -> Image.Image:
        width, height = (side + 2 * self._margin for side in self._size)
        lands = self._rings_of(self._sheet.countries)
        image = self._sea(lands, width, height)
        canvas = ImageDraw.Draw(image)
        lines = self._sheet.graticules[style.graticule_step(self._zoom)]
        self._stroke(canvas, lines, style.GRATICULE_INDEX, 1)
        for ring, colour in lands:
            canvas.polygon(_scaled(ring, OVERSAMPLING), fill=style.LAND_INDEX + colour)
        if self._zoom >= LAND_GRATICULE_ZOOM:
            image = self._lines_over_land(image, lines)
            canvas = ImageDraw.Draw(image)
        fine = self._zoom >= 5
        if self._zoom >= 3:
            self._stroke(canvas, self._sheet.rivers, style.RIVER_INDEX, 3 if self._zoom >= 6 else 2 if fine else 1)
        for ring, _ in self._rings_of(self._sheet.lakes):
            outline = _scaled(ring, OVERSAMPLING)
            canvas.polygon(outline, fill=style.WATER_INDEX)
            canvas.line([*outline, *outline[:2]], fill=style.RIVER_INDEX, width=2 if fine else 1)
        self._stroke(canvas, self._sheet.borders, style.BORDER_INDEX, 3 if fine else 2)
        self._stroke(canvas, self._sheet.coasts, style.COAST_INDEX, 2)
        rgb = image.convert("RGB").reduce(OVERSAMPLING)
        return rgb.crop((self._margin, self._margin, width - self._margin, height - self._margin))

    def _lines_over_land(self, image: Image.Image, lines: Shapes) -> Image.Image:
        """The graticule once more, in its colour for land, where the picture shows land: pixel by pixel along it."""
        found = lines.touching(self._box)
        if not len(found):
            return image
        parts = shapely.get_parts(shapely.clip_by_rect(lines.shapes[found], *self._box))
        dots = shapely.segmentize(parts, self._resolution / OVERSAMPLING)
        points = _pixels(shapely.get_coordinates(dots), self._left, self._top, self._resolution) * OVERSAMPLING
        x, y = np.floor(points).astype(np.int64).T
        inside = (x >= 0) & (x < image.width) & (y >= 0) & (y < image.height)
        x, y = x[inside], y[inside]
        pixels = np.array(image)
        land = (pixels[y, x] >= style.LAND_INDEX) & (pixels[y, x] < LAND_END)
        pixels[y[land], x[land]] = style.LAND_GRATICULE_INDEX
        return _indexes(pixels)

    def _sea(self, lands: list[tuple[Points, int]], width: int, height: int) -> Image.Image:
        """The sea with its bands along the coasts: the land blurred, and cut at grey values."""
        mask = Image.new("L", (width // SHELF_DIVISOR, height // SHELF_DIVISOR), 0)
        canvas = ImageDraw.Draw(mask)
        for ring, _ in lands:
            canvas.polygon(_scaled(ring, 1 / SHELF_DIVISOR), fill=255)
        size = (width * OVERSAMPLING, height * OVERSAMPLING)
        darkest, lightest = mask.getextrema()
        if darkest != lightest:
            radius = SHELF_PIXELS / SHELF_DIVISOR / 2
            blurred = mask.filter(ImageFilter.BoxBlur(radius)).filter(ImageFilter.BoxBlur(radius))
            table = [sum(grey >= threshold for threshold in SHELF_THRESHOLDS) for grey in range(256)]
            bands = blurred.resize((width, height), Image.Resampling.BILINEAR).point(table)
            return _indexes(np.asarray(bands.resize(size, Image.Resampling.NEAREST)))
        return _indexes(np.zeros((size[1], size[0]), dtype=np.uint8))

    def _rings_of(self, shapes: Shapes) -> list[tuple[Points, int]]:
        return _rings(shapes, self._box, self._left, self._top, self._resolution)

    def _stroke(self, canvas: ImageDraw.ImageDraw, shapes: Shapes, index: int, width: int) -> None:
        found = shapes.touching(self._box)
        if not len(found):
            return
        for line in shapely.get_parts(shapely.clip_by_rect(shapes.shapes[found], *self._box)):
            points = _scaled(
                _pixels(shapely.get_coordinates(line), self._left, self._top, self._resolution), OVERSAMPLING
            )
            if len(points) >= 4:
                canvas.line(points, fill=index, width=width, joint="curve" if width > 2 else None)


def _indexes(pixels: NDArray[np.uint8]) -> Image.Image:
    """Indexes into ``style.BASES`` as an image that can be drawn on."""
    image = Image.frombytes("P", (pixels.shape[1], pixels.shape[0]), pixels.tobytes())
    image.putpalette(np.array(style.BASES, dtype=np.uint8).tobytes(), "RGB")
    return image


def _rings(shapes: Shapes, box: Box, left: float, top: float, resolution: float) -> list[tuple[Points, int]]:
    """Outlines that meet a box, cut to it, in pixels from (left, top), with their values."""
    rings: list[tuple[Points, int]] = []
    for i in shapes.touching(box):
        for part in shapely.get_parts(shapely.clip_by_rect(shapes.shapes[i], *box)):
            ring = shapely.get_exterior_ring(part)
            if ring is not None:
                rings.append((_pixels(shapely.get_coordinates(ring), left, top, resolution), int(shapes.values[i])))
    return rings


def _pixels(coordinates: Points, left: float, top: float, resolution: float) -> Points:
    moved: Points = (coordinates - (left, top)) * (1 / resolution, -1 / resolution)
    return moved


def _floored(points: Points) -> list[float]:
    flat: list[float] = np.floor(points).reshape(-1).tolist()
    return flat


def _scaled(points: Points, factor: float) -> list[float]:
    flat: list[float] = np.rint(points * factor).reshape(-1).tolist()
    return flat


def _projected(shapes: NDArray[Any], crs: Crs, window: Box, values: NDArray[np.int64] | None = None) -> Shapes:
    near = shapely.STRtree(shapes).query(shapely.box(*window))
    near.sort()
    project = projector(WGS84, crs)
    cut = shapely.clip_by_rect(shapes[near], *window)
    parts, owners = shapely.get_parts(cut, return_index=True)
    some = shapely.length(parts) > 0
    parts, owners = parts[some], owners[some]
    if not crs.is_web_mercator:
        parts = shapely.segmentize(parts, WINDOW_STEP_DEGREES)

    def move(coordinates: Points) -> Points:
        return np.column_stack(project(coordinates[:, 0], coordinates[:, 1]))

    return Shapes.of(shapely.transform(parts, move), None if values is None else values[near][owners])


def _graticule(step: int) -> NDArray[Any]:
    along = np.arange(-180, 181, min(step, 5))
    up = np.arange(-85, 86, 1)
    meridians = [np.column_stack([np.full(len(up), lon), up]) for lon in range(-180, 181, step)]
    parallels = [np.column_stack([along, np.full(len(along), lat)]) for lat in range(-90 + step, 90, step)]
    return np.array([shapely.linestrings(line) for line in (*meridians, *parallels)])
