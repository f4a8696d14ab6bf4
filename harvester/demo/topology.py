"""Natural Earth as it lies in the data files: TopoJSON to shapely shapes in longitude and latitude."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

Coordinates = NDArray[np.float64]
"""Shape (n, 2): longitude, latitude in WGS 84 degrees."""

SEAM_DEGREES = 180.0
"""A step in longitude larger than this runs across the antimeridian."""

SMOOTHING_ROUNDS = 2
"""Corner cuttings of lakes and rivers, whose vertices lie on a grid of four kilometres."""


class Label(NamedTuple):
    """A country's name, where it is written, and how much room there is around it in degrees of longitude."""

    name: str
    lon: float
    lat: float
    radius: float


class City(NamedTuple):
    """A city; they're ordered from the largest."""

    name: str
    lon: float
    lat: float


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Shapes in WGS 84 degrees, as numpy arrays of shapely geometries."""

    countries: NDArray[Any]
    """Polygons without holes, the largest first, so that an enclave is drawn over the country around it."""
    colours: NDArray[np.int64]
    """Of each polygon: 0..6, neighbours differ; 7 is Antarctica."""
    coasts: NDArray[Any]
    borders: NDArray[Any]
    lakes: NDArray[Any]
    rivers: NDArray[Any]
    labels: tuple[Label, ...]
    cities: tuple[City, ...]


@lru_cache(maxsize=1)
def coarse_world() -> World:
    """The world at 1:50 million."""
    document = _read("coarse.topojson.gz")
    arcs = _arcs(document)
    objects = document["objects"]
    countries, colours, coasts, borders = _countries(objects["countries"]["geometries"], arcs)
    lakes = [
        shapely.polygons(smoothed(_ring(arcs, part[0]), closed=True)) for part in _parts(objects["lakes"]["geometries"])
    ]
    rivers = [
        shapely.linestrings(smoothed(_ring(arcs, line), closed=False))
        for line in _lines(objects["rivers"]["geometries"])
    ]
    return World(
        countries=countries,
        colours=colours,
        coasts=coasts,
        borders=borders,
        lakes=np.array(lakes),
        rivers=np.array(rivers),
        labels=tuple(Label(*row) for row in document["labels"]),
        cities=tuple(City(*row) for row in document["cities"]),
    )


@lru_cache(maxsize=1)
def fine_world() -> World:
    """Countries and coasts at 1:10 million; the rest as in ``coarse_world``."""
    document = _read("fine.topojson.gz")
    coarse = coarse_world()
    countries, colours, coasts, borders = _countries(document["objects"]["countries"]["geometries"], _arcs(document))
    return World(
        countries=countries,
        colours=colours,
        coasts=coasts,
        borders=borders,
        lakes=coarse.lakes,
        rivers=coarse.rivers,
        labels=coarse.labels,
        cities=coarse.cities,
    )


def smoothed(line: Coordinates, *, closed: bool) -> Coordinates:
    """A line with its corners cut (Chaikin 1974), its ends kept; a ring stays a ring."""
    for _ in range(SMOOTHING_ROUNDS):
        early, late = line[:-1] * 0.75 + line[1:] * 0.25, line[:-1] * 0.25 + line[1:] * 0.75
        cut = np.stack([early, late], axis=1).reshape(-1, 2)
        line = np.concatenate([cut, cut[:1]]) if closed else np.concatenate([line[:1], cut, line[-1:]])
    return line


def _read(name: str) -> dict[str, Any]:
    packed = resources.files("harvester.demo").joinpath("data", name).read_bytes()
    document: dict[str, Any] = json.loads(gzip.decompress(packed))
    return document


def _arcs(document: dict[str, Any]) -> list[Coordinates]:
    """Arcs are delta-encoded integers on a grid (TopoJSON specification, 2.1.2 and 2.1.3)."""
    scale, shift = np.array(document["transform"]["scale"]), np.array(document["transform"]["translate"])
    return [np.cumsum(np.array(arc), axis=0) * scale + shift for arc in document["arcs"]]


def _ring(arcs: list[Coordinates], indexes: list[int]) -> Coordinates:
    """Arcs joined end to end; ``~i`` means arc i backwards (TopoJSON specification, 2.1.4)."""
    pieces = [arcs[i] if i >= 0 else arcs[~i][::-1] for i in indexes]
    return np.concatenate([pieces[0], *(piece[1:] for piece in pieces[1:])])


def _parts(geometries: list[dict[str, Any]]) -> list[list[list[int]]]:
    """The polygons of polygons and multipolygons: lists of rings of arc indexes."""
    parts: list[list[list[int]]] = []
    for geometry in geometries:
        parts += [geometry["arcs"]] if geometry["type"] == "Polygon" else geometry["arcs"]
    return parts


def _lines(geometries: list[dict[str, Any]]) -> list[list[int]]:
    lines: list[list[int]] = []
    for geometry in geometries:
        lines += [geometry["arcs"]] if geometry["type"] == "LineString" else geometry["arcs"]
    return lines


def _countries(
    geometries: list[dict[str, Any]], arcs: list[Coordinates]
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[Any], NDArray[Any]]:
    rings, colours = [], []
    uses: Counter[int] = Counter()
    for geometry in geometries:
        for part in _parts([geometry]):
            uses.update(i if i >= 0 else ~i for ring in part for i in ring)
            outlines = _outlines(_ring(arcs, part[0]))
            rings += outlines
            colours += [geometry["properties"]["colour"]] * len(outlines)
    shapes = shapely.polygons(_many(rings, shapely.linearrings))
    broken = ~shapely.is_valid(shapes)
    shapes[broken] = shapely.make_valid(shapes[broken])
    order = np.argsort(-shapely.area(shapes), kind="stable")
    coasts = [line for i, count in sorted(uses.items()) if count == 1 for line in _strokes(arcs[i])]
    borders = [line for i, count in sorted(uses.items()) if count > 1 for line in _strokes(arcs[i])]
    return (
        shapes[order],
        np.array(colours)[order],
        _many(coasts, shapely.linestrings),
        _many(borders, shapely.linestrings),
    )


def _many(pieces: list[Coordinates], make: Any) -> NDArray[Any]:
    """One shape of each piece, made in one call."""
    made: NDArray[Any] = make(np.concatenate(pieces), indices=np.repeat(np.arange(len(pieces)), list(map(len, pieces))))
    return made


def _outlines(ring: Coordinates) -> list[Coordinates]:
    """Outlines inside -180..180 of one that may cross the antimeridian or go around the south pole."""
    if len(ring) < 4:
        return []
    if not _crosses(ring):
        return [ring]
    ring = _unrolled(ring)
    if abs(ring[-1, 0] - ring[0, 0]) > SEAM_DEGREES:
        ring = np.concatenate([ring, [[ring[-1, 0], -90.0], [ring[0, 0], -90.0], ring[0]]])
    return _cut(shapely.make_valid(shapely.polygons(ring)), dimensions=2)


def _strokes(arc: Coordinates) -> list[Coordinates]:
    """Lines inside -180..180 of an arc that may cross the antimeridian."""
    return _cut(shapely.linestrings(_unrolled(arc)), dimensions=1) if _crosses(arc) else [arc]


def _crosses(line: Coordinates) -> bool:
    return bool(np.ptp(line[:, 0]) > SEAM_DEGREES)


def _unrolled(line: Coordinates) -> Coordinates:
    """The same without jumps across the antimeridian: longitudes may leave -180..180."""
    step = np.diff(line[:, 0])
    turn = np.where(step > SEAM_DEGREES, -360.0, np.where(step < -SEAM_DEGREES, 360.0, 0.0))
    turns = np.concatenate([[0.0], np.cumsum(turn)])
    unrolled: Coordinates = line + np.column_stack([turns, np.zeros(len(line))])
    return unrolled


def _cut(shape: Any, *, dimensions: int) -> list[Coordinates]:
    """Coordinates of the parts of an unrolled shape, each moved to where it lies inside -180..180."""
    found: list[Coordinates] = []
    for shift in (-360.0, 0.0, 360.0):
        moved = shapely.transform(shape, lambda xy, by=shift: xy + np.array([by, 0.0]))
        for part in shapely.get_parts(shapely.intersection(moved, shapely.box(-180, -90, 180, 90))):
            if shapely.get_dimensions(part) == dimensions and not shapely.is_empty(part):
                outline = shapely.get_exterior_ring(part) if dimensions == 2 else part
                found.append(shapely.get_coordinates(outline))
    return found
