"""Durable file operations: each ends done, or in a CacheError."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from harvester.durable.calls import WINDOWS, Buffer, free_bytes_at, pread, pwrite_all, sync_data
from harvester.durable.targets import behind_links, is_replaceable, write_to
from harvester.durable.trouble import disk_error
from harvester.errors import CacheError

REPLACE_PATIENCE_SECONDS = 5.0
"""Virus scanners and map viewers on Windows hold a file for a moment; longer than this, a person has to close it."""

REPLACE_PAUSE_SECONDS = 0.1

MAX_BUFFERS = 512
"""Buffers of one vectored write; Linux and macOS take 1024."""

_NO_FOLDER_SYNC = {errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF}


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
                part = pread(descriptor, size, offset)
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
                offset = pwrite_all(descriptor, views[first : first + MAX_BUFFERS], offset)

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut or lengthen the file to ``size`` bytes."""
        with self._doing("truncate", self._paths[descriptor]):
            os.ftruncate(descriptor, size)

    def fsync(self, descriptor: int) -> None:
        """Make what was written durable. After an error here, all that was written since the last sync is lost."""
        with self._doing("sync", self._paths[descriptor]):
            sync_data(descriptor)

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
        """Write a small file of which readers see all of the old or all of the new: ``.part``, sync, rename, sync.

        A link stays: what it points to is replaced. A device, a pipe or a descriptor (``/dev/stdout``) is written to.
        """
        if not is_replaceable(path):
            with self._doing("write", path, len(data)):
                write_to(path, data)
            return
        path = behind_links(path)
        self._write_by_way_of(path.with_name(path.name + ".part"), path, data)

    def write_named(self, path: Path, data: bytes, *, claim: Callable[[Path], None] = lambda part: None) -> None:
        """``write_whole`` under a name that a person chose: nothing else there is ours, so a file that has the name
        of the half-written one stays. ``claim`` hears that one's name before it is there."""
        if not is_replaceable(path):
            self.write_whole(path, data)
            return
        path = behind_links(path)
        part = _free_part(path)
        claim(part)
        try:
            self._write_by_way_of(part, path, data)
        except BaseException:
            with suppress(CacheError):
                self.remove(part)
            raise

    def _write_by_way_of(self, part: Path, path: Path, data: bytes) -> None:
        descriptor = self.open(part, write=True, create=True, truncate=True)
        try:
            self.pwrite(descriptor, data, 0)
            self.fsync(descriptor)
        finally:
            self.close(descriptor)
        self.replace(part, path)
        self.sync_folder(path.parent)

    def try_whole(self, path: Path) -> None:
        """See whether ``write_named`` may write there; leaves nothing. Raises CacheError as that would."""
        if not is_replaceable(path):
            with self._doing("write", path):
                if not os.access(path, os.W_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return
        path = behind_links(path)
        with self._doing("write", path):
            if os.path.isdir(path):  # noqa: PTH112 - never raises
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        part = _free_part(path)
        self.close(self.open(part, write=True, create=True))
        self.remove(part)

    def free_bytes(self, path: Path) -> int:
        """Bytes that this user may still write on the file system of ``path``, which need not exist yet."""
        with self._doing("measure", path):
            return free_bytes_at(path)

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


def _free_part(path: Path) -> Path:
    """A name for the half of a file that nothing has: ``.part``, or that with a number."""
    number, part = 1, path.with_name(path.name + ".part")
    while os.path.lexists(part):
        number += 1
        part = path.with_name(f"{path.name}.part-{number}")
    return part
