"""The reader over tiles that are files in folders, whatever the folders are called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Self

from harvester.caches.description import unknown_level
from harvester.caches.folders import TileFolder, kind_of, read_file
from harvester.caches.records import mask_of
from harvester.durable import Disk
from harvester.edges import CacheInfo, Damage, TileFormat
from harvester.tiling.tile import BlockKey, Tile

if TYPE_CHECKING:
    from harvester.edges import Mask

LOOK_BYTES = 64
"""Of a file, to see what it is."""


class FolderReader:
    """A CacheReader over files in folders."""

    def __init__(self, info: CacheInfo, files: TileFolder, disk: Disk) -> None:
        self.info = info
        self._files = files
        self._disk = disk

    def read(self, level: int, row: int, col: int) -> bytes | None:
        """The tile's bytes, or None when the cache holds none."""
        if min(level, row, col) < 0:
            return None
        tile = Tile(level, row, col)
        if not self._files.is_inside(tile):
            return None
        # Twice: between the look and the reading, a writer may put a file of another format in its place.
        for _ in range(2):
            for file in self._files.files(tile):
                body = read_file(self._files.path(tile, file.extension), self._disk)
                if body:
                    return body
        return None

    def levels(self) -> Sequence[int]:
        """Levels that hold at least one tile, ascending by number."""
        return [level for level in self._known() if next(self.blocks(level), None) is not None]

    def _known(self) -> list[int]:
        """Levels with a folder that the scheme has; on the Google grid each is one."""
        return [level for level in self._files.levels() if not self._is_unknown(level)]

    def _is_unknown(self, level: int) -> bool:
        return self._files.naming.size(level) is None and level not in self.info.scheme.by_level

    def blocks(self, level: int) -> Iterator[BlockKey]:
        """Blocks of a level that hold at least one tile, by row, then column."""
        for key in self._files.keys(level):
            if any(file.size for file in self._files.look(key).values()):
                yield key

    def present(self, key: BlockKey) -> Mask:
        """Which tiles of a block are there; shape (128, 128)."""
        return mask_of([number for number, file in self._files.look(key).items() if file.size])

    def tiles(self, key: BlockKey) -> Iterator[tuple[Tile, bytes]]:
        """The tiles of one block by row, then column."""
        for number in self._files.look(key):
            tile = key.tile(number)
            body = self.read(*tile)
            if body:
                yield tile, body

    def check(self) -> Iterator[Damage]:
        """Structural damage, the whole cache over, without decoding tiles."""
        yield from self.lost()
        for level in self._known():
            for key in self._files.keys(level):
                for number, file in self._files.look(key).items():
                    tile = key.tile(number)
                    path = self._files.path(tile, file.extension)
                    if not file.size:
                        yield Damage(str(path), "it is empty", tile)
                    elif self.info.tile_format is not TileFormat.PBF:
                        head = read_file(path, self._disk, LOOK_BYTES)
                        if head and kind_of(head) is None:
                            yield Damage(str(path), f"it begins with {head[:8]!r}, which is no tile", tile)

    def lost(self) -> Iterator[Damage]:
        """What is left out: files of tiles that lie outside of the grid, in a folder that is none of it, or at a level
        that the scheme doesn't have."""
        yield from self._files.strays()
        for level in filter(self._is_unknown, self._files.levels()):
            if self._files.keys(level):
                folder = self._files.root / self._files.naming.level(level)
                yield Damage(str(folder), unknown_level(level), stays=True)

    def unmendable(self) -> Iterator[Damage]:
        """The same: for none of it could a tile be asked."""
        return self.lost()

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
