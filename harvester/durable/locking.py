"""The lock of a run: one process at a time, and its end is the lock's end.

What it says tells it from what somebody else keeps under that name (``yarn.lock``), so it never appears without: the
file is filled and synced before it gets its name. An empty one is somebody's mark; it is used, and empty again at the
end.
"""

from __future__ import annotations

import os
import re
import secrets
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

FOUND_EMPTY = "found empty"
"""The line that says that the file was there before, without a word in it."""

_OURS = re.compile(rb"\npid \d+ on ")


class Lock:
    """The lock of a run, held from ``lock`` until ``release``, the end of the ``with`` block or of the process.

    ``left``: what a holder that was killed had noted. A note (``.new``) says that what lies beside the lock under that
    ending was made by its holder: nothing else tells it from what somebody put there.
    """

    def __init__(self, path: Path, descriptor: int, left: Sequence[str] = (), *, found_empty: bool = False) -> None:
        self.path = path
        self.left = frozenset(left)
        self._notes = set(left)
        self._found_empty = found_empty
        self._descriptor: int | None = descriptor

    def note(self, *endings: str) -> None:
        """Say, durably, that what will lie there is the holder's. Raises CacheError."""
        if self._descriptor is None or self._notes.issuperset(endings):
            return
        self._notes.update(endings)
        try:
            _write(self._descriptor, self._notes, found_empty=self._found_empty)
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
        if self._found_empty:
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
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
    notes. What counts is the system's lock, which ends with its process: a file left by a killed run is taken over.
    Raises LockedError naming the holder, CacheError where the file system has no locks, or the name is not a file's or
    has something else in it, which stays as it is.
    """
    from filelock import lock_descriptor

    if path.is_symlink() or kind_of(path) not in ("", FILE):
        what = "a symbolic link" if path.is_symlink() else kind_of(path)
        raise CacheError(f"cannot lock {path}: it is {what}, and no file", hint=_TAKEN, code="name_taken")
    while True:
        descriptor, created = _open(path)
        if descriptor is None:
            continue
        held = False
        try:
            if not lock_descriptor(descriptor, blocking=False):
                raise _locked(path, descriptor)
            if held := _is_file_at(descriptor, path):
                said = b"" if created else pread(descriptor, MAX_BYTES + 1, 0)
                if not _is_ours(said):
                    held = False
                    raise CacheError(
                        f"cannot lock {path}: it is not a run's, but holds something else",
                        hint=_TAKEN,
                        code="name_taken",
                    )
                lines = said[1:].decode("utf-8", "replace").split("\n")
                left = [line.removeprefix(MAKES) for line in lines if line.startswith(MAKES)]
                found_empty = (not said and not created) or FOUND_EMPTY in lines
                _write(descriptor, left, found_empty=found_empty)
                return Lock(path, descriptor, left, found_empty=found_empty)
        except OSError as cause:
            held = False
            if created:
                with suppress(OSError):
                    path.unlink()
            if cause.errno in FULL:
                raise disk_full(path) from cause
            hint = "Put the output on a local disk, then copy it."
            raise CacheError(f"cannot lock {path}: {cause.strerror or cause}", hint=hint) from cause
        finally:
            if not held:
                os.close(descriptor)


_TAKEN = "Move it away, or choose another output: a run keeps its lock under that name; nothing was changed."


def _is_ours(said: bytes) -> bool:
    """Does a lock file say what ours do, or nothing? A power cut may have left zeros of it."""
    return len(said) <= MAX_BYTES and (not said.strip(b"\0") or _OURS.match(said) is not None)


def _open(path: Path) -> tuple[int | None, bool]:
    """A descriptor of the lock file, and whether it was made empty just now; None: look again."""
    flags = os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.open(path, flags), False
    except FileNotFoundError:
        pass
    except OSError as cause:
        raise disk_error("lock", path, cause) from cause
    if _appear(path, flags):
        return None, False
    try:
        return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666), True
    except FileExistsError:
        return None, False
    except OSError as cause:
        raise disk_error("lock", path, cause) from cause


def _appear(path: Path, flags: int) -> bool:
    """Make the file so that it appears filled; False where no file can get a name that is free only."""
    try:
        folder = os.open(path.absolute().parent, os.O_RDONLY) if hasattr(os, "O_TMPFILE") else None
    except OSError:
        return False
    try:
        if folder is not None and (made := _appear_from_nowhere(path, folder)) is not None:
            return made
    finally:
        if folder is not None:
            os.close(folder)
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(beside, flags | os.O_CREAT | os.O_EXCL, 0o666)
    except OSError:
        return False
    try:
        try:
            _fill(descriptor)
        finally:
            os.close(descriptor)
        if WINDOWS:
            beside.rename(path)  # fails there where the name is taken
        else:
            os.link(beside, path)
    except FileExistsError:
        pass
    except OSError:
        return False
    finally:
        with suppress(OSError):
            beside.unlink()
    return True


def _appear_from_nowhere(path: Path, folder: int) -> bool | None:
    """The same with a file that has no other name before (Linux), which no kill leaves behind; None: not here."""
    try:
        descriptor = os.open(path.absolute().parent, os.O_TMPFILE | os.O_RDWR, 0o666)
    except OSError:
        return None
    try:
        _fill(descriptor)
        # With a folder's descriptor it is linkat, which alone follows the link in /proc (man 2 open, O_TMPFILE).
        os.link(f"/proc/self/fd/{descriptor}", path.name, dst_dir_fd=folder, follow_symlinks=True)
    except FileExistsError:
        pass
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return True


def _fill(descriptor: int) -> None:
    _write(descriptor, ())
    sync_data(descriptor)


def _write(descriptor: int, notes: Iterable[str], *, found_empty: bool = False) -> None:
    lines = [f"pid {os.getpid()} on {socket.gethostname()}", *(f"{MAKES}{ending}" for ending in sorted(notes))]
    data = "\n".join(["", *lines, *[FOUND_EMPTY] * found_empty, ""]).encode()
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
