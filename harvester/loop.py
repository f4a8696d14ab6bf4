"""The event loop of a blocking call (uvloop's where it is installed, asyncio's elsewhere), and work in it that is not
broken off. Imports nothing else."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from typing import Any, TypeVar

COLLECT_EVERY = 50_000
"""Objects between two looks for cycles while a loop runs. A tile is a handful of tuples in a batch and makes no cycle:
at Python's 700 (2,000 from 3.13 on) they are walked for nothing, 0.3 us a tile. What is collected late is some MB."""

T = TypeVar("T")


def run_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a new event loop, uvloop's where it is installed.

    One that was broken off before it began (Ctrl-C while uvloop is imported) is closed, and Python says nothing of it.
    """
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with closing(work):
        try:
            import uvloop

            factory = uvloop.new_event_loop
        except ImportError:
            pass
        with seldom_collected(), asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(work)


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Await short work that must not be broken off half way (opening a file in a thread, closing it): who waits may be
    cancelled, and is so once the work has ended. What it gave is then lost: it must be kept elsewhere by the work."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        task.exception() if not task.cancelled() else None
        raise cancelled
    return task.result()


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Look for garbage in cycles less often, and as before at the end. Collection that is off, or rarer, stays so."""
    before = gc.get_threshold()
    if not gc.isenabled() or not 0 < before[0] < COLLECT_EVERY:
        yield
        return
    gc.set_threshold(COLLECT_EVERY, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
