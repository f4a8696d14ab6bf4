"""The event loop of a blocking call (uvloop's where it is installed, asyncio's elsewhere), and work in it that is not
broken off. Imports nothing else."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager, suppress
from contextvars import ContextVar
from typing import Any, TypeVar

LOOP_COLLECTS_EVERY = 50_000
"""Objects between two looks for cycles while a loop runs. A tile is a handful of tuples in a batch and makes no cycle:
at Python's 700 (2,000 from 3.13 on) they are walked for nothing, 0.3 us a tile. What is collected late is some MB."""

T = TypeVar("T")

STOPPING = ("SIGINT", "SIGBREAK", "SIGTERM")
"""Signals that end a command; not every system has each."""


def run_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a new event loop, uvloop's where it is installed.

    One that was broken off before it began (Ctrl-C while uvloop is imported) is closed, and Python says nothing of it.
    What a signal's handler would raise in the midst of the loop's own work comes when the loop has ended: see Stops.
    """
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with closing(work):
        try:
            import uvloop

            factory = uvloop.new_event_loop
        except ImportError:
            pass
        with Stops() as stops, seldom_collected(), asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(stops.heeded(work))


class Stops:
    """While a loop runs, signals whose handler raises cancel its work, and what the handler would have raised is raised
    at the end: in the midst of a task that nobody awaits, or of a callback, it would only be a traceback on stderr.
    A second signal raises at once. Handlers that raise say what: ``handler.error(number)`` gives the exception; others
    stay as they are, and so do all outside of the main thread.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._task: asyncio.Task[Any] | None = None
        self._caught: BaseException | None = None

    def __enter__(self) -> Stops:
        for number in (int(getattr(signal, name)) for name in STOPPING if hasattr(signal, name)):
            handler = signal.getsignal(number)
            if callable(getattr(handler, "error", None)):
                with suppress(ValueError):  # not the main thread
                    signal.signal(number, self._hear)
                    self._before[number] = handler
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._caught is not None and (error is None or isinstance(error, asyncio.CancelledError)):
            raise self._caught from None

    def hear(self, number: int, handler: Any) -> None:
        """Heed this handler, too, from now on."""
        self._before[number] = handler
        signal.signal(number, self._hear)

    async def heeded(self, work: Coroutine[Any, Any, T]) -> T:
        """Await the work, which a signal cancels."""
        if self._caught is not None:
            raise asyncio.CancelledError
        self._task = asyncio.current_task()
        _STOPS.set(self)
        try:
            return await work
        finally:
            self._task = None

    def _hear(self, number: int, frame: object) -> None:
        error: BaseException = self._before[number].error(number)
        if self._caught is not None:
            raise error
        self._caught = error
        if self._task is not None:
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)


_STOPS: ContextVar[Stops] = ContextVar("stops")
"""Those of the loop that runs."""


def heed(number: int, handler: Any) -> None:
    """Within a loop's work: what this handler raises comes when the loop has ended, where it says what that is. In one
    step, for in between a signal would end all, and so it would where the loop's own handlers are removed."""
    stops = _STOPS.get(None)
    if stops is not None and callable(getattr(handler, "error", None)):
        stops.hear(number, handler)
    else:
        signal.signal(number, handler)


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
    if not gc.isenabled() or not 0 < before[0] < LOOP_COLLECTS_EVERY:
        yield
        return
    gc.set_threshold(LOOP_COLLECTS_EVERY, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
