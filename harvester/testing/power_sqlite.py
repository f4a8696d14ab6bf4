"""SQLite in the power-loss model: what it does to its files goes into the same trace as what a Disk does.

After SQLite's own account ("Atomic Commit In SQLite") and its Unix VFS: the first sync of a journal that was created
syncs its folder, too; a removal syncs it where SQLite says so. Nothing else makes a name durable, and a transaction is
over when its journal has been cut to nothing, durably.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harvester.testing.power import RecordingDisk
from harvester.testing.power_model import NamesSynced
from harvester.testing.sqlite_files import SqliteWatch, watching_sqlite


@contextmanager
def recording_sqlite(disk: RecordingDisk) -> Iterator[None]:
    """Every SQLite file below the disk's root is recorded in its trace while the block lasts."""
    with watching_sqlite(_Recorder(disk)):
        yield


class _Recorder(SqliteWatch):
    def __init__(self, disk: RecordingDisk) -> None:
        self._disk = disk

    def _is_ours(self, path: Path) -> bool:
        return self._disk.root in path.parents

    def step(self, name: str, path: Path) -> None:
        if self._is_ours(path):
            self._disk.step(name, path)

    def created(self, path: Path) -> None:
        if self._is_ours(path):
            self._disk.created(path)

    def written(self, path: Path, offset: int, data: bytes) -> None:
        if self._is_ours(path):
            self._disk.written(path, offset, data)

    def truncated(self, path: Path, size: int) -> None:
        if self._is_ours(path):
            self._disk.written(path, size, None)

    def synced(self, path: Path) -> None:
        if self._is_ours(path):
            self._disk.synced(path)

    def folder_synced(self, path: Path) -> None:
        if path == self._disk.root or self._is_ours(path):
            self._disk.trace.append(NamesSynced(path))

    def removed(self, path: Path) -> None:
        if self._is_ours(path):
            self._disk.removed(path)
