"""The JSON documents of an ArcGIS tiled map service, made from what a reader says of itself; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from harvester.crs import Crs
from harvester.edges import CacheInfo, ServiceInfo, TileFormat
from harvester.errors import UnsupportedFormatError
from harvester.tiling.scheme import GOOGLE_ORIGIN, Box, TilingScheme
from harvester.tiling.tile import BLOCK, BlockKey, Tile, block_of

if TYPE_CHECKING:
    from harvester.edges import Mask

CURRENT_VERSION = 11.1
"""The ArcGIS Server version whose documents these follow: the first with ``storageInfo``."""

FORMAT_NAMES: Mapping[TileFormat, str] = {
    TileFormat.PNG: "PNG",
    TileFormat.JPEG: "JPEG",
    TileFormat.MIXED: "MIXED",
    TileFormat.WEBP: "WEBP",
    TileFormat.LERC: "LERC",
    TileFormat.UNKNOWN: "MIXED",
}
"""``tileInfo.format`` by tile format, where the reader keeps no word of its own; PBF is no map service."""


class ServedCache(Protocol):
    """Anything that reads like a cache: every CacheReader, and the demo's world map.

    ``read`` and ``present`` are called from one thread at a time, unless the app was made with ``threads``.
    """

    @property
    def info(self) -> CacheInfo | ServiceInfo:
        """What it says of itself."""

    def levels(self) -> Sequence[int]:
        """Levels that hold at least one tile, ascending by number."""

    def read(self, level: int, row: int, col: int) -> bytes | None:
        """The tile's bytes, or None when there is none."""

    def present(self, key: BlockKey) -> Mask:
        """Which tiles of a block are there; shape (128, 128)."""


def envelope(box: Box, crs: Crs) -> dict[str, Any]:
    """A box as an Esri envelope."""
    return {**box._asdict(), "spatialReference": crs.spatial_reference()}


def tile_info(scheme: TilingScheme, format_name: str, quality: float = 0.0) -> dict[str, Any]:
    """``tileInfo``: tile size in pixels, origin, CRS and every LOD of the scheme."""
    return {
        "rows": scheme.tile_height,
        "cols": scheme.tile_width,
        "dpi": round(scheme.dpi),
        "preciseDpi": scheme.dpi,
        "format": format_name,
        "compressionQuality": quality,
        "origin": {"x": scheme.origin_x, "y": scheme.origin_y},
        "spatialReference": scheme.crs.spatial_reference(),
        "lods": [{"level": lod.level, "resolution": lod.resolution, "scale": lod.scale} for lod in scheme.lods],
    }


def full_extent(info: CacheInfo | ServiceInfo) -> Box:
    """The stated extent; without one, the world for web mercator, else the coarsest level's first tile."""
    if info.extent is not None:
        return info.extent
    if info.scheme.crs.is_web_mercator:
        return Box(-GOOGLE_ORIGIN, -GOOGLE_ORIGIN, GOOGLE_ORIGIN, GOOGLE_ORIGIN)
    return info.scheme.box(Tile(info.scheme.lods[0].level, 0, 0))


def served_format(info: CacheInfo | ServiceInfo) -> str:
    """``tileInfo.format``: the source's own word, or ours. Raises UnsupportedFormatError for vector tiles."""
    if info.tile_format is TileFormat.PBF:
        raise UnsupportedFormatError(
            f"{info.name or 'the cache'}: vector tiles can't be served as a MapServer",
            hint="Serve a cache of PNG, JPEG, WebP or LERC tiles.",
        )
    name = info.format_name if isinstance(info, ServiceInfo) else ""
    return name or FORMAT_NAMES[info.tile_format]


