"""A tiling scheme as JSON values, as the ledger keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harvester.crs import Crs
from harvester.tiling.scheme import Lod, TilingScheme


def scheme_to_json(scheme: TilingScheme) -> dict[str, Any]:
    """The scheme as a JSON object; floats keep every digit, and whole numbers are floats, however they were stated."""
    crs = scheme.crs
    return {
        "crs": {"wkid": crs.wkid, "latest_wkid": crs.latest_wkid, "wkt": crs.wkt},
        "origin": [float(scheme.origin_x), float(scheme.origin_y)],
        "tile": [scheme.tile_width, scheme.tile_height],
        "dpi": float(scheme.dpi),
        "lods": [[lod.level, float(lod.resolution), float(lod.scale)] for lod in scheme.lods],
    }


def scheme_from_json(document: Mapping[str, Any]) -> TilingScheme:
    """The scheme that ``scheme_to_json`` wrote. Raises KeyError, TypeError or ValueError on anything else."""
    crs = document["crs"]
    return TilingScheme(
        crs=Crs(wkid=crs["wkid"], latest_wkid=crs["latest_wkid"], wkt=crs["wkt"]),
        origin_x=float(document["origin"][0]),
        origin_y=float(document["origin"][1]),
        tile_width=int(document["tile"][0]),
        tile_height=int(document["tile"][1]),
        dpi=float(document["dpi"]),
        lods=tuple(Lod(level=int(n), resolution=float(r), scale=float(s)) for n, r, s in document["lods"]),
    )
