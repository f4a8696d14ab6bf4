"""The documents of a vector tile package: root.json, metadata.json, the list of resources, a plain style.

Source: Esri's REST reference, "Vector Tile Service", "Vector Tile Resource Info" and "Vector Tile Style", which
describe what a package holds under ``p12/``; the style is one of the Mapbox Style Specification, version 8.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from harvester.caches import root_json
from harvester.caches.description import COMPACT_V2, PACKET_SIZE, Description
from harvester.caches.vector_layers import parse_object, render_layers
from harvester.edges import VectorLayer
from harvester.errors import UnsupportedFormatError

VERSION = 11.2
"""``currentVersion`` of the ArcGIS whose packages these documents follow."""

TILES, STYLES = "tile/{z}/{y}/{x}.pbf", "resources/styles"

_COLOURS = ("#4c6a92", "#6b8f5e", "#a0724a", "#8a5d8c", "#3f8a8c", "#a3a04a", "#b06060", "#6d7a86")
"""Of the plain style's layers, in turn."""


def render_root(about: Description, *, levels: Sequence[int], indexed: bool) -> bytes:
    """p12/root.json. ``levels``: those that hold tiles. ``indexed``: there is a tile index."""
    scheme = about.scheme
    reference = scheme.crs.spatial_reference()
    document: dict[str, Any] = {
        "currentVersion": VERSION,
        "name": about.name,
        "serviceDescription": about.description,
        "copyrightText": about.attribution,
        "capabilities": "TilesOnly",
        "type": "indexedVector",
        **({"tileMap": "tilemap"} if indexed else {}),
        "defaultStyles": STYLES,
        "tiles": [TILES],
        "exportTilesAllowed": False,
    }
    if about.extent is not None:
        extent = {**about.extent._asdict(), "spatialReference": reference}
        document |= {"initialExtent": extent, "fullExtent": extent}
    document |= {
        "minScale": scheme.lods[0].scale,
        "maxScale": scheme.lods[-1].scale,
        "tileInfo": {
            "rows": scheme.tile_height,
            "cols": scheme.tile_width,
            "dpi": int(scheme.dpi) if scheme.dpi == int(scheme.dpi) else scheme.dpi,
            "format": "pbf",
            "origin": {"x": scheme.origin_x, "y": scheme.origin_y},
            "spatialReference": reference,
            "lods": [{"level": lod.level, "resolution": lod.resolution, "scale": lod.scale} for lod in scheme.lods],
        },
        "maxzoom": max(lod.level for lod in scheme.lods),
        "minLOD": min(levels),
        "maxLOD": max(levels),
        "resourceInfo": {
            "styleVersion": 8,
            "tileCompression": "gzip",
            "cacheInfo": {"storageInfo": {"packetSize": PACKET_SIZE, "storageFormat": "compactV2"}},
        },
    }
    return dump(document)


def parse_root(data: bytes, where: str) -> Description:
    """Read p12/root.json. Raises CacheError, UnsupportedFormatError for bundles of another size."""
    about, _ = root_json.parse_root(data, where)
    storage: Any = parse_object(data.decode("utf-8", "replace"))
    for name in ("resourceInfo", "cacheInfo", "storageInfo"):
        storage = storage.get(name) if isinstance(storage, dict) else None
    size = storage.get("packetSize", PACKET_SIZE) if isinstance(storage, dict) else PACKET_SIZE
    if size != PACKET_SIZE:
        raise UnsupportedFormatError(
            f"{where}: its bundles are {str(size)[:20]} tiles wide", hint=f"Only those of {PACKET_SIZE} are read."
        )
    return replace(about, format_name="PBF", storage_format=COMPACT_V2, packet_size=PACKET_SIZE)


def render_metadata(layers: Iterable[VectorLayer]) -> bytes:
    """p12/metadata.json: layers and fields."""
    return dump({"vector_layers": render_layers(layers)})


def render_resources(names: Iterable[str]) -> bytes:
    """p12/resources/info/root.json; ``names`` below ``resources``."""
    return dump({"resourceInfo": [f"../{name}" for name in names if not name.startswith("styles/")]})


def plain_style(name: str, layers: Sequence[VectorLayer]) -> bytes:
    """A style that shows every layer's polygons, lines and points, each layer in a colour of its own, without texts."""
    shapes: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
        ("fill", "Polygon", {"fill-opacity": 0.25, "fill-color": ""}),
        ("line", "LineString", {"line-width": 1, "line-color": ""}),
        ("circle", "Point", {"circle-radius": 2.5, "circle-color": ""}),
    )
    drawn = [
        {
            "id": f"{layer.id} {kind}",
            "type": kind,
            "source": "esri",
            "source-layer": layer.id,
            "filter": ["==", "$type", geometry],
            "paint": {key: value or _COLOURS[number % len(_COLOURS)] for key, value in paint.items()},
        }
        for kind, geometry, paint in shapes
        for number, layer in enumerate(layers)
    ]
    return dump({"version": 8, "name": name, "sources": {"esri": {"type": "vector", "url": "../../"}}, "layers": drawn})


def dump(document: Mapping[str, Any]) -> bytes:
    """JSON in UTF-8."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
