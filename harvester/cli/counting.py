"""A line that moves on a terminal: how many tiles a verb that copies caches has gone through, and how fast."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from harvester.wording import counted

EVERY_SECONDS = 1.0


class Counting:
    """The line. Nothing is shown before ``EVERY_SECONDS``: a small cache is done by then."""

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        self._stream = stream
        self._clock = clock
        self._began = self._last = clock()
        self._shown = 0

    def __call__(self, tiles: int) -> None:
        """So many until now."""
        now = self._clock()
        if now - self._last >= EVERY_SECONDS:
            self._last = now
            self._write(f"{counted(tiles, 'tile')}  {tiles / (now - self._began):,.0f}/s")

    def clear(self) -> None:
        """Take the line away: what comes next says how it ended."""
        if self._shown:
            self._write("")
            self._write("")

    def _write(self, text: str) -> None:
        try:
            self._stream.write("\r" + text.ljust(self._shown))
            self._stream.flush()
        except (OSError, ValueError):
            self._last = float("inf")  # a terminal that is gone stops nothing
        self._shown = len(text)


@contextmanager
def counting(
    *, quiet: bool, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int], None]]:
    """Gives what hears the number of tiles; it shows them where ``stream`` (stderr) is a terminal."""
    stream = stream or sys.stderr
    if quiet or not stream.isatty():
        yield lambda tiles: None
        return
    line = Counting(stream, clock)
    try:
        yield line
    finally:
        line.clear()
