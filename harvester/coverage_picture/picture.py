"""Composes the picture: the large map, the small maps, the table of LODs, legend and scale bar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw

from harvester.coverage_picture import maps
from harvester.coverage_picture.maps import ALARM, INK, MUTED, PAPER, WAITING, Rgb
from harvester.coverage_picture.raster import Level, Raster, frame_around, survey
from harvester.edges import State
from harvester.lettering import text_width, write
from harvester.tiling.scheme import Box, TilingScheme
from harvester.wording import counted

if TYPE_CHECKING:
    from harvester.coverage_picture import Backdrop, Blocks

MARGIN = 28
GAP = 18
MAP_WIDTH = 960
MAP_HEIGHTS = (520, 900)
"""The large map's height follows the shape of what it shows, between these."""

TABLE_WIDTH = 400
ROW = 26
HEADER = 78
PANELS_PER_ROW = 5
PANEL_HEIGHT_SHARE = 0.74
CAPTION = 40
LEGEND_ROWS = 6
WIDTH = 2 * MARGIN + MAP_WIDTH + GAP + TABLE_WIDTH

OWN_FRAME_SHARE = 0.5
"""A LOD whose tiles take up less than this share of the large map, each way, gets a small map of its own extent."""

CLOSE_TILES = 6
"""Levels of at least so many tiles, one way, say what the large map shows."""

GOOD: Rgb = (38, 122, 74)


