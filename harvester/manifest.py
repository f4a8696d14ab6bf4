"""The manifest: where a cache's tiles come from, which policies chose them, and how many of which bytes each LOD holds.

One JSON object, the same in every format, without times, paths and secrets:

    {"manifest": 1, "source": "https://...", "attribution": "...", "policies": ["LODs 0-9, state.geojson"],
     "lods": [{"level": 0, "resolution": 156543.03, "tiles": 1, "bytes": 1234, "hash": "<32 hex>"}, ...]}

Some keys are there only where they have something to say: ``sources``, a list, where the tiles are of several (then
``source`` has them all in one text); ``applying``, the name of a delta, from before the first tile that ``apply``
changes until after the last one; and what most formats have no place for, so that a cache that was of another format
before is the same to the last byte: ``scheme`` (the source's tiling scheme, as tiling/scheme_json.py has it),
``source_extent`` and ``extent`` (the source's own and that of the tiles, in its CRS), ``format`` and ``quality``
(ArcGIS's words for how the tiles are encoded).

where it lies:

    MBTiles             metadata row ``manifest``
    GeoPackage          gpkg_metadata, standard ``urn:harvester:manifest``
    PMTiles             key ``manifest`` of the metadata
    z/x/y folders       key ``manifest`` of tiles.json
    cache folders       file ``manifest.json`` beside conf.xml and root.json
    tile packages       entry ``manifest.json``

A LOD's hash is the sum, modulo 2^128, of XXH3-128 over each tile's bytes, seeded with ``row * 2^32 + column``. So it
asks for no order, and two parts' hashes add up to the whole's. Rows (downwards) and columns are counted from the
point 0, 0 of the CRS, modulo 2^32: a tile has the same numbers whatever origin its format counts from, so the same
tiles have the same hash in every format.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import xxhash

from harvester.policy_words import canonical
from harvester.tiling.scheme import Box, Lod, TilingScheme
from harvester.tiling.scheme_json import scheme_from_json, scheme_to_json

VERSION = 1

KEY = "manifest"
"""The name of the row or key that holds it, and of its version in it."""

FILE = "manifest.json"

MAX_LODS = 256
MAX_PIXELS = 8192
"""Of a tiling scheme; real ones have a few dozen LODs, and tiles of 128 to 4096 pixels."""

_WORD = 0xFFFFFFFF
_WHOLE = (1 << 128) - 1

EDGE = 1e-3
"""Tiles by which an origin may miss a whole number of tiles from 0, 0: digits that services leave out."""


@dataclass(slots=True)
class TileSum:
    """Some tiles of one LOD: how many, their bytes, their hash."""

    tiles: int = 0
    size: int = 0
    hash: int = 0

    def add(self, row: int, col: int, body: bytes) -> None:
        """One more tile; row and column as ``counted_from`` has them."""
        self.tiles += 1
        self.size += len(body)
        self.hash += xxhash.xxh3_128_intdigest(body, (row & _WORD) << 32 | col & _WORD)

    def add_all(self, seeds: Iterable[int], bodies: Sequence[bytes]) -> None:
        """More tiles, each with its seed: ``row * 2^32 + column`` as ``counted_from`` has them."""
        self.tiles += len(bodies)
        self.size += sum(map(len, bodies))
        self.hash += sum(map(xxhash.xxh3_128_intdigest, bodies, seeds))

    def join(self, other: TileSum) -> None:
        """More tiles of the same LOD, none of which is in here."""
        self.tiles += other.tiles
        self.size += other.size
        self.hash += other.hash

    @property
    def text(self) -> str:
        """The hash, 32 hex digits."""
        return f"{self.hash & _WHOLE:032x}"


def counted_from(scheme: TilingScheme, level: int) -> tuple[int, int]:
    """What to add to rows and columns of a level so that they count from 0, 0 of the CRS."""
    width, height = scheme.span(level)
    return math.floor(EDGE - scheme.origin_y / height), math.floor(EDGE + scheme.origin_x / width)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldLod:
    """What a cache holds of one LOD."""

    level: int
    """The cache's own number."""
    resolution: float
    tiles: int
    size: int
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The document. ``lods`` is empty while a cache is not finished."""

    source: str = ""
    sources: tuple[str, ...] = ()
    """Where there are several, each; else empty."""
    attribution: str = ""
    applying: str = ""
    """The delta of which a part of the tiles may be in; its file's name."""
    policies: tuple[str, ...] = ()
    lods: tuple[HeldLod, ...] = field(default=())
    scheme: TilingScheme | None = None
    """The source's own, whatever grid the format has."""
    source_extent: Box | None = None
    """The source's, in the scheme's CRS; None where it states none."""
    extent: Box | None = None
    """Of the tiles, in the scheme's CRS."""
    format: str = ""
    """CacheTileFormat: ``PNG32``, ``MIXED`` ..."""
    is_found: bool = False
    """True where ``format`` is MIXED for the tiles that are there alone: no source says so of its own."""
    quality: float = 0.0
    """CompressionQuality; 0 where it isn't known."""

    def of_all(self, sources: Sequence[str]) -> Manifest:
        """The same of these sources; of none or one it is as it was."""
        return replace(self, source="; ".join(sources), sources=tuple(sources)) if len(sources) > 1 else self

    def disowns(self, source: str) -> bool:
        """Does it name services by their addresses, and not this one?"""
        named = joined_sources(
            [words for words in said if "://" in words] for said in (self.sources or (self.source,),)
        )
        return bool(named) and joined_sources((named, (source,))) != named

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            KEY: VERSION,
            "source": self.source,
            **({"sources": list(self.sources)} if self.sources else {}),
            **({"applying": self.applying} if self.applying else {}),
            **({"format": self.format} if self.format else {}),
            **({"format_is_found": True} if self.is_found else {}),
            **({"quality": self.quality} if self.quality else {}),
            **(
                {"source_extent": [float(edge) for edge in self.source_extent]}
                if self.source_extent is not None
                else {}
            ),
            **({"extent": [float(edge) for edge in self.extent]} if self.extent is not None else {}),
            **({"scheme": scheme_to_json(self.scheme)} if self.scheme is not None else {}),
            "attribution": self.attribution,
            "policies": list(self.policies),
            "lods": [
                {
                    "level": lod.level,
                    "resolution": lod.resolution,
                    "tiles": lod.tiles,
                    "bytes": lod.size,
                    "hash": lod.hash,
                }
                for lod in self.lods
            ],
        }

    def text(self) -> str:
        """As it is written."""
        return json.dumps(self.to_dict(), ensure_ascii=False, separators=(",", ":"), allow_nan=False)

    @classmethod
    def parse(cls, text: str) -> Manifest | None:
        """Read it; None for a text that is no manifest, or one of a later version."""
        try:
            document = json.loads(text)
            if document[KEY] != VERSION:
                return None
            return cls(
                source=str(document["source"]),
                sources=tuple(str(words) for words in document.get("sources", ())),
                applying=str(document.get("applying", "")),
                attribution=str(document["attribution"]),
                policies=tuple(str(words) for words in document["policies"]),
                lods=tuple(
                    HeldLod(
                        level=int(lod["level"]),
                        resolution=float(lod["resolution"]),
                        tiles=int(lod["tiles"]),
                        size=int(lod["bytes"]),
                        hash=str(lod["hash"]),
                    )
                    for lod in document["lods"]
                ),
                scheme=_scheme(document.get("scheme")),
                source_extent=_extent(document.get("source_extent")),
                extent=_extent(document.get("extent")),
                format=str(document.get("format", "")),
                is_found=document.get("format_is_found") is True,
                quality=float(document.get("quality", 0)),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
            return None


def _scheme(document: Any) -> TilingScheme | None:
    """The scheme of a manifest; None where it states none, or one that no source has."""
    if document is None:
        return None
    scheme = scheme_from_json(document)
    numbers = (scheme.origin_x, scheme.origin_y, scheme.dpi, *(lod.resolution for lod in scheme.lods))
    whole = all(map(math.isfinite, numbers)) and all(lod.resolution > 0 for lod in scheme.lods)
    sizes = all(0 < size <= MAX_PIXELS for size in (scheme.tile_width, scheme.tile_height))
    ordered = tuple(sorted(scheme.lods, key=lambda lod: -lod.resolution))
    fits = whole and sizes and 0 < len(scheme.lods) <= MAX_LODS and len(scheme.by_level) == len(scheme.lods)
    return scheme if fits and ordered == scheme.lods else None


def _extent(document: Any) -> Box | None:
    if document is None:
        return None
    box = Box(*(float(value) for value in document))
    return box if all(map(math.isfinite, box)) and box.xmin <= box.xmax and box.ymin <= box.ymax else None


def held_lods(sums: Iterable[tuple[Lod, TileSum]]) -> tuple[HeldLod, ...]:
    """The manifest's LODs, coarsest first; those that hold nothing are left out."""
    return tuple(
        HeldLod(level=lod.level, resolution=lod.resolution, tiles=total.tiles, size=total.size, hash=total.text)
        for lod, total in sorted(sums, key=lambda each: -each[0].resolution)
        if total.tiles
    )


def joined_sources(lists: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Every source once, in the order in which they came; a last ``/`` and the case don't count: services are found
    whatever the case, and identities are in lower case."""
    found: dict[str, str] = {}
    for source in (words for sources in lists for words in sources if words):
        found.setdefault(source.rstrip("/").lower(), source)
    return tuple(found.values())


def joined_policies(lists: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Every policy once, in the one form and order that they have however they came together."""
    return canonical(words for policies in lists for words in policies)
