"""Writes Latin text in Pillow's own font, which has bare letters only: accents are drawn on top of them."""

from __future__ import annotations

import math
import unicodedata
from functools import lru_cache
from typing import NamedTuple

from PIL import ImageDraw, ImageFont

Rgb = tuple[int, int, int]

LINE_GAP_PIXELS = 4
HALO_PIXELS = 2

CAPITAL_HEIGHT = 0.72
SMALL_HEIGHT = 0.53
"""Heights of letters above the line they stand on, in font sizes."""

STROKED = str.maketrans({"Ø": "O\u0338", "ø": "o\u0338", "ł": "l", "Ł": "L", "ı": "i", "’": "'"})
"""Letters that Unicode does not take apart; U+0338 is the stroke through a letter."""

ACCENTS = {
    "\u0300": ((-2, -2, 0, 0),),
    "\u0301": ((0, 0, 2, -2),),
    "\u0302": ((-2, 0, 0, -2), (0, -2, 2, 0)),
    "\u0303": ((-3, -1, -1, -2), (-1, -2, 1, -1), (1, -1, 3, -2)),
    "\u0304": ((-2, -1, 2, -1),),
    "\u0308": ((-2, -1, -2, -1), (2, -1, 2, -1)),
    "\u030a": ((-1, 0, 1, 0), (1, 0, 1, -2), (1, -2, -1, -2), (-1, -2, -1, 0)),
    "\u030c": ((-2, -2, 0, 0), (0, 0, 2, -2)),
}
"""Strokes (x, y, x, y) in twelfths of the font size from the middle above a letter, y downwards; others are dropped."""


class Spelling(NamedTuple):
    """A line of bare letters, and its accents by the index of the letter that they belong to."""

    letters: str
    accents: tuple[tuple[int, str], ...]


@lru_cache(maxsize=4096)
def spelling(line: str) -> Spelling:
    """A line taken apart into letters that the font has and accents that it hasn't."""
    letters, accents = "", []
    for sign in unicodedata.normalize("NFD", line.translate(STROKED)):
        if unicodedata.combining(sign):
            accents.append((len(letters) - 1, sign))
        else:
            letters += sign if sign.isascii() else "?"
    return Spelling(letters, tuple(accents))


def text_width(text: str, size: int) -> int:
    """Width in pixels of the longest line."""
    return max(math.ceil(_font(size).getlength(spelling(line).letters)) for line in text.split("\n"))


def write(
    canvas: ImageDraw.ImageDraw, text: str, x: int, y: int, size: int, colour: Rgb, halo: Rgb | None = None
) -> None:
    """Write lines centred on each other, the top left of their box at (x, y)."""
    width = text_width(text, size)
    for line in text.split("\n"):
        letters, accents = spelling(line)
        left = x + (width - text_width(line, size)) // 2
        strokes = [stroke for index, accent in accents for stroke in _strokes(letters, index, accent, left, y, size)]
        thickness = max(1, round(size / 12))
        for stroke in strokes if halo else ():
            canvas.line(stroke, fill=halo, width=thickness + 2 * HALO_PIXELS)
        canvas.text(
            (left, y),
            letters,
            font=_font(size),
            fill=colour,
            stroke_width=HALO_PIXELS if halo else 0,
            stroke_fill=halo,
        )
        for stroke in strokes:
            canvas.line(stroke, fill=colour, width=thickness)
            if stroke[:2] == stroke[2:]:
                canvas.rectangle((stroke[0], stroke[1], stroke[0] + thickness, stroke[1] + thickness), fill=colour)
        y += size + LINE_GAP_PIXELS


def _strokes(letters: str, index: int, accent: str, left: int, y: int, size: int) -> list[tuple[int, int, int, int]]:
    font = _font(size)
    start, letter = font.getlength(letters[:index]), letters[index]
    middle = left + start + font.getlength(letter) / 2
    ascent = font.getmetrics()[0] if isinstance(font, ImageFont.FreeTypeFont) else size
    height = size * (CAPITAL_HEIGHT if letter.isupper() else SMALL_HEIGHT)
    if accent == "\u0338":
        reach = font.getlength(letter) * 0.42
        return [(round(middle - reach), y + ascent, round(middle + reach), round(y + ascent - height))]
    top, unit = y + ascent - height - size / 12, size / 12
    return [
        (round(middle + a * unit), round(top + b * unit), round(middle + c * unit), round(top + d * unit))
        for a, b, c, d in ACCENTS.get(accent, ())
    ]


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Pillow's own font: the same on every machine."""
    return ImageFont.load_default(size)
