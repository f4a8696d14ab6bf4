"""File work that a cancellation waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def undisturbed(work: Coroutine[Any, Any, T]) -> T:
    """File work that a cancellation waits for: nobody may clear away what a thread is still writing."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            # Unlike ``await task``, a cancellation here leaves the task alone, and what it raises waits for ``result``.
            await asyncio.wait({task})
        except asyncio.CancelledError as stop:
            cancelled = stop
    if cancelled is not None and not task.cancelled() and task.exception() is None:
        raise cancelled
    return task.result()
