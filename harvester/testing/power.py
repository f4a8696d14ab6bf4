"""What a power cut can leave on a disk: writes are recorded, and whatever was not synced may be there, or not, in part.

The model (POSIX fsync, read strictly): a sync of a file makes its content durable, not its name; a sync of a folder
makes the names in it durable, not what they name. Until then each 512-byte sector of each write has reached the disk or
hasn't, on its own and in any order; a file is as long as the last sector that did, or as it should be, with zeros in
between; names have been changed in their order, up to some point. A sector is never torn.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from harvester.durable import Buffer, Disk
from harvester.testing.power_model import FOLDER, Acknowledged, Event, Model, Named, NamesSynced, Synced, Written


class CrashState(NamedTuple):
    """What is on the disk after a power cut, and what had been promised before it."""

    files: dict[Path, bytes]
    acknowledged: list[object]
    event: int
    """Events of the trace that had happened."""


class RecordingDisk(Disk):
    """Does everything for real below ``root``, and keeps a trace. What lies there at the start counts as durable."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self.trace: list[Event] = []
        self.start: dict[Path, bytes] = {}
        self.folders: list[Path] = []
        self._numbers: dict[Path, int] = {}
        self._open: dict[int, int] = {}
        self._next = FOLDER + 1
        for path in sorted(root.rglob("*")):
            if path.is_dir():
                self.folders.append(path)
            else:
                self._number(path)
                self.start[path] = path.read_bytes()

    def created(self, path: Path) -> None:
        """Note a file that is there now and was not."""
        self.trace.append(Named(path.parent, ((path, self._number(path)),)))

    def written(self, path: Path, offset: int, data: bytes | None) -> None:
        """Note bytes written to a file by its name, or (data None) its length set."""
        self.trace.append(Written(self._known(path), offset, data))

    def synced(self, path: Path) -> None:
        """Note a file's content made durable."""
        self.trace.append(Synced(self._known(path)))

    def removed(self, path: Path) -> None:
        """Note a file that is gone."""
        if self._numbers.pop(path, None) is not None:
            self.trace.append(Named(path.parent, ((path, None),)))

    def acknowledge(self, what: object) -> None:
        """Note a promise."""
        self.trace.append(Acknowledged(what))

    def open(self, path: Path, *, write: bool = False, create: bool = False, truncate: bool = False) -> int:
        """As Disk, noted."""
        is_new = not path.exists()
        descriptor = super().open(path, write=write, create=create, truncate=truncate)
        if is_new:
            self.created(path)
        elif truncate:
            self.trace.append(Written(self._known(path), 0, None))
        self._open[descriptor] = self._known(path)
        return descriptor

    def close(self, descriptor: int) -> None:
        """As Disk."""
        # First: once it is closed, another thread's file may have the number.
        del self._open[descriptor]
        super().close(descriptor)

    def pwritev(self, descriptor: int, buffers: Sequence[Buffer], offset: int) -> None:
        """As Disk, noted."""
        super().pwritev(descriptor, buffers, offset)
        self.trace.append(Written(self._open[descriptor], offset, b"".join(bytes(buffer) for buffer in buffers)))

    def truncate(self, descriptor: int, size: int) -> None:
        """As Disk, noted."""
        super().truncate(descriptor, size)
        self.trace.append(Written(self._open[descriptor], size, None))

    def fsync(self, descriptor: int) -> None:
        """As Disk, noted."""
        super().fsync(descriptor)
        self.trace.append(Synced(self._open[descriptor]))

    def sync_folder(self, path: Path) -> None:
        """As Disk, noted."""
        super().sync_folder(path)
        self.trace.append(NamesSynced(path))

    def replace(self, source: Path, target: Path) -> None:
        """As Disk, noted; a folder takes along what is in it."""
        moved = self._below(source)
        super().replace(source, target)
        names: list[tuple[Path, int | None]] = [(path, None) for path in moved]
        for path, number in moved.items():
            self._numbers.pop(path, None)
            new = target / path.relative_to(source)
            names.append((new, number))
            if number != FOLDER:
                self._numbers[new] = number
        self.trace.append(Named(target.parent, tuple(names)))

    def remove(self, path: Path) -> None:
        """As Disk, noted."""
        super().remove(path)
        self.removed(path)

    def remove_tree(self, path: Path) -> None:
        """As Disk, noted: what is in it went before, name by name."""
        is_folder = path.is_dir() and not path.is_symlink()
        super().remove_tree(path)
        if is_folder:
            self.trace.append(Named(path.parent, ((path, None),)))

    def make_dirs(self, path: Path) -> None:
        """As Disk, noted: each folder is a name in the one above."""
        new = [folder for folder in (*reversed(path.parents), path) if not folder.exists()]
        # The names first: Disk.make_dirs syncs them itself, and those syncs must come after.
        for folder in new:
            self.trace.append(Named(folder.parent, ((folder, FOLDER),)))
        super().make_dirs(path)

    def _below(self, path: Path) -> dict[Path, int]:
        """A file, or a folder with all that is in it, each with what its name leads to."""
        inside = sorted(path.rglob("*")) if path.is_dir() else []
        return {item: FOLDER if item.is_dir() else self._known(item) for item in (path, *inside) if item.exists()}

    def _known(self, path: Path) -> int:
        """A file's number; a file that another program made gets one now."""
        return self._numbers[path] if path in self._numbers else self._number(path)

    def _number(self, path: Path) -> int:
        self._numbers[path] = self._next
        self._next += 1
        return self._numbers[path]

    def states(self, *, seed: int = 0, samples: int = 4, every: int = 1) -> Iterator[CrashState]:
        """What a cut after each event can leave: nothing unsynced, all of it, and ``samples`` random parts of it.

        ``every``: only after each so many-th event."""
        model = Model(self.root, self.start, self.folders)
        chance = random.Random(seed)
        for count, event in enumerate((None, *self.trace)):
            if event is not None:
                model.take(event)
            if count % every:
                continue
            for share in (0.0, 1.0, *(0.5 for _ in range(samples if model.unsynced else 0))):
                yield CrashState(model.cut(chance, share), list(model.acknowledged), count)


def materialise(state: CrashState, root: Path, folder: Path) -> None:
    """Write a crash state of ``root`` into an empty folder."""
    for path, data in state.files.items():
        target = folder / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
