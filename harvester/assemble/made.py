"""What a run makes on disk before its first tile request, taken back when it never comes to that."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Self

from harvester.database import remove_journal
from harvester.durable import Disk
from harvester.errors import CacheError


class Made:
    """Files and folders that were not there; removed at the end of the ``with`` block unless ``kept``.

    A path is noted before it is made: whatever stops the run in between, nothing is forgotten. Where an empty file or
    folder was, one is again.
    """

    def __init__(self, disk: Disk) -> None:
        self.kept = False
        """True once there is a state to keep: a tile was asked, or the run is complete."""
        self._disk = disk
        self._noted: list[tuple[Path, bool]] = []
        self._folders: list[Path] = []

    def note(self, path: Path) -> None:
        """``path`` is about to be made, or filled where it is empty; what holds anything is left alone."""
        there = path.exists()
        if not there or _is_empty(path):
            self._noted.append((path, there))

    def folders(self, path: Path) -> None:
        """Make a folder and those above it, where they aren't; taken back only while nobody has put anything there."""
        self._folders = [folder for folder in (path, *path.parents) if not folder.exists()]
        if self._folders:
            self._disk.make_dirs(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.kept:
            return
        for path, was_there in reversed(self._noted):
            # What ended the run is the error to tell; a disk that fails here too leaves what it leaves.
            with suppress(CacheError):
                self._take_back(path, was_there)
        for folder in self._folders:
            with suppress(OSError):
                folder.rmdir()

    def _take_back(self, path: Path, was_there: bool) -> None:
        disk = self._disk
        if path.is_dir():
            disk.remove_tree(path)
            if was_there:
                disk.make_dirs(path)
            return
        remove_journal(path, disk)
        if was_there:
            disk.close(disk.open(path, write=True, truncate=True))
        else:
            disk.remove(path)


def _is_empty(path: Path) -> bool:
    return not any(path.iterdir()) if path.is_dir() else path.stat().st_size == 0
