"""conf.xml, conf.cdi and root.json of a cache folder being written: what they say of source, job and old cache.

They are there before the first tile, so that a folder with tiles always is a cache, and are written again at the
end with the levels that hold tiles.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Self

from harvester.caches import compact, conf, root_json
from harvester.caches.belongings import or_replace
from harvester.caches.compact import ALL_LAYERS, CDI, COMPACT_V2, CONF, ROOT, Layout, Storage
from harvester.caches.description import Description, format_word, held_format, seen_format
from harvester.caches.restated import require_plain_root, restate_cdi, restate_conf, restate_root
from harvester.caches.vector_layers import join_layers, with_layers, without_layers
from harvester.durable import Disk
from harvester.edges import CacheInfo, CacheReader, Subject, TileFormat, VectorLayer
from harvester.errors import CacheError, UnsupportedFormatError
from harvester.manifest import FILE
from harvester.tiling.scheme import Box, Lod, TilingScheme
from harvester.tiling.tile import Tile

DEFAULT_JPEG_QUALITY = 75.0
"""ArcGIS's own, where a source doesn't state one; readers don't need it."""

_RASTERS = frozenset({TileFormat.PNG, TileFormat.JPEG, TileFormat.MIXED, TileFormat.WEBP, TileFormat.UNKNOWN})
"""Kinds that may lie in one cache: each tile says by its first bytes what it is."""


class Documents:
    """The documents of one cache folder and the facts in them."""

    def __init__(
        self,
        folder: Path,
        layout: Layout | None,
        old: Description | None,
        subject: Subject,
        disk: Disk,
        storage: Storage = COMPACT_V2,
    ) -> None:
        self.storage = storage
        self.bundles = folder / ALL_LAYERS
        self._folder = folder
        self._paths = {
            CONF: (layout and layout.conf) or folder / CONF,
            CDI: (layout and layout.cdi) or folder / CDI,
            ROOT: (layout and layout.root) or folder / ROOT,
            FILE: folder / FILE,
        }
        self._old = old
        self._subject = subject
        self._disk = disk
        self._levels = tuple(dict.fromkeys([*subject.levels, *(old.scheme.by_level if old is not None else ())]))
        """Those that hold tiles, or may before the end."""
        self._begun = old is not None and old.scheme.by_level.keys() >= set(self._levels)
        self._seen = old.tile_format if old is not None else TileFormat.UNKNOWN
        self._format = held_format(subject.info.tile_format, self._seen)
        stated = compact.read_manifest(layout, disk) if layout is not None else None
        self._layers = without_layers(stated or "")[1]

    @classmethod
    def open(cls, path: Path, subject: Subject, disk: Disk, storage: Storage = COMPACT_V2) -> Self:
        """Look at what is there. Raises CacheError where it is neither empty nor a cache that the tiles fit."""
        if not path.exists():
            return cls(path, None, None, subject, disk, storage)
        layout = compact.locate_here(path)
        if layout is None:
            if path.is_dir() and compact.is_empty(path):
                return cls(path, None, None, subject, disk, storage)
            raise CacheError(
                f"{path} is neither empty nor a compact cache: it has neither conf.xml nor root.json",
                hint="Move it away, or choose another output.",
                code="not_a_cache",
            )
        old, bundles = compact.describe(layout, disk, storage)
        where = str(layout.conf or layout.root)
        if bundles.name.lower() != ALL_LAYERS or bundles.parent != layout.folder:
            raise UnsupportedFormatError(
                f"{layout.folder} is an unpacked tile package (its bundles are in {bundles.name})",
                hint="Choose another output.",
            )
        if difference := old.scheme.mismatch(subject.info.scheme):
            raise CacheError(
                f"{where} is of another tiling scheme: {difference}",
                hint=or_replace(path),
                code="other_scheme",
            )
        if not _fits(old.tile_format, subject.info.tile_format):
            raise CacheError(
                f"{where} holds {old.format_name} tiles, the source has {subject.info.tile_format.value}",
                hint=or_replace(path),
                code="other_format",
            )
        if compact.is_foreign(layout.folder / FILE):
            raise CacheError(
                f"{layout.folder / FILE} is not the cache's: a cache keeps its own under that name",
                hint="Move it away, or choose another output; nothing was changed.",
                code="name_taken",
            )
        if layout.root is not None:
            require_plain_root(compact.read_document(layout.root, disk), str(layout.root))
        documents = cls(layout.folder, layout, old, subject, disk, storage)
        documents.bundles = bundles
        return documents

    def info(self) -> CacheInfo:
        """The cache as it would be described now, with all LODs of the source and of what is there: what holds tiles is
        still to be looked up."""
        whole = replace(self._describe(self._subject, self._levels), scheme=self._whole_scheme())
        return compact.cache_info(whole, self.storage.format)

    def _whole_scheme(self) -> TilingScheme:
        lods = self._lods()
        return replace(self._subject.info.scheme, lods=tuple(sorted(lods, key=lambda lod: -lod.resolution)))

    def begin(self, kinds: Iterable[str]) -> None:
        """Before a batch: the documents are there, have the LODs that its tiles may be of, and name a format that they
        have. So wherever a kill comes, no tile lies at a LOD that nothing says anything of."""
        self._seen = seen_format(self._seen, kinds)
        held = held_format(self._subject.info.tile_format, self._seen)
        if not self._begun or held is not self._format:
            self._format = held
            self._write(self._describe(self._subject, self._levels), self._levels)
            self._begun = True

    def write(self, subject: Subject, held: CacheReader) -> None:
        """Write each document whose content differs, from what the cache holds now."""
        self._subject = subject
        if subject.held is not None:
            self._seen = self._format = subject.held
        levels = tuple(held.levels()) or subject.levels
        about = self._describe(subject, levels)
        if about.extent is None:
            about = replace(about, extent=_extent_of(about.scheme, held))
        self._write(about, levels)
        # Named are those that hold tiles: before there are more, the others are again.
        self._begun = about.scheme.by_level.keys() >= set(self._levels)

    def _write(self, about: Description, levels: Sequence[int]) -> None:
        self._disk.make_dirs(self.bundles)
        manifest = self._subject.manifest
        layers: tuple[VectorLayer, ...] = ()
        if self._format is TileFormat.PBF:
            layers = join_layers(self._layers, self._subject.info.vector_layers)
        for name, data in (
            (FILE, with_layers(manifest.text(), layers).encode() if manifest is not None else None),
            (CDI, conf.render_cdi(about) if about.extent else None),
            (ROOT, _render_root(about, levels)),
            (CONF, conf.render_conf(about)),
        ):
            path = self._paths[name]
            there = compact.read_document(path, self._disk) if path.is_file() else None
            if data is not None and there is not None:
                data = _restated(name, there, about, levels, str(path)) or data
            if data is not None and data != there:
                self._disk.write_whole(path, data)

    def _lods(self) -> list[Lod]:
        """Of the source, and those that only the old cache knows."""
        scheme, old = self._subject.info.scheme, self._old
        return [*scheme.lods, *(lod for lod in (old.scheme.lods if old else ()) if lod.level not in scheme.by_level)]

    def _describe(self, subject: Subject, levels: Sequence[int]) -> Description:
        info, old = subject.info, self._old
        tile_format = self._format
        quality = info.compression_quality or (old.compression_quality if old else 0.0)
        if not quality and tile_format in (TileFormat.JPEG, TileFormat.MIXED):
            quality = DEFAULT_JPEG_QUALITY
        extent = subject.extent or info.extent
        counted = subject.manifest is not None and subject.manifest.extent is not None
        if old is not None and old.extent is not None and not counted:
            extent = _union(old.extent, extent)
        return Description(
            scheme=_listed(info.scheme, self._lods(), levels),
            format_name=format_word(tile_format, info.format_name or (old.format_name if old else "")),
            compression_quality=quality,
            storage_format=self.storage.word,
            packet_size=self.storage.packet_size,
            extent=extent,
            name=info.name or (old.name if old else ""),
            description=info.description or (old.description if old else ""),
            attribution=info.attribution or (old.attribution if old else ""),
        )


