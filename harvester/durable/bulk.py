"""Many buffers written one after the other as one stream, past the page cache where the system lets us.

What a harvest writes is synced at once and not read again by it. Copying it into the page cache first takes half of
the CPU time of such a write (``benchmarks/bench_compact.py``), and drives out what other programs keep there.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from harvester.durable.calls import Buffer
from harvester.durable.disk import Disk
from harvester.errors import CacheError

PAGE = 4096
"""What a direct write begins and ends at, in the file and in memory; devices want 512 or this."""

HUGE = 2 << 20
"""One page of the larger kind (Linux, x86-64 and most of arm64). A direct write looks at every page of its memory, and
copying into it misses the table of pages: with one page instead of 512 a tile costs a third less CPU to write
(benchmarks/README.md)."""

BULK_BYTES = HUGE - PAGE
"""Written at once, from any place in a page on: fewer commands than with less; as much memory for each open cache."""

JOINED_BYTES = 512 << 10
"""Joined to one write through the page cache: less CPU than one write a tile, or megabytes at once."""

WORTHWHILE_BYTES = 64 << 10
"""Less than this goes through the page cache: little is saved, and a direct write waits for the device."""

_DIRECT: int = getattr(os, "O_DIRECT", 0)
"""Linux; elsewhere all goes through the page cache."""


class Bulk:
    """Writes streams of buffers through a ``disk``; to be used by one thread. ``direct``: pass the page cache by.

    Whatever can't be written directly (the pieces of a page at both ends, a file system that knows no such thing) is
    written as ever. Nothing is durable before the file is synced, either way.
    """

    def __init__(self, disk: Disk, *, direct: bool) -> None:
        self._disk = disk
        self._direct = direct and bool(_DIRECT)
        self._room: mmap.mmap | None = None
        self._first = 0
        """Where in the room the huge page begins."""

    @property
    def at_once(self) -> int:
        """Bytes to give to ``write`` at once."""
        return BULK_BYTES if self._direct else JOINED_BYTES

    def write(self, descriptor: int, buffers: Sequence[Buffer], size: int, offset: int) -> None:
        """Write ``buffers``, ``size`` bytes in all, from ``offset`` on. Raises CacheError."""
        if not self._direct or not WORTHWHILE_BYTES <= size <= BULK_BYTES:
            self._disk.pwrite(descriptor, b"".join(buffers), offset)
            return
        if self._room is None:
            self._room, self._first = _room()
        room = self._room
        before = offset % PAGE  # so that a page of the file is a page of the memory
        room.seek(self._first + before)
        deque(map(room.write, buffers), 0)
        end = before + size
        first, last = -(-before // PAGE) * PAGE, end // PAGE * PAGE
        start = offset - before
        with memoryview(room) as whole, whole[self._first :] as view:
            if before:
                self._disk.pwrite(descriptor, view[before:first], offset)
            self._write_pages(descriptor, view[first:last], start + first)
            if end > last:
                self._disk.pwrite(descriptor, view[last:end], start + last)

    def _write_pages(self, descriptor: int, pages: memoryview, offset: int) -> None:
        try:
            _set_direct(descriptor, on=True)
        except OSError:  # tmpfs of old kernels, some file systems in user space
            self._direct = False
            self._disk.pwrite(descriptor, pages, offset)
            return
        try:
            self._disk.pwrite(descriptor, pages, offset)
        except CacheError as error:
            # A short write leaves a rest that is no whole page; a device may want more than pages.
            if not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.EINVAL:
                raise
            self._direct = False
            _set_direct(descriptor, on=False)
            self._disk.pwrite(descriptor, pages, offset)
        finally:
            with suppress(OSError):
                _set_direct(descriptor, on=False)

    def close(self) -> None:
        """Give the memory back. May be called twice, and more be written after it."""
        if self._room is not None:
            with suppress(BufferError):  # an error that is still being told of holds a piece of it
                self._room.close()
            self._room = None


def _room() -> tuple[mmap.mmap, int]:
    """Memory with ``HUGE`` bytes at a border of so many, one page where the system has such; and where they begin."""
    import numpy as np

    # What isn't touched takes no memory. Shared memory, as it would be unasked, has huge pages by another setting.
    room = mmap.mmap(-1, 2 * HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    address = int(np.frombuffer(room, np.uint8, 1).__array_interface__["data"][0])
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without them
            room.madvise(mmap.MADV_HUGEPAGE)
    return room, -address % HUGE


def _set_direct(descriptor: int, *, on: bool) -> None:
    import fcntl

    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | _DIRECT if on else flags & ~_DIRECT)
