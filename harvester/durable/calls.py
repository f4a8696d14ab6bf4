"""System calls in which the systems differ: to read and write at a place, to sync data, to ask for room."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

WINDOWS = os.name == "nt"

UNCOUNTED = 1 << 62
"""Files that may still be made where nobody counts them."""

Buffer: TypeAlias = bytes | bytearray | memoryview


def free_bytes_at(path: Path) -> int:
    """Bytes that this user may still write there; of a path that is not there yet, in the nearest folder above."""
    return shutil.disk_usage(_nearest(path)).free


def inodes_at(path: Path) -> int:
    """Files that this user may still make there: many where the system does not count them (Windows, btrfs, FAT)."""
    if sys.platform == "win32":
        return UNCOUNTED
    found = os.statvfs(_nearest(path))
    return found.f_favail if found.f_files else UNCOUNTED


def file_size_limit() -> int | None:
    """Bytes that a file of this process may have (``ulimit -f``); None without a limit."""
    if sys.platform == "win32":
        return None
    import resource

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def _nearest(path: Path) -> Path:
    place = path.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return place


def pread(descriptor: int, size: int, offset: int) -> bytes:
    """At most ``size`` bytes from ``offset``; none at the file's end."""
    if sys.platform == "win32":
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, size)
    return os.pread(descriptor, size, offset)


def pwrite_all(descriptor: int, views: list[memoryview], offset: int) -> int:
    """Write until all is written; gives the offset behind it. A short write is no error: a signal may cut it."""
    while views:
        if sys.platform == "win32":
            os.lseek(descriptor, offset, os.SEEK_SET)
            written = os.write(descriptor, views[0])
        else:
            written = os.pwritev(descriptor, views, offset)
        offset += written
        while views and written >= len(views[0]):
            written -= len(views.pop(0))
        if written:
            views[0] = views[0][written:]
    return offset


def sync_data(descriptor: int) -> None:
    """Bring the file's bytes, and the size that they need, down to the medium."""
    if sys.platform == "darwin":
        import fcntl

        # fsync leaves the data in the drive's own cache there; some file systems (shares) know only fsync.
        with suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    getattr(os, "fdatasync", os.fsync)(descriptor)
