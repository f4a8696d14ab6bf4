"""The bundles of a cache (a folder of files, or anything else that gives their bytes), and the reader over them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np

from harvester.caches import bundle_v2
from harvester.caches.bundle_v2 import (
    DATA_START,
    ENTRY_SIZE,
    FIRST_TILE,
    MAX_OFFSET,
    OFFSET_BITS,
)
from harvester.caches.records import Span, each_sound, mask_of, read_bodies, read_index, read_record, sound_numbers
from harvester.durable import Disk
from harvester.edges import CacheInfo, Damage
from harvester.errors import CacheError
from harvester.tiling.tile import BLOCK, BlockKey, Tile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harvester.caches.bundle_v2 import Index, Problem
    from harvester.edges import Mask

MAX_OPEN_BUNDLES = 64
"""Files that a reader keeps open: a screen of a viewer touches four blocks a level; systems allow 256 at the least."""


class Bundles(Protocol):
    """The bundles of one cache."""

    def levels(self) -> Sequence[int]:
        """Levels that have a folder, ascending; it may be empty."""

    def keys(self, level: int) -> Sequence[BlockKey]:
        """Blocks of a level that have a bundle, by row, then column."""

    def open(self, key: BlockKey) -> Span | None:
        """A block's bundle, or None where there is none."""

    def misplaced(self) -> Iterable[Damage]:
        """Bundles that no reader looks for, and other faults of the whole."""

    def close(self) -> None:
        """Release the files. May be called twice."""


# ---------------------------------------------------------------------------------------------- a folder of them


class FileSpan:
    """One bundle's file; opened when it is read."""

    def __init__(self, files: FolderBundles, path: Path) -> None:
        self.where = str(path)
        self._files = files
        self._path = path

    def size(self) -> int:
        """Bytes in all."""
        return self._files.size(self._path)

    def read(self, size: int, offset: int) -> bytes:
        """Bytes from an offset; fewer where the file ends."""
        return self._files.read(self._path, size, offset)


class FolderBundles:
    """Bundles as files in level folders; names are taken in either case, as tools on Windows wrote them.

    At most MAX_OPEN_BUNDLES files are open; a span whose file was closed opens it again. Usable from several threads.
    """

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder = folder
        self._disk = disk
        self._lock = threading.Lock()
        self._open: OrderedDict[Path, int] = OrderedDict()
        self._odd: dict[BlockKey, Path] = {}
        self._listed: set[int] = set()
        self._closed = False

    def read(self, path: Path, size: int, offset: int) -> bytes:
        """Bytes of one bundle's file."""
        # One at a time: where the system can't read at an offset, two threads would move the same file pointer.
        with self._lock:
            return self._disk.read(self._descriptor(path), size, offset)

    def size(self, path: Path) -> int:
        """Bytes of one bundle's file, now."""
        with self._lock:
            return self._disk.size(self._descriptor(path))

    def _descriptor(self, path: Path) -> int:
        descriptor = self._open.get(path)
        if descriptor is not None:
            self._open.move_to_end(path)
            return descriptor
        if self._closed:
            raise ValueError("the cache is closed")
        descriptor = self._open[path] = self._disk.open(path)
        if len(self._open) > MAX_OPEN_BUNDLES:
            self._disk.close(self._open.popitem(last=False)[1])
        return descriptor

    def path(self, key: BlockKey) -> Path:
        """Where a block's bundle would be made."""
        return self._folder / bundle_v2.level_folder(key.level) / bundle_v2.bundle_name(key)

    def find(self, key: BlockKey) -> Path | None:
        """Where a block's bundle is; None where there is none."""
        path = self.path(key)
        if path in self._open or path.is_file():
            return path
        if key.level not in self._listed:
            self.keys(key.level)
        odd = self._odd.get(key)
        return odd if odd is not None and odd.is_file() else None

    def _level_folders(self) -> Iterator[tuple[int, Path]]:
        for name in _names(self._folder):
            level = bundle_v2.parse_level_folder(name)
            if level is not None and (self._folder / name).is_dir():
                yield level, self._folder / name

    def levels(self) -> Sequence[int]:
        """Levels that hold anything, ascending."""
        return sorted({level for level, _ in self._level_folders()})

    def keys(self, level: int) -> Sequence[BlockKey]:
        """Blocks of a level, by row, then column."""
        keys: set[BlockKey] = set()
        usual = self._folder / bundle_v2.level_folder(level)
        for found, folder in self._level_folders():
            if found != level:
                continue
            for name in _names(folder):
                key = bundle_v2.parse_bundle_name(level, name)
                if key is None:
                    continue
                keys.add(key)
                if folder != usual or name != bundle_v2.bundle_name(key):
                    self._odd.setdefault(key, folder / name)
        self._listed.add(level)
        return sorted(keys)

    def open(self, key: BlockKey) -> FileSpan | None:
        """A block's bundle; None where there is none."""
        path = self.find(key)
        return FileSpan(self, path) if path is not None else None

    def misplaced(self) -> Iterator[Damage]:
        """Bundles that no reader looks for, and other faults of the whole."""
        for level, folder in self._level_folders():
            for name in _names(folder):
                if name.lower().endswith(".bundle") and bundle_v2.parse_bundle_name(level, name) is None:
                    yield Damage(str(folder / name), "the name is not that of a block's first row and column")

    def close(self) -> None:
        """Release the files. May be called twice."""
        with self._lock:
            self._closed = True
            while self._open:
                self._disk.close(self._open.popitem()[1])


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as cause:
        message = f"cannot list {folder}: {cause.strerror or cause}"
        raise CacheError(message, hint="Check that the folder can be read.", code="permission") from cause


