"""One thread that does the file work of one writer, in order, and no more of it after a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from harvester.errors import CacheError

T = TypeVar("T")


class WriterThread:
    """The thread, from the first ``run`` until ``close``.

    After a failure nothing is written any more: what the file system kept of a failed sync is unknown.
    """

    def __init__(self, name: str) -> None:
        self.failure: CacheError | None = None
        self._thread = ThreadPoolExecutor(1, name)
        self._closed = False

    async def run(self, work: Callable[[], T], give_up: Callable[[], None] | None = None) -> T:
        """Do ``work`` in the thread. A CacheError of it is raised, after ``give_up``, and again by every later call."""
        if self._closed:
            raise ValueError("the writer is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._guarded, work, give_up)

    def _guarded(self, work: Callable[[], T], give_up: Callable[[], None] | None) -> T:
        if self.failure is not None:
            raise CacheError(self.failure.message, hint=self.failure.hint, code=self.failure.code)
        try:
            return work()
        except CacheError as failure:
            self.failure = failure
            if give_up is not None:
                give_up()
            raise

    async def close(self, release: Callable[[], None]) -> None:
        """End the thread after what it is doing, and then ``release`` in it. May be called twice."""
        if not self._closed:
            self._closed = True
            await asyncio.get_running_loop().run_in_executor(self._thread, release)
            self._thread.shutdown()
