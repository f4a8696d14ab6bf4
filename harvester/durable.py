"""The one file that knows the operating system: durable file operations, the lock of a run, safe names, shares."""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self, TypeAlias

from harvester.errors import CacheError, LockedError

REPLACE_PATIENCE_SECONDS = 5.0
"""Virus scanners and map viewers on Windows hold a file for a moment; longer than this, a person has to close it."""

REPLACE_PAUSE_SECONDS = 0.1

MAX_NAME_BYTES = 180
"""File systems take 255 (bytes of UTF-8, or UTF-16 units); ``-12.tpkx.work.ledger-journal`` and the like need room."""

MAX_BUFFERS = 512
"""Buffers of one vectored write; Linux and macOS take 1024."""

WINDOWS = os.name == "nt"

Buffer: TypeAlias = bytes | bytearray | memoryview

_FULL = {errno.ENOSPC, errno.EDQUOT}
_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_FOLDER_SYNC = {errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF}
_AGAIN = "Free some space, then run the same command again; it goes on where it stopped."


def disk_error(what: str, path: Path, cause: OSError, needed: int = 0) -> CacheError:
    """The CacheError for an OSError: what failed, on which file, the remedy. ``needed`` in bytes, where it is known."""
    reason = cause.strerror or type(cause).__name__
    if cause.errno in _FULL:
        return disk_full(path, needed)
    if isinstance(cause, FileNotFoundError):
        return CacheError(f"cannot {what} {path}: it does not exist", hint="Check the path.", code="missing")
    if cause.errno in _READ_ONLY:
        hint = "Check the permissions of the file and its folder, and that no other program has it open."
        return CacheError(f"cannot {what} {path}: {reason}", hint=hint, code="permission")
    return CacheError(f"cannot {what} {path}: {reason}", hint="Check the disk, then run the same command again.")


def disk_full(path: Path, needed: int = 0) -> CacheError:
    """The CacheError for a full disk."""
    with suppress(OSError):
        sizes = f"{_free_bytes(path):,} bytes are available" + (f", {needed:,} are needed" if needed else "")
        return CacheError(f"the disk is full: cannot write {path} ({sizes})", hint=_AGAIN, code="disk_full")
    return CacheError(f"the disk is full: cannot write {path}", hint=_AGAIN, code="disk_full")


