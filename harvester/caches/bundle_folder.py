"""The bundles of a cache as files in a folder for each level."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path

from harvester.caches import bundle_v2
from harvester.durable import Disk
from harvester.edges import Damage
from harvester.errors import CacheError
from harvester.tiling.tile import BlockKey

MAX_OPEN_BUNDLES = 64
"""Files that a reader keeps open: a screen of a viewer touches four blocks a level; systems allow 256 at the least."""


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

    grow = True

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
        """Other faults of the whole: none."""
        return iter(())

    def misnamed(self) -> Iterator[Damage]:
        """Bundles under names that no reader looks for."""
        for level, folder in self._level_folders():
            for name in _names(folder):
                if name.lower().endswith(".bundle") and bundle_v2.parse_bundle_name(level, name) is None:
                    what = "the name is not that of a block's first row and column"
                    yield Damage(str(folder / name), what, stays=True)

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
