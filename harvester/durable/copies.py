"""A file that is changed in its place, and of which somebody made a copy by hard links (``cp -al``)."""

from __future__ import annotations

from pathlib import Path

from harvester.durable.disk import Disk
from harvester.durable.locking import Lock
from harvester.durable.trouble import disk_error


def set_apart(path: Path, held: Lock | None, disk: Disk) -> None:
    """Give a file that has other names bytes of its own: copies don't change with it any more.

    ``held``: the lock that ``path`` goes with. What a holder left that was killed meanwhile is cleared away. Raises
    CacheError.
    """
    base = "" if held is None else held.path.name.removesuffix(".lock")
    for ending in held.left if held is not None else ():
        if ending.startswith(f"{path.name.removeprefix(base)}.part"):
            disk.remove(path.with_name(base + ending))
    try:
        data = path.read_bytes() if path.exists() and path.stat().st_nlink > 1 else None
    except OSError as cause:
        raise disk_error("read", path, cause) from cause
    if data is not None:
        note = held.note if held is not None else lambda ending: None
        disk.write_named(path, data, claim=lambda part: note(part.name.removeprefix(base)))