class Disk:
    """File operations that end in CacheError, never in OSError; files are plain descriptors.

    Each operation calls ``step(name, path)`` before it acts; an OSError raised there counts as the operation's own.
    ``windows`` chooses that system's manners (patient rename, no folder sync); ``sleep`` takes seconds.
    """

    def __init__(self, *, sleep: Callable[[float], None] = time.sleep, windows: bool = WINDOWS) -> None:
        self._sleep = sleep
        self._windows = windows
        self._paths: dict[int, Path] = {}

    def step(self, name: str, path: Path) -> None:
        """Called before every operation; does nothing here. A crash test counts, fails or kills in its own subclass."""

    @contextmanager
    def _doing(self, name: str, path: Path, needed: int = 0) -> Iterator[None]:
        try:
            self.step(name, path)
            yield
        except OSError as cause:
            raise disk_error(name.replace("_", " "), path, cause, needed) from cause

    def open(self, path: Path, *, write: bool = False, create: bool = False, truncate: bool = False) -> int:
        """Open a file for reading, or for reading and writing; gives its descriptor. ``create``: make it if need be."""
        flags = os.O_RDWR if write else os.O_RDONLY
        flags |= (os.O_CREAT if create else 0) | (os.O_TRUNC if truncate else 0) | getattr(os, "O_BINARY", 0)
        with self._doing("open", path):
            descriptor = os.open(path, flags, 0o666)
        self._paths[descriptor] = path
        return descriptor

    def close(self, descriptor: int) -> None:
        """Close a descriptor."""
        path = self._paths.pop(descriptor)
        with self._doing("close", path):
            os.close(descriptor)

    def size(self, descriptor: int) -> int:
        """The file's size in bytes."""
        return os.fstat(descriptor).st_size

    def read(self, descriptor: int, size: int, offset: int) -> bytes:
        """``size`` bytes from ``offset``, fewer only where the file ends."""
        parts: list[bytes] = []
        with self._doing("read", self._paths[descriptor]):
            while size > 0:
                part = _pread(descriptor, size, offset)
                if not part:
                    break
                parts.append(part)
                size -= len(part)
                offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def pwrite(self, descriptor: int, data: Buffer, offset: int) -> None:
        """Write all of ``data`` at ``offset``."""
        self.pwritev(descriptor, (data,), offset)

    def pwritev(self, descriptor: int, buffers: Sequence[Buffer], offset: int) -> None:
        """Write all of several buffers, one after the other, from ``offset`` on, without joining them first."""
        views = [memoryview(buffer).cast("B") for buffer in buffers]
        with self._doing("write", self._paths[descriptor], sum(map(len, views))):
            for first in range(0, len(views), MAX_BUFFERS):
                offset = _pwrite_all(descriptor, views[first : first + MAX_BUFFERS], offset)

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut or lengthen the file to ``size`` bytes."""
        with self._doing("truncate", self._paths[descriptor]):
            os.ftruncate(descriptor, size)

    def fsync(self, descriptor: int) -> None:
        """Make what was written durable. After an error here, all that was written since the last sync is lost."""
        with self._doing("sync", self._paths[descriptor]):
            _sync_data(descriptor)

    def sync_folder(self, path: Path) -> None:
        """Make names in a folder durable; nothing to do on Windows, and where the file system has no such thing."""
        if self._windows:
            return
        with self._doing("sync_folder", path):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            except OSError as cause:
                if cause.errno not in _NO_FOLDER_SYNC:
                    raise
            finally:
                os.close(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        """Rename onto ``target``. On Windows patient while another program holds either; then CacheError ``in_use``."""
        self._patiently("replace", target, lambda: source.replace(target))

    def remove(self, path: Path) -> None:
        """Remove a file; it need not be there."""
        with suppress(FileNotFoundError):
            self._patiently("remove", path, lambda: path.unlink(missing_ok=True))

    def remove_tree(self, path: Path) -> None:
        """Remove a folder and all in it, name by name; it need not be there. A link is removed, not followed."""
        if path.is_symlink() or not path.is_dir():
            self.remove(path)
            return
        for entry in self._entries(path):
            if entry.is_dir(follow_symlinks=False):
                self.remove_tree(Path(entry.path))
            else:
                self.remove(Path(entry.path))
        self._patiently("remove_tree", path, path.rmdir)

    def _entries(self, path: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(path) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as cause:
            raise disk_error("read", path, cause) from cause

    def make_dirs(self, path: Path) -> None:
        """Make a folder and those above it, where they aren't, each durable in the one above."""
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        with self._doing("make_dirs", path):
            path.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            self.sync_folder(folder.parent)

    def write_whole(self, path: Path, data: bytes) -> None:
        """Write a small file of which readers see all of the old or all of the new: ``.part``, sync, rename, sync."""
        part = path.with_name(path.name + ".part")
        descriptor = self.open(part, write=True, create=True, truncate=True)
        try:
            self.pwrite(descriptor, data, 0)
            self.fsync(descriptor)
        finally:
            self.close(descriptor)
        self.replace(part, path)
        self.sync_folder(path.parent)

    def free_bytes(self, path: Path) -> int:
        """Bytes that this user may still write on the file system of ``path``, which need not exist yet."""
        with self._doing("measure", path):
            return _free_bytes(path)

    def _patiently(self, name: str, path: Path, act: Callable[[], object]) -> None:
        pauses = round(REPLACE_PATIENCE_SECONDS / REPLACE_PAUSE_SECONDS) if self._windows else 0
        while True:
            try:
                self.step(name, path)
                act()
                return
            except PermissionError as cause:
                if not self._windows:
                    raise disk_error(name.replace("_", " "), path, cause) from cause
                if not pauses:
                    hint = "Close the program that has it open, then run the same command again."
                    message = f"cannot {name.replace('_', ' ')} {path}: another program has it open"
                    raise CacheError(message, hint=hint, code="in_use") from cause
            except OSError as cause:
                raise disk_error(name.replace("_", " "), path, cause) from cause
            pauses -= 1
            self._sleep(REPLACE_PAUSE_SECONDS)


def _free_bytes(path: Path) -> int:
    place = path.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def _pread(descriptor: int, size: int, offset: int) -> bytes:
    if sys.platform == "win32":
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, size)
    return os.pread(descriptor, size, offset)


