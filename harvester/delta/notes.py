"""What a delta says beside its tiles, inside the cache itself: small named blobs that no reader of tiles looks at.

MBTiles, GeoPackage      table harvester_delta (name TEXT PRIMARY KEY, value BLOB)
tile packages            entries delta/NAME, stored
folders                  files DIR/delta/NAME
"""

from __future__ import annotations

import sqlite3
import zipfile
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from harvester.caches import compact, stored_zip
from harvester.caches.foreign_tables import DELTA
from harvester.caches.open import FORMATS, sniff
from harvester.caches.xyz import folder_of
from harvester.database import open_read_only, sqlite_errors
from harvester.durable import Disk, disk_error
from harvester.errors import CacheError, UnsupportedFormatError

FOLDER = "delta"

_SQLITE = frozenset({"mbtiles", "gpkg"})
_ZIP = frozenset({"tpk", "tpkx", "vtpk"})

ENTRY_TIME = (1980, 1, 1, 0, 0, 0)
"""Of entries in packages: the earliest that zip knows, so that the same tiles make the same bytes."""


def carriers() -> list[str]:
    """Formats that can be a delta."""
    return [name for name, each in FORMATS.items() if name in _SQLITE or name in _ZIP or each.folder]


def require_carrier(format: str) -> None:
    """Raises UnsupportedFormatError where a format has no place for what a delta says."""
    if format not in carriers():
        hint = f"Formats that can: {', '.join(carriers())} (--format, or the suffix of -o)."
        raise UnsupportedFormatError(f"a {format} cache cannot be a delta: nothing but tiles fits in", hint=hint)


def write_notes(path: Path, format: str, notes: Iterable[tuple[str, bytes]], *, disk: Disk) -> None:
    """Put notes into a finished cache that nobody reads yet, durably; names may hold ``/``. Raises CacheError."""
    if format in _SQLITE:
        _write_table(path, notes, disk)
    elif format in _ZIP:
        _write_entries(path, notes, disk)
    else:
        for name, data in notes:
            file = path / FOLDER / name
            disk.make_dirs(file.parent)
            disk.write_whole(file, data)


def _write_table(path: Path, notes: Iterable[tuple[str, bytes]], disk: Disk) -> None:
    with sqlite_errors(path, "write"), closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA journal_mode = TRUNCATE")
        connection.execute(f"CREATE TABLE {DELTA} (name TEXT PRIMARY KEY, value BLOB NOT NULL)")
        connection.executemany(f"INSERT INTO {DELTA} VALUES (?, ?)", notes)
    # TRUNCATE leaves an empty journal; the finished file lies alone.
    disk.remove(path.with_name(path.name + "-journal"))


def _write_entries(path: Path, notes: Iterable[tuple[str, bytes]], disk: Disk) -> None:
    try:
        with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for name, data in notes:
                archive.writestr(zipfile.ZipInfo(f"{FOLDER}/{name}", ENTRY_TIME), data)
    except OSError as cause:
        raise disk_error("write", path, cause) from cause
    descriptor = disk.open(path, write=True)
    try:
        disk.fsync(descriptor)
    finally:
        disk.close(descriptor)


class Notes:
    """The notes of a cache, opened for reading."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.format = sniff(path)
        self._connection: sqlite3.Connection | None = None
        self._archive: zipfile.ZipFile | None = None
        self._folder: Path | None = None
        if self.format in _SQLITE:
            self._connection = open_read_only(path)
        elif self.format in _ZIP:
            # The directory as our own reader of archives takes it: hostile ones end here.
            stored_zip.read_directory(path)
            self._archive = zipfile.ZipFile(path)
        elif self.format is not None:
            layout = None if self.format == "xyz" else compact.locate(path)
            self._folder = layout.folder if layout is not None else folder_of(path)

    def read(self, name: str) -> bytes | None:
        """A note, None where there is none. Raises CacheError where it can't be read."""
        if self._connection is not None:
            with sqlite_errors(self.path, "read"):
                if not self._connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (DELTA,)).fetchall():
                    return None
                rows = self._connection.execute(f"SELECT value FROM {DELTA} WHERE name = ?", (name,)).fetchall()
                value = rows[0][0] if rows else None
                return value.encode() if isinstance(value, str) else value
        if self._archive is not None:
            try:
                return self._archive.read(f"{FOLDER}/{name}")
            except KeyError:
                return None
            except (OSError, zipfile.BadZipFile) as cause:
                hint = "Copy it again from where it was made."
                raise CacheError(f"{self.path} is damaged: {FOLDER}/{name}", hint=hint, code="damaged") from cause
        if self._folder is None:
            return None
        file = self._folder / FOLDER / name
        try:
            return file.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as cause:
            raise disk_error("read", file, cause) from cause

    def close(self) -> None:
        """Release the files."""
        for held in (self._connection, self._archive):
            if held is not None:
                held.close()

    def __enter__(self) -> Notes:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