def compose(
    scheme: TilingScheme,
    blocks: Blocks,
    *,
    title: str,
    outlines: Sequence[Any],
    backdrop: Backdrop | None,
    attribution: str,
) -> Image.Image:
    """The whole picture, as an RGB image."""
    known: dict[int, Level] = {}
    for key, states in blocks():
        survey(known, key, states)
    order = [lod.level for lod in scheme.lods if lod.level in known]
    levels = [known[level] for level in order]
    whole = _around(scheme, levels) if levels else Box(0, 0, 1, 1)
    large = frame_around(whole, MAP_WIDTH, _height(whole))
    panel_width = (WIDTH - 2 * MARGIN - (PANELS_PER_ROW - 1) * GAP) // PANELS_PER_ROW
    panel_height = round(panel_width * PANEL_HEIGHT_SHARE)
    boxes = {level.level: level.box(scheme) for level in levels}
    enlarged = {level for level, box in boxes.items() if _is_small(box, large.box)}
    small = {
        level: frame_around(box if level in enlarged else whole, panel_width, panel_height)
        for level, box in boxes.items()
    }
    on_map = {level: Raster(large, scheme, level) for level in order}
    on_panel = {level: Raster(small[level], scheme, level) for level in order}
    for key, states in blocks():
        if key.level in on_map:
            on_map[key.level].add(key, states)
            on_panel[key.level].add(key, states)
    colours = dict(zip(order, maps.ramp(len(order)), strict=True))

    body = max(large.height, ROW * (len(order) + 2 + LEGEND_ROWS) + 30)
    panel_rows = -(-len(order) // PANELS_PER_ROW)
    height = HEADER + body + GAP + panel_rows * (panel_height + CAPTION + GAP) + MARGIN
    image = Image.new("RGB", (WIDTH, height), PAPER)
    canvas = ImageDraw.Draw(image)
    _header(canvas, title, levels)
    behind = maps.Backdrops(backdrop)
    main = maps.draw_map(large, [(on_map[level], colours[level]) for level in order], behind, outlines)
    maps.draw_scale_bar(main, large, scheme)
    if attribution:
        width = text_width(attribution, 11)
        write(ImageDraw.Draw(main), attribution, large.width - width - 8, large.height - 20, 11, MUTED, (255, 255, 255))
    image.paste(main, (MARGIN, HEADER))
    table_left = MARGIN + MAP_WIDTH + GAP
    bottom = _table(canvas, scheme, levels, colours, table_left, HEADER)
    _legend(canvas, table_left, bottom + 22, has_outlines=bool(outlines))
    for i, level in enumerate(levels):
        x = MARGIN + i % PANELS_PER_ROW * (panel_width + GAP)
        y = HEADER + body + GAP + i // PANELS_PER_ROW * (panel_height + CAPTION + GAP)
        frame = small[level.level]
        panel = maps.draw_map(frame, [(on_panel[level.level], colours[level.level])], behind, outlines)
        image.paste(panel, (x, y))
        _caption(canvas, scheme, level, x, y + panel_height + 6, enlarged=level.level in enlarged)
    return image


def _height(box: Box) -> int:
    wide, high = max(box.xmax - box.xmin, 1e-9), max(box.ymax - box.ymin, 1e-9)
    return min(MAP_HEIGHTS[1], max(MAP_HEIGHTS[0], round(MAP_WIDTH * high / wide)))


def _around(scheme: TilingScheme, levels: Sequence[Level]) -> Box:
    """The box of the levels that follow the area closely; a few coarse tiles reach far beyond it."""
    close = [
        level
        for level in levels
        if max(level.right - level.left, level.bottom - level.top) + 1 >= CLOSE_TILES or level is levels[-1]
    ]
    boxes = [level.box(scheme) for level in close]
    return Box(
        min(box.xmin for box in boxes),
        min(box.ymin for box in boxes),
        max(box.xmax for box in boxes),
        max(box.ymax for box in boxes),
    )


def _is_small(box: Box, large: Box) -> bool:
    """Whether a LOD is better seen in a frame of its own."""
    share_x = (box.xmax - box.xmin) / (large.xmax - large.xmin)
    share_y = (box.ymax - box.ymin) / (large.ymax - large.ymin)
    return max(share_x, share_y) < OWN_FRAME_SHARE


def _number(value: float) -> str:
    return f"{value:,.0f}"


def _header(canvas: ImageDraw.ImageDraw, title: str, levels: Sequence[Level]) -> None:
    write(canvas, title, MARGIN, 18, 24, INK)
    planned, stored = sum(level.planned for level in levels), sum(level.stored for level in levels)
    absent, failed, pending = (
        sum(level.counts[state] for level in levels) for state in (State.ABSENT, State.FAILED, State.PENDING)
    )
    words = f"{counted(planned, 'tile')} planned: {_number(stored)} stored, {_number(absent)} absent at the source"
    write(canvas, words, MARGIN, 50, 14, MUTED)
    trouble = [f"{_number(failed)} failed"] * bool(failed) + [f"{_number(pending)} pending"] * bool(pending)
    verdict = "nothing planned" if not planned else ("incomplete: " + ", ".join(trouble)) if trouble else "complete"
    colour = ALARM if failed else WAITING if pending or not planned else GOOD
    width = text_width(verdict, 16) + 28
    left = WIDTH - MARGIN - width
    canvas.rounded_rectangle((left, 22, left + width, 54), radius=16, fill=colour)
    write(canvas, verdict, left + 14, 29, 16, (255, 255, 255))


def _table(
    canvas: ImageDraw.ImageDraw,
    scheme: TilingScheme,
    levels: Sequence[Level],
    colours: dict[int, Rgb],
    left: int,
    top: int,
) -> int:
    """One row per LOD: colour, number, scale, tiles, and a bar of its states; gives the y where it ends."""
    scale_right, planned_right, bar = left + 168, left + 244, left + 258
    for text, right in (("scale 1:", scale_right), ("tiles", planned_right)):
        write(canvas, text, right - text_width(text, 12), top + 4, 12, MUTED)
    write(canvas, "LOD", left + 28, top + 4, 12, MUTED)
    y = top + ROW
    for level in levels:
        canvas.rounded_rectangle((left, y + 4, left + 20, y + 18), radius=3, fill=colours[level.level])
        write(canvas, str(level.level), left + 28, y + 3, 14, INK)
        scale, planned = _number(scheme.by_level[level.level].scale), _number(level.planned)
        write(canvas, scale, scale_right - text_width(scale, 14), y + 3, 14, INK)
        write(canvas, planned, planned_right - text_width(planned, 14), y + 3, 14, INK)
        _bar(canvas, level, colours[level.level], bar, y + 5, left + TABLE_WIDTH - bar)
        y += ROW
    return y


def _bar(canvas: ImageDraw.ImageDraw, level: Level, colour: Rgb, left: int, top: int, width: int) -> None:
    """Shares of the states; trouble is at least three pixels wide, however small its share."""
    shares = (
        (level.counts[State.FAILED], ALARM),
        (level.counts[State.PENDING], WAITING),
        (level.stored, colour),
        (level.counts[State.ABSENT], maps.ABSENT_FILL),
    )
    x = left
    for count, fill in shares:
        if count:
            least = 3 if fill in (ALARM, WAITING) else 1
            end = min(left + width, x + max(least, round(width * count / level.planned)))
            if end > x:
                canvas.rectangle((x, top, end - 1, top + 12), fill=fill)
            x = end
    canvas.rectangle((left, top, left + width - 1, top + 12), outline=(200, 200, 200))


def _legend(canvas: ImageDraw.ImageDraw, left: int, top: int, *, has_outlines: bool) -> None:
    rows: list[tuple[str, Rgb | None, str]] = [
        ("fill", None, "map: the finest LOD that is there, see above"),
        ("fill", maps.ABSENT_FILL, "absent: the source has no such tile"),
        ("fill", WAITING, "pending: not fetched yet"),
        ("ring", ALARM, "failed, ringed where small"),
    ]
    if has_outlines:
        rows.append(("line", INK, "area of interest"))
    for i, (kind, colour, text) in enumerate(rows):
        y = top + i * ROW
        if colour is None:
            for step, part in enumerate(maps.ramp(5)):
                canvas.rectangle((left + step * 4, y + 4, left + step * 4 + 3, y + 18), fill=part)
        elif kind == "line":
            canvas.line((left, y + 11, left + 20, y + 11), fill=colour, width=2)
        else:
            canvas.rectangle((left, y + 4, left + 20, y + 18), fill=colour)
            if colour == maps.ABSENT_FILL:
                for x in range(left, left + 20, 5):
                    canvas.line((x, y + 18, min(x + 14, left + 20), y + 4), fill=maps.ABSENT_HATCH)
        write(canvas, text, left + 28, y + 3, 13, INK)


def _caption(
    canvas: ImageDraw.ImageDraw, scheme: TilingScheme, level: Level, x: int, y: int, *, enlarged: bool
) -> None:
    write(canvas, f"LOD {level.level}", x, y, 14, INK)
    scale = f"1:{_number(scheme.by_level[level.level].scale)}" + (" (enlarged)" if enlarged else "")
    write(canvas, scale, x + text_width(f"LOD {level.level}", 14) + 10, y + 1, 12, MUTED)
    failed, pending, absent = (level.counts[state] for state in (State.FAILED, State.PENDING, State.ABSENT))
    parts: list[tuple[str, Rgb]] = [(f"{_number(level.stored)} stored", MUTED)]
    parts += [
        (f"{_number(count)} {word}", colour)
        for count, word, colour in ((absent, "absent", MUTED), (pending, "pending", WAITING), (failed, "failed", ALARM))
        if count
    ]
    for text, colour in parts:
        write(canvas, text, x, y + 19, 12, colour)
        x += text_width(text, 12) + 10
