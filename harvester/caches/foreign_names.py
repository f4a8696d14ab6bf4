"""Which names in a cache folder are no cache's: exactly what a cache of that format writes is ours, and nothing else.

A compact or exploded cache: conf.xml, conf.cdi, root.json, manifest.json, ``_alllayers/Lnn/`` with its bundles, or rows
of tiles. A z/x/y folder: tiles.json, and tiles of the world in its own extension. Either may hold the notes of a delta.
Layouts: see bundle_v2.py, bundle_v1.py, exploded.py, xyz.py, harvester/delta/record.py.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from harvester.caches import bundle_v1, bundle_v2, compact, conf
from harvester.caches.exploded_naming import ExplodedNaming
from harvester.caches.folders import EXTENSIONS
from harvester.caches.folders_writer import INCOMING
from harvester.caches.xyz import XyzNaming, extension_of
from harvester.durable import Disk, disk_error
from harvester.edges import TileFormat
from harvester.errors import CacheError
from harvester.manifest import FILE
from harvester.tiling.tile import BLOCK

_LITTER = frozenset({".ds_store", "thumbs.db", "desktop.ini"})
"""What file managers leave in a folder that was looked at."""

_STATED = (compact.CONF, compact.CDI, compact.ROOT, FILE)
_AUX = frozenset({"conf.xml.aux.xml", "root.json.aux.xml", "tiles.json.aux.xml"})
"""Statistics that GDAL keeps beside what it has opened."""

_LOOKED_INTO = frozenset({*_STATED, compact.TILES})
"""Names that other things have too."""

_RESOURCES = frozenset({"resources", "kept.zip"})
"""Style, sprites and fonts, and what else a package held: in work folders only."""

_OF_FORMAT = {
    TileFormat.PNG: ("png",),
    TileFormat.JPEG: ("jpg", "jpeg"),
    TileFormat.WEBP: ("webp",),
    TileFormat.LERC: ("lerc",),
    TileFormat.PBF: ("pbf", "mvt"),
}

_BUNDLE_WORDS = {0: b"\x03\0\0\0", 12: b"\x05\0\0\0"}
"""Offset -> bytes: the version, and how many bytes an entry's offset has."""

_NUMBER = re.compile(r"0|[1-9]\d{0,8}")
_PART = re.compile(r"\d+\.part")
_EXPLODED, _XYZ = ExplodedNaming(), XyzNaming()
_DELTA, _INDEX = "delta", "index.json"


def foreign_in(folder: Path, format: str, *, is_work: bool = False) -> str | None:
    """The first name in a cache folder that no cache of the format has, relative to it; None where all is the cache's.

    ``is_work``: it is the work folder of a package, which holds more. Links are nobody's, and not followed. Raises
    CacheError where the folder can't be listed.
    """
    return next(_Folder(folder, format, is_work=is_work).foreign(), None)


def link_in(folder: Path) -> str | None:
    """The first link in a folder, relative to it: what is written there would go elsewhere. Raises CacheError."""
    return next((name for name, entry in _walk(folder) if _is_link(entry)), None)


def foreign_incoming(folder: Path) -> str | None:
    """The first name among a cache's half-written tiles that is none; None where all are, or nothing is there."""
    place = folder / INCOMING
    if place.is_symlink() or (place.exists() and not place.is_dir()):
        return INCOMING
    if not place.is_dir():
        return None
    return next((f"{INCOMING}/{name}" for name, entry in _walk(place) if not _is_part(name, entry)), None)


