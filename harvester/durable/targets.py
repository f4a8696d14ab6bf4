"""Where a file that is written whole really goes: behind links, or into what is no file and must never be replaced."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MOST_LINKS = 40
"""As many links in a row as Linux follows."""

FILE, FOLDER, PIPE = "a file", "a folder", "a pipe"
"""What ``kind_of`` says of those."""


def behind_links(path: Path) -> Path:
    """The file that is to be replaced; a path without links as it is."""
    return Path(os.path.realpath(path)) if os.path.islink(path) else path  # noqa: PTH114 - never raises


def kind_of(path: Path) -> str:
    """What lies there, in words, empty where nothing does. Nothing is opened: to open a pipe is to wait for its other
    end."""
    try:
        kind = os.stat(path).st_mode  # noqa: PTH116 - a Path says nothing of a link that leads to a pipe
    except OSError:
        if not os.path.islink(path):  # noqa: PTH114 - never raises
            return ""
        return f"a symbolic link to {path.readlink()}, which is not there"
    if stat.S_ISREG(kind):
        return FILE
    if stat.S_ISDIR(kind):
        return FOLDER
    return PIPE if stat.S_ISFIFO(kind) else "a socket" if stat.S_ISSOCK(kind) else "a device"


def is_replaceable(path: Path) -> bool:
    """False for what a rename would destroy: a device, a pipe, a socket, something that a process has open."""
    try:
        kind = os.stat(path).st_mode  # noqa: PTH116 - a Path says nothing of a link that leads to a pipe
    except OSError:
        return True  # nothing is there, or nothing that can be seen
    return (stat.S_ISREG(kind) or stat.S_ISDIR(kind)) and _descriptor(path) is None


def write_to(path: Path, data: bytes) -> None:
    """Write all of ``data`` into what is there. Raises OSError."""
    number = _descriptor(path)
    own = number is not None and number >= 0
    descriptor = os.dup(number or 0) if own else open_there(path)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)


def open_there(path: Path) -> int:
    """A descriptor that appends to what is there and is no plain file. Of a pipe that nobody reads OSError, at once:
    to open one else waits for its other end."""
    flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0)
    if kind_of(path) != PIPE:
        return os.open(path, flags)
    try:
        descriptor = os.open(path, flags | os.O_NONBLOCK)
    except OSError as cause:
        if cause.errno == errno.ENXIO:
            raise OSError(errno.ENXIO, "it is a pipe that nobody reads") from cause
        raise
    os.set_blocking(descriptor, True)
    return descriptor


@contextmanager
def kept_open(path: Path) -> Iterator[None]:
    """Hold a pipe open, whose reader would take the next one that closes it for the end. Raises OSError where nobody
    reads it; of anything else nothing is opened."""
    if kind_of(path) != PIPE or _descriptor(path) is not None:
        yield
        return
    descriptor = open_there(path)
    try:
        yield
    finally:
        os.close(descriptor)


def _descriptor(path: Path) -> int | None:
    """The descriptor of this process that a link names; -1 for one of another process; None for any other path."""
    ours = (f"/proc/{os.getpid()}/fd", "/dev/fd")
    for _ in range(MOST_LINKS):
        if not os.path.islink(path):  # noqa: PTH114
            break
        folder = os.path.realpath(path.parent)
        if folder in ours and path.name.isdigit():
            return int(path.name)
        there = path.parent / path.readlink()
        if folder.startswith("/proc/") and not os.path.islink(there):  # noqa: PTH114
            return -1
        path = there
    return None
