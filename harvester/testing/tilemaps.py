"""How a service answers about a window of its tilemap, rightly or in the ways in which real ones err; JSON answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from harvester.testing.log import Asked
from harvester.testing.reply import Reply
from harvester.tiling.tile import BLOCK, Tile

JSON = "application/json; charset=utf-8"


def answer_window(asked: Asked, manner: str, says: Callable[[Tile], bool]) -> Reply:
    """Which tiles are there, by ``says``; ``manner`` is ``ArcGisSite.tilemap``."""
    tile, (width, height) = asked.place.tile, asked.place.window
    if manner == "off" or tile is None:
        return error_reply(400, "Invalid or missing input parameters.")
    if manner == "error":
        return error_reply(500, "Unable to read the bundle.")
    if manner == "html":
        return Reply(body=b"<html><body>Internal error</body></html>", content_type="text/html")
    asked_width = width
    if manner == "adjusted":
        width = max(1, min(width // 2, BLOCK - tile.col % BLOCK))
    data = [int(says(Tile(tile.level, tile.row + y, tile.col + x))) for y in range(height) for x in range(width)]
    if manner == "422" or not any(data):
        return Reply(status=422, body=error_reply(422, "Tile map not available").body, content_type=JSON)
    left, top = tile.col, tile.row
    if manner == "moved":
        left, top = left & ~7, top & ~7
    if manner == "short":
        data = data[:-1]
    if manner == "single":
        data = data[:1]
    return json_reply(
        {
            "adjusted": width != asked_width or (left, top) != (tile.col, tile.row),
            "valid": manner != "invalid",
            "location": {"left": left, "top": top, "width": width, "height": height},
            "data": data,
        }
    )


def json_reply(document: Mapping[str, Any], status: int = 200) -> Reply:
    """A document as an answer."""
    return Reply(status=status, body=json.dumps(document, separators=(",", ":")).encode(), content_type=JSON)


def error_reply(code: int, message: str) -> Reply:
    """An ArcGIS error: HTTP says 200, the body says what is wrong."""
    return json_reply({"error": {"code": code, "message": message, "details": []}})
