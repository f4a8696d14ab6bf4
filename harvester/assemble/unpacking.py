"""A package taken apart beside itself, to be added to: in a thread, so that signals and progress are served meanwhile;
stopped, it leaves nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from harvester.caches.open import unpack
from harvester.durable import Disk
from harvester.errors import CacheError
from harvester.output import OutputPaths
from harvester.tiling.scheme import TilingScheme

TELL_SECONDS = 10.0
"""Between two words on how far it is."""

CHANGES = frozenset({"pwrite", "pwritev", "write_whole", "make_dirs", "replace"})
"""Operations before which is looked whether to stop: chunks of a megabyte. What closes and removes goes on."""


class UnpackingStopped(Exception):
    """Somebody asked to stop; nothing of what was unpacked is there any more."""


class _Watched:
    """A Disk that counts what is written, and stops before it changes anything more."""

    def __init__(self, disk: Disk, stop: threading.Event) -> None:
        self._disk = disk
        self._stop = stop
        self.written = 0

    def __getattr__(self, name: str) -> Any:
        if name in CHANGES and self._stop.is_set():
            raise UnpackingStopped
        return getattr(self._disk, name)

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> None:
        """Write all of ``data`` at ``offset``."""
        if self._stop.is_set():
            raise UnpackingStopped
        self._disk.pwrite(descriptor, data, offset)
        self.written += len(data)


async def unpack_beside(
    format: str,
    paths: OutputPaths,
    target: Path,
    scheme: TilingScheme,
    *,
    disk: Disk,
    stopped: Callable[[], bool],
    tell: Callable[[str], None],
) -> None:
    """Make the work folder ``target`` of the package ``paths.out``. ``stopped`` is looked at about once a second and
    ``tell`` hears how far it is.

    Raises CacheError, and UnpackingStopped when ``stopped``; then, and when cancelled, no part of it is left.
    """
    stop = threading.Event()
    watched = _Watched(disk, stop)
    work = asyncio.create_task(asyncio.to_thread(unpack, format, paths.out, target, scheme, disk=cast(Disk, watched)))
    try:
        await _wait(work, watched, paths.out, stop, stopped, tell)
    except BaseException:
        # A thread can't be cancelled: it is told, and awaited however often the wait is broken off.
        stop.set()
        while not work.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({work})
        with suppress(BaseException):
            work.result()
        with suppress(CacheError):
            disk.remove_tree(paths.part)
        raise


async def _wait(
    work: asyncio.Task[None],
    watched: _Watched,
    package: Path,
    stop: threading.Event,
    stopped: Callable[[], bool],
    tell: Callable[[str], None],
) -> None:
    size, seconds = max(1, package.stat().st_size), 0.0
    while not (await asyncio.wait({work}, timeout=1.0))[0]:
        if stopped():
            stop.set()
        seconds += 1.0
        if seconds % TELL_SECONDS == 0:
            tell(f"unpacking {package.name}: {min(watched.written / size, 0.99):.0%}")
    work.result()
