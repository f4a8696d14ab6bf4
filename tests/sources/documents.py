"""Service documents as tests begin with: a small tiled service, to be changed field by field."""

from __future__ import annotations

import copy
from typing import Any

from harvester.sources.arcgis_document import ServiceDocument, parse_service
from harvester.sources.service_url import parse_service_url

URL = "https://gis.example.org/arcgis/rest/services/Streets/MapServer"

TILED: dict[str, Any] = {
    "currentVersion": 10.81,
    "singleFusedMapCache": True,
    "capabilities": "Map,TilesOnly,Tilemap",
    "copyrightText": "City of Example",
    "spatialReference": {"wkid": 102100, "latestWkid": 3857},
    "fullExtent": {
        "xmin": -1000.0,
        "ymin": -2000.0,
        "xmax": 3000.0,
        "ymax": 4000.0,
        "spatialReference": {"wkid": 102100, "latestWkid": 3857},
    },
    "tileInfo": {
        "rows": 256,
        "cols": 256,
        "dpi": 96,
        "format": "PNG8",
        "compressionQuality": 0,
        "origin": {"x": -20037508.342787, "y": 20037508.342787},
        "spatialReference": {"wkid": 102100, "latestWkid": 3857},
        "lods": [
            {"level": level, "resolution": 156543.03392800014 / 2**level, "scale": 591657527.591555 / 2**level}
            for level in range(5)
        ],
    },
}

REMOVED = object()


def changed(path: str = "", value: Any = None) -> dict[str, Any]:
    """The document with one field (``tileInfo.lods.0.level``) replaced, or removed where the value is ``REMOVED``."""
    document: Any = copy.deepcopy(TILED)
    if path:
        node = document
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        for part in parents:
            node = node[part]
        if value is REMOVED:
            del node[last]
        else:
            node[last] = value
    return document  # type: ignore[no-any-return]


def parse(document: object, url: str = URL) -> ServiceDocument:
    """Read a document as that of ``url``."""
    return parse_service(document, parse_service_url(url))
