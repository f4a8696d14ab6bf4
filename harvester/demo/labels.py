"""Where names are written: placed once per level in the pixels of the whole map, so that every tile agrees."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from harvester.crs import WGS84, projector
from harvester.demo.style import CITY, NAME, NAME_HALO, SEA_NAME, SEAS, TOWNS, Rgb
from harvester.demo.topology import World
from harvester.lettering import text_width, write
from harvester.tiling.scheme import TilingScheme

FIRST_CITY_ZOOM = 4.0
FIRST_TOWN_ZOOM = 6.0
FIRST_NAME_ZOOM = 1.5
"""From which zooms names are written; a scheme's zoom is that of the same ground resolution on web mercator."""

LARGEST_NAME_PIXELS = 26
SMALLEST_NAME_PIXELS = 11
UPPER_CASE_PIXELS = 14
"""Names this large are set in spaced capitals."""

CITY_PIXELS = 12
DOT_PIXELS = 3
ROOM_BETWEEN_PIXELS = 4


class Text(NamedTuple):
    """One name in the pixels of a level: top left of its text, or centre of a city's dot, and how it is drawn."""

    text: str
    x: int
    y: int
    size: int
    colour: Rgb
    halo: bool
    dot: tuple[int, int] | None
    box: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Lettering:
    """All names of one level."""

    texts: tuple[Text, ...]

    def draw(self, image: Image.Image, left: int, top: int) -> None:
        """Write what touches an image whose top left pixel is (left, top) of the level."""
        right, bottom = left + image.width, top + image.height
        canvas = ImageDraw.Draw(image)
        for text in self.texts:
            x0, y0, x1, y1 = text.box
            if x1 < left or y1 < top or x0 > right or y0 > bottom:
                continue
            if text.dot is not None:
                x, y = text.dot[0] - left, text.dot[1] - top
                canvas.ellipse((x - 3, y - 3, x + 3, y + 3), fill=CITY, outline=NAME_HALO)
            write(
                canvas, text.text, text.x - left, text.y - top, text.size, text.colour, NAME_HALO if text.halo else None
            )


def lettering(world: World, scheme: TilingScheme, level: int, zoom: float, worlds: int) -> Lettering:
    """Place names greedily, the more important first; what would touch another name is left out.

    ``worlds``: 1 where the map goes once around the earth (names near its edge are kept inside), else 0.
    """
    placed: list[Text] = []
    limit = round(2 * math.pi * 6378137 / scheme.by_level[level].resolution) if worlds else None
    for text in _candidates(world, scheme, level, zoom):
        if limit is not None and (text.box[0] < 0 or text.box[2] > limit):
            continue
        if not any(_touch(text.box, other.box) for other in placed):
            placed.append(text)
    return Lettering(tuple(placed))


def _candidates(world: World, scheme: TilingScheme, level: int, zoom: float) -> Iterator[Text]:
    resolution = scheme.by_level[level].resolution
    project = projector(WGS84, scheme.crs)

    def pixels(lons: list[float], lats: list[float]) -> list[tuple[float, float]]:
        x, y = project(np.array(lons), np.array(lats))
        return [
            (float(a), float(b))
            for a, b in zip((x - scheme.origin_x) / resolution, (scheme.origin_y - y) / resolution, strict=True)
        ]

    seas = [sea for sea in SEAS if sea.first_zoom <= round(zoom) <= sea.last_zoom]
    for sea, (x, y) in zip(seas, pixels([s.lon for s in seas], [s.lat for s in seas]), strict=True):
        if math.isfinite(x) and math.isfinite(y):
            yield _centred(_spaced(sea.name) if sea.name.isupper() else sea.name, x, y, sea.size, SEA_NAME, halo=False)
    if zoom < FIRST_NAME_ZOOM:
        return
    labels = world.labels
    middles = pixels([label.lon for label in labels], [label.lat for label in labels])
    edges = pixels([label.lon + label.radius / 2 for label in labels], [label.lat for label in labels])
    cities: list[Text] = []
    if zoom >= FIRST_CITY_ZOOM:
        names = [(city.name, city.lon, city.lat) for city in world.cities]
        if zoom >= FIRST_TOWN_ZOOM:
            names += TOWNS
        points = pixels([lon for _, lon, _ in names], [lat for _, _, lat in names])
        cities = [_city(name, x, y) for (name, _, _), (x, y) in zip(names, points, strict=True) if math.isfinite(x + y)]
    names_of_lands = []
    for label, (x, y), (ex, ey) in zip(labels, middles, edges, strict=True):
        room = 2 * math.hypot(ex - x, ey - y) if math.isfinite(x + y + ex + ey) else 0.0
        text = _land(label.name, x, y, room)
        if text is not None:
            names_of_lands.append(text)
    large = [text for text in names_of_lands if text.size >= UPPER_CASE_PIXELS]
    yield from large
    yield from cities
    yield from (text for text in names_of_lands if text.size < UPPER_CASE_PIXELS)


def _land(name: str, x: float, y: float, room: float) -> Text | None:
    """A country's name as large as ``room`` (pixels to either side) lets it be; None where it doesn't fit."""
    size = min(LARGEST_NAME_PIXELS, round(room * 2.3 / max(5, len(name)) * 1.35))
    if size < SMALLEST_NAME_PIXELS and room * 2.6 < text_width(name, SMALLEST_NAME_PIXELS):
        return None
    size = max(size, SMALLEST_NAME_PIXELS)
    if size >= UPPER_CASE_PIXELS:
        name = _spaced(name.upper())
        size = min(size, max(UPPER_CASE_PIXELS, round(size * 2.0 * room / text_width(name, size))))
    return _centred(name, x, y, size, NAME, halo=True)


def _city(name: str, x: float, y: float) -> Text:
    dot = (round(x), round(y))
    left, top = dot[0] + DOT_PIXELS + 4, dot[1] - CITY_PIXELS // 2 - 2
    box = (dot[0] - 4, top - 2, left + text_width(name, CITY_PIXELS) + 2, top + CITY_PIXELS + 4)
    return Text(name, left, top, CITY_PIXELS, CITY, True, dot, box)


def _centred(name: str, x: float, y: float, size: int, colour: Rgb, *, halo: bool) -> Text:
    lines = name.split("\n")
    width = max(text_width(line, size) for line in lines)
    height = (size + 4) * len(lines)
    left, top = round(x - width / 2), round(y - height / 2)
    return Text(name, left, top, size, colour, halo, None, (left - 2, top - 2, left + width + 2, top + height + 2))


def _spaced(name: str) -> str:
    return "\n".join(" ".join(line) if len(line) < 16 else line for line in name.split("\n"))


def _touch(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    gap = ROOM_BETWEEN_PIXELS
    return one[0] < other[2] + gap and other[0] < one[2] + gap and one[1] < other[3] + gap and other[1] < one[3] + gap
