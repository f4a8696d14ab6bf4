"""From block states to pixels: what a picture shows where, densities where tiles are smaller than pixels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harvester.edges import State
from harvester.tiling.scheme import Box, TilingScheme
from harvester.tiling.tile import BLOCK, BlockKey

if TYPE_CHECKING:
    from harvester.edges import States

Pixels = NDArray[np.uint8]

NOTHING, ABSENT, STORED, PENDING, FAILED = range(5)
"""What a pixel shows; where several hold, the largest wins, so that trouble is never hidden."""

SHOWN = np.zeros(max(State) + 1, dtype=np.uint8)
"""What a tile of each state shows."""
for _state, _shown in (
    (State.PENDING, PENDING),
    (State.STORED, STORED),
    (State.UNCHANGED, STORED),
    (State.ABSENT, ABSENT),
    (State.FAILED, FAILED),
):
    SHOWN[_state] = _shown

GRID_PIXELS = 9.0
"""Tiles at least this wide show their edges."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture's rectangle: its box in map units and its size in pixels; pixels are square."""

    box: Box
    width: int
    height: int

    @property
    def resolution(self) -> float:
        """Map units per pixel."""
        return (self.box.xmax - self.box.xmin) / self.width

    def pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points (n, 2) in map units as pixels, (0, 0) at the top left."""
        moved: NDArray[np.float64] = (points - (self.box.xmin, self.box.ymax)) / (self.resolution, -self.resolution)
        return moved


def frame_around(box: Box, width: int, height: int, share: float = 0.05) -> Frame:
    """A frame of exactly this size that shows all of a box, in its middle, with ``share`` of room around it."""
    wide, high = max(box.xmax - box.xmin, 1e-9), max(box.ymax - box.ymin, 1e-9)
    resolution = max(wide / width, high / height) * (1 + 2 * share)
    x, y = (box.xmin + box.xmax) / 2, (box.ymin + box.ymax) / 2
    half_width, half_height = width * resolution / 2, height * resolution / 2
    return Frame(Box(x - half_width, y - half_height, x + half_width, y + half_height), width, height)


@dataclass(slots=True)
class Level:
    """What is known of one level: the bounds of its planned tiles (rows and columns, inclusive) and tiles by state."""

    level: int
    top: int
    left: int
    bottom: int
    right: int
    counts: Counter[State] = field(default_factory=Counter)

    @property
    def planned(self) -> int:
        """Tiles in any state."""
        return self.counts.total()

    @property
    def stored(self) -> int:
        """Tiles that are in the cache."""
        return self.counts[State.STORED] + self.counts[State.UNCHANGED]

    def box(self, scheme: TilingScheme) -> Box:
        """The box of the planned tiles, in map units."""
        width, height = scheme.span(self.level)
        return Box(
            scheme.origin_x + self.left * width,
            scheme.origin_y - (self.bottom + 1) * height,
            scheme.origin_x + (self.right + 1) * width,
            scheme.origin_y - self.top * height,
        )


def survey(levels: dict[int, Level], key: BlockKey, states: States) -> None:
    """Add one block to what is known of its level."""
    planned = states != State.UNPLANNED
    rows, cols = np.flatnonzero(planned.any(axis=1)), np.flatnonzero(planned.any(axis=0))
    if not len(rows):
        return
    top, left = key.row + int(rows[0]), key.col + int(cols[0])
    bottom, right = key.row + int(rows[-1]), key.col + int(cols[-1])
    level = levels.get(key.level)
    if level is None:
        level = levels[key.level] = Level(key.level, top, left, bottom, right)
    level.top, level.left = min(level.top, top), min(level.left, left)
    level.bottom, level.right = max(level.bottom, bottom), max(level.right, right)
    for state, count in enumerate(np.bincount(states.reshape(-1), minlength=len(SHOWN))):
        if state != State.UNPLANNED and count:
            level.counts[State(state)] += int(count)


class Raster:
    """One level in one frame. Memory: a byte a pixel, nine where tiles are smaller than pixels."""

    def __init__(self, frame: Frame, scheme: TilingScheme, level: int) -> None:
        self._frame = frame
        self._scheme = scheme
        wide, high = scheme.span(level)
        self._tile_width, self._tile_height = wide / frame.resolution, high / frame.resolution
        self.shown: Pixels = np.zeros((frame.height, frame.width), dtype=np.uint8)
        """What each pixel shows (NOTHING .. FAILED); shape (height, width)."""
        self.grid = np.zeros((frame.height, frame.width), dtype=bool)
        """Edges of tiles, where they're large enough to be told apart."""
        self._planned: NDArray[np.int32] | None = None
        self._trouble: NDArray[np.int32] | None = None

    @property
    def has_large_tiles(self) -> bool:
        """True when every tile is at least a pixel."""
        return min(self._tile_width, self._tile_height) >= 1

    def share_of_trouble(self) -> NDArray[np.float32]:
        """Failed and pending tiles among the planned ones of each pixel, 0..1."""
        if self._planned is None or self._trouble is None:
            return (self.shown >= PENDING).astype(np.float32)
        share: NDArray[np.float32] = (self._trouble / np.maximum(self._planned, 1)).astype(np.float32)
        return share

    def add(self, key: BlockKey, states: States) -> None:
        """Show a block of this level."""
        width, height = self._scheme.span(key.level)
        corner = np.array([[self._scheme.origin_x + key.col * width, self._scheme.origin_y - key.row * height]])
        left, top = (float(value) for value in self._frame.pixels(corner)[0])
        if self.has_large_tiles:
            self._add_large(SHOWN[states], left, top)
        else:
            self._add_small(SHOWN[states], left, top)

    def _add_large(self, shown: Pixels, left: float, top: float) -> None:
        """Every pixel shows the tile that its middle lies in."""
        xs, cols = _middles(left, self._tile_width, self._frame.width)
        ys, rows = _middles(top, self._tile_height, self._frame.height)
        if not len(xs) or not len(ys):
            return
        here = (slice(ys[0], ys[-1] + 1), slice(xs[0], xs[-1] + 1))
        found = shown[np.ix_(rows, cols)]
        np.maximum(self.shown[here], found, out=self.shown[here])
        if min(self._tile_width, self._tile_height) >= GRID_PIXELS:
            edges = np.logical_or.outer(np.diff(rows, prepend=rows[0]) > 0, np.diff(cols, prepend=cols[0]) > 0)
            self.grid[here] |= edges & (found != NOTHING)

    def _add_small(self, shown: Pixels, left: float, top: float) -> None:
        """Every tile counts in the pixel that its middle lies in."""
        if self._planned is None or self._trouble is None:
            self._planned, self._trouble = (np.zeros(self.shown.shape, dtype=np.int32) for _ in range(2))
        rows, cols = np.nonzero(shown)
        x = np.floor(left + (cols + 0.5) * self._tile_width).astype(np.int64)
        y = np.floor(top + (rows + 0.5) * self._tile_height).astype(np.int64)
        inside = (x >= 0) & (x < self._frame.width) & (y >= 0) & (y < self._frame.height)
        x, y, values = x[inside], y[inside], shown[rows[inside], cols[inside]]
        np.maximum.at(self.shown, (y, x), values)
        np.add.at(self._planned, (y, x), 1)
        np.add.at(self._trouble, (y, x), values >= PENDING)


def _middles(start: float, tile: float, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels (0..size-1) whose middles lie in a block that starts at ``start``, and the tiles that they lie in."""
    first, last = max(0, int(np.floor(start))), min(size, int(np.ceil(start + BLOCK * tile)) + 1)
    pixels = np.arange(first, max(first, last))
    tiles = np.floor((pixels + 0.5 - start) / tile).astype(np.int64)
    inside = (tiles >= 0) & (tiles < BLOCK)
    return pixels[inside], tiles[inside]
