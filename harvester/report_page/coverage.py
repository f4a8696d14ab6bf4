"""Maps of a cache for the page: one of all LODs, one of each, as PNG data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from harvester.coverage_picture import maps
from harvester.coverage_picture.maps import Rgb
from harvester.coverage_picture.raster import Frame, Level, Raster, frame_around, survey
from harvester.tiling.scheme import Box, TilingScheme

if TYPE_CHECKING:
    from harvester.coverage_picture import Backdrop, Blocks

MAP_WIDTH = 1040
MAP_HEIGHTS = (440, 900)
"""The large map's height follows the shape of what it shows, between these."""

PANEL = (440, 330)
"""Pixels of a small map: twice what a phone gives it."""

CLOSE_TILES = 6
"""Levels of at least so many tiles, one way, say what the large map shows; coarser tiles reach far beyond the area."""

OWN_FRAME_SHARE = 0.5
"""A LOD that takes up less than this share of the large map, each way, gets a small map of its own extent."""

BACKDROP_METRES = 400.0
"""Metres per pixel from which a coarse world map behind the tiles tells where one is; below, it would only mislead."""

COLOURS = 96
"""Of a map's palette: a third of the bytes, no visible difference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LodMap:
    """One LOD's map. ``enlarged``: it shows less ground than the large one."""

    level: int
    colour: Rgb
    image: str
    width: int
    height: int
    enlarged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """All maps of a cache, as data URIs; the large one is coloured by the finest LOD that is there."""

    image: str
    width: int
    height: int
    lods: tuple[LodMap, ...]
    has_backdrop: bool


def draw_maps(scheme: TilingScheme, blocks: Blocks, backdrop: Backdrop | None) -> Coverage | None:
    """The maps of what a ledger says; None where nothing is planned. ``blocks`` is read twice, memory stays flat."""
    known: dict[int, Level] = {}
    for key, states in blocks():
        survey(known, key, states)
    levels = [known[lod.level] for lod in scheme.lods if lod.level in known]
    if not levels:
        return None
    boxes = {level.level: level.box(scheme) for level in levels}
    whole = _around([boxes[level.level] for level in levels if _is_close(level) or level is levels[-1]])
    large = frame_around(whole, MAP_WIDTH, _height(whole))
    enlarged = {level for level, box in boxes.items() if _is_small(box, large.box)}
    frames = {level: frame_around(box if level in enlarged else whole, *PANEL) for level, box in boxes.items()}
    on_map = {level: Raster(large, scheme, level) for level in boxes}
    on_panel = {level: Raster(frames[level], scheme, level) for level in boxes}
    for key, states in blocks():
        if key.level in boxes:
            on_map[key.level].add(key, states)
            on_panel[key.level].add(key, states)
    colours = dict(zip(boxes, maps.ramp(len(boxes)), strict=True))
    behind = _Behind(scheme, backdrop)
    main = maps.draw_map(large, [(on_map[level], colours[level]) for level in boxes], behind.of(large), ())
    maps.draw_scale_bar(main, large, scheme)
    lods = []
    for level in boxes:
        frame = frames[level]
        panel = maps.draw_map(frame, [(on_panel[level], colours[level])], behind.of(frame), ())
        maps.draw_scale_bar(panel, frame, scheme)
        lods.append(
            LodMap(
                level=level, colour=colours[level], image=_data_uri(panel), width=frame.width, height=frame.height,
                enlarged=level in enlarged,
            )
        )  # fmt: skip
    return Coverage(
        image=_data_uri(main), width=large.width, height=large.height, lods=tuple(lods), has_backdrop=behind.used
    )


class _Behind:
    """The backdrop where it helps, plain ground elsewhere; each frame's drawn once."""

    def __init__(self, scheme: TilingScheme, backdrop: Backdrop | None) -> None:
        self._metres = scheme.crs.metres_per_unit
        self._world = None if backdrop is None else maps.Backdrops(backdrop)
        self._plain = maps.Backdrops(None)
        self.used = False

    def of(self, frame: Frame) -> maps.Backdrops:
        """What to draw behind this frame's tiles."""
        if self._world is None or frame.resolution * self._metres < BACKDROP_METRES:
            return self._plain
        self.used = True
        return self._world


def _is_close(level: Level) -> bool:
    return max(level.right - level.left, level.bottom - level.top) + 1 >= CLOSE_TILES


def _around(boxes: Sequence[Box]) -> Box:
    return Box(
        min(box.xmin for box in boxes),
        min(box.ymin for box in boxes),
        max(box.xmax for box in boxes),
        max(box.ymax for box in boxes),
    )


def _height(box: Box) -> int:
    wide, high = max(box.xmax - box.xmin, 1e-9), max(box.ymax - box.ymin, 1e-9)
    return min(MAP_HEIGHTS[1], max(MAP_HEIGHTS[0], round(MAP_WIDTH * high / wide)))


def _is_small(box: Box, large: Box) -> bool:
    share_x = (box.xmax - box.xmin) / (large.xmax - large.xmin)
    share_y = (box.ymax - box.ymin) / (large.ymax - large.ymin)
    return max(share_x, share_y) < OWN_FRAME_SHARE


def _data_uri(image: Image.Image) -> str:
    file = io.BytesIO()
    image.quantize(COLOURS).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
