"""An event loop whose clock stands still while anything can be done, and jumps when nothing can: hours pass at once."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

IDLE_SECONDS = 5.0
"""Real seconds for which a loop without any timer waits for another thread; then it hangs, and says so."""


class _JumpingSelector(selectors.DefaultSelector):
    """Where the real one would wait for a timer, moves the loop's clock there instead."""

    def __init__(self, idle_seconds: float) -> None:
        super().__init__()
        self.now = 0.0
        self._idle_seconds = idle_seconds

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            ready = super().select(self._idle_seconds)
            if not ready:
                raise RuntimeError(f"everything waits, and no timer is set (virtual time {self.now:g} s)")
            return ready
        ready = super().select(0)
        if not ready:
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop in virtual time, from 0. Sockets and threads run in real time: what waits for them must set no timer."""

    def __init__(self, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._jumping = _JumpingSelector(idle_seconds)
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._jumping.now


def run_virtual(main: Coroutine[Any, Any, T], *, idle_seconds: float = IDLE_SECONDS) -> T:
    """``asyncio.run`` in virtual time: ``asyncio.sleep``, timeouts and timers end at once, in their right order."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(idle_seconds=idle_seconds)) as runner:
        return runner.run(main)
