"""What a vector tile service says beside its tiles: its document, a style, sprites, glyphs, and the list of these.

Source: Esri's REST reference, "Vector Tile Service", "Vector Tile Style", "Vector Tile Resource Info"; Mapbox Style
Specification, version 8; the glyphs' protobuf as its "Glyphs" chapter describes it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from harvester.testing.images import tile_png
from harvester.testing.vector import field, varint
from harvester.tiling.scheme import TilingScheme
from harvester.tiling.tile import Tile

FONT = "Arial Regular"
RANGES = ("0-255", "256-511")

WHOLE = Tile(0, 0, 0)

INDEXED_LEVELS = 6
"""Levels of which the index tells; a tile without children is drawn at all scales below."""

STYLE: dict[str, Any] = {
    "version": 8,
    "glyphs": "../fonts/{fontstack}/{range}.pbf",
    "sprite": "../sprites/sprite",
    "sources": {"esri": {"type": "vector", "url": "../../"}},
    "layers": [
        {"id": "blocks", "type": "fill", "source": "esri", "source-layer": "blocks", "paint": {"fill-color": "#ddd"}},
        {"id": "roads", "type": "line", "source": "esri", "source-layer": "roads", "paint": {"line-color": "#888"}},
        {
            "id": "places",
            "type": "symbol",
            "source": "esri",
            "source-layer": "places",
            "layout": {"text-field": "{name}", "text-font": [FONT], "icon-image": "dot"},
        },
    ],
}


def resources() -> dict[str, bytes]:
    """Everything below ``resources/``, by name."""
    sheet = {"dot": {"x": 0, "y": 0, "width": 8, "height": 8, "pixelRatio": 1, "sdf": False}}
    found = {"styles/root.json": json.dumps(STYLE).encode()}
    for end in ("", "@2x"):
        found[f"sprites/sprite{end}.json"] = json.dumps(sheet).encode()
        found[f"sprites/sprite{end}.png"] = tile_png(0, 0, 0, 16, 16)
    for name in RANGES:
        found[f"fonts/{FONT}/{name}.pbf"] = glyphs(FONT, name)
    return found


def glyphs(font: str, name: str) -> bytes:
    """A range of glyphs with one glyph in it: an empty box."""
    first = int(name.partition("-")[0])
    glyph = varint(1 << 3) + varint(first + 65) + b"".join(varint(n << 3) + varint(8) for n in (3, 4, 7))
    return field(1, field(1, font.encode()) + field(2, name.encode()) + field(3, glyph))


def listed(held: Mapping[str, bytes]) -> bytes:
    """``resources/info``: sprites and fonts, relative to itself."""
    return json.dumps({"resourceInfo": [f"../{name}" for name in held if not name.startswith("styles/")]}).encode()


def indexed(has: Callable[[Tile], bool], scheme: TilingScheme, tile: Tile = WHOLE) -> Any:
    """The quadtree of the tiles that are there, below a tile, down to INDEXED_LEVELS: 0, 1, or four children."""
    if not has(tile):
        return 0
    level, row, col = tile
    if level + 1 >= INDEXED_LEVELS or level + 1 not in scheme.by_level:
        return 1
    children = [
        indexed(has, scheme, Tile(level + 1, 2 * row + down, 2 * col + right)) for down in (0, 1) for right in (0, 1)
    ]
    return children if any(children) else 1


def described(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The document of a map service as that of a vector tile service."""
    kept = ("currentVersion", "copyrightText", "initialExtent", "fullExtent", "minScale", "maxScale", "tileInfo")
    capabilities = "TilesOnly,Tilemap" if "Tilemap" in document["capabilities"] else "TilesOnly"
    return {
        **{key: document[key] for key in kept},
        "tileInfo": {**document["tileInfo"], "format": "pbf"},
        "name": name,
        "capabilities": capabilities,
        "type": "indexedVector",
        "defaultStyles": "resources/styles",
        "tiles": ["tile/{z}/{y}/{x}.pbf"],
        "exportTilesAllowed": False,
        "resourceInfo": {
            "styleVersion": 8,
            "tileCompression": "gzip",
            "cacheInfo": {"storageInfo": {"packetSize": 128, "storageFormat": "compactV2"}},
        },
    }