def _render_root(about: Description, levels: Sequence[int]) -> bytes:
    return root_json.render_root(about, bundles=root_json.FOLDER_BUNDLES, levels=levels)


def _restated(name: str, there: bytes, about: Description, levels: Sequence[int], where: str) -> bytes | None:
    """A document that is there, of a cache that is ``about`` now; None where it is to be written new."""
    with suppress(CacheError):
        if name == CONF:
            return restate_conf(there, about, where)
        if name == CDI:
            return restate_cdi(there, about, where)
        if name == ROOT:
            return restate_root(there, about, where, levels, _render_root)
    return None


def _listed(scheme: TilingScheme, lods: Sequence[Lod], levels: Sequence[int]) -> TilingScheme:
    """The scheme with these LODs down to the finest of ``levels``."""
    held = [lod.resolution for lod in lods if lod.level in levels]
    finest = min(held, default=0.0)
    kept = sorted((lod for lod in lods if lod.resolution >= finest), key=lambda lod: -lod.resolution)
    return replace(scheme, lods=tuple(kept))


def _fits(old: TileFormat, new: TileFormat) -> bool:
    return old is new or (old in _RASTERS and new in _RASTERS) or TileFormat.UNKNOWN in (old, new)


def _union(one: Box, other: Box | None) -> Box:
    if other is None:
        return one
    low = min(one.xmin, other.xmin), min(one.ymin, other.ymin)
    return Box(*low, max(one.xmax, other.xmax), max(one.ymax, other.ymax))


def _extent_of(scheme: TilingScheme, held: CacheReader) -> Box | None:
    """The box of the tiles at the finest level that holds any, for a source and a job that state no extent."""
    extent: Box | None = None
    level = next((lod.level for lod in reversed(scheme.lods) if next(held.blocks(lod.level), None)), None)
    for key in held.blocks(level) if level is not None else ():
        rows, cols = held.present(key).nonzero()
        first = scheme.box(Tile(key.level, key.row + int(rows.min()), key.col + int(cols.min())))
        last = scheme.box(Tile(key.level, key.row + int(rows.max()), key.col + int(cols.max())))
        extent = _union(Box(first.xmin, last.ymin, last.xmax, first.ymax), extent)
    return extent
