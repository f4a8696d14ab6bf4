"""Why a run ended before its last tile, in words for a person and an exit code for a program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from harvester.errors import HarvesterError
from harvester.wording import pause_words

TILEMAP_UNPROVEN = "tilemap_unproven"
"""Code: tiles are pending since too little is known of what the tilemap denies."""

AGAIN = "Run the same command again: it goes on with what is missing."


@dataclass(frozen=True, slots=True, kw_only=True)
class StopReason:
    """``code`` is a stable word, ``message`` what happened, ``hint`` what to do."""

    code: str
    message: str
    hint: str
    exit_code: int
    by_person: bool = False

    @classmethod
    def of(cls, error: HarvesterError) -> Self:
        """An error that stops the run."""
        return cls(code=error.code, message=error.message, hint=error.hint, exit_code=error.exit_code)

    @classmethod
    def budget(cls, option: str, value: str) -> Self:
        """A budget that the person gave is used up."""
        return cls(code="budget", message=f"the budget {option} {value} is used up", hint=AGAIN, exit_code=1)

    @classmethod
    def gave_up(cls, quiet_seconds: float, *, ever: bool, breaker_open: bool, last: str) -> Self:
        """No tile ended for ``--give-up-after``."""
        because = f"; the last answer was {last}" if last else ""
        if ever and not breaker_open:
            return cls(
                code="gave_up", message=f"no tile ended for {quiet_seconds:.0f} s{because}", hint=AGAIN, exit_code=1
            )
        what = "the source kept failing" if ever else "no tile ever ended"
        return cls.failing(last, f"{what} for {quiet_seconds:.0f} s")

    @classmethod
    def failing(cls, last: str, what: str = "the source gives nothing but failures") -> Self:
        """No host answers well; ``last``: why the last answer was wrong."""
        return cls(
            code="source_failing",
            message=what + (f"; the last answer was {last}" if last else ""),
            hint="Look whether the service answers in a browser; then run the same command again, its state is saved.",
            exit_code=3,
        )

    @classmethod
    def come_back(cls, seconds: float, *, ever: bool, who: str = "the server") -> Self:
        """The server asked for a pause longer than the run may wait; ``ever``: a tile had ended before."""
        later = pause_words(seconds)
        return cls(
            code="retry_after",
            message=f"{who} asked to come back in {later}",
            hint=f"Run the same command again after {later}: it goes on with what is missing.",
            exit_code=1 if ever else 3,
        )

    @classmethod
    def signal(cls, name: str, exit_code: int) -> Self:
        """A person or the system asked to stop."""
        return cls(code="stopped", message=f"stopped by {name}", hint=AGAIN, exit_code=exit_code, by_person=True)


class StopSwitch:
    """Where a person's wish to stop meets whatever is running.

    Before the first engine runs there is nothing to save: ``on_early`` ends it all. While one runs, it stops in
    order, and
    at once when pressed again. After it, a package is being sealed: that ends by itself, and is not torn.
    """

    def __init__(self, on_early: Callable[[], None] = lambda: None) -> None:
        self.reason: StopReason | None = None
        self.on_early = on_early
        self._engine_stop: Callable[[StopReason], None] | None = None
        self._ran = False

    def press(self, reason: StopReason) -> str:
        """Stop; gives what a person may be told of it."""
        again = self.reason is not None
        self.reason = reason
        if self._engine_stop is not None:
            self._engine_stop(reason)
            if again:
                return "stopping at once"
            return "stopping: answers under way are awaited and written (once more to stop at once)"
        if not self._ran:
            self.on_early()
            return "stopping"
        return "the cache is being finished; nothing is lost"

    def stop(self, reason: StopReason) -> bool:
        """Stop in order for a reason of the program's own; False before the first engine runs: nothing to save yet."""
        if not self._ran:
            return False
        self.reason = self.reason or reason
        if self._engine_stop is not None:
            self._engine_stop(reason)
        return True

    def attach(self, stop: Callable[[StopReason], None]) -> None:
        """An engine runs now."""
        self._engine_stop = stop
        self._ran = True
        if self.reason is not None:
            stop(self.reason)

    def detach(self) -> None:
        """It has ended."""
        self._engine_stop = None
