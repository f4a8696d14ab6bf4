"""The tile index of a vector tile package (p12/tilemap/root.json): a quadtree of the tiles that are there.

Source: Esri's REST reference, "Vector Tilemap": ``{"index": NODE}``, the node of the one tile of level 0. A node is 0
(no tile), 1 (a tile without children; clients draw it at all scales below, too) or the nodes of its four children,
north-west, north-east, south-west, south-east. (2, a subtree in another file, is not written.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from harvester.edges import CacheReader
from harvester.tiling.scheme import TilingScheme
from harvester.tiling.tile import BLOCK, BlockKey

if TYPE_CHECKING:
    from harvester.edges import Mask

    Nodes = list[list[bytes]]
    """The nodes of one block's tiles, by row, then column."""

MAX_TILES = 20_000_000
"""Above this the index, some three bytes a tile, would fill memory here and in every app that opens the package; it is
optional, and without one apps ask for each tile."""

_HALVING = 1e-6
"""Relative: by how much a level's resolution may miss half of the one above."""


def render_index(reader: CacheReader, scheme: TilingScheme) -> bytes | None:
    """The index of a cache's tiles; None where its grid is no quadtree from one tile at level 0, or above MAX_TILES."""
    levels = reader.levels()
    if not levels or not _is_quadtree(scheme, max(levels)):
        return None
    masks: dict[int, dict[tuple[int, int], Mask]] = {}
    tiles = 0
    for level in levels:
        for key in reader.blocks(level):
            if key.row >> max(level, 7) or key.col >> max(level, 7):
                return None
            mask = reader.present(key)
            tiles += int(mask.sum())
            if tiles > MAX_TILES:
                return None
            masks.setdefault(level, {})[key.row // BLOCK, key.col // BLOCK] = mask
    return b'{"index":' + _root(masks, max(levels)) + b"}"


def _is_quadtree(scheme: TilingScheme, deepest: int) -> bool:
    resolutions = {lod.level: lod.resolution for lod in scheme.lods}
    if any(level not in resolutions for level in range(deepest + 1)):
        return False
    return all(
        math.isclose(resolutions[level] * 2, resolutions[level - 1], rel_tol=_HALVING)
        for level in range(1, deepest + 1)
    )


def _root(masks: Mapping[int, Mapping[tuple[int, int], Mask]], deepest: int) -> bytes:
    """Blocks from the deepest level up: each becomes a grid of nodes, the four of a tile joined into its own."""
    below: dict[tuple[int, int], Nodes] = {}
    for level in range(deepest, -1, -1):
        here: dict[tuple[int, int], Nodes] = {}
        held = masks.get(level, {})
        places = {*held, *((row // 2, col // 2) for row, col in below)}
        side = min(BLOCK, 1 << level)
        for place in places:
            mask = held.get(place)
            here[place] = _nodes(place, side, mask, below, min(BLOCK, 2 << level))
        below = here
    return below[0, 0][0][0]


def _nodes(
    place: tuple[int, int],
    side: int,
    mask: Mask | None,
    below: Mapping[tuple[int, int], Nodes],
    side_below: int,
) -> Nodes:
    """The nodes of one block of a level, from its tiles and the nodes of the blocks below."""
    nodes = (
        [[b"0"] * side for _ in range(side)]
        if mask is None
        else [[b"1" if there else b"0" for there in line] for line in mask[:side, :side].tolist()]
    )
    half = side_below // 2
    parts = 1 if side_below < BLOCK else 2
    for down in range(parts):
        for right in range(parts):
            found = below.get((place[0] * parts + down, place[1] * parts + right))
            if found is None:
                continue
            for row in range(half):
                upper, lower = found[2 * row], found[2 * row + 1]
                line = nodes[down * half + row]
                for col in range(half):
                    four = upper[2 * col], upper[2 * col + 1], lower[2 * col], lower[2 * col + 1]
                    if four != _NONE:
                        line[right * half + col] = b"[%b,%b,%b,%b]" % four
    return nodes


_NONE = (b"0", b"0", b"0", b"0")


def parse_index(document: object, key: BlockKey) -> Mask | None:
    """Which tiles of a block an index names; None where it is none, or leads to another file there."""
    root = document.get("index") if isinstance(document, dict) else None
    if root is None:
        return None
    mask = np.zeros((BLOCK, BLOCK), np.bool_)
    pending: list[tuple[object, int, int, int]] = [(root, 0, 0, 0)]
    while pending:
        node, level, row, col = pending.pop()
        if node == 0:
            continue
        steps = key.level - level
        top, left, reach = key.row >> steps, key.col >> steps, max(1, BLOCK >> steps)
        if not (top <= row < top + reach and left <= col < left + reach):
            continue
        if steps == 0:
            if node not in (1, 2) and not isinstance(node, list):
                return None
            mask[row - key.row, col - key.col] = True
        elif isinstance(node, list) and len(node) == 4:
            pending += [
                (child, level + 1, 2 * row + number // 2, 2 * col + number % 2) for number, child in enumerate(node)
            ]
        elif node != 1:
            return None
    return mask
