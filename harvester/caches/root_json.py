"""root.json: what a tile package, or a cache folder in "ready to serve" form, says of itself.

Source: Esri/tile-package-spec 1.0, and the root.json that ExportMapServerCache wrote. Key spelling on write is that of
the real file; the specification's prose has others (``row``, ``LatestWkid``, ``storageformat``, ``packetsize``,
``compression``), which are understood on read: keys are compared without case.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from harvester.caches.description import COMPACT_V2, MAX_LODS, PACKET_SIZE, Description, domain, make_scheme
from harvester.caches.json_text import decoded
from harvester.crs import Crs
from harvester.errors import CacheError, HarvesterError
from harvester.tiling.scheme import Box, Lod, TilingScheme

FOLDER_BUNDLES = "./_alllayers"
PACKAGE_BUNDLES = "./tile"


def render_root(about: Description, *, bundles: str, levels: Sequence[int]) -> bytes:
    """root.json in UTF-8. ``bundles``: FOLDER_BUNDLES or PACKAGE_BUNDLES. ``levels``: those that hold tiles.

    tileBundlesPath stands in front of every text of free length, since GDAL looks for it in the first 8 KB.
    """
    scheme = about.scheme
    held = [lod for lod in scheme.lods if lod.level in levels] or [scheme.lods[0]]
    reference = _spatial_reference(scheme)
    document: dict[str, Any] = {
        "tileImageInfo": {
            "format": about.format_name,
            "compressionQuality": _plain(about.compression_quality),
            "bandCount": 1,
            "lercError": 0,
        },
        "tileBundlesPath": bundles,
        "name": about.name,
        "version": 1.0,
        "serviceDescription": about.description,
        "copyrightText": about.attribution,
        "spatialReference": reference,
        "units": scheme.crs.unit_name(),
        "minLOD": min(lod.level for lod in held),
        "maxLOD": max(lod.level for lod in held),
        "minScale": held[0].scale,
        "maxScale": held[-1].scale,
        "resampling": True,
        "tileInfo": {
            "rows": scheme.tile_height,
            "cols": scheme.tile_width,
            "dpi": _plain(scheme.dpi),
            "origin": {"x": scheme.origin_x, "y": scheme.origin_y},
            "spatialReference": reference,
            "lods": [{"level": lod.level, "resolution": lod.resolution, "scale": lod.scale} for lod in scheme.lods],
        },
        "exportTilesAllowed": False,
        "storageInfo": {"storageFormat": about.storage_format, "packetSize": about.packet_size},
        "layers": [],
    }
    if about.extent is not None:
        extent = {**about.extent._asdict(), "spatialReference": reference}
        document |= {"initialExtent": extent, "fullExtent": extent}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _spatial_reference(scheme: TilingScheme) -> dict[str, Any]:
    grid = domain(scheme)
    return {
        **scheme.crs.numbered().spatial_reference(),  # GDAL takes numbers only
        "xyTolerance": grid.tolerance,
        "zTolerance": 0.001,
        "mTolerance": 0.001,
        "falseX": grid.x,
        "falseY": grid.y,
        "xyUnits": grid.units,
        "falseZ": -100000,
        "zUnits": 10000,
        "falseM": -100000,
        "mUnits": 10000,
    }


def _plain(value: float) -> float | int:
    return int(value) if value == int(value) else value


# ---------------------------------------------------------------------------------------------- reading


class _Keys:
    """A JSON object whose keys are found without case; anything else that stands in its place has no keys."""

    def __init__(self, value: object, where: str, path: str = "") -> None:
        self._items = {str(k).lower(): v for k, v in value.items()} if isinstance(value, Mapping) else {}
        self._where = where
        self._path = path

    def at(self, name: str) -> _Keys:
        return _Keys(self._items.get(name.lower()), self._where, f"{self._path}{name}.")

    def get(self, *names: str) -> object:
        return next((self._items[name.lower()] for name in names if self._items.get(name.lower()) is not None), None)

    def text(self, *names: str) -> str:
        value = self.get(*names)
        return value if isinstance(value, str) else ""

    def number(self, *names: str, default: float | None = None) -> float:
        value = self.get(*names)
        if value is None and default is not None:
            return default
        try:
            number = float(value) if isinstance(value, int | float | str) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise _unreadable(self._where, f"{self._path}{names[0]} is {str(value)[:40]!r}, not a number")
        return number


def parse_root(data: bytes, where: str) -> tuple[Description, tuple[str, ...]]:
    """Read root.json: the description, and the folders that lead from it to the level folders. Raises CacheError."""
    root = _Keys(load(data, where), where)
    info, image, storage = root.at("tileInfo"), root.at("tileImageInfo"), root.at("storageInfo")
    lods_found = info.get("lods")
    if not isinstance(lods_found, list):
        raise _unreadable(where, "tileInfo has no lods")
    lods = [
        Lod(
            level=int(lod.number("level")),
            resolution=lod.number("resolution"),
            scale=lod.number("scale", default=0.0),
        )
        for lod in (_Keys(item, where, "lods.") for item in lods_found[: MAX_LODS + 1])
    ]
    origin = info.at("origin")
    scheme = make_scheme(
        crs=_crs(info.get("spatialReference") or root.get("spatialReference"), where),
        origin=(origin.number("x"), origin.number("y")),
        tile=(int(info.number("cols", "col", default=256)), int(info.number("rows", "row", default=256))),
        lods=lods,
        dpi=info.number("dpi", default=96.0),
        where=where,
    )
    about = Description(
        scheme=scheme,
        format_name=image.text("format") or info.text("format"),
        compression_quality=image.number("compressionQuality", "compression", default=0.0),
        storage_format=storage.text("storageFormat") or COMPACT_V2,
        packet_size=int(storage.number("packetSize", default=PACKET_SIZE)),
        extent=_extent(root.at("fullExtent")),
        name=root.text("name"),
        description=root.text("serviceDescription"),
        attribution=root.text("copyrightText"),
    )
    return about, bundle_folders(root.text("tileBundlesPath") or PACKAGE_BUNDLES, where)


def bundle_folders(path: str, where: str) -> tuple[str, ...]:
    """The folders of a tileBundlesPath; CacheError where it leads out of the cache."""
    parts = tuple(part for part in path.replace("\\", "/").split("/") if part not in ("", "."))
    if path.startswith(("/", "\\")) or ".." in parts or any(":" in part or "\0" in part for part in parts):
        raise _unreadable(where, f"tileBundlesPath {path[:80]!r} leads out of the cache")
    return parts


def load(data: bytes, where: str) -> dict[str, Any]:
    """A document's JSON object. Raises CacheError."""
    try:
        document = json.loads(decoded(data))
    except (ValueError, RecursionError) as cause:
        raise _unreadable(where, f"it is not JSON ({cause})") from cause
    if not isinstance(document, dict):
        raise _unreadable(where, "it is not a JSON object")
    return document


def _extent(found: _Keys) -> Box | None:
    try:
        box = Box(*(found.number(name) for name in Box._fields))
    except CacheError:
        return None
    return box if box.xmin <= box.xmax and box.ymin <= box.ymax else None


def _crs(value: object, where: str) -> Crs:
    stated = _Keys(value, where)
    named = {key: stated.get(key) for key in ("wkid", "latestWkid", "wkt", "wkt2")}
    try:
        return Crs.from_service({k: v for k, v in named.items() if v is not None}, f"{where}: spatialReference")
    except HarvesterError as cause:
        raise CacheError(cause.message, hint=cause.hint) from cause


def _unreadable(where: str, what: str) -> CacheError:
    return CacheError(f"cannot read {where}: {what}", hint="Take the cache from its origin again.", code="damaged")
