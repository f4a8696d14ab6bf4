"""The extent of tiles: the finest level says where it is, a coarser one only where it reaches further."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import rasterio

from harvester.caches.reach import Reach, extent_of
from harvester.tiling.scheme import Box, Lod
from harvester.tiling.tile import BlockKey, Tile
from tests.caches.making import WORLD, mercator
from tests.delta.making import make, some

SCHEME = mercator(range(8))


def reaches(*tiles):
    found = {}
    for level, row, col in tiles:
        reach, there = found.setdefault(level, Reach()), np.zeros((128, 128), dtype=bool)
        key = BlockKey(level, row // 128 * 128, col // 128 * 128)
        there[row - key.row, col - key.col] = True
        reach.add(key, there)
    return found


def box(*tile):
    return SCHEME.box(Tile(*tile))


def test_a_coarse_tile_hangs_over_without_being_the_extent():
    assert extent_of(SCHEME, reaches((0, 0, 0), (3, 2, 5), (5, 9, 21)), None) == box(5, 9, 21)


def test_a_coarse_tile_further_out_is_part_of_it():
    # Of the level 5 tile's own ancestors none; the level 3 tile lies three of its own to the right.
    found = extent_of(SCHEME, reaches((3, 2, 7), (5, 9, 16)), None)
    assert (found.xmin, found.ymin, found.ymax) == (box(5, 9, 16).xmin, box(5, 9, 16).ymin, box(5, 9, 16).ymax)
    assert found.xmax == box(3, 2, 7).xmax


def test_a_coarser_level_of_a_larger_area_is_the_extent_though_it_reaches_out_by_less_than_a_tile():
    found = extent_of(SCHEME, reaches((3, 2, 4), (3, 2, 5), (4, 5, 9), (5, 10, 19)), None)
    assert found == Box(box(3, 2, 4).xmin, box(3, 2, 4).ymin, box(3, 2, 5).xmax, box(3, 2, 4).ymax)


def test_a_small_area_meets_more_coarse_tiles_where_levels_lie_across_each_other():
    across = replace(
        SCHEME, lods=(Lod(level=0, resolution=300.0, scale=3e6), Lod(level=1, resolution=200.0, scale=2e6))
    )
    four = [(0, row, col) for row in (0, 1) for col in (0, 1)]
    found = extent_of(across, reaches(*four, (1, 1, 1)), None)
    assert found == across.box(Tile(1, 1, 1))


@pytest.mark.parametrize("format", ["mbtiles", "gpkg", "tpkx"])
def test_gdal_shows_all_of_a_state_around_its_project(tmp_path, format):
    state = some("5/9/16", "5/9/17", "5/10/16", "5/10/17", "6/20/33", "7/40/67", "8/80/135")
    path = make(tmp_path / f"out.{format}", state, format=format)
    with rasterio.open(path) as seen:
        left, bottom, right, top = seen.bounds
    first, last = box(5, 9, 16), box(5, 10, 17)
    assert (left, bottom, right, top) == pytest.approx((first.xmin, last.ymin, last.xmax, first.ymax), abs=1)


def test_the_source_s_extent_cuts_off_what_hangs_over_it_by_less_than_a_tile():
    whole = box(5, 9, 16)
    middle = (whole.xmin + whole.xmax) / 2
    assert extent_of(SCHEME, reaches((5, 9, 16)), Box(-WORLD, -WORLD, middle, WORLD)) == whole._replace(xmax=middle)


def test_tiles_outside_of_the_source_s_extent_are_not_cut_off():
    away = Box(-WORLD, -WORLD, box(5, 9, 14).xmax, WORLD)
    assert extent_of(SCHEME, reaches((5, 9, 16)), away) == box(5, 9, 16)


def test_without_tiles_there_is_no_extent():
    assert extent_of(SCHEME, {}, Box(0, 0, 1, 1)) is None
    assert extent_of(SCHEME, {3: Reach()}, None) is None


@pytest.mark.parametrize("empty_first", [True, False])
def test_blocks_add_up_and_empty_ones_add_nothing(empty_first):
    there = np.zeros((128, 128), dtype=bool)
    reach = Reach()
    if empty_first:
        reach.add(BlockKey(9, 0, 0), there)
    there[3, 100] = there[7, 120] = True
    reach.add(BlockKey(9, 128, 256), there)
    reach.add(BlockKey(9, 512, 0), np.zeros_like(there))
    assert reach == Reach(131, 135, 356, 376, 2)
    reach.add(BlockKey(9, 0, 384), there)
    assert reach == Reach(3, 135, 356, 504, 4)
    assert reach.moved(-3, 4) == Reach(0, 132, 360, 508, 4)
