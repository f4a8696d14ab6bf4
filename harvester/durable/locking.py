"""The lock of a run: one process at a time, and its end is the lock's end."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Self

from harvester.durable.calls import WINDOWS, pread, pwrite_all
from harvester.durable.targets import FILE, kind_of
from harvester.durable.trouble import FULL, disk_error, disk_full
from harvester.errors import CacheError, LockedError


class Lock:
    """The lock of a run, held from ``lock`` until ``release``, the end of the ``with`` block or of the process."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Let go and remove the file. May be called twice."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
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

    The file holds a line feed (the byte that is locked on Windows, where nobody can read it), then pid and host. What
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
                holder = f"\npid {os.getpid()} on {socket.gethostname()}\n".encode()
                pwrite_all(descriptor, [memoryview(holder)], 0)
                os.ftruncate(descriptor, len(holder))
                return Lock(path, descriptor)
        except OSError as cause:
            held = False
            if cause.errno in FULL:
                raise disk_full(path) from cause
            hint = "Put the output on a local disk, then copy it."
            raise CacheError(f"cannot lock {path}: {cause.strerror or cause}", hint=hint) from cause
        finally:
            if not held:
                os.close(descriptor)


def _is_file_at(descriptor: int, path: Path) -> bool:
    """False when the file was unlinked (by a holder that let go) between our open and our lock."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


def _locked(path: Path, descriptor: int) -> LockedError:
    holder = ""
    with suppress(OSError):
        holder = pread(descriptor, 400, 1).decode("utf-8", "replace").strip()
    hint = "Wait for it to end, or stop it; the lock ends with its process."
    return LockedError(f"{path} is locked by another run ({holder or 'unknown'})", hint=hint)
