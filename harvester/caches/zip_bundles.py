"""The bundles of a tile package, read inside its zip archive."""

from __future__ import annotations

import tempfile
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from harvester.caches import bundle_v2, compact, stored_zip
from harvester.caches.records import Span
from harvester.caches.stored_zip import Directory, Entry
from harvester.durable import Disk
from harvester.edges import Damage
from harvester.errors import CacheError
from harvester.manifest import FILE
from harvester.tiling.tile import BlockKey

MAX_INFLATED_BYTES = 4 << 30
"""A deflated bundle is inflated into a file without a name; a full block of 256 KB tiles is as large as this."""

MAX_INFLATED_BUNDLES = 4
"""Inflated bundles kept: a viewer looks at four blocks at most."""

INFLATE_BYTES = 1 << 20
"""Bytes inflated at once, so that a small hostile entry can't fill the memory."""


class _Stored:
    """A bundle that lies in the archive as it is: one tile is one read inside it."""

    def __init__(self, archive: ZipBundles, entry: Entry, start: int) -> None:
        self.where = f"{archive.path}: {entry.name}"
        self._archive = archive
        self._start = start
        self._size = entry.size

    def size(self) -> int:
        return self._size

    def read(self, size: int, offset: int) -> bytes:
        size = min(size, self._size - offset)
        return self._archive.read(size, self._start + offset) if size > 0 and offset >= 0 else b""


class _Inflated:
    """A bundle that is deflated: inflated once, into a file without a name."""

    def __init__(self, archive: ZipBundles, key: BlockKey, entry: Entry) -> None:
        self.where = f"{archive.path}: {entry.name}"
        self._archive = archive
        self._key = key
        self._size = entry.size

    def size(self) -> int:
        return self._size

    def read(self, size: int, offset: int) -> bytes:
        return self._archive.read_inflated(self._key, size, offset)


