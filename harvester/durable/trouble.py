"""What the system says of a file, in a CacheError with its remedy."""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path

from harvester.durable.calls import free_bytes_at
from harvester.errors import CacheError

FULL = {errno.ENOSPC, errno.EDQUOT}
"""Of the disk, or of what this user may take of it."""

_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}
_AGAIN = "Free some space, then run the same command again; it goes on where it stopped."


def disk_error(what: str, path: Path, cause: OSError, needed: int = 0) -> CacheError:
    """The CacheError for an OSError: what failed, on which file, the remedy. ``needed`` in bytes, where it is known."""
    reason = cause.strerror or type(cause).__name__
    if cause.errno in FULL:
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
        sizes = f"{free_bytes_at(path):,} bytes are available" + (f", {needed:,} are needed" if needed else "")
        return CacheError(f"the disk is full: cannot write {path} ({sizes})", hint=_AGAIN, code="disk_full")
    return CacheError(f"the disk is full: cannot write {path}", hint=_AGAIN, code="disk_full")
