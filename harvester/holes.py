"""Failed and pending tiles as polygons with a ``level``, exact enough to be the next run's AOI."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from harvester.crs import Crs, projector
from harvester.edges import State
from harvester.tiling.outline import SNAP
from harvester.tiling.rings import outlines
from harvester.tiling.runs import Runs
from harvester.tiling.scheme import TilingScheme
from harvester.tiling.tile import BLOCK, BlockKey

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harvester.edges import States

HOLES = {State.FAILED: "failed", State.PENDING: "pending"}


def holes(blocks: Iterable[tuple[BlockKey, States]], scheme: TilingScheme, reasons: dict[int, str]) -> dict[str, Any]:
    """A GeoJSON FeatureCollection: one MultiPolygon for each LOD and state, with ``level``, ``state``, ``tiles``.

    Web mercator becomes longitude/latitude (RFC 7946), where tile edges stay straight; any other CRS is kept and
    named in a ``crs`` member, since its tile edges would bend. So is every CRS where a tile lies wholly beyond the
    antimeridian or a pole: ``wrap`` is false there, for such a tile is another than that at the other end of the world.
    ``reasons`` says by level why tiles failed.
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
    half = scheme.crs.half_world
    ends = None if half is None or not _meet_world(boxes, scheme, half) else half
    lonlat = scheme.crs.is_web_mercator and ends is not None
    wrap = {} if half is None or ends is not None else {"wrap": False}
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
                **wrap,
                **({"reason": reasons[level]} if state is State.FAILED and level in reasons else {}),
            },
            "geometry": _geometry(np.concatenate(boxes[level, state]), scheme, level, ends, lonlat=lonlat),
        }
        for level, state in sorted(boxes, key=lambda place: (order.get(place[0], place[0]), place[1]))
    ]
    return collection


def _meet_world(
    boxes: dict[tuple[int, State], list[NDArray[np.int64]]], scheme: TilingScheme, half: tuple[float, float]
) -> bool:
    """Whether more of every tile lies in the world, -half to half, than is lost by snapping."""
    origin, firsts = (scheme.origin_x, -scheme.origin_y), (1, 0)
    return all(
        start + (parts[:, first].min() + 1 - SNAP) * span > -end
        and start + (parts[:, first + 2].max() - 1 + SNAP) * span < end
        for (level, _), found in boxes.items()
        for start, first, span, end in zip(origin, firsts, scheme.span(level), half, strict=True)
        for parts in found
    )


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


def _geometry(
    boxes: NDArray[np.int64], scheme: TilingScheme, level: int, ends: tuple[float, float] | None, *, lonlat: bool
) -> dict[str, Any]:
    """Traced in whole tile numbers, where it is exact, then placed on the map."""
    row0, col0, row1, col1 = boxes.T
    parts = outlines(Runs.from_bands(row0, row1 - 1, col0, col1 - 1))
    width, height = scheme.span(level)
    if ends is not None:
        # An edge of more than 180 degrees would be read as one that crosses the antimeridian (RFC 7946, 3.1.9).
        parts = shapely.segmentize(parts, ends[0] / 2 / width)
    to_lonlat = projector(scheme.crs, Crs.from_epsg(4326)) if lonlat else None

    def place(points: NDArray[np.float64]) -> NDArray[np.float64]:
        x = scheme.origin_x + points[:, 0] * width
        y = scheme.origin_y - points[:, 1] * height
        if ends is not None:
            # What a tile at the grid's end has beyond the antimeridian would be read as land at the other end, and what
            # it has beyond a pole as no place. One line of the grid at most lies beyond each end, so no two become the
            # same.
            x, y = np.clip(x, -ends[0], ends[0]), np.clip(y, -ends[1], ends[1])
        if to_lonlat is not None:
            x, y = to_lonlat(x, y)
        return np.column_stack([x, y])

    # Outlines turn clockwise where y grows downwards, so on the map counter-clockwise, as RFC 7946, 3.1.6, asks.
    _, coordinates, (rings, polygons) = shapely.to_ragged_array(shapely.transform(parts, place))
    points = coordinates.tolist()
    lines = [points[first:last] for first, last in pairwise(rings.tolist())]
    return {"type": "MultiPolygon", "coordinates": [lines[first:last] for first, last in pairwise(polygons.tolist())]}


def _crs_name(crs: Crs) -> str:
    authority, _, code = str(crs).partition(":")
    return f"urn:ogc:def:crs:{authority}::{code}" if code.isdigit() else crs.wkt or str(crs)
