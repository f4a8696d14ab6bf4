"""Tiles as files in folders, whatever the folders are called: their names, what lies in a block, and what is none.

    ROOT/level/outer/inner.ext      outer is the row and inner the column (exploded caches), or the other way (z/x/y)

A file is a tile when its name is the one that a writer would give it and it isn't empty. Where two files are one tile,
in two formats, the later one counts: a kill came between writing the new and removing the old.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol

from harvester.caches.tile_look import type_of
from harvester.durable import Disk, disk_error
from harvester.edges import Damage, TileFormat
from harvester.errors import CacheError
from harvester.tiling.tile import BLOCK, BlockKey, Tile

EXTENSIONS = ("png", "jpg", "webp", "gif", "lerc", "pbf", "jpeg", "mvt")
"""Of tiles; a writer uses the first six, the kinds of tile that there are."""

MAX_LISTED = 2048
"""Names of one folder listed to find the 128 of a block; where there are more, each possible name is asked for."""

END = 1 << 62
"""Of levels without an end."""


class Naming(Protocol):
    """How a format calls the folders and files of its tiles."""

    row_outer: bool
    """True: a folder is a row. False: a folder is a column."""

    def level(self, level: int) -> str:
        """The folder of a level."""

    def outer(self, number: int) -> str:
        """The folder of a row (or column) in it."""

    def inner(self, number: int) -> str:
        """The file of a column (or row) in that, without its extension."""

    def size(self, level: int) -> int | None:
        """Rows, and columns, of a level; None where it has no end."""

    def parse_level(self, name: str) -> int | None:
        """The level of a folder, None where it is none."""

    def parse_outer(self, name: str) -> int | None:
        """The row (or column) of a folder, None where it is none."""

    def parse_inner(self, name: str) -> int | None:
        """The column (or row) of a file's name without extension, None where it is none."""

    def is_like_level(self, name: str) -> bool:
        """Does a folder's name say a level, however it is spelled?"""

    def is_like_inner(self, name: str) -> bool:
        """Does a file's name without extension say a column (or row), however it is spelled?"""


class Found(NamedTuple):
    """A tile's file: extension, bytes, time."""

    extension: str
    size: int
    time: int


