"""What a power cut can leave on a disk: writes are recorded, and whatever was not synced may be there, or not, in part.

The model (POSIX fsync, read strictly): a sync of a file makes its content durable, not its name; a sync of a folder
makes the names in it durable, not what they name. Until then each 512-byte sector of each write has reached the disk or
hasn't, on its own and in any order; a file is as long as the last sector that did, or as it should be, with zeros in
between; names have been changed in their order, up to some point. A sector is never torn.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from harvester.durable import Buffer, Disk

SECTOR_BYTES = 512
"""What a disk writes whole or not at all; larger sectors tear less."""

FOLDER = 0
"""Stands for a folder where a name leads to a file's number."""


class Written(NamedTuple):
    """Bytes written to a file, or (data None) its length set to ``offset``."""

    file: int
    offset: int
    data: bytes | None


class Synced(NamedTuple):
    """A file's content has been made durable."""

    file: int


class Named(NamedTuple):
    """Names changed at one stroke: path to a file's number, FOLDER, or None (gone). All lie in ``folder``."""

    folder: Path
    names: tuple[tuple[Path, int | None], ...]


class NamesSynced(NamedTuple):
    """A folder's names have been made durable."""

    folder: Path


class Acknowledged(NamedTuple):
    """What the writer has promised to be durable from here on."""

    what: object


Event = Written | Synced | Named | NamesSynced | Acknowledged


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
        model = _Model(self.root, self.start, self.folders)
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


@dataclass(slots=True)
class _File:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Written] = field(default_factory=list)


class _Model:
    """The disk after the events so far: durable contents and names, and what is on its way."""

    def __init__(self, root: Path, start: dict[Path, bytes], folders: Sequence[Path]) -> None:
        self._root = root
        self._files: dict[int, _File] = {}
        self._names: dict[Path, int] = dict.fromkeys(folders, FOLDER)
        self._pending: list[Named] = []
        self.acknowledged: list[object] = []
        for number, (path, data) in enumerate(start.items(), FOLDER + 1):
            self._files[number] = _File(bytearray(data))
            self._names[path] = number

    @property
    def unsynced(self) -> bool:
        """Whether a cut now has more than one outcome."""
        return bool(self._pending) or any(file.pending for file in self._files.values())

    def take(self, event: Event) -> None:
        """One event more."""
        if isinstance(event, Written):
            self._file(event.file).pending.append(event)
        elif isinstance(event, Synced):
            file = self._file(event.file)
            for written in file.pending:
                _apply(file.durable, written)
            file.pending.clear()
        elif isinstance(event, Named):
            gone = {path for path, number in event.names if number is None}
            # A folder is only removed once it is empty: what was removed in it is due no later than its own name.
            self._pending = [
                Named(event.folder, named.names) if gone & {named.folder, *named.folder.parents} else named
                for named in self._pending
            ]
            self._pending.append(event)
        elif isinstance(event, NamesSynced):
            for named in [named for named in self._pending if named.folder == event.folder]:
                self._rename(self._names, named)
                self._pending.remove(named)
        else:
            self.acknowledged.append(event.what)

    def cut(self, chance: random.Random, share: float) -> dict[Path, bytes]:
        """The files after a cut at which about ``share`` of what was unsynced had arrived."""
        names = dict(self._names)
        for folder in dict.fromkeys(named.folder for named in self._pending):
            for named in (named for named in self._pending if named.folder == folder):
                if chance.random() >= share:
                    break
                self._rename(names, named)
        return {
            path: self._content(self._file(number), chance, share)
            for path, number in sorted(names.items())
            if number != FOLDER and self._is_reachable(path, names)
        }

    def _file(self, number: int) -> _File:
        return self._files.setdefault(number, _File())

    def _is_reachable(self, path: Path, names: dict[Path, int]) -> bool:
        return all(parent in names for parent in path.parents if self._root in parent.parents)

    @staticmethod
    def _rename(names: dict[Path, int], named: Named) -> None:
        for path, number in named.names:
            if number is None:
                names.pop(path, None)
            else:
                names[path] = number

    @staticmethod
    def _content(file: _File, chance: random.Random, share: float) -> bytes:
        content = bytearray(file.durable)
        for written in file.pending:
            for piece in _sectors(written):
                if chance.random() < share:
                    _apply(content, piece)
        if file.pending and chance.random() < share / 2:
            # The length has arrived before the data.
            whole = bytearray(file.durable)
            for written in file.pending:
                _apply(whole, written)
            content.extend(bytes(max(0, len(whole) - len(content))))
        return bytes(content)


def _sectors(written: Written) -> Iterator[Written]:
    """A write, cut where the disk's sectors end."""
    if written.data is None:
        yield written
        return
    start = 0
    while start < len(written.data):
        end = min(len(written.data), start + SECTOR_BYTES - (written.offset + start) % SECTOR_BYTES)
        yield Written(written.file, written.offset + start, written.data[start:end])
        start = end


def _apply(content: bytearray, written: Written) -> None:
    if written.data is None:
        del content[written.offset :]
        content.extend(bytes(written.offset - len(content)))
        return
    content.extend(bytes(max(0, written.offset + len(written.data) - len(content))))
    content[written.offset : written.offset + len(written.data)] = written.data
