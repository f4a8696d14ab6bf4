"""The writer of plain files in z/x/y folders: where each tile goes, and the TileJSON that says so."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from harvester.caches import compact
from harvester.caches.belongings import or_replace
from harvester.caches.compact import TILES
from harvester.caches.folders import TileFolder
from harvester.caches.folders_reader import FolderReader
from harvester.caches.folders_writer import INCOMING, FolderWriter
from harvester.caches.json_text import require_single, with_values
from harvester.caches.layer_survey import layers_for
from harvester.caches.mbtiles_metadata import Span, data_box
from harvester.caches.vector_layers import join_layers, joined_layers, parse_layers, render_layers
from harvester.caches.world import WorldWriter
from harvester.caches.xyz import MAX_ZOOM, XyzNaming, describe, extension_of, folder_of, read_tilejson, stated_format
from harvester.durable import Disk
from harvester.edges import Subject, TileFormat
from harvester.errors import CacheError, UnsupportedFormatError
from harvester.manifest import KEY
from harvester.tiling.google import latitude, longitude
from harvester.tiling.scheme import GOOGLE_ORIGIN, GooglePlace
from harvester.tiling.tile import Tile, tms_row

_MEMBERS = {
    *("attribution", "bounds", "center", "description", "format", "generator", "maxzoom", "minzoom", "name", "tiles"),
    *("scheme", "tilejson", "tilesize", "vector_layers", "version", KEY.lower()),
}
"""Of tiles.json, what tiles that are added may change."""

ALIASES = {"jpeg": "jpg", "mvt": "pbf"}
"""Extensions that others use for the same kind of tile."""


class XyzDocuments:
    """tiles.json, and where the tiles lie."""

    def __init__(self, folder: Path, old: dict[str, Any] | None, subject: Subject, disk: Disk) -> None:
        self.folder = folder
        self.files = TileFolder(folder, XyzNaming())
        self._old = old
        self._subject = subject
        self._disk = disk
        self._places = {lod.level: place for lod in subject.info.scheme.lods if (place := _place(subject, lod.level))}
        self._extension = (extension_of(old) if old is not None else None) or _stated_extension(subject)
        self._kinds: Counter[str] = Counter()
        self.notices: list[str] = []

    def begin(self, kinds: Iterable[str]) -> None:
        """What is written before the first tile."""
        if self._extension is None:
            self._extension = min(kinds, default="png")
        if self._old is None:
            self._disk.make_dirs(self.folder)
            self._save(self._describe(self._subject, None))

    def extension(self, body: bytes, kind: str) -> str:
        """The same for all."""
        self._kinds[kind] += 1
        return self._extension or kind

    def place(self, tile: Tile) -> Tile:
        """By tile span: a level of 512-pixel tiles is the zoom before."""
        place = self._places.get(tile.level)
        if place is None:
            raise _off_grid(self._subject, tile.level)
        return Tile(place.zoom, tile.row + place.row_offset, tile.col + place.col_offset)

    def write(self, subject: Subject) -> None:
        """Write what describes the cache."""
        self._subject = subject
        if self._extension is None:
            self._extension = "png"
        if subject.kinds is not None:
            self._kinds = Counter(subject.kinds)
        self._disk.make_dirs(self.folder)
        self.notices.clear()
        self._save(self._describe(subject, self._spans()))
        self._tell_of_others()

    def _others(self) -> dict[str, int]:
        """Tiles that were written and are of another kind than the extension is, by kind."""
        named = ALIASES.get(self._extension or "", self._extension)
        return {kind: count for kind, count in sorted(self._kinds.items()) if kind != named}

    def _tell_of_others(self) -> None:
        """Tiles that are not what their file's name says: whoever serves them has to look at their first bytes."""
        others = self._others()
        if others:
            named = " and ".join(f"{count:,} {kind}" for kind, count in others.items())
            text = f"{self.folder} holds {named} tiles under names that end in .{self._extension}, as its template says"
            self.notices.append(text)

    def _save(self, document: dict[str, Any]) -> None:
        if document != self._old:
            path = self.folder / TILES
            there = compact.read_document(path, self._disk) if path.is_file() else None
            if there is None or _is_ours(self._old, there):
                self._disk.write_whole(path, _rendered(document))
            else:
                self._disk.write_whole(path, with_values(there, document, str(path)))
            self._old = document

    def _spans(self) -> list[Span]:
        """Which columns and rows each zoom's tiles reach over."""
        spans = []
        for zoom in self.files.levels():
            cols: list[int] = []
            rows: list[int] = []
            for col in self.files.outers(zoom):
                found = {row for row in self.files.inners(zoom, col) if self.files.is_inside(Tile(zoom, row, col))}
                if found:
                    cols.append(col)
                    rows += [min(found), max(found)]
            if cols:
                low, high = tms_row(zoom, max(rows)), tms_row(zoom, min(rows))
                spans.append(Span(zoom, min(cols), max(cols), low, high))
        return spans

    def _describe(self, subject: Subject, spans: Sequence[Span] | None) -> dict[str, Any]:
        """tiles.json as it should be; what a person wrote into it, and what no tile changed, stays."""
        info, old = subject.info, self._old or {}
        mixed = info.tile_format is TileFormat.MIXED or old.get("format") == "mixed" or bool(self._others())
        if subject.held is not None:
            mixed = subject.held is TileFormat.MIXED
        document: dict[str, Any] = {
            "tilejson": "3.0.0",
            "tiles": [f"{{z}}/{{x}}/{{y}}.{self._extension}"],
            "scheme": "xyz",
            "version": "1.0.0",
            "name": info.name,
            "description": info.description,
            "format": "mixed" if mixed else self._extension,
            "tileSize": info.scheme.tile_width,
            **old,
        }
        if mixed:
            document["format"] = "mixed"
        elif subject.held is not None and stated_format(document) is not subject.held:
            document["format"] = subject.held.value
        if info.attribution:
            document["attribution"] = info.attribution
        if subject.generator:
            document["generator"] = subject.generator
        if subject.manifest is not None:
            document[KEY] = subject.manifest.to_dict()
        if self._extension == "pbf":
            stated = parse_layers(old.get("vector_layers"))
            if spans is not None:
                held = FolderReader(describe(document, self.files.levels()), self.files, self._disk)
                listed = layers_for(info.vector_layers, held)
                stated = join_layers(stated, listed.layers)
                self.notices += () if subject.applying else listed.notices
            document["vector_layers"] = joined_layers(old.get("vector_layers"), render_layers(stated))
        extent = subject.extent or info.extent
        box = data_box(spans or (), extent)
        if spans and box is not None:
            low, high = min(span.zoom for span in spans), max(span.zoom for span in spans)
            west, south, east, north = (max(-GOOGLE_ORIGIN, min(edge, GOOGLE_ORIGIN)) for edge in box)
            west, south, east, north = longitude(west), latitude(south), longitude(east), latitude(north)
            document |= {
                "minzoom": low,
                "maxzoom": high,
                "bounds": [west, south, east, north],
                "center": [(west + east) / 2, (south + north) / 2, (low + high) // 2],
            }
        return document


def _rendered(document: dict[str, Any] | None) -> bytes:
    """As we write it. ValueError for what JSON has no words for."""
    return (json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()


def _is_ours(document: dict[str, Any] | None, data: bytes) -> bool:
    """Is this document word for word as we would write it?"""
    try:
        return _rendered(document) == data
    except ValueError:
        return False


async def open_writer(path: str | Path, subject: Subject, *, disk: Disk | None = None) -> WorldWriter:
    """Open a folder of z/x/y files for writing; nothing is made before the first batch or ``finish``.

    Raises UnsupportedFormatError for LERC and for LODs off the Google grid, CacheError where ``path`` is neither empty
    nor such a folder, or holds tiles of another size or kind.
    """
    disk = disk or Disk()
    documents = await asyncio.to_thread(_open_documents, Path(path), subject, disk)
    await asyncio.to_thread(disk.remove_tree, documents.folder / INCOMING)
    return WorldWriter(FolderWriter(documents, disk), subject.info.scheme, "a z/x/y folder")


def _open_documents(path: Path, subject: Subject, disk: Disk) -> XyzDocuments:
    info = subject.info
    if info.tile_format is TileFormat.LERC:
        raise UnsupportedFormatError("z/x/y folders hold no LERC tiles", hint="Use a compact cache or a package.")
    zooms: dict[int, int] = {}
    for level in subject.levels:
        place = _place(subject, level)
        if place is None:
            raise _off_grid(subject, level)
        if place.zoom in zooms:
            raise UnsupportedFormatError(
                f"LODs {zooms[place.zoom]} and {level} are both zoom {place.zoom}, and a folder holds each zoom once",
                hint="Choose one of them, or use a compact cache.",
            )
        zooms[place.zoom] = level
    folder = folder_of(path)
    if folder is None:
        if not path.exists() or (path.is_dir() and compact.is_empty(path)):
            return XyzDocuments(path, None, subject, disk)
        raise CacheError(
            f"{path} is neither empty nor a folder of z/x/y tiles: it has no {TILES}",
            hint="Move it away, or choose another output.",
            code="not_a_cache",
        )
    old = read_tilejson(folder, disk)
    require_single(compact.read_document(folder / TILES, disk), {"": _MEMBERS}, str(folder / TILES))
    theirs = describe(old, ())
    if theirs.scheme.tile_width != info.scheme.tile_width:
        raise CacheError(
            f"{folder / TILES} is of tiles of {theirs.scheme.tile_width} pixels, the source's have "
            f"{info.scheme.tile_width}",
            hint=or_replace(folder),
            code="other_scheme",
        )
    pair = {theirs.tile_format, info.tile_format}
    if len(pair) == 2 and TileFormat.PBF in pair and TileFormat.UNKNOWN not in pair:
        raise CacheError(
            f"{folder / TILES} is of {theirs.tile_format.value} tiles, the source has {info.tile_format.value}",
            hint=or_replace(folder),
            code="other_format",
        )
    return XyzDocuments(folder, old, subject, disk)


def _place(subject: Subject, level: int) -> GooglePlace | None:
    scheme = subject.info.scheme
    place = scheme.google(level) if level in scheme.by_level else None
    return place if place is not None and place.zoom <= MAX_ZOOM else None


def _off_grid(subject: Subject, level: int) -> UnsupportedFormatError:
    name = subject.info.name or subject.info.source
    return UnsupportedFormatError(
        f"LOD {level} of {name} is off the Google grid; z/x/y folders hold no other",
        hint="Use a compact cache, a package or GeoPackage.",
    )


def _stated_extension(subject: Subject) -> str | None:
    tile_format = subject.info.tile_format
    if tile_format is TileFormat.UNKNOWN:
        return None
    return "png" if tile_format is TileFormat.MIXED else tile_format.value