class _Folder:
    """One cache folder, whose names are judged by the path in it."""

    def __init__(self, folder: Path, format: str, *, is_work: bool) -> None:
        self._folder = folder
        self._is_work = is_work
        documents = (compact.TILES,) if format == "xyz" else _STATED
        self._documents = frozenset(documents)
        self._parts = frozenset(f"{name}.part" for name in documents)
        self._extensions = _extensions(folder, format)
        self._is_tile: Callable[[list[str], bool], bool] = {
            "compactv2": self._is_compact,
            "compact": self._is_compact_v1,
            "exploded": self._is_exploded,
            "xyz": self._is_xyz,
        }[format]
        self._is_delta = _is_index(folder / _DELTA / _INDEX)

    def foreign(self) -> Iterator[str]:
        seen: set[str] = set()
        for name, entry in _walk(self._folder):
            low = name.lower()
            is_folder = entry.is_dir(follow_symlinks=False)
            twice = low in self._documents and low in seen
            seen.add(low)
            if twice or _is_link(entry) or not self._is_own(name, entry, is_folder):
                yield name

    def _is_own(self, name: str, entry: os.DirEntry[str], is_folder: bool) -> bool:
        low, parts = name.lower(), name.split("/")
        if len(parts) == 1 and not is_folder:
            if low in _LOOKED_INTO and compact.is_foreign(Path(entry.path)):
                return False
            if low in self._documents or low in _LITTER:
                return True
            if low in self._parts or low in _AUX:
                return compact.may_be_half(_head(entry, 1))
        if not is_folder and entry.name.lower() in _LITTER:
            return True
        if parts[0] == _DELTA and self._is_delta:
            return _is_note(parts, entry, is_folder)
        if self._is_work and parts[0] in _RESOURCES:
            return True
        return self._is_tile(parts, is_folder) and (is_folder or self._is_whole(entry))

    def _is_whole(self, entry: os.DirEntry[str]) -> bool:
        """A bundle begins as one; of tiles the name says enough."""
        suffix = _without_part(entry.name).lower().rpartition(".")[2]
        if suffix == "bundlx":
            head = _head(entry, bundle_v1.INDEX_START)
            return not head.strip(b"\0") or bundle_v1.begins_index(head)
        if suffix != "bundle":
            return True
        head = _head(entry, bundle_v2.HEADER_SIZE)
        return not head.strip(b"\0") or _begins_bundle(head)

    # ------------------------------------------------------------------------------------------ names by format

    def _is_compact(self, parts: list[str], is_folder: bool) -> bool:
        if parts[0].lower() != compact.ALL_LAYERS or len(parts) > 3 or is_folder != (len(parts) < 3):
            return False
        level = bundle_v2.parse_level_folder(parts[1]) if len(parts) > 1 else 0
        if level is None or is_folder:
            return level is not None
        return bundle_v2.parse_bundle_name(level, _without_part(parts[2])) is not None

    def _is_compact_v1(self, parts: list[str], is_folder: bool) -> bool:
        name = re.sub(r"\.bundlx$", ".bundle", _without_part(parts[-1]))
        return self._is_compact([*parts[:-1], name], is_folder)

    def _is_exploded(self, parts: list[str], is_folder: bool) -> bool:
        naming = _EXPLODED
        if parts[0] == INCOMING:
            return is_folder if len(parts) == 1 else not is_folder and _PART.fullmatch(parts[1]) is not None
        if parts[0].lower() != compact.ALL_LAYERS or len(parts) > 4 or is_folder != (len(parts) < 4):
            return False
        if len(parts) > 1 and naming.parse_level(parts[1]) is None:
            return False
        if len(parts) > 2 and naming.parse_outer(parts[2]) is None:
            return False
        return is_folder or self._number(naming.parse_inner, parts[3]) is not None

    def _is_xyz(self, parts: list[str], is_folder: bool) -> bool:
        naming = _XYZ
        if parts[0] == INCOMING:
            return is_folder if len(parts) == 1 else not is_folder and _PART.fullmatch(parts[1]) is not None
        if len(parts) > 3 or is_folder != (len(parts) < 3):
            return False
        zoom = naming.parse_level(parts[0])
        numbers = [naming.parse_outer(part) for part in parts[1:2]]
        if not is_folder:
            numbers.append(self._number(naming.parse_inner, parts[2]))
        return zoom is not None and all(number is not None and number < 1 << zoom for number in numbers)

    def _number(self, parse: Callable[[str], int | None], name: str) -> int | None:
        stem, _, extension = name.rpartition(".")
        return parse(stem) if extension in self._extensions else None


def _extensions(folder: Path, format: str) -> tuple[str, ...]:
    """Of the tiles, as the cache states it; all where it doesn't."""
    try:
        if format == "xyz":
            stated = json.loads(compact.read_document(folder / compact.TILES, Disk()).decode("utf-8-sig"))
            extension = extension_of(stated) if isinstance(stated, dict) else None
            return EXTENSIONS if extension is None else (extension,)
        layout = compact.locate_here(folder)
        if format == "exploded" and layout is not None and layout.conf is not None:
            about = conf.parse_conf(compact.read_document(layout.conf, Disk()), str(layout.conf))
            return _OF_FORMAT.get(about.tile_format, EXTENSIONS)
    except (CacheError, ValueError, RecursionError, TypeError):
        pass
    return EXTENSIONS


def _is_index(path: Path) -> bool:
    try:
        document = json.loads(compact.read_document(path, Disk())) if path.is_file() else None
    except (CacheError, ValueError, RecursionError):
        return False
    return isinstance(document, dict) and {"version", "base", "target"} <= document.keys()


def _is_note(parts: list[str], entry: os.DirEntry[str], is_folder: bool) -> bool:
    """``delta/``, ``delta/index.json``, ``delta/level/row/col``: zlib behind the name of a block."""
    if len(parts) == 2 and not is_folder:
        return parts[1] == _INDEX
    if len(parts) > 4 or is_folder != (len(parts) < 4) or not all(_NUMBER.fullmatch(part) for part in parts[1:]):
        return False
    return all(int(part) % BLOCK == 0 for part in parts[2:]) and (is_folder or _head(entry, 1) == b"\x78")


def _begins_bundle(head: bytes) -> bool:
    """Has a file version and bytes of an offset of a bundle, of either version, as far as it goes?"""
    return all(head[at : at + 4] == word[: max(0, len(head) - at)] for at, word in _BUNDLE_WORDS.items())


def _without_part(name: str) -> str:
    """The name of a bundle that a kill or a power cut left half begun (see Disk.write_whole)."""
    return name.removesuffix(".part")


def _is_part(name: str, entry: os.DirEntry[str]) -> bool:
    return _PART.fullmatch(name) is not None and entry.is_file(follow_symlinks=False)


def _is_link(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() or getattr(entry, "is_junction", lambda: False)()


def _head(entry: os.DirEntry[str], size: int) -> bytes:
    try:
        with open(entry.path, "rb") as file:  # noqa: PTH123 - a cache has thousands
            return file.read(size)
    except OSError as cause:
        raise disk_error("read", Path(entry.path), cause) from cause


def _walk(folder: Path, prefix: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    """All that is in a folder with its name relative to it, a folder before what is in it."""
    inner = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                yield prefix + entry.name, entry
                if entry.is_dir(follow_symlinks=False) and not _is_link(entry):
                    inner.append(entry.name)
    except OSError as cause:
        raise disk_error("read", folder, cause) from cause
    for name in inner:
        yield from _walk(folder / name, f"{prefix}{name}/")