def _pwrite_all(descriptor: int, views: list[memoryview], offset: int) -> int:
    """Write until all is written; gives the offset behind it. A short write is no error: a signal may cut it."""
    while views:
        if sys.platform == "win32":
            os.lseek(descriptor, offset, os.SEEK_SET)
            written = os.write(descriptor, views[0])
        else:
            written = os.pwritev(descriptor, views, offset)
        offset += written
        while views and written >= len(views[0]):
            written -= len(views.pop(0))
        if written:
            views[0] = views[0][written:]
    return offset


def _sync_data(descriptor: int) -> None:
    if sys.platform == "darwin":
        import fcntl

        # fsync leaves the data in the drive's own cache there; some file systems (shares) know only fsync.
        with suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    getattr(os, "fdatasync", os.fsync)(descriptor)


# ------------------------------------------------------------------------------------------------ the lock of a run


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
    Raises LockedError naming the holder, CacheError where the file system has no locks.
    """
    from filelock import lock_descriptor

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
                _pwrite_all(descriptor, [memoryview(holder)], 0)
                os.ftruncate(descriptor, len(holder))
                return Lock(path, descriptor)
        except OSError as cause:
            held = False
            if cause.errno in _FULL:
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
        holder = _pread(descriptor, 400, 1).decode("utf-8", "replace").strip()
    hint = "Wait for it to end, or stop it; the lock ends with its process."
    return LockedError(f"{path} is locked by another run ({holder or 'unknown'})", hint=hint)


# ------------------------------------------------------------------------------------------------ names and places

_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]')
"""Windows' reserved characters, controls, line and paragraph separators, bidi overrides, lone surrogates."""

_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])[ ]*(\.|$)", re.IGNORECASE)
"""Windows' device names, with any extension."""


def safe_name(text: str) -> str:
    """A file name for ``text`` that every file system takes, at most MAX_NAME_BYTES long; its own result stays so."""
    name = _FORBIDDEN.sub("_", unicodedata.normalize("NFC", text)).strip()
    if name.startswith("."):
        name = "_" + name.lstrip(".")
    if _RESERVED.match(name):
        name = "_" + name
    name = re.sub(r"[.\s]+$", "", name.encode()[:MAX_NAME_BYTES].decode("utf-8", "ignore"))
    return name or "unnamed"


def unique_names(names: Sequence[str]) -> list[str]:
    """Safe names for all of them, none equal to another where case does not count: repeated ones get ``-2``, ``-3`` ...

    The first of its kind keeps its name, whatever comes before it.
    """
    safe = [safe_name(name) for name in names]
    wanted = {_folded(name) for name in safe}
    taken: set[str] = set()
    result: list[str] = []
    for name in safe:
        choice, number = name, 1
        while _folded(choice) in taken or (number > 1 and _folded(choice) in wanted):
            number += 1
            choice = f"{name}-{number}"
        taken.add(_folded(choice))
        result.append(choice)
    return result


def _folded(name: str) -> str:
    """Equal for names that some file system takes for one: no case, no form of accents, no invisible characters (HFS+
    passes over joiners and marks of direction when it compares)."""
    seen = "".join(letter for letter in unicodedata.normalize("NFD", name) if unicodedata.category(letter) != "Cf")
    return unicodedata.normalize("NFC", seen.casefold())


_SHARES = re.compile(
    r"nfs\d?|cifs|smb\w*|ncpfs|afs|9p|ceph|glusterfs|lustre|davfs|fuse\.(sshfs|rclone|davfs2?|s3fs|gcsfuse)"
)

_DRIVE_REMOTE = 4
"""GetDriveTypeW: a network drive."""


def is_network_share(path: Path, *, mounts: Path = Path("/proc/mounts")) -> bool:
    """Does ``path`` lie on a network share? Best effort, for a warning: False where the system does not say."""
    if sys.platform == "win32":
        import ctypes

        place = str(path.absolute())
        return place.startswith("\\\\") or ctypes.windll.kernel32.GetDriveTypeW(path.absolute().anchor) == _DRIVE_REMOTE
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
        place = path.resolve()
    except OSError:
        return False
    best, kind = -1, ""
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        # Blanks and the like are written as three octal digits (fstab(5)).
        point = Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[1]))
        if place.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), fields[2]
    return _SHARES.fullmatch(kind) is not None
