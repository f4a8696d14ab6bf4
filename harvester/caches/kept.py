"""What a package holds beside its tiles, kept in its work folder while tiles are added: a person's members, ArcGIS's.

    WORK/kept.zip       entries stored, under their names and in the order of the package, folders too; its comment

It is there only where a package was taken apart; a package that is made of a work folder has them all again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from harvester.caches import stored_zip
from harvester.caches.stored_zip import Entry, StoredZip
from harvester.caches.zip_bundles import ZipBundles
from harvester.durable import Disk
from harvester.manifest import FILE

KEPT = "kept.zip"

MAX_DOCUMENT_BYTES = 1 << 26
"""Of one that is read whole: the JSON metadata of a planet's archive has some hundred kilobytes."""

METADATA = "metadata.json"
"""The name of the metadata of a PMTiles archive, which is no file in it."""


def keep(package: ZipBundles, work: Path, disk: Disk, unlike: Callable[[Entry], bool] = lambda entry: False) -> None:
    """Keep a package's members that are neither tiles nor the manifest nor ``unlike``. Raises CacheError."""

    def is_kept(entry: Entry) -> bool:
        return entry.is_folder or not (package.is_tiles(entry) or entry.name == FILE or unlike(entry))

    with _writing(work, disk, package.directory.comment) as archive:
        for entry in filter(is_kept, package.directory.all):
            _copy(archive, package, entry)


def keep_document(name: str, data: bytes, work: Path, disk: Disk) -> None:
    """Keep a document that a package of another kind has within. Raises CacheError."""
    with _writing(work, disk) as archive:
        archive.add(name, data)


class _writing:
    """kept.zip being made, durably."""

    def __init__(self, work: Path, disk: Disk, comment: bytes = b"") -> None:
        self._disk = disk
        self._comment = comment
        self._descriptor = disk.open(work / KEPT, write=True, create=True, truncate=True)
        self._archive = StoredZip(disk, self._descriptor, time=stored_zip.entry_time())

    def __enter__(self) -> StoredZip:
        return self._archive

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._archive.close(self._comment)
                self._disk.fsync(self._descriptor)
        finally:
            self._disk.close(self._descriptor)


def _copy(archive: StoredZip, package: ZipBundles, entry: Entry) -> None:
    archive.begin(entry.name, entry.size)
    for chunk in package.content(entry):
        archive.write(chunk)
    archive.end()


class Kept:
    """What was kept of the package that a work folder was; nothing where it was none."""

    def __init__(self, work: Path, disk: Disk) -> None:
        path = work / KEPT
        self._there: ZipBundles | None = None
        if path.is_file():
            self._there = ZipBundles(path, stored_zip.read_directory(path), disk, disk.open(path))
        self._stated: set[str] = set()

    @property
    def where(self) -> str:
        """The file, for messages."""
        return str(self._there.path) if self._there is not None else KEPT

    @property
    def entries(self) -> Sequence[Entry]:
        """All of its files."""
        return self._there.all if self._there is not None else ()

    @property
    def names(self) -> set[str]:
        """All names, in lower case."""
        return {entry.name.lower() for entry in self.entries}

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(entry.size for entry in self.entries)

    def name(self, name: str) -> str:
        """A member's name, found without case, as the package spells it; ``name`` where it has none."""
        return next((entry.name for entry in self.entries if entry.name.lower() == name.lower()), name)

    def document(self, name: str) -> bytes | None:
        """A member's bytes, found without case; None where there is none. Raises CacheError."""
        entry = next((entry for entry in self.entries if entry.name.lower() == name.lower()), None)
        if self._there is None or entry is None:
            return None
        if entry.size > MAX_DOCUMENT_BYTES:
            raise stored_zip.refused(self._there.path, f"{name} has {entry.size:,} bytes")
        return b"".join(self._there.content(entry))

    def stated(self, name: str) -> None:
        """This member is in the new package already."""
        self._stated.add(name.lower())

    def put(self, archive: StoredZip, name: str, data: bytes) -> None:
        """Add a member under the name that the package gives it, behind the folders that it lies in."""
        self._add(archive, lambda entry: entry.is_folder and name.lower().startswith(entry.name.lower()))
        archive.add(self.name(name), data)
        self.stated(name)

    def add_rest(self, archive: StoredZip) -> None:
        """What is not in the new package yet, as it was. Raises CacheError."""
        self._add(archive, lambda entry: True)

    def close(self, archive: StoredZip) -> None:
        """End the new package, with the comment that it had."""
        archive.close(b"" if self._there is None else self._there.directory.comment)

    def _add(self, archive: StoredZip, wanted: Callable[[Entry], bool]) -> None:
        for entry in self._there.directory.all if self._there is not None else ():
            if entry.name.lower() not in self._stated and wanted(entry):
                assert self._there is not None
                _copy(archive, self._there, entry)
                self.stated(entry.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._there is not None:
            self._there.close()