def service_document(name: str, cache: ServedCache, *, tilemap: bool) -> dict[str, Any]:
    """What ``<service>/MapServer?f=json`` answers."""
    info = cache.info
    scheme = info.scheme
    levels = list(cache.levels())
    first = info.min_lod if isinstance(info, ServiceInfo) and info.min_lod is not None else min(levels, default=None)
    last = info.max_lod if isinstance(info, ServiceInfo) and info.max_lod is not None else max(levels, default=None)
    extent = envelope(full_extent(info), scheme.crs)
    title = info.name or name
    about = info.description if isinstance(info, ServiceInfo) else ""
    document: dict[str, Any] = {
        "currentVersion": CURRENT_VERSION,
        "serviceDescription": about,
        "mapName": title,
        "description": about,
        "copyrightText": info.attribution,
        "supportsDynamicLayers": False,
        "layers": [
            {
                "id": 0,
                "name": title,
                "parentLayerId": -1,
                "defaultVisibility": True,
                "subLayerIds": None,
                "minScale": 0,
                "maxScale": 0,
            }
        ],
        "tables": [],
        "spatialReference": scheme.crs.spatial_reference(),
        "singleFusedMapCache": True,
        "tileInfo": tile_info(
            scheme, served_format(info), info.compression_quality if isinstance(info, ServiceInfo) else 0
        ),
        "storageInfo": {"storageFormat": "esriMapCacheStorageModeCompactV2", "packetSize": BLOCK},
        "initialExtent": extent,
        "fullExtent": extent,
        "minScale": scheme.by_level[first].scale if first in scheme.by_level else 0,
        "maxScale": scheme.by_level[last].scale if last in scheme.by_level else 0,
        "units": scheme.crs.unit_name(),
        "supportedImageFormatTypes": "PNG32,PNG24,PNG,JPG",
        "documentInfo": {
            "Title": title,
            "Author": "",
            "Comments": about,
            "Subject": "",
            "Category": "",
            "Keywords": "",
            "Credits": info.attribution,
        },
        "capabilities": "Map,TilesOnly,Tilemap" if tilemap else "Map,TilesOnly",
        "tileServers": [],
        "resampling": False,
    }
    if first is not None and last is not None:
        document |= {"minLOD": first, "maxLOD": last}
    return document


def directory_document(names: Iterable[str], folder: str = "") -> dict[str, Any] | None:
    """What ``/services`` or ``/services/<folder>`` answers; None for a folder that isn't there."""
    inside = [name for name in names if name.startswith(f"{folder}/")] if folder else list(names)
    if folder and not inside:
        return None
    folders = [] if folder else sorted({name.split("/")[0] for name in inside if "/" in name})
    own = [name for name in inside if name.count("/") == (1 if folder else 0)]
    return {
        "currentVersion": CURRENT_VERSION,
        "folders": folders,
        "services": [{"name": name, "type": "MapServer"} for name in own],
    }


def error_document(code: int, message: str, *details: str) -> dict[str, Any]:
    """ArcGIS's error shape; servers send it with HTTP 200."""
    return {"error": {"code": code, "message": message, "details": list(details)}}


def tilemap_json(present: Mask, tile: Tile, width: int, height: int) -> bytes | None:
    """A tilemap answer as JSON bytes; ``present`` is the block of the window's top-left tile.

    A window that crosses the border of that block is clipped to it and marked ``adjusted``; ``data`` is row-major and
    always of full length. None where the block is empty (ArcGIS: error 422).
    """
    if not present.any():
        return None
    key = block_of(tile)
    top, left = tile.row - key.row, tile.col - key.col
    rows, cols = min(height, BLOCK - top), min(width, BLOCK - left)
    digits = np.full(2 * rows * cols - 1, ord(","), dtype=np.uint8)
    digits[::2] = present[top : top + rows, left : left + cols].reshape(-1).astype(np.uint8) + ord("0")
    adjusted = b"true" if (rows, cols) != (height, width) else b"false"
    location = b'{"left":%d,"top":%d,"width":%d,"height":%d}' % (tile.col, tile.row, cols, rows)
    return b'{"adjusted":%s,"location":%s,"data":[%s]}' % (adjusted, location, digits.tobytes())
