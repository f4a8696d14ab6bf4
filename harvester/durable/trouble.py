"""What the system says of a file, in a CacheError with its remedy."""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from harvester.durable.calls import file_size_limit, free_bytes_at, inodes_at
from harvester.errors import CacheError

FULL = {errno.ENOSPC, errno.EDQUOT}
"""Of the disk, or of what this user may take of it."""

_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}

GOES_ON = "Free some space, then run the same command again; it goes on where it stopped."

BEGINS_AGAIN = "Free some space, then run the same command again; it begins anew, no half cache was left."
"""The hint of ``disk_full`` for what is made beside its output, and thrown away when it fails."""

NO_INODES = (
    "Remove files that nobody needs, or write a format that is one file (mbtiles, gpkg, tpkx); then run it again."
)


def disk_error(what: str, path: Path, cause: OSError, needed: int = 0) -> CacheError:
    """The CacheError for an OSError: what failed, on which file, the remedy. ``needed`` in bytes, where it is known."""
    reason = cause.strerror or type(cause).__name__
    if cause.errno in FULL:
        return disk_full(path, needed)
    if cause.errno == errno.EFBIG:
        return too_large(path, reason)
    if isinstance(cause, FileNotFoundError):
        return CacheError(f"cannot {what} {path}: it does not exist", hint="Check the path.", code="missing")
    if cause.errno == errno.ENAMETOOLONG:
        hint = "Choose a shorter name, or a folder nearer to the root; what lies beside a cache takes 19 letters more."
        return CacheError(f"cannot {what} {path}: {reason}", hint=hint, code="name")
    if cause.errno in _READ_ONLY:
        hint = "Check the permissions of the file and its folder, and that no other program has it open."
        return CacheError(f"cannot {what} {path}: {reason}", hint=hint, code="permission")
    return CacheError(f"cannot {what} {path}: {reason}", hint="Check the disk, then run the same command again.")


def disk_full(path: Path, needed: int = 0, *, inodes: Callable[[Path], int] = inodes_at) -> CacheError:
    """The CacheError for a full disk: of bytes, or of files. ``inodes`` counts those that may still be made."""
    with suppress(OSError):
        if not inodes(path):
            return _no_inodes(path)
        sizes = _sizes(free_bytes_at(path), needed)
        return CacheError(f"the disk is full: cannot write {path} ({sizes})", hint=GOES_ON, code="disk_full")
    return CacheError(f"the disk is full: cannot write {path}", hint=GOES_ON, code="disk_full")


def _sizes(free: int, needed: int) -> str:
    """What there is and what it takes. ``free`` is counted after the write failed and gave back what it had taken, and
    knows neither of a quota nor of what is written beside: it may well be more than ``needed``."""
    if 0 < needed <= free:
        return (
            f"{needed:,} bytes were refused, {free:,} are available now: a journal beside it or a quota may take them"
        )
    return f"{free:,} bytes are available" + (f", {needed:,} are needed" if needed else "")


def _no_inodes(path: Path) -> CacheError:
    """The CacheError for a file system with room for bytes and none for another file."""
    free = ""
    with suppress(OSError):
        free = f" ({free_bytes_at(path):,} bytes are available)"
    message = f"no more files can be made: cannot write {path}, the file system has no inodes left{free}"
    return CacheError(message, hint=NO_INODES, code="disk_full")


def too_large(path: Path, reason: str) -> CacheError:
    """The CacheError for a file that may not grow any more."""
    limit = file_size_limit()
    what = f"files may have {limit:,} bytes here" if limit is not None else "its file system takes no file so large"
    return CacheError(
        f"cannot write {path}: {reason}: {what}",
        hint="Raise the limit (ulimit -f unlimited), or write to a file system without one (FAT32 ends at 4 GB); then "
        "run the same command again.",
        code="too_large",
    )