class ZipBundles:
    """The bundles of a package. Usable from several threads."""

    grow = False

    def __init__(self, path: Path, directory: Directory, disk: Disk, descriptor: int) -> None:
        self.path = path
        self._disk = disk
        self._descriptor: int | None = descriptor
        self._lock = threading.RLock()
        self._entries: dict[BlockKey, Entry] = {}
        self._levels: dict[int, list[BlockKey]] = {}
        self._odd: list[Damage] = []
        self._misnamed: list[Damage] = []
        self._starts: dict[BlockKey, int] = {}
        self._inflated: OrderedDict[BlockKey, IO[bytes]] = OrderedDict()
        self.directory = directory
        self.all = directory.files
        self.folder = ""
        """Of the bundles, with its ``/``; as it is spelled, if any lies there."""

    def place(self, folders: Sequence[str]) -> None:
        """Find the bundles below ``folders``."""
        self.folder = "".join(f"{folder}/" for folder in folders)
        prefix = self.folder.lower()
        for entry in self.all:
            where = f"{self.path}: {entry.name}"
            if not entry.stored:
                self._odd.append(
                    Damage(
                        where,
                        "it is compressed; Esri's apps read only stored entries, as harvester convert writes them",
                    )
                )
            below = entry.name[len(prefix) :].split("/")
            if not entry.name.lower().startswith(prefix) or len(below) != 2 or not below[1].lower().endswith(".bundle"):
                continue
            level = bundle_v2.parse_level_folder(below[0])
            key = None if level is None else bundle_v2.parse_bundle_name(level, below[1])
            if key is None:
                what = "the name is not that of a block's first row and column"
                self._misnamed.append(Damage(where, what, stays=True))
            elif key in self._entries:
                raise stored_zip.refused(self.path, f"two entries hold the block {key}")
            else:
                self._entries[key] = entry
        for key in sorted(self._entries):
            self._levels.setdefault(key.level, []).append(key)

    def is_tiles(self, entry: Entry) -> bool:
        """True for a bundle, or what has the name of a bundle's index."""
        name, prefix = entry.name.lower(), self.folder.lower()
        level, slash, file = name[len(prefix) :].partition("/")
        if not (prefix and name.startswith(prefix) and slash and file.endswith((".bundle", ".bundlx"))):
            return False
        number = bundle_v2.parse_level_folder(level)
        return number is not None and bundle_v2.parse_bundle_name(number, file[:-1] + "e") is not None

    def document(self, name: str) -> bytes:
        """A small entry at the top of the archive. Raises CacheError where it isn't there or too large."""
        found = [entry for entry in self.all if entry.name.lower() == name]
        if not found:
            raise CacheError(f"{self.path} is no tile package: it has no {name}", hint="", code="not_a_cache")
        if found[0].size > compact.MAX_DOCUMENT_BYTES:
            raise stored_zip.refused(self.path, f"{name} has {found[0].size:,} bytes")
        return b"".join(self.content(found[0]))

    def manifest(self) -> str | None:
        """The text of the manifest; None where there is none."""
        if not any(entry.name == FILE for entry in self.all):
            return None
        return self.document(FILE).decode(errors="replace")

    def levels(self) -> Sequence[int]:
        """Levels that hold anything, ascending."""
        return sorted(self._levels)

    def keys(self, level: int) -> Sequence[BlockKey]:
        """Blocks of a level, by row, then column."""
        return self._levels.get(level, [])

    def open(self, key: BlockKey) -> Span | None:
        """A block's bundle; None where there is none."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if not entry.stored:
            return _Inflated(self, key, entry)
        with self._lock:
            if key not in self._starts:
                self._starts[key] = self._start(entry)
            return _Stored(self, entry, self._starts[key])

    def misnamed(self) -> Iterator[Damage]:
        """Bundles under names that no reader looks for."""
        return iter(self._misnamed)

    def misplaced(self) -> Iterator[Damage]:
        """What is odd about entries, and those whose bytes are not what the directory's CRC-32 says."""
        yield from self._odd
        for entry in self.all:
            crc = 0
            try:
                for chunk in self.content(entry):
                    crc = zlib.crc32(chunk, crc)
            except CacheError as error:
                yield Damage(f"{self.path}: {entry.name}", error.message)
                continue
            if crc != entry.crc:
                yield Damage(f"{self.path}: {entry.name}", "its bytes are not what its checksum (CRC-32) says")

    def read(self, size: int, offset: int) -> bytes:
        """Bytes of the archive."""
        with self._lock:
            if self._descriptor is None:
                raise ValueError("the cache is closed")
            return self._disk.read(self._descriptor, size, offset)

    def close(self) -> None:
        """Release the files. May be called twice."""
        with self._lock:
            if self._descriptor is not None:
                self._disk.close(self._descriptor)
                self._descriptor = None
            while self._inflated:
                self._inflated.popitem()[1].close()

    def _start(self, entry: Entry) -> int:
        return stored_zip.data_offset(entry, self.read(stored_zip.local_size(entry), entry.header), self.path)

    def content(self, entry: Entry) -> Iterator[bytes]:
        """An entry's bytes in chunks; CacheError where a deflated one is damaged or of another size than it states."""
        start, done = self._start(entry), 0
        inflater = None if entry.stored else zlib.decompressobj(-zlib.MAX_WBITS)
        for offset in range(0, entry.packed, INFLATE_BYTES):
            data = self.read(min(INFLATE_BYTES, entry.packed - offset), start + offset)
            while data:
                try:
                    chunk = data if inflater is None else inflater.decompress(data, INFLATE_BYTES)
                except zlib.error as cause:
                    raise stored_zip.refused(self.path, f"the entry {entry.name!r} is damaged ({cause})") from cause
                data = b"" if inflater is None else inflater.unconsumed_tail
                done += len(chunk)
                if done > entry.size:
                    break
                yield chunk
        if done != entry.size:
            raise stored_zip.refused(self.path, f"the entry {entry.name!r} is not of the size that it states")

    def read_inflated(self, key: BlockKey, size: int, offset: int) -> bytes:
        """Bytes of a bundle that is deflated."""
        with self._lock:
            file = self._inflated.get(key)
            if file is None:
                while len(self._inflated) >= MAX_INFLATED_BUNDLES:
                    self._inflated.popitem(last=False)[1].close()
                file = self._inflated[key] = self._inflate(self._entries[key])
            self._inflated.move_to_end(key)
            file.seek(offset)
            return file.read(size)

    def _inflate(self, entry: Entry) -> IO[bytes]:
        if entry.size > MAX_INFLATED_BYTES:
            raise stored_zip.refused(self.path, f"the compressed entry {entry.name!r} has {entry.size:,} bytes")
        file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed when it is pushed out, or with the archive)
        try:
            for chunk in self.content(entry):
                file.write(chunk)
        except OSError as cause:
            file.close()
            message = f"cannot inflate {entry.name} of {self.path}: {cause.strerror}"
            raise CacheError(message, hint="Free some space for temporary files.") from cause
        except BaseException:
            file.close()
            raise
        return file
