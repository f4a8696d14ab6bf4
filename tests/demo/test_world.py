"""The embedded world map: the same bytes always, real absences, and a picture that shows what it should."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from harvester.crs import WEB_MERCATOR, WGS84, projector
from harvester.demo import style
from harvester.demo.schemes import EUROPE, EUROPE_EXTENT, MERCATOR
from harvester.demo.world import METATILE, WorldMap
from harvester.tiling.scheme import Box
from harvester.tiling.tile import BLOCK, BlockKey, Tile, block_of


@pytest.fixture(scope="module")
def world() -> WorldMap:
    return WorldMap.mercator()


@pytest.fixture(scope="module")
def europe() -> WorldMap:
    return WorldMap.europe()


def pixel(map_: WorldMap, level: int, lon: float, lat: float) -> tuple[int, int, int]:
    """The colour that a map shows at a place."""
    scheme = map_.info.scheme
    x, y = projector(WGS84, scheme.crs)(np.array([lon]), np.array([lat]))
    tile = scheme.tile_at(level, float(x[0]), float(y[0]))
    body = map_.read(*tile)
    assert body is not None, f"{tile} is absent"
    box = scheme.box(tile)
    resolution = scheme.by_level[level].resolution
    at = (int((float(x[0]) - box.xmin) / resolution), int((box.ymax - float(y[0])) / resolution))
    red, green, blue = Image.open(io.BytesIO(body)).convert("RGB").getpixel(at)
    return red, green, blue


def tiles(map_: WorldMap, level: int, rows: range, cols: range) -> Iterator[tuple[Tile, bytes | None]]:
    for row in rows:
        for col in cols:
            yield Tile(level, row, col), map_.read(level, row, col)


def test_a_tile_is_a_256_pixel_png_with_a_palette(world: WorldMap) -> None:
    for tile in (Tile(0, 0, 0), Tile(3, 2, 4), Tile(9, 146, 271)):
        body = world.read(*tile)
        assert body is not None
        image = Image.open(io.BytesIO(body))
        assert (image.format, image.mode, image.size) == ("PNG", "P", (256, 256))


def test_the_same_tile_is_the_same_bytes_whatever_was_drawn_before(world: WorldMap) -> None:
    asked = [Tile(2, 1, 2), Tile(5, 8, 17), Tile(7, 37, 67)]
    first = [world.read(*tile) for tile in asked]
    fresh = WorldMap.mercator()
    assert [fresh.read(*tile) for tile in reversed(asked)] == first[::-1]


def test_the_same_tile_is_the_same_bytes_in_another_process(world: WorldMap) -> None:
    program = (
        "import hashlib; from harvester.demo.world import WorldMap; "
        "print(hashlib.sha256(WorldMap.mercator().read(4, 4, 8)).hexdigest())"
    )
    import hashlib

    body = world.read(4, 4, 8)
    assert body is not None
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout.strip() == hashlib.sha256(body).hexdigest()


def test_neighbouring_tiles_drawn_apart_meet_without_a_seam(world: WorldMap) -> None:
    """The pixels beside a border between two squares differ no more than pixels inside do, on average."""
    level, row, border = 5, 9, METATILE * 4
    left, right = world.read(level, row, border - 1), world.read(level, row, border)
    assert left is not None and right is not None
    west, east = (np.asarray(Image.open(io.BytesIO(b)).convert("L")).astype(int) for b in (left, right))
    across = np.abs(west[:, -1] - east[:, 0]).mean()
    inside = max(np.abs(np.diff(west, axis=1)).mean(axis=0).max(), np.abs(np.diff(east, axis=1)).mean(axis=0).max())
    assert across <= inside


def test_zoomed_out_every_tile_of_the_world_is_there(world: WorldMap) -> None:
    for level in range(4):
        size = 2**level
        assert world.present(BlockKey(level, 0, 0))[:size, :size].all()
        assert world.present(BlockKey(level, 0, 0)).sum() == size * size


def test_the_open_ocean_is_absent_when_zoomed_in_and_land_is_not(world: WorldMap) -> None:
    to_mercator = projector(WGS84, WEB_MERCATOR)
    lons, lats = np.array([-30.0, -140.0, 10.75, 25.0]), np.array([40.0, -30.0, 59.91, 62.0])
    x, y = to_mercator(lons, lats)
    found = [world.read(*MERCATOR.tile_at(8, float(a), float(b))) is not None for a, b in zip(x, y, strict=True)]
    assert found == [False, False, True, True]


def test_what_is_present_can_be_read_and_what_is_not_cannot(world: WorldMap, europe: WorldMap) -> None:
    for map_, level, rows, cols in (
        (world, 7, range(34, 40), range(62, 70)),
        (world, 6, range(60, 66), range(60, 66)),
        (europe, 2, range(9, 17), range(9, 19)),
    ):
        for tile, body in tiles(map_, level, rows, cols):
            key = block_of(tile)
            assert (body is not None) == map_.present(key)[tile.row - key.row, tile.col - key.col], tile


def test_levels_beyond_the_last_hold_nothing(world: WorldMap) -> None:
    assert not world.present(BlockKey(10, 0, 0)).any()
    assert world.read(10, 300, 500) is None
    assert world.present(BlockKey(10, 0, 0)).shape == (BLOCK, BLOCK)


def test_land_sea_and_lakes_have_their_colours(world: WorldMap, europe: WorldMap) -> None:
    for map_, level in ((world, 6), (europe, 3)):
        assert pixel(map_, level, 3.0, 54.9) == style.SEA  # North Sea
        assert pixel(map_, level, 13.3, 58.9) == style.WATER  # Vänern
        assert pixel(map_, level, 14.5, 60.2) in style.LANDS  # Dalarna
        assert pixel(map_, level, 22.6, 51.3) in style.LANDS  # Lublin


def test_countries_that_cross_the_antimeridian_are_whole(world: WorldMap) -> None:
    """Chukotka lies on both sides of it; the Pacific and the Atlantic at its latitude don't turn into land."""
    assert pixel(world, 4, -175.0, 66.5) in style.LANDS
    assert pixel(world, 4, 175.0, 66.5) in style.LANDS
    assert pixel(world, 4, -35.0, 57.0) == style.SEA
    assert pixel(world, 3, 20.0, -82.0) == style.LANDS[7]


