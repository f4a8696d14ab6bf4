"""Failed and pending tiles as polygons with a ``level``, exact enough to be the next run's AOI."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from shapely.geometry import polygon

from harvester.crs import Crs, projector
from harvester.edges import State
from harvester.tiling.scheme import GOOGLE_WIDTH, TilingScheme
from harvester.tiling.tile import BLOCK, BlockKey

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harvester.edges import States

HOLES = {State.FAILED: "failed", State.PENDING: "pending"}


def holes(blocks: Iterable[tuple[BlockKey, States]], scheme: TilingScheme, reasons: dict[int, str]) -> dict[str, Any]:
    """A GeoJSON FeatureCollection: one MultiPolygon for each LOD and state, with ``level``, ``state``, ``tiles``.

    Web mercator becomes longitude/latitude (RFC 7946), where tile edges stay straight; any other CRS is kept and
    named in
    a ``crs`` member, since its tile edges would bend. ``reasons`` gives the commonest failure by level.
    """
    boxes: dict[tuple[int, State], list[NDArray[np.int64]]] = {}
    tiles: dict[tuple[int, State], int] = {}
    for key, states in blocks:
        for state in HOLES:
            found = states == state
            number = int(found.sum())
            if number:
                place = (key.level, state)
                tiles[place] = tiles.get(place, 0) + number
                boxes.setdefault(place, []).append(_boxes(key, found))
    lonlat = scheme.crs.is_web_mercator and all(
        scheme.origin_x + parts[:, 1].min() * scheme.span(level)[0] >= -GOOGLE_WIDTH / 2 - 1
        and scheme.origin_x + parts[:, 3].max() * scheme.span(level)[0] <= GOOGLE_WIDTH / 2 + 1
        for (level, _), found in boxes.items()
        for parts in found
    )
    collection: dict[str, Any] = {"type": "FeatureCollection"}
    if not lonlat:
        collection["crs"] = {"type": "name", "properties": {"name": _crs_name(scheme.crs)}}
    order = {lod.level: place for place, lod in enumerate(scheme.lods)}
    collection["features"] = [
        {
            "type": "Feature",
            "properties": {
                "level": level,
                "state": HOLES[state],
                "tiles": tiles[level, state],
                **({"reason": reasons[level]} if state is State.FAILED and level in reasons else {}),
            },
            "geometry": _geometry(np.concatenate(boxes[level, state]), scheme, level, lonlat=lonlat),
        }
        for level, state in sorted(boxes, key=lambda place: (order.get(place[0], place[0]), place[1]))
    ]
    return collection


def _boxes(key: BlockKey, found: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rectangles (row0, col0, row1, col1; ends exclusive) that cover the tiles of one block: a whole block is one."""
    if found.all():
        return np.array([[key.row, key.col, key.row + BLOCK, key.col + BLOCK]], dtype=np.int64)
    padded = np.zeros((BLOCK, BLOCK + 2), dtype=np.int8)
    padded[:, 1:-1] = found
    change = np.diff(padded, axis=1)
    rows, first = np.nonzero(change == 1)
    _, last = np.nonzero(change == -1)
    return np.column_stack([rows + key.row, first + key.col, rows + key.row + 1, last + key.col]).astype(np.int64)


def _geometry(boxes: NDArray[np.int64], scheme: TilingScheme, level: int, *, lonlat: bool) -> dict[str, Any]:
    """The union in whole tile numbers, where it is exact, then placed on the map."""
    row0, col0, row1, col1 = boxes.T
    union = shapely.union_all(shapely.box(col0, row0, col1, row1))
    width, height = scheme.span(level)
    if lonlat:
        # An edge of more than 180 degrees would be read as one that crosses the antimeridian (RFC 7946, 3.1.9).
        union = shapely.segmentize(union, GOOGLE_WIDTH / 4 / width)
    to_lonlat = projector(scheme.crs, Crs.from_epsg(4326)) if lonlat else None

    def place(points: NDArray[np.float64]) -> NDArray[np.float64]:
        x = scheme.origin_x + points[:, 0] * width
        y = scheme.origin_y - points[:, 1] * height
        if to_lonlat is not None:
            x, y = to_lonlat(x, y)
        return np.column_stack([x, y])

    placed = shapely.transform(union, place)
    parts = [placed] if placed.geom_type == "Polygon" else list(_polygons(placed))
    return {
        "type": "MultiPolygon",
        "coordinates": [[_ring(ring) for ring in (part.exterior, *part.interiors)] for part in map(_oriented, parts)],
    }


def _polygons(geometry: Any) -> Iterator[Any]:
    return (part for part in shapely.get_parts(geometry) if part.geom_type == "Polygon")


def _oriented(part: Any) -> Any:
    """Outer rings counter-clockwise, as RFC 7946 asks."""
    return polygon.orient(part)


def _ring(ring: Any) -> list[list[float]]:
    return [[float(x), float(y)] for x, y in shapely.get_coordinates(ring)]


def _crs_name(crs: Crs) -> str:
    authority, _, code = str(crs).partition(":")
    return f"urn:ogc:def:crs:{authority}::{code}" if code.isdigit() else crs.wkt or str(crs)
