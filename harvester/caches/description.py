"""What a compact cache says of itself, in whatever document: its scheme, its extent, Esri's words for its tiles."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from harvester.crs import Crs
from harvester.edges import TileFormat
from harvester.errors import CacheError
from harvester.tiling.scheme import Box, Lod, TilingScheme

COMPACT_V2 = "esriMapCacheStorageModeCompactV2"

COMPACT_V1 = "esriMapCacheStorageModeCompact"

EXPLODED = "esriMapCacheStorageModeExploded"

PACKET_SIZE = 128

MAX_LODS = 256
"""Real schemes have at most a few dozen; a document with more is no tiling scheme."""

MAX_TILE_PIXELS = 8192
"""The widest tile that GDAL's driver takes; ArcGIS makes 128 to 4096."""

MAX_LEVEL = 999
"""Level folders are numbered in two digits, three at most."""

_WORDS = {
    TileFormat.PNG: "PNG",
    TileFormat.JPEG: "JPEG",
    TileFormat.MIXED: "MIXED",
    TileFormat.LERC: "LERC",
    TileFormat.WEBP: "WEBP",
    TileFormat.PBF: "PBF",
    TileFormat.UNKNOWN: "MIXED",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a compact cache says of itself. ``extent`` is that of the data, in the scheme's CRS."""

    scheme: TilingScheme
    format_name: str
    """CacheTileFormat: ``PNG8``, ``JPEG``, ``MIXED`` ..."""
    compression_quality: float = 0.0
    storage_format: str = COMPACT_V2
    packet_size: int = PACKET_SIZE
    extent: Box | None = None
    name: str = ""
    description: str = ""
    attribution: str = ""

    @property
    def tile_format(self) -> TileFormat:
        """What the tiles are."""
        return tile_format_of(self.format_name)


def tile_format_of(word: str) -> TileFormat:
    """What Esri's word for a tile format means: PNG8, PNG24, PNG32 and PNG are PNG."""
    word = word.strip().upper()
    if word.startswith("PNG"):
        return TileFormat.PNG
    if word in ("JPEG", "JPG", "JPGPNG"):
        return TileFormat.MIXED if word == "JPGPNG" else TileFormat.JPEG
    found = {"MIXED": TileFormat.MIXED, "WEBP": TileFormat.WEBP, "PBF": TileFormat.PBF}
    return TileFormat.LERC if word.startswith("LERC") else found.get(word, TileFormat.UNKNOWN)


def format_word(tile_format: TileFormat, stated: str) -> str:
    """CacheTileFormat for tiles of a kind: the source's own word where it is one for that kind."""
    word = stated.strip().upper()
    if tile_format in (TileFormat.PNG, TileFormat.LERC) and word.isalnum() and tile_format_of(word) is tile_format:
        return word
    return _WORDS[tile_format]


_KINDS = {
    "png": TileFormat.PNG,
    "jpg": TileFormat.JPEG,
    "webp": TileFormat.WEBP,
    "gif": TileFormat.MIXED,
    "lerc": TileFormat.LERC,
    "pbf": TileFormat.PBF,
}


def seen_format(seen: TileFormat, kinds: Iterable[str]) -> TileFormat:
    """The format of tiles that were ``seen`` (UNKNOWN: none was) and of those of these kinds, together."""
    for kind in kinds:
        one = _KINDS.get(kind, TileFormat.UNKNOWN)
        if seen is TileFormat.UNKNOWN:
            seen = one
        elif one not in (seen, TileFormat.UNKNOWN):
            seen = TileFormat.MIXED
    return seen


def held_format(stated: TileFormat, seen: TileFormat) -> TileFormat:
    """The format of a cache: what its tiles are, whatever was stated of them; MIXED where the source says that they
    are, since it may have others."""
    return stated if stated is TileFormat.MIXED or seen is TileFormat.UNKNOWN else seen


class Domain(NamedTuple):
    """The integer grid on which ArcGIS keeps coordinates of a CRS: its corner, units per map unit, and tolerance."""

    x: float
    y: float
    units: float
    tolerance: float


def domain(scheme: TilingScheme) -> Domain:
    """ArcGIS's own domain of web mercator and of degrees; else one around the tile origin, like its default origins."""
    if scheme.crs.is_web_mercator:
        return Domain(-20037700, -30241100, 148923141.92838538, 0.001)
    if scheme.crs.is_geographic:
        return Domain(-400, -400, 11258999068426.238, 8.983152841195215e-09)
    x, y = -math.ceil(abs(scheme.origin_x)), -math.ceil(abs(scheme.origin_y))
    return Domain(x, y, 10000, 0.001 / scheme.crs.metres_per_unit)


def make_scheme(
    *, crs: Crs, origin: tuple[float, float], tile: tuple[int, int], lods: list[Lod], dpi: float, where: str
) -> TilingScheme:
    """A tiling scheme from a document's numbers, LODs sorted from the coarsest; CacheError where they make none."""
    if not all(1 <= pixels <= MAX_TILE_PIXELS for pixels in tile):
        raise unreadable(where, f"a tile of {tile[0]} x {tile[1]} pixels")
    if not 1 <= len(lods) <= MAX_LODS:
        raise unreadable(where, f"{len(lods)} LODs")
    if any(lod.resolution <= 0 or not 0 <= lod.level <= MAX_LEVEL for lod in lods):
        raise unreadable(where, "an LOD whose level or resolution is out of range")
    if len({lod.level for lod in lods}) < len(lods):
        raise unreadable(where, "two LODs of the same level")
    ordered = tuple(sorted(lods, key=lambda lod: -lod.resolution))
    return TilingScheme(
        crs=crs,
        origin_x=origin[0],
        origin_y=origin[1],
        tile_width=tile[0],
        tile_height=tile[1],
        lods=ordered,
        dpi=dpi if dpi > 0 else 96.0,
    )


def unreadable(where: str, what: str) -> CacheError:
    """The CacheError for a document that cannot be understood."""
    return CacheError(f"cannot read {where}: {what}", hint="Restore the file from the cache's origin.", code="damaged")


def unknown_level(level: int) -> str:
    """What is wrong with tiles of a level that the scheme doesn't have."""
    return f"the cache's documents have no LOD {level}, so nobody knows where its tiles belong: move them away"
