"""Whoever listens to a run: what a listener raises ends the run in order, and reaches its caller at the end."""

from __future__ import annotations

from collections.abc import Callable

from harvester.engine import StopReason, StopSwitch
from harvester.engine.stop import AGAIN
from harvester.events import Event


class Listener:
    """Hands events on. Before the first tile is asked there is no state to save, and what the listener raises goes
    straight through. Later it is kept, nothing more is told, the run stops as at a signal, and ``close`` raises it."""

    def __init__(self, tell: Callable[[Event], None], switch: StopSwitch) -> None:
        self._tell = tell
        self._switch = switch
        self._error: BaseException | None = None

    def __call__(self, event: Event) -> None:
        if self._error is not None:
            return
        try:
            self._tell(event)
        except BaseException as error:
            reason = StopReason(
                code="listener", message=f"on_event raised {type(error).__name__}", hint=AGAIN, exit_code=1
            )
            if not self._switch.stop(reason):
                raise
            self._error = error

    def close(self) -> None:
        """The run has ended and its state is saved: raise what the listener raised, if it did."""
        if self._error is not None:
            raise self._error