def test_neighbouring_countries_differ_in_colour(world: WorldMap) -> None:
    norway, sweden, finland = (
        pixel(world, 6, 8.5, 61.7),
        pixel(world, 6, 16.5, 62.9),
        pixel(world, 6, 26.5, 63.6),
    )
    assert len({norway, sweden, finland}) == 3


def test_the_european_grid_is_foreign_and_does_not_halve(europe: WorldMap) -> None:
    assert all(EUROPE.google(lod.level) is None for lod in EUROPE.lods)
    ratios = {round(a.resolution / b.resolution, 2) for a, b in zip(EUROPE.lods, EUROPE.lods[1:], strict=False)}
    assert len(ratios - {2.0}) >= 3
    first = EUROPE.tile_at(0, EUROPE_EXTENT.xmin, EUROPE_EXTENT.ymax)
    assert first.row > 0 and first.col > 0
    assert europe.read(*first) is not None
    assert europe.read(0, 0, 0) is None


def test_tiles_that_only_touch_the_extent_are_absent() -> None:
    box = MERCATOR.box(Tile(5, 10, 16))
    map_ = WorldMap(MERCATOR, Box(*box), name="One", first=5, last=5)
    mask = map_.present(BlockKey(5, 0, 0))
    assert [tuple(at) for at in np.argwhere(mask)] == [(10, 16)]


def test_the_map_speaks_of_its_source_and_makes_small_tiles(world: WorldMap) -> None:
    assert world.info.attribution == "Made with Natural Earth"
    assert (world.info.min_lod, world.info.max_lod) == (0, 9)
    bodies = [body for _, body in tiles(world, 8, range(72, 80), range(132, 140)) if body]
    assert bodies
    assert sum(map(len, bodies)) / len(bodies) < 8_000
