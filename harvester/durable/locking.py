"""The lock of a run: one process at a time, and its end is the lock's end."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from harvester.durable.calls import WINDOWS, pread, pwrite_all, sync_data
from harvester.durable.targets import FILE, kind_of
from harvester.durable.trouble import FULL, disk_error, disk_full
from harvester.errors import CacheError, LockedError

MAX_BYTES = 4096
"""Of a lock file that are read; pid, host and a few notes have some hundred."""

MAKES = "makes "
"""Begins the line of a note."""


class Lock:
    """The lock of a run, held from ``lock`` until ``release``, the end of the ``with`` block or of the process.

    ``left``: what a holder that was killed had noted. A note (``.new``) says that what lies beside the lock under that
    ending was made by its holder: nothing else tells it from what somebody put there.
    """

    def __init__(self, path: Path, descriptor: int, left: Sequence[str] = ()) -> None:
        self.path = path
        self.left = frozenset(left)
        self._notes = set(left)
        self._descriptor: int | None = descriptor

    def note(self, *endings: str) -> None:
        """Say, durably, that what will lie there is the holder's. Raises CacheError."""
        if self._descriptor is None or self._notes.issuperset(endings):
            return
        self._notes.update(endings)
        try:
            _write(self._descriptor, self._notes)
            sync_data(self._descriptor)
        except OSError as cause:
            raise disk_error("write", self.path, cause) from cause

    def release(self) -> None:
        """Let go and remove the file, unless something is left of what was noted. May be called twice."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        base = self.path.name.removesuffix(".lock")
        if any(os.path.lexists(self.path.with_name(base + ending)) for ending in self._notes):
            os.close(descriptor)
            return
        # POSIX: unlink while holding, and whoever waits on the old inode sees that the name is gone (see ``lock``).
        # Windows refuses to remove an open file, so it is closed first; if a new holder has it open by then, it stays.
        with suppress(OSError):
            if not WINDOWS:
                self.path.unlink()
        os.close(descriptor)
        with suppress(OSError):
            if WINDOWS:
                self.path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()


def lock(path: Path) -> Lock:
    """Take the exclusive lock of a run, at once or not at all.

    The file holds a line feed (the byte that is locked on Windows, where nobody can read it), then pid and host, then
    notes. What
    counts is the system's lock, which ends with its process: a file left by a killed run is taken over.
    Raises LockedError naming the holder, CacheError where the file system has no locks or the name is not a file's.
    """
    from filelock import lock_descriptor

    if path.is_symlink() or kind_of(path) not in ("", FILE):
        what = "a symbolic link" if path.is_symlink() else kind_of(path)
        hint = "Move it away: a run keeps its lock under that name; nothing was changed."
        raise CacheError(f"cannot lock {path}: it is {what}, and no file", hint=hint, code="name_taken")
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
    while True:
        try:
            descriptor = os.open(path, flags, 0o666)
        except OSError as cause:
            raise disk_error("lock", path, cause) from cause
        held = False
        try:
            if not lock_descriptor(descriptor, blocking=False):
                raise _locked(path, descriptor)
            if held := _is_file_at(descriptor, path):
                lines = _lines(descriptor)
                left = [line.removeprefix(MAKES) for line in lines if line.startswith(MAKES)]
                _write(descriptor, left)
                return Lock(path, descriptor, left)
        except OSError as cause:
            held = False
            if cause.errno in FULL:
                raise disk_full(path) from cause
            hint = "Put the output on a local disk, then copy it."
            raise CacheError(f"cannot lock {path}: {cause.strerror or cause}", hint=hint) from cause
        finally:
            if not held:
                os.close(descriptor)


def _write(descriptor: int, notes: Iterable[str]) -> None:
    holder = f"\npid {os.getpid()} on {socket.gethostname()}\n"
    data = (holder + "".join(f"{MAKES}{ending}\n" for ending in sorted(notes))).encode()
    pwrite_all(descriptor, [memoryview(data)], 0)
    os.ftruncate(descriptor, len(data))


def _lines(descriptor: int) -> list[str]:
    """What a lock file says; its first byte is the locked one, which nobody else can read on Windows."""
    return pread(descriptor, MAX_BYTES, 1).decode("utf-8", "replace").split("\n")


def _is_file_at(descriptor: int, path: Path) -> bool:
    """False when the file was unlinked (by a holder that let go) between our open and our lock."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


def _locked(path: Path, descriptor: int) -> LockedError:
    holder = ""
    with suppress(OSError):
        holder = next(iter(_lines(descriptor)), "")
    hint = "Wait for it to end, or stop it; the lock ends with its process."
    return LockedError(f"{path} is locked by another run ({holder or 'unknown'})", hint=hint)
