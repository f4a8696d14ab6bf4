"""Which format lies at a path, by its content."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from harvester.caches import compact
from harvester.caches.description import COMPACT_V1, EXPLODED
from harvester.caches.formats import SUFFIXES
from harvester.database import is_unborn, open_read_only
from harvester.durable import Disk, disk_error
from harvester.errors import CacheError


def is_empty_or_missing(path: Path) -> bool:
    """True where a new cache may be made: nothing there, an empty file, or a folder without anything of anybody's."""
    if path.is_dir():
        return compact.is_empty(path)
    if not path.exists():
        return not path.is_symlink()  # that leads nowhere: nobody knows what would be made there
    # Of a device, a pipe or a socket the size is 0 as well.
    return path.is_file() and (path.stat().st_size == 0 or is_unborn(path))


def sniff(path: Path) -> str | None:
    """The format of the cache at ``path``, by its content; None where there is none. It may be one of NAMES only.
    Raises CacheError where nobody may look."""
    path = Path(path)
    try:
        if path.is_dir():
            return _sniff_folder(path)
        if path.exists() and not path.is_file():
            return None  # to open a pipe is to wait for whoever writes to it
        with path.open("rb") as file:
            head = file.read(100)
    except PermissionError as cause:
        raise disk_error("open", path, cause) from cause
    except OSError:
        # One tile table of a GeoPackage that holds several: FILE:TABLE.
        before, colon, _ = str(path).rpartition(":")
        return "gpkg" if colon and Path(before).is_file() and sniff(Path(before)) == "gpkg" else None
    if head.startswith(b"SQLite format 3\0"):
        return _sniff_sqlite(path, head)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _sniff_zip(path)
    if head.startswith(b"PMTiles"):
        return "pmtiles"
    return _sniff_folder(path) if path.name.lower() in (compact.CONF, compact.ROOT, compact.TILES) else None


def sniff_here(path: Path) -> str | None:
    """The format of the cache that ``path`` itself is, to be written to or replaced: not of one a folder below, nor of
    one that a document belongs to."""
    if path.is_dir():
        return _sniff_folder(path, compact.locate_here)
    return None if path.name.lower() in (compact.CONF, compact.ROOT, compact.TILES) else sniff(path)


def _sniff_folder(path: Path, locate: Callable[[Path], compact.Layout | None] = compact.locate) -> str | None:
    from harvester.caches import conf, xyz

    if xyz.folder_of(path) is not None:
        return "xyz"
    try:
        layout = locate(path)
    except CacheError:
        return "compactv2"
    if layout is None:
        return None
    if layout.conf is not None:
        try:
            stated = conf.parse_conf(compact.read_document(layout.conf, Disk()), str(layout.conf)).storage_format
        except CacheError:
            return "compactv2"
        return {COMPACT_V1: "compact", EXPLODED: "exploded"}.get(stated, "compactv2")
    return "compactv2"


def _sniff_sqlite(path: Path, head: bytes) -> str | None:
    """By application id (bytes 68..71 of the header), else by the tables that MBTiles must have."""
    if head[68:72] in (b"GPKG", b"GP10", b"GP11"):
        return "gpkg"
    if head[68:72] == b"MPBX":
        return "mbtiles"
    try:
        connection = open_read_only(path)
        try:
            names = {str(row[0]).lower() for row in connection.execute("SELECT name FROM sqlite_master")}
        finally:
            connection.close()
    except (CacheError, sqlite3.Error, UnicodeDecodeError):
        # Damaged, or left in the middle of a transaction where we may not write: what opens it for good says so.
        return "mbtiles" if path.suffix.lower() == ".mbtiles" else None
    return "mbtiles" if {"tiles", "metadata"} <= names else None


def _sniff_zip(path: Path) -> str | None:
    from harvester.caches.stored_zip import read_directory

    try:
        names = {entry.name.lower() for entry in read_directory(path).files}
    except CacheError:
        return SUFFIXES.get(path.suffix.lower())
    if "root.json" in names:
        return "tpkx"
    if "p12/root.json" in names:
        return "vtpk"
    return "tpk" if any(name.endswith("/conf.xml") for name in names) else None
