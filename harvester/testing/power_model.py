"""The disk of the power-loss model: what happened to it, and what a cut leaves of it (see ``testing.power``)."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

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


@dataclass(slots=True)
class _File:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Written] = field(default_factory=list)


class Model:
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
