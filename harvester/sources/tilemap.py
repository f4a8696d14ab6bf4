"""What a tilemap answer says of one aligned window: which tiles are there, or that it can't be trusted.

Esri REST reference, "Tilemap": ``{"adjusted", "location": {"left", "top", "width", "height"}, "data": [0, 1, ...]}``,
``data`` row-major. A server looks into one bundle only and answers 422 where there is none; windows that are aligned to
bundles make that exact.
"""

from __future__ import annotations

import json
from typing import Any

from harvester.edges import Answer, Request, WindowAnswer
from harvester.sources.arcgis_errors import stated_error

NOTHING_THERE = 422

MAX_BYTES = 1 << 20
"""128 x 128 values with every white space that a server may add stay below 100 KB."""


def read_window(request: Request, answer: Answer) -> WindowAnswer | None:
    """The answer for the asked window, clipped to it; None: the tiles themselves have to be asked. Never raises."""
    if answer.fault is not None or len(answer.body) > MAX_BYTES:
        return None
    error = stated_error(answer.body)
    if answer.status == NOTHING_THERE or (answer.status == 200 and error is not None and error.code == NOTHING_THERE):
        return _nothing(request)
    if answer.status != 200 or error is not None:
        return None
    try:
        document = json.loads(answer.body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.get("valid") is False:
        return None
    return _read(document, request)


def _nothing(request: Request) -> WindowAnswer:
    import numpy as np

    size = request.window
    return WindowAnswer(request.tile.level, request.tile.row, request.tile.col, np.zeros((size, size), dtype=np.bool_))


def _read(document: dict[str, Any], request: Request) -> WindowAnswer | None:
    import numpy as np

    location, data = document.get("location"), document.get("data")
    if not isinstance(location, dict) or not isinstance(data, list):
        return None
    left, top, width, height = (location.get(name) for name in ("left", "top", "width", "height"))
    if not all(type(number) is int for number in (left, top, width, height)):
        return None
    assert isinstance(left, int) and isinstance(top, int) and isinstance(width, int) and isinstance(height, int)
    if width < 1 or height < 1 or len(data) != width * height or not set(map(type, data)) <= {int}:
        return None
    if not set(data) <= {0, 1}:
        return None
    size, (level, row, col) = request.window, request.tile
    first_row, first_col = max(top, row), max(left, col)
    end_row, end_col = min(top + height, row + size), min(left + width, col + size)
    if first_row >= end_row or first_col >= end_col:
        return None
    present = np.array(data, dtype=np.bool_).reshape(height, width)
    return WindowAnswer(
        level, first_row, first_col, present[first_row - top : end_row - top, first_col - left : end_col - left]
    )
