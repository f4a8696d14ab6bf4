"""From block states to pixels."""

from __future__ import annotations

import numpy as np
import pytest

from harvester.coverage_picture.raster import (
    FAILED,
    NOTHING,
    PENDING,
    SHOWN,
    STORED,
    Frame,
    Level,
    Raster,
    frame_around,
    survey,
)
from harvester.crs import Crs
from harvester.edges import State
from harvester.tiling.scheme import Box, Lod, TilingScheme
from harvester.tiling.tile import BLOCK, BlockKey, Tile

SCHEME = TilingScheme(
    crs=Crs(wkid=26918, latest_wkid=26918),
    origin_x=-5000.0,
    origin_y=9000.0,
    tile_width=256,
    tile_height=512,
    lods=(Lod(level=0, resolution=3.7, scale=14000), Lod(level=1, resolution=1.0, scale=4000)),
)


def random_states(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, len(State), (BLOCK, BLOCK)).astype(np.uint8)


@pytest.mark.parametrize("seed", range(5))
def test_every_pixel_shows_the_tile_that_its_middle_lies_in(seed: int) -> None:
    """The slow way, pixel by pixel, is the oracle; frames cut blocks anywhere."""
    rng = np.random.default_rng(seed)
    blocks = {BlockKey(0, row, col): random_states(seed + row + col) for row in (0, 128) for col in (0, 128)}
    x, y = rng.uniform(-20_000, 200_000), rng.uniform(-400_000, 20_000)
    frame = frame_around(Box(x, y, x + 40_000, y + 30_000), 61, 47)
    raster = Raster(frame, SCHEME, 0)
    assert raster.has_large_tiles
    for key, states in blocks.items():
        raster.add(key, states)
    for row in range(frame.height):
        for col in range(frame.width):
            tile = SCHEME.tile_at(
                0,
                frame.box.xmin + (col + 0.5) * frame.resolution,
                frame.box.ymax - (row + 0.5) * frame.resolution,
            )
            key = BlockKey(0, tile.row & ~127, tile.col & ~127)
            expected = SHOWN[blocks[key].reshape(-1)[key.position(tile)]] if key in blocks else NOTHING
            assert raster.shown[row, col] == expected


def test_one_failed_tile_among_a_million_is_shown() -> None:
    states = np.full((BLOCK, BLOCK), State.STORED, dtype=np.uint8)
    broken = states.copy()
    broken[77, 3] = State.FAILED
    box = Level(1, 0, 0, 1279, 1279).box(SCHEME)
    raster = Raster(frame_around(box, 60, 60), SCHEME, 1)
    assert not raster.has_large_tiles
    for row in range(10):
        for col in range(10):
            raster.add(BlockKey(1, row * BLOCK, col * BLOCK), broken if (row, col) == (4, 6) else states)
    assert (raster.shown == FAILED).sum() == 1
    share = raster.share_of_trouble()
    assert 0 < share.max() < 0.02
    assert set(np.unique(raster.shown)) == {NOTHING, STORED, FAILED}


def test_small_tiles_are_counted_in_the_pixel_that_their_middle_lies_in() -> None:
    states = np.zeros((BLOCK, BLOCK), dtype=np.uint8)
    states[:64] = State.PENDING
    states[64:] = State.STORED
    box = Level(1, 0, 0, 127, 127).box(SCHEME)
    width, height = box.xmax - box.xmin, box.ymax - box.ymin
    raster = Raster(Frame(box, 16, round(16 * height / width)), SCHEME, 1)
    raster.add(BlockKey(1, 0, 0), states)
    half = raster.shown.shape[0] // 2
    assert (raster.shown[:half] == PENDING).all()
    assert (raster.shown[half:] == STORED).all()
    assert (raster.share_of_trouble()[:half] == 1).all()


def test_the_survey_knows_bounds_and_counts() -> None:
    levels: dict[int, Level] = {}
    survey(levels, BlockKey(1, 0, 0), np.zeros((BLOCK, BLOCK), dtype=np.uint8))
    assert levels == {}
    for key, tile, state in (
        (BlockKey(1, 0, 128), Tile(1, 5, 130), State.STORED),
        (BlockKey(1, 128, 0), Tile(1, 200, 7), State.UNCHANGED),
        (BlockKey(1, 128, 0), Tile(1, 201, 9), State.FAILED),
    ):
        states = np.zeros((BLOCK, BLOCK), dtype=np.uint8)
        states.reshape(-1)[key.position(tile)] = state
        survey(levels, key, states)
    level = levels[1]
    assert (level.top, level.left, level.bottom, level.right) == (5, 7, 201, 130)
    assert (level.planned, level.stored, level.counts[State.FAILED]) == (3, 2, 1)
    assert level.box(SCHEME) == Box(-5000 + 7 * 256, 9000 - 202 * 512, -5000 + 131 * 256, 9000 - 5 * 512)


def test_a_frame_shows_all_of_its_box_with_square_pixels() -> None:
    box = Box(10, 20, 110, 40)
    frame = frame_around(box, 300, 200)
    assert frame.box.xmin < 10 and frame.box.xmax > 110 and frame.box.ymin < 20 and frame.box.ymax > 40
    assert (frame.box.ymax - frame.box.ymin) / frame.height == pytest.approx(frame.resolution)
