"""The whole picture: holes are seen, whatever the size of the cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from PIL import Image

from harvester.coverage_picture import Backdrop, draw_coverage
from harvester.coverage_picture.maps import ALARM, WAITING
from harvester.crs import WEB_MERCATOR, Crs
from harvester.edges import State
from harvester.errors import CacheError
from harvester.tiling.scheme import Box, Lod, TilingScheme
from harvester.tiling.tile import BLOCK, BlockKey

UTM = TilingScheme(
    crs=Crs(wkid=26918, latest_wkid=26918),
    origin_x=-5120900.0,
    origin_y=9998100.0,
    tile_width=256,
    tile_height=256,
    lods=(
        Lod(level=2, resolution=66.1459656252646, scale=250000),
        Lod(level=3, resolution=33.0729828126323, scale=125000),
        Lod(level=4, resolution=16.933367200067735, scale=64000),
    ),
)
MERCATOR = TilingScheme(
    crs=WEB_MERCATOR,
    origin_x=-20037508.342787,
    origin_y=20037508.342787,
    tile_width=256,
    tile_height=256,
    lods=tuple(Lod(level=n, resolution=156543.033928 / 2**n, scale=591657527.591555 / 2**n) for n in range(20)),
)

Blocks = dict[BlockKey, np.ndarray]


def filled(levels: range, *, size: int = 60, state: State = State.STORED) -> Blocks:
    blocks: Blocks = {}
    for level in levels:
        states = np.zeros((BLOCK, BLOCK), dtype=np.uint8)
        states[20 : 20 + size, 30 : 30 + size] = state
        blocks[BlockKey(level, 256, 256)] = states
    return blocks


def drawn(
    tmp_path: Path,
    blocks: Blocks,
    scheme: TilingScheme = UTM,
    *,
    title: str = "Straße.tpkx",
    outlines: tuple[object, ...] = (),
    backdrop: Backdrop | None = None,
) -> np.ndarray:
    path = tmp_path / "coverage.png"
    draw_coverage(scheme, lambda: blocks.items(), path, title=title, outlines=outlines, backdrop=backdrop)
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


LEGEND = 400
"""More pixels than the legend has of any one colour."""


def near(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((np.abs(picture.astype(int) - colour).sum(axis=2) < 30).sum())


def test_a_complete_cache_shows_no_alarm_and_an_incomplete_one_does(tmp_path: Path) -> None:
    whole = filled(range(2, 5))
    good = near(drawn(tmp_path, whole), ALARM)
    whole[BlockKey(4, 256, 256)][40, 50] = State.FAILED
    bad = near(drawn(tmp_path, whole), ALARM)
    assert bad > good + 1000


def test_one_pending_tile_in_a_hundred_thousand_is_ringed(tmp_path: Path) -> None:
    states = np.full((BLOCK, BLOCK), State.STORED, dtype=np.uint8)
    blocks = {BlockKey(12, row * BLOCK, col * BLOCK): states.copy() for row in range(3) for col in range(3)}
    before = drawn(tmp_path, blocks, MERCATOR)[90:700, 30:980]
    blocks[BlockKey(12, 128, 128)][64, 64] = State.PENDING
    after = drawn(tmp_path, blocks, MERCATOR)[90:700, 30:980]
    assert near(after, WAITING) > near(before, WAITING) + 40


def test_any_scheme_is_drawn_with_and_without_backdrop(tmp_path: Path) -> None:
    boxes: list[Box] = []

    def backdrop(box: Box, width: int, height: int) -> Image.Image:
        boxes.append(box)
        return Image.new("RGB", (width, height), (10, 200, 10))

    plain = drawn(tmp_path, filled(range(2, 5)))
    area = shapely.box(*UTM.box(BlockKey(4, 256, 256).tile(40 * BLOCK + 50))).buffer(200_000)
    behind = drawn(tmp_path, filled(range(2, 5)), backdrop=backdrop, outlines=(area, shapely.MultiPolygon([area])))
    assert plain.shape == behind.shape
    assert (plain != behind).any()
    assert boxes
    assert all(box.xmin < box.xmax and box.ymin < box.ymax for box in boxes)


@pytest.mark.parametrize("levels", [range(0), range(1), range(20)])
def test_no_level_one_level_and_twenty_levels_fit(tmp_path: Path, levels: range) -> None:
    picture = drawn(tmp_path, filled(levels, size=5, state=State.ABSENT), MERCATOR)
    assert picture.shape[1] == 1434
    assert picture.shape[0] < 2200


def test_a_world_of_one_tile_a_level_is_drawn(tmp_path: Path) -> None:
    states = np.zeros((BLOCK, BLOCK), dtype=np.uint8)
    states[0, 0] = State.STORED
    assert near(drawn(tmp_path, {BlockKey(0, 0, 0): states}, MERCATOR), ALARM) < LEGEND


def test_the_same_cache_gives_the_same_picture(tmp_path: Path) -> None:
    first = drawn(tmp_path, filled(range(2, 5)))
    assert (first == drawn(tmp_path, filled(range(2, 5)))).all()


def test_a_folder_that_is_not_there_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match=r"nowhere.*coverage\.png"):
        draw_coverage(UTM, list, tmp_path / "nowhere" / "coverage.png", title="x")
