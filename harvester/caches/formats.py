"""The formats by name and suffix: which one a path means, what each can hold, and the modules behind them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harvester.edges import ServiceInfo, TileFormat
from harvester.errors import UnsupportedFormatError, UsageError
from harvester.wording import a_format

GDAL_MAX_PIXELS = 2**31 - 1
"""GDAL opens no cache one of whose levels is wider; web mercator is from LOD 23 on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One format that works.

    ``module`` has ``open_reader(path)``; of a sealed format also ``seal(work, part, subject, *, disk)`` and
    ``unpack(package, work, *, disk)``, the latter with ``scheme`` (the source's, whose levels the work folder has)
    where the format is ``google_only``.
    """

    name: str
    module: str
    writer: str
    """The module with ``open_writer``; of a sealed format, that of its work folder."""
    suffix: str = ""
    """With its dot; empty for folders."""
    sealed: bool = False
    """True: collected in a work folder, and there under its name by rename."""
    folder: bool = False
    google_only: bool = False
    """True: web mercator on the Google grid only."""
    refused: frozenset[TileFormat] = frozenset()
    """Tiles that it cannot hold."""


FORMATS: dict[str, Format] = {
    each.name: each
    for each in (
        Format(
            name="mbtiles",
            module="harvester.caches.mbtiles",
            writer="harvester.caches.mbtiles",
            suffix=".mbtiles",
            google_only=True,
            refused=frozenset({TileFormat.LERC}),
        ),
        Format(
            name="gpkg",
            module="harvester.caches.geopackage",
            writer="harvester.caches.geopackage",
            suffix=".gpkg",
            refused=frozenset({TileFormat.LERC, TileFormat.PBF}),
        ),
        Format(
            name="pmtiles",
            module="harvester.caches.pmtiles",
            writer="harvester.caches.pmtiles_work",
            suffix=".pmtiles",
            sealed=True,
            google_only=True,
            refused=frozenset({TileFormat.LERC, TileFormat.MIXED}),
        ),
        Format(
            name="compactv2",
            module="harvester.caches.compact",
            writer="harvester.caches.compact_writer",
            folder=True,
        ),
        Format(
            name="compact",
            module="harvester.caches.compact_v1",
            writer="harvester.caches.compact_v1_writer",
            folder=True,
        ),
        Format(
            name="exploded",
            module="harvester.caches.exploded",
            writer="harvester.caches.exploded",
            folder=True,
        ),
        Format(
            name="xyz",
            module="harvester.caches.xyz",
            writer="harvester.caches.xyz_writer",
            folder=True,
            google_only=True,
            refused=frozenset({TileFormat.LERC}),
        ),
        Format(
            name="tpk",
            module="harvester.caches.tpk",
            writer="harvester.caches.compact_writer",
            suffix=".tpk",
            sealed=True,
            refused=frozenset({TileFormat.PBF}),
        ),
        Format(
            name="tpkx",
            module="harvester.caches.package",
            writer="harvester.caches.compact_writer",
            suffix=".tpkx",
            sealed=True,
            refused=frozenset({TileFormat.PBF}),
        ),
        Format(
            name="vtpk",
            module="harvester.caches.vtpk",
            writer="harvester.caches.compact_writer",
            suffix=".vtpk",
            sealed=True,
            refused=frozenset(TileFormat) - {TileFormat.PBF},
        ),
    )
}
"""The formats that work, by name; a new one is an entry here."""

_ESRI = frozenset({"compact", "compactv2", "exploded", "tpk", "tpkx"})

_GDAL = frozenset({"compactv2", "tpkx"})
"""Of these, what GDAL reads at all: who wants an older one has other readers in mind."""

NAMES = ("mbtiles", "gpkg", "pmtiles", "tpk", "tpkx", "vtpk", "compact", "compactv2", "exploded", "xyz")
"""Every format that has a name, whether it works yet or not."""

PACKAGES = frozenset({"tpk", "tpkx", "vtpk"})
"""Formats that are one ZIP."""

DATABASES = frozenset({"mbtiles", "gpkg"})
"""Formats that are one SQLite database."""

SUFFIXES = {f".{name}": name for name in ("mbtiles", "gpkg", "pmtiles", "tpk", "tpkx", "vtpk")}


def format_for(output: Path | str, explicit: str | None = None) -> str:
    """The format of an output: the one named, else by suffix; a folder is ``compactv2``. Raises UsageError.

    A folder is what exists as one, ends in a separator (in a ``str``; a Path has none) or has no suffix.
    """
    if explicit is not None:
        return working(explicit.strip().lower(), f"--format {explicit}")
    path = Path(output)
    ends = tuple(filter(None, (os.sep, os.altsep)))
    if path.is_dir() or (isinstance(output, str) and output.endswith(ends)) or not path.suffix:
        return "compactv2"
    name = SUFFIXES.get(path.suffix.lower())
    if name is None:
        raise UsageError(
            f"{path.name}: no format has the suffix {path.suffix}",
            hint=f"Use one of {', '.join(sorted(_suffixes()))}, or name the format with --format.",
        )
    return working(name, path.name)


def working(name: str, where: str) -> str:
    """The name again, of a format that works. Raises UsageError; ``where`` is what the person typed."""
    if name in FORMATS:
        return name
    raise UsageError(f"{where}: {name!r} is no format", hint=f"Use one of {', '.join(FORMATS)}.")


def _suffixes() -> list[str]:
    return [each.suffix for each in FORMATS.values() if each.suffix]


def require_can_hold(format: str, info: ServiceInfo, levels: Sequence[int]) -> tuple[str, ...]:
    """Notices about these levels of a source in a format. Raises UnsupportedFormatError where it cannot hold them."""
    chosen = FORMATS[working(format, f"format {format}")]
    reason = _obstacle(chosen, info, levels)
    if reason is not None:
        able = [each.name for each in FORMATS.values() if _obstacle(each, info, levels) is None]
        hint = f"Formats that can: {', '.join(able)} (--format, or the output's suffix)." if able else "No format can."
        raise UnsupportedFormatError(f"{chosen.name} cannot hold this: {reason}", hint=hint)
    return tuple(_notices(chosen, info, levels))


def _obstacle(chosen: Format, info: ServiceInfo, levels: Sequence[int]) -> str | None:
    if info.tile_format in chosen.refused:
        return f"{info.source} has {info.tile_format.value.upper()} tiles"
    if not chosen.google_only:
        return None
    scheme = info.scheme
    if not scheme.crs.is_web_mercator:
        return f"{info.source} is in {scheme.crs}, not in web mercator"
    off = [level for level in levels if scheme.google(level) is None]
    if not off:
        zooms = [place.zoom for level in levels if (place := scheme.google(level)) is not None]
        twice = next((zoom for zoom in zooms if zooms.count(zoom) > 1), None)
        return None if twice is None else f"several LODs of {info.source} are zoom {twice}"
    named = ", ".join(f"LOD {level} (1:{scheme.by_level[level].scale:,.0f})" for level in off[:3])
    more = f" and {len(off) - 3} more" if len(off) > 3 else ""
    return f"{named}{more} of {info.source} {'are' if len(off) > 1 else 'is'} off the Google grid"


def _notices(chosen: Format, info: ServiceInfo, levels: Sequence[int]) -> list[str]:
    found: list[str] = []
    if chosen.name == "mbtiles" and info.tile_format is TileFormat.MIXED:
        found.append(
            "MBTiles states one format for all tiles; of these mixed PNG and JPEG tiles it will be the commonest"
        )
    if chosen.name == "xyz" and info.tile_format is TileFormat.MIXED:
        found.append("in z/x/y folders all tiles have one extension; these mixed PNG and JPEG tiles will all have .png")
    if chosen.name in _ESRI and info.tile_format in (TileFormat.WEBP, TileFormat.PBF):
        found.append(f"Esri's apps and GDAL read no {info.tile_format.value} tiles in {a_format(chosen.name)} cache")
    if info.beside and chosen.name != "vtpk":
        *others, last = info.beside
        named = f"{', '.join(others)} and {last}" if others else last
        is_or_are, them = ("are", "them") if others or last.endswith("s") else ("is", "it")
        found.append(
            f"{chosen.name} holds tiles alone: the {named} of {info.source} {is_or_are} left out; a .vtpk holds {them}"
        )
    if chosen.name in _GDAL and levels:
        found += [f"GDAL will not show this {chosen.name} cache: {reason}" for reason in _gdal(chosen, info, levels)]
    return found


def _gdal(chosen: Format, info: ServiceInfo, levels: Sequence[int]) -> list[str]:
    """What keeps GDAL's ESRIC driver from reading a cache that is in order; Esri's readers don't mind."""
    scheme = info.scheme
    finest = min((scheme.by_level[level] for level in levels), key=lambda lod: lod.resolution)
    coarsest = max((scheme.by_level[level] for level in levels), key=lambda lod: lod.resolution)
    # A folder lists all LODs down to the finest, and GDAL counts level folders from the first; a package has minLOD.
    first = scheme.lods[0] if chosen.folder else coarsest
    listed = [lod.level for lod in scheme.lods if finest.resolution <= lod.resolution <= first.resolution]
    start = 0 if chosen.folder else listed[0]
    if not chosen.folder and scheme.crs.numbered().best_number is None:
        return ["its CRS has no EPSG or Esri number"]
    if scheme.tile_width != scheme.tile_height:
        return [f"its tiles are {scheme.tile_width} x {scheme.tile_height} pixels, not square"]
    if scheme.origin_x >= 0 or scheme.origin_y <= 0:
        return ["it takes tiling schemes for symmetric about 0, and this origin is on the other side"]
    if listed != list(range(start, start + len(listed))):
        return [f"it numbers levels by position, and these are {', '.join(map(str, listed[:6]))} ..."]
    if 2 * max(-scheme.origin_x, scheme.origin_y) / finest.resolution > GDAL_MAX_PIXELS:
        return [f"LOD {finest.level} is wider than {GDAL_MAX_PIXELS:,} pixels"]
    return []
