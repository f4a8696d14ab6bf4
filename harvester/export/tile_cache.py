"""arcpy.management.ExportTileCache without Esri: tiles of a local cache into a new cache or a tile package.

Parameters, values and defaults: Esri's tool reference, "Export Tile Cache (Data Management)". Tiles are copied whole:
those at the rim of an area reach beyond it where Esri clips pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harvester.errors import CacheError, UsageError
from harvester.events import Event, Notice
from harvester.export.arguments import is_default, read_area, read_scales, read_word
from harvester.export.own_words import CALL, own_words
from harvester.export.server_cache import DATASETS, MAP_NAME, STORAGE_FORMATS

if TYPE_CHECKING:
    from harvester.durable import Disk
    from harvester.edges import CacheReader, CacheWriter, ServiceInfo, Stored
    from harvester.job import Policy
    from harvester.output import OutputPaths
    from harvester.planning import Plan

CACHE_TYPES = ("TILE_CACHE", "TILE_PACKAGE", "TILE_PACKAGE_TPKX")

PACKAGES = {"TILE_PACKAGE": "tpk", "TILE_PACKAGE_TPKX": "tpkx"}

BATCH_TILES = 2048
BATCH_BYTES = 32 << 20
"""One durable commit, as a run writes them; no more tiles than these are in memory."""


def export_tile_cache(
    in_cache_source: Any,
    in_target_cache_folder: Any,
    in_target_cache_name: str,
    export_cache_type: str | None = "TILE_CACHE",
    storage_format_type: str | None = "COMPACT_V2",
    scales: Any = None,
    area_of_interest: Any = None,
    *,
    on_event: Callable[[Event], None] | None = None,
) -> str:
    """Export tiles of a local cache as arcpy.management.ExportTileCache does; gives the path of what was written.

    Values in any case of letters; None, ``#`` and "" mean the default, as in arcpy.

    ``in_cache_source``: any cache that harvester reads (folder, package, MBTiles, GeoPackage, PMTiles).
    ``in_target_cache_folder``, ``in_target_cache_name``: where it goes, made where it is missing:
    ``<folder>/<name>/Layers/`` (TILE_CACHE), ``<folder>/<name>.tpk`` (TILE_PACKAGE, always COMPACT) or ``.tpkx``
    (TILE_PACKAGE_TPKX, always COMPACT_V2). EXPLODED cannot be packed. What exists there already is never touched.
    ``scales``: denominators, as "4000;2000" or a list; without them, all that the cache holds.
    ``area_of_interest``: a feature class or AOI file, a FeatureSet (object, JSON text, mapping), or a geometry.

    ``on_event`` gets Notices. Raises UsageError for the arguments, CacheError for either cache; then the target is not
    there.
    """
    from harvester.api import blocking
    from harvester.durable import safe_name

    if is_default(in_cache_source):
        raise UsageError("in_cache_source: nothing is named", hint="Name a cache: a folder, a package, a file.")
    if is_default(in_target_cache_folder) or is_default(in_target_cache_name):
        raise UsageError("in_target_cache_name: nothing is named", hint="Name a folder, and the new cache in it.")
    cache_type = read_word("export_cache_type", export_cache_type, CACHE_TYPES, "TILE_CACHE")
    storage = read_word("storage_format_type", storage_format_type, STORAGE_FORMATS, "COMPACT_V2")
    if cache_type in PACKAGES and storage == "EXPLODED":
        raise UsageError(
            "storage_format_type: EXPLODED cannot be packed into a tile package",
            hint="TILE_PACKAGE is always COMPACT, TILE_PACKAGE_TPKX always COMPACT_V2.",
        )
    format = PACKAGES.get(cache_type) or DATASETS[storage]
    name = str(in_target_cache_name).strip()
    if safe_name(name) != name:
        raise UsageError(f"in_target_cache_name: {name!r:.80} is no file name", hint=f"{safe_name(name)!r} is one.")
    folder = Path(str(in_target_cache_folder))
    if cache_type in PACKAGES:
        out = folder / (name if name.lower().endswith(f".{format}") else f"{name}.{format}")
    else:
        out = folder / name / MAP_NAME
    copy = _Copy(
        source=Path(str(in_cache_source)),
        out=out,
        format=format,
        policy=read_area(area_of_interest, read_scales(scales)),
        tell=lambda text: on_event(Notice(text=text)) if on_event is not None else None,
    )
    with own_words(CALL):
        blocking(copy.run())
    return str(out)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Copy:
    """One export: planned whole, written beside its name, swapped in at the end."""

    source: Path
    out: Path
    format: str
    policy: Policy
    tell: Callable[[str], None]

    async def run(self) -> None:
        """Copy. Raises UsageError, CacheError; then nothing is there that was not there before."""
        from harvester.caches.open import FORMATS, is_empty_or_missing, open_cache, require_can_hold
        from harvester.delta.apart import require_apart
        from harvester.delta.soundness import half_applied, require_whole, unfinished
        from harvester.durable import Disk, behind_links, lock
        from harvester.output import NEW, PART, OutputPaths, exists, recover, require_free, require_own_names

        if not is_empty_or_missing(self.out):
            raise CacheError(
                f"{self.out} is there already", hint="Choose another name, or move it away.", code="exists"
            )
        disk = Disk()
        require_apart([self.source], self.out)
        with open_cache(self.source) as reader:
            info = _info(self.source, reader)
            require_whole(reader, str(self.source))
            if left := unfinished(str(self.source)):
                self.tell(f"{self.source} is not complete: {left}; what is there comes along")
            if told := half_applied(reader, str(self.source)):
                self.tell(told)
            levels, plan = self._planned(info)
            for text in (*require_can_hold(self.format, info, levels), *(plan.notices if plan else ())):
                self.tell(text)
            paths = OutputPaths(out=behind_links(self.out), sealed=FORMATS[self.format].sealed, overwrite=True)
            made = [folder for folder in self.out.absolute().parents if not folder.exists()]
            if made:
                disk.make_dirs(made[0])
            try:
                with lock(paths.lock) as held:
                    paths = replace(paths, held=held)
                    require_own_names(paths, self.format)
                    if exists(paths.new_ledger) or exists(paths.work):
                        raise CacheError(
                            f"{self.out} is being made by a run that is not finished",
                            hint="Finish that run, or choose another name.",
                            code="unfinished",
                        )
                    recover(paths, disk)
                    require_free(paths, paths.new, paths.part if paths.sealed else paths.old)
                    paths.claim(NEW, PART) if paths.sealed else paths.claim(NEW)
                    await self._write(reader, info, levels, plan, paths, disk)
            finally:
                for folder in made:
                    if folder.is_dir() and not any(folder.iterdir()):
                        folder.rmdir()

    def _planned(self, info: ServiceInfo) -> tuple[tuple[int, ...], Plan | None]:
        """The levels to copy, and the tiles of an area; None: all that the cache holds."""
        from harvester.aoi import load_area
        from harvester.planning import make_plan
        from harvester.selection import select_levels

        try:
            levels, _ = select_levels(info, self.policy)
        except UsageError as error:
            raise UsageError(
                error.message.replace("the service", str(self.source)), hint=error.hint, code=error.code
            ) from error
        finest = min(info.scheme.by_level[level].resolution for level in levels)
        area = load_area(self.policy, info.scheme.crs, finest)
        if area is None:
            return levels, None
        for text in area.notices:
            self.tell(text)
        return levels, make_plan(info, [(levels, area)], use_extent=False)

    async def _write(
        self,
        reader: CacheReader,
        info: ServiceInfo,
        levels: tuple[int, ...],
        plan: Plan | None,
        paths: OutputPaths,
        disk: Disk,
    ) -> None:
        import asyncio

        from harvester.caches.open import open_writer, seal
        from harvester.delta.statements import policies_of, sources_of
        from harvester.edges import Subject
        from harvester.output import swap
        from harvester.version import __version__

        extent = info.extent if plan is None else plan.extent
        origins = sources_of([reader])
        subject = Subject(
            # Where the tiles are from, not where the file lay that they were read from.
            info=replace(info, source="; ".join(origins) or info.name),
            levels=levels,
            extent=extent,
            generator=f"harvester {__version__}",
            policies=policies_of([reader]),
            sources=origins,
        )
        try:
            writer = await open_writer(self.format, paths.new, subject, disk=disk)
            try:
                found = await _copy(reader, info, plan, writer, levels)
                if not found:
                    raise UsageError(
                        f"{self.source} holds no tile of this selection", hint="Check the area and its CRS."
                    )
                subject = replace(subject, levels=found)
                await writer.finish(subject)
            finally:
                await writer.close()
            if paths.sealed:
                await asyncio.to_thread(seal, self.format, paths.new, paths.part, subject, disk=disk)
            swap(paths, disk)
        finally:
            disk.remove_tree(paths.new)
            if paths.sealed:
                disk.remove(paths.part)


async def _copy(
    reader: CacheReader, info: ServiceInfo, plan: Plan | None, writer: CacheWriter, levels: tuple[int, ...]
) -> tuple[int, ...]:
    """Copy block by block, in bounded batches; gives the levels of which anything was there."""
    found: list[int] = []
    batch: list[Stored] = []
    size = 0
    for level in levels:
        for tile in _tiles(reader, info, plan, level):
            if level not in found:
                found.append(level)
            batch.append(tile)
            size += len(tile.body)
            if len(batch) >= BATCH_TILES or size >= BATCH_BYTES:
                await writer.store(batch)
                batch, size = [], 0
    if batch:
        await writer.store(batch)
    return tuple(found)


def _tiles(reader: CacheReader, info: ServiceInfo, plan: Plan | None, level: int) -> Iterator[Stored]:
    from harvester.caches.tile_look import type_of
    from harvester.edges import Stored, TileFormat
    from harvester.tiling.tile import BLOCK

    for key in reader.blocks(level):
        if plan is not None and not plan.count_between(
            level, key.row, key.row + BLOCK - 1, key.col, key.col + BLOCK - 1
        ):
            continue
        for tile, body in reader.tiles(key):
            if plan is None or plan.contains(tile):
                kind = type_of(body)
                yield Stored(tile, body, (info.tile_format if kind is TileFormat.UNKNOWN else kind).value)


def _info(path: Path, reader: CacheReader) -> ServiceInfo:
    """What the cache says of itself, as a writer hears it of a service; its LODs are those that it holds."""
    from harvester.delta.statements import service_info

    held = set(reader.levels())
    if not held:
        raise CacheError(f"{path} holds no tile", hint="Name a cache with tiles.", code="empty")
    info = reader.info
    finest = min(info.scheme.by_level[level].resolution for level in held)
    coarsest = max(info.scheme.by_level[level].resolution for level in held)
    lods = tuple(lod for lod in info.scheme.lods if finest <= lod.resolution <= coarsest)
    return replace(service_info(path, reader), scheme=replace(info.scheme, lods=lods), extent=info.extent)
