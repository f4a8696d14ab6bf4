"""What several caches say of themselves, as one: format, texts, extent, layers, policies and sources."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from harvester.caches.compact_documents import DEFAULT_JPEG_QUALITY
from harvester.caches.counted import manifest_of
from harvester.caches.description import tile_format_of
from harvester.caches.vector_layers import join_layers
from harvester.delta.schemes import stated_scheme
from harvester.edges import CacheReader, ServiceInfo, TileFormat, VectorLayer
from harvester.errors import CacheError
from harvester.manifest import joined_policies, joined_sources
from harvester.tiling.scheme import Box

_RASTERS = frozenset({TileFormat.PNG, TileFormat.JPEG, TileFormat.MIXED, TileFormat.WEBP})


def policies_of(readers: Iterable[CacheReader]) -> tuple[str, ...]:
    """What chose the tiles of some caches, as their manifests say."""
    return joined_policies(found.policies for reader in readers if (found := manifest_of(reader)) is not None)


def sources_of(readers: Iterable[CacheReader]) -> tuple[str, ...]:
    """Where the tiles of some caches are from, each source once, as far as they say."""

    def told(reader: CacheReader) -> tuple[str, ...]:
        manifest = manifest_of(reader)
        if manifest is not None and manifest.sources:
            return manifest.sources
        source = reader.info.details.get("source", "") or (manifest.source if manifest is not None else "")
        return (source,) if "://" in source else ()

    return joined_sources(told(reader) for reader in readers)


def service_info(path: Path, reader: CacheReader) -> ServiceInfo:
    """What a cache says of itself, as a writer wants to hear it of a source: what its format has no words for, its
    manifest says.

    ``source`` is its path, for messages; ``identity`` the service that it says it is from.
    """
    info, manifest = reader.info, manifest_of(reader)
    details = info.details
    stated = manifest.format if manifest is not None else ""
    try:
        quality = float(details.get("compressionQuality", "0"))
    except ValueError:
        quality = 0.0
    if manifest is not None and (not quality or (stated and quality == DEFAULT_JPEG_QUALITY)):
        # What is written where a source states none is nobody's word.
        quality = manifest.quality
    return ServiceInfo(
        source=str(path),
        identity=details.get("source", "") or (manifest.source if manifest is not None else ""),
        kind="cache",
        name=info.name or path.stem,
        scheme=stated_scheme(reader),
        extent=stated_extent(reader),
        tile_format=TileFormat.MIXED if stated == "MIXED" and info.tile_format in _RASTERS else info.tile_format,
        format_name=details.get("tileFormat", "") or stated,
        compression_quality=quality,
        attribution=info.attribution,
        description=details.get("description", ""),
        vector_layers=info.vector_layers,
        beside=_beside(reader),
    )


def _beside(reader: CacheReader) -> tuple[str, ...]:
    """What a vector tile package holds beside its tiles."""
    if reader.info.format != "vtpk":
        return ()
    return tuple(name for name in ("style", "sprites", "fonts") if reader.info.details[name] not in ("no", "0"))


def stated_extent(reader: CacheReader) -> Box | None:
    """The extent of a cache's source, which its tiles lie in; of a cache that doesn't know it, the cache's own."""
    manifest = manifest_of(reader)
    if manifest is not None and manifest.scheme is not None and stated_scheme(reader) == manifest.scheme:
        return manifest.source_extent
    return reader.info.extent


def says_mixed(readers: Iterable[CacheReader]) -> bool:
    """Does one of some caches say of its own tiles that they are of several kinds, whichever it holds now? The
    manifest's word counts before that of documents, which allow for tiles that are about to come; not that of one whose
    tiles were found to be so."""

    def says(reader: CacheReader) -> bool:
        manifest = manifest_of(reader)
        if manifest is None or not manifest.format:
            return reader.info.tile_format is TileFormat.MIXED
        return tile_format_of(manifest.format) is TileFormat.MIXED and not manifest.is_found

    return any(map(says, readers))


def joined_format(one: TileFormat, other: TileFormat, name: str) -> TileFormat:
    """The format of two caches' tiles, ``other``'s called ``name``. Raises CacheError where none can hold both."""
    if one is other or other is TileFormat.UNKNOWN:
        return one
    if one is TileFormat.UNKNOWN:
        return other
    if {one, other} <= _RASTERS:
        return TileFormat.MIXED
    hint = "Vector tiles, elevation and pictures don't go into one cache."
    raise CacheError(f"{name} holds {other.value} tiles, not {one.value}", hint=hint, code="other_format")


def joined_format_name(one: str, other: str) -> str:
    """ArcGIS's word for both: PNG is any depth of PNG8, PNG24 and PNG32; "" where their format has to say it."""
    if not one or not other or one == other:
        return one or other
    return "PNG" if one.startswith("PNG") and other.startswith("PNG") else ""


def listed(lists: Sequence[tuple[VectorLayer, ...]]) -> tuple[VectorLayer, ...]:
    """The layers of several caches' vector tiles; none where one does not list its own, so that the tiles are asked."""
    return join_layers(*lists) if all(lists) else ()


def joined_texts(texts: Sequence[str]) -> list[str]:
    """Those that aren't empty, none that is part of one before it."""
    found: list[str] = []
    for text in texts:
        if text and not any(text in other for other in found):
            found.append(text)
    return found


def union(one: Box | None, other: Box | None) -> Box | None:
    """The box of two, or the one that there is."""
    if one is None or other is None:
        return one or other
    return Box(
        min(one.xmin, other.xmin), min(one.ymin, other.ymin), max(one.xmax, other.xmax), max(one.ymax, other.ymax)
    )