# ---------------------------------------------------------------------------------------------- the reader


class BundleReader:
    """A CacheReader over bundles. Only open files are kept between calls, so a growing cache is read as it is now."""

    def __init__(self, info: CacheInfo, bundles: Bundles) -> None:
        self.info = info
        self.bundles = bundles

    # What differs between the generations of bundles; here V2's.

    def entry(self, span: Span, number: int) -> tuple[int, int]:
        """Offset and size of the tile at a row-major position; size 0 where there is none."""
        entry = int.from_bytes(span.read(ENTRY_SIZE, bundle_v2.entry_position(number)), "little")
        size, offset = entry >> OFFSET_BITS, entry & MAX_OFFSET
        return (offset, size) if offset >= FIRST_TILE else (0, 0)

    def index(self, span: Span) -> Index | None:
        """All entries, those that lead out of the records zeroed; None where header or index aren't whole."""
        return read_index(span)

    def sound(self, span: Span, index: Index) -> NDArray[np.int64]:
        """Numbers of the entries, in order, whose record is whole."""
        return sound_numbers(span, index)

    def holds(self, span: Span, index: Index) -> bool:
        """Is there any such entry?"""
        return next(each_sound(span, index), None) is not None

    def problems(self, span: Span) -> Iterator[Problem]:
        """All that is wrong in one bundle."""
        return bundle_v2.problems(span.read(DATA_START, 0), span.size(), span.read)

    # The promises of every reader.

    def read(self, level: int, row: int, col: int) -> bytes | None:
        """The tile's bytes, or None when the cache holds none."""
        if min(level, row, col) < 0:
            return None
        key = BlockKey(level, row & ~127, col & ~127)
        span = self.bundles.open(key)
        if span is None:
            return None
        number = (row - key.row) * BLOCK + (col - key.col)
        offset, size = self.entry(span, number)
        return read_record(span, offset, size) if size else None

    def levels(self) -> Sequence[int]:
        """Levels that hold at least one tile, ascending by number."""
        return [level for level in self.bundles.levels() if next(self.blocks(level), None) is not None]

    def blocks(self, level: int) -> Iterator[BlockKey]:
        """Blocks of a level that hold at least one tile, by row, then column."""
        for key in self.bundles.keys(level):
            span = self.bundles.open(key)
            index = self.index(span) if span is not None else None
            if span is not None and index is not None and self.holds(span, index):
                yield key

    def present(self, key: BlockKey) -> Mask:
        """Which tiles of a block are there; shape (128, 128)."""
        span = self.bundles.open(key)
        index = self.index(span) if span is not None else None
        return mask_of(self.sound(span, index) if span is not None and index is not None else ())

    def tiles(self, key: BlockKey) -> Iterator[tuple[Tile, bytes]]:
        """The tiles of one block by row, then column."""
        span = self.bundles.open(key)
        index = self.index(span) if span is not None else None
        if span is None or index is None:
            return
        held = np.flatnonzero(index)
        offsets, sizes = (of(index)[held].astype(np.int64) for of in (bundle_v2.offsets, bundle_v2.sizes))
        bodies = read_bodies(span, offsets, sizes)
        for number, body in zip(held.tolist(), bodies, strict=True):
            if body is not None:
                yield key.tile(number), body

    def lost(self) -> Iterator[Damage]:
        """What ``tiles`` leaves out: bundles without a whole header and index, and tiles without a whole record."""
        for level in self.bundles.levels():
            for key in self.bundles.keys(level):
                span = self.bundles.open(key)
                if span is not None:
                    for what, number in self.lost_of(span):
                        yield Damage(span.where, what, None if number is None else key.tile(number))

    def lost_of(self, span: Span) -> Iterator[tuple[str, int | None]]:
        """The same of one bundle: what is wrong, and the tile's row-major position where it is one tile's."""
        index = self.index(span)
        if index is None:
            yield "header and index are not whole", None
            return
        stated = np.flatnonzero(
            bundle_v2.sizes(bundle_v2.parse_index(span.read(DATA_START, 0)[bundle_v2.HEADER_SIZE :]))
        )
        for number in np.setdiff1d(stated, self.sound(span, index), assume_unique=True).tolist():
            yield "its record is not there, or not whole", number

    def check(self) -> Iterator[Damage]:
        """Structural damage, the whole cache over, without decoding tiles."""
        yield from self.bundles.misplaced()
        for level in self.bundles.levels():
            for key in self.bundles.keys(level):
                span = self.bundles.open(key)
                if span is None:
                    continue
                for problem in self.problems(span):
                    if not problem.warning:
                        tile = None if problem.number is None else key.tile(problem.number)
                        yield Damage(span.where, problem.what, tile)

    def close(self) -> None:
        """Release the files. May be called twice."""
        self.bundles.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
