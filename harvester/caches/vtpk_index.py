"""The tile index of a vector tile package (p12/tilemap/root.json): a quadtree of the tiles that are there.

Source: Esri's REST reference, "Vector Tilemap": ``{"index": NODE}``, the node of the one tile of level 0. A node is 0
(no tile), 1 (a tile without children; clients draw it at all scales below, too) or the nodes of its four children,
north-west, north-east, south-west, south-east. (2, a subtree in another file, is not written.)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from harvester.edges import CacheReader
from harvester.tiling.scheme import TilingScheme
from harvester.tiling.tile import BLOCK, BlockKey

Place = tuple[int, int]
"""A block's row and column among the blocks of its level."""

if TYPE_CHECKING:
    from harvester.edges import Mask

    Nodes = list[list[bytes]]
    """The nodes of one block's tiles, by row, then column."""

MAX_TILES = 20_000_000
"""Above this the index, some three bytes a tile, would fill memory here and in every app that opens the package; it is
optional, and without one apps ask for each tile."""

MAX_BLOCKS = 100_000
"""Of one level: each is read once more for the index."""

_HALVING = 1e-6
"""Relative: by how much a level's resolution may miss half of the one above."""


def render_index(
    reader: CacheReader, scheme: TilingScheme, *, most_tiles: int = MAX_TILES, most_blocks: int = MAX_BLOCKS
) -> bytes | None:
    """The index of a cache's tiles; None where its grid is no quadtree from one tile at level 0, or beyond limits."""
    levels = reader.levels()
    if not levels or not _is_quadtree(scheme, max(levels)):
        return None
    held: list[set[Place]] = [set() for _ in range(max(levels) + 1)]
    for level in levels:
        for count, key in enumerate(reader.blocks(level)):
            if count >= most_blocks or key.row >> max(level, 7) or key.col >> max(level, 7):
                return None
            held[level].add((key.row // BLOCK, key.col // BLOCK))
    tree = _Tree(reader, held, most_tiles)
    try:
        return b'{"index":' + tree.nodes(0, (0, 0))[0][0] + b"}"
    except _TooManyError:
        return None


def _is_quadtree(scheme: TilingScheme, deepest: int) -> bool:
    resolutions = {lod.level: lod.resolution for lod in scheme.lods}
    if any(level not in resolutions for level in range(deepest + 1)):
        return False
    return all(
        math.isclose(resolutions[level] * 2, resolutions[level - 1], rel_tol=_HALVING)
        for level in range(1, deepest + 1)
    )


class _TooManyError(Exception):
    """More tiles than an index is worth."""


class _Tree:
    """The nodes of a cache's tiles, block by block from the deepest up; only the blocks on one way down are in memory,
    beside the text that becomes of them."""

    def __init__(self, reader: CacheReader, held: list[set[Place]], most_tiles: int) -> None:
        self._most_tiles = most_tiles
        self._reader = reader
        self._held = held
        self._tiles = 0
        self._on_the_way = [set(places) for places in held]
        for level in range(len(held) - 1, 0, -1):
            self._on_the_way[level - 1] |= {(row // 2, col // 2) for row, col in self._on_the_way[level]}

    def nodes(self, level: int, place: Place) -> Nodes:
        """The nodes of one block's tiles: its own, with those of the four blocks below joined by four."""
        side = min(BLOCK, 1 << level)
        nodes = [[b"0"] * side for _ in range(side)]
        if place in self._held[level]:
            mask = self._reader.present(BlockKey(level, place[0] * BLOCK, place[1] * BLOCK))
            self._tiles += int(mask.sum())
            if self._tiles > self._most_tiles:
                raise _TooManyError
            nodes = [[b"1" if there else b"0" for there in line] for line in mask[:side, :side].tolist()]
        if level + 1 < len(self._held):
            parts = 1 if 2 * side < BLOCK else 2
            for down in range(parts):
                for right in range(parts):
                    below = place[0] * parts + down, place[1] * parts + right
                    if below in self._on_the_way[level + 1]:
                        half = min(BLOCK, 2 * side) // 2
                        _fold(self.nodes(level + 1, below), nodes, down * half, right * half)
        return nodes


def _fold(below: Nodes, nodes: Nodes, top: int, left: int) -> None:
    """Four nodes of a block become the node of the tile above them, from ``top``, ``left`` on."""
    for row in range(len(below) // 2):
        upper, lower = below[2 * row], below[2 * row + 1]
        line = nodes[top + row]
        for col in range(len(upper) // 2):
            four = upper[2 * col], upper[2 * col + 1], lower[2 * col], lower[2 * col + 1]
            if four != _NONE:
                line[left + col] = b"[%b,%b,%b,%b]" % four


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
