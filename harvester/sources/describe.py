"""What ``scales --json`` says of a service and of a web map."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from harvester.edges import ServiceInfo
from harvester.tiling.scheme import Lod, TilingScheme


def describe(info: ServiceInfo) -> dict[str, Any]:
    """One service as a JSON document; ``zoom`` is the web-mercator zoom of the same tiles, null off that grid."""
    scheme = info.scheme
    return {
        "source": info.source,
        "kind": info.kind,
        "name": info.name,
        "crs": str(scheme.crs),
        "tile": {"width": scheme.tile_width, "height": scheme.tile_height, "format": info.format_name},
        "origin": [scheme.origin_x, scheme.origin_y],
        "extent": list(info.extent) if info.extent is not None else None,
        "min_lod": info.min_lod,
        "max_lod": info.max_lod,
        "attribution": info.attribution,
        "lods": [_lod(lod, scheme) for lod in scheme.lods],
        "capabilities": {
            "tilemap": info.tilemap,
            "export_tiles": info.export_tiles,
            "max_export_tiles": info.max_export_tiles,
        },
    }


def describe_map(
    source: str, layers: Iterable[tuple[str, ServiceInfo]], skipped: Iterable[tuple[str, str]]
) -> dict[str, Any]:
    """A web map: each tiled layer, under the name that the map gives it, and what was left out, with the reason."""
    return {
        "source": source,
        "kind": "web-map",
        "layers": [{**describe(info), "name": name} for name, info in layers],
        "skipped": [{"name": name, "reason": reason} for name, reason in skipped],
    }


def _lod(lod: Lod, scheme: TilingScheme) -> dict[str, Any]:
    place = scheme.google(lod.level)
    return {
        "level": lod.level,
        "resolution": lod.resolution,
        "scale": lod.scale,
        "zoom": place.zoom if place is not None else None,
    }