class TileFolder:
    """The files of a cache. Nothing is kept between calls, so a growing cache is seen as it is now."""

    def __init__(self, root: Path, naming: Naming, *, max_listed: int = MAX_LISTED) -> None:
        self.root = root
        self.naming = naming
        self._max_listed = max_listed

    def folder(self, tile: Tile) -> Path:
        """The folder that a tile's file lies in."""
        outer = tile.row if self.naming.row_outer else tile.col
        return self.root / self.naming.level(tile.level) / self.naming.outer(outer)

    def path(self, tile: Tile, extension: str) -> Path:
        """A tile's file."""
        inner = tile.col if self.naming.row_outer else tile.row
        return self.folder(tile) / f"{self.naming.inner(inner)}.{extension}"

    def files(self, tile: Tile) -> list[Found]:
        """The files of a tile, the one that counts first."""
        stem = str(self.path(tile, ""))
        found = []
        for extension in EXTENSIONS:
            try:
                status = _stat(stem + extension)
            except (OSError, ValueError):
                continue
            found.append(Found(extension, status.st_size, status.st_mtime_ns))
        return sorted(found, key=lambda file: -file.time)

    def levels(self) -> list[int]:
        """Levels that have a folder, ascending."""
        numbers = (self.naming.parse_level(entry.name) for entry in _entries(self.root))
        return sorted(number for number in numbers if number is not None)

    def outers(self, level: int) -> list[int]:
        """Rows (or columns) of a level that have a folder, ascending."""
        entries = _entries(self.root / self.naming.level(level))
        numbers = (self.naming.parse_outer(entry.name) for entry in entries)
        return sorted(number for number in numbers if number is not None)

    def inners(self, level: int, outer: int) -> Iterator[int]:
        """Columns (or rows) that have a file there, in no order; one may come twice."""
        for entry in _entries(self.root / self.naming.level(level) / self.naming.outer(outer)):
            parsed = self._parse(entry.name)
            if parsed is not None:
                yield parsed[0]

    def is_inside(self, tile: Tile) -> bool:
        """Has its level such a row and column?"""
        size = self.naming.size(tile.level)
        return size is None or max(tile.row, tile.col) < size

    def keys(self, level: int) -> list[BlockKey]:
        """Blocks of a level that have a file within its rows and columns, by row, then column."""
        found: set[tuple[int, int]] = set()
        end = self.naming.size(level) or END
        for outer in self.outers(level):
            band = outer & ~127
            found |= {(band, inner & ~127) for inner in self.inners(level, outer) if max(outer, inner) < end}
        pairs = found if self.naming.row_outer else {(inner, outer) for outer, inner in found}
        return [BlockKey(level, row, col) for row, col in sorted(pairs)]

    def look(self, key: BlockKey) -> dict[int, Found]:
        """The tiles of a block by row-major position, in that order, empty files too; none beyond the level's rows and
        columns."""
        found: dict[int, Found] = {}
        first_outer, first_inner = (key.row, key.col) if self.naming.row_outer else (key.col, key.row)
        level = self.root / self.naming.level(key.level)
        for outer in range(BLOCK):
            folder = level / self.naming.outer(first_outer + outer)
            for inner, file in self._files_of(folder, first_inner):
                number = outer * BLOCK + inner if self.naming.row_outer else inner * BLOCK + outer
                old = found.get(number)
                if old is None or file.time > old.time:
                    found[number] = file
        if self.naming.size(key.level) is not None:
            found = {number: file for number, file in found.items() if self.is_inside(key.tile(number))}
        return dict(sorted(found.items()))

    def _files_of(self, folder: Path, first: int) -> Iterator[tuple[int, Found]]:
        entries = list(islice(_entries(folder), self._max_listed + 1))
        if len(entries) > self._max_listed:
            names = {f"{self.naming.inner(first + n)}.{ext}": (n, ext) for n in range(BLOCK) for ext in EXTENSIONS}
            for name, (number, extension) in names.items():
                try:
                    status = _stat(f"{folder}{os.sep}{name}")
                except OSError:
                    continue
                yield number, Found(extension, status.st_size, status.st_mtime_ns)
            return
        for entry in entries:
            parsed = self._parse(entry.name)
            if parsed is None or not 0 <= parsed[0] - first < BLOCK:
                continue
            try:
                # Not the entry's own: on Windows that is of the time when the folder was listed, and may be older.
                status = _stat(entry.path)
            except FileNotFoundError:
                continue
            yield parsed[0] - first, Found(parsed[1], status.st_size, status.st_mtime_ns)

    def _parse(self, name: str) -> tuple[int, str] | None:
        stem, _, extension = name.rpartition(".")
        number = self.naming.parse_inner(stem) if extension in EXTENSIONS else None
        return None if number is None else (number, extension)

    def strays(self) -> Iterator[Damage]:
        """Files of tiles that are no tile of the cache: beyond their level's rows and columns, by level, and those of
        whose folders or names a writer would have given none (``02/1/1.png``, ``2/-1/0.png``, ``2/1/01.png``)."""
        for entry in sorted(_entries(self.root), key=lambda entry: entry.name):
            level = self.naming.parse_level(entry.name)
            if level is not None:
                yield from self._strays_of(level)
            elif self.naming.is_like_level(entry.name) and entry.is_dir() and self._has_tiles_below(Path(entry.path)):
                yield Damage(entry.path, "the name is not that of a level of tiles", stays=True)

    def _strays_of(self, level: int) -> Iterator[Damage]:
        size = self.naming.size(level)
        for entry in _entries(self.root / self.naming.level(level)):
            outer = self.naming.parse_outer(entry.name)
            if outer is None:
                if entry.is_dir() and self._has_tiles(Path(entry.path)):
                    yield Damage(entry.path, "the name is not that of a row or column of tiles", stays=True)
                continue
            outside: set[int] = set()
            for file in _entries(Path(entry.path)):
                parsed = self._parse(file.name)
                if parsed is not None and size is not None and max(outer, parsed[0]) >= size:
                    outside.add(parsed[0])
                elif parsed is None and self._is_like_tile(file.name):
                    yield Damage(file.path, "the name is not that of a tile", stays=True)
            for inner in sorted(outside):
                tile = Tile(level, outer, inner) if self.naming.row_outer else Tile(level, inner, outer)
                place = str(Path(entry.path) / self.naming.inner(inner))
                yield Damage(place, "it lies outside of the grid", tile, stays=True)

    def _has_tiles_below(self, folder: Path) -> bool:
        return any(entry.is_dir() and self._has_tiles(Path(entry.path)) for entry in _entries(folder))

    def _has_tiles(self, folder: Path) -> bool:
        return any(self._is_like_tile(entry.name) for entry in _entries(folder))

    def _is_like_tile(self, name: str) -> bool:
        stem, _, extension = name.rpartition(".")
        return extension.lower() in EXTENSIONS and self.naming.is_like_inner(stem)


def _stat(path: str) -> os.stat_result:
    return os.stat(path)  # noqa: PTH116 (a Path for each of a block's files costs more than the call)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as cause:
        raise disk_error("list", folder, cause) from cause


def read_file(path: Path, disk: Disk, size: int | None = None) -> bytes | None:
    """The first ``size`` bytes of a file, or all; None where it isn't there."""
    try:
        descriptor = disk.open(path)
    except CacheError as error:
        if error.code == "missing":
            return None
        raise
    try:
        return disk.read(descriptor, disk.size(descriptor) if size is None else size, 0)
    finally:
        disk.close(descriptor)


_WORDS = {TileFormat.PNG: "png", TileFormat.JPEG: "jpg", TileFormat.WEBP: "webp", TileFormat.PBF: "pbf"}


def kind_of(body: bytes) -> str | None:
    """What a tile is by its first bytes: the extension of its file; None for what is no tile."""
    if body.startswith(b"GIF8"):
        return "gif"
    if body.startswith((b"Lerc2 ", b"CntZImage ")):
        return "lerc"
    return _WORDS.get(type_of(body))


def block_stamp(tiles: dict[int, Found]) -> str:
    """A short text that changes with every file of a block that comes, goes or changes, in whatever order."""
    return f"{len(tiles)}:{sum(mark(number, file) for number, file in tiles.items()) % (1 << 64):x}"


def mark(number: int, file: Found) -> int:
    """One file's part of its block's stamp: 64 bits."""
    import xxhash

    return int(xxhash.xxh3_64_intdigest(f"{number} {file.extension} {file.size} {file.time}".encode()))
