"""A bundle that is open for writing: what is durable in it, what a batch changes, and the stamp of its file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harvester.durable import Disk, disk_error
from harvester.tiling.tile import BlockKey

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harvester.caches.bundle_v2 import Index

STAMP_STEP_NANOSECONDS = 1_000_000
"""What a file's time is moved on where the system's clock did not tick between two commits."""


@dataclass(slots=True)
class OpenBlock:
    """A bundle open for writing. ``index`` is what is durable: replaced, never changed, so other threads may look."""

    key: BlockKey
    path: Path
    descriptor: int
    index: Index
    end: int
    """Where the next record goes: behind everything, torn records of an earlier kill included."""
    largest: int
    stamp: str


@dataclass(slots=True)
class Change:
    """What one batch does to one block: numbers of entries, what each becomes, and where its records end."""

    block: OpenBlock
    numbers: NDArray[np.int64]
    entries: NDArray[np.uint64]
    end: int
    largest: int


def absent(block: OpenBlock, numbers: NDArray[np.int64]) -> Change:
    """A change that takes entries out."""
    return Change(block, numbers, np.zeros(numbers.size, np.uint64), block.end, block.largest)


class OpenFile:
    """A bundle that is open for writing, as bytes to read."""

    def __init__(self, disk: Disk, descriptor: int, where: str) -> None:
        self.where = where
        self._disk = disk
        self._descriptor = descriptor

    def size(self) -> int:
        """Bytes in all."""
        return self._disk.size(self._descriptor)

    def read(self, size: int, offset: int) -> bytes:
        """Bytes from an offset; fewer where the file ends."""
        return self._disk.read(self._descriptor, size, offset)


def stamp_of(status: os.stat_result) -> str:
    """Size and time of a bundle, as a stamp."""
    return f"{status.st_size}:{status.st_mtime_ns}"


def next_stamp(block: OpenBlock, stamp: Callable[[Path], str]) -> str:
    """The stamp after a commit. Where clock and size stood still, the time is moved on, so that no two are the same."""
    try:
        found = stamp(block.path)
        if found != block.stamp:
            return found
        status = block.path.stat()
        os.utime(block.path, ns=(status.st_atime_ns, status.st_mtime_ns + STAMP_STEP_NANOSECONDS))
        return stamp(block.path)
    except OSError as cause:
        raise disk_error("set the time of", block.path, cause) from cause
